"""Is a text decoder that others exported its checkpoint's? Its files and settings, then what it computes, by samples.

(folder, options) -> checks, and the times it took. The reference is the checkpoint as a causal LM, run by PyTorch.
"""

import secrets
from collections.abc import Iterator, Set
from pathlib import Path

from vlmplan.checkpoints import local_folder, quiet_transformers
from vlmplan.errors import InputError, printable
from vlmplan.exporting import FILE_NAME, Allowance, workload_prompt
from vlmplan.hardware import Precision
from vlmplan.measuring import Samples
from vlmplan.progress import Progress
from vlmplan.proof import latency as check_latency
from vlmplan.proof import numbers as check_numbers
from vlmplan.proof.folder import contents
from vlmplan.proof.foreign import cargo, files, rounding, samples, settings
from vlmplan.proof.foreign import texts as written_texts
from vlmplan.proof.foreign.decoder import TextDecoder, TextReference, decoder_file, load_text_reference
from vlmplan.proof.options import Options
from vlmplan.proof.report import JUDGE, SAMPLES, Check, any_failed, failed, guarded, passed

_WORST_TOKEN = 4  # times the mean divergence that a precision may have: what one token of a good decoder does
_TOO_LARGE = "is larger than twice all of the checkpoint in fp32"
_MOST_BESIDE_BYTES = 2**28  # tokenizer and settings of any checkpoint take less
Found = tuple[list[Check], dict[str, Samples] | None]


def validate(
    folder: Path, options: Options, progress: Progress
) -> tuple[list[Check], dict[str, Samples] | None, dict[str, str]]:
    """Every check of a decoder in its folder, its times where all passed, and the SHA-256 of the files that were read.

    Raises InputError or Unavailable only for what no check can be made without.
    """
    path = decoder_file(folder)
    reference = _reference(folder, options)
    held = contents(folder, 2 * _float_bytes(reference) + _MOST_BESIDE_BYTES)  # tied matrices may stand twice
    if str(path.relative_to(folder)) not in held:
        return [failed("integrity", f"{path.name} {_TOO_LARGE}")], None, held
    checks, timings = _checked(path, reference, options, progress, folder, held.keys())
    return checks, timings, held


def _float_bytes(reference: TextReference) -> int:
    """Bytes of the checkpoint in fp32."""
    return 4 * sum(int(one.numel()) for one in reference.model.state_dict().values())


def _checked(
    path: Path, reference: TextReference, options: Options, progress: Progress, folder: Path, held: Set[str]
) -> Found:
    """Every check of a decoder's graph, and its times where all passed; ``held`` are files of a size that is read."""
    try:
        accused = rounding.with_precision(files.accused(path, folder), reference)
        cargo.check_cargo(accused, options.timeout_s)
        for location, _ in cargo.data_files(accused):
            if str((path.parent / location).relative_to(folder)) not in held:
                raise InputError(f"{printable(location)} {_TOO_LARGE}")
    except InputError as error:
        return [failed("integrity", str(error))], None
    checks = guarded(lambda: files.files(accused, reference))
    checks += guarded(lambda: rounding.rows(accused, reference))
    checks += guarded(lambda: [settings.configuration(accused, reference, local_folder(reference.name))])
    if options.precision not in (None, accused.precision):
        checks.append(failed(JUDGE, f"--precision: expected {options.precision}, found {accused.precision}"))
    if any_failed(checks):
        return checks, None
    allowance = Allowance(options.timeout_s)
    try:
        model = TextDecoder(
            path, reference.model.config, options.provider, options.threads,
            allowance=allowance, counts=accused.counts_padding,
        )  # fmt: skip
    except InputError as error:
        return [failed("run", str(error))], None
    checks.append(passed("provider", f"{options.provider} is in use"))
    compared = _Compared(accused, model, reference, options, progress)
    shown = {check.name for check in checks}
    checks += guarded(lambda: compared.checks(shown))
    if any_failed([check for check in checks if check.name != SAMPLES]):
        return checks, None
    allowance.grant(options.repeats)
    timed, timings = _timed(model, options)
    return [*checks, *timed], timings


def _reference(folder: Path, options: Options) -> TextReference:
    """The checkpoint that options name. Raises InputError or Unavailable."""
    if options.checkpoint is None:
        raise InputError(f"{folder}: no {FILE_NAME} names its checkpoint; give --checkpoint")
    of_ours = {"--plan": options.plan, "--visual-tokens": options.visual_tokens, "--weights": options.weights,
               "--compressor": options.compressor, "--query": options.query, "--image": options.image}  # fmt: skip
    if given := [name for name, value in of_ours.items() if value is not None]:
        raise InputError(f"{given[0]}: {folder} is a text decoder made by others, which has none; leave it out")
    quiet_transformers()
    return load_text_reference(options.checkpoint)


def _timed(model: TextDecoder, options: Options) -> Found:
    """How long the usual request takes; a decoder that cannot answer it is at fault."""
    work = check_latency.DEFAULT_WORKLOAD
    prompt = workload_prompt(work, 0, 0, 1, reads_question=False)
    try:
        timings = check_latency.timings(model, prompt, work.output_tokens, options.repeats)
    except InputError as error:
        return [failed("latency", str(error))], None
    return [*check_latency.latency(timings, None, options.provider)], timings


class _Compared:
    """A decoder beside its checkpoint: samples that nobody could foresee."""

    def __init__(
        self, accused: files.Accused, model: TextDecoder, reference: TextReference, options: Options, progress: Progress
    ) -> None:
        self.accused, self.model, self.reference = accused, model, reference
        self.options, self.progress = options, progress
        self.seed = secrets.randbits(32)

    def checks(self, shown: Set[str]) -> Iterator[Check]:
        """Samples, and every token once where the file's table does not show every row.

        ``shown`` are the names of the checks that its files allowed.
        """
        model, reference, seed = self.model, self.reference, self.seed
        self.progress("comparing samples", 0, 4)
        walks = samples.walks(model, reference, seed)
        tolerance = self.options.logit_tolerance or check_numbers.FP32_TOLERANCE
        yield from check_numbers.judged(walks, self.accused.precision, tolerance, self.options.divergence_limit_nats)
        limit = samples.Limit(value=tolerance, cache=True)
        if self.accused.precision is Precision.FP16:
            nats = _WORST_TOKEN * self.options.divergence_limit_nats(self.accused.precision)
            limit = samples.Limit(value=nats, nats=True)
        elif self.accused.precision is not Precision.FP32:
            by_token = rounding.rounds_by_token(self.accused)
            held, allowed = rounding.rounding(walks, reference, by_token=by_token)
            yield held
            limit = samples.Limit(value=allowed)
        yield written_texts.texts(model, reference, limit, seed)
        yield self._batches(limit)
        self.progress("reading in pieces", 1, 4)
        yield samples.pieces(model, reference, limit, seed)
        self.progress("reading a long text", 2, 4)
        far, longest = samples.beyond(model, reference, limit, seed)
        yield far
        self.progress("running every token", 3, 4)
        whole = samples.is_cheap(reference) or "embeddings" not in shown
        swept, run = samples.vocabulary(model, reference, limit, seed, whole=whole)
        yield swept
        left = ("" if rounding.HEAD in shown else "its head's rows were not compared; ") + self._left(run)
        yield samples.samples(longest, self.accused.precision, seed, left, accepted=self.options.by_samples)

    def _left(self, run: int) -> str:
        """What the verdict says that was left out; ``run`` is how many tokens were run."""
        return (
            settings.uncompared(self.accused, local_folder(self.reference.name))
            + files.branches(self.accused)
            + cargo.cargo(self.accused)
            + samples.one_sided(self.model)
            + samples.unswept(self.reference, run)
        )

    def _batches(self, limit: samples.Limit) -> Check:
        """Batches against the checkpoint; where weights are rounded against the decoder itself, which is stricter."""
        model, reference, config = self.model, self.reference, self.reference.model.config
        if self.accused.precision is not Precision.INT4 or not rounding.rounds_by_token(self.accused):
            return samples.batches(model, reference, limit, config, self.seed)
        whole = model.unrounded()
        held = samples.Limit(value=check_numbers.tolerance(self.accused.base_precision))
        return samples.batches(whole, whole, held, config, self.seed)
