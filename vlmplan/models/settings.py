"""What does one set to get another number of visual tokens, engine by engine?

An argument -> its spelling in transformers, and in each serving engine known to heed it; families pick. What was read
or tried, version by version, is in ``facts/engine_settings.csv``; an engine that is not named ignores the number, or
nobody looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlmplan.hardware import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``setting`` of transformers' processor and ``engines``' arguments, with ``spec.PLACEHOLDERS`` to fill in."""

    setting: str = "none"
    engines: Mapping[Engine, str] = field(default_factory=dict)


def processor_argument(argument: str, *engines: Engine, transformers: str | None = None) -> Settings:
    """A processor argument (JSON without its outer braces) that ``engines`` pass through."""
    passed = {
        Engine.VLLM: f"--mm-processor-kwargs '{{{{{argument}}}}}'",
        Engine.SGLANG: f"--mm-process-config '{{{{\"image\": {{{{{argument}}}}}}}}}'",
        Engine.LLAMA_CPP: "--image-max-tokens {tokens}",
        Engine.OPENVINO: f"preprocessor_config.json: {argument}",
    }
    return Settings(
        setting=transformers or f"processor images_kwargs={{{{{argument}}}}}",
        engines={engine: passed[engine] for engine in engines},
    )


ALL = (Engine.VLLM, Engine.SGLANG, Engine.LLAMA_CPP, Engine.OPENVINO)
SERVERS = (Engine.VLLM, Engine.SGLANG)
AREA = '"size": {{"shortest_edge": {least_pixels}, "longest_edge": {pixels}}}'
EDGE = '"size": {{"longest_edge": {edge}}}'


def qwen_area(argument: str) -> Settings:
    """Qwen's: SGLang and OpenVINO want the old name of the limit."""
    settings = processor_argument(argument, *ALL)
    old = {
        Engine.SGLANG: '--mm-process-config \'{{"image": {{"max_pixels": {pixels}}}}}\'',
        Engine.OPENVINO: 'preprocessor_config.json: "max_pixels": {pixels}',
    }
    return Settings(setting=settings.setting, engines={**settings.engines, **old})


EDGES = processor_argument(EDGE, Engine.VLLM, Engine.LLAMA_CPP)
NO_SETTING = Settings()
