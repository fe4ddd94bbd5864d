"""How often do intervals of latency hold on stacks that no fit has seen? Coverage, bias, spread between sources.

``facts/unseen_latency.csv``: published times of single requests. Each is priced with the shipped profiles, as
``estimate`` prices it; an engine that is not priced goes by its nearest (``NEAREST``). A residual is
log(measured / predicted). Every source counts alike, however many times it gave. Scores are those of intervals of log
time (Gneiting & Raftery 2007, equation 43).

    PYTHONPATH=. python tools/latency_coverage.py [--draws 500]
"""

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from fit_overhead import MODELS, decoder
from numpy.typing import NDArray

from facts import rows
from vlmplan.cost.roofline import Machine, machine
from vlmplan.cost.totals import cost, request_of
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.intervals import quantile
from vlmplan.inventory import catalogue
from vlmplan.measuring.observation import Quantity, predicted
from vlmplan.models import native_visual_tokens
from vlmplan.models.spec import ModelSpec, Workload

TABLE = "unseen_latency.csv"
LEVELS = (0.5, 0.8, 0.9)
LEVEL = 0.9
LEAST_SOURCES = 3  # that a spread between sources is told from
NEAREST = {"sglang": Runtime.VLLM, "tensorrt-edge-llm": Runtime.TENSORRT_LLM}
# Dimensions from the models' own config.json files on the hub.
TEXT_MODELS = MODELS | {
    "Llama-3-70B": decoder(80, 8192, 64, 8, 28672, 128256),
    "Llama-3.1-405B": decoder(126, 16384, 128, 8, 53248, 128256),
    "CodeLlama-34B": decoder(48, 8192, 64, 8, 22016, 32000),
    "Llama-3.2-1B": decoder(16, 2048, 32, 8, 8192, 128256, tied_embeddings=True, head_dim=64),
    "Llama-3.2-3B": decoder(28, 3072, 24, 8, 8192, 128256, tied_embeddings=True),
    "Qwen3-0.6B": decoder(28, 1024, 16, 8, 3072, 151936, tied_embeddings=True, qk_norm=True),
    "Qwen3-4B": decoder(36, 2560, 32, 8, 9728, 151936, tied_embeddings=True, qk_norm=True),
}
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Residual:
    """One published time beside its prediction. ``quantity`` says whether a first token waits for an image."""

    source: str
    engine: str
    hardware: str
    quantity: str
    measured_s: float
    predicted_s: float
    log_sd: float

    @property
    def log_ratio(self) -> float:
        """log(measured / predicted): above zero, the stack was slower."""
        return math.log(self.measured_s / self.predicted_s)

    def held(self, level: float, more_log_sd: float = 0.0) -> bool:
        """Whether the central interval holds the time."""
        return abs(self.log_ratio) <= quantile(level) * math.hypot(self.log_sd, more_log_sd)


@functools.cache
def _machine(hardware: str, runtime: Runtime, precision: Precision) -> Machine:
    return machine(catalogue.hardware(hardware), catalogue.typical(), runtime, precision)


def runtime_of(engine: str) -> Runtime:
    """Return the runtime that prices an engine."""
    return Runtime(engine) if engine in set(Runtime) else NEAREST[engine]


def model_of(name: str) -> ModelSpec:
    """Return a text model by its dimensions, or the catalogue's."""
    if name in TEXT_MODELS:
        return ModelSpec(name=name, family="text", architecture="llama", llm=TEXT_MODELS[name])
    return catalogue.model(name)


def _workload(row: dict[str, str]) -> Workload:
    # A prompt of no words still has its template's.
    text, out = max(1, int(row["text_tokens"])), int(row["output_tokens"])
    if row["images"] == "0":
        return Workload(text_tokens=text, output_tokens=out)
    size = (int(row["image_width_px"]), int(row["image_height_px"]))
    return Workload(text_tokens=text, output_tokens=out, images=int(row["images"]), image=size)


def residuals_of(row: dict[str, str]) -> list[Residual]:
    """Price one row. A whole latency is taken where neither of its parts is given."""
    spec, workload, seen = model_of(row["model"]), _workload(row), row["images"] != "0"
    tokens = native_visual_tokens(spec, workload.image) if seen else 0
    precision = Precision(row["precision"])
    request = request_of(spec, workload, tokens, precision, gpus=int(row["tensor_parallel"]))
    priced = cost(request, _machine(row["hardware"], runtime_of(row["runtime"]), precision))
    found = []
    for quantity in (Quantity.TTFT, Quantity.TPOT, Quantity.LATENCY):
        text = row[f"{quantity}_ms"]
        if text and not (quantity is Quantity.LATENCY and (row["ttft_ms"] or row["tpot_ms"])):
            seconds, log_sd = predicted(quantity, priced)
            image = seen and quantity is not Quantity.TPOT
            found.append(
                Residual(
                    source=row["source"],
                    engine=row["runtime"],
                    hardware=row["hardware"],
                    quantity=f"{quantity}, image" if image else f"{quantity}",
                    measured_s=float(text) / 1e3,
                    predicted_s=seconds,
                    log_sd=log_sd,
                )
            )
    return found


def residuals() -> list[Residual]:
    """Price every row of the table."""
    return [one for row in rows(TABLE) for one in residuals_of(row)]


def weights(found: Sequence[Residual]) -> Floats:
    """Return shares that sum to one, every source counting alike."""
    sources = [one.source for one in found]
    each = np.array([1 / sources.count(source) for source in sources])
    return np.asarray(each / each.sum())


def coverage(found: Sequence[Residual], level: float, more_log_sd: float = 0.0) -> float:
    """Return the share of times that intervals of ``level`` hold, every source counting alike."""
    return float(weights(found) @ np.array([one.held(level, more_log_sd) for one in found], dtype=float))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Log standard deviations of a one-way random-effects model, and the common bias."""

    between: float
    within: float
    mean: float


_SHARES = np.linspace(0.0, 0.995, 200)


def spread(found: Sequence[Residual]) -> Spread:
    """Fit the spread between sources by restricted maximum likelihood, on a grid of its share in the variance."""
    groups = [[one.log_ratio for one in found if one.source == name] for name in {one.source: 0 for one in found}]
    return _spread([np.array(group) for group in groups])


def _spread(groups: Sequence[Floats]) -> Spread:
    """The restricted likelihood of y = mean + source + noise with the noise's scale profiled out."""
    count = np.array([len(group) for group in groups], dtype=float)
    middle = np.array([group.mean() for group in groups])
    inside = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    total = count.sum()
    best = (-math.inf, 0.0, 0.0, 0.0)
    for share in _SHARES if len(groups) > 1 and total > 1 else _SHARES[:1]:
        precision = count / (1 - share + count * share)
        mean = float(precision @ middle / precision.sum())
        scale = (inside / (1 - share) + float(precision @ (middle - mean) ** 2)) / max(1.0, total - 1)
        noise = float((total - len(groups)) * np.log(1 - share) + np.log(1 - share + count * share).sum())
        likelihood = -0.5 * ((total - 1) * math.log(max(scale, 1e-12)) + noise + math.log(precision.sum()))
        best = max(best, (likelihood, float(share), scale, mean))
    _, share, scale, mean = best
    return Spread(between=math.sqrt(share * scale), within=math.sqrt((1 - share) * scale), mean=mean)


def bootstrap(found: Sequence[Residual], draws: int, level: float = LEVEL) -> tuple[float, float]:
    """Return an interval of the spread between sources, from draws of whole sources; the seed is fixed."""
    names = list({one.source: 0 for one in found})
    groups = [np.array([one.log_ratio for one in found if one.source == name]) for name in names]
    random = np.random.default_rng(0)
    drawn = [_spread([groups[i] for i in random.integers(len(groups), size=len(groups))]).between for _ in range(draws)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def needed_log_sd(found: Sequence[Residual], level: float = LEVEL, known: bool = True) -> float:
    """Return the least constant log sd, beside the predicted one if ``known``, with which intervals hold ``level``."""
    off = np.array([abs(one.log_ratio) / quantile(level) for one in found])
    sd = np.array([one.log_sd if known else 0.0 for one in found])
    needed = np.sqrt(np.maximum(0.0, off**2 - sd**2))
    order = np.argsort(needed)
    reached = np.searchsorted(np.cumsum(weights(found)[order]), level - 1e-9)
    return float(needed[order][min(int(reached), len(found) - 1)])


def interval_score(one: Residual, log_sd: float, level: float = LEVEL) -> float:
    """Return the width of the interval of log time, and 2 / (1 - level) for every unit that the time lies outside."""
    half = quantile(level) * log_sd
    return 2 * half + 2 / (1 - level) * max(0.0, abs(one.log_ratio) - half)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule for intervals, on sources left out: what it holds, its score, its median log sd."""

    held: float
    score: float
    log_sd: float


def judged(found: Sequence[Residual], log_sds: Sequence[float]) -> Rule:
    """Judge the log sd that a rule gives each time."""
    share = weights(found)
    pairs = list(zip(found, log_sds, strict=True))
    held = np.array([abs(one.log_ratio) <= quantile(LEVEL) * log_sd for one, log_sd in pairs], dtype=float)
    scores = np.array([interval_score(one, log_sd) for one, log_sd in pairs])
    return Rule(held=float(share @ held), score=float(share @ scores), log_sd=median(log_sds))


def shifted(found: Sequence[Residual], log_bias: float) -> list[Residual]:
    """Return the times beside predictions that are longer by ``log_bias``."""
    return [replace(one, predicted_s=one.predicted_s * math.exp(log_bias)) for one in found]


def rules(found: Sequence[Residual]) -> dict[str, Rule]:
    """Judge four rules, each source by what the others say: the intervals as shipped, and three others."""
    others = {name: [one for one in found if one.source != name] for name in {one.source: 0 for one in found}}
    more = {name: needed_log_sd(rest) for name, rest in others.items()}
    alone = {name: needed_log_sd(rest, known=False) for name, rest in others.items()}
    bias = {name: spread(rest).mean for name, rest in others.items()}
    beside = {name: needed_log_sd(shifted(rest, bias[name])) for name, rest in others.items()}
    centred = [shifted([one], bias[one.source])[0] for one in found]
    return {
        "as shipped": judged(found, [one.log_sd for one in found]),
        "with a constant": judged(found, [math.hypot(one.log_sd, more[one.source]) for one in found]),
        "bias taken off, with a constant": judged(centred, [math.hypot(o.log_sd, beside[o.source]) for o in centred]),
        "a constant alone": judged(found, [alone[one.source] for one in found]),
    }


def _groups(found: Sequence[Residual], key: Callable[[Residual], str]) -> dict[str, list[Residual]]:
    grouped: dict[str, list[Residual]] = {}
    for one in sorted(found, key=lambda one: (key(one).lower(), one.quantity)):
        grouped.setdefault(key(one), []).append(one)
    return grouped


def _told(found: Sequence[Residual]) -> dict[str, list[Residual]]:
    """By quantity, those that enough sources give for a spread between them."""
    groups = _groups(found, lambda one: one.quantity)
    return {name: here for name, here in groups.items() if len({one.source for one in here}) >= LEAST_SOURCES}


def print_table(columns: str, cells: Sequence[Sequence[str]], words: int) -> None:
    """Print a Markdown table, ``columns`` divided by bars; all but the first ``words`` are numbers."""
    count = columns.count("|") + 1
    print(f"| {columns} |\n|" + "---|" * words + "---:|" * (count - words))
    for row in cells:
        print(f"| {' | '.join(row)} |")
    print()


def print_coverage(found: Sequence[Residual], title: str, key: Callable[[Residual], str]) -> None:
    """Print a table by group and quantity."""
    cells = []
    for group, mine in _groups(found, key).items():
        for quantity, here in _groups(mine, lambda one: one.quantity).items():
            off = [one.log_ratio for one in here]
            held = [f"{coverage(here, level):.0%}" for level in LEVELS]
            numbers = (median(map(abs, off)), float(weights(here) @ np.array(off)), median(one.log_sd for one in here))
            cells.append([group, quantity, f"{len(here)}", *held, *map("{:.2f}".format, numbers)])
    print_table(f"{title} | quantity | times | 50 % | 80 % | 90 % | median off | bias | predicted sd", cells, 2)


def print_spreads(found: Sequence[Residual], draws: int) -> None:
    """Print the spread between sources beside what is predicted, by quantity that several sources give."""
    cells = []
    for quantity, here in _told(found).items():
        one, (low, high) = spread(here), bootstrap(here, draws)
        counts = [f"{len({each.source for each in here})}", f"{len(here)}"]
        between = f"{one.between:.2f} ({low:.2f} to {high:.2f})"
        predicted_sd = median(each.log_sd for each in here)
        cells.append([quantity, *counts, f"{one.mean:.2f}", between, f"{one.within:.2f}", f"{predicted_sd:.2f}"])
    print_table("quantity | sources | times | bias | between sources (90 %) | within | predicted sd", cells, 1)


def print_rules(found: Sequence[Residual]) -> None:
    """Print what one more constant would do, each source judged by the others'."""
    cells = []
    for quantity, here in _told(found).items():
        centred = needed_log_sd(shifted(here, spread(here).mean))
        needed = (needed_log_sd(here), centred, needed_log_sd(here, known=False))
        constants = ("", *map("{:.2f}".format, needed))
        for (name, rule), constant in zip(rules(here).items(), constants, strict=True):
            cells.append([quantity, name, constant, f"{rule.held:.0%}", f"{rule.log_sd:.2f}", f"{rule.score:.2f}"])
    print_table("quantity | rule | constant | 90 % hold | median sd | interval score", cells, 2)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500, help="draws of sources for the spread's interval")
    draws = parser.parse_args().draws
    found = residuals()
    print_coverage(found, "all", lambda _: "all")
    print_spreads(found, draws)
    print_rules(found)
    print_coverage(found, "engine", lambda one: one.engine)
    print_coverage(found, "GPU", lambda one: one.hardware)
    print_coverage(found, "source", lambda one: one.source)


if __name__ == "__main__":
    main()
