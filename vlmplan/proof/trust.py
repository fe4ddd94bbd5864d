"""On whose word is an export judged? The checkpoint, the plan and the options given are trusted; the folder is accused.

(manifest, what was given) -> the order that the export has to be of, and a check that says what only the export vouches
for. What a checkpoint that vlmplan trained allows is what ``export`` allows: its own compressor, at its own counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.document import plain
from vlmplan.errors import InputError, printable
from vlmplan.exporting import (
    LIBRARIES,
    Checkpoint,
    Manifest,
    Order,
    check_plan,
    compressed,
    compression,
    open_checkpoint,
    weights_file,
)
from vlmplan.hardware import Precision
from vlmplan.models import Compressor
from vlmplan.planning import Plan
from vlmplan.proof.report import JUDGE, Check, failed, passed, skipped

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!_-]{0,60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the person who validates vouches for; None where nothing was given."""

    checkpoint: str | None = None
    weights: Path | None = None
    plan: Plan | None = None
    visual_tokens: int | None = None
    compressor: Compressor | None = None
    precision: Precision | None = None

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


def order_of(manifest: Manifest, given: Given, checkpoint: Checkpoint) -> Order:
    """Return the order that the export has to be of. Raises InputError for one that cannot be.

    The manifest says what was asked for (tokens, compressor, precision); it names a compressor's weights only where
    nothing outside has them.
    """
    vouched = _has_weights(given, checkpoint)
    named = None if vouched or manifest.weights is None else Path(manifest.weights)
    return Order(
        checkpoint=given.checkpoint or manifest.checkpoint,
        visual_tokens=manifest.visual_tokens,
        compressor=manifest.compressor,
        precision=manifest.precision,
        base_precision=manifest.base_precision,
        weights=given.weights or named,
        random_weights=manifest.random_weights and not vouched,
        query=manifest.query,
        all_logits=manifest.all_logits,
        plan=given.plan if given.plan is not None and manifest.plan is not None else manifest.plan,
    )


def contradiction(manifest: Manifest, given: Given, checkpoint: Checkpoint) -> str | None:
    """What in the manifest no export of this checkpoint could say; None where nothing is."""
    try:
        compressed(checkpoint, manifest.visual_tokens, manifest.compressor)
        order = order_of(manifest, given, checkpoint)
        plan = compression(manifest.compressor, checkpoint.grid_side, manifest.visual_tokens)
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


def claims(manifest: Manifest, order: Order) -> Iterator[str]:
    """Faults of what the manifest says without being asked: versions, a compressor's file, a plan."""
    if manifest.weights is not None and order.weights is None:
        yield f"weights: found {manifest.weights}, expected none: the checkpoint brings its compressor"
    said = {"vlmplan_version": manifest.vlmplan_version} | dict(manifest.versions)
    yield from (
        f"versions.{key}: expected a version of one of {', '.join(LIBRARIES)}, found {value[:40]}"
        for key, value in said.items()
        if not _VERSION.fullmatch(value) or key not in {"vlmplan_version", *LIBRARIES}
    )
    if plain(manifest.plan) != plain(order.plan):
        where, want, found = _parting(plain(order.plan), plain(manifest.plan), "plan")
        yield f"{where}: the plan given says {want}, the one in the manifest {found}; export again from the plan given"


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
    ):
        if want not in (None, found):
            yield f"{option}: expected {want}, the export has {found}"


def judge(manifest: Manifest, given: Given, order: Order) -> Check:
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
    what = f"{order.visual_tokens} visual tokens by {order.compressor}, {order.precision}"
    what += "" if order.floats is order.precision else f" over {order.floats}"
    what += "" if order.query is None else f", for the question '{order.query[:60]}'"
    if given.plan is not None:
        whose = "the plan given and its model" if given.checkpoint is None else "the checkpoint and the plan given"
        return passed(JUDGE, f"against {whose}: {what}")
    if manifest.plan is not None:
        return skipped(
            JUDGE, "only the export says which plan it was made by, and within which budget it is judged; give --plan"
        )
    known = (given.visual_tokens, given.compressor, given.precision)
    if None not in known and order.query is None:
        return passed(JUDGE, f"against the checkpoint given, and as expected: {what}")
    return passed(JUDGE, f"against the checkpoint given; asked for, by the export's own word: {what}")
