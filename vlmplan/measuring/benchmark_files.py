"""What did somebody else's benchmark measure? The file that its tool left -> rows of the table of times.

(JSON, JSON lines, CSV or text) -> :class:`TimedRow`: a request, how many were in flight by Little's law, and its times.
Medians where the tool tells them, else means; how sure a median is comes from the spread or the percentiles beside it.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlmplan.document import parse_json, read_text
from vlmplan.errors import InputError, printable
from vlmplan.measuring.observation import Quantity

LARGEST_FILE_BYTES = 2**28  # some hold every answer
IN_FLIGHT, NOT_TOLD = "concurrency", "?"  # the column of requests in flight; what it has where a tool does not tell
ALONE = 1.05  # mean requests in flight, below which hardly any met another
_P99_SDS = 2.326  # standard deviations from the median to the 99th percentile of a normal distribution
_MEDIAN_SDS = math.sqrt(math.pi / 2)  # standard error of a median, in those of a mean
_SHOWN_KEYS = 8
LEAST_STEPS = 2  # of which a time a step is told
_MOST = 1e18  # nothing that is counted or timed here is more

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Middle:
    """A median in seconds, or a mean, and the standard deviation of its logarithm from run to run."""

    middle_s: float
    log_sd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRow:
    """One request of the table of times: cells by column, as text, and times that stand in no cell.

    ``step`` is the median gap between tokens where that was told: what a step takes, others' prefills apart.
    ``left_out`` is why nothing of it is taken.
    """

    where: str
    cells: Mapping[str, str]
    times: Mapping[Quantity, Middle] = field(default_factory=dict)
    step: Middle | None = None
    failed: int = 0
    left_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run of a benchmark: its request on average, the mean number in flight (None: not told), and the times."""

    times: Mapping[Quantity, Middle]
    in_flight: float | None
    step: Middle | None = None
    model: str | None = None
    text_tokens: int | None = None
    visual_tokens: int | None = None
    output_tokens: int | None = None
    batch: int | None = None
    precision: str | None = None
    failed: int = 0
    left_out: str | None = None

    def row(self, where: str) -> TimedRow:
        """Return the run as a row of the table."""
        counts = {
            "text_tokens": self.text_tokens,
            "visual_tokens": self.visual_tokens,
            "output_tokens": self.output_tokens,
            "batch": self.batch,
        }
        cells = {name: str(value) for name, value in counts.items() if value is not None}
        cells |= {} if self.model is None else {"model": str(self.model)}
        cells |= {} if self.precision is None else {"precision": self.precision}
        if self.in_flight is None:
            cells[IN_FLIGHT] = NOT_TOLD
        else:
            cells[IN_FLIGHT] = "1" if self.in_flight <= ALONE else str(max(2, round(self.in_flight)))
        return TimedRow(
            where=where, cells=cells, times=_apart(self.times), step=self.step, failed=self.failed,
            left_out=self.left_out,
        )  # fmt: skip


def _number(value: Any) -> float | None:
    """A number above zero that may be one; None for anything else, as tools write zero for what they did not see."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and 0 < value < _MOST else None


def _said(text: str | None) -> float | None:
    """A number above zero that a text is; None for any other text."""
    try:
        return _number(float(text or "nan"))
    except ValueError:
        return None


def _cell(cells: Table, name: str) -> float | None:
    """A number above zero in a cell; None where it is empty or zero. Raises InputError for what is no number."""
    cell = cells.get(name)
    number = _said(str(cell or ""))
    if number is None and str(cell or 0) not in {"0", "0.0"}:
        raise InputError(f"{name}: found {printable(str(cell)[:20])!r}, expected a number")
    return number


def _whole(value: Any) -> int | None:
    """The nearest whole number, of what is above zero; None for anything else."""
    number = _number(value)
    return None if number is None else round(number)


def _product(*factors: float | None) -> float | None:
    return None if None in factors else math.prod(one for one in factors if one is not None)


def _at(table: Any, *path: str | int) -> Any:
    """What stands at the end of a path of keys and places; None where it breaks off."""
    for key in path:
        if isinstance(key, int):
            table = table[key] if isinstance(table, list) and len(table) > key else None
        else:
            table = table.get(key) if isinstance(table, dict) else None
    return table


def _table_at(table: Any, *path: str | int) -> Table:
    """The table at the end of a path; an empty one where there is none."""
    end = _at(table, *path)
    return end if isinstance(end, dict) else {}


def _first(table: Any, *paths: str) -> Any:
    """The first of some paths, keys joined by dots, that leads to something."""
    return next((end for path in paths if (end := _at(table, *path.split("."))) is not None), None)


def _timed(
    middle: Any, mean: Any, scale: float, *, spread: Any = None, p99: Any = None, count: Any = None
) -> Middle | None:
    """A median, else a mean, in seconds; how sure it is by a spread in the same unit, else by the 99th percentile."""
    centre = _number(middle) or _number(mean)
    if centre is None:
        return None
    sd, tail, number = _number(spread), _number(p99), _number(count) or 1.0
    log_sd = sd / centre if sd else math.log(tail / centre) / _P99_SDS if tail and tail > centre else 0.0
    return Middle(middle_s=centre * scale, log_sd=min(1.0, _MEDIAN_SDS * log_sd / math.sqrt(number)))


def _known(**times: Middle | None) -> dict[Quantity, Middle]:
    return {Quantity(name): one for name, one in times.items() if one is not None}


def _by_little(rate: float | None, run: Mapping[Quantity, Middle], output_tokens: int | None) -> float | None:
    """Mean requests in flight, by Little's law: finished requests a second times the seconds of one."""
    latency = run.get(Quantity.LATENCY)
    first, step = run.get(Quantity.TTFT), run.get(Quantity.TPOT)
    if latency is not None:
        return _product(rate, latency.middle_s)
    if first is None or output_tokens is None or (step is None and output_tokens > 1):
        return None
    return _product(rate, first.middle_s + (step.middle_s * (output_tokens - 1) if step else 0.0))


def _serving(run: Table) -> Iterator[_Run]:
    """Of vLLM's ``bench serve`` and SGLang's ``bench_serving``, which began as a copy of it."""
    count = _number(run.get("completed"))
    if count is None:
        raise InputError(f"completed: found {str(run['completed'])!r:.20}, expected at least one request")

    def each(*keys: str) -> int | None:
        total = next((number for key in keys if (number := _number(run.get(key))) is not None), None)
        return None if total is None else round(total / count)

    def told(name: str) -> Middle | None:
        middle, mean, spread, p99 = (run.get(f"{kind}_{name}_ms") for kind in ("median", "mean", "std", "p99"))
        return _timed(middle, mean, 1e-3, spread=spread, p99=p99, count=count)

    times = _known(ttft=told("ttft"), tpot=told("tpot"), latency=told("e2el") or told("e2e_latency"))
    output = each("total_output_tokens")
    met = _by_little(_number(run.get("request_throughput")), times, output)
    if _number(run.get("max_concurrency")) == 1:
        met = 1.0
    seen = each("total_input_vision_tokens")
    text = each("total_input_text_tokens") if seen else each("total_input_tokens", "total_input")
    failed = _number(run.get("failed"))
    yield _Run(
        times=times, step=told("itl"), model=_first(run, "model_id", "model"), text_tokens=text,
        visual_tokens=seen, output_tokens=output, in_flight=met, failed=int(failed or 0),
    )  # fmt: skip


def _apart(times: Mapping[Quantity, Middle]) -> dict[Quantity, Middle]:
    """The times that say different things: a request is its first token and its steps."""
    both = Quantity.TTFT in times
    return {quantity: one for quantity, one in times.items() if quantity is not Quantity.LATENCY or not both}


def _guidellm(file: Table) -> Iterator[_Run]:
    """Of GuideLLM's ``benchmarks.json``: one run a rate or number of streams."""
    for run in file["benchmarks"]:

        def told(name: str, scale: float = 1e-3, run: Any = run) -> Middle | None:
            at = _table_at(run, "metrics", name, "successful")
            p99 = _at(at, "percentiles", "p99")
            return _timed(at.get("median"), at.get("mean"), scale, spread=at.get("std_dev"), p99=p99,
                          count=at.get("count"))  # fmt: skip

        def usual(name: str, run: Any = run) -> int | None:
            at = _table_at(run, "metrics", name, "successful")
            return _whole(at.get("median")) or _whole(at.get("mean"))

        step = told("inter_token_latency_ms")
        times = _known(ttft=told("time_to_first_token_ms"), tpot=step, latency=told("request_latency", 1.0))
        yield _Run(
            times=times, step=step, text_tokens=usual("prompt_token_count"),
            output_tokens=usual("output_token_count"),
            in_flight=_number(_at(run, "metrics", "request_concurrency", "successful", "mean")),
            model=_first(run, "config.backend.model", "benchmarker.backend.model", "worker.backend_model")
            or _first(file, "args.model"),
        )  # fmt: skip


_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def _genai_perf(run: Table) -> Iterator[_Run]:
    """Of AIPerf and GenAI-Perf: one table a quantity, with its unit."""

    def told(name: str) -> Middle | None:
        at = _table_at(run, name)
        scale = _UNITS.get(str(at.get("unit")), math.nan)
        if at and math.isnan(scale):
            raise InputError(f"{name}.unit: found {str(at.get('unit'))!r:.20}, expected one of {', '.join(_UNITS)}")
        return _timed(at.get("p50"), at.get("avg"), scale, spread=at.get("std"), p99=at.get("p99"),
                      count=at.get("count") or _at(run, "request_count", "avg"))  # fmt: skip

    def mean(name: str) -> float | None:
        return _number(_at(run, name, "avg"))

    def usual(name: str) -> int | None:
        return _whole(_at(run, name, "p50")) or _whole(_at(run, name, "avg"))

    latency = mean("request_latency")
    scale = _UNITS.get(str(_at(run, "request_latency", "unit")), math.nan)
    times = _known(ttft=told("time_to_first_token"), tpot=told("inter_token_latency"), latency=told("request_latency"))
    names = _first(run, "input_config.model_names", "input_config.endpoint.model_names")
    yield _Run(
        times=times,
        step=told("inter_chunk_latency"),
        model=_at(run, "input_config", "models", "items", 0, "name") or _at(names, 0),
        text_tokens=usual("input_sequence_length"),
        output_tokens=usual("output_sequence_length"),
        in_flight=_product(mean("request_throughput"), latency, scale),
    )


def _offline(run: Table) -> Iterator[_Run]:
    """Of vLLM's ``bench latency``: whole requests in a batch, whose sizes it does not tell."""
    listed = run["latencies"] if isinstance(run["latencies"], list) else []
    seconds = [number for one in listed if (number := _number(one)) is not None]
    mean = sum(seconds) / len(seconds) if seconds else None
    spread = math.sqrt(sum((one - mean) ** 2 for one in seconds) / len(seconds)) if mean else None
    told = _timed(_at(run, "percentiles", "50"), run.get("avg_latency"), 1.0, spread=spread, count=len(seconds))
    yield _Run(times=_known(latency=told), in_flight=1.0)


def _genai(cells: Table) -> Iterator[_Run]:
    """Of onnxruntime-genai's ``benchmark_e2e``: a row a prompt length."""
    first, step = (_cell(cells, name) for name in GENAI_COLUMNS[1:])
    yield _Run(
        times=_known(ttft=_timed(first, None, 1e-3), tpot=_timed(step, None, 1e-3)),
        text_tokens=_whole(_cell(cells, "Prompt Length")),
        output_tokens=_whole(_cell(cells, "Tokens Generated")),
        batch=_whole(_cell(cells, "Batch Size")),
        in_flight=1.0,
    )


# llama.cpp's names of file types, at the end of what it calls a model, and the precisions that price them.
_FILE_TYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "Q8_0": "int8", "Q4_K - Medium": "int4"}


def _llama_bench(table: Table) -> Iterator[_Run]:
    """Of llama.cpp's ``llama-bench``: a prefill (pp), or steps (tg) after ``n_depth`` tokens."""
    prompt, steps, depth = (round(_cell(table, name) or 0) for name in ("n_prompt", "n_gen", "n_depth"))
    kind = str(table.get("model_type") or "")
    precision = next((one for name, one in _FILE_TYPES.items() if kind.endswith(f" {name}")), None)
    count = len(samples) if isinstance(samples := table.get("samples_ns"), list) else None
    ready = _timed(None, _cell(table, "avg_ns"), 1e-9 / max(1, steps), spread=_cell(table, "stddev_ns"), count=count)
    text, output = depth + prompt or 1, max(1, steps)
    why = _not_taken(prompt, steps, depth, printable(kind)[:40] if precision is None else None)
    times = {} if why else _known(ttft=ready) if prompt else _known(tpot=ready)
    step = times.get(Quantity.TPOT)
    yield _Run(times=times, step=step, in_flight=1.0, text_tokens=text, output_tokens=output, precision=precision,
               left_out=why)  # fmt: skip


def _not_taken(prompt: int, steps: int, depth: int, unknown_type: str | None) -> str | None:
    """Why a test of ``llama-bench`` says nothing that is priced; None where it does."""
    if prompt and steps:
        return f"pp{prompt}+tg{steps} is a prefill and steps in one time, and is left out"
    if prompt and depth:
        return f"pp{prompt} at a depth of {depth} tokens is a prefill after a cached prompt, and is left out"
    if not prompt and steps < LEAST_STEPS:
        return f"found {prompt} tokens prefilled and {steps} generated, expected some, or {LEAST_STEPS}; it is left out"
    known = f"of which {', '.join(_FILE_TYPES)} are priced; it is left out"
    return None if unknown_type is None else f"model_type: found '{unknown_type}', {known}"


def _mlperf(text: str) -> Iterator[_Run]:
    """Of MLPerf's ``mlperf_log_summary.txt``: times in nanoseconds, and a scenario; it tells no sizes."""
    pairs = (line.partition(":") for line in text.split("\n"))
    said = {key.strip().lower(): value.strip() for key, mark, value in pairs if mark}

    def told(middle: str, *means: str) -> Middle | None:
        mean = next((number for key in means if (number := _said(said.get(key))) is not None), None)
        return _timed(_said(said.get(f"50.00 percentile {middle} (ns)")), mean, 1e-9)

    times = _known(
        ttft=told("first token latency", "mean first token latency (ns)"),
        tpot=told("time to output token", "mean time to output token (ns)", "mean time per output token (ns)"),
        latency=told("latency", "mean latency (ns)"),
    )
    alone = said.get("scenario", "").lower().replace(" ", "") == "singlestream"
    rate = next((said[key] for key in ("completed samples per second", "samples per second") if key in said), None)
    met = 1.0 if alone else _product(_said(rate), _seconds_of(times, Quantity.LATENCY))
    yield _Run(times=times, in_flight=met)


def _seconds_of(times: Mapping[Quantity, Middle], quantity: Quantity) -> float | None:
    return times[quantity].middle_s if quantity in times else None


# What a server of vLLM's counts since it was started: seconds by bucket, tokens by bucket.
_HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": Quantity.TTFT,
    "vllm:request_time_per_output_token_seconds": Quantity.TPOT,
    "vllm:time_per_output_token_seconds": Quantity.TPOT,
    "vllm:e2e_request_latency_seconds": Quantity.LATENCY,
}
_STEP = "vllm:inter_token_latency_seconds"


def _prometheus(text: str) -> Iterator[_Run]:
    """Of the text of vLLM's ``/metrics``: medians within the buckets of its histograms."""
    from prometheus_client.parser import text_string_to_metric_families

    buckets: dict[str, list[tuple[float, float]]] = {}
    sums: dict[str, float] = {}
    model = None
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                model = model or (sample.labels.get("model_name") if sample.name.startswith("vllm:") else None)
                if sample.name.endswith("_bucket"):
                    pair = (float(sample.labels["le"]), sample.value)
                    buckets.setdefault(sample.name.removesuffix("_bucket"), []).append(pair)
                else:
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    except Exception as error:  # the parser raises what it likes
        raise InputError(f"not the text of a /metrics page ({printable(str(error)[:80])})") from None
    times: dict[Quantity, Middle] = {}
    for name, quantity in _HISTOGRAMS.items():
        median = _middle(buckets.get(name, ()))
        if median is not None and quantity not in times:
            times[quantity] = median

    def mean(name: str) -> int | None:
        total, count = _number(sums.get(f"{name}_sum")), _number(sums.get(f"{name}_count"))
        return round(total / count) if total and count else None

    yield _Run(
        times=times, step=_middle(buckets.get(_STEP, ())), model=model,
        text_tokens=mean("vllm:request_prompt_tokens"), output_tokens=mean("vllm:request_generation_tokens"),
        in_flight=None,
    )  # fmt: skip


def _middle(buckets: Sequence[tuple[float, float]]) -> Middle | None:
    """The median of a cumulative histogram, on a straight line within its bucket; as unsure as the bucket is wide."""
    by_edge: dict[float, float] = {}
    for edge, count in buckets:
        if not edge > 0 or not count >= 0:
            raise InputError(f"a histogram of times: found {count:g} at most {edge:g} s, expected both above zero")
        by_edge[edge] = by_edge.get(edge, 0.0) + count
    edges = sorted(by_edge)
    half = by_edge[edges[-1]] / 2 if edges else 0.0
    if not half:
        return None
    low, below = 0.0, 0.0
    for edge in edges:
        if by_edge[edge] >= half:
            if math.isinf(edge):
                return None
            seconds = low + (edge - low) * (half - below) / (by_edge[edge] - below)
            width = math.log(edge / low) if low else 1.0
            return Middle(middle_s=seconds, log_sd=width / math.sqrt(12))
        low, below = edge, by_edge[edge]
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """How one tool's file looks: keys that it must have, and what reads a table with them."""

    tool: str
    keys: tuple[str, ...]
    read: Callable[[Table], Iterator[_Run]]


LLAMA_BENCH_KEYS = ("n_prompt", "n_gen", "avg_ns")
LAYOUTS = (
    _Layout(tool="vLLM's or SGLang's bench serve", keys=("completed", "request_throughput"), read=_serving),
    _Layout(tool="GuideLLM", keys=("benchmarks",), read=_guidellm),
    _Layout(tool="AIPerf or GenAI-Perf", keys=("request_latency", "input_config"), read=_genai_perf),
    _Layout(tool="vLLM's bench latency", keys=("avg_latency", "latencies"), read=_offline),
    _Layout(tool="llama-bench", keys=LLAMA_BENCH_KEYS, read=_llama_bench),
)
GENAI_COLUMNS = ("Prompt Length", "Prompt Processing Latency (ms)", "Token Generation Latency (ms)")
_TEXTS = (
    ("MLPerf Results Summary", _mlperf),
    ("vllm:", _prometheus),
)


def benchmark_rows(path: Path) -> tuple[TimedRow, ...] | None:
    """Read what a benchmark tool wrote; None for a CSV that is none of theirs.

    Raises InputError for a layout that is not known, with what was looked for.
    """
    text = read_text(path, LARGEST_FILE_BYTES).removeprefix("\ufeff")
    if text.lstrip()[:1] in {"{", "["}:
        return tuple(_from_json(path, text))
    for sign, read in _TEXTS:
        if sign in text:
            return tuple(_rows(path.name, read, text))
    try:
        head = next(csv.reader(io.StringIO(text)), [])
        by_columns = ((GENAI_COLUMNS, _genai), (LLAMA_BENCH_KEYS, _llama_bench))
        read_row = next((one for columns, one in by_columns if set(columns) <= set(head)), None)
        table = list(csv.DictReader(io.StringIO(text))) if read_row else []
    except csv.Error as error:
        raise InputError(f"{path}: not a table of comma-separated values ({error})") from None
    if read_row is None:
        return None
    return tuple(
        row for number, cells in enumerate(table, 1) for row in _rows(f"{path.name} row {number}", read_row, cells)
    )


def _rows(where: str, read: Callable[[Any], Iterator[_Run]], given: Any) -> Iterator[TimedRow]:
    """The rows of one table, each named by where it stands."""
    try:
        runs = list(read(given))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    for number, run in enumerate(runs, 1):
        yield run.row(f"{where} run {number}" if len(runs) > 1 else where)


def _from_json(path: Path, text: str) -> Iterator[TimedRow]:
    try:
        parsed = json.loads(text)
        tables = parsed if isinstance(parsed, list) else [parsed]
    except (ValueError, RecursionError):
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        tables = [_line(path, number, line) for number, line in lines]
    for number, table in enumerate(tables, 1):
        where = f"{path.name} run {number}" if len(tables) > 1 else path.name
        yield from _rows(where, _layout(where, table).read, table)


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return parse_json(line)
    except InputError as error:
        raise InputError(f"{path.name} line {number}: {error}") from None


def _layout(where: str, table: Any) -> _Layout:
    keys = table if isinstance(table, dict) else {}
    for layout in LAYOUTS:
        runs = keys.get("benchmarks") if layout.read is _guidellm else []
        if all(key in keys for key in layout.keys) and isinstance(runs, list):
            return layout
    shown = ", ".join(printable(str(key))[:30] for key in list(keys)[:_SHOWN_KEYS]) or f"a {type(table).__name__}"
    looked = "; ".join(f"{layout.tool}: {', '.join(layout.keys)}" for layout in LAYOUTS)
    raise InputError(f"{where}: not the result of a known benchmark; found {shown}; looked for {looked}")
