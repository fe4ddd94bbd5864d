"""Is an export good? Files, graphs, weights, numbers, tokens, controls and latency, each by a check with a name.

(folder, options) -> :class:`Report`. The reference is the checkpoint itself, run by PyTorch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlmplan import __version__
from vlmplan.checkpoints import Reference, load_reference
from vlmplan.errors import InputError
from vlmplan.exporting import (
    FILE_NAME,
    GRAPHS,
    Allowance,
    ExportOrder,
    Manifest,
    Model,
    OnnxModel,
    OutOfTime,
    Parts,
    Pictures,
    baked_question_ids,
    check_plan,
    file_sha256,
    open_parts,
    question_embedding,
    read_manifest,
    shaped_prompt,
    workload_prompt,
)
from vlmplan.hardware import HardwareProfile, Precision, versions_of
from vlmplan.measuring import Samples, recalibrated
from vlmplan.planning import Plan
from vlmplan.progress import Progress
from vlmplan.proof import files as check_files
from vlmplan.proof import folder as check_folder
from vlmplan.proof import latency as check_latency
from vlmplan.proof import numbers as check_numbers
from vlmplan.proof import selection as check_selection
from vlmplan.proof import trust
from vlmplan.proof.clients import genai as check_client
from vlmplan.proof.foreign import validate as foreign_validate
from vlmplan.proof.options import Options
from vlmplan.proof.report import (
    Check,
    Outcome,
    Report,
    any_failed,
    failed,
    guarded,
    passed,
    skipped,
    verdict,
    with_check,
)

_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "torch", "transformers", "onnx", "onnx-ir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validation found, and the times it measured (None where it came to none).

    ``held`` are the SHA-256 of the files it was found of, by name.
    """

    report: Report
    plan: Plan | None
    timings: dict[str, Samples] | None
    held: Mapping[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows: the report."""
        return self.report._repr_html_()

    def recalibrated(self) -> HardwareProfile:
        """Return the plan's hardware, mended to predict what was measured. Raises InputError where that cannot be."""
        if self.plan is None or self.timings is None:
            raise InputError("--recalibrate: nothing was timed, because a check before it failed")
        return recalibrated(self.plan, self.timings["ttft"], self.timings.get("tpot"))


def trusted_order(manifest: Manifest, options: Options) -> ExportOrder:
    """Return the order that an export has to be of, by what options name. Raises InputError or Unavailable."""
    given = options.given
    return trust.order_of(manifest, given, trust.trusted_checkpoint(manifest, given))


class Validator:
    """One export against one checkpoint. The reference is loaded once and serves any number of folders."""

    def __init__(self, options: Options, progress: Progress) -> None:
        """Nothing is loaded yet."""
        self.options, self.progress = options, progress
        self._reference: tuple[ExportOrder, Parts, Reference] | None = None

    def _opened(self, order: ExportOrder) -> tuple[Parts, Reference]:
        """Open what an order names, once. Raises InputError or Unavailable."""
        if self._reference is None or self._reference[0] != order:
            self.progress("loading the reference", 0, 1)
            parts = open_parts(order)
            self._reference = (order, parts, load_reference(parts.checkpoint, parts.compression, parts.compressor))
        return self._reference[1], self._reference[2]

    @property
    def _whose(self) -> str:
        """On whose word a plan stands."""
        return check_latency.OWN if self.options.plan is None else check_latency.GIVEN

    def validate(self, folder: Path) -> Validation:
        """Run every check. Raises InputError or Unavailable only for what no check can be made without.

        Files are read more than once, by several libraries: what changes meanwhile was not checked whole.
        """
        before = check_folder.stamp(folder)
        found = self._validated(folder)
        after = check_folder.stamp(folder)
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        if not changed and found.report.passed:
            changed = check_folder.rewritten(folder, found.held)
        if not changed:
            return found
        return Validation(
            report=with_check(found.report, check_folder.unchanged(changed)), plan=found.plan, timings=None
        )

    def _validated(self, folder: Path) -> Validation:
        """Every check of what lies in a folder now."""
        if not folder.is_dir():
            found = "a file" if folder.exists() else "no such folder"
            raise InputError(f"{folder}: found {found}; expected an export, the folder that 'vlmplan export' wrote")
        if astray := check_folder.astray(folder):
            return self._rejected(folder, verdict("integrity", astray, ""))
        if not (folder / FILE_NAME).is_file():
            return self._validate_text(folder)
        try:
            manifest = read_manifest(folder)
        except InputError as error:
            return self._rejected(folder, failed("manifest", str(error)))
        try:
            checkpoint = trust.trusted_checkpoint(manifest, self.options.given)
        except InputError as error:
            raise InputError(f"{folder}: {error}") from None
        if self.options.plan is not None:
            check_plan(self.options.plan, checkpoint)
        if wrong := trust.contradiction(manifest, self.options.given, checkpoint):
            return self._rejected(folder, failed("manifest", f"{folder / FILE_NAME}: {wrong}"))
        if self.options.recalibrate and (
            reason := check_latency.unjudged(self.options.plan or manifest.plan, self.options.provider)
        ):
            raise InputError(f"--recalibrate: {reason}")
        return self._proved(folder, manifest, trust.order_of(manifest, self.options.given, checkpoint))

    def _proved(self, folder: Path, manifest: Manifest, order: ExportOrder) -> Validation:
        """Every check of an export whose manifest can be true."""
        parts, reference = self._opened(order)
        query, own = None, file_sha256(folder / FILE_NAME)
        if manifest.query is not None:
            query = question_embedding(reference, baked_question_ids(parts.checkpoint.folder, manifest.query))
        checks = [*check_files.files(folder, manifest, parts, query, self.progress)]
        checks.append(trust.judge(manifest, self.options.given, order))
        plan = self.options.plan or manifest.plan
        if plan is not None:
            checks.append(check_latency.plan_matches(plan, manifest, self._whose))
        timings = None
        if any(check.outcome is Outcome.FAILED and check.name in check_files.BEFORE_RUNNING for check in checks):
            checks.append(skipped("run", "not run: its graphs are not those of the checkpoint"))
        else:
            allowance = Allowance(self.options.timeout_s)
            model = OnnxModel(folder, self.options.provider, self.options.threads, allowance=allowance)
            checks += self._run(model, reference, manifest, parts, query)
            if parts.merges and not any_failed(checks):
                checks.append(self._client(folder, model, reference, parts))
            if not any_failed(checks):
                self.progress("timing", 0, 1)
                allowance.grant(self.options.repeats)
                try:
                    timings = self._timings(model, manifest, parts, plan)
                    checks += check_latency.latency(
                        timings, plan, self.options.provider, self.options.budget_only, self._whose
                    )
                except OutOfTime as error:
                    checks.append(failed("latency", str(error)))
        if timings is None and checks[-1].name != "latency":
            checks.append(skipped("latency", "not measured: a check before it failed"))
        held = {FILE_NAME: own} | {name: digest.sha256 for name, digest in manifest.files.items()}
        return Validation(
            report=self._report(folder, manifest.checkpoint, checks), plan=plan, timings=timings, held=held
        )

    def _run(
        self, model: OnnxModel, reference: Reference, manifest: Manifest, parts: Parts, query: Any | None
    ) -> list[Check]:
        """What running the graphs shows."""
        loaded = _loaded(model)
        if loaded.outcome is Outcome.FAILED:
            return [loaded]
        return [loaded, *guarded(lambda: self._numbers(model, reference, manifest, parts, query))]

    def _client(self, folder: Path, model: OnnxModel, reference: Reference, parts: Parts) -> Check:
        """What the client does that the export is laid out for: in fp32 as PyTorch, else as our own loop."""
        self.progress("running it in its client", 0, 1)
        exact = parts.order.precision is Precision.FP32
        rounded = parts.order.precision in (Precision.INT8, Precision.INT4)
        limit = self.options.logit_tolerance or (
            check_client.ROUNDED_LIMIT if rounded else check_numbers.tolerance(parts.order.floats)
        )
        return check_client.client(folder, parts, reference if exact else model, limit, self.options.timeout_s)

    def _rejected(self, folder: Path, fault: Check) -> Validation:
        """Where the folder or the manifest itself is at fault, nothing else can be checked."""
        report = self._report(folder, self.options.checkpoint, [fault])
        return Validation(report=report, plan=self.options.plan, timings=None)

    def _numbers(
        self, model: OnnxModel, reference: Reference, manifest: Manifest, parts: Parts, query: Any | None
    ) -> Iterator[Check]:
        precision = manifest.precision
        followed: Model = _Baked(reference, query) if query is not None else reference
        found = check_numbers.probes(manifest, parts.checkpoint, parts.tiles)
        self.progress("comparing numbers", 0, 1)
        if manifest.compressor.selects:
            yield check_selection.selection(model, reference, found)
            followed = check_selection.Following(reference, model)
        yield check_numbers.vision(model, followed, manifest, found)
        walks = tuple(check_numbers.walk(model, followed, prompt) for prompt in found)
        limit = self.options.logit_tolerance or check_numbers.tolerance(manifest.base_precision)
        yield from check_numbers.judged(walks, precision, limit, self.options.divergence_limit_nats)
        scale = max(one.scale for one in walks)
        whole = precision in (Precision.FP32, Precision.FP16)
        yield from check_numbers.controls(model, followed, walks, limit * scale)
        unrounded = model if whole else model.unrounded()
        yield check_numbers.padding(unrounded, walks, limit * scale, parts.checkpoint.text)
        if parts.merges:
            yield check_client.merging(model, found)

    def _timings(self, model: Model, manifest: Manifest, parts: Parts, plan: Plan | None) -> dict[str, Samples]:
        judged = plan is not None and check_latency.unjudged(plan, self.options.provider) is None
        workload = plan.workload if plan is not None and judged else check_latency.DEFAULT_WORKLOAD
        checkpoint, tiles = parts.checkpoint, parts.tiles
        if tiles is not None and tiles.shapes is not None:
            prompt = shaped_prompt(workload, tiles.shapes, checkpoint.image_token)
            return check_latency.timings(model, prompt, workload.output_tokens, self.options.repeats)
        views = 0 if tiles is None else tiles.views
        side = checkpoint.image_size if tiles is None or tiles.squares is None else tiles.squares.side
        sizes = (manifest.visual_tokens, side, checkpoint.image_token)
        prompt = workload_prompt(workload, *sizes, reads_question=manifest.reads_question, tiles=views)
        grid = None
        if tiles is not None and (squares := tiles.squares) is not None:
            grid = squares.grid(workload.batch * workload.images)
            prompt = replace(prompt, grid=grid, merge=squares.merge)
            if isinstance(squares, Pictures):
                ids = squares.ended(prompt.input_ids, workload.images, checkpoint.image_token)
                prompt = replace(prompt, input_ids=ids)
        if tiles is not None:
            prompt = replace(prompt, pixel_values=tiles.as_read(prompt.pixel_values, grid))
        return check_latency.timings(model, prompt, workload.output_tokens, self.options.repeats)

    def _validate_text(self, folder: Path) -> Validation:
        """A text decoder that others exported, against its checkpoint."""
        checks, timings, held = foreign_validate.validate(folder, self.options, self.progress)
        report = self._report(folder, self.options.checkpoint, checks)
        return Validation(report=report, plan=None, timings=timings, held=held)

    def _report(self, folder: Path, checkpoint: str | None, checks: list[Check]) -> Report:
        return Report(
            export=folder.name or str(folder),
            checkpoint=self.options.checkpoint or checkpoint,
            provider=self.options.provider,
            threads=self.options.threads,
            versions={"vlmplan": __version__, **versions_of(_LIBRARIES)},
            passed=all(check.outcome is not Outcome.FAILED for check in checks),
            checks=tuple(checks),
        )


class _Baked:
    """The reference with one question for all images."""

    def __init__(self, reference: Reference, query: Any) -> None:
        self.embeds, self.step, self._reference, self._query = reference.embeds, reference.step, reference, query

    def image_features(
        self,
        pixel_values: Any,
        query: Any | None = None,  # noqa: ARG002
        mask: Any | None = None,
        grid: Any | None = None,
    ) -> Any:
        """Features as the reference makes them of the baked question, whatever is asked."""
        import numpy as np

        repeated = np.repeat(self._query, len(pixel_values), axis=0)
        return self._reference.image_features(pixel_values, repeated, mask, grid)


def _loaded(model: OnnxModel) -> Check:
    """ONNX Runtime loads every graph on the provider that was asked for."""
    try:
        for name in GRAPHS:
            model.session(name)
    except InputError as error:
        return failed("provider", str(error))
    return passed("provider", f"{model.provider} loads all graphs and is in use")
