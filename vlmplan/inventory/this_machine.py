"""What can this machine do? The device that was found -> a profile to plan with, and what was assumed on the way.

In order: a profile of one's own (``vlmplan profile``), the catalogue's by the name that the driver reports, what the
driver says of clocks and widths; of a processor, what it reaches in a moment. Each assumption is a line that names the
option which changes it. Memory is what was read, where it is not the catalogue's.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from vlmplan.errors import InputError, Unavailable
from vlmplan.hardware import (
    Device,
    DeviceRates,
    FoundMachine,
    HardwareProfile,
    Surroundings,
    cache_bytes,
    cuda_rates,
    machine_here,
    near,
    processor_rates,
)
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf
from vlmplan.inventory.own_profiles import keep, kept, own_profile
from vlmplan.units import format_bytes

_MEMORY_TOLERANCE = 0.1  # what two drivers, or a driver and a data sheet, differ by
_FREE_FRACTION = 0.9  # less is said
_FREE_OF_PROCESSOR_FRACTION = 0.75  # other programs always hold some


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This machine as a profile. ``gpus`` are alike; ``own`` is the file of a profile of one's own."""

    hardware: HardwareProfile
    gpus: int
    machine: FoundMachine
    own: Path | None = None
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def here(
    around: Surroundings | None = None,
    device: str | None = None,
    folder: Path | None = None,
    machine: FoundMachine | None = None,
) -> Here:
    """Find a profile for this machine. ``device`` is ``cpu``, or the number of a GPU (``1``, ``cuda:1``).

    ``folder`` is that of one's own profiles [the user's]; ``machine`` what was found, where it was asked already.
    Raises InputError where a GPU is found of which nothing tells how fast it is, Unavailable where the one asked for is
    not there.
    """
    asked = around or Surroundings()
    machine = machine or machine_here(asked)
    chosen = _chosen(machine, device)
    told = None if chosen is None else _of_gpu(asked, machine, chosen, folder)
    if told is None:
        told = _of_processor(asked, machine, folder)
        if chosen is not None:
            told = replace(told, assumed=(f"nothing tells how fast the GPU of {chosen.name} is", *told.assumed))
            chosen = None
    return replace(
        told,
        gpus=1 if chosen is None else _alike(machine, chosen),
        assumed=(*told.assumed, *_others(machine, chosen)),
        warnings=(*machine.notes, *told.warnings, *(_state(machine, chosen))),
    )


def _chosen(machine: FoundMachine, device: str | None) -> Device | None:
    """The device to plan for: the one asked for, else the GPU with most memory, and of several alike the freest.

    None for the processor.
    """
    if device == "cpu":
        return None
    if device is not None:
        number = re.fullmatch(r"(?:cuda:|gpu:)?(\d{1,3})", device)
        fitting = [one for one in machine.devices if number and one.index == int(number[1])]
        if not fitting:
            listed = ", ".join(f"{one.index}: {one.name}" for one in machine.devices) or "no GPU"
            raise Unavailable(f"device {device}: found {listed}; expected the number of a GPU, or cpu")
        return fitting[0]
    return max(
        machine.computing,
        key=lambda one: (one.memory_bytes or 0, not one.busy, one.free_bytes or 0, -one.index),
        default=None,
    )


def _alike(machine: FoundMachine, chosen: Device) -> int:
    """How many such GPUs there are; a process uses one MIG slice only."""
    return 1 if chosen.part else sum(one.name == chosen.name for one in machine.computing)


def _title(one: Device) -> str:
    """A device in a line, as its driver names it."""
    memory = f", {format_bytes(one.memory_bytes)}" if one.memory_bytes else ""
    driver = f", driver {one.driver}" if one.driver else ""
    return f"{one.name}{memory}{driver}, found by {one.by}"


def _of_gpu(around: Surroundings, machine: FoundMachine, chosen: Device, folder: Path | None) -> Here | None:
    """A GPU's profile; None where the processor is planned for in its place. Raises InputError."""
    if own := own_profile(chosen.name, True, folder):
        line = f"{_title(chosen)}: planned by your own profile {own[0]} (--hardware NAME for another)"
        return Here(hardware=own[1], gpus=1, machine=machine, own=own[0], assumed=(line,))
    if listed := _listed(chosen):
        profile, line = listed
        return Here(hardware=profile, gpus=1, machine=machine, assumed=(line,))
    if chosen.vendor == "NVIDIA" and (said := _asked_driver(around, machine, chosen)):
        profile = _described(chosen, said)
        line = (
            f"{_title(chosen)}: not in the catalogue, planned by what the driver says of its clocks and widths "
            "(--hardware NAME for another, 'vlmplan profile' measures it)"
        )
        return Here(hardware=profile, gpus=1, machine=machine, assumed=(line,))
    if chosen.kind == "soc":
        return None
    close = near(chosen.whole_name, catalogue.names(Shelf.HARDWARE))
    raise InputError(
        f"{_title(chosen)}: not in the catalogue, and nothing here tells its bandwidth and peaks; expected --hardware "
        f"with a device like it{f' (nearest: {close})' if close else ''}, or with a profile of your own (TOML, as "
        "'vlmplan catalogue hardware l4' prints one)"
    )


def _listed(chosen: Device) -> tuple[HardwareProfile, str] | None:
    """The catalogue's profile of a device, with the memory found, and a line about it; None where it has none."""
    names = catalogue.devices_named(chosen.whole_name)
    fitting = [(one, off) for one in names if (off := _off(catalogue.listed(one), chosen)) is not None]
    close = [one for one, off in fitting if off <= _MEMORY_TOLERANCE] or list(names)
    best = min((off for _, off in fitting), default=0.0)
    close = [one for one, off in fitting if off - best < _MEMORY_TOLERANCE / 5 and one in close] or close
    taken = catalogue.usual(close) if len(close) > 1 else None
    if not close or (len(close) > 1 and taken is None):
        return None
    profile = catalogue.listed(taken[0] if taken else close[0])
    why = f", {taken[1]}; it could be {', '.join(one for one in close if one != taken[0])}" if taken else ""
    profile, how = _as_found(profile, chosen)
    return profile, f"{_title(chosen)}: planned as {profile.name}{how}{why} (--hardware NAME for another)"


def _off(profile: HardwareProfile, chosen: Device) -> float | None:
    """By what share of it a profile's memory differs from the device's; None where either is not known."""
    if chosen.part or not chosen.memory_bytes or not profile.memory_bytes:
        return None
    return abs(chosen.memory_bytes / profile.memory_bytes - 1)


def _as_found(profile: HardwareProfile, chosen: Device) -> tuple[HardwareProfile, str]:
    """A profile with the memory and the cores that were found, and what that changes, in words."""
    if chosen.part:
        return _sliced(profile, chosen)
    how = ""
    whole = re.search(r"\((\d+)-core GPU\)", profile.title)
    if whole and chosen.cores and chosen.cores != int(whole[1]):
        share = chosen.cores / int(whole[1])
        profile = _scaled(profile, share, share, f"{profile.name}-{chosen.cores}-cores", chosen)
        how = f" with {chosen.cores} of {whole[1]} cores and as much less of its bandwidth"
    off = _off(profile, chosen)
    if off is not None and off > _MEMORY_TOLERANCE and chosen.memory_bytes:
        size = format_bytes(chosen.memory_bytes)
        name = f"{profile.name}-{round(chosen.memory_bytes / 2**30)}gib"
        profile = replace(profile, name=name, memory_bytes=chosen.memory_bytes)
        how += f"{' and' if how else ''} with {size} of memory"
        how += "" if chosen.kind == "soc" else ", its bandwidth taken for that of the other size"
    return profile, how


def _scaled(profile: HardwareProfile, memory: float, compute: float, name: str, chosen: Device) -> HardwareProfile:
    """A part of a device: shares of its bandwidth and of its peaks. What was calibrated on the whole is left out."""
    return replace(
        profile,
        name=name,
        title=f"{chosen.name}, a part of {profile.title}",
        bandwidth_bytes_per_s=profile.bandwidth_bytes_per_s * memory,
        peak_flops_per_s={kind: peak * compute for kind, peak in profile.peak_flops_per_s.items()},
        confidence="low",
        calibration=(),
    )


def _sliced(profile: HardwareProfile, chosen: Device) -> tuple[HardwareProfile, str]:
    """A MIG slice: an eighth of the peaks for each compute slice, of the bandwidth as many eighths as of the memory.

    A compute slice has 14 of an A100's 108 multiprocessors, although there are seven.
    """
    slices, gigabytes = chosen.part or (7, 0)
    whole = (profile.memory_bytes or gigabytes * 10**9) / 1e9
    eighths = min(max(round(8 * gigabytes / whole), 1), 8)
    slug = re.sub(r"[^a-z0-9+.]+", "-", chosen.name[len(chosen.whole_name) :].lower()).strip("-")
    part = _scaled(profile, eighths / 8, slices / 8, f"{profile.name}-{slug}", chosen)
    part = replace(part, memory_bytes=chosen.memory_bytes, interconnect=None, interconnect_bytes_per_s=None)
    return part, f": {slices}/8 of the peaks of {profile.name}, {eighths}/8 of its bandwidth"


def _asked_driver(around: Surroundings, machine: FoundMachine, chosen: Device) -> DeviceRates | None:
    """What the CUDA driver says of a GPU. It counts those that it shows; the memory tells that it is the same one."""
    shown = [one for one in machine.devices if one.vendor == "NVIDIA"]
    said = None if chosen.part else around.cuda(shown.index(chosen))
    if said is None:
        return None
    memory = said.get("memory_bytes")
    if memory and chosen.memory_bytes and abs(memory / chosen.memory_bytes - 1) > _MEMORY_TOLERANCE:
        return None
    return cuda_rates(chosen.name, said)


def _described(chosen: Device, rates: DeviceRates) -> HardwareProfile:
    return HardwareProfile(
        name=_slug(chosen.name),
        title=chosen.name,
        vendor=chosen.vendor,
        kind=chosen.kind,
        architecture=rates.architecture,
        memory_bytes=chosen.memory_bytes,
        bandwidth_bytes_per_s=rates.bandwidth_bytes_per_s,
        peak_flops_per_s=rates.peak_flops_per_s,
        confidence="low",
        sources=(rates.basis,),
    )


def _of_processor(around: Surroundings, machine: FoundMachine, folder: Path | None) -> Here:
    """The processor's profile: one's own, else what was measured in a moment, now or the last time."""
    processor = machine.processor
    title = f"{processor.name}, {processor.threads} thread{'' if processor.threads == 1 else 's'}"
    if own := own_profile(processor.name, False, folder):
        line = f"{title}: planned by your own profile {own[0]} (--hardware NAME for another)"
        return Here(hardware=own[1], gpus=1, machine=machine, own=own[0], assumed=(line,))
    earlier = kept(_slug(title), folder)
    said: tuple[str, ...] = ()
    if earlier is not None and earlier[1]:
        profile = earlier[0]
    else:
        profile, busy = _measured(machine, title), around.load() > processor.threads / 2
        profile = profile if earlier is None else _faster(profile, earlier[0])
        if not busy:
            keep(profile, folder)
        elif earlier is None:
            said = ("other programs ran while this processor was measured: plans for it are slower than it is",)
    line = (
        f"{title}, no GPU; {profile.bandwidth_bytes_per_s / 1e9:.0f} GB/s, "
        f"{max(profile.peak_flops_per_s.values()) / 1e9:.0f} GFLOP/s reached in a moment (--hardware NAME for another, "
        "'vlmplan profile --quick' measures it)"
    )
    profile = replace(profile, memory_bytes=machine.memory_bytes)
    return Here(hardware=profile, gpus=1, machine=machine, assumed=(line,), warnings=said)


def _faster(now: HardwareProfile, earlier: HardwareProfile) -> HardwareProfile:
    """The best of two readings: what a processor once reached it can; slower is what else ran."""
    peaks = {kind: max(peak, earlier.peak_flops_per_s.get(kind, 0.0)) for kind, peak in now.peak_flops_per_s.items()}
    bandwidth = max(now.bandwidth_bytes_per_s, earlier.bandwidth_bytes_per_s)
    return replace(now, bandwidth_bytes_per_s=bandwidth, peak_flops_per_s=peaks)


def _slug(title: str) -> str:
    """The name of a profile of what is here."""
    return "here-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _measured(machine: FoundMachine, title: str) -> HardwareProfile:
    rates = processor_rates(cache_bytes())
    return HardwareProfile(
        name=_slug(title),
        title=title,
        vendor=machine.processor.vendor,
        kind="cpu",
        architecture=rates.architecture,
        memory_bytes=machine.memory_bytes,
        bandwidth_bytes_per_s=rates.bandwidth_bytes_per_s,
        peak_flops_per_s=rates.peak_flops_per_s,
        confidence="low",
        sources=(rates.basis,),
    )


def _others(machine: FoundMachine, chosen: Device | None) -> tuple[str, ...]:
    """Lines about what else is here."""
    if chosen is None:
        return ()
    lines, alike = [], [one for one in machine.computing if one.name == chosen.name]
    if chosen.part and len(machine.computing) > 1:
        lines.append("a process uses one MIG slice (CUDA_VISIBLE_DEVICES chooses)")
    elif len(alike) > 1:
        taken = sum(bool(one.busy) for one in alike)
        busy = f", {taken} of them busy" if taken else ""
        lines.append(
            f"{len(alike)} such GPUs are here{busy}; planned for one, number {chosen.index} "
            f"(--gpus {len(alike)} for more)"
        )
    names = sorted({one.name for one in machine.computing} - {chosen.name})
    if names and not chosen.part:
        lines.append(f"also here: {', '.join(names)} (--hardware NAME)")
    return tuple(lines)


def _state(machine: FoundMachine, chosen: Device | None) -> tuple[str, ...]:
    """Warnings about what others use of it now."""
    name = machine.processor.name if chosen is None else chosen.name
    total = machine.memory_bytes if chosen is None else chosen.memory_bytes
    free = machine.free_bytes if chosen is None else chosen.free_bytes
    shared = chosen is None or chosen.kind == "soc"
    lines = []
    if chosen is not None and chosen.busy and chosen.load_fraction is not None:
        lines.append(f"{name} is busy ({chosen.load_fraction * 100:.0f} %): times will be longer while it is")
    if total and free is not None and free < total * (_FREE_OF_PROCESSOR_FRACTION if shared else _FREE_FRACTION):
        left = max(int(10 * free / 2**30) / 10, 0.1)
        lines.append(
            f"{name} has {format_bytes(free)} free of {format_bytes(total)}; --memory {left:g}GiB plans with that"
        )
    if machine.limited and shared and total:
        lines.append(f"the container limits memory to {format_bytes(total)}")
    return tuple(lines)
