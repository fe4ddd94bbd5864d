"""What does one set to get another number of visual tokens, engine by engine?

Architecture -> the argument in transformers, and that of each serving engine known to heed one. What was read or
tried, version by version, is in ``tools/engine_settings.csv``; an engine that is not named ignores the number, or
nobody looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlmplan.models.spec import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``setting`` of transformers' processor and ``engines``' arguments, with ``model.PLACEHOLDERS`` to fill in."""

    setting: str = "none"
    engines: Mapping[Engine, str] = field(default_factory=dict)


def _processor(argument: str, *engines: Engine, transformers: str | None = None) -> Settings:
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


_ALL = (Engine.VLLM, Engine.SGLANG, Engine.LLAMA_CPP, Engine.OPENVINO)
_SERVERS = (Engine.VLLM, Engine.SGLANG)
_AREA = '"size": {{"shortest_edge": {least_pixels}, "longest_edge": {pixels}}}'
_AREA_GLM = '"size": {{"shortest_edge": {double_least_pixels}, "longest_edge": {double_pixels}}}'
_EDGE = '"size": {{"longest_edge": {edge}}}'


def _area(argument: str) -> Settings:
    """Qwen's: SGLang and OpenVINO want the old name of the limit."""
    found = _processor(argument, *_ALL)
    old = {
        Engine.SGLANG: '--mm-process-config \'{{"image": {{"max_pixels": {pixels}}}}}\'',
        Engine.OPENVINO: 'preprocessor_config.json: "max_pixels": {pixels}',
    }
    return Settings(setting=found.setting, engines={**found.engines, **old})


_EDGES = _processor(_EDGE, Engine.VLLM, Engine.LLAMA_CPP)
_SLICES = _processor(
    '"max_slice_nums": {views}', Engine.VLLM, Engine.OPENVINO, transformers="processor max_slice_nums={views}"
)
_GRIDS = "image_grid_pinpoints of at most {views} tiles, in processor and model config"
SETTINGS: Mapping[str, Settings] = {
    "llava_next": Settings(
        setting=_GRIDS, engines={Engine.OPENVINO: "preprocessor_config.json: image_grid_pinpoints of {views} tiles"}
    ),
    "llava_onevision": Settings(setting=_GRIDS),
    "llava_onevision1_5": _processor(_AREA),
    "qwen2_vl": _area(_AREA),
    "qwen2_5_vl": _area(_AREA),
    "qwen3_vl": _area(_AREA),
    "qwen3_vl_moe": _area(_AREA),
    "qwen3_5": _area(_AREA),
    "qwen3_5_moe": _area(_AREA),
    "internvl_chat": Settings(
        setting="load_image max_num={views}, of the model card",
        engines={
            Engine.VLLM: "--mm-processor-kwargs '{{\"max_dynamic_patch\": {views}}}'",
            Engine.SGLANG: 'in each request: "image_url": {{"max_dynamic_patch": {views}}}',
        },
    ),
    "internvl": _processor('"crop_to_patches": true, "max_patches": {views}', Engine.VLLM),
    "smolvlm": _EDGES,
    "idefics3": _EDGES,
    "idefics2": Settings(setting="processor images_kwargs do_image_splitting for {views} views"),
    "gemma4": _processor('"max_soft_tokens": {tokens}', *_ALL),
    "phi3_v": _processor('"num_crops": {views}', Engine.OPENVINO, transformers="processor num_crops={views}"),
    "phi4mm": _processor('"dynamic_hd": {views}', Engine.VLLM),
    "phi4_multimodal": _processor('"dynamic_hd": {views}'),
    "minicpmv": _SLICES,
    "minicpmv4_6": _processor('"max_slice_nums": {views}, "downsample_mode": "16x"', Engine.VLLM),
    "mllama": _processor('"max_image_tiles": {views}'),
    "llama4": _processor('"max_patches": {views}', *_SERVERS),
    "pixtral": _processor(_EDGE, Engine.SGLANG, Engine.LLAMA_CPP),
    "mistral3": Settings(
        setting=_processor(_EDGE).setting,
        engines={
            **_processor(_EDGE, Engine.SGLANG, Engine.LLAMA_CPP).engines,
            Engine.VLLM: '--config-format hf --mm-processor-kwargs \'{{"size": {{"longest_edge": {edge}}}}}\'',
        },
    ),
    "molmo": Settings(setting="processor max_crops={views}"),
    "molmo2": _processor('"max_crops": {views}', Engine.VLLM),
    "lfm2_vl": Settings(
        setting="processor images_kwargs max_tiles={views} (1: no splitting), max_image_tokens={tokens}",
        engines={
            Engine.VLLM: "--mm-processor-kwargs "
            '\'{{"min_tiles": 1, "max_tiles": {views}, "max_image_tokens": {tokens}}}\'',
        },
    ),
    "perception_lm": Settings(setting="image processor max_num_tiles={views}, when it is loaded"),
    "ovis2": _processor('"crop_to_patches": true, "max_patches": {views}'),
    "ovis2_5": Settings(setting="processor max_pixels={pixels}"),
    "kimi_vl": Settings(
        setting="image processor in_token_limit={patches}",
        engines={Engine.LLAMA_CPP: "--image-max-tokens {tokens}"},
    ),
    "glm4v": _processor(_AREA_GLM, Engine.VLLM, Engine.SGLANG, Engine.LLAMA_CPP),
    "glm4v_moe": _processor(_AREA_GLM, Engine.VLLM, Engine.SGLANG, Engine.LLAMA_CPP),
    "deepseek_vl_v2": Settings(setting="candidate_resolutions of at most {views} tiles"),
    "ernie4_5_vl_moe": _processor(_AREA, *_SERVERS),
}
NO_SETTING = Settings()
