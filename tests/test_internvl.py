"""InternVL's first format: what it holds is read as transformers' own format has it, and no code of it is run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import checkpoint, largest_difference, quiet

from vlmplan import api
from vlmplan.checkpoints.checkpoint import canonical, open_checkpoint, quiet_transformers
from vlmplan.checkpoints.compressors import compression_of
from vlmplan.checkpoints.reference import Reference, load_reference
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import order as chosen
from vlmplan.exporting.write import export
from vlmplan.models.spec import Compressor
from vlmplan.planning import catalogue
from vlmplan.proof.validate import Options, Validator

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


def _first_format(folder: Path, kind: str = "internvl", *, fast: bool = True, **changed: Any) -> Path:
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


def _reference(folder: Path) -> Reference:
    opened = open_checkpoint(str(folder))
    return load_reference(opened, compression_of(opened, Compressor.NONE, 0), None)


@pytest.mark.parametrize("kind", ["internvl", "internvl-large"])
def test_the_first_format_is_the_same_model(kind: str, tmp_path: Path) -> None:
    first = _reference(_first_format(tmp_path / "first", kind))
    source = tmp_path / "source"
    shutil.copytree(checkpoint(kind), source)
    config = json.loads((source / "config.json").read_text())
    config["vision_config"]["use_mean_pooling"] = True  # as all towers of the first format
    (source / "config.json").write_text(json.dumps(config))
    own, rng = _reference(source), np.random.default_rng(0)
    pixels = rng.standard_normal((2, 3, 112, 112)).astype(np.float32)
    assert largest_difference(first.image_features(pixels), own.image_features(pixels)) < 1e-6
    embeds, mask = rng.standard_normal((1, 9, 64)).astype(np.float32), np.ones((1, 9), np.int64)
    assert largest_difference(first.step(embeds, mask, None)[0], own.step(embeds, mask, None)[0]) < 1e-5


@pytest.mark.parametrize("fast", [True, False])
def test_the_first_format_is_exported_and_proved(fast: bool, tmp_path: Path) -> None:
    folder = _first_format(tmp_path / "first", fast=fast)
    made = chosen(ExportChoices(checkpoint=str(folder), visual_tokens=112), None)
    manifest = export(made, tmp_path / "made", quiet)
    assert (manifest.architecture, manifest.clients) == ("internvl", ("vlmplan",))
    report = Validator(Options(checkpoint=str(folder), threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    assert not report.failed, report.failed
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)
    prompts = Prompts(tmp_path / "made")
    prompt = prompts.of(Image.fromarray(noise), "What is this?", reads_question=False)
    assert (prompt.input_ids == prompt.image_token).sum() == 112
    text = prompts.tokenizer.decode(prompt.input_ids[0])
    assert text.startswith("<|im_start|>user\n<img><IMG_CONTEXT>")
    assert text.endswith("</img>\nWhat is this?<|im_end|>\n<|im_start|>assistant\n")
    mean, deviation = (np.array(IMAGENET[key]).reshape(3, 1, 1) for key in ("image_mean", "image_std"))
    pixels: Any = prompt.pixel_values
    shown = pixels[-1] * deviation + mean  # the whole image, as the last tile
    assert 0.4 < shown.mean() < 0.6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ps_version": "v1"}, "ps_version is 'v1'; vlmplan exports 'v2'"),
        ({"select_layer": -4}, "select_layer is -4; vlmplan exports -1"),
        ({"use_thumbnail": False}, "use_thumbnail is False; vlmplan exports True"),
        ({"force_image_size": 224}, "force_image_size is 224; vlmplan exports 112"),
        ({"vision_config": {"hidden_size": 64}}, "vision_config has no num_hidden_layers, hidden_act"),
        ({"llm_config": None}, "expected a table llm_config, found None"),
        (
            {"llm_config": {"model_type": "internlm2"}},
            "llm_config.model_type is 'internlm2', which transformers",
        ),
        ({"downsample_ratio": 0.4}, "downsample_ratio is 0.4, expected 1 over a divisor of the tower's 8 patches"),
    ],
)
def test_what_the_first_format_may_not_say(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = _first_format(tmp_path / "first", **changed)
    with pytest.raises(InputError, match=re.escape(message)):
        chosen(ExportChoices(checkpoint=str(folder)), None)


def test_a_tokenizer_that_would_be_another_is_refused(tmp_path: Path) -> None:
    """Added tokens among the others: transformers would give them other numbers."""
    folder = _first_format(tmp_path / "first", fast=False)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["added_tokens_decoder"] = {
        str(int(number) + 5): entry for number, entry in config["added_tokens_decoder"].items()
    }
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="save the tokenizer as a fast one beside the model"):
        export(chosen(ExportChoices(checkpoint=str(folder)), None), tmp_path / "made", quiet)


def test_limits_of_the_first_format_are_its_configurations(tmp_path: Path) -> None:
    folder = _first_format(tmp_path / "few", max_dynamic_patch=6)
    assert [one.visual_tokens for one in api.tokens(model=folder).reachable] == [16, 80, 112]
    for name, changed, most in (("six", {"max_dynamic_patch": 6}, 6), ("one", {"dynamic_image_size": False}, 1)):
        folder = _first_format(tmp_path / name, **changed)
        export(chosen(ExportChoices(checkpoint=str(folder)), None), tmp_path / f"{name}-made", quiet)
        written = json.loads((tmp_path / f"{name}-made" / "processor_config.json").read_text())
        assert written["image_processor"]["max_patches"] == most


def test_the_first_format_and_its_export_answer_alike(tmp_path: Path) -> None:
    from PIL import Image

    folder = _first_format(tmp_path / "first")
    export(chosen(ExportChoices(checkpoint=str(folder), visual_tokens=80), None), tmp_path / "made", quiet)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 420, 3), np.uint8)).save(tmp_path / "noise.png")
    row = {"image": "noise.png", "question": "What is this?", "answer": "nothing"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(row) + "\n")
    asked: dict[str, Any] = {"questions": tmp_path / "questions.jsonl", "images": tmp_path}
    beside = api.evaluate(model=tmp_path / "made", against=folder, **asked)
    assert beside.against is not None and beside.against.differing == 0
    assert api.evaluate(model=folder, visual_tokens=80, **asked).visual_tokens == 80


def test_shipped_models_can_be_exported_where_their_llm_can() -> None:
    models = [model for model in catalogue.models() if model.architecture == "internvl_chat"]
    able = {model.name.rpartition("/")[2] for model in models if model.exportable}
    assert {"InternVL3-1B", "InternVL3_5-1B", "InternVL3-78B", "InternVL2_5-1B"} <= able
    unable = {model.name.rpartition("/")[2] for model in models} - able
    assert {"InternVL2_5-2B", "InternVL3-9B", "InternVL3_5-30B-A3B"} <= unable
