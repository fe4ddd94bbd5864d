"""Tokens chosen in the graph: the criterion, the graph, and a proof that tells a near tie from a wrong choice."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_models import POOLED, judged_export, opened_checkpoint, order, quiet, run_graph
from typer.testing import CliRunner

from vlmplan.checkpoints.reference import load_reference
from vlmplan.checkpoints.regions import KEPT, MERGED, Compression, compression
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.checkpoints.torch_compressors import DivPrune, Features, Gaze, VisionZip, gaze_of
from vlmplan.cli.app import app
from vlmplan.document import load
from vlmplan.exporting.manifest import VISION, read_manifest
from vlmplan.exporting.runner import OnnxModel
from vlmplan.exporting.write import export
from vlmplan.graphs import selection as graphs
from vlmplan.graphs.selection import divpruned
from vlmplan.graphs.sketch import Sketch
from vlmplan.graphs.vision import encoder_graph
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue
from vlmplan.models.spec import Compressor
from vlmplan.planning.handing.handover import PLAN_FILE
from vlmplan.planning.plan import Plan
from vlmplan.proof.numbers import probes
from vlmplan.proof.options import Options
from vlmplan.proof.report import Outcome
from vlmplan.proof.selection import Following, selection
from vlmplan.proof.validate import Validator

WIDTH = 24


def _pruned(x: Any, kept: int, folder: Path, precision: Precision = Precision.FP32) -> tuple[Any, Any]:
    """(tokens, positions in the order in which they were taken) by a graph of the selection alone."""
    sketch = Sketch(opened_checkpoint("clip-qwen2").tensors, precision)
    given = sketch.input("x", ["batch_size", *x.shape[1:]])
    found, positions = divpruned(sketch, sketch.inner(given), x.shape[1], kept)
    model = sketch.model(
        "selection", [given], [sketch.output(found, "kept", ["batch_size", kept, x.shape[2]]), positions]
    )
    outputs = run_graph(model, {"x": x}, folder)
    return outputs["kept"], outputs[KEPT]


def _module(tokens: int, kept: int) -> DivPrune:
    return DivPrune(compression(Compressor.DIVPRUNE, round(tokens**0.5), kept))


def _farthest(x: Any, kept: int) -> list[int]:
    """The paper's algorithm written out: distances of pairs, one token after the other, nothing shared with ours."""
    unit = x.astype(np.float64) / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    distance = 1 - unit @ unit.T
    left = list(range(len(x)))
    nearest_other = [min(distance[i, j] for j in left if j != i) for i in left]
    taken = [int(np.argmax(nearest_other))]
    while len(taken) < kept:
        left = [i for i in range(len(x)) if i not in taken]
        taken.append(max(left, key=lambda i: min(distance[i, j] for j in taken)))
    return taken


def _random(rng: Any) -> Any:
    return rng.standard_normal((3, 49, WIDTH))


def _duplicates(rng: Any) -> Any:
    """Nine different tokens, each many times."""
    return rng.standard_normal((3, 9, WIDTH))[:, rng.integers(0, 9, 49)]


def _equal(rng: Any) -> Any:
    """One token, everywhere: nothing tells them apart."""
    return np.repeat(rng.standard_normal((3, 1, WIDTH)), 49, axis=1)


def _orthogonal(rng: Any) -> Any:  # noqa: ARG001
    """All distances are 1, or 0: nothing but ties."""
    return np.repeat(np.eye(WIDTH)[None, np.arange(49) % WIDTH], 3, axis=0)


def _zeros(rng: Any) -> Any:
    """Half of the tokens have no length."""
    return rng.standard_normal((3, 49, WIDTH)) * (np.arange(49) % 2)[None, :, None]


def _huge(rng: Any) -> Any:
    """Lengths of all sizes, which cosines do not see."""
    return rng.standard_normal((3, 49, WIDTH)) * 10.0 ** rng.uniform(-3, 3, (3, 49, 1))


@pytest.mark.parametrize("drawn", [_random, _duplicates, _equal, _orthogonal, _zeros, _huge])
@pytest.mark.parametrize("kept", [1, 2, 20, 48])
def test_the_graph_chooses_as_torch_does(drawn: Callable[[Any], Any], kept: int, tmp_path: Path) -> None:
    """No token twice, as they stand in the image, and none that is worse than the best at its step."""
    x = drawn(np.random.default_rng(kept)).astype(np.float32)
    found, positions = _pruned(x, kept, tmp_path)
    module, features = _module(49, kept), Features(patches=torch.from_numpy(x))
    for row in positions:
        assert len(set(row.tolist())) == kept
    assert np.array_equal(found, np.take_along_axis(x, np.sort(positions, axis=1)[:, :, None], axis=1))
    assert module.shortfall(features, {KEPT: torch.from_numpy(positions)}) < 1e-6
    own = module.choice(features)[KEPT].numpy()
    assert module.shortfall(features, {KEPT: torch.from_numpy(own)}) == 0
    if drawn in (_random, _huge):
        assert np.array_equal(positions, own)
        assert [row.tolist() for row in own] == [_farthest(one, kept) for one in x]


def test_by_hand() -> None:
    """Directions at 0, 10, 90 and 180 degrees: 180 is farthest from its nearest, then 0, then 90."""
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 90.0, 180.0]))
    features = Features(patches=torch.stack([angles.cos(), angles.sin()], dim=1)[None])
    module = _module(4, 3)
    assert module.choice(features)[KEPT].tolist() == [[3, 0, 2]]
    assert module(features)[0].tolist() == features.patches[0, [0, 2, 3]].tolist()
    other = {KEPT: torch.tensor([[3, 1, 2]])}  # at 10 degrees, a cosine of -0.985 with 180 where -1 was to be had
    assert module.shortfall(features, other) == pytest.approx(1 - np.cos(np.deg2rad(10)), abs=1e-6)
    assert module.shortfall(features, {KEPT: torch.tensor([[3, 3, 0]])}) > 2


def test_a_batch_is_chosen_image_by_image(tmp_path: Path) -> None:
    x = np.random.default_rng(5).standard_normal((4, 49, WIDTH)).astype(np.float32)
    together = _pruned(x, 9, tmp_path)[1]
    assert [_pruned(one[None], 9, tmp_path)[1][0].tolist() for one in x] == together.tolist()


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        ("clip-qwen2", Precision.FP32),
        ("clip-llama", Precision.FP16),
        ("siglip-mistral", Precision.INT8),
        ("next-qwen3", Precision.INT4),
        ("gemma3", Precision.FP32),
        ("paligemma", Precision.FP32),
        ("paligemma2", Precision.INT4),
    ],
)
@pytest.mark.parametrize("compressor", [Compressor.DIVPRUNE, Compressor.VISIONZIP])
def test_exports_are_proved(kind: str, precision: Precision, compressor: Compressor, tmp_path: Path) -> None:
    if kind in POOLED and compressor is Compressor.VISIONZIP:
        pytest.skip("refused: test_gemma.py")
    export(order(kind, visual_tokens=13, compressor=compressor, precision=precision), tmp_path / "out", quiet)
    report = judged_export(tmp_path / "out", kind)
    assert not report.failed, report.failed
    assert "selection" in {check.name for check in report.checks}


@pytest.mark.parametrize(("compressor", "count"), [(Compressor.DIVPRUNE, 64), (Compressor.VISIONZIP, 400)])
def test_a_tie_that_flips_is_no_fault(compressor: Compressor, count: int, tmp_path: Path) -> None:
    """In fp16 other tokens are kept than PyTorch keeps in fp32, each as good by what fp16 can tell: it passes."""
    made = order(visual_tokens=count, compressor=compressor, precision=Precision.FP16)
    export(made, tmp_path / "out", quiet)
    opened = opened_checkpoint("clip-qwen2")
    reference = load_reference(opened, compression(compressor, opened.grid_side, count), None)
    ours, apart = OnnxModel(tmp_path / "out"), []
    for seed in range(6):
        pixels = np.random.default_rng(seed).standard_normal((1, 3, opened.image_size, opened.image_size))
        asked = replace(probes(read_manifest(tmp_path / "out"), opened)[0], pixel_values=pixels.astype(np.float32))
        own = reference.image_features(asked.pixel_values)
        apart.append(np.abs(ours.image_features(asked.pixel_values) - own).max() > own.std())
        assert selection(ours, reference, (asked,)).outcome is Outcome.PASSED
        followed = Following(reference, ours).image_features(asked.pixel_values)
        assert np.abs(ours.image_features(asked.pixel_values) - followed).max() < 0.02 * own.std()
    assert any(apart)


def _looked(rng: Any, tokens: int, heads: int, classes: int) -> tuple[Any, Any, Any]:
    """Queries, keys and tokens of a layer: ``[batch, tokens, width]`` each."""
    return tuple(rng.standard_normal((2, tokens + classes, heads * 6)).astype(np.float32) for _ in range(3))


def _zip_features(looked: tuple[Any, Any, Any], heads: int, classes: int) -> Features:
    """What torch reads of the same, with attention as torch has it."""
    queries, keys, states = (torch.from_numpy(one) for one in looked)
    by_head = [one.unflatten(2, (heads, -1)).transpose(1, 2) for one in (queries, keys)]
    asking = by_head[0][:, :, :1] if classes else by_head[0]
    weights = (asking @ by_head[1].transpose(2, 3) / 6**0.5).softmax(-1)[..., classes:]
    gaze = Gaze(
        received=weights.mean(dim=(1, 2)), keys=by_head[1][:, :, classes:].mean(1), first=states[:, :classes], reach=1.0
    )
    return Features(patches=states[:, classes:], gaze=gaze)


def _zipped_by_hand(features: Features, kept: int, merged: int) -> Any:
    """The paper's method written out for one image after the other, nothing shared with ours."""
    gaze, found = features.gaze, []
    assert gaze is not None
    for number, tokens in enumerate(features.patches.numpy()):
        attention, keys = gaze.received[number].numpy(), gaze.keys[number].numpy()
        dominant = sorted(np.argsort(-attention, kind="stable")[:kept].tolist())
        rest = [place for place in range(len(tokens)) if place not in dominant]
        targets = rest[:: max(1, len(rest) // merged)][:merged]
        groups: dict[int, list[Any]] = {one: [] for one in targets}
        for place in rest:
            if place not in targets:
                cosines = [keys[place] @ keys[one] / np.linalg.norm(keys[one]) for one in targets]
                groups[targets[int(np.argmax(cosines))]].append(tokens[place])
        merges = [tokens[one] + (np.mean(group, axis=0) if group else 0) for one, group in groups.items()]
        found.append(np.stack([*gaze.first[number].numpy(), *tokens[dominant], *merges]))
    return np.stack(found)


@pytest.mark.parametrize("classes", [0, 1])
@pytest.mark.parametrize("kept", [3, 9, 20, 47])
def test_visionzip_is_the_papers(kept: int, classes: int, tmp_path: Path) -> None:
    """Kept by attention, as they stand in the image; of the rest every so-manieth, with the mean of those like it."""
    plan = compression(Compressor.VISIONZIP, 7, kept)
    looked = _looked(np.random.default_rng(kept), 49, 4, classes)
    features = _zip_features(looked, 4, classes)
    expected = _zipped_by_hand(features, kept - plan.merged_tokens - classes, plan.merged_tokens)
    module = VisionZip(plan)
    assert np.allclose(module(features).numpy(), expected, atol=1e-5)
    found, choice = _zipped(looked, plan, classes, tmp_path)
    assert np.allclose(found, expected[:, classes:], atol=1e-5)
    own = module.choice(features)
    assert {name: values.tolist() for name, values in choice.items()} == {k: v.tolist() for k, v in own.items()}
    assert module.shortfall(features, own) == 0


def _zipped(looked: tuple[Any, Any, Any], plan: Compression, classes: int, folder: Path) -> tuple[Any, dict[str, Any]]:
    """(tokens but the class token, choice) by a graph of the selection alone."""
    sketch = Sketch(opened_checkpoint("clip-qwen2").tensors, Precision.FP32)
    given = [sketch.input(name, ["batch_size", *x.shape[1:]]) for name, x in zip("qkx", looked, strict=True)]
    gaze = graphs.Gaze(queries=given[0], keys=given[1], heads=4, classes=classes)
    parts, told = graphs.zipped(sketch, sketch.tail(given[2], classes, axis=1), gaze, plan)
    shape: list[int | str] = ["batch_size", plan.visual_tokens - classes, looked[2].shape[2]]
    tokens = sketch.output(sketch.op("Concat", *parts, axis=1), "kept", shape)
    outputs = run_graph(
        sketch.model("selection", given, [tokens, *told]), dict(zip("qkx", looked, strict=True)), folder
    )
    return outputs.pop("kept"), outputs


@pytest.mark.parametrize("alike", ["attention", "keys", "everything"])
def test_visionzip_of_tokens_that_nothing_tells_apart(alike: str, tmp_path: Path) -> None:
    """Whatever is kept is as good as the best, no token twice, and all others go somewhere."""
    queries, keys, states = _looked(np.random.default_rng(1), 49, 4, 1)
    if alike in ("attention", "everything"):
        queries[:] = 0
    if alike in ("keys", "everything"):
        keys[:] = keys[:, :1]
    plan = compression(Compressor.VISIONZIP, 7, 20)
    features = _zip_features((queries, keys, states), 4, 1)
    _, choice = _zipped((queries, keys, states), plan, 1, tmp_path)
    assert VisionZip(plan).shortfall(features, {name: torch.from_numpy(one) for name, one in choice.items()}) < 1e-6
    assert all(len(set(row.tolist())) == len(row) and sorted(row) == row.tolist() for row in choice[KEPT])
    assert choice[MERGED].min() >= 0 and choice[MERGED].max() < plan.merged_tokens


@pytest.mark.parametrize("kind", ["clip-qwen2", "siglip-mistral"])
def test_attention_is_transformers_own(kind: str) -> None:
    """Of the layer that makes the hidden state that the projector reads."""
    opened = opened_checkpoint(kind)
    plan = compression(Compressor.NONE, opened.grid_side, opened.view_tokens)
    tower = load_reference(opened, plan, None).model.model.vision_tower
    pixels = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, *[opened.image_size] * 2), np.float32))
    used = tower.config._attn_implementation
    tower.set_attn_implementation("eager")
    with torch.inference_mode():
        run = tower(pixels, output_hidden_states=True, output_attentions=True)
        gaze = gaze_of(tower, run.hidden_states, opened.config)
    tower.set_attn_implementation(used)
    weights = run.attentions[max(opened.read_layers) - 1]
    told = weights[:, :, 0, 1:].mean(1) if opened.class_tokens else weights.mean(dim=(1, 2))
    assert np.allclose(gaze.received, told, rtol=1e-4, atol=1e-8)
    assert gaze.first.shape[1] == opened.class_tokens


def _nodes(model: Any, kind: str) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == kind]


def _most_alike(model: Any) -> None:
    """The nearest token is taken, not the farthest."""
    for node in _nodes(model, "ArgMin")[1:]:
        node.op_type = "ArgMax"


def _first_in_line(model: Any) -> None:
    """The first token is the first patch, whatever it holds."""
    numbers = next(one for one in model.graph.initializer if one.name == "similarity.-4")
    numbers.CopyFrom(numpy_helper.from_array(np.array(9, np.float32), numbers.name))


def _forgetful(model: Any) -> None:
    """Only the last token taken counts, not all before it."""
    for node in _nodes(model, "Max")[1:]:
        node.op_type, node.input[0] = "Identity", node.input[1]
        del node.input[1]


def _unsorted(model: Any) -> None:
    """Tokens come in the order in which they were taken."""
    node = _nodes(model, "TopK")[0]
    for after in _nodes(model, "Unsqueeze"):
        after.input[0] = node.input[0] if after.input[0] == node.output[0] else after.input[0]


def _reversed(model: Any) -> None:
    """Tokens come from the last to the first."""
    next(one for one in _nodes(model, "TopK")[0].attribute if one.name == "largest").i = 1


def _twice(model: Any) -> None:
    """One token is taken twice."""
    node = next(node for node in _nodes(model, "Concat") if node.output[0] == KEPT)
    node.input[1] = node.input[0]


def _by_length(model: Any) -> None:
    """Products are compared, not cosines."""
    node = next(node for node in _nodes(model, "Div") if node.input[0])
    node.op_type, node.input[1] = "Identity", ""
    del node.input[1]


FAULTS: dict[Callable[[Any], None], str] = {
    _most_alike: "selection",
    _first_in_line: "selection",
    _forgetful: "selection",
    _twice: "selection",
    _by_length: "selection",
    _unsorted: "vision",
    _reversed: "vision",
}


def _least_seen(model: Any) -> None:
    """Patches that receive least attention are kept."""
    next(one for one in _nodes(model, "TopK")[0].attribute if one.name == "largest").i = 0


def _another_layer(model: Any) -> None:
    """The attention is that of the first layer."""
    made = {name: node for node in model.graph.node for name in node.output}
    for part in ("q", "k"):
        name = f"vision_tower.encoder.layers.0.self_attn.{part}_proj.weight.T"
        product = next(node for node in _nodes(model, "MatMul") if node.input[1] == name)
        first = next(node for node in _nodes(model, "Add") if product.output[0] in node.input).output[0]
        for node in _nodes(model, "Reshape"):
            last = made.get(node.input[0])
            if last is not None and any(one.endswith(f"self_attn.{part}_proj.bias") for one in last.input):
                node.input[0] = first


def _unmerged(model: Any) -> None:
    """What is not kept is lost, but for those that others would go into."""
    node = next(node for node in _nodes(model, "Max") if "merged.one" in node.input)
    numbers = next(one for one in model.graph.initializer if one.name == "merged.one")
    numbers.CopyFrom(numpy_helper.from_array(np.array(1e9, np.float32), node.input[1]))


def _least_alike(model: Any) -> None:
    """Tokens go into the one that is least like them."""
    _nodes(model, "ArgMax")[0].op_type = "ArgMin"


def _without_class_token(model: Any) -> None:
    """A patch stands in the place of the class token."""
    cut = next(
        node for node in reversed(_nodes(model, "Slice")) if node.input[1] == "ints.0" and node.input[2] == "ints.1"
    )
    cut.input[1], cut.input[2] = "ints.1", "ints.2"


ZIP_FAULTS: dict[Callable[[Any], None], str] = {
    _least_seen: "selection",
    _another_layer: "selection",
    _least_alike: "selection",
    _unmerged: "vision",
    _without_class_token: "vision",
}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that keeps 20 tokens."""
    folder = tmp_path_factory.mktemp("pruned") / "out"
    export(order(visual_tokens=20, compressor=Compressor.DIVPRUNE), folder, quiet)
    return folder


@pytest.fixture(scope="module")
def zipped_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that leaves 20 tokens by VisionZip."""
    folder = tmp_path_factory.mktemp("zipped") / "out"
    export(order(visual_tokens=20, compressor=Compressor.VISIONZIP), folder, quiet)
    return folder


@pytest.mark.parametrize("fault", [*FAULTS, *ZIP_FAULTS])
def test_another_choice_is_refused(
    fault: Callable[[Any], None], pruned: Path, zipped_export: Path, tmp_path: Path
) -> None:
    """By its operators, before it runs; and by what it keeps, were it run."""
    folder, kind = tmp_path / "out", Compressor.DIVPRUNE if fault in FAULTS else Compressor.VISIONZIP
    shutil.copytree(pruned if fault in FAULTS else zipped_export, folder)
    model = onnx.load(folder / VISION)
    fault(model)
    onnx.save(model, folder / VISION)
    report = judged_export(folder, "clip-qwen2")
    failed = {check.name for check in report.failed}
    assert {"structure", "weights"} & failed
    assert "weights" in failed or "run" in {check.name for check in report.checks}  # operators were not even run
    opened = opened_checkpoint("clip-qwen2")
    reference = load_reference(opened, compression(kind, opened.grid_side, 20), None)
    ours = OnnxModel(folder)
    asked = probes(read_manifest(folder), opened)
    if (FAULTS | ZIP_FAULTS)[fault] == "selection":
        assert selection(ours, reference, asked).outcome is Outcome.FAILED
    else:
        for prompt in asked:
            features, choice = ours.selected(prompt.pixel_values)
            assert np.abs(features - reference.features_by(prompt.pixel_values, choice)[0]).max() > features.std()


def test_another_number_of_tokens_is_refused(pruned: Path, tmp_path: Path) -> None:
    """The manifest's word is not enough: the graph has to keep as many."""
    folder = tmp_path / "out"
    shutil.copytree(pruned, folder)
    opened = opened_checkpoint("clip-qwen2")
    plan = compression(Compressor.DIVPRUNE, opened.grid_side, 21)
    import onnx_ir

    onnx_ir.save(encoder_graph(opened, opened.tensors, plan, Precision.FP32), folder / VISION)
    assert {"interface", "structure"} <= {check.name for check in judged_export(folder, "clip-qwen2").failed}


def test_an_export_by_another_selection_is_refused(pruned: Path) -> None:
    """What was asked for on the command line is trusted, not the manifest."""
    report = judged_export(pruned, "clip-qwen2", compressor=Compressor.AVERAGE_POOL)
    assert "judge" in {check.name for check in report.failed}


def test_a_plans_line_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint whose LLM is the slow part, planned for half of the time that all of its tokens take."""
    text = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6}
    write_checkpoint(SmallModel(llm="llama", text={**text, "num_key_value_heads": 6}), tmp_path / "slow")
    monkeypatch.chdir(tmp_path)
    law = catalogue.resolve(catalogue.Shelf.LAWS, "reasoning")
    asked = (
        f"recommend --models slow --hardware intel-core-i9-13900k --runtime onnxruntime --task {law} --latency 60ms "
        "--text-tokens 50 --output-tokens 4 --precision fp32 --json --out plan.json"
    )
    assert CliRunner().invoke(app, shlex.split(asked)).exit_code == 0
    plan = load(Plan, tmp_path / "plan.json")
    assert plan.choice.compressor.selects
    assert plan.choice.deploy is not None and plan.choice.deploy.command is not None
    line = plan.choice.deploy.command.replace(PLAN_FILE, "plan.json")
    assert CliRunner().invoke(app, shlex.split(line)[1:]).exit_code == 0
    folder = tmp_path / shlex.split(line)[-1]
    made = read_manifest(folder)
    assert (made.compressor, made.visual_tokens) == (plan.choice.compressor, plan.choice.visual_tokens)
    report = Validator(Options(checkpoint="slow", plan=plan, threads=2, repeats=1), quiet).validate(folder).report
    assert all(check.name.startswith("latency") for check in report.failed), report.failed  # another machine's
    assert "plan" in {check.name for check in report.checks}
