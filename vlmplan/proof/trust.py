"""On whose word is an export judged? The checkpoint, the plan and the options given are trusted; the folder is accused.

(manifest, what was given) -> the order that the export has to be of, and a check that says what only the export vouches
for. What a checkpoint that vlmplan trained allows is what ``export`` allows: its own compressor, at its own counts.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmplan import __version__
from vlmplan.checkpoints import (
    Checkpoint,
    compression_of,
    open_checkpoint,
    own_weights,
    parameter_shapes,
    read_compressor,
    weights_file,
)
from vlmplan.document import plain
from vlmplan.errors import InputError, printable
from vlmplan.exporting import (
    LIBRARIES,
    ClientLayout,
    ExportOrder,
    Manifest,
    check_plan,
    check_runs,
    compressed,
    file_sha256,
    planned_base,
)
from vlmplan.hardware import Precision
from vlmplan.models import Compressor
from vlmplan.planning import Plan
from vlmplan.proof.report import JUDGE, Check, Outcome, failed, passed, skipped
from vlmplan.units import format_image

_LONGEST_QUESTION = 300  # characters
_LONGEST_NAME = 1024  # characters of a path or hub id: more could hold anything
_SHOWN = 80  # characters of a path in a verdict: its end tells more
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the person who validates vouches for; None where nothing was given."""

    checkpoint: str | None = None
    weights: Path | None = None
    plan: Plan | None = None
    visual_tokens: int | None = None
    compressor: Compressor | None = None
    precision: Precision | None = None
    query: str | None = None
    image: tuple[int, int] | None = None

    def names(self, checkpoint: str) -> bool:
        """Whether a checkpoint is vouched for: it was given, or it is the model of the plan given."""
        return self.checkpoint is not None or (self.plan is not None and self.plan.choice.model == checkpoint)


def trusted_checkpoint(manifest: Manifest, given: Given) -> Checkpoint:
    """Open the checkpoint given, or the one that the export names. Raises InputError or Unavailable."""
    name = given.checkpoint or manifest.checkpoint
    if given.checkpoint is None and not Path(name).is_dir() and "/" not in name:
        raise InputError(f"its checkpoint '{printable(name)}' is not here; give --checkpoint")
    return open_checkpoint(name)


def _has_weights(given: Given, checkpoint: Checkpoint) -> bool:
    """Whether a compressor's weights come from outside the export: given, or with the checkpoint."""
    return checkpoint.trained is not None or weights_file(checkpoint, given.weights) is not None


def order_of(manifest: Manifest, given: Given, checkpoint: Checkpoint) -> ExportOrder:
    """Return the order that the export has to be of. Raises InputError for one that cannot be.

    The manifest says what was asked for (tokens, compressor, precision); it names a compressor's weights only where
    nothing outside has them.
    """
    vouched = _has_weights(given, checkpoint)
    named = None if vouched or manifest.weights is None else Path(manifest.weights)
    return ExportOrder(
        checkpoint=given.checkpoint or manifest.checkpoint,
        visual_tokens=manifest.visual_tokens,
        compressor=manifest.compressor,
        precision=manifest.precision,
        base_precision=manifest.base_precision,
        weights=given.weights or named,
        random_weights=manifest.random_weights and not vouched,
        query=manifest.query,
        all_logits=manifest.all_logits,
        image=manifest.image,
        layout=manifest.layout,
        plan=given.plan if given.plan is not None and manifest.plan is not None else manifest.plan,
    )


def contradiction(manifest: Manifest, given: Given, checkpoint: Checkpoint) -> str | None:
    """What in the manifest no export of this checkpoint could say; None where nothing is."""
    try:
        compressed(checkpoint, manifest.visual_tokens, manifest.compressor, manifest.image)
        if manifest.layout is ClientLayout.GENAI:
            check_runs(checkpoint.config.model_type)
        order = order_of(manifest, given, checkpoint)
        plan = compression_of(checkpoint, manifest.compressor, manifest.visual_tokens)
        check_plan(manifest.plan, checkpoint)
    except InputError as error:
        return str(error)
    named = bool(manifest.random_weights or manifest.weights_sha256 or manifest.weights)
    if plan.learned is not named:
        has = "is learned, and no weights are named" if plan.learned else "is not learned, and weights are named"
        return f"compressor {manifest.compressor} {has}"
    if given.weights is not None and not plan.learned:
        return f"compressor {manifest.compressor} has no weights of its own, and --weights was given"
    if order.weights is not None and given.weights is None and not order.weights.is_file():
        return f"the compressor's weights {printable(str(order.weights))} are not here; give --weights FILE"
    return None


def claims(manifest: Manifest, order: ExportOrder) -> Iterator[str]:
    """Faults of what the manifest says without being asked: versions, a compressor's file, a plan."""
    if manifest.weights is not None and order.weights is None:
        yield (
            f"weights: found {manifest.weights}, expected none, or a file of the same tensors: the checkpoint brings "
            "its compressor"
        )
    for key in ("checkpoint", "weights"):
        text = getattr(manifest, key)
        if text is not None and len(text) > _LONGEST_NAME:
            yield f"{key}: expected at most {_LONGEST_NAME} characters, found {len(text)}; export again"
    yield from _versions(manifest)
    if plain(manifest.plan) != plain(order.plan):
        where, want, found = _parting(plain(order.plan), plain(manifest.plan), "plan")
        yield f"{where}: the plan given says {want}, the one in the manifest {found}; export again from the plan given"


def _versions(manifest: Manifest) -> Iterator[str]:
    """What cannot be true of the versions named; all else about them is the export's own word."""
    from packaging.version import InvalidVersion, Version

    said = {"vlmplan_version": manifest.vlmplan_version} | {f"versions.{k}": v for k, v in manifest.versions.items()}
    if (found := set(manifest.versions)) != set(LIBRARIES):
        odd = sorted(found ^ set(LIBRARIES))
        yield f"versions: expected those of {', '.join(LIBRARIES)}; {', '.join(odd[:3])} is missing or does not belong"
    for key, text in said.items():
        library = key.removeprefix("versions.")
        try:
            version = Version(text) if _VERSION.fullmatch(text) else None
        except InvalidVersion:
            version = None
        if version is None:
            yield f"{key}: expected a version, found {text[:40]}"
        elif key == "vlmplan_version" and version > Version(__version__):
            yield f"{key}: {text} is newer than this vlmplan, {__version__}, which cannot judge what it writes"
        elif (needed := _needed(library)) and not any(one.contains(version, prereleases=True) for one in needed):
            yield f"{key}: vlmplan does not run with {text}; it needs {' or '.join(sorted(set(map(str, needed))))}"


def _needed(library: str) -> list[Any]:
    """The versions of a library that vlmplan asks for, as its own package says; none where it does not."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        lines = requires("vlmplan") or []
    except PackageNotFoundError:  # a checkout that was never installed
        return []
    asked = map(Requirement, lines)
    return [one.specifier for one in asked if one.name.replace("-", "_") == library and len(one.specifier)]


def same_weights(manifest: Manifest, order: ExportOrder, checkpoint: Checkpoint) -> Path | None:
    """The compressor's file that a manifest names beside a checkpoint that brings its own, where both hold the same.

    So an export with ``--weights`` of what was taken out of the checkpoint is one of the checkpoint.
    """
    if manifest.weights is None or order.weights is not None or not _has_weights(Given(), checkpoint):
        return None
    path, plan = Path(manifest.weights), compression_of(checkpoint, order.compressor, order.visual_tokens)
    try:
        needed = parameter_shapes(checkpoint, plan)
        own, theirs = own_weights(checkpoint, plan), read_compressor(path, needed)
        same = own is not None and all(own.array(one).tobytes() == theirs.array(one).tobytes() for one in needed)
    except (InputError, OSError):
        return None
    return path if same else None


def _parting(want: Any, found: Any, where: str) -> tuple[str, str, str]:
    """Where two plain documents part first, and what each says there."""
    if isinstance(want, dict) and isinstance(found, dict):
        for key in sorted(set(want) | set(found)):
            if want.get(key) != found.get(key):
                return _parting(want.get(key), found.get(key), f"{where}.{key}")
    if isinstance(want, list) and isinstance(found, list) and len(want) == len(found):
        for number, (one, other) in enumerate(zip(want, found, strict=True)):
            if one != other:
                return _parting(one, other, f"{where}[{number}]")
    return where, str(want)[:60], str(found)[:60]


def _unlike(manifest: Manifest, given: Given) -> Iterator[str]:
    """Where the export is not what was expected of it."""
    for option, want, found in (
        ("--visual-tokens", given.visual_tokens, manifest.visual_tokens),
        ("--compressor", given.compressor, manifest.compressor),
        ("--precision", given.precision, manifest.precision),
        ("--query", given.query, manifest.query),
        ("--image", given.image and format_image(given.image), manifest.image and format_image(manifest.image)),
    ):
        if want not in (None, found):
            yield f"{option}: expected {want}, the export has {found}"


def _unvouched(given: Given, order: ExportOrder) -> Iterator[str]:
    """What changes every answer, and only the export says."""
    if order.query is not None and given.query is None:
        yield f"which question is baked into it, {_quoted(order.query)}; give --query"
    if given.plan is not None and order.floats not in (order.precision, planned_base(given.plan)):
        yield f"that what is not quantised is in {order.floats}; the plan means {planned_base(given.plan)}"


def _quoted(text: str) -> str:
    """A question in quotes, whole unless it is very long, and then visibly cut."""
    return f"'{text}'" if len(text) <= _LONGEST_QUESTION else f"'{text[:_LONGEST_QUESTION]}' and so on"


def _other_names(manifest: Manifest, given: Given) -> Iterator[tuple[str, bool]]:
    """Where the export calls what was given by another name, and whether a file of that name is here and another."""
    if given.checkpoint is not None and manifest.checkpoint != given.checkpoint:
        yield f"it calls its checkpoint {manifest.checkpoint[:60]}", False
    if given.weights is None or manifest.weights is None:
        return
    named, other = Path(manifest.weights), False
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have, or a file that nobody may read
        if named.suffix == given.weights.suffix and named.is_file():
            other = file_sha256(named) != file_sha256(given.weights)
    if other or os.path.realpath(named) != os.path.realpath(given.weights):
        end = manifest.weights if len(manifest.weights) <= _SHOWN else f"...{manifest.weights[-_SHOWN:]}"
        yield f"it calls its compressor's weights {end}{', another file' if other else ''}", other


def judge(manifest: Manifest, given: Given, order: ExportOrder) -> Check:
    """Say who named what, and where the export calls it otherwise; a file that is another is not passed over."""
    found, others = _judged(manifest, given, order), [*_other_names(manifest, given)]
    detail = printable("; ".join([found.detail, *(what for what, _ in others)]))
    if found.outcome is Outcome.PASSED and any(another for _, another in others):
        return skipped(JUDGE, detail)
    return replace(found, detail=detail)


def _judged(manifest: Manifest, given: Given, order: ExportOrder) -> Check:
    """Say who named what: passed where all that decides came from outside, skipped where the export named its judge.

    A compressor's file that only the export names fails beside a checkpoint that was given: it could be any file.
    """
    if unlike := list(_unlike(manifest, given)):
        return failed(JUDGE, "; ".join(unlike))
    if not given.names(manifest.checkpoint):
        also = "" if order.weights is None or given.weights else f" and its compressor's weights, {order.weights}"
        return skipped(
            JUDGE,
            f"the export itself names what it is compared with, {order.checkpoint}{also}: a forger would name his own; "
            "give --checkpoint",
        )
    if order.weights is not None and given.weights is None:
        return failed(JUDGE, f"only the export says that its compressor's weights are {order.weights}; give --weights")
    if order.random_weights:
        return skipped(
            JUDGE,
            "only the export says that its compressor is random, as for a trial; where it was trained, give --weights",
        )
    if given.plan is None and manifest.plan is not None:
        return skipped(
            JUDGE, "only the export says which plan it was made by, and within which budget it is judged; give --plan"
        )
    if unvouched := list(_unvouched(given, order)):
        return skipped(JUDGE, f"only the export says {'; and '.join(unvouched)}")
    whose = "the checkpoint" if given.plan is None else "the checkpoint and the plan"
    against = "the plan given and its model" if given.checkpoint is None else f"{whose} given"
    known, own = _asked(given, order)
    what = f", and as expected: {known}" if known else ""
    what += f"; asked for, by the export's own word: {own}" if own else ""
    return passed(JUDGE, f"against {against}{what}")


def _size(image: tuple[int, int] | None) -> str:
    """Of which image a number of tokens is; nothing where every image makes as many."""
    return "" if image is None else f" of an image of {format_image(image)}"


def _asked(given: Given, order: ExportOrder) -> tuple[str, str]:
    """What was asked for, as the options and the plan given say, and as only the export does."""
    plan = given.plan
    facts = [
        (f"{order.visual_tokens} visual tokens", plan is not None or given.visual_tokens is not None),
        (_size(order.image), plan is not None or given.image is not None),
        (f" by {order.compressor}", plan is not None or given.compressor is not None),
        (f", {order.precision}", plan is not None or given.precision is not None),
    ]
    if order.floats is not order.precision:
        facts.append((f" over {order.floats}", plan is not None and planned_base(plan) is order.floats))
    if order.all_logits:
        facts.append((", logits of every position", False))
    if order.layout is not ClientLayout.TRANSFORMERS_JS:
        facts.append((f", laid out for {order.layout}", False))
    if order.query is not None:
        facts.append((f", for the question {_quoted(order.query)}", given.query is not None))
    known, own = ("".join(what for what, vouched in facts if vouched is side).strip(", ") for side in (True, False))
    return known, own
