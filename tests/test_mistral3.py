"""Mistral 3: whole pictures of any shape through Pixtral's tower, a token at each row's end."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutants import DECODER, agree, revalued, rewired
from PIL import Image
from safetensors.torch import load_file
from small_models import (
    PICTURED,
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
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts, answer
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.runner import OnnxModel, Prompt, generate, prompt_embeds, stepped
from vlmplan.exporting.write import export
from vlmplan.graphs.pixtral import picture_graph
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.validate import Validator

KIND, IMAGE, BREAK, END = "mistral3", 3, 4, 5


@pytest.mark.parametrize("kind", PICTURED)
def test_features_equal_pytorch_whatever_the_size(kind: str, tmp_path: Path) -> None:
    opened, rng = opened_checkpoint(kind), np.random.default_rng(0)
    graph, side = picture_graph(opened, Precision.FP32), opened.image_size
    for images, rows, columns in ((1, 1, 1), (1, 1, 2), (2, 1, 1), (2, 2, 5), (3, 7, 3), (1, 1, 9)):
        pixels = rng.standard_normal((images, 3, rows * side, columns * side)).astype(np.float32)
        found = run_graph(graph, {"pixel_values": pixels}, tmp_path)["image_features"]
        assert found.shape == (images, rows * columns, 64)
        expected = reference_of(kind).image_features(pixels, grid=np.array([pixels.shape[2:]] * images))
        assert largest_difference(found.reshape(-1, 64), expected) < 1e-5 * expected.std()


def _asked(folder: Path, kind: str, sizes: list[tuple[int, int]]) -> tuple[Any, Prompt]:
    """What an export's processor makes of pictures and a question, and the same as a prompt."""
    processor = Prompts(exported(kind)).processor
    content = [{"type": "image"}] * len(sizes) + [{"type": "text", "text": "What is this?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(random_picture(folder, *size)) for size in sizes]
    made = processor(images=images, text=text, return_tensors="np")
    prompt = Prompt(
        input_ids=made["input_ids"], attention_mask=made["attention_mask"], pixel_values=made["pixel_values"],
        grid=made["image_sizes"], image_token=IMAGE,
    )  # fmt: skip
    return made, prompt


@pytest.mark.parametrize("kind", PICTURED)
@pytest.mark.parametrize("sizes", [[(200, 130)], [(200, 130), (90, 220)], [(60, 60), (300, 40), (40, 300)]])
def test_tokens_and_logits_are_those_of_transformers_own_generate(
    kind: str, sizes: list[tuple[int, int]], tmp_path: Path
) -> None:
    """One picture and several of unlike shapes, padded to one size: transformers' whole model, no part of ours."""
    made, prompt = _asked(tmp_path, kind, sizes)
    given = {name: torch.from_numpy(np.asarray(value)) for name, value in made.items()}
    given.pop("mm_token_type_ids", None)
    with torch.inference_mode():
        theirs = reference_of(kind).model.generate(
            **given, max_new_tokens=12, min_new_tokens=12, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    ours = generate(OnnxModel(exported(kind)), prompt, 12)
    assert list(ours.tokens) == theirs.sequences[0, -12:].tolist()
    assert len(set(ours.tokens)) > 2
    assert largest_difference(np.stack(ours.logits), torch.cat(theirs.logits).numpy()) < 1e-4


def test_a_picture_is_written_row_by_row(tmp_path: Path) -> None:
    _, prompt = _asked(tmp_path, KIND, [(90, 60)])
    rows, columns = prompt.pixel_values.shape[2] // 28, prompt.pixel_values.shape[3] // 28  # type: ignore[union-attr]
    assert (rows, columns) == (3, 4)
    shown = [token for token in prompt.input_ids[0].tolist() if token in (IMAGE, BREAK, END)]
    assert shown == [*[IMAGE] * 4, BREAK, *[IMAGE] * 4, BREAK, *[IMAGE] * 4, END]


def test_the_rows_of_a_batch_stand_where_they_stand_alone(tmp_path: Path) -> None:
    model = OnnxModel(exported(KIND))
    prompts = [_asked(tmp_path, KIND, [size])[1] for size in ((100, 60), (60, 200))]
    embeds = [prompt_embeds(model, prompt) for prompt in prompts]
    longest = max(one.shape[1] for one in embeds)
    fed = np.concatenate([np.pad(one, ((0, 0), (longest - one.shape[1], 0), (0, 0))) for one in embeds])
    mask = np.stack([np.arange(longest) >= longest - one.shape[1] for one in embeds]).astype(np.int64)
    alone = np.stack([generate(model, prompt, 1).logits[0] for prompt in prompts])
    assert largest_difference(stepped(model, fed, mask, None, None)[0], alone) < 1e-5


@pytest.mark.parametrize(
    ("kind", "precision", "base", "tokens"),
    [
        (KIND, Precision.FP32, Precision.FP32, 24),
        (KIND, Precision.FP16, Precision.FP32, 192),
        (KIND, Precision.INT8, Precision.FP16, 88),
        ("mistral3-wide", Precision.INT4, Precision.FP32, 88),
    ],
)
def test_exports_validate(kind: str, precision: Precision, base: Precision, tokens: int, tmp_path: Path) -> None:
    reached = [one.visual_tokens for one in api.tokens(model=checkpoint(kind)).reachable]
    tokens = min(reached, key=lambda one: abs(one - tokens))
    manifest = export(
        order(kind, precision=precision, base_precision=base, visual_tokens=tokens), tmp_path / "made", quiet
    )
    assert (manifest.architecture, manifest.clients) == ("mistral3", ("vlmplan", "transformers.js"))
    report = judged_export(tmp_path / "made", kind, visual_tokens=tokens, image=USUAL_IMAGE)
    assert not report.failed and not report.reservations, report.failed


def test_every_number_of_vlmplan_tokens_can_be_exported(tmp_path: Path) -> None:
    reached = [one.visual_tokens for one in api.tokens(model=checkpoint(KIND)).reachable]
    assert len(reached) >= 8
    picture = random_picture(tmp_path, *USUAL_IMAGE)
    for count in reached:
        made = chosen(ExportChoices(checkpoint=str(checkpoint(KIND)), visual_tokens=count), None)
        export(made, tmp_path / "made", quiet, overwrite=True)
        assert answer(tmp_path / "made", picture, "Hm?", 1, "cpu", 1).visual_tokens == count
    unasked = chosen(ExportChoices(checkpoint=str(checkpoint(KIND))), None)
    assert (unasked.visual_tokens, unasked.image) == (reached[-1], USUAL_IMAGE)
    with pytest.raises(InputError, match="found 7; the processor makes one of 24, 88"):
        chosen(ExportChoices(checkpoint=str(checkpoint(KIND)), visual_tokens=7), None)
    with pytest.raises(InputError, match="mistral3 joins patches itself and is exported as it is; expected none"):
        asked = ExportChoices(checkpoint=str(checkpoint(KIND)), visual_tokens=24, compressor=Compressor.AVERAGE_POOL)
        chosen(asked, None)


def test_a_plan_chooses_among_these_numbers_and_its_export_is_held_against_it(tmp_path: Path) -> None:
    plan = plan_for(checkpoint(KIND), 10.0, (448, 336))
    reached = [one.visual_tokens for one in api.tokens(model=checkpoint(KIND), image="448x336").reachable]
    assert plan.choice.visual_tokens in reached
    export(chosen(ExportChoices(checkpoint=str(checkpoint(KIND))), plan), tmp_path / "made", quiet)
    report = judged_export(tmp_path / "made", KIND, plan=plan, budget_only=True)
    assert not report.failed and not report.reservations, report.failed


# As Mistral-Small-3.1-24B-Instruct-2503 lays its files out, with small numbers.
_HUB: dict[str, Any] = {
    "architectures": ["Mistral3ForConditionalGeneration"], "image_token_index": 3, "model_type": "mistral3",
    "multimodal_projector_bias": False, "projector_hidden_act": "gelu", "spatial_merge_size": 2,
    "text_config": {
        "attention_dropout": 0.0, "head_dim": 16, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02,
        "intermediate_size": 96, "max_position_embeddings": 131072, "model_type": "mistral", "num_attention_heads": 4,
        "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-05, "rope_theta": 1000000000.0,
        "sliding_window": None, "use_cache": True, "vocab_size": 300,
    },
    "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
    "vision_config": {
        "attention_dropout": 0.0, "head_dim": 16, "hidden_act": "silu", "hidden_size": 32, "image_size": 1540,
        "initializer_range": 0.02, "intermediate_size": 48, "model_type": "pixtral", "num_attention_heads": 2,
        "num_channels": 3, "num_hidden_layers": 2, "patch_size": 14, "rope_theta": 10000.0,
    },
    "vision_feature_layer": -1,
}  # fmt: skip
_IMAGES = {
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
    "image_processor_type": "PixtralImageProcessorFast", "patch_size": 14, "processor_class": "PixtralProcessor",
    "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 1540},
}  # fmt: skip


def _hub_name(name: str) -> str:
    """A tensor's name as these files have it."""
    name = name.replace("model.language_model.", "language_model.model.")
    return name.replace("model.vision_tower.", "vision_tower.").replace("model.multi_modal", "multi_modal")


def test_a_checkpoint_as_the_hub_has_it_is_exported(tmp_path: Path) -> None:
    """Of transformers 4.50: older names, a tower's rotary base at its top, no processor's own names of tokens."""
    folder = hub_checkpoint(tmp_path / "hub", KIND, _HUB, _IMAGES, _hub_name)
    told = {"processor_class": "PixtralProcessor", "patch_size": 14, "spatial_merge_size": 2}
    (folder / "processor_config.json").write_text(json.dumps(told))
    api.export(checkpoint=folder, visual_tokens=192, out=tmp_path / "made")
    report = Validator(Options(checkpoint=str(folder), threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    assert not report.failed, report.failed
    assert answer(tmp_path / "made", random_picture(tmp_path, *USUAL_IMAGE), "Hm?", 1, "cpu", 1).visual_tokens == 192


def test_names_of_tensors_are_the_checkpoints() -> None:
    import onnx

    from vlmplan.checkpoints.tensors import canonical
    from vlmplan.exporting.manifest import GRAPHS

    graphs = [onnx.load(exported(KIND) / name) for name in GRAPHS]
    held = {one.name.removesuffix(".T") for model in graphs for one in model.graph.initializer}
    assert {canonical(name) for name in load_file(checkpoint(KIND) / "model.safetensors")} <= held


@pytest.mark.parametrize(
    ("name", "table", "change", "message"),
    [
        ("config.json", None, {"spatial_merge_size": 0}, "spatial_merge_size is 0, expected a whole number from 1"),
        ("config.json", None, {"vision_feature_layer": -2}, "vision_feature_layer is -2; vlmplan exports -1"),
        ("config.json", None, {"image_token_index": 4}, r"expected the added token '\[IMG\]', number 4, which"),
        ("config.json", "vision_config", {"num_attention_heads": 5}, "width is 64, expected a multiple of 4 x 5 heads"),
        ("config.json", "vision_config", {"hidden_act": "relu"}, "activation 'relu' is not known"),
        ("config.json", "vision_config", {"patch_size": [14, 14]}, r"patch_size is \[14, 14\], expected a whole"),
        ("processor_config.json", "image_processor", {"do_resize": False}, "its processor has do_resize False"),
        ("processor_config.json", None, {"image_break_token": "[ROW]"}, r"expected the added token '\[ROW\]', which"),
        (
            "processor_config.json",
            "image_processor",
            {"image_processor_type": "CLIPImageProcessor"},
            "its image processor is CLIPImageProcessor, expected PixtralImageProcessor",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(
    name: str, table: str | None, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint(KIND), tmp_path / "changed")
    path = tmp_path / "changed" / name
    content = json.loads(path.read_text())
    (content[table] if table else content).update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        export(chosen(ExportChoices(checkpoint=str(tmp_path / "changed")), None), tmp_path / "made", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


def _turned(folder: Path) -> None:
    """Rows of squares are read as columns."""

    def change(graph: Any) -> None:
        node = next(one for one in graph.node if one.op_type == "Transpose" and len(one.attribute[0].ints) == 6)
        node.attribute[0].ints[:] = [0, 3, 1, 5, 4, 2]

    rewired(folder, change)


def _columns_as_rows(folder: Path) -> None:
    """A patch's row stands for its column, too."""

    def change(graph: Any) -> None:
        next(one for one in graph.node if one.op_type == "Mod").op_type = "Div"

    rewired(folder, change)


def _json(folder: Path, name: str, **changed: Any) -> None:
    content = json.loads((folder / name).read_text())
    content.get("image_processor", content).update(changed)
    (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _settings(folder: Path, **changed: Any) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        _json(folder, name, **changed)


FORGED: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "squares turned": (_turned, {"structure"}),
    "columns as rows": (_columns_as_rows, {"structure"}),
    "frequencies exchanged": (
        lambda folder: revalued(folder, "tower.inverse_frequencies.rows", lambda array: array / 2),
        {"weights", "vision"},
    ),
    "a merger turned": (
        lambda folder: revalued(
            folder, "multi_modal_projector.patch_merger.merging_layer.weight.T", lambda array: array[::-1]
        ),
        {"weights", "vision"},
    ),
    "a norm doubled": (
        lambda folder: revalued(folder, "vision_tower.ln_pre.weight", lambda array: array * 2),
        {"weights", "vision"},
    ),
    "rotary frequencies": (
        lambda folder: revalued(folder, "rotary.inverse_frequencies", lambda array: array / 2, DECODER),
        {"weights", "logits"},
    ),
    "a longer edge": (lambda folder: _settings(folder, size={"longest_edge": 1540}), {"configuration"}),
    "other squares": (lambda folder: _settings(folder, spatial_merge_size=1), {"configuration"}),
    "no padding": (lambda folder: _settings(folder, do_pad=False), {"configuration"}),
    "another image": (lambda folder: _json(folder, "manifest.json", image=[640, 200]), {"manifest"}),
    "other tokens": (lambda folder: _json(folder, "manifest.json", visual_tokens=192), {"configuration", "judge"}),
}


@functools.cache
def _validator() -> Validator:
    return Validator(Options(checkpoint=str(checkpoint(KIND)), threads=2, repeats=1, visual_tokens=88), quiet)


@pytest.mark.parametrize("what", FORGED)
def test_forgeries_are_refused(what: str, tmp_path: Path) -> None:
    """All digests agree with what was forged, and yet it is seen."""
    shutil.copytree(exported(KIND), tmp_path / "forged")
    change, expected = FORGED[what]
    change(tmp_path / "forged")
    agree(tmp_path / "forged")
    report = _validator().validate(tmp_path / "forged").report
    failed = {check.name for check in report.failed}
    assert expected <= failed, report.checks
    assert "integrity" not in failed


def test_rows_that_are_ended_by_another_token_are_refused(tmp_path: Path) -> None:
    shutil.copytree(exported(KIND), tmp_path / "forged")
    path = tmp_path / "forged" / "processor_config.json"
    path.write_text(path.read_text().replace("[IMG_BREAK]", "[IMG_END]"))
    agree(tmp_path / "forged")
    assert {check.name for check in _validator().validate(tmp_path / "forged").report.failed} == {"configuration"}


def test_shipped_models_of_this_type_are_exportable() -> None:
    found = [model for model in catalogue.models() if model.architecture == "mistral3"]
    assert found and all(model.exportable and model.exports_tiles for model in found)
