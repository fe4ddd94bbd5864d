"""Ten small models planned, exported and validated on this machine: predictions and measurements in one table.

    PYTHONPATH=. python tools/ten_plans.py here.toml [--folder DIR]

``here.toml`` is what ``vlmplan profile`` wrote here. Checkpoints are random, made of transformers' classes. Every step
is the command a user would type; the table is read from the plans and from the reports.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A model to make, and the request to plan for."""

    llm: str
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    layers: int
    tower: str
    tower_hidden: int
    tower_layers: int
    text_tokens: int
    output_tokens: int
    budget: tuple[str, str]

    @property
    def made(self) -> SmallModel:
        """The checkpoint."""
        text = {"hidden_size": self.hidden, "intermediate_size": self.intermediate, "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads}  # fmt: skip
        vision = {"hidden_size": self.tower_hidden, "intermediate_size": 4 * self.tower_hidden,
                  "num_hidden_layers": self.tower_layers, "num_attention_heads": self.tower_hidden // 64}  # fmt: skip
        return SmallModel(llm=self.llm, tower=self.tower, text=text, vision=vision)


CLIP, SIGLIP = "clip_vision_model", "siglip_vision_model"


def _wanted(llm: str, text: tuple[int, ...], tower: tuple[str, int, int], work: tuple[int, int], budget: str) -> Wanted:
    hidden, intermediate, heads, kv_heads, layers = text
    flag, limit = budget.split()
    return Wanted(llm=llm, hidden=hidden, intermediate=intermediate, heads=heads, kv_heads=kv_heads, layers=layers,
                  tower=tower[0], tower_hidden=tower[1], tower_layers=tower[2], text_tokens=work[0],
                  output_tokens=work[1], budget=(f"--{flag}", limit))  # fmt: skip


PLANS = (
    _wanted("llama", (576, 1536, 9, 3, 14), (CLIP, 256, 4), (30, 16), "latency 30s"),
    _wanted("llama", (576, 1536, 9, 3, 20), (CLIP, 256, 4), (30, 16), "ttft 150ms"),
    _wanted("qwen2", (896, 4864, 14, 2, 4), (SIGLIP, 384, 4), (100, 8), "latency 30s"),
    _wanted("qwen2", (896, 4864, 14, 2, 6), (CLIP, 384, 6), (50, 24), "ttft 250ms"),
    _wanted("qwen2", (1024, 2816, 16, 16, 5), (CLIP, 512, 4), (20, 12), "ttft 200ms"),
    _wanted("mistral", (768, 2048, 12, 4, 10), (SIGLIP, 256, 3), (200, 10), "latency 30s"),
    _wanted("mistral", (1280, 3584, 20, 4, 4), (CLIP, 512, 3), (60, 16), "ttft 250ms"),
    _wanted("qwen3", (1024, 3072, 16, 8, 5), (CLIP, 384, 4), (40, 20), "ttft 200ms"),
    _wanted("llama", (1536, 4096, 24, 8, 3), (CLIP, 256, 4), (80, 8), "latency 30s"),
    _wanted("llama", (2048, 5632, 32, 4, 2), (SIGLIP, 384, 3), (50, 12), "ttft 400ms"),
)


def vlmplan(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run one command; stdout. Raises SystemExit where it ends otherwise than expected."""
    ran = subprocess.run([sys.executable, "-m", "vlmplan", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode not in codes:
        raise SystemExit(f"vlmplan {' '.join(arguments)}: exit code {ran.returncode}: {ran.stderr.strip()[-600:]}")
    return ran.stdout


def one(number: int, wanted: Wanted, hardware: str, folder: Path) -> list[Any]:
    """Plan, export, validate; a row of the table."""
    checkpoint, plan, export = (folder / f"{number}-{what}" for what in ("model", "plan.json", "export"))
    write_checkpoint(wanted.made, checkpoint)
    work = ["--text-tokens", str(wanted.text_tokens), "--output-tokens", str(wanted.output_tokens)]
    vlmplan("recommend", "--hardware", hardware, "--models", str(checkpoint), "--task", "profiles/laws/reasoning.toml",
            "--allow-untrained", *wanted.budget, *work, "--image", "336x336", "--out", str(plan))  # fmt: skip
    vlmplan("export", str(plan), "--checkpoint", str(checkpoint), "--out", str(export))
    report = json.loads(vlmplan("validate", str(export), "--json", codes=(0, 4)))
    choice = json.loads(plan.read_text(encoding="utf-8"))["choice"]
    row: list[Any] = [f"{wanted.llm} {wanted.hidden}x{wanted.layers}", choice["visual_tokens"], choice["precision"]]
    for check in report["checks"]:
        if check["name"] in ("latency: ttft", "latency: tpot", "latency: request"):
            figures = check["figures"]
            predicted, measured = figures["predicted_s"], figures["measured_s"]
            row += [1e3 * predicted, 1e3 * measured, 100 * (predicted / measured - 1)]
    failed = [check["name"] for check in report["checks"] if check["outcome"] == "failed"]
    return [*row, "passed" if not failed else "failed: " + ", ".join(failed)]


def main() -> None:
    """Run all ten and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("hardware")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        print("| model | V | | TTFT ms | measured | off | TPOT ms | measured | off | request ms | measured | off | |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
        for number, wanted in enumerate(PLANS):
            row = one(number, wanted, given.hardware, folder)
            cells = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row]
            print("| " + " | ".join(re.sub(r"^(-?)(\d)", r"\1\2", cell) for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
