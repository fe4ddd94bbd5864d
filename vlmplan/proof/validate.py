"""Is an export good? Files, graphs, weights, numbers, tokens, controls and latency, each by a check with a name.

(folder, options) -> :class:`Report`. The reference is the checkpoint itself, run by PyTorch.
"""

import math
import secrets
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmplan import __version__
from vlmplan.checkpoints import Reference, load_reference, local_folder, quiet_transformers
from vlmplan.errors import InputError, VlmplanError
from vlmplan.exporting import (
    FILE_NAME,
    GRAPHS,
    ExportOrder,
    Manifest,
    Model,
    OnnxModel,
    Parts,
    baked_question_ids,
    check_plan,
    open_parts,
    question_embedding,
    read_manifest,
    workload_prompt,
)
from vlmplan.hardware import HardwareProfile, Precision, versions_of
from vlmplan.measuring import Samples, recalibrated
from vlmplan.models import Compressor
from vlmplan.planning import Plan
from vlmplan.progress import Progress
from vlmplan.proof import files as check_files
from vlmplan.proof import folder as check_folder
from vlmplan.proof import latency as check_latency
from vlmplan.proof import numbers as check_numbers
from vlmplan.proof import trust
from vlmplan.proof.foreign import cargo as foreign_cargo
from vlmplan.proof.foreign import decoder as text_decoder
from vlmplan.proof.foreign import files as foreign_files
from vlmplan.proof.foreign import rounding as foreign_rounding
from vlmplan.proof.foreign import samples as foreign_samples
from vlmplan.proof.foreign import settings as foreign_settings
from vlmplan.proof.foreign import texts as foreign_texts
from vlmplan.proof.report import JUDGE, SAMPLES, Check, Outcome, Report, failed, passed, skipped, verdict, with_check

_WORST_TOKEN = 4  # times the mean divergence that a precision may have: what one token of a good decoder does
_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "torch", "transformers", "onnx", "onnx-ir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to validate. ``checkpoint`` None means the one the manifest names; ``plan`` None the one it holds.

    ``weights`` are the learned compressor's, where they are not with the checkpoint. ``visual_tokens``, ``compressor``,
    ``precision``, ``query`` and ``image`` (of tiles: whose tokens are meant, width and height in pixels) are what the
    export is expected to have; None takes the export's word.
    """

    checkpoint: str | None = None
    plan: Plan | None = None
    weights: Path | None = None
    visual_tokens: int | None = None
    compressor: Compressor | None = None
    precision: Precision | None = None
    query: str | None = None
    image: tuple[int, int] | None = None
    provider: str = "cpu"
    threads: int | None = None
    repeats: int = 5
    max_divergence_nats: float | None = None
    logit_tolerance: float | None = None
    budget_only: bool = False
    recalibrate: bool = False
    by_samples: bool = False

    def __post_init__(self) -> None:
        """Tolerances are above zero, and numbers; a checkpoint has a name."""
        if self.checkpoint == "":
            raise InputError("--checkpoint: found no name, expected a directory or a hub id")
        for option, value in (
            ("--max-divergence", self.max_divergence_nats),
            ("--logit-tolerance", self.logit_tolerance),
        ):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{option}: found {value:g}, expected a number above 0")

    @property
    def given(self) -> trust.Given:
        """What is vouched for by whoever validates."""
        return trust.Given(
            checkpoint=self.checkpoint, weights=self.weights, plan=self.plan,
            visual_tokens=self.visual_tokens, compressor=self.compressor, precision=self.precision, query=self.query,
            image=self.image,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validation found, and the times it measured (None where it came to none)."""

    report: Report
    plan: Plan | None
    timings: dict[str, Samples] | None

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
        if not changed:
            return found
        fault = failed("unchanged", f"{', '.join(changed[:3])} changed while the folder was read; validate it again")
        return Validation(report=with_check(found.report, fault), plan=found.plan, timings=None)

    def _validated(self, folder: Path) -> Validation:
        """Every check of what lies in a folder now."""
        if not folder.is_dir():
            raise InputError(f"{folder}: found no such folder; expected an export")
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
        query = None
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
            model = OnnxModel(folder, self.options.provider, self.options.threads)
            checks += self._run(model, reference, manifest, parts, query)
            if not _any_failed(checks):
                self.progress("timing", 0, 1)
                timings = self._timings(model, manifest, parts, plan)
                checks += check_latency.latency(
                    timings, plan, self.options.provider, self.options.budget_only, self._whose
                )
        if timings is None:
            checks.append(skipped("latency", "not measured: a check before it failed"))
        return Validation(report=self._report(folder, manifest.checkpoint, checks), plan=plan, timings=timings)

    def _run(
        self, model: OnnxModel, reference: Reference, manifest: Manifest, parts: Parts, query: Any | None
    ) -> list[Check]:
        """What running the graphs shows."""
        loaded = _loaded(model)
        if loaded.outcome is Outcome.FAILED:
            return [loaded]
        return [loaded, *self._guarded(lambda: self._numbers(model, reference, manifest, parts, query))]

    def _rejected(self, folder: Path, fault: Check) -> Validation:
        """Where the folder or the manifest itself is at fault, nothing else can be checked."""
        report = self._report(folder, self.options.checkpoint, [fault])
        return Validation(report=report, plan=self.options.plan, timings=None)

    def _numbers(
        self, model: OnnxModel, reference: Reference, manifest: Manifest, parts: Parts, query: Any | None
    ) -> Iterator[Check]:
        precision = manifest.precision
        followed = _Baked(reference, query) if query is not None else reference
        found = check_numbers.probes(manifest, parts.checkpoint, parts.tiles)
        self.progress("comparing numbers", 0, 1)
        yield check_numbers.vision(model, followed, manifest, found)
        walks = tuple(check_numbers.walk(model, followed, prompt) for prompt in found)
        limit = self.options.logit_tolerance or check_numbers.tolerance(manifest.base_precision)
        yield from self._judged(walks, precision, limit)
        scale = max(one.scale for one in walks)
        whole = precision in (Precision.FP32, Precision.FP16)
        yield from check_numbers.controls(model, followed, walks, limit * scale)
        yield check_numbers.padding(model if whole else model.unrounded(), walks, limit * scale)

    @staticmethod
    def _guarded(checks: Any) -> list[Check]:
        """Checks made until one cannot be: a graph that fails to run is a finding, not a traceback."""
        found: list[Check] = []
        try:
            for check in checks():
                found.append(check)  # those before the failure are kept
        except VlmplanError as error:
            found.append(failed("run", str(error)))
        return found

    def _timings(self, model: Model, manifest: Manifest, parts: Parts, plan: Plan | None) -> dict[str, Samples]:
        judged = plan is not None and check_latency.unjudged(plan, self.options.provider) is None
        workload = plan.workload if plan is not None and judged else check_latency.DEFAULT_WORKLOAD
        checkpoint, tiles = parts.checkpoint, parts.tiles
        views = 0 if tiles is None else tiles.views
        side = checkpoint.image_size if tiles is None or tiles.squares is None else tiles.squares.side
        sizes = (manifest.visual_tokens, side, checkpoint.image_token)
        prompt = workload_prompt(workload, *sizes, reads_question=manifest.reads_question, tiles=views)
        if tiles is not None:
            prompt = replace(prompt, pixel_values=tiles.as_read(prompt.pixel_values))
        if tiles is not None and (squares := tiles.squares) is not None:
            grid = squares.grid(workload.batch * workload.images)
            prompt = replace(prompt, grid=grid, merge=squares.merge)
        return check_latency.timings(model, prompt, workload.output_tokens, self.options.repeats)

    def _validate_text(self, folder: Path) -> Validation:
        """A text decoder that others exported, against its checkpoint."""
        path = text_decoder.decoder_file(folder)
        if self.options.checkpoint is None:
            raise InputError(f"{folder}: no {FILE_NAME} names its checkpoint; give --checkpoint")
        options = self.options
        of_ours = {"--plan": options.plan, "--visual-tokens": options.visual_tokens, "--weights": options.weights,
                   "--compressor": options.compressor, "--query": options.query,
                   "--image": options.image}  # fmt: skip
        if given := [name for name, value in of_ours.items() if value is not None]:
            raise InputError(f"{given[0]}: {folder} is a text decoder made by others, which has none; leave it out")
        quiet_transformers()
        reference = text_decoder.load_text_reference(self.options.checkpoint)
        try:
            found = foreign_rounding.with_precision(foreign_files.accused(path, folder), reference)
            foreign_cargo.check_cargo(found)
        except InputError as error:
            return self._rejected(folder, failed("integrity", str(error)))
        checks = self._guarded(lambda: foreign_files.files(found, reference))
        checks += self._guarded(
            lambda: [foreign_settings.configuration(found, reference, local_folder(reference.name))]
        )
        if self.options.precision not in (None, found.precision):
            checks.append(failed(JUDGE, f"--precision: expected {self.options.precision}, found {found.precision}"))
        timings = None
        if not _any_failed(checks):
            try:
                model = text_decoder.TextDecoder(
                    path, reference.model.config, options.provider, options.threads, counts=found.counts_padding
                )
            except InputError as error:
                return self._rejected(folder, failed("run", str(error)))
            checks.append(passed("provider", f"{self.options.provider} is in use"))
            shown = {check.name for check in checks}
            checks += self._guarded(lambda: self._text_numbers(found, model, reference, shown))
            if not _any_failed([check for check in checks if check.name != SAMPLES]):
                work = check_latency.DEFAULT_WORKLOAD
                prompt = workload_prompt(work, 0, 0, 1, reads_question=False)
                timings = check_latency.timings(model, prompt, work.output_tokens, self.options.repeats)
                checks += check_latency.latency(timings, None, self.options.provider)
        return Validation(report=self._report(folder, reference.name, checks), plan=None, timings=timings)

    def _text_numbers(
        self,
        found: foreign_files.Accused,
        model: text_decoder.TextDecoder,
        reference: text_decoder.TextReference,
        shown: Set[str],
    ) -> Iterator[Check]:
        """Samples that nobody could foresee, and every token once where the file's table does not show every row.

        ``shown`` are the names of the checks that its files allowed.
        """
        seed = secrets.randbits(32)
        self.progress("comparing samples", 0, 4)
        walks = foreign_samples.walks(model, reference, seed)
        tolerance = self.options.logit_tolerance or check_numbers.FP32_TOLERANCE
        yield from self._judged(walks, found.precision, tolerance)
        limit = foreign_samples.Limit(value=tolerance, cache=True)
        if found.precision is Precision.FP16:
            limit = foreign_samples.Limit(value=_WORST_TOKEN * self._most_divergence(found.precision), nats=True)
        elif found.precision is not Precision.FP32:
            by_token = foreign_rounding.rounds_by_token(found)
            held, allowed = foreign_rounding.rounding(walks, reference, by_token=by_token)
            yield held
            limit = foreign_samples.Limit(value=allowed)
        yield foreign_texts.texts(model, reference, limit, seed)
        yield self._batches(found, model, reference, limit, seed)
        self.progress("reading in pieces", 1, 4)
        yield foreign_samples.pieces(model, reference, limit, seed)
        self.progress("reading a long text", 2, 4)
        far, longest = foreign_samples.beyond(model, reference, limit, seed)
        yield far
        self.progress("running every token", 3, 4)
        whole = foreign_samples.is_cheap(reference) or "embeddings" not in shown
        swept, run = foreign_samples.vocabulary(model, reference, limit, seed, whole=whole)
        yield swept
        left = (
            foreign_settings.uncompared(found, local_folder(reference.name))
            + foreign_files.branches(found)
            + foreign_cargo.cargo(found)
            + foreign_samples.one_sided(model)
            + foreign_samples.unswept(reference, run)
        )
        yield foreign_samples.samples(longest, found.precision, seed, left, accepted=self.options.by_samples)

    @staticmethod
    def _batches(
        found: foreign_files.Accused,
        model: text_decoder.TextDecoder,
        reference: text_decoder.TextReference,
        limit: foreign_samples.Limit,
        seed: int,
    ) -> Check:
        """Batches against the checkpoint; where weights are rounded against the decoder itself, which is stricter."""
        config = reference.model.config
        if found.precision is not Precision.INT4 or not foreign_rounding.rounds_by_token(found):
            return foreign_samples.batches(model, reference, limit, config, seed)
        whole, base = model.unrounded(), found.base_precision
        held = foreign_samples.Limit(value=check_numbers.tolerance(base))
        return foreign_samples.batches(whole, whole, held, config, seed)

    def _most_divergence(self, precision: Precision) -> float:
        return self.options.max_divergence_nats or check_numbers.DIVERGENCE_LIMITS[precision]

    def _judged(self, walks: tuple[check_numbers.Walk, ...], precision: Precision, limit: float) -> Iterator[Check]:
        """fp32 by its logits and tokens, rounded weights by how far they are from fp32."""
        if precision is Precision.FP32:
            yield from check_numbers.logits_and_tokens(walks, limit)
        else:
            yield from check_numbers.divergence(walks, self._most_divergence(precision))

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


def _any_failed(checks: list[Check]) -> bool:
    return any(check.outcome is Outcome.FAILED for check in checks)


def _loaded(model: OnnxModel) -> Check:
    """ONNX Runtime loads every graph on the provider that was asked for."""
    try:
        for name in GRAPHS:
            model.session(name)
    except InputError as error:
        return failed("provider", str(error))
    return passed("provider", f"{model.provider} loads all graphs and is in use")
