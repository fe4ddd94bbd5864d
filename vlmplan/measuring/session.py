"""What can this machine do? Trials measured, and a profile from them; requests measured, and the profile checked.

(order) -> a measurements file, then a profile whose calibrations are fitted on it (``profile_fit.py``). All trials
are gone through several times: a shared machine's speed changes from minute to minute, and that is part of the
interval.
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vlmplan.document import check_destination
from vlmplan.errors import InputError, Unavailable, mistyped
from vlmplan.hardware import SERVING, WEIGHT_ONLY, HardwareProfile, Precision, Setup, probe
from vlmplan.measuring.check_profile import Verdict, cases, measure_cases, verdict
from vlmplan.measuring.images import TITLE, image_makers
from vlmplan.measuring.profile_fit import Profiled, profile
from vlmplan.measuring.rig import Rig, rig, runner_of
from vlmplan.measuring.timing import Runner, Store, fill
from vlmplan.measuring.trials import Effort, Trial, sweep
from vlmplan.progress import Progress

PASSES = {Effort.QUICK: 2, Effort.DEFAULT: 3}
REPEATS = 3
KEPT_MEMORY_BYTES = 20 * 2**30  # with so much memory all networks stay loaded from pass to pass
_SCRATCH = "vlmplan-profile-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder for graphs; what killed runs left behind is removed first. Raises Unavailable for a full disk."""
    for old in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        owner = old.name.removeprefix(_SCRATCH).split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as folder:
            yield Path(folder)
    except OSError as error:
        raise Unavailable(
            f"{tempfile.gettempdir()}: graphs to measure cannot be written ({error.strerror or error}); free some "
            "space or set TMPDIR"
        ) from None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def run_trials(rig: Rig, trials: Sequence[Trial], store: Store, passes: int, tell: Progress) -> None:
    """Measure what the store does not have yet: every group once a pass, its trials interleaved."""
    keep = (store.setup.memory_bytes or 0) >= KEPT_MEMORY_BYTES
    groups: dict[str, dict[str, Callable[[], Runner]]] = {}
    for trial in trials:
        make = functools.partial(_runner, rig, trial)
        groups.setdefault(trial.group, {})[trial.name] = make
    fill(store, groups, passes, REPEATS, tell, (lambda: None) if keep else rig.release)
    rig.release()


def _runner(rig: Rig, trial: Trial) -> Runner:
    return runner_of(rig.model(trial.network), trial)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOrder:
    """What to measure, and where to: ``out`` is the profile; measurements go beside it."""

    setup: Setup
    effort: Effort
    precisions: tuple[Precision, ...]
    out: Path
    fresh: bool = False

    def beside(self, what: str) -> Path:
        """Return the file beside the profile that holds ``what``."""
        return self.out.with_suffix(f".{what}.jsonl")


def precisions_of(setup: Setup) -> tuple[Precision, ...]:
    """Return what a runtime can be measured at here, the base precision first."""
    exported = SERVING[setup.runtime].exported
    return (setup.base_precision, *(one for one in exported if one in WEIGHT_ONLY))


def precisions_asked(text: str | None, known: Sequence[Precision], effort: Effort) -> tuple[Precision, ...]:
    """Return a comma list of precisions, all ``known`` to the runtime; without one all, or the first for a quick look.

    Raises InputError.
    """
    if text is None:
        return tuple(known[:1] if effort is Effort.QUICK else known)
    names = [part.strip() for part in text.split(",")]
    wrong = [name for name in names if name not in known]
    if wrong or len(set(names)) < len(names):
        raise mistyped("--precision", text, f"a list of {', '.join(known)}", 60)
    precisions = [Precision(name) for name in names]
    if precisions[0] is not known[0]:
        raise InputError(f"--precision: the first is {precisions[0]}; expected {known[0]}, which the others build on")
    return tuple(precisions)


def profile_here(order: ProfileOrder, tell: Progress) -> Profiled:
    """Measure what is not measured yet, and fit. Raises InputError or Unavailable; what was measured stays."""
    path = order.beside("measurements")
    check_destination(order.out)
    check_destination(path)
    anew = order.fresh or not path.exists()
    setup = order.setup
    if anew:
        tell("probing", 0, 1)
        peaks, bandwidth = probe(setup)
        setup = replace(setup, peak_flops_per_s=peaks, bandwidth_bytes_per_s=bandwidth)
    store = Store(path, setup, anew)
    trials = sweep(order.effort, order.precisions, setup.base_precision, setup.cache_bytes)
    with scratch_folder() as scratch:
        machine_here = rig(setup, scratch)
        run_trials(machine_here, trials, store, PASSES[order.effort], tell)
        fill(store, {TITLE: image_makers()}, PASSES[order.effort], REPEATS, tell, machine_here.release)
    return profile(store.setup, trials, store, order.out)


def check_here(order: ProfileOrder, hardware: HardwareProfile, tell: Progress) -> Verdict:
    """Measure requests that the profile never saw, and hold its predictions against them."""
    path = order.beside("check")
    check_destination(path)
    store = Store(path, order.setup, order.fresh or not path.exists())
    asked = cases(order.setup.base_precision, order.setup.cache_bytes)
    with scratch_folder() as scratch:
        measure_cases(rig(order.setup, scratch), asked, store, tell)
    return verdict(hardware, asked, store)
