"""What did the user measure? A table of times, and the device's profile adjusted to them.

(CSV rows, a benchmark tool's runs, or what an endpoint gave) -> observations -> a :class:`HardwareProfile` whose
calibrations for that runtime are moved as far as the measurements ask and as its own uncertainty allows. Five points
already matter; intervals then rest on how well each point is predicted by the others.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from vlmplan.cost import Machine, Request, cost, machine, request_of
from vlmplan.document import read_text
from vlmplan.errors import InputError
from vlmplan.hardware import Calibration, HardwareProfile, Kind, Part, Precision, Runtime
from vlmplan.measuring.benchmark_files import IN_FLIGHT, NOT_TOLD, Middle, TimedRow, benchmark_rows
from vlmplan.measuring.calibrate import LEAST_PART_LOG_SD, PREPROCESS, Fitted, Free, fit
from vlmplan.measuring.observation import Observation, Quantity, measured_range, predicted
from vlmplan.models import Compressor, ModelSpec, Workload, own_precision
from vlmplan.units import counted, parse_image

MOST_ROWS = 10_000
_TIMES = {
    f"{quantity}_{unit}": (quantity, scale)
    for quantity in (Quantity.TTFT, Quantity.TPOT, Quantity.LATENCY)
    for unit, scale in (("s", 1.0), ("ms", 1e-3))
}
_COUNTS = {"visual_tokens": 0, "text_tokens": None, "output_tokens": 1, "batch": 1, IN_FLIGHT: 1, "gpus": 1}
COLUMNS = ("model", *_COUNTS, "precision", "compressor", "image", *_TIMES)

Named = TypeVar("Named", Precision, Compressor)
ModelReader = Callable[[str], ModelSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Times as read, and what a reader should know of those that were left out."""

    observed: tuple[Observation, ...]
    notes: tuple[str, ...] = ()


def _whole(cells: Mapping[str, str], name: str) -> int:
    text, usual = (cells.get(name) or "").strip(), _COUNTS[name]
    if not text and usual is not None:
        return usual
    if not text.isdecimal():
        fault = f"is '{text[:40]}'" if text else "is not told"
        raise InputError(f"{name} {fault}, expected a whole number")
    return int(text[:12])


def _request(cells: Mapping[str, str], model: ModelReader, hardware: HardwareProfile, runtime: Runtime) -> Request:
    spec = model((cells.get("model") or "").strip())
    usual = own_precision(spec) or hardware.default_precision(runtime) or Precision.BF16
    workload = Workload(
        text_tokens=_whole(cells, "text_tokens"),
        output_tokens=_whole(cells, "output_tokens"),
        batch=_whole(cells, "batch"),
        concurrency=_whole(cells, IN_FLIGHT),
        image=parse_image((cells.get("image") or "").strip() or "1024x768"),
    )
    return request_of(
        spec,
        workload,
        _whole(cells, "visual_tokens"),
        _member(cells, "precision", usual),
        _member(cells, "compressor", Compressor.NONE),
        _whole(cells, "gpus"),
    )


def _times_of(row: TimedRow) -> dict[Quantity, Middle]:
    """The times of a row, from its cells or its tool."""
    times = dict(row.times)
    for column, (quantity, scale) in _TIMES.items():
        if text := (row.cells.get(column) or "").strip():
            times[quantity] = Middle(middle_s=_seconds(text, scale, column))
    if not times and row.step is None:
        raise InputError(f"found no time; expected at least one of {', '.join(_TIMES)}")
    return times


def _observations(row: TimedRow, request: Request) -> list[Observation]:
    """What a row says of the machine: all its times where the request was alone, else that of a step.

    A first token waits for the prefills of the others in flight, which no calibration can be moved by.
    """
    times = _times_of(row)
    if request.workload.concurrency > 1:
        step = row.step or times.get(Quantity.TPOT)
        if step is None:
            raise InputError("found several requests in flight and no time of a step; expected tpot_s or tpot_ms")
        times = {Quantity.TPOT: step}
    return [
        Observation(
            request=request, quantity=quantity, measured_s=one.middle_s, noise_log_sd=one.log_sd, group=row.where
        )
        for quantity, one in times.items()
    ]


def _member(cells: Mapping[str, str], column: str, usual: Named) -> Named:
    """A cell that names a member of an enumeration; ``usual`` where it is empty."""
    text, kind = (cells.get(column) or "").strip(), type(usual)
    try:
        return kind(text) if text else usual
    except ValueError:
        raise InputError(f"{column} is '{text[:40]}', expected one of {', '.join(kind)}") from None


def _seconds(text: str, scale: float, where: str) -> float:
    try:
        seconds = float(text) * scale
    except ValueError:
        seconds = math.nan
    if not 1e-7 < seconds < 1e6:
        raise InputError(f"{where} is '{text[:40]}', expected a number above zero, and at most a million seconds")
    return seconds


def read_measurements(
    path: Path,
    hardware: HardwareProfile,
    runtime: Runtime,
    model: ModelReader,
    told: Mapping[str, str] | None = None,
) -> Read:
    """Read a CSV with columns of ``COLUMNS``, or the file of a benchmark tool that :func:`benchmark_rows` knows.

    ``told`` has cells that the file lacks, or that replace its own. Raises InputError, naming the line or the run, for
    a layout or a column that is not known, a value that cannot be, or what nobody tells.
    """
    told, rows = told or {}, benchmark_rows(path)
    if unknown := [name for name in told if name not in COLUMNS]:
        raise InputError(f"--with: found {unknown[0]!r:.40}, expected columns of {', '.join(COLUMNS)}")
    if rows is None:
        rows = _table_rows(path, told)
    if not 0 < len(rows) <= MOST_ROWS:
        raise InputError(f"{path}: found {len(rows)} rows, expected 1 to {MOST_ROWS}")
    observations: list[Observation] = []
    notes: list[str] = []
    for row in rows:
        if row.left_out is not None:
            notes.append(f"{row.where}: {row.left_out}")
            continue
        try:
            cells = {**row.cells, **told}
            if cells.get(IN_FLIGHT) == NOT_TOLD:
                raise InputError(f"requests in flight are not told; add --with {IN_FLIGHT}=N (1: one after another)")
            if not (cells.get("model") or "").strip():
                raise InputError("the model is not told; add --model")
            request = _request(cells, model, hardware, runtime)
            observations += _observations(replace(row, cells=cells), request)
        except InputError as error:
            hint = "; --with text_tokens=N tells it" if "is not told, expected" in str(error) else ""
            raise InputError(f"{row.where}: {error}{hint}") from None
        notes += _notes(row, request)
    if not observations and notes:
        raise InputError(f"{path}: nothing to take; {notes[0]}")
    return Read(observed=tuple(observations), notes=tuple(notes))


def _notes(row: TimedRow, request: Request) -> list[str]:
    """What a reader should know of a run that a tool made."""
    notes, met = [], request.workload.concurrency
    if met > 1 and len(row.times) > 1:
        notes.append(f"{row.where}: {met} requests in flight, so that only the time of a step is taken")
    if row.failed:
        notes.append(f"{row.where}: {counted(row.failed, 'request')} failed")
    return notes


def _table_rows(path: Path, told: Mapping[str, str]) -> tuple[TimedRow, ...]:
    """The rows of a table of one's own. Raises InputError for a column that is not known, or one too few."""
    text = read_text(path)
    try:
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
        rows = [(reader.line_num, row) for row in reader]
        names = [name or "" for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise InputError(f"{path}: not a table of comma-separated values ({error})") from None
    unknown = [name for name in names if name not in (*COLUMNS, "source")]
    missing = [name for name in ("model", "text_tokens") if name not in names and name not in told]
    faults = [f"unknown column '{name[:40]}'" for name in unknown] + [f"no column {name}" for name in missing]
    if len(set(names)) < len(names):
        faults.append("a column twice")
    if faults:
        raise InputError(f"{path}: {faults[0]}; expected {', '.join(COLUMNS)}, source")
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(f"{path.name} line {line}: found another number of cells than the {len(names)} columns")
    return tuple(TimedRow(where=f"{path.name} line {line}", cells=row) for line, row in rows)


def _free(ready: Machine, images: bool) -> tuple[Free, ...]:
    """What a few points may move, and how far: a class's rates by its own spread and the whole's."""
    free = [
        Free(field="overhead_per_request_s", prior_log_sd=1.5, least=1e-3),
        Free(field="overhead_per_call_s", prior_log_sd=1.0, least=3e-4),
    ]
    if ready.base.preprocess is not None and images:
        free.append(Free(field=PREPROCESS, prior_log_sd=max(LEAST_PART_LOG_SD, ready.base.preprocess.log_sd)))
    if ready.base.overhead_per_layer_s:
        free.append(Free(field="overhead_per_layer_s", prior_log_sd=0.7))
    rates = {
        Kind.LINEAR: ("compute_fraction", "memory_fraction"),
        Kind.PREFILL_ATTENTION: ("compute_fraction",),
        Kind.DECODE_ATTENTION: ("memory_fraction",),
        Kind.VISION_ATTENTION: ("compute_fraction",),
    }
    for kind, fields in rates.items():
        stack = ready.base.step_log_sd if kind is Kind.DECODE_ATTENTION else ready.first_log_sd
        spread = math.hypot(ready.base.operators[kind].log_sd, ready.model_log_sd, stack)
        free += [Free(kind=kind, field=field, prior_log_sd=spread) for field in fields]
    return tuple(free)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One measurement, before and after: what was predicted without it, and by a fit without its row."""

    observation: Observation
    before_s: float
    left_out_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """A device's profile moved to measurements, each of them beside its predictions, and what was left out of them."""

    hardware: HardwareProfile
    compared: tuple[Compared, ...]
    notes: tuple[str, ...] = ()


_PARTS = {
    Quantity.TTFT: (Part.VISION, Part.COMPRESSOR, Part.PREFILL),
    Quantity.TPOT: (Part.DECODE,),
    Quantity.LATENCY: tuple(Part),
}
_PRIOR_POINTS = 1.0  # the profile's own uncertainty counts as much as so many measurements


def _with_images(observed: Sequence[Observation]) -> bool:
    """Tell whether what the host spends on images is in any of the times."""
    return any(one.request.visual is not None and one.quantity is not Quantity.TPOT for one in observed)


def _spreads(observed: Sequence[Observation], fitted: Fitted, ready: Machine) -> dict[Part, float]:
    """How wrong each part's predictions are likely to be now: what left-out rows say, and the profile said before."""
    before = [predicted(one.quantity, cost(one.request, ready))[1].usual_log_sd for one in observed]
    squares: dict[Part, list[float]] = {part: [] for part in Part}
    for one, error in zip(observed, fitted.left_out, strict=True):
        for part in _PARTS[one.quantity]:
            if part not in (Part.VISION, Part.COMPRESSOR) or one.request.visual is not None:
                squares[part].append(error**2)
    usual = sum(sd**2 for sd in before) / len(before)
    return {part: round(_pooled(errors, usual), 4) for part, errors in squares.items()}


def _pooled(squares: Sequence[float], usual: float) -> float:
    """The spread of left-out errors and the usual one (a variance): their weighted mean as logarithms."""
    spread = 0.5 * math.log(usual)
    if squares:
        seen = 0.5 * math.log(max(LEAST_PART_LOG_SD**2, sum(squares) / len(squares)))
        spread = (len(squares) * seen + _PRIOR_POINTS * spread) / (len(squares) + _PRIOR_POINTS)
    return max(LEAST_PART_LOG_SD, math.exp(spread))


def adjusted(
    hardware: HardwareProfile,
    typical: Sequence[Calibration],
    runtime: Runtime,
    observed: Sequence[Observation],
    source: str,
) -> Adjusted:
    """Move the calibrations of ``runtime`` to what was observed, precision by precision. Raises InputError."""
    moved: dict[Precision, Calibration] = {}
    compared: list[Compared] = []
    precisions = dict.fromkeys(one.request.precision for one in observed)
    for precision in sorted(precisions, key=list(Precision).index):  # 16 bit first: the quantised ones build on it
        mine = [one for one in observed if one.request.precision is precision]
        before = machine(hardware, typical, runtime, precision)
        ready = _apart(_with_moved(hardware, runtime, moved), typical, runtime, precision)
        base_known = ready.base_precision in moved and ready.quantised is not ready.base
        fitted = fit(mine, ready, _free(ready, _with_images(mine)), fixed_base=base_known)
        spreads = _spreads(mine, fitted, ready)
        if not base_known:
            moved[ready.base_precision] = _named(fitted.base, ready.base_precision, spreads, mine, source)
        if ready.quantised is not ready.base:
            moved[precision] = _named(fitted.quantised, precision, spreads, mine, source)
        compared += [
            Compared(
                observation=one,
                before_s=predicted(one.quantity, cost(one.request, before))[0],
                left_out_s=one.measured_s * math.exp(error),
            )
            for one, error in zip(mine, fitted.left_out, strict=True)
        ]
    now = _with_moved(hardware, runtime, moved)
    name = hardware.name if hardware.name.endswith("-measured") else f"{hardware.name}-measured"
    return Adjusted(hardware=replace(now, name=name), compared=tuple(compared))


def _with_moved(hardware: HardwareProfile, runtime: Runtime, moved: Mapping[Precision, Calibration]) -> HardwareProfile:
    """The device with its calibrations of those precisions replaced."""
    kept = [one for one in hardware.calibration if one.runtime is not runtime or one.precision not in moved]
    return replace(hardware, calibration=(*moved.values(), *kept))


def _apart(
    hardware: HardwareProfile, typical: Sequence[Calibration], runtime: Runtime, precision: Precision
) -> Machine:
    """The machine, its quantised layers with a calibration of their own even where they had borrowed one."""
    ready = machine(hardware, typical, runtime, precision)
    if precision is ready.base_precision or precision in (Precision.BF16, Precision.FP16):
        return ready
    own = replace(ready.quantised, precision=precision)
    known = any(one.runtime is runtime and one.precision is precision for one in hardware.calibration)
    calibrations = hardware.calibration if known else (own, *hardware.calibration)
    return machine(replace(hardware, calibration=calibrations), typical, runtime, precision)


def _named(
    calibration: Calibration,
    precision: Precision,
    spreads: Mapping[Part, float],
    observed: Sequence[Observation],
    source: str,
) -> Calibration:
    """The calibration with its new intervals, and what it now rests on."""
    preprocess = calibration.preprocess
    if preprocess is not None and _with_images(observed):
        preprocess = replace(preprocess, log_sd=min(preprocess.log_sd, spreads[Part.VISION]))
    return replace(
        calibration,
        preprocess=preprocess,
        precision=precision,
        part_log_sd=spreads,
        measured_range=measured_range(observed),
        source=f"{source}. Before: {calibration.source}",
    )
