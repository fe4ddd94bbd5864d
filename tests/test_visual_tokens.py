"""Images become as many tokens as transformers' own processors make of them."""

from typing import Any

import pytest
from families import counted
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.errors import InputError
from vlmplan.inventory import catalogue
from vlmplan.models.grids import GRIDS, refused_shape
from vlmplan.models.spec import PLACEHOLDERS, Compressor, Reduction
from vlmplan.models.visual_tokens import native_visual_tokens, options, visual_input

SIZES = [
    (336, 336),
    (1024, 768),
    (768, 1024),
    (500, 333),
    (1920, 1080),
    (640, 480),
    (100, 900),
    (3000, 200),
    (224, 224),
    (1344, 896),
    (1000, 1000),
    (61, 47),
    (2048, 1536),
    (333, 777),
    (1280, 720),
    (450, 1800),
    (384, 384),
    (512, 512),
    (905, 604),
    (1600, 1200),
]


# A checkpoint of the family, and the type whose processor in transformers counts its tokens.
FAMILIES = {
    "Qwen2-VL": ("Qwen2-VL-7B", "qwen2_vl"),
    "Qwen3-VL": ("Qwen3-VL-8B", "qwen3_vl"),
    "GLM-4V": ("GLM-4.1V", "glm4v"),
    "ERNIE-4.5-VL": ("ERNIE-4.5-VL", "ernie4_5_vl_moe"),
    "LLaVA-NeXT": ("llava-v1.6-vicuna-7b", "llava_next"),
    "LLaVA-OneVision": ("onevision-qwen2-0.5b", "llava_onevision"),
    "InternVL": ("InternVL3-8B", "internvl"),
    "SmolVLM": ("SmolVLM-256M", "smolvlm"),
    "Idefics3": ("Idefics3-8B", "idefics3"),
    "Pixtral": ("Pixtral-12B", "pixtral"),
    "Mistral Small 3.1": ("Mistral-Small-3.1", "mistral3"),
    "Gemma 4": ("gemma-4-31B", "gemma4"),
    "LFM2-VL": ("LFM2-VL-1.6B", "lfm2_vl"),
    "Ovis2": ("Ovis2-4B", "ovis2"),
    "Llama 3.2 Vision": ("Llama-3.2-11B", "mllama"),
    "Llama 4": ("Llama-4-Scout", "llama4"),
    "Perception LM": ("Perception-LM-3B", "perception_lm"),
    "Phi-4-multimodal": ("Phi-4-multimodal", "phi4_multimodal"),
    "MiniCPM-V": ("MiniCPM-V-4_5", "minicpmv"),
    "MiniCPM-V 4.6": ("MiniCPM-V-4.6", "minicpmv4_6"),
    "Molmo2": ("Molmo2-8B", "molmo2"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_as_transformers_counts_them(family: str) -> None:
    name, kind = FAMILIES[family]
    model, count = catalogue.model(name), counted(kind, {})
    for size in SIZES:
        try:
            expected = count(*size)
        except ValueError:  # extreme shapes that Phi-4's processor refuses
            with pytest.raises(InputError, match=f"{size[0]} x {size[1]}"):
                native_visual_tokens(model, size)
            continue
        assert native_visual_tokens(model, size) == expected, size


@pytest.mark.parametrize("budget", [70, 140, 280, 560, 1120])
def test_a_budget_of_gemma_4_is_what_its_processor_makes_of_it(budget: int) -> None:
    rule, count = catalogue.model("gemma-4-31B").image, counted("gemma4", {"max_soft_tokens": budget})
    assert rule is not None
    for width, height in SIZES:
        assert GRIDS[rule.rule](width, height, rule, budget).tokens == count(width, height)


@pytest.mark.parametrize("limit", range(1, 13))
def test_every_number_of_tiles_of_internvl(limit: int) -> None:
    rule, count = catalogue.model("InternVL3-8B").image, counted("internvl", {"max_patches": limit})
    assert rule is not None
    for width, height in SIZES:
        assert GRIDS[rule.rule](width, height, rule, limit).tokens == count(width, height)


@pytest.mark.parametrize("size", SIZES)
def test_a_limit_of_pixels_is_what_qwen2_vl_makes_of_it(size: tuple[int, int]) -> None:
    for option in options(catalogue.model("Qwen2-VL-7B"), size):
        limit = int(option.setting.rpartition(":")[2].strip("} "))
        count = counted("qwen2_vl", {"min_pixels": 4 * 784, "max_pixels": limit})
        assert option.visual_tokens == count(*size)


def test_fixed_and_compressed() -> None:
    assert [o.visual_tokens for o in options(catalogue.model("llava-1.5-7b"), (9, 9))] == [576]
    assert [o.visual_tokens for o in options(catalogue.model("Qwen1.5-7B"), (9, 9))] == [1, 4, 9, 16, 36, 64, 144, 576]


def test_fewer_tokens_than_native_name_their_reduction() -> None:
    found = options(catalogue.model("Qwen2.5-VL-7B"), (1024, 768))
    assert found[-1].reduction is Reduction.TRAINED
    assert {option.reduction for option in found[:-1]} == {Reduction.IMAGE_SIZE}


def test_unreachable_numbers_are_pooled_and_too_many_refused() -> None:
    llava = catalogue.model("llava-1.5-7b")
    pooled = visual_input(llava, (336, 336), 64, Compressor.NONE)
    assert (pooled.compressor, pooled.reduction, pooled.views) == (Compressor.AVERAGE_POOL, Reduction.AVERAGE_POOL, 1)
    with pytest.raises(InputError, match="makes 576 visual tokens"):
        visual_input(llava, (336, 336), 577, Compressor.NONE)
    with pytest.raises(InputError, match="no vision tower"):
        visual_input(
            catalogue.model("llava-1.5-7b").__class__(name="t", family="t", architecture="llama", llm=llava.llm),
            (9, 9),
            5,
            Compressor.NONE,
        )


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from(catalogue.models()))
def test_every_option_is_reachable_and_ordered(width: int, height: int, model: Any) -> None:
    if model.image is None or refused_shape(width, height, model.image):
        with pytest.raises(InputError, match=f"{width} x {height}"):
            options(model, (width, height))
        return
    found = options(model, (width, height))
    tokens = [option.visual_tokens for option in found]
    assert tokens == sorted(set(tokens))
    assert all(option.visual_tokens > 0 and option.views > 0 for option in found)
    texts = [text for option in found for text in (option.setting, *option.engines.values())]
    assert not any(f"{{{name}}}" in text for name in PLACEHOLDERS for text in texts)


def test_the_default_setting_is_priced_as_it_is() -> None:
    """Of two settings with equally many tokens the default has more views to encode (OneVision at 2304 x 2304)."""
    model = catalogue.model("onevision-qwen2-0.5b")
    native = options(model, (2304, 2304))[-1]
    assert (native.views, native.reduction) == (37, Reduction.TRAINED)


def test_a_pixel_shuffle_joins_at_most_sixteen() -> None:
    llava = catalogue.model("llava-1.5-7b")
    assert visual_input(llava, (336, 336), 36, Compressor.PIXEL_SHUFFLE).visual_tokens == 36
    with pytest.raises(InputError, match="pixel-shuffle joins at most 16"):
        visual_input(llava, (336, 336), 16, Compressor.PIXEL_SHUFFLE)


def test_compressors_of_backbones_to_train_are_trained() -> None:
    assert visual_input(catalogue.model("Qwen1.5-7B"), (336, 336), 4, Compressor.QUECC).reduction is Reduction.TRAINED
