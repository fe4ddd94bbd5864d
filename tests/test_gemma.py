"""Gemma 3 and PaliGemma: who sees whom, fewer tokens by pooling, and what clients are told; as transformers does it."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mutants import DECODER, agree
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import load_file
from small_models import (
    POOLED,
    checkpoint,
    exported,
    judged_export,
    largest_difference,
    opened_checkpoint,
    order,
    quiet,
    random_picture,
    run_graph,
)
from small_plans import plan_for

from vlmplan import api
from vlmplan.checkpoints.compressors import compression_of
from vlmplan.checkpoints.reference import Reference, load_reference
from vlmplan.checkpoints.tensors import canonical
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts, answer
from vlmplan.exporting.manifest import GRAPHS
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.runner import OnnxModel, Prompt, generate
from vlmplan.exporting.write import export
from vlmplan.graphs.gemma import gemma_encoder_graph
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.models.refusals import runnable
from vlmplan.models.spec import Compressor

OWN = {"gemma3": 16, "gemma3-wide": 64, "paligemma": 64, "paligemma2": 64}  # tokens of an image
WIDTH = 64  # of the LLMs


@functools.cache
def _reference(kind: str, visual_tokens: int) -> Reference:
    opened = opened_checkpoint(kind)
    own = visual_tokens == OWN[kind]
    plan = compression_of(opened, Compressor.NONE if own else Compressor.AVERAGE_POOL, visual_tokens)
    return load_reference(opened, plan, None)


@functools.cache
def _whole(kind: str) -> OnnxModel:
    """An export of a checkpoint as it is."""
    folder = exported(kind).parent / f"{kind}-whole"
    export(order(kind, visual_tokens=OWN[kind], compressor=Compressor.NONE), folder, quiet)
    return OnnxModel(folder, threads=1)


def _prompt(kind: str, images: int, before: int, after: int) -> Prompt:
    """A question with images between text, each of the tokens that the checkpoint makes of one."""
    rng, count = np.random.default_rng(before + after), OWN[kind]
    ids = rng.integers(10, 250, before).tolist()
    for _ in range(images):
        ids += [3] * count + rng.integers(10, 250, after).tolist()
    input_ids = np.array([ids], np.int64)
    pixels = rng.standard_normal((images, 3, 112, 112)).astype(np.float32) if images else None
    return Prompt(
        input_ids=input_ids, attention_mask=np.ones_like(input_ids), pixel_values=pixels, image_token=3
    )  # fmt: skip


@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize("count", [1, 4, 16, 64])
def test_features_equal_pytorch(kind: str, count: int, tmp_path: Path) -> None:
    """Two images; fewer tokens than the checkpoint's own are what a checkpoint of so many would make."""
    reference = _reference(kind, count)
    pixels = np.random.default_rng(0).standard_normal((2, 3, 112, 112)).astype(np.float32)
    graph = gemma_encoder_graph(opened_checkpoint(kind), reference.compression, Precision.FP32)
    found = run_graph(graph, {"pixel_values": pixels}, tmp_path)["image_features"]
    expected = reference.image_features(pixels)
    assert found.shape == (2, count, WIDTH + kind.startswith("gemma3"))
    assert largest_difference(found, expected) < 1e-5 * expected.std()
    assert np.abs(found[0] - found[1]).max() > 1e-2


@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize(
    ("images", "before", "after"), [(0, 3, 0), (0, 25, 0), (1, 1, 2), (1, 2, 30), (1, 20, 1), (2, 1, 9), (3, 4, 0)]
)
def test_logits_equal_transformers_own(kind: str, images: int, before: int, after: int) -> None:
    """Texts shorter and longer than the window of 7, images side by side or apart; prefill and eight steps."""
    prompt = _prompt(kind, images, before, after)
    ours = generate(_whole(kind), prompt, 9)
    theirs = generate(_reference(kind, OWN[kind]), prompt, 9, forced=ours.tokens)
    assert largest_difference(np.stack(ours.logits), np.stack(theirs.logits)) < 1e-4
    assert ours.tokens == theirs.tokens


def _batch(kind: str) -> tuple[list[Prompt], Any, Any]:
    """Prompts of three lengths, one without an image, and their embeddings left-padded with noise."""
    model = _whole(kind)
    prompts = [_prompt(kind, 1, 4, 11), _prompt(kind, 1, 1, 3), _prompt(kind, 0, 9, 0)]
    rows = []
    for prompt in prompts:
        embeds = model.embeds(prompt.input_ids)
        if prompt.pixel_values is not None:
            embeds[prompt.input_ids == 3] = model.image_features(prompt.pixel_values)[0]
        rows.append(embeds[0])
    longest = max(map(len, rows))
    noise = np.random.default_rng(1).standard_normal((3, longest, rows[0].shape[-1])).astype(np.float32)
    for row, given in zip(noise, rows, strict=True):
        row[longest - len(given) :] = given
    mask = np.stack([np.arange(longest) >= longest - len(row) for row in rows]).astype(np.int64)
    return prompts, noise, mask


@pytest.mark.parametrize("kind", POOLED)
def test_padded_batches_answer_as_their_rows_alone(kind: str) -> None:
    """Whatever stands in the padding, marks of images too: nobody sees it. Five steps, against PyTorch row by row."""
    prompts, embeds, mask = _batch(kind)
    alone = [generate(_reference(kind, OWN[kind]), prompt, 5) for prompt in prompts]
    cache, model = None, _whole(kind)
    for step in range(5):
        logits, _, cache = model.step(embeds, mask, cache)
        assert largest_difference(logits, np.stack([one.logits[step] for one in alone])) < 1e-4
        embeds = model.embeds(np.array([[one.tokens[step]] for one in alone], np.int64))
        mask = np.concatenate([mask, np.ones((3, 1), np.int64)], axis=1)


@pytest.mark.parametrize("kind", POOLED)
def test_an_image_and_a_prefix_are_seen_whole(kind: str) -> None:
    """What is later moves the answer of what is earlier: of an image in both, of the text in a prefix alone."""
    model, prompt = _whole(kind), _prompt(kind, 1, 2, 6)
    embeds = model.embeds(prompt.input_ids)
    embeds[prompt.input_ids == 3] = model.image_features(prompt.pixel_values)[0]
    first = 2 + OWN[kind] // 2  # the second half of the image
    keys = []
    for change in (None, slice(first, 2 + OWN[kind]), slice(2 + OWN[kind], None)):
        given = embeds.copy()
        if change is not None:
            given[:, change, :WIDTH] += 0.5
        _, _, cache = model.step(given, prompt.attention_mask, None)
        keys.append(cache["past_key_values.1.key"].numpy())  # of the second layer: what the first has seen
    moved = [np.abs(one - keys[0]).max(axis=(0, 1, 3)) > 1e-4 for one in keys[1:]]
    marked = kind.startswith("gemma3")
    assert moved[0][first - 1] and moved[0][first:].all()
    assert moved[0][:2].any() is np.bool_(not marked)
    assert moved[1][: 2 + OWN[kind]].any() is np.bool_(not marked)


@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize("size", [(300, 200), (100, 420)])
def test_tokens_are_those_of_transformers_own_generate(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    """The checkpoint's processor and ``generate``, against the export's own files and the loop of ``vlmplan run``."""
    picture = random_picture(tmp_path, *size)
    prompt = Prompts(_whole(kind).folder).of(picture, "What is this?", reads_question=False)
    assert (prompt.input_ids == 3).sum() == OWN[kind]
    ours = generate(_whole(kind), prompt, 12)
    processor = Prompts(checkpoint(kind)).processor
    if kind.startswith("gemma3"):
        content = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    else:
        text = "<image>What is this?"
    made = processor(images=Image.open(picture), text=text, return_tensors="np")
    inputs = {name: torch.from_numpy(value) for name, value in made.items() if name != "labels"}
    assert inputs["input_ids"].tolist() == prompt.input_ids.tolist()
    model = _reference(kind, OWN[kind]).model
    with torch.inference_mode():
        theirs = model.generate(**inputs, max_new_tokens=12, min_new_tokens=12, do_sample=False,
                                output_logits=True, return_dict_in_generate=True)  # fmt: skip
    assert list(ours.tokens) == theirs.sequences[0, -12:].tolist()
    assert largest_difference(np.stack(ours.logits), torch.cat(theirs.logits).numpy()) < 1e-4


@pytest.mark.parametrize(
    ("kind", "precision", "base", "count"),
    [
        ("gemma3", Precision.FP16, Precision.FP32, 16),
        ("gemma3", Precision.INT8, Precision.FP16, 4),
        ("gemma3-wide", Precision.INT4, Precision.FP32, 64),
        ("paligemma", Precision.FP16, Precision.FP32, 64),
        ("paligemma", Precision.INT4, Precision.FP16, 16),
        ("paligemma2", Precision.FP32, Precision.FP32, 1),
        ("paligemma2", Precision.INT8, Precision.FP32, 64),
    ],
)
def test_exports_validate(kind: str, precision: Precision, base: Precision, count: int, tmp_path: Path) -> None:
    compressor = Compressor.NONE if count == OWN[kind] else Compressor.AVERAGE_POOL
    made = order(kind, precision=precision, base_precision=base, visual_tokens=count, compressor=compressor)
    manifest = export(made, tmp_path / "made", quiet)
    assert manifest.architecture == POOLED[kind].model_type
    report = judged_export(tmp_path / "made", kind, visual_tokens=count)
    assert not report.failed and not report.reservations, report.failed


@pytest.mark.parametrize("kind", ["gemma3", "paligemma2"])
def test_every_number_of_tokens_is_run(kind: str, tmp_path: Path) -> None:
    picture = random_picture(tmp_path, 90, 60)
    for count in (1, 4, 16, 64):
        choices = ExportChoices(
            checkpoint=str(checkpoint(kind)), visual_tokens=count,
            compressor=None if count == OWN[kind] else Compressor.AVERAGE_POOL,
        )  # fmt: skip
        export(chosen(choices, None), tmp_path / "made", quiet, overwrite=True)
        assert answer(tmp_path / "made", picture, "Hm?", 1, "cpu", 1).visual_tokens == count
    unasked = chosen(ExportChoices(checkpoint=str(checkpoint(kind))), None)
    assert (unasked.visual_tokens, unasked.compressor) == (OWN[kind], Compressor.NONE)


@pytest.mark.parametrize("token", ["<start_of_image>", "<image_soft_token>"])
def test_no_question_says_where_the_image_stands(token: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--prompt: found {token}; the image's place is set by the template"):
        answer(_whole("gemma3").folder, random_picture(tmp_path, 30, 30), f"and {token}?", 1, "cpu", 1)


@pytest.mark.parametrize("kind", ["gemma3", "paligemma"])
def test_questions_are_answered_by_checkpoint_and_export_alike(kind: str, tmp_path: Path) -> None:
    rows = [{"image": random_picture(tmp_path, side, 30).name, "question": "Hm?", "answer": "a"} for side in (40, 50)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = api.evaluate(
        model=_whole(kind).folder, questions=tmp_path / "questions.jsonl", images=tmp_path, against=checkpoint(kind)
    )
    assert found.visual_tokens == OWN[kind]
    assert found.against is not None and found.against.differing == 0


@pytest.mark.parametrize(
    ("kind", "name", "changed", "message"),
    [
        ("gemma3", "config.json", {"mm_tokens_per_image": 10}, "mm_tokens_per_image is 10, expected the square of a"),
        ("gemma3", "config.json", {"image_token_index": 300}, "image_token_index is 300, expected one of the 300 tok"),
        ("paligemma", "text_config", {"hidden_act": "silu"}, "hidden_activation is 'silu'; vlmplan exports gelu_pyt"),
        ("paligemma", "text_config", {"model_type": "qwen2"}, "model_type is 'qwen2'; vlmplan exports gemma, gemma2"),
        (
            "paligemma",
            "text_config",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "rope_type is 'dynamic'; vlmplan exports default, linear, llama3, yarn",
        ),
        ("gemma3", "image_processor", {"do_resize": False}, "its processor has do_resize off"),
        ("gemma3", "image_processor", {"do_pan_and_scan": True}, "do_pan_and_scan on, which cuts crops"),
        ("paligemma", "image_processor", {"size": {"height": 224, "width": 224}}, "the tower reads 112 pixels a side"),
        (
            "gemma3",
            "image_processor",
            {"image_processor_type": "CLIPImageProcessor"},
            "its image processor is CLIPImageProcessor, expected Gemma3ImageProcessor",
        ),
        ("paligemma", "tokenizer.json", {"added_tokens": []}, "expected the added token <image>, number 3"),
        ("gemma3", "tokenizer_config.json", {"extra_special_tokens": {}, "boi_token": None, "eoi_token": None,
                                             "image_token": None}, "expected boi_token, eoi_token, image_token, by"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_named(
    kind: str, name: str, changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint(kind), tmp_path / "changed")
    file = {"text_config": "config.json", "image_processor": "processor_config.json"}.get(name, name)
    path = tmp_path / "changed" / file
    content = json.loads(path.read_text())
    content.get(name, content).update(changed)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        export(chosen(ExportChoices(checkpoint=str(tmp_path / "changed")), None), tmp_path / "made", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


@pytest.mark.parametrize(
    ("compressor", "count", "message"),
    [
        (Compressor.QUECC, 16, "found quecc; gemma3 is exported as it is or with one of average-pool, divprune"),
        (Compressor.NONE, 4, "--compressor none leaves 16 visual tokens; found 4; expected one of average-pool"),
        (Compressor.VISIONZIP, 4, "found visionzip; gemma3 is exported as it is or with one of average-pool, divprune"),
        (Compressor.DIVPRUNE, 16, "divprune keeps 1 to 15 of an image's 4 x 4 tokens"),
        (Compressor.AVERAGE_POOL, 9, "8 x 8 patches leave one of 1, 4, 16, 64"),
    ],
)
def test_other_ways_to_fewer_tokens_are_refused(compressor: Compressor, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compression_of(opened_checkpoint("gemma3"), compressor, count)


def _unmarked(model: Any) -> None:
    """No image is told from text."""
    numbers = next(one for one in model.graph.initializer if one.name == "mark.half")
    numbers.CopyFrom(numpy_helper.from_array(np.array(2.0, np.float32), numbers.name))


def _causal(model: Any) -> None:
    """Every call is as if it were not the first."""
    node = next(one for one in model.graph.node if one.op_type == "Equal")
    node.op_type = "Less"


def _uncapped(model: Any) -> None:
    """Scores and logits go where they like."""
    for node in model.graph.node:
        node.op_type = "Identity" if node.op_type == "Tanh" else node.op_type


def _swapped_windows(model: Any) -> None:
    """The first layer sees everything, the second what is near."""
    used = [node for node in model.graph.node if node.op_type in ("Attention", "Where")]
    places = [3 if node.op_type == "Attention" else 0 for node in used]
    first, last = used[0].input[places[0]], used[-1].input[places[-1]]
    used[0].input[places[0]], used[-1].input[places[-1]] = last, first


def _plain_norms(model: Any) -> None:
    """Norms multiply by their weight, not by one more."""
    for one in model.graph.initializer:
        if one.name.endswith(".plus_one"):
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) - 1, one.name))


@pytest.mark.parametrize(
    ("kind", "fault", "checks"),
    [
        ("gemma3", _unmarked, {"structure", "weights", "logits"}),
        ("gemma3", _swapped_windows, {"structure", "logits"}),
        ("gemma3", _plain_norms, {"weights", "logits"}),
        ("paligemma", _causal, {"structure", "logits"}),
        ("paligemma2", _causal, {"structure", "logits"}),
        ("paligemma2", _uncapped, {"structure", "logits"}),
        ("paligemma2", _swapped_windows, {"structure", "logits"}),
    ],
)
def test_planted_faults_are_seen_in_files_and_in_numbers(
    kind: str, fault: Callable[[Any], None], checks: set[str], tmp_path: Path
) -> None:
    """Each is refused by what the files hold, and by itself moves a logit further than rounding does."""
    shutil.copytree(_whole(kind).folder, tmp_path / "forged")
    model = onnx.load(tmp_path / "forged" / DECODER)
    fault(model)
    onnx.save(model, tmp_path / "forged" / DECODER)
    agree(tmp_path / "forged")
    seen = {check.name for check in judged_export(tmp_path / "forged", kind).failed}
    assert seen & (checks - {"logits"})
    prompt = _prompt(kind, 1, 2, 20)
    theirs = generate(_reference(kind, OWN[kind]), prompt, 3)
    ours = generate(OnnxModel(tmp_path / "forged", threads=1), prompt, 3, forced=theirs.tokens)
    assert largest_difference(np.stack(ours.logits), np.stack(theirs.logits)) > 1e-3


@pytest.mark.parametrize("kind", ["gemma3", "paligemma"])
def test_names_of_tensors_are_the_checkpoints(kind: str) -> None:
    """Every tensor of the checkpoint is in a graph, under its name."""
    stored = load_file(checkpoint(kind) / "model.safetensors")
    graphs = [onnx.load(_whole(kind).folder / name) for name in GRAPHS]
    held = {
        one.name.removesuffix(".T").removesuffix(".plus_one") for model in graphs for one in model.graph.initializer
    }
    assert {canonical(name) for name in stored} <= held


@pytest.mark.parametrize("kind", ["gemma3", "paligemma"])
def test_a_plans_export_is_held_against_it(kind: str, tmp_path: Path) -> None:
    folder = checkpoint(kind)
    plan = plan_for(folder, 10.0)
    assert (plan.choice.visual_tokens, plan.choice.compressor) == (OWN[kind], Compressor.NONE)
    made = chosen(ExportChoices(checkpoint=str(folder)), plan)
    export(made, tmp_path / "made", quiet)
    report = judged_export(tmp_path / "made", kind, plan=plan, budget_only=True)
    assert not report.failed and not report.reservations, report.failed


def test_shipped_models_of_these_types_are_planned_but_not_in_fp16() -> None:
    """On a GPU in fp32 alone, what is not quantised being fp16 there; on a processor in every precision."""
    models = [one for one in catalogue.models() if one.architecture in ("gemma3", "paligemma")]
    assert len(models) == 15 and all(model.exportable and not model.exports_tiles for model in models)
    gpu, cpu = catalogue.hardware("l4"), catalogue.hardware("amd-epyc-9654")
    asked = (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4)
    for model in models:
        first = model.architecture == "paligemma" and "paligemma2" not in model.name  # whose LLM is the first Gemma
        assert runnable(model, asked, gpu, Runtime.ONNXRUNTIME) == (asked if first else (Precision.FP32,)), model.name
        assert {Precision.FP32, Precision.INT4} <= set(runnable(model, asked, cpu, Runtime.ONNXRUNTIME))
