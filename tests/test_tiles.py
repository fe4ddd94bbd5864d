"""SmolVLM, Idefics3, InternVL: an image is as many tiles as the processor cuts; exports do what transformers does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mutants import agree, revalued, rewired
from onnx import helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file, save_file
from small_models import (
    MASKED,
    TILE_TOKENS,
    TILED,
    USUAL_IMAGE,
    checkpoint,
    exported,
    judged_export,
    largest_difference,
    opened_checkpoint,
    order,
    quiet,
    random_picture,
    reference_of,
    run_graph,
)
from small_plans import plan_for

from vlmplan import api
from vlmplan.checkpoints.checkpoint import open_checkpoint, quiet_transformers
from vlmplan.checkpoints.compressors import compression_of
from vlmplan.checkpoints.reference import load_reference
from vlmplan.checkpoints.small_checkpoint import SmallModel, enliven, write_checkpoint
from vlmplan.checkpoints.tensors import canonical
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts, answer
from vlmplan.exporting.manifest import GRAPHS
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.runner import OnnxModel, Prompt, generate
from vlmplan.exporting.write import export
from vlmplan.graphs.internvit import internvit_graph
from vlmplan.graphs.tiles import tile_graph
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.families import ARCHITECTURES
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator
from vlmplan.training.assemble import assemble


def _failed(report: Report) -> set[str]:
    return {check.name for check in report.failed}


@pytest.mark.parametrize("kind", MASKED)
def test_features_equal_pytorch(kind: str, tmp_path: Path) -> None:
    """Two requests of several tiles, the second padded with a tile of zeros; tiles hidden in part by the mask."""
    opened, size = opened_checkpoint(kind), TILED[kind].vision.get("image_size", 112)
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((2, 3, 3, size, size)).astype(np.float32)
    mask = np.ones((2, 3, size, size), bool)
    pixels[1, 2], mask[1, 2] = 0, False
    mask[0, 1, size // 2 :] = mask[0, 1, :, size - 20 :] = mask[0, 0, :, 20:] = False
    feeds = {"pixel_values": pixels, "pixel_attention_mask": mask}
    found = run_graph(tile_graph(opened, Precision.FP32), feeds, tmp_path)["image_features"]
    expected = reference_of(kind).image_features(pixels, mask=mask)
    assert found.shape == (5, TILE_TOKENS[kind], 64)
    assert largest_difference(found, expected) < 1e-5 * expected.std()
    whole = run_graph(
        tile_graph(opened, Precision.FP32), {**feeds, "pixel_attention_mask": np.ones_like(mask)}, tmp_path
    )["image_features"]
    moved = np.abs(whole - found).max(axis=(1, 2)) > 1e-3
    assert moved.tolist() == [True, True, False, False, False]  # those that the mask hides nothing of are the same


@pytest.mark.parametrize("kind", sorted(TILED.keys() - set(MASKED)))
def test_features_of_a_list_of_tiles_equal_pytorch(kind: str, tmp_path: Path) -> None:
    """Any number of them; a black one is a tile like any other."""
    opened, rng = opened_checkpoint(kind), np.random.default_rng(0)
    pixels = rng.standard_normal((3, 3, 112, 112)).astype(np.float32)
    pixels[1] = 0
    found = run_graph(internvit_graph(opened, Precision.FP32), {"pixel_values": pixels}, tmp_path)["image_features"]
    expected = reference_of(kind).image_features(pixels)
    assert found.shape == (3, TILE_TOKENS[kind], 64)
    assert largest_difference(found, expected) < 1e-5 * expected.std()


@pytest.mark.parametrize(("size", "patch", "joined"), [(512, 16, 4), (384, 14, 3), (364, 14, 2)])
def test_positions_are_transformers_own_at_the_sizes_of_real_towers(
    size: int, patch: int, joined: int, tmp_path: Path
) -> None:
    """SmolVLM's two and Idefics3's, tiles seen to any row and column: a rounding decides which position a patch has."""
    vision = {"image_size": size, "patch_size": patch, "num_hidden_layers": 1, "hidden_size": 16}
    made = SmallModel(model_type="smolvlm", llm="llama", vision=vision, joined=joined)
    opened = open_checkpoint(str(write_checkpoint(made, tmp_path / "checkpoint")))
    reference = load_reference(opened, compression_of(opened, Compressor.NONE, 0), None)
    rng, tiles = np.random.default_rng(1), 12
    pixels = rng.standard_normal((1, tiles, 3, size, size)).astype(np.float32)
    mask = np.ones((1, tiles, size, size), bool)
    for tile, (height, width) in enumerate(rng.integers(patch, size, (tiles - 1, 2))):
        mask[0, tile, height:] = mask[0, tile, :, width:] = False
    feeds = {"pixel_values": pixels, "pixel_attention_mask": mask}
    found = run_graph(tile_graph(opened, Precision.FP32), feeds, tmp_path)["image_features"]
    expected = reference.image_features(pixels, mask=mask)
    assert largest_difference(found, expected) < 1e-4


@pytest.mark.parametrize(
    ("kind", "precision", "base"),
    [
        ("smolvlm", Precision.FP32, Precision.FP32),
        ("smolvlm", Precision.INT8, Precision.FP16),
        ("idefics3", Precision.FP16, Precision.FP32),
        ("idefics3", Precision.INT4, Precision.FP32),
        ("internvl", Precision.FP32, Precision.FP32),
        ("internvl", Precision.INT4, Precision.FP32),
        ("internvl-large", Precision.FP16, Precision.FP32),
        ("internvl-large", Precision.INT8, Precision.FP16),
    ],
)
def test_exports_validate(kind: str, precision: Precision, base: Precision, tmp_path: Path) -> None:
    views = {Precision.FP32: 13, Precision.INT8: 1}.get(precision, 5)
    made = order(kind, precision=precision, base_precision=base, visual_tokens=views * TILE_TOKENS[kind])
    manifest = export(made, tmp_path / "made", quiet)
    assert manifest.architecture == TILED[kind].model_type
    assert manifest.clients == (("vlmplan", "transformers.js") if kind in MASKED else ("vlmplan",))
    report = judged_export(tmp_path / "made", kind, visual_tokens=made.visual_tokens, image=USUAL_IMAGE)
    assert not report.failed and not report.reservations, report.failed
    if precision is Precision.FP32:
        figures = {check.name: check.figures for check in report.checks}
        assert figures["logits"]["largest_difference"] < 1e-4


@pytest.mark.parametrize(
    ("kind", "views", "size", "seen"),
    [
        ("smolvlm", 1, (300, 200), 1),
        ("smolvlm", 5, (420, 300), 5),
        ("smolvlm", 13, (200, 500), 9),
        ("idefics3", 5, (600, 150), 3),
        ("idefics3", 13, (512, 384), 13),
        ("internvl", 1, (300, 200), 1),
        ("internvl", 5, (300, 300), 5),
        ("internvl", 7, (200, 500), 4),
        ("internvl-large", 7, (600, 150), 5),
        ("internvl-large", 13, (512, 384), 13),
    ],
)
def test_tokens_are_those_of_transformers_own_generate(
    kind: str, views: int, size: tuple[int, int], seen: int, tmp_path: Path
) -> None:
    """The checkpoint's processor, set as ``vlmplan tokens`` says, and ``generate``, against the export's own files."""
    tokens = views * TILE_TOKENS[kind]
    export(order(kind, visual_tokens=tokens), tmp_path / "made", quiet)
    picture = random_picture(tmp_path, *size)
    prompt = Prompts(tmp_path / "made").of(picture, "What is this?", reads_question=False)
    assert (prompt.input_ids == 3).sum() == seen * TILE_TOKENS[kind]
    ours = generate(OnnxModel(tmp_path / "made"), prompt, 12)
    processor = Prompts(checkpoint(kind)).processor
    found = api.tokens(model=checkpoint(kind), visual_tokens=tokens)
    assert found.wanted is not None
    setting = json.loads("{" + found.wanted.setting.split("={", 1)[1])
    content = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=Image.open(picture), text=text, return_tensors="pt", images_kwargs=setting)
    assert inputs["input_ids"].tolist() == prompt.input_ids.tolist()
    with torch.inference_mode():
        theirs = reference_of(kind).model.generate(**inputs, max_new_tokens=12, min_new_tokens=12, do_sample=False)
    assert list(ours.tokens) == theirs[0, -12:].tolist()


@pytest.mark.parametrize(("kind", "views"), [("smolvlm", 5 + 5), ("internvl", 5 + 1)])
def test_several_images_are_read(kind: str, views: int, tmp_path: Path) -> None:
    """Two images of other shapes in one prompt, as a client may send them; ``vlmplan run`` takes one."""
    processor = Prompts(exported(kind)).processor
    images = [Image.open(random_picture(tmp_path, *size)) for size in ((420, 300), (100, 100))]
    token = processor.image_token
    made = processor(images=images, text=f"{token} or {token}?", return_tensors="np")
    assert made["pixel_values"].shape[kind in MASKED] == views
    prompt = Prompt(
        input_ids=made["input_ids"], attention_mask=made["attention_mask"], pixel_values=made["pixel_values"],
        pixel_mask=made.get("pixel_attention_mask"), image_token=3,
    )  # fmt: skip
    ours, theirs = (generate(model, prompt, 10) for model in (OnnxModel(exported(kind)), reference_of(kind)))
    assert ours.tokens == theirs.tokens
    assert largest_difference(np.stack(ours.logits), np.stack(theirs.logits)) < 1e-4


@pytest.mark.parametrize("kind", TILED)
def test_every_number_of_vlmplan_tokens_can_be_exported(kind: str, tmp_path: Path) -> None:
    reached = [one.visual_tokens for one in api.tokens(model=checkpoint(kind)).reachable]
    assert len(reached) == 4
    picture = random_picture(tmp_path, 400, 300)  # of the same proportions as 1024 x 768
    for count in reached:
        made = chosen(ExportChoices(checkpoint=str(checkpoint(kind)), visual_tokens=count), None)
        export(made, tmp_path / "made", quiet, overwrite=True)
        assert answer(tmp_path / "made", picture, "Hm?", 1, "cpu", 1).visual_tokens == count
    unasked = chosen(ExportChoices(checkpoint=str(checkpoint(kind))), None)
    assert (unasked.visual_tokens, unasked.image) == (reached[-1], USUAL_IMAGE)
    with pytest.raises(InputError, match=f"found 7; the processor makes one of {', '.join(map(str, reached))} of an"):
        chosen(ExportChoices(checkpoint=str(checkpoint(kind)), visual_tokens=7), None)
    tall = ExportChoices(checkpoint=str(checkpoint(kind)), visual_tokens=3 * TILE_TOKENS[kind], image=(400, 1000))
    assert chosen(tall, None).visual_tokens == 3 * TILE_TOKENS[kind]


def _checkpoint_with(folder: Path, name: str, kind: str = "smolvlm", **changed: Any) -> ExportChoices:
    """A copy of a small checkpoint with other values in one of its files, or its image processor."""
    shutil.copytree(checkpoint(kind), folder / "changed")
    path = folder / "changed" / name
    content = json.loads(path.read_text())
    table = content.get("image_processor", content)
    table.update(changed)
    content.update({key: value for key, value in changed.items() if key in content})
    path.write_text(json.dumps(content))
    return ExportChoices(checkpoint=str(folder / "changed"))


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        (
            "config.json",
            {"downsample_ratio": 0.3},
            "downsample_ratio is 0.3, expected 1 over a divisor of the",
        ),
        ("config.json", {"vision_feature_layer": -2}, "vision_feature_layer is -2; vlmplan exports -1"),
        ("config.json", {"vision_feature_select_strategy": "full"}, "strategy is 'full'; vlmplan exports default"),
        (
            "processor_config.json",
            {"size": {"height": 224, "width": 224}, "image_seq_length": 64},
            "cuts tiles of 224 pixels, the tower reads 112",
        ),
        (
            "processor_config.json",
            {"image_seq_length": 15},
            "writes 15 tokens a tile, the model makes 16",
        ),
        ("processor_config.json", {"do_resize": False}, "its processor has do_resize off"),
        (
            "processor_config.json",
            {"image_processor_type": "CLIPImageProcessor"},
            "its image processor is CLIPImageProcessor, expected GotOcr2ImageProcessor",
        ),
        ("tokenizer.json", {"added_tokens": []}, "found no added token 3"),
        (
            "tokenizer_config.json",
            {"context_image_token": None, "video_token": None},
            "expected context_image_token, video_token, by which InternVL's processor writes images; found none",
        ),
        ("tokenizer_config.json", {"context_image_token": "<img>"}, "is '<img>', the config's image token is <IMG_CON"),
    ],
)
def test_what_cannot_be_exported_of_a_list_of_tiles_is_named(
    name: str, changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    choices = _checkpoint_with(tmp_path, name, "internvl", **changed)
    with pytest.raises(InputError, match=message):
        export(chosen(choices, None), tmp_path / "made", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("config.json", {"scale_factor": 3}, "scale_factor is 3, expected a divisor of the tower's 8 patches"),
        (
            "processor_config.json",
            {"max_image_size": {"longest_edge": 224}, "image_seq_len": 64},
            "cuts tiles of 224 pixels, the tower reads 112",
        ),
        ("processor_config.json", {"image_seq_len": 15}, "found 15, a tile of the model makes 16 tokens"),
        ("processor_config.json", {"do_pad": False}, "its processor has do_pad False"),
        (
            "processor_config.json",
            {"size": {"height": 448, "width": 448}},
            "size: expected longest_edge, found height",
        ),
        ("tokenizer.json", {"added_tokens": []}, "found no added token 3"),
        (
            "tokenizer_config.json",
            {"fake_image_token": "<row_1_col_1>"},
            "fake_image_token is '<row_1_col_1>'; expected <fake_token_around_image>, which processors",
        ),
        (
            "tokenizer_config.json",
            {"extra_special_tokens": {"global_image_token": "<end_of_utterance>"}},
            "global_image_token is '<end_of_utterance>'; expected <global-img>",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(name: str, changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    choices = _checkpoint_with(tmp_path, name, **changed)
    with pytest.raises(InputError, match=message):
        export(chosen(choices, None), tmp_path / "made", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


def test_a_processor_that_does_not_split_makes_one_view(tmp_path: Path) -> None:
    choices = _checkpoint_with(tmp_path, "processor_config.json", do_image_splitting=False)
    made = chosen(choices, None)
    assert made.visual_tokens == TILE_TOKENS["smolvlm"]
    export(made, tmp_path / "made", quiet)
    report = Validator(Options(checkpoint=made.checkpoint, threads=2, repeats=1), quiet).validate(tmp_path / "made")
    assert not report.report.failed
    picture = random_picture(tmp_path, 400, 300)
    ours = Prompts(tmp_path / "made").of(picture, "Hm?", reads_question=False)
    theirs = Prompts(tmp_path / "changed").of(picture, "Hm?", reads_question=False)
    pixels: list[Any] = [ours.pixel_values, theirs.pixel_values]
    assert np.array_equal(*pixels)
    with pytest.raises(InputError, match="found 80; the processor makes one of 16 of an image"):
        chosen(ExportChoices(checkpoint=choices.checkpoint, visual_tokens=80), None)


def test_options_that_mean_nothing_here_are_refused() -> None:
    tiled, whole = (str(checkpoint(kind)) for kind in ("smolvlm", "clip-qwen2"))
    with pytest.raises(InputError, match="smolvlm joins patches itself and is exported as it is; expected none"):
        chosen(ExportChoices(checkpoint=tiled, visual_tokens=16, compressor=Compressor.AVERAGE_POOL), None)
    with pytest.raises(InputError, match="--image: an export of llava makes one view of any"):
        chosen(ExportChoices(checkpoint=whole, image=(640, 480)), None)
    with pytest.raises(InputError, match="model_type is 'smolvlm'; vlmplan trains llava, llava_next"):
        assemble(tiled, None, (Compressor.AVERAGE_POOL, (36,)), 0)


# SmolVLM2-500M-Video-Instruct's own files, but for the numbers of layers, the vocabulary and the image token.
_HUB_CONFIG = {
    "architectures": ["SmolVLMForConditionalGeneration"], "image_token_id": 3, "model_type": "smolvlm",
    "pad_token_id": 128002, "scale_factor": 4, "tie_word_embeddings": False, "torch_dtype": "float32",
    "transformers_version": "4.47.1", "use_cache": False, "vocab_size": 320,
    "text_config": {
        "architectures": ["VLlama3ForCausalLM"], "head_dim": 64, "hidden_size": 960, "intermediate_size": 2560,
        "is_llama_config": True, "max_position_embeddings": 8192, "model_type": "llama", "num_attention_heads": 15,
        "num_hidden_layers": 1, "num_key_value_heads": 5, "pad_token_id": 2, "pixel_shuffle_factor": 4,
        "qk_layer_norms": False, "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_theta": 100000,
        "use_resampler": False, "vocab_size": 320,
    },
    "vision_config": {
        "hidden_size": 768, "image_size": 512, "max_image_size": {"longest_edge": 512}, "model_type": "smolvlm_vision",
        "num_attention_heads": 12, "num_hidden_layers": 1, "patch_size": 16, "size": {"longest_edge": 2048},
        "tie_word_embeddings": False, "use_base_siglip": False,
    },
}  # fmt: skip
_HUB_IMAGES = {
    "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
    "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "SmolVLMImageProcessor",
    "image_std": [0.5, 0.5, 0.5], "max_image_size": {"longest_edge": 512}, "processor_class": "SmolVLMProcessor",
    "resample": 1, "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 2048},
}  # fmt: skip


def test_a_checkpoint_as_the_hub_has_it_is_exported(tmp_path: Path) -> None:
    """Of transformers 4.47: files laid out as then, weights in bf16, and the LLM's class by its name in training."""
    transformers, folder = quiet_transformers(), tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_HUB_CONFIG))
    model = transformers.AutoModelForImageTextToText.from_config(transformers.AutoConfig.from_pretrained(folder))
    enliven(model, 0)
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(checkpoint("smolvlm") / name, folder / name)
    template = (checkpoint("smolvlm") / "chat_template.jinja").read_text()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    (folder / "preprocessor_config.json").write_text(json.dumps(_HUB_IMAGES))
    processor = {"image_seq_len": 64, "processor_class": "SmolVLMProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    assert [one.visual_tokens for one in api.tokens(model=folder).reachable] == [64, 320, 640, 832]
    api.export(checkpoint=folder, visual_tokens=64, out=tmp_path / "made")
    options = Options(checkpoint=str(folder), threads=2, repeats=1)
    assert not _failed(Validator(options, quiet).validate(tmp_path / "made").report)
    prompt = Prompts(tmp_path / "made").of(random_picture(tmp_path, 640, 480), "What is this?", reads_question=False)
    assert (prompt.input_ids == 3).sum() == 64
    assert "USER" in Prompts(tmp_path / "made").tokenizer.decode(prompt.input_ids[0])
    assert json.loads((tmp_path / "made" / "tokenizer_config.json").read_text())["chat_template"] == template


def _reversed_tiles(folder: Path) -> None:
    """The last tile's tokens come first."""

    def change(graph: Any) -> None:
        graph.node[-1].output[0] = "ordered"
        ends = {"from": [-1], "to": [-(2**62)], "by": [-1], "over": [0]}
        graph.initializer.extend(numpy_helper.from_array(np.array(at, np.int64), name) for name, at in ends.items())
        graph.node.append(helper.make_node("Slice", ["ordered", *ends], ["image_features"]))

    rewired(folder, change)


def _negated(folder: Path) -> None:
    revalued(folder, "connector.modality_projection.proj.weight.T", lambda array: -array)


def _unscaled(folder: Path) -> None:
    """The branches of a layer as they come."""
    revalued(folder, "vision_tower.encoder.layer.1.lambda_2", np.ones_like)


def _patches_shifted(folder: Path) -> None:
    """The first token is kept, and the last patch cut off."""

    def change(graph: Any) -> None:
        node = next(one for one in graph.node if one.op_type == "Slice")
        ends = {"first": [0], "before": [-1]}
        graph.initializer.extend(numpy_helper.from_array(np.array(at, np.int64), name) for name, at in ends.items())
        node.input[1:3] = [*ends]

    rewired(folder, change)


def _positions_off(folder: Path) -> None:
    revalued(folder, "places", lambda array: np.roll(array, 1, axis=1))


def _mask_ignored(folder: Path) -> None:
    def change(graph: Any) -> None:
        for node in graph.node:
            if node.op_type == "Attention":
                del node.input[3]

    rewired(folder, change)


def _columns_first(folder: Path) -> None:
    """Pixel shuffle joins the patches of a square the other way."""

    def change(graph: Any) -> None:
        node = [one for one in graph.node if one.op_type == "Transpose"][-1]
        node.attribute[0].ints[:] = [0, 1, 3, 4, 2, 5]

    rewired(folder, change)


def _json(folder: Path, name: str, **changed: Any) -> None:
    content = json.loads((folder / name).read_text())
    content.get("image_processor", content).update(changed)
    if "image_processor" in content:
        content.update({key: value for key, value in changed.items() if key in content})
    (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _settings(folder: Path, **changed: Any) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        _json(folder, name, **changed)


FORGED: dict[str, tuple[Any, set[str]]] = {
    "tiles reversed": (_reversed_tiles, {"structure"}),
    "columns before rows": (_columns_first, {"structure"}),
    "an image of other numbers": (lambda folder: _json(folder, "manifest.json", image=[1024, 300]), {"manifest"}),
    "an image of no width": (lambda folder: _json(folder, "manifest.json", image=[0, 768]), {"manifest"}),
    "an endless image": (lambda folder: _json(folder, "manifest.json", image=[10**30, 1]), {"manifest"}),
    "three sides": (lambda folder: _json(folder, "manifest.json", image=[1024, 768, 3]), {"manifest"}),
    "no image": (lambda folder: _json(folder, "manifest.json", image=None), {"manifest"}),
}


# What only one family has.
FORGED_OF: dict[str, dict[str, tuple[Any, set[str]]]] = {
    "smolvlm": {
        "connector negated": (_negated, {"weights", "vision"}),
        "positions off": (_positions_off, {"weights", "vision"}),
        "mask ignored": (_mask_ignored, {"structure"}),
        "an image of another edge": (
            lambda folder: _json(folder, "manifest.json", image=[4000, 300]),
            {"configuration"},
        ),
        "other tokens": (
            lambda folder: _json(folder, "manifest.json", visual_tokens=160),
            {"configuration", "judge"},
        ),
        "scale_factor": (lambda folder: _json(folder, "config.json", scale_factor=4), {"configuration"}),
        "longer edge": (lambda folder: _settings(folder, size={"longest_edge": 448}), {"configuration"}),
        "tiles of another size": (
            lambda folder: _settings(folder, max_image_size={"longest_edge": 56}),
            {"configuration"},
        ),
        "not split": (lambda folder: _settings(folder, do_image_splitting=False), {"configuration"}),
        "other tokens a tile": (
            lambda folder: _json(folder, "processor_config.json", image_seq_len=8),
            {"configuration"},
        ),
    },
    "internvl": {
        "layer unscaled": (_unscaled, {"weights", "vision"}),
        "patches shifted": (_patches_shifted, {"structure"}),
        "an image of other tiles": (
            lambda folder: _json(folder, "manifest.json", image=[200, 200]),
            {"configuration"},
        ),
        "other tokens": (
            lambda folder: _json(folder, "manifest.json", visual_tokens=112),
            {"configuration", "judge"},
        ),
        "downsample_ratio": (lambda folder: _json(folder, "config.json", downsample_ratio=0.25), {"configuration"}),
        "more tiles": (lambda folder: _settings(folder, max_patches=12), {"configuration"}),
        "fewest tiles": (lambda folder: _settings(folder, min_patches=2), {"configuration"}),
        "tiles of another size": (
            lambda folder: _settings(folder, size={"height": 56, "width": 56}),
            {"configuration"},
        ),
        "not cropped": (lambda folder: _settings(folder, crop_to_patches=False), {"configuration"}),
        "other tokens a tile": (
            lambda folder: _json(folder, "processor_config.json", image_seq_length=8),
            {"configuration"},
        ),
        "another client": (
            lambda folder: _json(folder, "manifest.json", clients=["vlmplan", "transformers.js"]),
            {"manifest"},
        ),
    },
}


@pytest.mark.parametrize(("kind", "what"), [(kind, what) for kind, own in FORGED_OF.items() for what in FORGED | own])
def test_forgeries_of_tiles_are_refused(kind: str, what: str, tmp_path: Path) -> None:
    """All digests agree with what was forged, and yet it is seen."""
    shutil.copytree(exported(kind), tmp_path / "forged")
    change, expected = (FORGED | FORGED_OF[kind])[what]
    change(tmp_path / "forged")
    agree(tmp_path / "forged")
    report = judged_export(tmp_path / "forged", kind, visual_tokens=80)
    assert expected <= _failed(report), report.checks
    assert "integrity" not in _failed(report)


def test_an_expected_image_is_held_against_the_export(tmp_path: Path) -> None:
    shutil.copytree(exported("smolvlm"), tmp_path / "forged")
    _json(tmp_path / "forged", "manifest.json", image=[640, 640])
    report = judged_export(tmp_path / "forged", "smolvlm", visual_tokens=80)  # as many tokens of a square, too
    assert not report.failed
    told = next(check.detail for check in report.checks if check.name == "judge")
    assert "by the export's own word: of an image of 640x640" in told
    assert _failed(judged_export(tmp_path / "forged", "smolvlm", visual_tokens=80, image=USUAL_IMAGE)) == {"judge"}


def test_exports_that_name_no_image_are_read(tmp_path: Path) -> None:
    """Manifests of vlmplan 0.2 lack the key."""
    shutil.copytree(exported(), tmp_path / "older")
    path = tmp_path / "older" / "manifest.json"
    content = json.loads(path.read_text())
    assert content.pop("image") is None
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    assert not _failed(judged_export(tmp_path / "older", "clip-qwen2"))


@pytest.mark.parametrize("kind", ["smolvlm", "internvl"])
def test_checkpoint_and_export_answer_alike(kind: str, tmp_path: Path) -> None:
    picture = random_picture(tmp_path, 420, 300)
    row = {"image": picture.name, "question": "What is this?", "answer": "nothing"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(row) + "\n")
    found = api.evaluate(
        model=exported(kind), questions=tmp_path / "questions.jsonl", images=tmp_path, against=checkpoint(kind),
    )  # fmt: skip
    assert found.visual_tokens == 80
    assert found.against is not None and found.against.differing == 0


@pytest.mark.parametrize(
    ("kind", "last"),
    [("smolvlm", "vision_tower.post_layernorm.bias"), ("internvl-large", "vision_tower.layernorm.bias")],
)
def test_names_of_tensors_are_the_checkpoints(kind: str, last: str) -> None:
    """Every tensor of the checkpoint is in a graph, under its name."""
    stored = load_file(checkpoint(kind) / "model.safetensors")
    graphs = [onnx.load(exported(kind) / name) for name in GRAPHS]
    held = {one.name.removesuffix(".T") for model in graphs for one in model.graph.initializer}
    assert {canonical(name) for name in stored} <= held
    assert {"language_model.norm.weight", last} <= held


@pytest.mark.parametrize("kind", ["smolvlm", "internvl"])
def test_a_plan_chooses_among_tiles_and_its_export_is_held_against_it(kind: str, tmp_path: Path) -> None:
    folder = checkpoint(kind)
    plan = plan_for(folder, 10.0)
    assert (plan.choice.visual_tokens, plan.choice.compressor) == (208, Compressor.NONE)
    made = chosen(ExportChoices(checkpoint=str(folder)), plan)
    assert (made.visual_tokens, made.image) == (208, plan.workload.image)
    export(made, tmp_path / "made", quiet)
    report = judged_export(tmp_path / "made", kind, plan=plan, budget_only=True)
    assert not report.failed and not report.reservations, report.failed
    other = replace(plan, workload=replace(plan.workload, image=(640, 640)))
    export(replace(made, plan=None), tmp_path / "other", quiet)
    report = judged_export(tmp_path / "other", kind, plan=other, budget_only=True)
    assert _failed(report) == {"plan"}
    with pytest.raises(InputError, match="--image: found 640x640, the plan says 1024x768"):
        chosen(ExportChoices(checkpoint=str(folder), image=(640, 640)), plan)


def test_untrained_pooling_is_not_offered_where_an_export_has_none() -> None:
    """Of one view pooled tokens are candidates; of tiles the processor's own numbers alone."""
    law = str(catalogue.find(catalogue.Shelf.LAWS, "reasoning"))
    for kind, fewest in (("smolvlm", 16), ("internvl", 16), ("clip-qwen2", 1)):
        found = api.recommend(
            hardware="amd-epyc-9654", runtime="onnxruntime", models=checkpoint(kind), task=law, latency="10s",
            allow_untrained=True, text_tokens=20, output_tokens=8, precision="fp32",
        )  # fmt: skip
        assert min(point.visual_tokens for point in found.front) == fewest, kind


def test_shipped_models_of_these_types_are_exportable() -> None:
    found = {model.name for model in catalogue.models() if model.architecture in TILED}
    assert len(found) >= 7
    for model in catalogue.models():
        known = ARCHITECTURES.get(model.architecture)
        assert model.exports_tiles is (model.exportable and known is not None and known.tiled), model.name
