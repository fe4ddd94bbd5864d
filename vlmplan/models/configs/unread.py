"""Which keys of a ``config.json`` change a model and are read with one value only? The others are named, never ignored.

(config, what was read of it) -> a line for each key that says something else than what is priced. A key stands here
with the value that is understood, or with what it has to equal; a reader that learns the key takes it out.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vlmplan.errors import printable
from vlmplan.models.configs.family import Architecture
from vlmplan.models.configs.keys import FILE, Plain
from vlmplan.models.decoder import Decoder
from vlmplan.models.tower import VisionTower

_Expected = Callable[[Decoder, VisionTower], Any]


def _always(value: Any) -> _Expected:
    return lambda _, __: value


def _llm_head_dim(llm: Decoder, _: VisionTower) -> int:
    return llm.hidden // llm.heads


def _tower_head_dim(_: Decoder, tower: VisionTower) -> int:
    return tower.hidden // tower.heads if tower.heads else 0


def _llm_hidden(llm: Decoder, _: VisionTower) -> int:
    return llm.hidden


# (table, key) -> what is understood: "text" and "vision" are the nested tables, "" is the top, others by their names.
_ANY: Mapping[tuple[str, str], _Expected] = {
    ("vision", "num_channels"): _always(3),
    ("vision", "in_channels"): _always(3),
    ("vision", "in_chans"): _always(3),
    ("vision", "head_dim"): _tower_head_dim,
    ("vision", "num_key_value_heads"): lambda _, tower: tower.heads,
    ("vision", "out_hidden_size"): _llm_hidden,
    ("vision", "num_position_embeddings"): lambda _, tower: tower.positions,
    ("vision", "use_mask_token"): _always(value=False),
    ("vision", "use_absolute_position_embeddings"): _always(value=True),
}
_IGNORED_HEAD_DIM = {("text", "head_dim"): _llm_head_dim}  # their classes take the width by the heads, whatever it says
_MLLAMA_RATIOS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
_GLM = {("vision", "attention_bias"): _always(value=False)}
_OF_TYPE: Mapping[str, Mapping[tuple[str, str], _Expected]] = {
    "qwen2_vl": _IGNORED_HEAD_DIM,
    "qwen2_5_vl": _IGNORED_HEAD_DIM,
    "glm4v": {**_IGNORED_HEAD_DIM, **_GLM},
    "glm4v_moe": {**_GLM, ("text", "attention_bias"): _always(value=True)},
    "mllama": {
        **_IGNORED_HEAD_DIM,
        ("vision", "vision_output_dim"): _always(7680),
        ("vision", "supported_aspect_ratios"): _always(_MLLAMA_RATIOS),
    },
    "llama4": {
        ("vision", "vision_output_dim"): _always(4096),
        ("vision", "projector_input_dim"): _always(4096),
        ("vision", "projector_output_dim"): _always(4096),
    },
    "gemma4": {
        ("vision", "position_embedding_size"): lambda _, tower: tower.positions // 2,
        ("text", "vocab_size_per_layer_input"): lambda llm, _: llm.vocabulary,
    },
    "ovis2": {
        ("vision", "hidden_stride"): _always(2),
        ("vision", "num_visual_indicator_tokens"): _always(5),
        ("vision", "qkv_bias"): _always(value=False),
        ("vision", "mlp_bias"): _always(value=False),
    },
    "paddleocr_vl": {("text", "use_bias"): _always(value=False)},
    "mistral3": {("", "multimodal_projector_bias"): _always(value=False)},
    "paligemma": {("", "projection_dim"): _llm_hidden, ("vision", "projection_dim"): _llm_hidden},
    "minicpmv4_6": {("", "merger_times"): _always(1)},
    "molmo": {("", "weight_tying"): _always(value=False), ("", "layer_norm_type"): _always("rms")},
    "molmo2": {
        ("adapter_config", "attention_bias"): _always(value=True),
        ("adapter_config", "mlp_bias"): _always(value=False),
        ("adapter_config", "hidden_size"): lambda _, tower: tower.hidden,
        ("adapter_config", "text_hidden_size"): _llm_hidden,
        ("adapter_config", "num_attention_heads"): lambda _, tower: tower.heads,
        ("adapter_config", "num_key_value_heads"): lambda _, tower: tower.heads,
        ("adapter_config", "head_dim"): _tower_head_dim,
    },
}


def not_read(config: Plain, text: Plain, vlm: Architecture, llm: Decoder, tower: VisionTower) -> Iterator[str]:
    """Say which keys are priced as if they had another value. ``text`` is the LLM's own table."""
    names = {"text": vlm.text_key, "vision": vlm.vision_key}
    for (table, key), expected in {**_ANY, **_OF_TYPE.get(vlm.model_type, {})}.items():
        name = names.get(table, table)
        inside = text if table == "text" else config.get(name) if name else config
        found = inside.get(key) if isinstance(inside, dict) else None
        understood = expected(llm, tower)
        if found is not None and found != understood:
            where = ".".join(part for part in (FILE, name, key) if part)
            yield (
                f"{where} is {printable(repr(found))[:40]}, which is not read: parameters and times are those of "
                f"{printable(repr(understood))[:40]}"
            )
