"""Make ``profiles/hardware/*.toml`` and ``profiles/typical.toml`` from public facts and measurements.

Datasheet figures come from ``facts/accelerators.csv``, memory from what drivers report (``facts/device_memory.csv``)
and what is left of one that the processor shares (``facts/shared_memory.csv``), efficiencies from kernels
(``fit_efficiency.py``), overhead from published times of whole requests (``fit_overhead.py``). The names that drivers
report (``facts/device_names.csv``), and the variant that a short name means (``facts/usual_variants.csv``), become
``profiles/device_names.toml``.
Run: ``python tools/make_hardware.py``.
"""

import functools
import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import fit_efficiency
import fit_llama_cpp
import tomli_w
from fit_efficiency import AICONFIGURATOR, VIDUR
from fit_overhead import (
    SERVER_BACKEND,
    Between,
    MachineOf,
    Overhead,
    Point,
    assumed,
    between,
    fit,
    left_out,
    print_errors,
)
from fit_overhead import points as published
from measure_preprocess import measured_here

from facts import PROFILES, number, rows
from vlmplan import inert
from vlmplan.cost.roofline import Machine, machine
from vlmplan.document import to_toml
from vlmplan.errors import InputError
from vlmplan.hardware.names import ReportedNames, Variants
from vlmplan.hardware.profile import Basis, Calibration, Efficiency, HardwareProfile, Kind, Preprocess
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory.catalogue import TypicalCalibrations

PEAKS = {
    Precision.FP32: "peak_fp32_tflops",
    Precision.FP16: "peak_fp16_dense_tflops",
    Precision.BF16: "peak_bf16_dense_tflops",
    Precision.FP8: "peak_fp8_dense_tflops",
    Precision.INT8: "peak_int8_dense_tops",
}
# Payload of one direction of a PCIe link, bytes/s per lane (PCI-SIG base specifications, 128b/130b coding).
PCIE_LANE = {"3.0": 0.985e9, "4.0": 1.969e9, "5.0": 3.938e9}
# Device -> GPU of the kernel data. The 40 and 80 GB A100 differ in bandwidth only, which the form divides out.
MEASURED = {
    "a100-40gb-sxm": "a100",
    "a100-40gb-pcie": "a100",
    "a100-80gb-sxm": "a100",
    "a100-80gb-pcie": "a100",
    "h100-sxm": "h100",
    "h200-sxm": "h200",
    "l40s": "l40s",
    "b200-sxm": "b200",
    "a40": "a40",
}
# Devices of the kernel data that accelerators.csv does not list, in its columns.
MORE_DEVICES = (
    {
        "name": "A40",
        "vendor": "NVIDIA",
        "kind": "gpu",
        "architecture": "Ampere",
        "memory_gib": "48",
        "memory_bandwidth_gb_s": "696",
        "peak_fp32_tflops": "37.4",
        "peak_fp16_dense_tflops": "149.7",
        "peak_bf16_dense_tflops": "149.7",
        "peak_int8_dense_tops": "299.3",
        "host_bus": "PCIe 4.0 x16",
        "confidence": "medium",
        "source_title": "NVIDIA A40 datasheet",
        "source_url": "https://images.nvidia.com/content/Solutions/data-center/a40/nvidia-a40-datasheet.pdf",
    },
)
CLASSES = {
    Kind.LINEAR: "linear",
    Kind.PREFILL_ATTENTION: "prefill",
    Kind.DECODE_ATTENTION: "decode",
    Kind.VISION_ATTENTION: "vision",
    Kind.NORM: "norm",
    Kind.ELEMENTWISE: "elementwise",
}
# The kernel data's A100 has 80 GB and reaches 1.54 of its 2.04 TB/s in linear layers: not the memory is what holds it
# back, so the 40 GB card, with 1.56 TB/s, reaches a larger share. Times of both engines on it (Argonne) say how much.
MEMORY_SHARE = {"a100-40gb-sxm": 1.1, "a100-40gb-pcie": 1.1}
MEMORY_SHARE_SOURCE = "memory fraction of linear layers times 1.1 for the 40 GB card (Argonne's requests)"
ALL_REDUCE = Efficiency(compute_fraction=1.0, memory_fraction=0.77, latency_s=15e-6, overlap=1.0, log_sd=0.5)
ALL_REDUCE_SOURCE = (
    "all-reduce: 77 % of one direction of NVLink on 4 x H100 "
    "(waynehacking8.github.io nccl-collectives-bench); "
    "15 us latency is an assumption"
)
SHARED_SOURCE = "shared memory: what llama.cpp and others found free, or Metal allows (facts/shared_memory.csv)"
OWN_KERNELS = (Runtime.LLAMA_CPP,)  # which the kernel data, of PyTorch's and NVIDIA's, say nothing of
RESERVE_SOURCE = "reserve for context, workspaces and graphs: an assumption"


def name_of(title: str) -> str:
    """Lower case, brackets dropped, spaces to hyphens."""
    return re.sub(r"\s+", "-", re.sub(r"\(.*?\)", "", title).strip().lower())


@functools.cache
def reported_mib() -> dict[str, list[int]]:
    """What drivers report as a device's whole memory, in MiB, by the device's name in ``accelerators.csv``."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows("device_memory.csv"):
        found[row["device"]].append(int(row["total_mib"]))
    return dict(found)


@functools.cache
def shared_mib() -> dict[str, dict[int, int]]:
    """Of memory that a processor shares: what GPUs' programs get of it by its size, in MiB, of a device or vendor.

    Of a device, what the one got who got most: it ran little else. Of a vendor, the least of each size: its system
    sets the share, and an older one a smaller share.
    """
    vendors = {row["name"]: row["vendor"] for row in rows("accelerators.csv")}
    asked = [(row["device"], int(row["memory_mib"]), int(row["gpu_mib"])) for row in rows("shared_memory.csv")]
    best = {device: (size, part) for device, size, part in sorted(asked, key=lambda one: one[2]) if device in vendors}
    found: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for device, (size, part) in best.items():
        found[device] = {size: part}
        found[vendors[device]][size] = part
    for vendor, size, part in asked:
        if vendor not in vendors:
            found[vendor][size] = min(part, found[vendor].get(size, part))
    return dict(found)


def shared(row: dict[str, str]) -> tuple[tuple[int, int], ...] | None:
    """What a system on a chip leaves to its GPU's programs, of the sizes known of it, else of its vendor; in bytes."""
    if "soc" not in row["kind"]:
        return None
    known = shared_mib().get(row["name"]) or shared_mib().get(row["vendor"]) or {}
    return tuple((size * 2**20, part * 2**20) for size, part in sorted(known.items())) or None


@functools.cache
def withheld_mib() -> int:
    """What drivers of NVIDIA's cards keep of the nominal memory, in MiB: the median of the cards somebody asked."""
    cards = [row for row in rows("accelerators.csv") if (row["vendor"], row["kind"]) == ("NVIDIA", "gpu")]
    known = {row["name"]: row for row in cards if row["memory_gib"]}
    return round(
        median(
            1024 * float(known[name]["memory_gib"]) - median(found)
            for name, found in reported_mib().items()
            if name in known
        )
    )


def memory(row: dict[str, str]) -> tuple[int | None, str]:
    """(bytes that a program finds, where that comes from): as reported, else the nominal less what drivers keep.

    Other vendors' devices and systems on a chip that nobody asked keep their nominal memory.
    """
    nominal_gib = number(row["memory_gib"])
    if found := reported_mib().get(row["name"]):
        total_mib = int(median(found))
        asked = "one machine" if len(found) == 1 else f"the median of {len(found)} machines"
        return (
            total_mib * 2**20,
            f"memory: {total_mib} MiB, as the driver reports it, {asked} (facts/device_memory.csv)",
        )
    if nominal_gib is None:
        return None, ""
    if row["vendor"] == "NVIDIA" and row["kind"] in {"gpu", "superchip"}:
        total_mib = int(1024 * nominal_gib) - withheld_mib()
        return total_mib * 2**20, (
            f"memory: the nominal {nominal_gib:g} GiB less {withheld_mib()} MiB, what drivers keep of other cards of "
            "NVIDIA (the median; facts/device_memory.csv)"
        )
    return int(nominal_gib * 2**30), "memory: nominal; what the driver reports was not found"


def interconnect(row: dict[str, str]) -> tuple[str | None, float | None]:
    """One direction of the fastest link between devices: NVLink and the like (listed both ways), else PCIe."""
    both_ways = number(row["interconnect_gb_s"])
    if both_ways:
        return row["interconnect"] or None, both_ways * 1e9 / 2
    bus = re.match(r"PCIe ([345]\.0) x(\d+)", row["host_bus"])
    return (bus[0], PCIE_LANE[bus[1]] * int(bus[2])) if bus else (None, None)


def operators(gpu: str | None, fp8: bool = False, memory_share: float = 1.0) -> dict[Kind, Efficiency]:
    """Efficiencies of one GPU measured, or of all pooled; ``memory_share`` scales what linear layers get."""
    found = {}
    for kind, base in CLASSES.items():
        name = f"{base}-fp8" if fp8 and kind is Kind.LINEAR else base
        fitted = fit_efficiency.by_gpu(name).get(gpu) if gpu else None
        found[kind] = fitted.efficiency if fitted else fit_efficiency.pooled(name)
    linear = found[Kind.LINEAR]
    found[Kind.LINEAR] = replace(linear, memory_fraction=round(linear.memory_fraction * memory_share, 4))
    return found | {Kind.ALL_REDUCE: ALL_REDUCE}


def calibration(runtime: Runtime, precision: Precision, device: str | None) -> Calibration:
    """Efficiencies without overhead yet, of one device or of all pooled."""
    gpu, share = MEASURED.get(device or ""), MEMORY_SHARE.get(device or "", 1.0)
    lacking = [kind.value for kind, name in CLASSES.items() if gpu and gpu not in fit_efficiency.by_gpu(name)]
    pooled = f"; {', '.join(lacking)} pooled over the GPUs measured" if lacking else ""
    scaled = f"; {MEMORY_SHARE_SOURCE}" if share != 1 else ""
    source = (
        f"{AICONFIGURATOR}; {VIDUR} for norms and elementwise{pooled}{scaled}. {ALL_REDUCE_SOURCE}. {RESERVE_SOURCE}"
    )
    return Calibration(
        runtime=runtime,
        precision=precision,
        basis=Basis.KERNELS if gpu else Basis.DATASHEET,
        overhead_per_layer_s=0.0,
        overhead_per_call_s=0.0,
        overhead_log_sd=0.0,
        model_log_sd=0.0,
        reserve_bytes=assumed(runtime).reserve_bytes,
        operators=operators(gpu, precision is Precision.FP8, share),
        source=source,
    )


KINDS = ("gpu", "soc", "soc gpu", "superchip", "cpu")
NEEDED = ("name", "vendor", "kind", "architecture", "confidence", "source_title", "source_url")


def check_row(row: dict[str, str]) -> None:
    """Raise InputError where a device's row lacks what a profile cannot do without, or has no number for one.

    The memory of systems on a chip and processors is their owner's choice, and may be blank.
    """
    where = f"facts/accelerators.csv, {row.get('name') or 'a row without a name'}"
    needed = (*NEEDED, *(("memory_gib",) if row.get("kind") == "gpu" and row["name"] not in reported_mib() else ()))
    if lacking := [column for column in needed if not (row.get(column) or "").strip()]:
        raise InputError(f"{where}: found nothing in {', '.join(lacking)}, expected what the datasheet says")
    if row["kind"] not in KINDS:
        raise InputError(f"{where}, kind: found '{row['kind']}', expected {' or '.join(KINDS)}")
    for column in ("memory_gib", "memory_bandwidth_gb_s", "interconnect_gb_s", *PEAKS.values()):
        try:
            number(row[column] or "")
        except ValueError:
            raise InputError(f"{where}, {column}: found '{row[column]}', expected a number, or nothing") from None


def device(row: dict[str, str]) -> HardwareProfile | None:
    """A device from its row, uncalibrated; None without bandwidth or a peak at a precision that models are served in.

    A GPU of which only the fp32 peak is known would be priced at a precision nobody uses. Raises InputError.
    """
    check_row(row)
    # Ampere's tensor cores multiply bf16 as fast as fp16: so do those that the facts have both figures of. That all of
    # them have bf16 say NVIDIA's support matrix of TensorRT (capability 8.6) and vLLM (8.0 and more, issue 946).
    ampere = {"peak_bf16_dense_tflops": "peak_fp16_dense_tflops"} if row["architecture"] == "Ampere" else {}
    figures = {p: number(row[column]) or number(row[ampere.get(column, column)]) for p, column in PEAKS.items()}
    peaks = {p: round(v * 1e12, -8) for p, v in figures.items() if v}
    if row["kind"] == "cpu" and Precision.FP32 not in peaks and Precision.BF16 in peaks:
        # Its 16-bit peak is of a matrix unit; fp32 products run on two 512-bit units, 64 FLOPs a cycle and core.
        peaks[Precision.FP32] = round(64 * float(row["sm_or_cu"]) * float(row["boost_clock_mhz"]) * 1e6, -8)
    if row["kind"] == "cpu" and Precision.FP16 in peaks:
        # The 32 FLOPs a cycle and core behind it are two 256-bit fp32 products and sums; AVX2 has no narrower ones.
        peaks.setdefault(Precision.FP32, peaks[Precision.FP16])
    bandwidth, (memory_bytes, memory_source) = number(row["memory_bandwidth_gb_s"]), memory(row)
    usable = {Precision.FP16, Precision.BF16} | ({Precision.FP32} if row["kind"] == "cpu" else set())
    if not bandwidth or not usable & set(peaks):
        return None
    link, link_rate = interconnect(row)
    sources = [
        " ".join(part for part in (row[f"{source}_title"], row[f"{source}_url"]) if part)
        for source in ("source", "source2")
    ] + [memory_source, SHARED_SOURCE if shared(row) else ""]
    return HardwareProfile(
        name=name_of(row["name"]),
        title=row["name"] if row["name"].startswith(row["vendor"]) else f"{row['vendor']} {row['name']}",
        vendor=row["vendor"],
        kind=row["kind"].split()[0],
        architecture=row["architecture"],
        memory_bytes=memory_bytes,
        shared_memory_bytes=shared(row),
        memory_is_most=row["memory_gib_basis"].startswith("maximum") or None,
        bandwidth_bytes_per_s=bandwidth * 1e9,
        interconnect=link,
        interconnect_bytes_per_s=link_rate,
        peak_flops_per_s=peaks,
        confidence=row["confidence"],
        sources=tuple(text for text in sources if text),
        notes=row["notes"] or None,
    )


@dataclass(frozen=True, kw_only=True)
class Told:
    """What published times tell of a runtime: overhead, the spread between stacks, what images take, sources."""

    overhead: Overhead
    between: Between
    preprocess: Preprocess
    why: str


def scaled(one: Preprocess, factor: float, log_sd: float, source: str) -> Preprocess:
    """What images take, times a factor, to three digits."""
    sent_px_s, seen_px_s = short(factor * one.sent_px_s), short(factor * one.seen_px_s)
    return Preprocess(sent_px_s=sent_px_s, seen_px_s=seen_px_s, log_sd=log_sd, source=source)


def in_process(runtime: Runtime) -> Preprocess:
    """What images take in the client's own process: as measured here."""
    here = measured_here(str(assumed(runtime).images))
    return scaled(here, 1.0, here.log_sd, here.source)


def stacks(points: Sequence[Point]) -> dict[Runtime, Told]:
    """What published requests show of every runtime, all GPUs together; the spread is of sources left out."""
    fitted, stack = fit(points), between(left_out(points))
    here, factor = measured_here(SERVER_BACKEND), fitted.preprocess_factor
    source = f"{here.source}, times {factor:.3g}: published times of servers with images"
    served = scaled(here, factor, round(stack.image, 3), source)
    found = {}
    for runtime in Runtime:
        known, mine = assumed(runtime), [point for point in points if point.runtime is runtime]
        sources = len({point.source for point in mine})
        found[runtime] = Told(
            overhead=known.overhead or fitted.overheads[runtime],
            between=stack,
            preprocess=in_process(runtime) if known.images else served,
            why=known.source
            if known.overhead
            else f"{len(mine)} published times of {sources} sources (facts/published_latency.csv), all GPUs together; "
            f"spread between stacks: {len({point.source for point in points})} sources, each left out of its fit",
        )
    return found


def short(value: float) -> float:
    """Three digits: more would be noise."""
    return float(f"{value:.3g}")


def with_overhead(found: Calibration, told: dict[Runtime, Told]) -> Calibration:
    """Add what the calibration's runtime adds to its kernels."""
    one = told[found.runtime]
    return replace(
        found,
        overhead_per_request_s=short(one.overhead.per_request_s),
        overhead_per_call_s=short(one.overhead.per_call_s),
        overhead_per_layer_s=short(one.overhead.per_layer_s),
        overhead_overlap=round(one.overhead.overlap, 2),
        overhead_log_sd=round(one.between.call, 3),
        request_log_sd=round(one.between.request, 3),
        first_log_sd=round(one.between.first, 3),
        step_log_sd=round(one.between.step, 3),
        preprocess=one.preprocess,
        source=f"{found.source}. Overhead: {one.why}",
    )


def typical(told: dict[Runtime, Told]) -> TypicalCalibrations:
    """What devices without measurements are priced with."""
    found = [
        with_overhead(calibration(runtime, precision, None), told)
        for runtime in Runtime
        if runtime not in OWN_KERNELS
        for precision in (Precision.BF16, Precision.FP8)
    ]
    return TypicalCalibrations(calibration=(*found, *own_kernels(told[Runtime.LLAMA_CPP])))


def own_kernels(told: Told) -> tuple[Calibration, ...]:
    """llama.cpp's, whose kernels nobody timed one by one: fitted on whole prefills and steps."""
    base = calibration(Runtime.LLAMA_CPP, Precision.FP16, None)
    reached = fit_llama_cpp.fit(base)
    first, step = reached.spread
    return tuple(
        replace(
            one,
            operators={**one.operators, Kind.LINEAR: rounded(one.operators[Kind.LINEAR])},
            overhead_per_call_s=short(one.overhead_per_call_s),
            overhead_log_sd=round(told.between.call, 3),
            request_log_sd=round(told.between.request, 3),
            first_log_sd=round(first, 3),
            step_log_sd=round(step, 3),
            preprocess=told.preprocess,
            source=f"{one.source}. llama.cpp: {fit_llama_cpp.why()}",
        )
        for one in reached.calibrations(base)
    )


def rounded(one: Efficiency) -> Efficiency:
    """Three digits: more would be noise."""
    return replace(one, compute_fraction=short(one.compute_fraction), memory_fraction=short(one.memory_fraction))


def request_residuals(points: Sequence[Point]) -> list[dict[str, str | int | float]]:
    """Errors of whole requests by runtime, source and quantity, the source being left out of the fit."""
    found: list[dict[str, str | int | float]] = []
    residuals = left_out(points)
    groups = dict.fromkeys((one.point.runtime, one.point.source, one.point.quantity) for one in residuals)
    for runtime, source, quantity in groups:
        off = [
            math.expm1(-one.log_ratio)
            for one in residuals
            if (one.point.runtime, one.point.source, one.point.quantity) == (runtime, source, quantity)
        ]
        found.append(
            {
                "runtime": runtime.value,
                "source": source,
                "quantity": quantity.value,
                "rows": len(off),
                "mean_error_fraction": round(mean(off), 4),
                "mean_absolute_error_fraction": round(mean(map(abs, off)), 4),
            }
        )
    return found


def precisions(profile: HardwareProfile) -> tuple[Precision, ...]:
    """The precisions that a device is calibrated at."""
    return (Precision.BF16, *[Precision.FP8] * (Precision.FP8 in profile.peak_flops_per_s))


def bare_machines(profiles: dict[str, HardwareProfile]) -> MachineOf:
    """Return a function that gives a device's machine without overhead: kernels alone."""

    @functools.cache
    def machine_of(name: str, runtime: Runtime, precision: Precision) -> Machine:
        own = tuple(calibration(runtime, one, name) for one in precisions(profiles[name]) if name in MEASURED)
        usual = tuple(calibration(runtime, one, None) for one in (Precision.BF16, Precision.FP8))
        return machine(replace(profiles[name], calibration=own), usual, runtime, precision)

    return machine_of


def reported_names(named: dict[str, str]) -> ReportedNames:
    """The names that drivers report, each with the profiles it may mean; ``named`` is a profile by its row's name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows("device_names.csv"):
        if row["device"] in named:
            found[row["reported_name"]].append(named[row["device"]])
    families: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in rows("usual_variants.csv"):
        families[row["family"]][named[row["device"]]] = row["why"]
    return ReportedNames(
        names={name: tuple(devices) for name, devices in found.items()},
        usual=tuple(Variants(family=family, devices=devices) for family, devices in families.items()),
    )


ROUNDING = 5e-3  # by how much fits differ from one processor to another
IDENTITY = ("runtime", "precision", "name", "gpu", "source", "quantity")  # of a table among others, by what it has


def agree(one: object, other: object) -> bool:
    """Whether two tables say the same but for the last digits of fits."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(agree(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(agree, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= ROUNDING * max(abs(one), abs(other), 1e-6)
    return one == other


def settled(made: Any, there: Any) -> Any:
    """Return ``made``, with each table of it that says the same as one ``there`` but for last digits as it is there.

    Another processor changes last digits, and so none of them but of what was changed, or is new, is written again.
    """
    if agree(made, there):
        return there
    if isinstance(made, dict) and isinstance(there, dict):
        return {key: settled(value, there.get(key)) for key, value in made.items()}
    if isinstance(made, list) and isinstance(there, list):
        before = {identity(one): one for one in there}
        return [settled(one, before.get(identity(one))) for one in made]
    return made


def identity(table: Any) -> Any:
    """What tells a table from others of its list; a value is itself."""
    return tuple(table.get(key) for key in IDENTITY) if isinstance(table, dict) else repr(table)


def write(path: Path, text: str) -> None:
    """Write a profile, with all that differs from the one that is there in last digits alone as it is there."""
    there = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if (kept := settled(tomllib.loads(text), there)) != there:
        path.write_text(inert.toml_document(tomli_w.dumps(kept)), encoding="utf-8")


def devices() -> tuple[dict[str, HardwareProfile], dict[str, str]]:
    """Return all devices, uncalibrated, by name; and the name of the profile of every row that has one."""
    profiles: dict[str, HardwareProfile] = {}
    named: dict[str, str] = {}
    for row in (*rows("accelerators.csv"), *(defaultdict(str, more) for more in MORE_DEVICES)):
        if not (found := device(row)):
            print(f"left out, without bandwidth or a 16-bit peak: {row['name']}")
        else:
            bracket = name_of(row["name"].rpartition("(")[2].rstrip(")"))
            name = f"{found.name}-{bracket}" if found.name in profiles else found.name
            profiles[name], named[row["name"]] = replace(found, name=name), name
    return profiles, named


def main() -> None:
    """Write all profiles, or say in one line what the facts lack."""
    try:
        make()
    except InputError as error:
        raise SystemExit(str(error)) from None


def make() -> None:
    """Write all profiles. Raises InputError, before anything is fitted, where the facts lack something."""
    for runtime in Runtime:
        assumed(runtime)
    profiles, named = devices()
    points = published(bare_machines(profiles))
    print_errors(points)
    told = stacks(points)
    folder = PROFILES / "hardware"
    for old in folder.glob("*.toml"):
        if old.stem not in profiles:
            old.unlink()
    for name, profile in profiles.items():
        done = (
            profile
            if name not in MEASURED
            else replace(
                profile,
                calibration=tuple(
                    with_overhead(calibration(runtime, precision, name), told)
                    for runtime in Runtime
                    if runtime not in OWN_KERNELS
                    for precision in precisions(profile)
                ),
            )
        )
        write(folder / f"{name}.toml", to_toml(done))
    write(PROFILES / "device_names.toml", to_toml(reported_names(named)))
    write(PROFILES / "typical.toml", to_toml(typical(told)))
    kept = {"schema": "vlmplan.residuals/1", "kernels": [asdict(one) for one in fit_efficiency.residuals()],
            "requests": request_residuals(points)}  # fmt: skip
    write(PROFILES / "residuals.toml", tomli_w.dumps(kept))
    print(f"{len(profiles)} devices in {folder}")


if __name__ == "__main__":
    main()
