"""InternVL's first format: one of the small checkpoints as OpenGVLab publishes its own."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from small_models import checkpoint

from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.checkpoints.tensors import canonical

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def _first_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors under the names of OpenGVLab's classes, queries, keys and values in one."""
    renames = (
        (r"^lm_head", "language_model.lm_head"),
        (r"^language_model\.(?!lm_head)", "language_model.model."),
        (r"^multi_modal_projector\.layer_norm", "mlp1.0"),
        (r"^multi_modal_projector\.linear_1", "mlp1.1"),
        (r"^multi_modal_projector\.linear_2", "mlp1.3"),
        (r"^vision_tower\.encoder\.layer\.", "vision_model.encoder.layers."),
        (r"^vision_tower\.", "vision_model."),
        (r"\.cls_token$", ".class_embedding"),
        (r"\.position_embeddings$", ".position_embedding"),
        (r"\.patch_embeddings\.projection", ".patch_embedding"),
        (r"\.attention\.projection_layer", ".attn.proj"),
        (r"\.attention\.", ".attn."),
        (r"\.layernorm_before", ".norm1"),
        (r"\.layernorm_after", ".norm2"),
        (r"\.lambda_", ".ls"),
    )
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if re.search(r"vision_tower.*\.[kv]_proj\.", name):
            continue
        joint = re.search(r"vision_tower.*\.q_proj\.", name)
        parts = [name.replace(".q_proj.", f".{part}_proj.") for part in ("qkv" if joint else "q")]
        renamed = name.replace(".q_proj.", ".qkv.") if joint else name
        for pattern, replacement in renames:
            renamed = re.sub(pattern, replacement, renamed)
        found[renamed] = torch.cat([tensors[part] for part in parts]).clone() if joint else tensor.clone()
    return found


def _tokenizer_files(source: Path, folder: Path, *, fast: bool) -> None:
    """A tokenizer as Qwen2's first class wrote it, added tokens behind the others; with ``fast`` in one file, too."""
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    special = [entry["content"] for entry in tokenizer["added_tokens"]]
    base = [token for token in tokenizer["model"]["vocab"] if token not in special]
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    decoder = {str(len(base) + n): {"content": token, "special": True, **flags} for n, token in enumerate(special)}
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(base)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": decoder, "eos_token": "</s>",
              "pad_token": "<pad>", "bos_token": None, "chat_template": "{{ messages }}"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if fast:
        made = quiet_transformers().Qwen2Tokenizer.from_pretrained(folder)
        made.backend_tokenizer.save(str(folder / "tokenizer.json"))


def first_format(folder: Path, kind: str = "internvl", *, fast: bool = True, **changed: Any) -> Path:
    """One of TILED as OpenGVLab publishes it: its own keys and names, and the files of its tokenizer."""
    source = checkpoint(kind)
    config = json.loads((source / "config.json").read_text())
    vision = config["vision_config"]
    first = {
        "model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "select_layer": -1, "ps_version": "v2",
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}, "template": "internvl2_5",
        "downsample_ratio": config["downsample_ratio"], "force_image_size": 112, "dynamic_image_size": True,
        "use_thumbnail": True, "min_dynamic_patch": 1, "max_dynamic_patch": 12, "tie_word_embeddings": False,
        "llm_config": config["text_config"] | {"tie_word_embeddings": False},
        "vision_config": {
            **{key: vision[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "norm_type",
                                            "intermediate_size", "hidden_act", "layer_norm_eps")},
            "model_type": "intern_vit_6b", "image_size": 112, "patch_size": 14, "use_flash_attn": True,
            "qk_normalization": vision["use_qk_norm"], "qkv_bias": vision["attention_bias"],
        },
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(first | changed))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 112, "size": 112, "resample": 3,
                    "do_center_crop": True, "do_resize": True, "do_normalize": True, **IMAGENET})
    )  # fmt: skip
    tensors = {canonical(name): tensor for name, tensor in load_file(source / "model.safetensors").items()}
    tensors.setdefault("lm_head.weight", tensors["language_model.embed_tokens.weight"])
    tensors.pop("vision_tower.layernorm.weight", None)  # of internvl-large, which OpenGVLab's towers do not have
    tensors.pop("vision_tower.layernorm.bias", None)
    save_file(_first_names(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer_files(source, folder, fast=fast)
    return folder
