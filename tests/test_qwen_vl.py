"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images of any shape, grids read when the graph runs, positions in three axes."""

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mutants import DECODER, agree, revalued, rewired
from PIL import Image
from safetensors.torch import load_file
from small_models import (
    GRIDDED,
    USUAL_IMAGE,
    checkpoint,
    exported,
    hub_checkpoint,
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
from vlmplan.checkpoints.checkpoint import canonical
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts, answer
from vlmplan.exporting.manifest import GRAPHS
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.positions import Positions, joined_positions, positions_of
from vlmplan.exporting.runner import OnnxModel, Prompt, generate, prompt_embeds, stepped
from vlmplan.exporting.write import export
from vlmplan.graphs.qwen_vl import GRID_NAMES, patch_graph
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator

IMAGE = 3  # the image token's number in small checkpoints


@functools.cache
def _validator(kind: str) -> Validator:
    """One that loads its reference once, for exports of 88 squares."""
    return Validator(Options(checkpoint=str(checkpoint(kind)), threads=2, repeats=1, visual_tokens=88), quiet)


def _failed(report: Report) -> set[str]:
    return {check.name for check in report.failed}


SHAPES: dict[str, list[tuple[int, int, int]]] = {
    "a square": [(1, 1, 1)],
    "a window": [(1, 4, 4)],
    "windows cut off": [(1, 7, 9)],
    "a row": [(1, 1, 23)],
    "images of unlike shapes": [(1, 3, 5), (1, 8, 2), (1, 1, 1), (1, 5, 11)],
    "frames": [(3, 5, 6), (1, 2, 2), (2, 1, 9)],
}


@pytest.mark.parametrize("kind", GRIDDED)
def test_features_equal_pytorch_whatever_the_grids(kind: str, tmp_path: Path) -> None:
    """One graph for all: windows whole and cut off, several images and several frames in one run."""
    opened, rng = opened_checkpoint(kind), np.random.default_rng(0)
    merge, name = opened.joined_side, GRID_NAMES[opened.config.model_type]
    graph = patch_graph(opened, Precision.FP32, merge)
    width = graph.graph.inputs[0].shape[1]
    for squares in SHAPES.values():
        grid = np.array(squares, np.int64) * [1, merge, merge]
        pixels = rng.standard_normal((int(grid.prod(axis=1).sum()), width)).astype(np.float32)
        found = run_graph(graph, {"pixel_values": pixels, name: grid}, tmp_path)["image_features"]
        expected = reference_of(kind).image_features(pixels, grid=grid)
        assert found.shape == (sum(map(np.prod, squares)), 64 * (1 + len(opened.stacked_layers)))
        assert largest_difference(found, expected) < 1e-5 * expected.std()
        alone = int(np.prod(grid[0]))
        first = run_graph(graph, {"pixel_values": pixels[:alone], name: grid[:1]}, tmp_path)["image_features"]
        assert largest_difference(first, found[: len(first)]) < 1e-5 * expected.std()


def test_a_grid_of_fewer_patches_than_there_are_is_no_features() -> None:
    model = OnnxModel(exported("qwen2.5-vl"))
    pixels = np.zeros((16, 1176), np.float32)
    with pytest.raises(InputError, match="cannot run the vision encoder"):
        model.image_features(pixels, grid=np.array([[1, 2, 2]], np.int64))
    with pytest.raises(InputError, match="reads the grid of an image's patches; give one"):
        model.image_features(pixels)


def _asked(rng: Any, merge: int, shapes: list[tuple[int, int, int]], length: int) -> tuple[list[int], Any]:
    """Token ids with images between texts, and their grids in patches."""
    ids: list[int] = rng.integers(10, 200, rng.integers(0, 5)).tolist()
    for shape in shapes:
        ids += [IMAGE] * int(np.prod(shape)) + rng.integers(10, 200, rng.integers(1, 6)).tolist()
    ids = rng.integers(10, 200, max(0, length - len(ids))).tolist() + ids
    return ids, np.array(shapes, np.int64).reshape(-1, 3) * [1, merge, merge]


@pytest.mark.parametrize("kind", GRIDDED)
@pytest.mark.parametrize("seed", range(4))
def test_positions_are_those_of_transformers(kind: str, seed: int) -> None:
    """Batches of unlike prompts, padded on the left, without images, with one, and with several."""
    rng, merge = np.random.default_rng(seed), opened_checkpoint(kind).joined_side
    counts = [1, *rng.integers(0, 4, 2)]
    rows = []
    for images in counts:
        shapes = [(1, *map(int, rng.integers(1, 7, 2))) for _ in range(images)]
        rows.append(_asked(rng, merge, shapes, 3))  # type: ignore[arg-type]
    longest = max(len(ids) for ids, _ in rows)
    mask = np.array([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in rows])
    ids = np.array([[0] * (longest - len(row)) + row for row, _ in rows])
    grid = np.concatenate([grid for _, grid in rows])
    found = positions_of(ids, mask, IMAGE, grid // (1, merge, merge))
    theirs, deltas = reference_of(kind).model.model.get_rope_index(
        torch.from_numpy(ids), (torch.from_numpy(ids) == IMAGE).int(), torch.from_numpy(grid),
        attention_mask=torch.from_numpy(mask),
    )  # fmt: skip
    assert found.first.tolist() == theirs.tolist()
    assert found.deltas.tolist() == deltas.tolist()
    assert found.of(mask, longest) is not None
    further = found.of(np.pad(mask, ((0, 0), (0, 2)), constant_values=1), 2)
    assert (further[:, :, 0] == mask.sum(axis=1) + deltas.numpy()[:, 0]).all()
    assert (further[:, :, 1] == further[:, :, 0] + 1).all()


@pytest.mark.parametrize(
    ("squares", "message"),
    [
        ([[1, 2, 3]], "grids of 1 more images than"),
        ([[1, 4, 4]], "the prompt ends within an image"),
        ([], "image tokens of more images than it has grids"),
    ],
)
def test_grids_that_do_not_fit_a_prompt_are_named(squares: list[list[int]], message: str) -> None:
    ids = np.array([[7, *[IMAGE] * 6 * (squares != [[1, 2, 3]]), 8]])
    with pytest.raises(InputError, match=message):
        positions_of(ids, np.ones_like(ids), IMAGE, np.array(squares).reshape(-1, 3))


def _inputs(kind: str, folder: Path, sizes: list[tuple[int, int]], **setting: Any) -> dict[str, Any]:
    """What the checkpoint's processor makes of pictures and a question, as torch tensors."""
    processor = Prompts(checkpoint(kind)).processor
    content = [{"type": "image"}] * len(sizes) + [{"type": "text", "text": "What is this?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(random_picture(folder, *size)) for size in sizes]
    return dict(processor(images=images, text=text, return_tensors="pt", images_kwargs=setting))


@pytest.mark.parametrize(
    ("kind", "squares", "size", "seen"),
    [
        ("qwen2-vl", 12, (300, 200), 12),
        ("qwen2-vl", 88, (420, 300), 88),
        ("qwen2-vl", 999, (200, 500), 126),
        ("qwen2.5-vl", 88, (600, 150), 100),
        ("qwen2.5-vl", 192, (512, 384), 192),
        ("qwen2.5-vl-wide", 130, (320, 240), 130),
        ("qwen3-vl", 88, (600, 150), 95),
        ("qwen3-vl", 192, (512, 384), 192),
        ("qwen3-vl-wide", 88, (240, 320), 88),
    ],
)
def test_tokens_are_those_of_transformers_own_generate(
    kind: str, squares: int, size: tuple[int, int], seen: int, tmp_path: Path
) -> None:
    """The checkpoint's processor, set as ``vlmplan tokens`` says, and ``generate``, against the export's own files."""
    export(order(kind, visual_tokens=squares), tmp_path / "made", quiet)
    picture = random_picture(tmp_path, *size)
    prompt = Prompts(tmp_path / "made").of(picture, "What is this?", reads_question=False)
    assert (prompt.input_ids == IMAGE).sum() == seen
    ours = generate(OnnxModel(tmp_path / "made"), prompt, 12, frozenset({2}))
    found = api.tokens(model=checkpoint(kind), visual_tokens=squares)
    assert found.wanted is not None
    setting = json.loads("{" + found.wanted.setting.split("={", 1)[1])
    inputs = _inputs(kind, tmp_path, [size], **setting)
    assert inputs["input_ids"].tolist() == prompt.input_ids.tolist()
    assert inputs["image_grid_thw"].tolist() == prompt.grid.tolist()  # type: ignore[union-attr]
    with torch.inference_mode():
        theirs = reference_of(kind).model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert list(ours.tokens) == theirs[0, prompt.input_ids.shape[1] :].tolist()


@pytest.mark.parametrize("kind", GRIDDED)
def test_several_images_are_read_as_transformers_reads_them(kind: str, tmp_path: Path) -> None:
    """Two images of other shapes in one prompt, by the whole model of transformers: no part of ours decides."""
    inputs = _inputs(kind, tmp_path, [(200, 130), (90, 220)])
    prompt = Prompt(
        input_ids=inputs["input_ids"].numpy(), attention_mask=inputs["attention_mask"].numpy(),
        pixel_values=inputs["pixel_values"].numpy(), grid=inputs["image_grid_thw"].numpy(),
        merge=opened_checkpoint(kind).joined_side, image_token=IMAGE,
    )  # fmt: skip
    model = reference_of(kind).model
    with torch.inference_mode():
        theirs = model.generate(
            **inputs, max_new_tokens=12, min_new_tokens=12, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    ours = generate(OnnxModel(exported(kind)), prompt, 12)
    assert list(ours.tokens) == theirs.sequences[0, -12:].tolist()
    assert largest_difference(np.stack(ours.logits), torch.cat(theirs.logits).numpy()) < 1e-4


@pytest.mark.parametrize("kind", ["qwen2.5-vl", "qwen3-vl"])
def test_the_rows_of_a_batch_stand_where_they_stand_alone(kind: str, tmp_path: Path) -> None:
    """The longer one's positions, for which the other's would be wrong."""
    model = OnnxModel(exported(kind))
    prompts = [
        Prompts(exported(kind)).of(random_picture(tmp_path, *size), text, reads_question=False)
        for size, text in (((100, 60), "Hm?"), ((60, 200), "What is this picture of?"))
    ]
    embeds = [prompt_embeds(model, prompt) for prompt in prompts]
    longest = max(one.shape[1] for one in embeds)
    fed = np.concatenate([np.pad(one, ((0, 0), (longest - one.shape[1], 0), (0, 0))) for one in embeds])
    mask = np.stack([np.arange(longest) >= longest - one.shape[1] for one in embeds]).astype(np.int64)
    places = [one.positions for one in prompts if one.positions is not None]
    both = joined_positions([one.padded(longest) for one in places])
    alone = np.stack([generate(model, prompt, 1).logits[0] for prompt in prompts])
    assert largest_difference(stepped(model, fed, mask, None, both)[0], alone) < 1e-5
    swapped = Positions(first=both.first[:, ::-1], deltas=both.deltas[::-1])
    assert largest_difference(stepped(model, fed, mask, None, swapped)[0], alone) > 1e-2
    assert largest_difference(stepped(model, fed, mask, None, None)[0], alone) > 1e-2


@pytest.mark.parametrize(
    ("kind", "precision", "base", "squares"),
    [
        ("qwen2-vl", Precision.FP32, Precision.FP32, 6),
        ("qwen2.5-vl", Precision.FP16, Precision.FP32, 88),
        ("qwen2.5-vl", Precision.INT8, Precision.FP16, 88),
        ("qwen2.5-vl-wide", Precision.FP32, Precision.FP32, 54),
        ("qwen3-vl", Precision.FP16, Precision.FP32, 88),
        ("qwen3-vl", Precision.INT8, Precision.FP16, 88),
        ("qwen3-vl-wide", Precision.INT4, Precision.FP32, 54),
    ],
)
def test_exports_validate(kind: str, precision: Precision, base: Precision, squares: int, tmp_path: Path) -> None:
    made = order(kind, precision=precision, base_precision=base, visual_tokens=squares)
    manifest = export(made, tmp_path / "made", quiet)
    assert manifest.architecture == GRIDDED[kind].model_type
    assert manifest.clients == ("vlmplan", "transformers.js")
    report = judged_export(tmp_path / "made", kind, visual_tokens=squares, image=USUAL_IMAGE)
    assert not report.failed and not report.reservations, report.failed


@pytest.mark.parametrize("kind", GRIDDED)
def test_every_number_of_vlmplan_tokens_can_be_exported(kind: str, tmp_path: Path) -> None:
    """And pictures of any size make about as many: what a processor makes of a large one unasked no memory holds."""
    reached = [one.visual_tokens for one in api.tokens(model=checkpoint(kind)).reachable]
    assert len(reached) >= 14
    for count in reached[::4]:
        made = chosen(ExportChoices(checkpoint=str(checkpoint(kind)), visual_tokens=count), None)
        export(made, tmp_path / "made", quiet, overwrite=True)
        assert answer(tmp_path / "made", random_picture(tmp_path, 1024, 768), "Hm?", 1, "cpu", 1).visual_tokens == count
    unasked = chosen(ExportChoices(checkpoint=str(checkpoint(kind))), None)
    assert (unasked.visual_tokens, unasked.image) == (reached[-1], USUAL_IMAGE)
    held = json.loads((tmp_path / "made" / "preprocessor_config.json").read_text())
    least = made.visual_tokens * opened_checkpoint(kind).image_size ** 2
    assert least <= held["size"]["longest_edge"] == held["max_pixels"] < 1.2 * least
    large = random_picture(tmp_path, 2000, 1700)
    assert 0.8 * count < answer(tmp_path / "made", large, "Hm?", 1, "cpu", 1).visual_tokens <= 1.2 * count
    with pytest.raises(InputError, match="found 7; the processor makes one of"):
        chosen(ExportChoices(checkpoint=str(checkpoint(kind)), visual_tokens=7), None)


@pytest.mark.parametrize("kind", GRIDDED)
@pytest.mark.parametrize("pooled", [2, 3])
def test_pooled_features_are_the_means_of_transformers_own(kind: str, pooled: int, tmp_path: Path) -> None:
    """One picture cut by the checkpoint's processor and by an export's, whose patches come in larger squares."""
    opened, merge = opened_checkpoint(kind), opened_checkpoint(kind).joined_side
    side = opened.image_size * pooled
    picture = Image.open(random_picture(tmp_path, 4 * side, 2 * side))
    processor = Prompts(checkpoint(kind)).processor.image_processor
    processor.size = {"shortest_edge": 1, "longest_edge": 10**7}
    own = processor(images=[picture, picture.transpose(Image.Transpose.ROTATE_90)], return_tensors="np")
    processor.merge_size = merge * pooled
    larger = processor(images=[picture, picture.transpose(Image.Transpose.ROTATE_90)], return_tensors="np")
    assert own["image_grid_thw"].tolist() == larger["image_grid_thw"].tolist()
    assert not np.array_equal(own["pixel_values"], larger["pixel_values"])
    tokens = reference_of(kind).image_features(own["pixel_values"], grid=own["image_grid_thw"])
    means = []
    for number, (columns, rows) in enumerate(((4, 2), (2, 4))):
        half = tokens.reshape(2, -1, tokens.shape[1])[number]
        cells = half.reshape(rows, pooled, columns, pooled, -1)
        means += [cells[row, :, column].mean(axis=(0, 1)) for row in range(rows) for column in range(columns)]
    graph = patch_graph(opened, Precision.FP32, merge * pooled)
    feeds = {"pixel_values": larger["pixel_values"], GRID_NAMES[opened.config.model_type]: larger["image_grid_thw"]}
    found = run_graph(graph, feeds, tmp_path)["image_features"]
    assert largest_difference(found, np.stack(means)) < 1e-5 * tokens.std()


@pytest.mark.parametrize(
    ("kind", "tokens", "pooled", "precision"),
    [
        ("qwen2-vl", 48, 2, Precision.FP32),
        ("qwen2.5-vl", 20, 3, Precision.FP32),
        ("qwen2.5-vl", 12, 4, Precision.FP16),
        ("qwen3-vl", 35, 2, Precision.FP32),
    ],
)
def test_exports_of_pooled_tokens_validate(
    kind: str, tokens: int, pooled: int, precision: Precision, tmp_path: Path
) -> None:
    """The image keeps its pixels; clients count larger squares by the two settings that go together."""
    small: dict[str, Any] = {"image": (448, 336), "compressor": Compressor.AVERAGE_POOL}
    made = order(kind, visual_tokens=tokens, precision=precision, **small)
    export(made, tmp_path / "made", quiet)
    options = Options(checkpoint=str(checkpoint(kind)), threads=2, repeats=1, visual_tokens=tokens, **small)
    validator = Validator(options, quiet)
    report = validator.validate(tmp_path / "made").report
    assert not report.failed and not report.reservations, report.failed
    assert answer(tmp_path / "made", random_picture(tmp_path, 448, 336), "Hm?", 1, "cpu", 1).visual_tokens == tokens
    held = json.loads((tmp_path / "made" / "preprocessor_config.json").read_text())
    tower = json.loads((tmp_path / "made" / "config.json").read_text())["vision_config"]
    assert held["merge_size"] == tower["spatial_merge_size"] == 2 * pooled
    _settings(tmp_path / "made", merge_size=2)
    agree(tmp_path / "made")
    assert "configuration" in _failed(validator.validate(tmp_path / "made").report)


def test_numbers_that_no_pooling_leaves_are_named() -> None:
    folder, pool = str(checkpoint("qwen2.5-vl")), Compressor.AVERAGE_POOL
    with pytest.raises(InputError, match="a side, averaged, leave one of 15, 20, 30, 35, 63, 108, 252"):
        chosen(ExportChoices(checkpoint=folder, visual_tokens=64, compressor=pool), None)
    with pytest.raises(InputError, match="--compressor average-pool: give --visual-tokens too"):
        chosen(ExportChoices(checkpoint=folder, compressor=pool), None)
    with pytest.raises(
        InputError, match="found quecc; qwen2_5_vl joins patches itself and is exported as it is; expected none or"
    ):
        chosen(ExportChoices(checkpoint=folder, visual_tokens=63, compressor=Compressor.QUECC), None)


def test_a_number_between_those_that_are_listed_can_be_exported_where_a_limit_makes_it() -> None:
    listed = [one.visual_tokens for one in api.tokens(model=checkpoint("qwen2.5-vl")).reachable]
    made = chosen(ExportChoices(checkpoint=str(checkpoint("qwen2.5-vl")), visual_tokens=108), None)
    assert made.visual_tokens == 108 and 108 not in listed


def _checkpoint_with(folder: Path, name: str, change: dict[str, Any], table: str | None = None) -> ExportChoices:
    """A copy of a small checkpoint with other values in one of its files, or in a table of it."""
    shutil.copytree(checkpoint("qwen2.5-vl"), folder / "changed")
    path = folder / "changed" / name
    content = json.loads(path.read_text())
    (content[table] if table else content).update(change)
    path.write_text(json.dumps(content))
    return ExportChoices(checkpoint=str(folder / "changed"))


@pytest.mark.parametrize(
    ("name", "table", "change", "message"),
    [
        ("config.json", "vision_config", {"window_size": 14}, "window_size is 14, smaller than a square"),
        ("config.json", "vision_config", {"out_hidden_size": 32}, "makes tokens of width 32, the LLM's are 64 wide"),
        ("config.json", "vision_config", {"num_heads": 5}, "width is 64, expected a multiple of 4 x 5 heads"),
        ("config.json", "vision_config", {"patch_size": [14, 7]}, "patch_size is .14, 7., expected a whole number"),
        ("config.json", "vision_config", {"hidden_act": "relu"}, "activation 'relu' is not known"),
        (
            "config.json",
            "text_config",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2]}},
            "mrope_section is .4, 2., expected three numbers, 8 in all: half a head",
        ),
        ("processor_config.json", "image_processor", {"do_resize": False}, "its processor has do_resize off"),
        ("processor_config.json", "image_processor", {"temporal_patch_size": 1}, "temporal_patch_size is 1, the"),
        ("processor_config.json", "image_processor", {"merge_size": 4}, "merge_size: found 4, the model joins 2"),
        (
            "processor_config.json",
            "image_processor",
            {"image_processor_type": "Glm4vImageProcessor"},
            "its image processor is Glm4vImageProcessor, expected Qwen2VLImageProcessor",
        ),
        ("config.json", None, {"image_token_id": 5}, r"expected the added token <\|image_pad\|>, number 5"),
        ("config.json", None, {"vision_start_token_id": 250}, "no added token 250, the config's vision_start_token_id"),
    ],
)
def test_what_cannot_be_exported_is_named(
    name: str, table: str | None, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    choices = _checkpoint_with(tmp_path, name, change, table)
    with pytest.raises(InputError, match=message):
        export(chosen(choices, None), tmp_path / "made", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


# As Qwen2-VL-2B-Instruct and Qwen2.5-VL-3B-Instruct lay their files out, with small numbers.
_HUB: dict[str, Any] = {
    "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "vision_start_token_id": 5,
    "vision_end_token_id": 6, "vision_token_id": 7, "image_token_id": 3, "video_token_id": 4, "hidden_act": "silu",
    "hidden_size": 64, "initializer_range": 0.02, "intermediate_size": 96, "max_position_embeddings": 32768,
    "max_window_layers": 28, "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "transformers_version": "4.41.2", "use_cache": True, "use_sliding_window": False,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}, "vocab_size": 300,
}  # fmt: skip
_HUB_TOWERS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 2, "embed_dim": 32, "mlp_ratio": 4, "num_heads": 2, "in_chans": 3, "hidden_size": 64,
                 "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2},
    "qwen2_5_vl": {"depth": 2, "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                   "in_chans": 3, "out_hidden_size": 64, "patch_size": 14, "spatial_merge_size": 2,
                   "spatial_patch_size": 14, "window_size": 112, "fullatt_block_indexes": [1], "tokens_per_second": 2,
                   "temporal_patch_size": 2},
}  # fmt: skip
_HUB_IMAGES = {
    "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
}  # fmt: skip
_CLASSES = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}


def _hub_name(name: str) -> str:
    """A tensor's name as these files have it."""
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


@pytest.mark.parametrize("kind", _CLASSES)
def test_a_checkpoint_as_the_hub_has_it_is_exported(kind: str, tmp_path: Path) -> None:
    """Of transformers 4.41: text at the top of the configuration, older names, bf16 in two shards, tied embeddings."""
    config = _HUB | {"architectures": [f"{_CLASSES[kind]}ForConditionalGeneration"], "model_type": kind,
                     "vision_config": _HUB_TOWERS[kind]}  # fmt: skip
    images = _HUB_IMAGES | {"processor_class": f"{_CLASSES[kind]}Processor"}
    folder = hub_checkpoint(tmp_path / "hub", "qwen2.5-vl", config, images, _hub_name)
    api.export(checkpoint=folder, visual_tokens=54, out=tmp_path / "made")
    options = Options(checkpoint=str(folder), threads=2, repeats=1)
    report = Validator(options, quiet).validate(tmp_path / "made").report
    assert not report.failed, report.failed
    prompt = Prompts(tmp_path / "made").of(random_picture(tmp_path, 640, 480), "What is this?", reads_question=False)
    assert (prompt.input_ids == IMAGE).sum() == 54
    assert "USER" in Prompts(tmp_path / "made").tokenizer.decode(prompt.input_ids[0])
    held = json.loads((tmp_path / "made" / "preprocessor_config.json").read_text())
    assert (held["min_pixels"], held["size"]["shortest_edge"]) == (3136, 3136)


def test_a_tensor_under_either_of_its_names() -> None:
    for stored in ("visual.blocks.0.attn.qkv.weight", "model.visual.blocks.0.attn.qkv.weight"):
        assert canonical(stored) == "vision_tower.blocks.0.attn.qkv.weight"
    assert canonical("model.layers.0.mlp.up_proj.weight") == "language_model.layers.0.mlp.up_proj.weight"
    assert canonical("model.embed_tokens.weight") == "language_model.embed_tokens.weight"


@pytest.mark.parametrize("kind", GRIDDED)
def test_names_of_tensors_are_the_checkpoints(kind: str) -> None:
    """Every tensor of the checkpoint is in a graph, under its name."""
    stored = load_file(checkpoint(kind) / "model.safetensors")
    graphs = [onnx.load(exported(kind) / name) for name in GRAPHS]
    held = {one.name.removesuffix(".T") for model in graphs for one in model.graph.initializer}
    assert {canonical(name) for name in stored} <= held
    last = "linear_fc2" if kind.startswith("qwen3") else "mlp.2"
    assert {"language_model.norm.weight", f"vision_tower.merger.{last}.bias"} <= held


def _nodes(graph: Any, kind: str) -> list[Any]:
    return [node for node in graph.node if node.op_type == kind]


def _windows_ignored(folder: Path) -> None:
    """The first layer attends as the one with whole images does."""

    def change(graph: Any) -> None:
        first, whole = _nodes(graph, "Attention")[:2]
        makers = {output: node for node in graph.node for output in node.output}
        for number in range(3):
            ours, theirs = makers[first.input[number]], makers[whole.input[number]]
            ours.input[1] = theirs.input[1]
            makers[ours.input[0]].input[1] = makers[theirs.input[0]].input[1]
        first.input[3] = whole.input[3]

    rewired(folder, change)


def _strangers_seen(folder: Path) -> None:
    """Places that no patch stands in are seen like others."""

    def change(graph: Any) -> None:
        for node in _nodes(graph, "Attention"):
            del node.input[3]

    rewired(folder, change)


def _rows_for_columns(folder: Path) -> None:
    """Angles of columns before those of rows."""

    def change(graph: Any) -> None:
        node = next(one for one in _nodes(graph, "Concat") if one.attribute[0].i == -1)
        node.input[:] = [node.input[1], node.input[0]]

    rewired(folder, change)


def _another_input(folder: Path) -> None:
    """The grid under the other family's name."""

    def change(graph: Any) -> None:
        for node in graph.node:
            node.input[:] = ["grid_thw" if name == "image_grid_thw" else name for name in node.input]
        graph.input[1].name = "grid_thw"

    rewired(folder, change)


def _json(folder: Path, name: str, **changed: Any) -> None:
    content = json.loads((folder / name).read_text())
    content.get("image_processor", content).update(changed)
    (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _settings(folder: Path, **changed: Any) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        _json(folder, name, **changed)


FORGED: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "windows ignored": (_windows_ignored, {"structure"}),
    "strangers seen": (_strangers_seen, {"structure"}),
    "columns before rows": (_rows_for_columns, {"structure"}),
    "another input": (_another_input, {"interface"}),
    "frequencies doubled": (
        lambda folder: revalued(folder, "tower.inverse_frequencies", lambda array: 2 * array),
        {"weights", "vision"},
    ),
    "time for width": (
        lambda folder: revalued(folder, "rotary.axes", lambda array: array[::-1], DECODER),
        {"weights", "logits"},
    ),
    "queries for keys": (
        lambda folder: revalued(folder, "vision_tower.blocks.1.attn.qkv.weight.T", lambda array: array[:, ::-1]),
        {"weights", "vision"},
    ),
    "more pixels": (lambda folder: _settings(folder, max_pixels=12845056), {"configuration"}),
    "a larger size": (
        lambda folder: _settings(folder, size={"shortest_edge": 3136, "longest_edge": 12845056}),
        {"configuration"},
    ),
    "more pixels at least": (lambda folder: _settings(folder, min_pixels=6272), {"configuration"}),
    "other squares": (lambda folder: _settings(folder, merge_size=4), {"configuration"}),
    "one frame": (lambda folder: _settings(folder, temporal_patch_size=1), {"configuration"}),
    "another image token": (lambda folder: _json(folder, "config.json", image_token_id=4), {"configuration"}),
    "another image": (lambda folder: _json(folder, "manifest.json", image=[640, 200]), {"manifest"}),
    "no image": (lambda folder: _json(folder, "manifest.json", image=None), {"manifest"}),
    "other tokens": (lambda folder: _json(folder, "manifest.json", visual_tokens=54), {"configuration", "judge"}),
    "another client": (lambda folder: _json(folder, "manifest.json", clients=["vlmplan", "genai"]), {"manifest"}),
    "squares of another size": (lambda folder: _json(folder, "manifest.json", image_size=56), {"manifest"}),
}


@pytest.mark.parametrize("what", FORGED)
def test_forgeries_of_grids_are_refused(what: str, tmp_path: Path) -> None:
    """All digests agree with what was forged, and yet it is seen."""
    shutil.copytree(exported("qwen2.5-vl"), tmp_path / "forged")
    change, expected = FORGED[what]
    change(tmp_path / "forged")
    agree(tmp_path / "forged")
    report = _validator("qwen2.5-vl").validate(tmp_path / "forged").report
    assert expected <= _failed(report), report.checks
    assert "integrity" not in _failed(report)


def test_numbers_that_a_client_reads_at_the_top_are_held_too(tmp_path: Path) -> None:
    """transformers.js makes Qwen2-VL's cache of them."""
    shutil.copytree(exported("qwen2-vl"), tmp_path / "forged")
    _json(tmp_path / "forged", "config.json", num_key_value_heads=4)
    agree(tmp_path / "forged")
    assert _failed(judged_export(tmp_path / "forged", "qwen2-vl")) == {"configuration"}


@pytest.mark.parametrize("kind", ["qwen2-vl", "qwen2.5-vl"])
def test_checkpoint_and_export_answer_alike(kind: str, tmp_path: Path) -> None:
    picture = random_picture(tmp_path, 420, 300)
    row = {"image": picture.name, "question": "What is this?", "answer": "nothing"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(row) + "\n")
    found = api.evaluate(
        model=exported(kind), questions=tmp_path / "questions.jsonl", images=tmp_path, against=checkpoint(kind)
    )
    assert found.visual_tokens == 88
    assert found.against is not None and found.against.differing == 0


@pytest.mark.parametrize("kind", ["qwen2.5-vl", "qwen3-vl"])
def test_a_plan_chooses_among_numbers_of_squares_and_its_export_is_held_against_it(kind: str, tmp_path: Path) -> None:
    folder = checkpoint(kind)
    plan = plan_for(folder, 10.0, (448, 336))
    assert plan.choice.compressor is Compressor.NONE
    reached = [one.visual_tokens for one in api.tokens(model=folder, image="448x336").reachable]
    assert plan.choice.visual_tokens in reached
    made = chosen(ExportChoices(checkpoint=str(folder)), plan)
    assert (made.visual_tokens, made.image) == (plan.choice.visual_tokens, plan.workload.image)
    export(made, tmp_path / "made", quiet)
    report = judged_export(tmp_path / "made", kind, plan=plan, budget_only=True)
    assert not report.failed and not report.reservations, report.failed
    other = replace(plan, workload=replace(plan.workload, image=(640, 640)))
    assert "plan" in _failed(judged_export(tmp_path / "made", kind, plan=other, budget_only=True))


def test_shipped_models_of_these_types_are_exportable() -> None:
    found = [model for model in catalogue.models() if model.architecture in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")]
    assert len(found) >= 11
    assert all(model.exportable and model.exports_tiles for model in found)
