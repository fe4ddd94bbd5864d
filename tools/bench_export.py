"""ONNX Runtime against PyTorch eager in one run, and what an export costs in time and memory.

    PYTHONPATH=. python tools/bench_export.py [--folder DIR] [--threads 2] [--repeats 5]

A random 200 M LLM (Qwen2 shapes) behind CLIP-L/14-336: exported at 1 and 576 visual tokens in fp32 and at 576 in int4,
then prefill, decode and the vision tower timed, interleaved, medians. Prints the table of
``docs/evidence/export-gains.md``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from vlmplan.checkpoints.checkpoint import open_checkpoint, quiet_transformers
from vlmplan.checkpoints.reference import Reference, load_reference
from vlmplan.checkpoints.regions import compression
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.runner import Model, OnnxModel
from vlmplan.exporting.timed import TimedRequest, workload_prompt
from vlmplan.exporting.write import export
from vlmplan.hardware.runtimes import Precision
from vlmplan.measuring.timing import Samples, measure
from vlmplan.models.spec import Compressor, Workload

TEXT = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "num_attention_heads": 16,
        "num_key_value_heads": 4, "vocab_size": 32000}  # fmt: skip
CLIP_L = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
WORKLOAD = Workload(text_tokens=50, output_tokens=17)
KINDS = {"fp32": Precision.FP32, "int4": Precision.INT4}


def request(model: Model, visual_tokens: int) -> TimedRequest:
    """A random image and text of the usual length, for one of the models."""
    prompt = workload_prompt(WORKLOAD, visual_tokens, image_size=336, image_token=3, reads_question=False)
    return TimedRequest(model=model, prompt=prompt, output_tokens=WORKLOAD.output_tokens)


def export_one(checkpoint: Path, visual_tokens: int, precision: str, out: Path) -> None:
    """Export in this process (run as a child, so that the peak memory is its own)."""
    compressor = Compressor.NONE if visual_tokens == 576 else Compressor.AVERAGE_POOL
    order = ExportOrder(
        checkpoint=str(checkpoint), visual_tokens=visual_tokens, compressor=compressor, precision=KINDS[precision]
    )
    start = time.perf_counter()
    export(order, out, lambda *_: None, overwrite=True)
    status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(f"export {precision} V={visual_tokens}: {time.perf_counter() - start:.1f} s, peak {peak / 1e9:.2f} GB")


def load_and_save(checkpoint: Path, scratch: Path) -> None:
    """What loading and saving the same checkpoint costs with transformers."""
    start = time.perf_counter()
    model = quiet_transformers().AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    model.save_pretrained(scratch)
    size = sum(path.stat().st_size for path in scratch.glob("*.safetensors"))
    print(f"load and save: {time.perf_counter() - start:.1f} s, weights {size / 1e9:.2f} GB")


def reference(checkpoint: Path) -> Reference:
    """The PyTorch model with all visual tokens (the LLM is the same whatever their number)."""
    opened = open_checkpoint(str(checkpoint))
    return load_reference(opened, compression(Compressor.NONE, opened.grid_side, 576), None)


def table(found: dict[str, dict[str, Samples]]) -> None:
    """Print medians and quartiles in milliseconds, and the ratios that matter."""
    print(f"{'runner':<18}{'vision ms':>22}{'prefill ms':>22}{'decode ms':>22}")
    for name, parts in found.items():
        cells = []
        for part in ("vision", "prefill", "tpot"):
            low, high = parts[part].quartiles_s
            cells.append(f"{1e3 * parts[part].median_s:.1f} [{1e3 * low:.1f}, {1e3 * high:.1f}]")
        print(f"{name:<18}" + "".join(f"{cell:>22}" for cell in cells))

    def ratio(slow: str, fast: str, part: str) -> float:
        return found[slow][part].median_s / found[fast][part].median_s

    print(f"decode fp32: {ratio('torch V=576', 'onnx fp32 V=576', 'tpot'):.2f} x PyTorch")
    print(f"decode fp32 V=1: {ratio('torch V=1', 'onnx fp32 V=1', 'tpot'):.2f} x PyTorch")
    print(f"decode int4: {ratio('torch V=576', 'onnx int4 V=576', 'tpot'):.2f} x PyTorch")
    print(f"prefill fp32: {ratio('torch V=576', 'onnx fp32 V=576', 'prefill'):.2f} x PyTorch")
    print(f"prefill 576 -> 1 visual tokens: {ratio('onnx fp32 V=576', 'onnx fp32 V=1', 'prefill'):.1f} x faster")
    for name in ("onnx fp32 V=576", "onnx fp32 V=1"):
        parts = found[name]
        share = parts["vision"].median_s / (parts["vision"].median_s + parts["prefill"].median_s)
        print(f"vision tower's share of the time to first token, {name}: {share:.0%}")


def main() -> None:
    """Make the checkpoint, export it, time everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep checkpoint and exports here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", nargs=4, metavar=("CHECKPOINT", "V", "PRECISION", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        checkpoint, visual_tokens, precision, out = given.child
        export_one(Path(checkpoint), int(visual_tokens), precision, Path(out))
        return
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        checkpoint = folder / "checkpoint"
        if not (checkpoint / "config.json").is_file():
            write_checkpoint(SmallModel(text=TEXT, vision=CLIP_L), checkpoint)
        load_and_save(checkpoint, folder / "resaved")
        wanted = {"onnx fp32 V=1": (1, "fp32"), "onnx fp32 V=576": (576, "fp32"), "onnx int4 V=576": (576, "int4")}
        runners = {}
        for name, (visual_tokens, precision) in wanted.items():
            out = folder / name.replace(" ", "-")
            child = ["--child", str(checkpoint), str(visual_tokens), precision, str(out)]
            subprocess.run([sys.executable, __file__, *child], check=True)
            model = OnnxModel(out, threads=given.threads)
            runners[name] = request(model, visual_tokens)
        eager = reference(checkpoint)
        runners["torch V=576"] = request(eager, 576)
        runners["torch V=1"] = request(_Pooled(eager), 1)
        table(measure(runners, given.repeats))


class _Pooled:
    """The reference with the mean of all visual tokens as the only one."""

    def __init__(self, whole: Reference) -> None:
        self.embeds, self.step, self._whole = whole.embeds, whole.step, whole

    def image_features(self, pixel_values: Any, *others: Any, **named: Any) -> Any:
        """The mean of all features."""
        return self._whole.image_features(pixel_values, *others, **named).mean(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
