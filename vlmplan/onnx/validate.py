"""Is an export good? Files, graphs, weights, numbers, tokens, controls and latency, each by a check with a name.

(folder, options) -> :class:`Report`. The reference is the checkpoint itself, run by PyTorch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vlmplan import __version__
from vlmplan.errors import InputError, VlmplanError
from vlmplan.hardware import HardwareProfile, Precision
from vlmplan.manifest import FILE_NAME, GRAPHS, Manifest, read_manifest
from vlmplan.measure import Samples
from vlmplan.onnx import check_files, check_latency, check_numbers, text_decoder
from vlmplan.onnx.checkpoint import open_checkpoint, quiet_transformers
from vlmplan.onnx.encoder import compression
from vlmplan.onnx.export import Order, Parts, Progress, baked_question_ids, open_parts
from vlmplan.onnx.reference import Reference, load_reference
from vlmplan.onnx.runner import Model, OnnxModel, Prompt, question_embedding
from vlmplan.plan import Plan
from vlmplan.recalibrate import recalibrated
from vlmplan.report import Check, Outcome, Report, failed, passed, skipped

_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "torch", "transformers", "onnx", "onnx-ir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to validate. ``checkpoint`` None means the one the manifest names; ``plan`` None the one it holds.

    ``weights`` are the learned compressor's, where they are no longer beside the checkpoint.
    """

    checkpoint: str | None = None
    plan: Plan | None = None
    weights: Path | None = None
    provider: str = "cpu"
    threads: int | None = None
    repeats: int = 5
    max_divergence_nats: float | None = None
    logit_tolerance: float | None = None
    budget_only: bool = False
    recalibrate: bool = False

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validation found, and the times it measured (None where it came to none)."""

    report: Report
    plan: Plan | None
    timings: dict[str, Samples] | None

    def recalibrated(self) -> HardwareProfile:
        """Return the plan's hardware, mended to predict what was measured. Raises InputError where that cannot be."""
        if self.plan is None or self.timings is None:
            raise InputError("--recalibrate: nothing was timed, because a check before it failed")
        return recalibrated(self.plan, self.timings["ttft"], self.timings.get("tpot"))


def order_of(manifest: Manifest, options: Options) -> Order:
    """Return the order that an export says it was made by, with the checkpoint and weights that options name."""
    return Order(
        checkpoint=options.checkpoint or manifest.checkpoint,
        visual_tokens=manifest.visual_tokens,
        compressor=manifest.compressor,
        precision=manifest.precision,
        base_precision=manifest.base_precision,
        weights=options.weights or (None if manifest.weights is None else Path(manifest.weights)),
        random_weights=manifest.random_weights,
        query=manifest.query,
        all_logits=manifest.all_logits,
        plan=manifest.plan,
    )


class Validator:
    """One export against one checkpoint. The reference is loaded once and serves any number of folders."""

    def __init__(self, options: Options, progress: Progress) -> None:
        """Nothing is loaded yet."""
        self.options, self.progress = options, progress
        self._reference: tuple[Order, Parts, Reference] | None = None

    def _opened(self, manifest: Manifest) -> tuple[Parts, Reference]:
        """Open what the manifest names, once. Raises InputError or Unavailable."""
        order = order_of(manifest, self.options)
        if self._reference is None or self._reference[0] != order:
            self.progress("loading the reference", 0, 1)
            parts = open_parts(order)
            self._reference = (order, parts, load_reference(parts.checkpoint, parts.compression, parts.compressor))
        return self._reference[1], self._reference[2]

    def _inconsistent(self, folder: Path, manifest: Manifest) -> str | None:
        """What is wrong with the manifest in itself, for its checkpoint; None where nothing is."""
        if (
            self.options.checkpoint is None
            and not Path(manifest.checkpoint).is_dir()
            and "/" not in manifest.checkpoint
        ):
            raise InputError(f"{folder}: its checkpoint '{manifest.checkpoint}' is not here; give --checkpoint")
        side = open_checkpoint(self.options.checkpoint or manifest.checkpoint).grid_side
        try:
            order_of(manifest, self.options)
            plan = compression(manifest.compressor, side, manifest.visual_tokens)
        except InputError as error:
            return f"{folder / FILE_NAME}: {error}"
        named = bool(manifest.random_weights or manifest.weights_sha256 or manifest.weights)
        if plan.learned is not named:
            has = "is learned, and no weights are named" if plan.learned else "is not learned, and weights are named"
            return f"{folder / FILE_NAME}: compressor {manifest.compressor} {has}"
        return None

    def validate(self, folder: Path) -> Validation:
        """Run every check. Raises InputError or Unavailable only for what no check can be made without."""
        if not folder.is_dir():
            raise InputError(f"{folder}: found no such folder; expected an export")
        if not (folder / FILE_NAME).is_file():
            return self._validate_text(folder)
        try:
            manifest = read_manifest(folder)
        except InputError as error:
            return self._rejected(folder, str(error))
        wrong = self._inconsistent(folder, manifest)
        if wrong is not None:
            return self._rejected(folder, wrong)
        plan = self.options.plan or manifest.plan
        if self.options.recalibrate and (reason := check_latency.unjudged(plan, self.options.provider)):
            raise InputError(f"--recalibrate: {reason}")
        checks = [check_files.integrity(folder, manifest)]
        parts, reference = self._opened(manifest)
        query = None
        if manifest.query is not None:
            query = question_embedding(reference, baked_question_ids(parts.checkpoint.folder, manifest.query))
        due_files = check_files.due_texts(manifest, parts)
        checks.append(check_files.promises(manifest, parts, due_files))
        checks.append(check_files.configuration(folder, due_files))
        checks += check_files.graphs(folder, manifest, parts, query, self.progress)
        model = OnnxModel(folder, self.options.provider, self.options.threads)
        loaded = _loaded(model)
        checks.append(loaded)
        timings = None
        if plan is not None:
            checks.append(check_latency.plan_matches(plan, manifest))
        if loaded.outcome is Outcome.PASSED:
            checks += self._guarded(lambda: self._numbers(model, reference, manifest, parts, query))
        if not any(check.outcome is Outcome.FAILED for check in checks):
            self.progress("timing", 0, 1)
            timings = self._timings(model, manifest, parts, plan)
            checks += check_latency.latency(timings, plan, self.options.provider, self.options.budget_only)
        else:
            checks.append(skipped("latency", "not measured: a check before it failed"))
        return Validation(report=self._report(folder, manifest.checkpoint, checks), plan=plan, timings=timings)

    def _rejected(self, folder: Path, wrong: str) -> Validation:
        """Where the manifest itself is at fault, nothing else can be checked."""
        report = self._report(folder, self.options.checkpoint, [failed("manifest", wrong)])
        return Validation(report=report, plan=self.options.plan, timings=None)

    def _numbers(
        self, model: OnnxModel, reference: Reference, manifest: Manifest, parts: Parts, query: Any | None
    ) -> Iterator[Check]:
        precision = manifest.precision
        followed = _Baked(reference, query) if query is not None else reference
        found = check_numbers.probes(manifest, parts.checkpoint.config)
        self.progress("comparing numbers", 0, 1)
        yield check_numbers.vision(model, followed, manifest, found)
        walks = tuple(check_numbers.walk(model, followed, prompt) for prompt in found)
        limit = self.options.logit_tolerance or check_numbers.tolerance(manifest.base_precision)
        yield from self._judged(walks, precision, limit)
        scale = max(one.scale for one in walks)
        yield from check_numbers.controls(model, walks, limit * scale)
        whole = precision in (Precision.FP32, Precision.FP16)
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
        config = parts.checkpoint.config
        size, token = config.vision_config.image_size, config.image_token_index
        prompt = check_latency.workload_prompt(workload, manifest.visual_tokens, size, token, manifest.reads_question)
        return check_latency.timings(model, prompt, workload.output_tokens, self.options.repeats)

    def _validate_text(self, folder: Path) -> Validation:
        """A text decoder that others exported, against its checkpoint."""
        path = text_decoder.decoder_file(folder)
        if self.options.checkpoint is None:
            raise InputError(f"{folder}: no {FILE_NAME} names its checkpoint; give --checkpoint")
        quiet_transformers()
        reference = text_decoder.load_text_reference(self.options.checkpoint)
        config = reference.model.config
        model = text_decoder.TextDecoder(path, config, self.options.provider, self.options.threads)
        checks = [passed("provider", f"{self.options.provider} is in use")]
        checks += self._guarded(lambda: self._text_numbers(model, reference, path))
        timings = None
        if not any(check.outcome is Outcome.FAILED for check in checks):
            work = check_latency.DEFAULT_WORKLOAD
            prompt = check_latency.workload_prompt(work, 0, 0, 1, reads_question=False)
            timings = check_latency.timings(model, prompt, work.output_tokens, self.options.repeats)
            checks += check_latency.latency(timings, None, self.options.provider)
        report = self._report(folder, self.options.checkpoint, checks)
        return Validation(report=report, plan=None, timings=timings)

    def _text_numbers(self, model: Model, reference: Any, path: Path) -> Iterator[Check]:
        import numpy as np

        rng = np.random.default_rng(0)
        vocabulary = reference.model.config.vocab_size
        walks = []
        for tokens in (5, 40, 90):
            ids = rng.integers(0, vocabulary, (1, tokens))
            prompt = Prompt(input_ids=ids, attention_mask=np.ones_like(ids), pixel_values=None)
            walks.append(check_numbers.walk(model, reference, prompt))
        limit = self.options.logit_tolerance or check_numbers.FP32_TOLERANCE
        yield from self._judged(tuple(walks), text_decoder.precision_of(path), limit)

    def _judged(self, walks: tuple[check_numbers.Walk, ...], precision: Precision, limit: float) -> Iterator[Check]:
        """fp32 by its logits and tokens, rounded weights by how far they are from fp32."""
        if precision is Precision.FP32:
            yield from check_numbers.logits_and_tokens(walks, limit)
        else:
            most = self.options.max_divergence_nats or check_numbers.DIVERGENCE_LIMITS[precision]
            yield from check_numbers.divergence(walks, most)

    def _report(self, folder: Path, checkpoint: str | None, checks: list[Check]) -> Report:
        return Report(
            export=folder.name or str(folder),
            checkpoint=self.options.checkpoint or checkpoint,
            provider=self.options.provider,
            threads=self.options.threads,
            versions={"vlmplan": __version__, **_versions()},
            passed=all(check.outcome is not Outcome.FAILED for check in checks),
            checks=tuple(checks),
        )


class _Baked:
    """The reference with one question for all images."""

    def __init__(self, reference: Reference, query: Any) -> None:
        self.embeds, self.step, self._reference, self._query = reference.embeds, reference.step, reference, query

    def image_features(self, pixel_values: Any, query: Any | None = None) -> Any:  # noqa: ARG002 - the baked one is used
        """Features as the reference makes them of the baked question."""
        import numpy as np

        repeated = np.repeat(self._query, len(pixel_values), axis=0)
        return self._reference.image_features(pixel_values, repeated)


def _loaded(model: OnnxModel) -> Check:
    """ONNX Runtime loads every graph on the provider that was asked for."""
    try:
        for name in GRAPHS:
            model.session(name)
    except InputError as error:
        return failed("provider", str(error))
    return passed("provider", f"{model.provider} loads all graphs and is in use")


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
