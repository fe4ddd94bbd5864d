"""LFM2-VL: views in shapes of their own, short convolutions with what they keep, as transformers does it."""

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
from mutants import DECODER, VISION, agree
from onnx import numpy_helper
from PIL import Image
from processors import own_code
from safetensors.torch import load_file, save_file
from small_models import (
    SHAPED,
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
from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.checkpoints.families.lfm2_images import patches_of, view_processor
from vlmplan.checkpoints.small_checkpoint import enliven
from vlmplan.checkpoints.tensors import canonical
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts, answer
from vlmplan.exporting.manifest import GRAPHS
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.runner import OnnxModel, Prompt, generate
from vlmplan.exporting.write import export
from vlmplan.graphs.lfm2 import view_graph
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator

IMAGE = 3  # the image token's number in small checkpoints
SHAPES: dict[str, list[tuple[int, int]]] = {  # rows and columns of tokens of each view
    "one token": [(1, 1)],
    "the trained square": [(3, 3)],
    "enlarged": [(4, 5)],
    "shrunk": [(1, 2)],
    "a row": [(1, 17)],
    "a column": [(11, 1)],
    "views of unlike shapes": [(4, 4), (4, 4), (3, 5), (1, 2), (7, 1)],
}


def _views(kind: str, shapes: list[tuple[int, int]], beyond: int = 0) -> dict[str, Any]:
    """Random views as the vision encoder reads them, padded with noise ``beyond`` the longest."""
    merge, rng = opened_checkpoint(kind).joined_side, np.random.default_rng(len(shapes))
    sizes = np.array(shapes, np.int64) * merge
    longest = int(sizes.prod(axis=1).max()) + beyond
    width = 3 * opened_checkpoint(kind).tower.patch_size ** 2
    return {
        "pixel_values": rng.standard_normal((len(shapes), longest, width)).astype(np.float32),
        "pixel_attention_mask": (np.arange(longest) < sizes.prod(axis=1)[:, None]).astype(np.int64),
        "spatial_shapes": sizes,
    }


def _features(kind: str, feeds: dict[str, Any]) -> Any:
    given = (feeds["pixel_attention_mask"], feeds["spatial_shapes"])
    return reference_of(kind).image_features(feeds["pixel_values"], None, *given)


@pytest.mark.parametrize("kind", SHAPED)
def test_features_equal_pytorch_whatever_the_shapes(kind: str, tmp_path: Path) -> None:
    """One graph for all: positions enlarged and shrunk, views padded, several in one run."""
    graph = view_graph(opened_checkpoint(kind), Precision.FP32, opened_checkpoint(kind).joined_side)
    for shapes in SHAPES.values():
        feeds = _views(kind, shapes)
        found, expected = run_graph(graph, feeds, tmp_path)["image_features"], _features(kind, feeds)
        assert found.shape == (sum(rows * columns for rows, columns in shapes), 64)
        assert largest_difference(found, expected) < 1e-5 * expected.std()
        beyond = {**_views(kind, shapes, 7), "spatial_shapes": feeds["spatial_shapes"]}
        longest = feeds["pixel_values"].shape[1]
        beyond["pixel_values"][:, :longest] = feeds["pixel_values"]
        assert np.array_equal(run_graph(graph, beyond, tmp_path)["image_features"], found)
        alone = _first(feeds)
        first = run_graph(graph, alone, tmp_path)["image_features"]
        assert largest_difference(first, found[: len(first)]) < 1e-5 * expected.std()


def _first(feeds: dict[str, Any]) -> dict[str, Any]:
    """The first of several views, without its padding."""
    count = int(feeds["spatial_shapes"][0].prod())
    return {name: part[:1] if name == "spatial_shapes" else part[:1, :count] for name, part in feeds.items()}


@pytest.mark.parametrize("kind", SHAPED)
def test_pooled_features_are_the_means_of_transformers_own(kind: str, tmp_path: Path) -> None:
    shapes = [(4, 4), (2, 6)]
    feeds = _views(kind, shapes)
    graph = view_graph(opened_checkpoint(kind), Precision.FP32, 2 * opened_checkpoint(kind).joined_side)
    found, tokens = run_graph(graph, feeds, tmp_path)["image_features"], _features(kind, feeds)
    means, start = [], 0
    for rows, columns in shapes:
        view = tokens[start : start + rows * columns].reshape(rows // 2, 2, columns // 2, 2, -1)
        means.append(view.mean(axis=(1, 3)).reshape(-1, view.shape[-1]))
        start += rows * columns
    assert largest_difference(found, np.concatenate(means)) < 1e-5 * tokens.std()


def test_views_without_shapes_are_no_features() -> None:
    model = OnnxModel(exported("lfm2-vl"))
    feeds = _views("lfm2-vl", [(2, 2)])
    with pytest.raises(InputError, match="reads views of patches; give their shapes and mask"):
        model.image_features(feeds["pixel_values"])
    with pytest.raises(InputError, match="cannot run the vision encoder"):
        model.image_features(feeds["pixel_values"], None, feeds["pixel_attention_mask"], np.array([[9, 9]]))


def _prompt(kind: str, images: list[list[tuple[int, int]]], before: int, after: int) -> Prompt:
    """A question with images, of views each, between text."""
    rng = np.random.default_rng(before + after)
    ids = rng.integers(10, 250, before).tolist()
    for shapes in images:
        ids += [IMAGE] * sum(rows * columns for rows, columns in shapes) + rng.integers(10, 250, after).tolist()
    input_ids = np.array([ids], np.int64)
    found = Prompt(input_ids=input_ids, attention_mask=np.ones_like(input_ids), pixel_values=None, image_token=IMAGE)
    if not images:
        return found
    feeds = _views(kind, [shape for shapes in images for shape in shapes])
    return replace(
        found, pixel_values=feeds["pixel_values"], pixel_mask=feeds["pixel_attention_mask"],
        shapes=feeds["spatial_shapes"],
    )  # fmt: skip


PROMPTS: dict[str, tuple[list[list[tuple[int, int]]], int, int]] = {
    "text": ([], 12, 0),
    "one token": ([], 1, 0),
    "two tokens": ([], 2, 0),
    "an image first": ([[(2, 3)]], 0, 9),
    "an image last": ([[(2, 3)]], 7, 0),
    "an image in tiles": ([[(2, 2), (2, 2), (1, 2)]], 5, 5),
    "two images": ([[(3, 2)], [(2, 2), (2, 2), (1, 3)]], 4, 3),
}


@pytest.mark.parametrize("kind", SHAPED)
@pytest.mark.parametrize("what", PROMPTS)
def test_logits_equal_pytorch(kind: str, what: str) -> None:
    """Prompts shorter and longer than a convolution sees; prefill and eight steps."""
    prompt = _prompt(kind, *PROMPTS[what])
    ours = generate(OnnxModel(exported(kind)), prompt, 9)
    theirs = generate(reference_of(kind), prompt, 9, forced=ours.tokens)
    assert largest_difference(np.stack(ours.logits), np.stack(theirs.logits)) < 1e-4
    assert ours.tokens == theirs.tokens


@pytest.mark.parametrize("kind", SHAPED)
def test_a_prompt_in_pieces_is_the_prompt(kind: str) -> None:
    """Pieces shorter than a convolution sees: what it keeps is of several calls."""
    model, prompt = OnnxModel(exported(kind)), _prompt(kind, [], 13, 0)
    embeds, whole = model.embeds(prompt.input_ids), generate(model, prompt, 1).logits[0]
    cache, at = None, 0
    for length in (1, 1, 2, 5, 1, 3):
        at += length
        found, _, cache = model.step(embeds[:, at - length : at], np.ones((1, at), np.int64), cache)
    assert largest_difference(found[0], whole) < 1e-4
    assert not np.array_equal(model.step(embeds[:, -3:], np.ones((1, 3), np.int64), None)[0][0], whole)


def _batch(kind: str) -> tuple[list[Prompt], Any, Any]:
    """Prompts of three lengths, one without an image, and their embeddings left-padded with noise."""
    model = OnnxModel(exported(kind))
    prompts = [_prompt(kind, [[(2, 3), (1, 2)]], 4, 11), _prompt(kind, [[(1, 2)]], 1, 3), _prompt(kind, [], 9, 0)]
    rows = []
    for prompt in prompts:
        embeds = model.embeds(prompt.input_ids)
        if prompt.pixel_values is not None:
            given = (prompt.pixel_values, None, prompt.pixel_mask, prompt.layout)
            embeds[prompt.input_ids == IMAGE] = model.image_features(*given)
        rows.append(embeds[0])
    longest = max(map(len, rows))
    noise = np.random.default_rng(1).standard_normal((3, longest, rows[0].shape[-1])).astype(np.float32)
    for row, given in zip(noise, rows, strict=True):
        row[longest - len(given) :] = given
    mask = np.stack([np.arange(longest) >= longest - len(row) for row in rows]).astype(np.int64)
    return prompts, noise, mask


@pytest.mark.parametrize("kind", SHAPED)
def test_padded_batches_answer_as_their_rows_alone(kind: str) -> None:
    """Whatever stands in the padding: no convolution reads it. Five steps, against PyTorch row by row."""
    prompts, embeds, mask = _batch(kind)
    alone = [generate(reference_of(kind), prompt, 5) for prompt in prompts]
    cache, model = None, OnnxModel(exported(kind))
    for step in range(5):
        logits, _, cache = model.step(embeds, mask, cache)
        assert largest_difference(logits, np.stack([one.logits[step] for one in alone])) < 1e-4
        embeds = model.embeds(np.array([[one.tokens[step]] for one in alone], np.int64))
        mask = np.concatenate([mask, np.ones((3, 1), np.int64)], axis=1)


def test_a_padded_batch_is_that_of_transformers() -> None:
    """Of convolutions without a bias, as every published checkpoint has them; with one theirs reads padding."""
    for kind, close in (("lfm2-vl", True), ("lfm2-vl-wide", False)):
        _, embeds, mask = _batch(kind)
        ours = OnnxModel(exported(kind)).step(embeds, mask, None)[0]
        theirs = reference_of(kind).step(embeds, mask, None)[0]
        assert (largest_difference(ours, theirs) < 1e-4) is close


@pytest.mark.parametrize("kind", SHAPED)
def test_a_cache_of_zeros_is_run(kind: str) -> None:
    """What a timing reads in the place of a past of so many tokens, by both runners."""
    embeds, mask = np.ones((2, 1, 64), np.float32), np.ones((2, 9), np.int64)
    found = [model.step(embeds, mask, model.zero_cache(2, 8))[0] for model in (reference_of(kind),
                                                                              OnnxModel(exported(kind)))]  # fmt: skip
    assert largest_difference(*found) < 1e-4


SIZES = [(64, 64), (300, 200), (150, 400), (97, 31), (640, 480), (1000, 999), (33, 500), (20, 20), (513, 350)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_image_splitting": False, "max_image_tokens": 128},
        {"tile_size": 64, "min_image_tokens": 4, "max_image_tokens": 16, "encoder_patch_size": 8},
        {"tile_size": 96, "min_image_tokens": 4, "max_image_tokens": 9, "encoder_patch_size": 8, "max_tiles": 4},
        {"tile_size": 64, "min_image_tokens": 1, "max_image_tokens": 4, "encoder_patch_size": 8,
         "downsample_factor": 4, "use_thumbnail": False, "max_pixels_tolerance": 1.0},
    ],
)  # fmt: skip
def test_pictures_are_cut_as_transformers_cuts_them(settings: dict[str, Any]) -> None:
    """Its own functions of sizes, tiles, patches and padding, which need torchvision only to scale."""
    processor = view_processor()(**settings, return_row_col_info=True)
    theirs = own_code(
        "lfm2_vl", "smart_resize", "_is_image_too_large", "_get_grid_layout", "_target_ratios",
        "find_closest_aspect_ratio", "round_by_factor", "convert_image_to_patches", "pad_along_first_dim",
    )  # fmt: skip
    limits = {key: getattr(processor, key) for key in ("downsample_factor", "max_image_tokens", "encoder_patch_size")}
    for width, height in SIZES:
        found = processor(Image.new("RGB", (width, height)), return_tensors="np")
        wide, high = theirs.smart_resize(height, width, min_image_tokens=processor.min_image_tokens, **limits)
        cut = (1, 1)
        tolerance = processor.max_pixels_tolerance
        large = theirs._is_image_too_large(height, width, max_pixels_tolerance=tolerance, **limits)
        if large and processor.do_image_splitting:
            cut = theirs._get_grid_layout(height, width, processor.min_tiles, processor.max_tiles, processor.tile_size)
        assert [found["image_cols"][0], found["image_rows"][0]] == list(cut[:2])
        assert list(found["image_sizes"][0]) == [high, wide]
        tiles, patch = cut[0] * cut[1], processor.encoder_patch_size
        shapes = [(processor.tile_size // patch,) * 2] * (tiles if tiles > 1 else 0)
        shapes += [(high // patch, wide // patch)] * (tiles == 1 or processor.use_thumbnail)
        assert found["spatial_shapes"].tolist() == [list(shape) for shape in shapes]
    view = np.random.default_rng(0).standard_normal((3, 32, 48)).astype(np.float32)
    patches = theirs.convert_image_to_patches(torch.from_numpy(view)[None], 16)
    assert np.array_equal(patches_of(view, 16), patches[0].numpy())
    padded, mask = theirs.pad_along_first_dim(patches, 9)
    assert mask.tolist() == [1] * 6 + [0] * 3 and not padded[0, 6:].any()


def test_pictures_are_scaled_as_torch_scales_them(tmp_path: Path) -> None:
    """Torchvision's own is torch's antialiased interpolation, rounded to greys."""
    picture = Image.open(random_picture(tmp_path, 331, 287))
    found = view_processor()(do_image_splitting=False)(picture, return_tensors="np")
    (rows, columns), patches = found["spatial_shapes"][0], found["pixel_values"][0]
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    scaled = torch.nn.functional.interpolate(
        pixels, size=(int(rows) * 16, int(columns) * 16), mode="bilinear", antialias=True
    )
    expected = patches_of(scaled[0].round().numpy() / 127.5 - 1, 16)
    count = int(rows * columns)
    assert np.abs(patches[:count] - expected).max() < 2.01 / 127.5
    assert found["pixel_attention_mask"][0].sum() == count < len(patches)
    assert not patches[count:].any()


def _inputs(kind: str, folder: Path, sizes: list[tuple[int, int]], **setting: Any) -> dict[str, Any]:
    """What the checkpoint's processor makes of pictures and a question, as torch tensors."""
    processor = Prompts(checkpoint(kind)).processor
    content = [{"type": "image"}] * len(sizes) + [{"type": "text", "text": "What is this?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(random_picture(folder, *size)) for size in sizes]
    return dict(processor(images=images, text=text, return_tensors="pt", images_kwargs=setting))


@pytest.mark.parametrize(
    ("kind", "tokens", "size", "seen"),
    [
        ("lfm2-vl", 438, (1024, 768), 438),
        ("lfm2-vl", 182, (60, 40), 20),
        ("lfm2-vl", 182, (300, 200), 182),
        ("lfm2-vl", 12, (1024, 768), 12),
        ("lfm2-vl-wide", 310, (200, 500), 252),
        ("lfm2-vl-wide", 54, (320, 240), 54),
    ],
)
def test_tokens_are_those_of_transformers_own_generate(
    kind: str, tokens: int, size: tuple[int, int], seen: int, tmp_path: Path
) -> None:
    """The checkpoint's processor, set as the export is, and ``generate``, against the export's own files."""
    export(order(kind, visual_tokens=tokens), tmp_path / "made", quiet)
    prompt = Prompts(tmp_path / "made").of(random_picture(tmp_path, *size), "What is this?", reads_question=False)
    assert (prompt.input_ids == IMAGE).sum() == seen
    ours = generate(OnnxModel(tmp_path / "made"), prompt, 12, frozenset({2}))
    found = api.tokens(model=checkpoint(kind), visual_tokens=tokens)
    assert found.wanted is not None
    said = dict(part.split("=") for part in found.wanted.setting.partition("images_kwargs ")[2].split(", "))
    tiles, most = int(said["max_tiles"].split()[0]), int(said["max_image_tokens"])
    inputs = _inputs(kind, tmp_path, [size], min_tiles=min(2, tiles), max_tiles=tiles, max_image_tokens=most)
    assert inputs["input_ids"].tolist() == prompt.input_ids.tolist()
    assert inputs["spatial_shapes"].tolist() == prompt.shapes.tolist()  # type: ignore[union-attr]
    with torch.inference_mode():
        theirs = reference_of(kind).model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert list(ours.tokens) == theirs[0, prompt.input_ids.shape[1] :].tolist()


@pytest.mark.parametrize("kind", SHAPED)
def test_several_images_are_read_as_transformers_reads_them(kind: str, tmp_path: Path) -> None:
    """Two images of other shapes in one prompt, by the whole model of transformers: no part of ours decides."""
    inputs = _inputs(kind, tmp_path, [(300, 130), (90, 60)])
    prompt = Prompt(
        input_ids=inputs["input_ids"].numpy(), attention_mask=inputs["attention_mask"].numpy(),
        pixel_values=inputs["pixel_values"].numpy(), pixel_mask=inputs["pixel_attention_mask"].numpy(),
        shapes=inputs["spatial_shapes"].numpy(), image_token=IMAGE,
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


@pytest.mark.parametrize(
    ("kind", "precision", "base", "tokens", "pooled_of"),
    [
        ("lfm2-vl", Precision.FP32, Precision.FP32, 182, None),
        ("lfm2-vl", Precision.FP16, Precision.FP32, 12, None),
        ("lfm2-vl", Precision.INT8, Precision.FP16, 54, None),
        ("lfm2-vl", Precision.INT4, Precision.FP32, 12, (180, 120)),
        ("lfm2-vl-wide", Precision.FP32, Precision.FP32, 6, (100, 70)),
    ],
)
def test_exports_validate(
    kind: str, precision: Precision, base: Precision, tokens: int, pooled_of: tuple[int, int] | None, tmp_path: Path
) -> None:
    """Tokens averaged in squares, too: of an image of ``pooled_of`` pixels."""
    given: dict[str, Any] = {"visual_tokens": tokens, "image": pooled_of or USUAL_IMAGE}
    given["compressor"] = Compressor.NONE if pooled_of is None else Compressor.AVERAGE_POOL
    manifest = export(order(kind, precision=precision, base_precision=base, **given), tmp_path / "made", quiet)
    assert manifest.architecture == "lfm2_vl"
    assert manifest.clients == ("vlmplan", "transformers.js")
    report = judged_export(tmp_path / "made", kind, **given)
    assert not report.failed and not report.reservations, report.failed
    if pooled_of is not None:
        picture = random_picture(tmp_path, *pooled_of)
        assert answer(tmp_path / "made", picture, "Hm?", 1, "cpu", 1).visual_tokens == tokens


def test_wide_products_of_an_int4_export_have_four_bits(tmp_path: Path) -> None:
    """As other decoders': the plan prices them so."""
    export(order("lfm2-vl", precision=Precision.INT4), tmp_path / "made", quiet)
    names = {one.name for one in onnx.load(tmp_path / "made" / DECODER).graph.initializer}
    layer = "language_model.layers.0"
    assert {f"{layer}.feed_forward.{part}.weight.q4" for part in ("w1", "w3")} <= names
    eight = ("feed_forward.w2", "conv.in_proj", "conv.out_proj")
    assert {f"{layer}.{part}.weight.q8" for part in eight} <= names
    assert f"{layer}.conv.conv.weight" in names


@pytest.mark.parametrize("kind", SHAPED)
def test_every_number_of_vlmplan_tokens_can_be_exported(kind: str, tmp_path: Path) -> None:
    reached = [one.visual_tokens for one in api.tokens(model=checkpoint(kind), image="300x200").reachable]
    assert len(reached) >= 5
    for count in reached:
        choices = ExportChoices(checkpoint=str(checkpoint(kind)), visual_tokens=count, image=(300, 200))
        export(chosen(choices, None), tmp_path / "made", quiet, overwrite=True)
        assert answer(tmp_path / "made", random_picture(tmp_path, 300, 200), "Hm?", 1, "cpu", 1).visual_tokens == count
    unasked = chosen(ExportChoices(checkpoint=str(checkpoint(kind))), None)
    assert (unasked.visual_tokens, unasked.image) == (438, USUAL_IMAGE)
    with pytest.raises(InputError, match="found 7; the processor makes one of"):
        chosen(ExportChoices(checkpoint=str(checkpoint(kind)), visual_tokens=7), None)


@pytest.mark.parametrize("kind", SHAPED)
def test_small_pictures_fit_in_an_export_of_few_tokens(kind: str, tmp_path: Path) -> None:
    """Which are enlarged: with a least number of tokens as large as the most they would fit in no view."""
    export(order(kind, visual_tokens=12), tmp_path / "made", quiet)
    for size in ((131, 37), (37, 131), (60, 45), (45, 44), (9, 9)):
        found = answer(tmp_path / "made", random_picture(tmp_path, *size), "Hm?", 1, "cpu", 1).visual_tokens
        assert 4 <= found <= 16, size
    given = Options(checkpoint=str(checkpoint(kind)), visual_tokens=12, image=USUAL_IMAGE, threads=1, repeats=1)
    assert not Validator(given, quiet).validate(tmp_path / "made").report.failed


def test_pictures_too_long_for_any_view_are_refused() -> None:
    """What transformers' own processor raises an error of shapes for."""
    processor = view_processor()(
        do_image_splitting=False, encoder_patch_size=8, min_image_tokens=4, max_image_tokens=16
    )
    with pytest.raises(InputError, match="800 x 16 pixels, too long for views of at most 64 patches"):
        processor(Image.new("RGB", (800, 16)))


@pytest.mark.parametrize("settings", [{"tile_size": 16384}, {"max_image_tokens": 10**6}])
def test_settings_that_make_too_much_of_a_picture_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="pixels of a picture, at most 33554432 are made; mend them"):
        view_processor()(**settings)(Image.new("RGB", (8, 8)))


def test_numbers_that_no_pooling_leaves_are_named() -> None:
    folder, pool = str(checkpoint("lfm2-vl")), Compressor.AVERAGE_POOL
    with pytest.raises(InputError, match="of 1024 x 768 squares of tokens, averaged, leave one of 108"):
        chosen(ExportChoices(checkpoint=folder, visual_tokens=64, compressor=pool), None)
    with pytest.raises(InputError, match="lfm2_vl joins patches itself and is exported as it is; expected none or"):
        chosen(ExportChoices(checkpoint=folder, visual_tokens=108, compressor=Compressor.QUECC), None)


def _checkpoint_with(folder: Path, name: str, change: dict[str, Any], table: str | None = None) -> ExportChoices:
    """A copy of a small checkpoint with other values in one of its files, or in a table of it."""
    shutil.copytree(checkpoint("lfm2-vl"), folder / "changed")
    path = folder / "changed" / name
    content = json.loads(path.read_text())
    (content[table] if table else content).update(change)
    path.write_text(json.dumps(content))
    return ExportChoices(checkpoint=str(folder / "changed"))


@pytest.mark.parametrize(
    ("name", "table", "change", "message"),
    [
        ("config.json", "vision_config", {"num_patches": 37}, "num_patches is 37, expected a square"),
        ("config.json", "vision_config", {"hidden_act": "relu"}, "activation 'relu' is not known"),
        ("config.json", "text_config", {"layer_types": ["conv", "full_attention"]}, "transformers cannot use it"),
        (
            "config.json",
            "text_config",
            {"layer_types": ["conv", "sliding_attention", "conv"]},
            "layer_types is 'sliding_attention'; vlmplan exports conv, full_attention",
        ),
        ("config.json", "text_config", {"conv_L_cache": 0}, "conv_L_cache is 0, expected a whole number from 1 to 64"),
        ("config.json", None, {"downsample_factor": 0}, "downsample_factor is 0, expected a whole number from 1 to 64"),
        ("config.json", None, {"image_token_id": 300}, "image_token_id is 300, expected one of the 300 tokens"),
        ("config.json", None, {"image_token_id": 9}, "expected the added token <image>, number 9"),
        ("config.json", None, {"projector_hidden_act": "relu"}, "activation 'relu' is not known"),
        ("processor_config.json", "image_processor", {"do_pad": False}, "its processor has do_pad off"),
        ("processor_config.json", "image_processor", {"downsample_factor": 4}, "joins squares of 32 pixels, the model"),
        ("processor_config.json", "image_processor", {"tile_size": 136}, "joins squares of 17 pixels, the model"),
        (
            "processor_config.json",
            "image_processor",
            {"image_processor_type": "Siglip2ImageProcessor"},
            "its image processor is Siglip2ImageProcessor, expected Lfm2VlImageProcessor",
        ),
        ("processor_config.json", None, {"use_image_special_tokens": False}, "use_image_special_tokens is off"),
        (
            "tokenizer_config.json",
            None,
            {"image_start_token": "<start>"},
            r"image_start_token is '<start>'; expected <\|image_start\|>",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_named(
    name: str, table: str | None, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    choices = _checkpoint_with(tmp_path, name, change, table)
    with pytest.raises(InputError, match=message):
        export(chosen(choices, None), tmp_path / "made", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


# As LFM2-VL-450M and LFM2.5-VL-1.6B lay their files out, with small numbers.
_HUB: dict[str, Any] = {
    "architectures": ["Lfm2VlForConditionalGeneration"], "do_image_splitting": True, "downsample_factor": 2,
    "encoder_patch_size": 8, "image_token_id": 3, "max_image_tokens": 64, "max_num_patches": 256,
    "max_pixels_tolerance": 2.0, "max_tiles": 10, "min_image_tokens": 16, "min_tiles": 2, "model_type": "lfm2_vl",
    "projector_bias": True, "projector_hidden_act": "gelu", "projector_hidden_size": 96,
    "text_config": {
        "architectures": ["Lfm2ForCausalLM"], "block_auto_adjust_ff_dim": True, "block_dim": 64, "block_ff_dim": 96,
        "block_ffn_dim_multiplier": 1.0, "block_mlp_init_scale": 1.0, "block_multiple_of": 32, "block_norm_eps": 1e-05,
        "block_out_init_scale": 1.0, "block_use_swiglu": True, "block_use_xavier_init": True, "conv_L_cache": 3,
        "conv_bias": False, "conv_dim": 64, "conv_dim_out": 64, "conv_use_xavier_init": True, "eos_token_id": 2,
        "full_attn_idxs": [1], "hidden_size": 64, "initializer_range": 0.02, "max_position_embeddings": 128000,
        "model_type": "lfm2", "norm_eps": 1e-05, "num_attention_heads": 4, "num_heads": 4, "num_hidden_layers": 3,
        "num_key_value_heads": 2, "rope_theta": 1000000.0, "torch_dtype": "bfloat16", "use_cache": True,
        "use_pos_enc": True, "vocab_size": 300,
    },
    "tile_size": 128, "torch_dtype": "bfloat16", "transformers_version": "4.55.0", "use_image_special_tokens": True,
    "use_thumbnail": True,
    "vision_config": {
        "attention_dropout": 0.0, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 32, "intermediate_size": 64,
        "layer_norm_eps": 1e-06, "model_type": "siglip2_vision_model", "num_attention_heads": 4, "num_channels": 3,
        "num_hidden_layers": 2, "num_patches": 36, "patch_size": 8, "torch_dtype": "bfloat16",
        "vision_use_head": False,
    },
    "vision_feature_layer": -1,
}  # fmt: skip
_HUB_IMAGES = {
    "crop_size": None, "data_format": "channels_first", "device": None, "do_center_crop": None, "do_convert_rgb": None,
    "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
    "downsample_factor": 2, "encoder_patch_size": 8, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "Lfm2VlImageProcessorFast", "input_data_format": None, "max_image_tokens": 64,
    "max_num_patches": 256, "max_pixels_tolerance": 2.0, "max_tiles": 10, "min_image_tokens": 16, "min_tiles": 2,
    "processor_class": "Lfm2VlProcessor", "resample": 2, "rescale_factor": 0.00392156862745098, "return_row_col_info":
    True, "return_tensors": None, "size": {"height": 128, "width": 128}, "tile_size": 128, "use_thumbnail": True,
}  # fmt: skip


@pytest.mark.parametrize("normed", [True, False])
def test_a_checkpoint_as_the_hub_has_it_is_exported(normed: bool, tmp_path: Path) -> None:
    """Of transformers 4.55: older keys and names, bf16, tied embeddings; LFM2.5's projector has no norm."""
    transformers, folder = quiet_transformers(), tmp_path / "hub"
    folder.mkdir()
    config = _HUB if normed else _HUB | {"projector_use_layernorm": False}
    (folder / "config.json").write_text(json.dumps(config))
    model = transformers.AutoModelForImageTextToText.from_config(transformers.AutoConfig.from_pretrained(folder))
    enliven(model, 0)
    named = {
        name.replace("vision_tower.", "vision_tower.vision_model."): tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        shutil.copy(checkpoint("lfm2-vl") / name, folder / name)
    (folder / "preprocessor_config.json").write_text(json.dumps(_HUB_IMAGES))
    api.export(checkpoint=folder, visual_tokens=182, out=tmp_path / "made")
    report = Validator(Options(checkpoint=str(folder), threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    assert not report.failed and not report.reservations, report.failed
    prompt = Prompts(tmp_path / "made").of(random_picture(tmp_path, 640, 480), "What is this?", reads_question=False)
    assert (prompt.input_ids == IMAGE).sum() == 182
    held = {one.name for one in onnx.load(tmp_path / "made" / VISION).graph.initializer}
    assert ("multi_modal_projector.layer_norm.weight" in held) is normed


@pytest.mark.parametrize("kind", SHAPED)
def test_names_of_tensors_are_the_checkpoints(kind: str) -> None:
    """Every tensor of the checkpoint is in a graph, under its name."""
    stored = load_file(checkpoint(kind) / "model.safetensors")
    graphs = [onnx.load(exported(kind) / name) for name in GRAPHS]
    held = {one.name.removesuffix(".T") for model in graphs for one in model.graph.initializer}
    assert {canonical(name) for name in stored} <= held
    assert {"language_model.embedding_norm.weight", "vision_tower.embeddings.patch_embedding.bias"} <= held


def test_the_cache_has_the_names_and_sizes_that_clients_make_it_by() -> None:
    """transformers.js makes the first cache of the shapes: every axis but the batch is a number or 0."""
    graph = onnx.load(exported("lfm2-vl") / DECODER).graph
    shapes = {
        one.name: [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim]
        for one in (*graph.input, *graph.output)
    }
    convolved = ["batch_size", 64, 3]
    assert [shapes[f"{when}_conv.{layer}"] for when in ("past", "present") for layer in (0, 2)] == [convolved] * 4
    assert shapes["past_key_values.1.key"] == ["batch_size", 2, "past_sequence_length", 16]
    assert shapes["present.1.value"] == ["batch_size", 2, "total_sequence_length", 16]
    assert not {"past_conv.1", "past_key_values.0.key"} & set(shapes)


def _rewired(folder: Path, change: Callable[[Any], None], name: str = VISION) -> None:
    model = onnx.load(folder / name)
    change(model.graph)
    onnx.save(model, folder / name)


def _constant(folder: Path, name: str, values: Callable[[Any], Any], graph: str = VISION) -> None:
    def change(held: Any) -> None:
        tensor = next(one for one in held.initializer if one.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values(numpy_helper.to_array(tensor))), name))

    _rewired(folder, change, graph)


def _nodes(graph: Any, kind: str) -> list[Any]:
    return [node for node in graph.node if node.op_type == kind]


def _padding_seen(folder: Path) -> None:
    """Patches of padding are seen like others."""

    def change(graph: Any) -> None:
        for node in _nodes(graph, "Attention"):
            del node.input[3]

    _rewired(folder, change)


def _rows_for_columns(folder: Path) -> None:
    """Rows of views are read as columns."""

    def change(graph: Any) -> None:
        first, second = [node for node in _nodes(graph, "Gather") if node.input[0] == "spatial_shapes"]
        first.input[1], second.input[1] = second.input[1], first.input[1]

    _rewired(folder, change)


def _nothing_kept(folder: Path) -> None:
    """A convolution hands on what it was given, not what went in."""

    def change(graph: Any) -> None:
        node = next(node for node in graph.node if "present_conv.0" in node.output)
        node.op_type, node.input[:] = "Identity", ["past_conv.0"]

    _rewired(folder, change, DECODER)


def _kept_of_another(folder: Path) -> None:
    """What one convolution keeps, under another's name."""

    def change(graph: Any) -> None:
        swap = {"past_conv.0": "past_conv.2", "past_conv.2": "past_conv.0"}
        for node in graph.node:
            node.input[:] = [swap.get(name, name) for name in node.input]

    _rewired(folder, change, DECODER)


def _padding_convolved(folder: Path) -> None:
    """Padding goes into convolutions."""

    def change(graph: Any) -> None:
        node = next(node for node in _nodes(graph, "Concat") if node.input[0] == "past_conv.0")
        maker = next(one for one in graph.node if node.input[1] in one.output)
        node.input[1] = maker.input[0]

    _rewired(folder, change, DECODER)


def _json(folder: Path, name: str, **changed: Any) -> None:
    content = json.loads((folder / name).read_text())
    content.get("image_processor", content).update(changed)
    (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _settings(folder: Path, **changed: Any) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        _json(folder, name, **changed)


def _reversed(name: str, axis: int, graph: str = VISION) -> Callable[[Path], None]:
    return lambda folder: _constant(folder, name, lambda array: np.flip(array, axis), graph)


FORGED: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "padding seen": (_padding_seen, {"structure"}),
    "rows for columns": (_rows_for_columns, {"structure"}),
    "nothing kept": (_nothing_kept, {"structure"}),
    "kept of another": (_kept_of_another, {"structure"}),
    "padding convolved": (_padding_convolved, {"structure"}),
    "squares turned": (_reversed("square.rows", 0), {"weights", "vision"}),
    "positions turned": (_reversed("vision_tower.embeddings.position_embedding.weight", 0), {"weights", "vision"}),
    "positions moved": (
        lambda folder: _constant(folder, "positions.trained", lambda array: array + np.float32(0.25)),
        {"weights", "vision"},
    ),
    "narrower triangles": (
        lambda folder: _constant(folder, "positions.one", lambda array: array * np.float32(0.75)),
        {"weights", "vision"},
    ),
    "time turned": (_reversed("language_model.layers.2.conv.conv.weight", 2, DECODER), {"weights", "logits"}),
    "a norm doubled": (
        lambda folder: _constant(folder, "language_model.layers.1.self_attn.k_layernorm.weight",
                                 lambda array: 2 * array, DECODER),
        {"weights", "logits"},
    ),
    "more tiles": (lambda folder: _settings(folder, max_tiles=12), {"configuration"}),
    "more tokens": (lambda folder: _settings(folder, max_image_tokens=128), {"configuration"}),
    "fewer tokens": (lambda folder: _settings(folder, min_image_tokens=1), {"configuration"}),
    "tiles": (lambda folder: _settings(folder, do_image_splitting=True), {"configuration"}),
    "no thumbnail": (lambda folder: _settings(folder, use_thumbnail=False), {"configuration"}),
    "other squares": (lambda folder: _settings(folder, downsample_factor=4), {"configuration"}),
    "scaled before it is cut": (lambda folder: _settings(folder, do_resize=True), {"configuration"}),
    "another image token": (lambda folder: _json(folder, "config.json", image_token_id=4), {"configuration"}),
    "another image": (lambda folder: _json(folder, "manifest.json", image=[64, 64]), {"manifest"}),
    "other tokens": (lambda folder: _json(folder, "manifest.json", visual_tokens=54), {"configuration", "judge"}),
    "another client": (lambda folder: _json(folder, "manifest.json", clients=["vlmplan", "genai"]), {"manifest"}),
    "pooled": (lambda folder: _json(folder, "manifest.json", compressor="average-pool"), {"manifest"}),
}  # fmt: skip


@functools.cache
def _validator() -> Validator:
    """One that loads its reference once, for exports of one view of 12 tokens."""
    options = Options(checkpoint=str(checkpoint("lfm2-vl")), threads=2, repeats=1, visual_tokens=12, image=USUAL_IMAGE)
    return Validator(options, quiet)


@functools.cache
def _small() -> Path:
    folder = exported("lfm2-vl").with_name("lfm2-vl-small")
    export(order("lfm2-vl", visual_tokens=12), folder, quiet)
    return folder


def _failed(report: Report) -> set[str]:
    return {check.name for check in report.failed}


@pytest.mark.parametrize("what", FORGED)
def test_forgeries_of_views_are_refused(what: str, tmp_path: Path) -> None:
    """All digests agree with what was forged, and yet it is seen."""
    shutil.copytree(_small(), tmp_path / "forged")
    change, expected = FORGED[what]
    change(tmp_path / "forged")
    agree(tmp_path / "forged")
    report = _validator().validate(tmp_path / "forged").report
    assert expected <= _failed(report), report.checks
    assert "integrity" not in _failed(report)


@pytest.mark.parametrize("kind", SHAPED)
def test_checkpoint_and_export_answer_alike(kind: str, tmp_path: Path) -> None:
    picture = random_picture(tmp_path, 420, 300)
    row = {"image": picture.name, "question": "What is this?", "answer": "nothing"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(row) + "\n")
    found = api.evaluate(
        model=exported(kind), questions=tmp_path / "questions.jsonl", images=tmp_path, against=checkpoint(kind)
    )
    assert found.visual_tokens == 182
    assert found.against is not None and found.against.differing == 0


def test_a_plan_chooses_among_numbers_of_views_and_its_export_is_held_against_it(tmp_path: Path) -> None:
    folder = checkpoint("lfm2-vl")
    plan = plan_for(folder, 10.0, (300, 200))
    assert plan.choice.compressor is Compressor.NONE
    assert plan.choice.visual_tokens in [
        one.visual_tokens for one in api.tokens(model=folder, image="300x200").reachable
    ]
    made = chosen(ExportChoices(checkpoint=str(folder)), plan)
    assert (made.visual_tokens, made.image) == (plan.choice.visual_tokens, plan.workload.image)
    export(made, tmp_path / "made", quiet)
    report = judged_export(tmp_path / "made", "lfm2-vl", plan=plan, budget_only=True)
    assert not report.failed and not report.reservations, report.failed
    other = replace(plan, workload=replace(plan.workload, image=(64, 64)))
    assert "plan" in _failed(judged_export(tmp_path / "made", "lfm2-vl", plan=other, budget_only=True))


def test_shipped_models_of_this_type_are_exportable() -> None:
    found = [model for model in catalogue.models() if model.architecture == "lfm2_vl"]
    assert len(found) >= 5
    assert all(model.exportable and model.exports_tiles for model in found)
