"""Sizes that matter: a 200 M LLM behind CLIP-L, and a decoder above the 2 GiB that a protobuf holds. Slow: minutes."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_models import quiet

from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.exporting.manifest import DECODER, read_manifest
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.write import export
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.validate import Validator

pytestmark = pytest.mark.slow
MEDIUM = SmallModel(
    text={"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "num_attention_heads": 16,
          "num_key_value_heads": 4, "vocab_size": 32000},
    vision={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
)  # fmt: skip
LARGE = replace(MEDIUM, vision={}, text=MEDIUM.text | {"num_hidden_layers": 52, "vocab_size": 24000})
_CHILD = """
import sys
from pathlib import Path
from vlmplan.model import Compressor
from vlmplan.exporting.write import export
from vlmplan.exporting.orders import ExportOrder
order = ExportOrder(checkpoint=sys.argv[1], visual_tokens=36, compressor=Compressor.AVERAGE_POOL)
export(order, Path(sys.argv[2]), lambda *_: None)
status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def test_a_200_million_model_behind_clip_l(tmp_path: Path) -> None:
    write_checkpoint(MEDIUM, tmp_path / "medium")
    order = ExportOrder(checkpoint=str(tmp_path / "medium"), visual_tokens=36, compressor=Compressor.AVERAGE_POOL)
    export(order, tmp_path / "made", quiet)
    report = Validator(Options(threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    print(*(f"{check.outcome.value} {check.name}: {check.detail}" for check in report.checks), sep="\n")  # noqa: T201
    assert not report.failed, report.failed


def test_a_decoder_above_two_gigabytes(tmp_path: Path) -> None:
    write_checkpoint(LARGE, tmp_path / "large")
    start = time.perf_counter()
    model = quiet_transformers().AutoModelForImageTextToText.from_pretrained(tmp_path / "large")
    model.save_pretrained(tmp_path / "resaved")
    load_and_save_s = time.perf_counter() - start
    del model
    weights = (tmp_path / "resaved").glob("*.safetensors")
    weight_bytes = sum(path.stat().st_size for path in weights)
    start = time.perf_counter()
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "large"), str(tmp_path / "made")]
    child = subprocess.run(command, check=True, capture_output=True, text=True)
    export_s, peak_bytes = time.perf_counter() - start, int(child.stdout.split()[-1])
    print(f"load and save {load_and_save_s:.1f} s, export {export_s:.1f} s, weights {weight_bytes / 1e9:.2f} GB, "  # noqa: T201
          f"peak {peak_bytes / 1e9:.2f} GB")  # fmt: skip
    assert peak_bytes <= 2 * weight_bytes + 10**9
    assert export_s <= 2 * load_and_save_s + 90
    data = read_manifest(tmp_path / "made").files[f"{DECODER}_data"]
    assert data.size_bytes > 2**31
    report = Validator(Options(threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    print(*(f"{check.outcome.value} {check.name}: {check.detail}" for check in report.checks), sep="\n")  # noqa: T201
    assert not report.failed, report.failed
