"""The whole chain on this machine, with nothing downloaded: measure, plan, export, prove.

(folder, threads) -> :class:`Shown`. The checkpoint is small and random, so its answers mean nothing; the times, the
numbers and the files are real. What was measured stays in the folder and is not measured again.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from vlmplan.checkpoints import SmallModel, write_checkpoint
from vlmplan.cost import cost, machine, request_of
from vlmplan.document import load, to_json, to_toml, write_text
from vlmplan.errors import InputError, Unavailable
from vlmplan.exporting import ExportChoices, Manifest, export, export_order
from vlmplan.hardware import HardwareProfile, Precision, Runtime, setup
from vlmplan.inventory import Budget, Shelf, catalogue
from vlmplan.measuring import Effort, ProfileOrder, precisions_of, profile_here
from vlmplan.models import Compressor
from vlmplan.planning import Asked, Plan, query, recommend
from vlmplan.progress import Progress
from vlmplan.proof.latency import DEFAULT_WORKLOAD
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator

MACHINE, CHECKPOINT, PLAN, EXPORT, REPORT = "machine.toml", "checkpoint", "plan.json", "export", "report.json"
# As wide as what --quick measures, so that no prediction is a guess; few layers, so that it is soon made.
_MODEL = SmallModel(
    text={"hidden_size": 896, "intermediate_size": 2432, "num_hidden_layers": 4, "num_attention_heads": 14},
    vision={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 2, "num_attention_heads": 16},
)
_SHARE = 0.75  # of the way from what one visual token costs to what all do, by ratios: the plan has to compress
_TASK = "reasoning"
_CONFIDENCE = 0.9
_TIMINGS = 3  # at most: a machine that something else keeps busy for a moment is timed again


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What came of it: the machine, the plan, the export and the proof, all written to ``folder``."""

    folder: Path
    hardware: HardwareProfile
    plan: Plan
    export: Manifest
    report: Report

    @property
    def exported(self) -> Path:
        """Where the export lies."""
        return self.folder / EXPORT


def _check(folder: Path) -> None:
    """Raise InputError for a folder that holds anything but an earlier demo."""
    if not folder.exists():
        return
    used = folder.is_dir() and any(folder.iterdir())
    if not folder.is_dir() or (used and not (folder / MACHINE).with_suffix(".measurements.jsonl").is_file()):
        raise InputError(f"--out: {folder} exists and holds no earlier demo; choose another folder")


def _measured(folder: Path, threads: int | None, tell: Progress) -> HardwareProfile:
    here = setup("cpu", Runtime.ONNXRUNTIME, threads)
    asked = ProfileOrder(setup=here, effort=Effort.QUICK, precisions=precisions_of(here)[:1], out=folder / MACHINE)
    try:
        hardware = profile_here(asked, tell).hardware
    except InputError:  # an earlier demo measured other threads, another machine or version: its times are of no use
        hardware = profile_here(replace(asked, fresh=True), tell).hardware
    write_text(folder / MACHINE, to_toml(hardware))
    return load(HardwareProfile, folder / MACHINE)


def budget_of(hardware: HardwareProfile, checkpoint: Path) -> Budget:
    """A latency between what one visual token needs and what all do, as limits are held to."""
    spec = catalogue.model(str(checkpoint))
    ready = machine(hardware, catalogue.typical(), Runtime.ONNXRUNTIME, Precision.FP32)

    def upper_s(tokens: int, compressor: Compressor) -> float:
        request = request_of(spec, DEFAULT_WORKLOAD, tokens, Precision.FP32, compressor)
        priced = cost(request, ready)
        return priced.latency_spread.upper(priced.latency_s, _CONFIDENCE)

    least_s = upper_s(1, Compressor.AVERAGE_POOL)
    most_s = upper_s(spec.image.tokens_per_view if spec.image else 1, Compressor.NONE)
    return Budget(latency_s=least_s ** (1 - _SHARE) * most_s**_SHARE)


def plan_in(folder: Path, hardware: HardwareProfile) -> Plan:
    """Plan for the checkpoint in ``folder``, and write the plan there."""
    checkpoint = folder / CHECKPOINT
    asked = Asked(
        hardware=str(folder / MACHINE),
        runtime=Runtime.ONNXRUNTIME,
        task=str(catalogue.find(Shelf.LAWS, _TASK)),
        models=str(checkpoint),
        allow_untrained=True,
        confidence=_CONFIDENCE,
    )
    plan = recommend(query(asked, DEFAULT_WORKLOAD, budget_of(hardware, checkpoint), hardware))
    write_text(folder / PLAN, to_json(plan))
    return plan


def demo(folder: Path, threads: int | None, tell: Progress) -> Shown:
    """Run the chain in ``folder``. Raises InputError, Unavailable, or Infeasible where no plan keeps the budget."""
    _check(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"--out: {folder} cannot be made ({error.strerror}); choose another folder") from None
    hardware = _measured(folder, threads, tell)
    tell("making a checkpoint", 0, 1)
    write_checkpoint(_MODEL, folder / CHECKPOINT)
    plan = plan_in(folder, hardware)
    manifest = export(
        export_order(ExportChoices(checkpoint=str(folder / CHECKPOINT)), plan), folder / EXPORT, tell, overwrite=True
    )
    options = Options(
        checkpoint=str(folder / CHECKPOINT),
        plan=plan,
        threads=threads or hardware.calibration[0].threads,
        budget_only=True,
    )
    validator = Validator(options, tell)
    for _ in range(_TIMINGS):
        report = validator.validate(folder / EXPORT).report
        if not report.failed or any(not check.name.startswith("latency") for check in report.failed):
            break
    write_text(folder / REPORT, to_json(report))
    return Shown(folder=folder, hardware=hardware, plan=plan, export=manifest, report=report)
