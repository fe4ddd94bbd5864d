"""A checkpoint is read as what it is, or refused by its name: not as the model whose type it borrows."""

import re
from pathlib import Path
from typing import Any

import pytest

from vlmplan.cost.stored import model_from_config, read_model_config
from vlmplan.cost.totals import operators, request_of
from vlmplan.errors import InputError
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.spec import Workload
from vlmplan.models.visual_tokens import native_visual_tokens

Plain = dict[str, Any]
CASES = Path(__file__).parent / "cases"  # public configs, reduced to the keys that matter
TEXT: Plain = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 8, "vocab_size": 32000,
}  # fmt: skip
CLIP: Plain = {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "num_attention_heads": 16,
               "num_hidden_layers": 24, "patch_size": 14}  # fmt: skip
# (config, what the message names): each borrows the type of a model whose parts it does not have.
BORROWED: dict[str, tuple[Plain, str]] = {
    "LLaVA as first published": (
        {"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"], "mm_vision_tower": "openai/clip", **TEXT},
        "architectures: 'LlavaLlamaForCausalLM' is not read; it borrows model_type 'llava'",
    ),
    "the same without a class": (
        {"model_type": "llava", "mm_vision_tower": "openai/clip", **TEXT}, "a model with 'mm_vision_tower' is not read",
    ),
    "the same as a text model": (
        {"model_type": "llama", "architectures": ["LlavaLlamaForCausalLM"], **TEXT},
        "'LlavaLlamaForCausalLM' is not read; it borrows model_type 'llama'",
    ),
    "a text type with a tower": (
        {"model_type": "qwen2", "architectures": ["DotsOCRForCausalLM"], "vision_config": {"embed_dim": 1536}, **TEXT},
        "'DotsOCRForCausalLM' with 'vision_config' is not read",
    ),
    "another tower": (
        {"model_type": "llava", "text_config": {"model_type": "llama", **TEXT},
         "vision_config": {"model_type": "dinov2", **CLIP}},
        "vision_config.model_type: 'dinov2' is not read; expected clip_vision_model",
    ),
    "Mono-InternVL": (
        {"model_type": "internvl_chat", "architectures": ["InternVLChatModel"],
         "llm_config": {"model_type": "internlm2", "architectures": ["InternLM2VEForCausalLM"], **TEXT},
         "vision_config": {"model_type": "intern_vit_6b"}},
        "llm_config.architectures: 'InternLM2VEForCausalLM' is not read; it borrows model_type 'internlm2'",
    ),
    "a tower's class": (
        {"model_type": "internvl_chat", "llm_config": {"model_type": "qwen2", **TEXT},
         "vision_config": {"model_type": "intern_vit_6b", "architectures": ["InternVisionPatchModel"]}},
        "'InternVisionPatchModel' is not read as a tower of internvl_chat",
    ),
    "Eagle": (
        {"model_type": "internvl_chat", "architectures": ["Eagle2ChatModel"], "llm_config": {"model_type": "qwen2"}},
        "'Eagle2ChatModel' is not read",
    ),
    "ColQwen": ({"model_type": "qwen2_5_vl", "architectures": ["ColQwen2_5"], **TEXT}, "'ColQwen2_5' is not read"),
    "a classifier": (
        {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForSequenceClassification"], **TEXT},
        "'Qwen2VLForSequenceClassification' is not read",
    ),
    "MiniCPM-o": ({"model_type": "minicpmv", "architectures": ["MiniCPMO"], **TEXT}, "'MiniCPMO' is not read"),
    "DeepSeek-OCR-2": (
        {"model_type": "deepseek_vl_v2", "architectures": ["DeepseekOCR2ForCausalLM"], "language_config": TEXT},
        "'DeepseekOCR2ForCausalLM' is not read; it borrows model_type 'deepseek_vl_v2'",
    ),
    "an adapter": ({"peft_type": "LORA", "r": 8}, r"found no model_type \(its keys: peft_type, r\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BORROWED)
def test_what_borrows_a_type_is_refused_by_its_name(name: str) -> None:
    config, message = BORROWED[name]
    with pytest.raises(InputError, match=message):
        model_from_config(config, "config.json", "x")


def test_an_unknown_version_is_no_known_one() -> None:
    config = {"model_type": "minicpmv", "version": 9.9, **TEXT}
    with pytest.raises(
        InputError, match=r"version: '9\.9' of minicpmv is not read; expected one of 2\.0, 2, 2\.5, 2\.6"
    ):
        model_from_config(config, "config.json", "x")
    with_bias = [model_from_config({**config, "version": version}, "c", "x").llm.qkv_bias for version in (None, 2.6)]
    assert with_bias == [False, True]  # what says no version is 2.0 or 2.5, Llama's


def test_a_class_without_a_tower_is_a_text_model() -> None:
    whole = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **TEXT}}
    text = model_from_config({**whole, "architectures": ["Gemma3ForCausalLM"]}, "config.json", "x")
    both = model_from_config({**whole, "architectures": ["Gemma3ForConditionalGeneration"]}, "config.json", "x")
    assert (text.architecture, text.vision, text.image, text.llm) == ("gemma3_text", None, None, both.llm)


def test_every_class_without_a_tower_is_known() -> None:
    transformers = pytest.importorskip("transformers")
    from vlmplan.models.families import ARCHITECTURES

    whole = {"Phi4MultimodalForCausalLM"}  # with its tower
    for kind, known in ARCHITECTURES.items():
        named = {f"{stem}ForCausalLM" for stem in known.classes} - whole
        assert {one for one in named if hasattr(transformers, one)} == set(known.text_alone), kind


SIGLIP: Plain = {**CLIP, "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"vision_config": {**CLIP, "num_channels": 4}}, "vision_config.num_channels is 4, which is not read: .* of 3"),
        (
            {"model_type": "mistral3", "multimodal_projector_bias": True},
            "multimodal_projector_bias is True, .* of False",
        ),
        ({"model_type": "qwen2_vl", "text_config": {**TEXT, "head_dim": 64}}, "text_config.head_dim is 64, .* of 128"),
        (
            {"model_type": "qwen3_vl", "vision_config": {"num_position_embeddings": 100}},
            "embeddings is 100, .* of 2304",
        ),
    ],
)
def test_a_key_that_matters_and_is_not_read_is_named(config: Plain, said: str) -> None:
    usual: Plain = {"model_type": "llava", "text_config": TEXT, "vision_config": {}}
    assert not [line for line in model_from_config(usual, "config.json", "x").cautions if "not read" in line]
    told = " ".join(model_from_config({**usual, **config}, "config.json", "x").cautions)
    assert re.search(said, told), told


def test_a_siglip_tower_has_its_head_unless_it_says_no() -> None:
    def extra(**more: Any) -> int:
        config: Plain = {"model_type": "llava", "vision_feature_select_strategy": "full", "text_config": TEXT}
        tower = model_from_config({**config, "vision_config": {**SIGLIP, **more}}, "config.json", "x").vision
        assert tower is not None
        return tower.extra_params

    assert (extra(), extra(vision_use_head=True), extra(vision_use_head=False)) == (15_238_352, 15_238_352, 0)


def test_null_is_no_name_and_a_missing_key_is_named_as_files_spell_it() -> None:
    inner = {"model_type": None, **TEXT}
    assert model_from_config({"model_type": "llava", "text_config": inner}, "config.json", "x").llm.layers == 24
    gemma4 = {"model_type": "gemma4", "text_config": {"model_type": "gemma4_text", **TEXT, "num_experts": 8}}
    with pytest.raises(InputError, match=r"found 8 experts, and not how many a token takes \(num_experts_per_tok or"):
        model_from_config(gemma4, "config.json", "x")


@pytest.mark.parametrize("file", ["config.json", "no_mla_keys.json"])
def test_deepseek_ocr_is_not_deepseek_vl2(file: str) -> None:
    with pytest.raises(InputError, match=r"vision_config\.model_name: 'deeplip_b_l' is not read") as caught:
        read_model_config(CASES / "01" / file)
    assert "value_head_dim" not in str(caught.value)


def test_the_smallest_deepseek_vl2_has_plain_attention() -> None:
    config = {
        "model_type": "deepseek_vl_v2", "architectures": ["DeepseekVLV2ForCausalLM"],
        "candidate_resolutions": [[384, 384], [384, 768], [768, 384]],
        "language_config": {
            "model_type": "deepseek_v2", "use_mla": False, "kv_lora_rank": None, "v_head_dim": 0, "qk_nope_head_dim": 0,
            "qk_rope_head_dim": 0, "hidden_size": 1280, "num_attention_heads": 10, "num_key_value_heads": 10,
            "num_hidden_layers": 12, "n_routed_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 896,
            "intermediate_size": 6848, "first_k_dense_replace": 1, "vocab_size": 129280,
        },
        "vision_config": {"model_name": "siglip_so400m_patch14_384", "model_type": "vision", "mlp_ratio": 3.7362},
    }  # fmt: skip
    model = model_from_config(config, "config.json", "x")
    assert model.llm.groups == () and model.llm.head_dim == 128
    assert native_visual_tokens(model, (384, 384)) == 14 * 15 + 1 + 14 * 15


def test_light_on_ocr_is_what_it_is_under_a_borrowed_type() -> None:
    """Without the tokens that end Pixtral's rows, which its lender has."""
    parts = {"text_config": {"model_type": "qwen3", **TEXT}, "vision_config": {"model_type": "pixtral", **CLIP}}
    borrowed = {"model_type": "mistral3", "architectures": ["LightOnOCRForConditionalGeneration"], **parts}
    found = model_from_config(borrowed, "config.json", "x")
    own = model_from_config({"model_type": "lighton_ocr", **parts}, "config.json", "x")
    assert (found.architecture, found.llm, found.image) == ("lighton_ocr", own.llm, own.image)
    lender = model_from_config({**borrowed, "architectures": ["Mistral3ForConditionalGeneration"]}, "config.json", "x")
    assert native_visual_tokens(lender, (1024, 768)) - native_visual_tokens(found, (1024, 768)) == 28


@pytest.mark.parametrize(
    ("image", "tokens"),
    [((1920, 1080), 5967), ((1000, 3000), 7074), ((1024, 768), 4725), ((1240, 1754), 5427), ((3840, 384), 8046),
     ((640, 480), 2929)],
)  # fmt: skip
def test_granite_vision_joins_four_layers_and_has_26_grids(image: tuple[int, int], tokens: int) -> None:
    model = read_model_config(CASES / "02" / "config.json")
    assert native_visual_tokens(model, image) == tokens
    request = request_of(model, Workload(text_tokens=9), 0, Precision.BF16)
    assert sum(op.params for op in operators(request) if op.part == "compressor") == 13_635_584


@pytest.mark.parametrize(("file", "tokens"), [("a.json", 256), ("b.json", 768)])
def test_internvl_cuts_no_more_tiles_than_its_config_says(file: str, tokens: int) -> None:
    assert native_visual_tokens(read_model_config(CASES / "03" / file), (1920, 1080)) == tokens


@pytest.mark.parametrize(("image", "tokens"), [((1024, 768), 494), ((224, 224), 256), ((1920, 1080), 480)])
def test_a_folder_has_the_limits_of_its_processor(image: tuple[int, int], tokens: int) -> None:
    assert native_visual_tokens(read_model_config(CASES / "06" / "model"), image) == tokens


def test_paddleocr_vl_is_read_as_published_and_as_saved_anew() -> None:
    """Its decoder's keys stood at the top, and its tower had the model's own name."""
    tower = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
             "image_size": 384, "patch_size": 14}  # fmt: skip
    decoder = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 18, "num_attention_heads": 16,
               "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 103424}  # fmt: skip
    own = {"model_type": "paddleocr_vl", "architectures": ["PaddleOCRVisionModel"], **tower}
    top = {"model_type": "paddleocr_vl", "architectures": ["PaddleOCRVLForConditionalGeneration"]}
    published = {**top, **decoder, "tie_word_embeddings": False, "vision_config": own}
    saved = {
        **top,
        "tie_word_embeddings": False,
        "text_config": {"model_type": "paddleocr_vl_text", **decoder, "tie_word_embeddings": True},
        "vision_config": {"model_type": "paddleocr_vl_vision", **tower},
    }
    found = [model_from_config(config, "config.json", "x") for config in (published, saved)]
    assert found[0] == found[1]
    assert native_visual_tokens(found[0], (1240, 1754)) == 44 * 63  # 1232 x 1764 pixels, within the limits
