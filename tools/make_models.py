"""Make ``profiles/models/*.toml`` from ``../shared/facts/vlms.csv``: dimensions from there, structure from here.

The structure of each family (which layers have biases, what stands between tower and LLM) is that of its class in
transformers or of the code published with the checkpoint. Run: ``python tools/make_models.py``.
"""

import math
from collections.abc import Callable
from typing import Any

from facts import PROFILES, rows

from vlmplan.document import from_plain, to_toml
from vlmplan.hub_tables import NATIVE_RESOLUTION, TEXT_TYPES, VISION_TRAITS
from vlmplan.model import ModelSpec

Row = dict[str, str]
Plain = dict[str, Any]
SPLIT_ENGINE = '--mm-processor-kwargs \'{{"size": {{"longest_edge": {edge}}}}}\''
TILES_ENGINE = "--mm-processor-kwargs '{{\"max_dynamic_patch\": {views}}}'"
FASTVITHD = [(2, 96, 4, False), (12, 192, 8, False), (24, 384, 16, False), (4, 768, 32, True), (2, 1536, 64, True)]


def whole(row: Row, key: str) -> int:
    """Return a cell that must hold a whole number."""
    return int(row[key])


def decoder(row: Row, kind: str) -> Plain:
    """The LLM's dimensions."""
    found: Plain = {
        "layers": whole(row, "num_layers"),
        "hidden": whole(row, "hidden_size"),
        "heads": whole(row, "num_heads"),
        "kv_heads": whole(row, "num_kv_heads"),
        "head_dim": whole(row, "head_dim"),
        "vocabulary": whole(row, "vocab_size"),
        "intermediate": whole(row, "intermediate_size"),
        "tied_embeddings": row["tie_embeddings"] == "true",
        "max_context_tokens": CONTEXT_TOKENS.get(row["hf_id"], CONTEXT_TOKENS[row["family"]]),
    }
    if row["moe_num_experts"]:
        found |= {
            "experts": whole(row, "moe_num_experts"),
            "experts_per_token": whole(row, "moe_top_k"),
            "expert_intermediate": whole(row, "moe_intermediate_size"),
            "shared_expert_intermediate": int(row["moe_shared_intermediate_size"] or 0),
        }
    return found | (GEMMA3 if kind == "gemma3" else dict(TEXT_TYPES[kind].traits))


GEMMA3 = {"norms_per_layer": 4, "qk_norm": True}


def tower(row: Row, traits: Plain, **more: Any) -> Plain:
    """The vision transformer's dimensions."""
    layers, patch = whole(row, "vision_layers"), whole(row, "vision_patch")
    found: Plain = {
        "layers": layers,
        "layers_used": layers,
        "hidden": whole(row, "vision_hidden"),
        "heads": whole(row, "vision_heads"),
        "intermediate": whole(row, "vision_intermediate"),
        "patch": patch,
    }
    if row["vision_image_size"]:
        size = whole(row, "vision_image_size")
        found |= {"image_size": size, "positions": (size // patch) ** 2 + bool(traits.get("class_token"))}
    return found | traits | more


def image(rule: str, size: int, tokens: int, low: int, high: int, **more: Any) -> Plain:
    """An image rule; ``setting`` defaults to none."""
    return {
        "rule": rule,
        "view_size": size,
        "tokens_per_view": tokens,
        "trained_min_visual_tokens": low,
        "trained_max_visual_tokens": high,
        "setting": "none",
        **more,
    }


def llava(row: Row) -> Plain:
    """LLaVA-1.5: CLIP-L/14-336 read at layer -2, a two-layer MLP."""
    clip, width = dict(VISION_TRAITS["clip"]), whole(row, "hidden_size")
    return {
        "architecture": "llava",
        "exportable": True,
        "vision": tower(row, clip, layers_used=23),
        "projector": {"widths": [1024, width, width]},
        "image": image("fixed", 336, 576, 576, 576),
    }


def llava_next(row: Row) -> Plain:
    """LLaVA-NeXT: the same on a base view and up to four tiles, plus a newline vector."""
    found = llava(row)
    found["projector"]["extra_params"] = whole(row, "hidden_size")
    rule = image(
        "anyres",
        336,
        576,
        1176,
        2928,
        max_views=4,
        max_side_views=3,
        setting="image_grid_pinpoints of at most {views} tiles",
    )
    return found | {"architecture": "llava_next", "image": rule}


def onevision(row: Row) -> Plain:
    """LLaVA-OneVision: SigLIP-so400m without its last layer and head, anyres up to 36 tiles pooled to 9 views."""
    width, tokens = whole(row, "hidden_size"), 729
    rule = image(
        "anyres",
        384,
        tokens,
        2 * tokens,
        7371,
        max_views=36,
        max_side_views=6,
        setting="image_grid_pinpoints of at most {views} tiles",
    )
    return {
        "architecture": "llava_onevision",
        "exportable": True,
        "vision": tower(row, {}, layers=26, layers_used=26),
        "projector": {"widths": [1152, width, width], "extra_params": width},
        "image": rule,
    }


def qwen2_vl(row: Row, kind: str = "qwen2_vl") -> Plain:
    """Qwen2-VL and Qwen2.5-VL: native resolution, 2 x 2 patches merged, no positions table."""
    windows = {"window_patches": 64, "full_attention_layers": 4} if kind == "qwen2_5_vl" else {}
    hidden, width = whole(row, "vision_hidden"), whole(row, "hidden_size")
    norm = hidden * (1 if kind == "qwen2_5_vl" else 2)
    rule = {"rule": "area", "view_size": 28, **NATIVE_RESOLUTION}
    return {
        "architecture": kind,
        "vision": tower(row, dict(VISION_TRAITS[kind]), temporal_patch=2, **windows),
        "projector": {"widths": [4 * hidden, 4 * hidden, width], "merge": 4, "norm_params": norm},
        "image": rule,
    }


def qwen3_vl(row: Row) -> Plain:
    """Qwen3-VL: SigLIP-2 tower with 2,304 learned positions, a merger and three deepstack mergers."""
    hidden, width = whole(row, "vision_hidden"), whole(row, "hidden_size")
    rule = {"rule": "area", "view_size": 32, **NATIVE_RESOLUTION}
    return {
        "architecture": "qwen3_vl",
        "vision": tower(row, {"post_norm": False}, temporal_patch=2, positions=2304),
        "projector": {
            "widths": [4 * hidden, 4 * hidden, width],
            "merge": 4,
            "copies": 4,
            "norm_params": 2 * hidden + 3 * 2 * 4 * hidden,
        },
        "image": rule,
    }


def internvl(row: Row) -> Plain:
    """InternVL3: InternViT-300M with layer scales, 2 x 2 pixel unshuffle, a normed two-layer MLP."""
    hidden, width = whole(row, "vision_hidden"), whole(row, "hidden_size")
    traits = {"class_token": True, "layer_scale": True, "post_norm": False}
    rule = image("tiles", 448, 256, 256, 3328, max_views=12, setting="max_dynamic_patch={views}", engine=TILES_ENGINE)
    return {
        "architecture": "internvl",
        "vision": tower(row, traits),
        "projector": {"widths": [4 * hidden, width, width], "merge": 4, "norm_params": 8 * hidden},
        "image": rule,
    }


def smolvlm(row: Row) -> Plain:
    """SmolVLM: SigLIP, pixel shuffle, one linear layer; the longest edge is scaled to 1 to 4 tiles."""
    size, tokens, before = (
        whole(row, key) for key in ("vision_image_size", "tokens_after_merge", "tokens_before_merge")
    )
    merge = before // tokens
    rule = image(
        "split",
        size,
        tokens,
        tokens,
        17 * tokens,
        max_views=17,
        max_side_views=4,
        setting="processor size longest_edge={edge}",
        engine=SPLIT_ENGINE,
    )
    return {
        "architecture": "smolvlm",
        "vision": tower(row, {}),
        "image": rule,
        "projector": {
            "widths": [merge * whole(row, "vision_hidden"), whole(row, "hidden_size")],
            "bias": False,
            "merge": merge,
        },
    }


def gemma3(row: Row) -> Plain:
    """Gemma 3: SigLIP at 896 px, 4 x 4 average pooling, a norm and a matrix; five of six layers see 1,024 tokens."""
    return {
        "architecture": "gemma3",
        "vision": tower(row, {}),
        "image": image("fixed", 896, 256, 256, 256),
        "projector": {"widths": [1152, whole(row, "hidden_size")], "bias": False, "merge": 16, "norm_params": 1152},
    }


def paligemma(row: Row) -> Plain:
    """PaliGemma: SigLIP at the checkpoint's resolution, one linear layer."""
    size, tokens = whole(row, "vision_image_size"), whole(row, "tokens_after_merge")
    return {
        "architecture": "paligemma",
        "vision": tower(row, {}),
        "image": image("fixed", size, tokens, tokens, tokens),
        "projector": {"widths": [1152, whole(row, "hidden_size")]},
    }


def fastvlm(row: Row) -> Plain:
    """FastVLM: FastViTHD (five stages, 64-fold downsampling) at 1024 px, a two-layer MLP."""
    names, width = ("blocks", "channels", "stride", "attention"), whole(row, "hidden_size")
    stages = [dict(zip(names, stage, strict=True)) for stage in FASTVITHD]
    return {
        "architecture": "fastvlm",
        "vision": {"stages": stages, "patch": 64, "image_size": 1024},
        "projector": {"widths": [3072, width, width]},
        "image": image("fixed", 1024, 256, 256, 256),
    }


def paper(row: Row) -> Plain:
    """A backbone of arXiv 2411.03312: CLIP-L/14-336 and TokenPacker to any square dividing the 24 x 24 grid."""
    found = llava(row)
    rule = image(
        "compressed",
        336,
        576,
        1,
        576,
        allowed_visual_tokens=[1, 4, 9, 16, 36, 64, 144, 576],
        setting="train with TokenPacker for this number",
    )
    nominal = float(row["hf_id"].rsplit("-", 1)[1].removesuffix("B"))
    return found | {
        "architecture": "qwen1.5-paper",
        "exportable": False,
        "image": rule,
        "nominal_llm_params_b": nominal,
    }


RECIPES: dict[str, tuple[str, Callable[[Row], Plain]]] = {
    "LLaVA-Next Qwen1.5 (paper)": ("qwen2", paper),
    "LLaVA-1.5": ("llama", llava),
    "LLaVA-NeXT": ("llama", llava_next),
    "LLaVA-OneVision": ("qwen2", onevision),
    "Qwen2-VL": ("qwen2", qwen2_vl),
    "Qwen2.5-VL": ("qwen2", lambda row: qwen2_vl(row, "qwen2_5_vl")),
    "Qwen3-VL": ("qwen3", qwen3_vl),
    "InternVL3": ("qwen2", internvl),
    "SmolVLM": ("llama", smolvlm),
    "Gemma 3": ("gemma3", gemma3),
    "PaliGemma": ("gemma", paligemma),
    "PaliGemma 2": ("gemma2", paligemma),
    "FastVLM": ("qwen2", fastvlm),
}
LEFT_OUT = {
    "OpenGVLab/InternVL3-9B": "InternLM3 is another decoder type, left to the full catalogue",
    "OpenGVLab/InternVL3-38B": "InternViT-6B is another tower, left to the full catalogue",
    "OpenGVLab/InternVL3-78B": "InternViT-6B is another tower, left to the full catalogue",
}
# max_position_embeddings of the checkpoint's published config.json (its LLM's where nested).
CONTEXT_TOKENS = {
    "LLaVA-Next Qwen1.5 (paper)": 32768,
    "LLaVA-1.5": 4096,
    "LLaVA-NeXT": 4096,
    "LLaVA-OneVision": 32768,
    "Qwen2-VL": 32768,
    "Qwen2.5-VL": 128000,
    "Qwen3-VL": 262144,
    "InternVL3": 32768,
    "SmolVLM": 8192,
    "Gemma 3": 131072,
    "PaliGemma": 8192,
    "PaliGemma 2": 8192,
    "FastVLM": 32768,
    "llava-hf/llava-v1.6-mistral-7b-hf": 32768,
    "HuggingFaceTB/SmolVLM-Instruct": 16384,
}
CONTEXT_SOURCE = "context: max_position_embeddings of the published config.json"
# Flags beyond the usual; a family that is not here is not known to be served by vLLM (apple/ml-fastvlm issue 28).
VLLM_FLAGS = {
    "LLaVA-1.5": "",
    "LLaVA-NeXT": "",
    "LLaVA-OneVision": "",
    "Qwen2-VL": "",
    "Qwen2.5-VL": "",
    "Qwen3-VL": "",
    "SmolVLM": "",
    "Gemma 3": "",
    "PaliGemma": "",
    "PaliGemma 2": "",
    "InternVL3": "--trust-remote-code",  # the original checkpoints bring their config class along (vllm issue 9531)
}


def windows(row: Row) -> Plain:
    """Sliding-window layers, from the attention note of the facts."""
    note, layers = row["attention_note"], whole(row, "num_layers")
    if row["family"] == "Gemma 3":
        return {"sliding_window": 1024, "sliding_layers": layers - layers // 6}
    if row["family"] == "PaliGemma 2":
        return {"sliding_window": 4096, "sliding_layers": math.ceil(layers / 2)}
    if "sliding" in note or "local" in note:
        raise ValueError(f"{row['hf_id']}: {note}")
    return {}


def model(row: Row) -> ModelSpec:
    """Build one model from its row."""
    kind, recipe = RECIPES[row["family"]]
    exact = row["total_params_precision"] == "exact"
    plain = {
        "name": row["hf_id"],
        "family": row["family"],
        "llm": decoder(row, kind) | windows(row),
        **recipe(row),
        "published_params": int(row["total_params"]) if exact else None,
        "vllm": VLLM_FLAGS.get(row["family"]),
        "license": row["license"] or None,
        "release_date": row["release_date"] or None,
        "sources": [
            text
            for text in (
                row["llm_config_source"],
                row["vision_config_source"],
                CONTEXT_SOURCE,
                f"parameters: {row['total_params_source']}" if exact else "",
            )
            if text
        ],
    }
    found = from_plain(ModelSpec, plain, row["hf_id"])
    assert isinstance(found, ModelSpec)
    return found


def main() -> None:
    """Write every model of the families above; base checkpoints (-pt-) answer nothing before they are fine-tuned."""
    folder = PROFILES / "models"
    for old in folder.glob("*.toml"):
        old.unlink()
    for row in rows("facts/vlms.csv"):
        if row["family"] in RECIPES and row["hf_id"] not in LEFT_OUT and "-pt-" not in row["hf_id"]:
            found = model(row)
            (folder / f"{row['hf_id'].replace('/', '--')}.toml").write_text(to_toml(found), encoding="utf-8")
    print(f"{len(list(folder.glob('*.toml')))} models in {folder}")


if __name__ == "__main__":
    main()
