"""What did the user measure? A table of times, and the device's profile adjusted to them.

(CSV rows, or what an endpoint gave) -> observations -> a :class:`HardwareProfile` whose calibrations for that runtime
are moved as far as the measurements ask and as its own uncertainty allows. Five points already matter; intervals then
rest on how well each point is predicted by the others.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from vlmplan.cost import Machine, cost, machine, request_of
from vlmplan.document import read_text
from vlmplan.errors import InputError
from vlmplan.hardware import Calibration, HardwareProfile, Kind, Part, Precision, Runtime
from vlmplan.measuring.calibrate import LEAST_PART_LOG_SD, PREPROCESS, Fitted, Free, fit
from vlmplan.measuring.observation import Observation, Quantity, measured_range, predicted
from vlmplan.models import Compressor, ModelSpec, Workload, own_precision
from vlmplan.units import parse_image

MOST_ROWS = 10_000
_TIMES = {
    f"{quantity}_{unit}": (quantity, scale)
    for quantity in (Quantity.TTFT, Quantity.TPOT, Quantity.LATENCY)
    for unit, scale in (("s", 1.0), ("ms", 1e-3))
}
_COUNTS = {"visual_tokens": 0, "text_tokens": None, "output_tokens": 1, "batch": 1, "gpus": 1}
COLUMNS = ("model", *_COUNTS, "precision", "compressor", "image", *_TIMES)

Named = TypeVar("Named", Precision, Compressor)
ModelReader = Callable[[str], ModelSpec]


def _whole(row: Mapping[str, str], name: str, where: str) -> int:
    text, usual = (row.get(name) or "").strip(), _COUNTS[name]
    if not text and usual is not None:
        return usual
    if not text.isdecimal():
        raise InputError(f"{where}: {name} is '{text[:40]}', expected a whole number")
    return int(text[:12])


def _request_observations(
    row: Mapping[str, str], where: str, model: ModelReader, hardware: HardwareProfile, runtime: Runtime
) -> list[Observation]:
    spec = model((row.get("model") or "").strip())
    usual = own_precision(spec) or hardware.default_precision(runtime) or Precision.BF16
    workload = Workload(
        text_tokens=_whole(row, "text_tokens", where),
        output_tokens=_whole(row, "output_tokens", where),
        batch=_whole(row, "batch", where),
        image=parse_image((row.get("image") or "").strip() or "1024x768"),
    )
    request = request_of(
        spec,
        workload,
        _whole(row, "visual_tokens", where),
        _member(row, "precision", usual, where),
        _member(row, "compressor", Compressor.NONE, where),
        _whole(row, "gpus", where),
    )
    found = []
    for column, (quantity, scale) in _TIMES.items():
        text = (row.get(column) or "").strip()
        if text:
            seconds = _seconds(text, scale, f"{where}: {column}")
            found.append(Observation(request=request, quantity=quantity, measured_s=seconds, group=where))
    if not found:
        raise InputError(f"{where}: found no time; expected at least one of {', '.join(_TIMES)}")
    return found


def _member(row: Mapping[str, str], column: str, usual: Named, where: str) -> Named:
    """A cell that names a member of an enumeration; ``usual`` where it is empty."""
    text, kind = (row.get(column) or "").strip(), type(usual)
    try:
        return kind(text) if text else usual
    except ValueError:
        raise InputError(f"{where}: {column} is '{text[:40]}', expected one of {', '.join(kind)}") from None


def _seconds(text: str, scale: float, where: str) -> float:
    try:
        found = float(text) * scale
    except ValueError:
        found = math.nan
    if not 1e-7 < found < 1e6:
        raise InputError(f"{where} is '{text[:40]}', expected a number above zero, and at most a million seconds")
    return found


def read_measurements(
    path: Path, hardware: HardwareProfile, runtime: Runtime, model: ModelReader
) -> tuple[Observation, ...]:
    """Read a CSV of one's own measurements; its columns are ``COLUMNS``, of which model and text_tokens are needed.

    Raises InputError, naming the line, for a column that is not known, a value that cannot be or a missing time.
    """
    text = read_text(path)
    try:
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
        rows = [(reader.line_num, row) for row in reader]
        names = [name or "" for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise InputError(f"{path}: not a table of comma-separated values ({error})") from None
    unknown = [name for name in names if name not in (*COLUMNS, "source")]
    missing = [name for name in ("model", "text_tokens") if name not in names]
    faults = [f"unknown column '{name[:40]}'" for name in unknown] + [f"no column {name}" for name in missing]
    if len(set(names)) < len(names):
        faults.append("a column twice")
    if faults:
        raise InputError(f"{path}: {faults[0]}; expected {', '.join(COLUMNS)}, source")
    if not 0 < len(rows) <= MOST_ROWS:
        raise InputError(f"{path}: found {len(rows)} rows, expected 1 to {MOST_ROWS}")
    found: list[Observation] = []
    for line, row in rows:
        where = f"{path.name} line {line}"
        if None in row or None in row.values():
            raise InputError(f"{where}: found another number of cells than the {len(names)} columns")
        try:
            found += _request_observations(row, where, model, hardware, runtime)
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(where) else f"{where}: {text}") from None
    return tuple(found)


def _free(ready: Machine, images: bool) -> tuple[Free, ...]:
    """What a few points may move, and how far: a class's rates by its own spread and the whole's."""
    found = [
        Free(field="overhead_per_request_s", prior_log_sd=1.5, least=1e-3),
        Free(field="overhead_per_call_s", prior_log_sd=1.0, least=3e-4),
    ]
    if ready.base.preprocess is not None and images:
        found.append(Free(field=PREPROCESS, prior_log_sd=max(LEAST_PART_LOG_SD, ready.base.preprocess.log_sd)))
    if ready.base.overhead_per_layer_s:
        found.append(Free(field="overhead_per_layer_s", prior_log_sd=0.7))
    rates = {
        Kind.LINEAR: ("compute_fraction", "memory_fraction"),
        Kind.PREFILL_ATTENTION: ("compute_fraction",),
        Kind.DECODE_ATTENTION: ("memory_fraction",),
        Kind.VISION_ATTENTION: ("compute_fraction",),
    }
    for kind, fields in rates.items():
        stack = ready.base.step_log_sd if kind is Kind.DECODE_ATTENTION else ready.first_log_sd
        spread = math.hypot(ready.base.operators[kind].log_sd, ready.model_log_sd, stack)
        found += [Free(kind=kind, field=field, prior_log_sd=spread) for field in fields]
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One measurement, before and after: what was predicted without it, and by a fit without its row."""

    observation: Observation
    before_s: float
    left_out_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """A device's profile moved to measurements, and each of them beside its predictions."""

    hardware: HardwareProfile
    compared: tuple[Compared, ...]


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
    found: Calibration,
    precision: Precision,
    spreads: Mapping[Part, float],
    observed: Sequence[Observation],
    source: str,
) -> Calibration:
    """The calibration with its new intervals, and what it now rests on."""
    images = found.preprocess
    if images is not None and _with_images(observed):
        images = replace(images, log_sd=min(images.log_sd, spreads[Part.VISION]))
    return replace(
        found,
        preprocess=images,
        precision=precision,
        part_log_sd=spreads,
        measured_range=measured_range(observed),
        source=f"{source}. Before: {found.source}",
    )
