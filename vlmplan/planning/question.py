"""From what a user asks to a query that the search can answer: names become documents, defaults are filled in.

(options, workload, budget) -> Query. Raises InputError for unknown names and for combinations that cannot be answered.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from vlmplan.accuracy import Judge, ScalingLaw, by_law, by_scores, parse_task
from vlmplan.errors import InputError, NoCandidate, did_you_mean, nearest
from vlmplan.hardware import SERVING, Basis, HardwareProfile, Precision, Runtime
from vlmplan.inventory import Budget, catalogue
from vlmplan.models import (
    ModelSpec,
    Route,
    Rule,
    Workload,
    check_own,
    own_precision,
    refusal,
    refused_shape,
    runnable,
    with_what_works,
)
from vlmplan.planning.choice import Aim
from vlmplan.planning.left_out import NAMED, Barrier, barriers, check_globs
from vlmplan.planning.options import Asked
from vlmplan.planning.plan import Query
from vlmplan.planning.search import Space


def _precisions(
    text: str | None, models: Sequence[ModelSpec], hardware: HardwareProfile, runtime: Runtime
) -> tuple[tuple[Precision, ...], tuple[str, ...]]:
    """Read a comma list: those that the hardware runs, and a note on each that it does not.

    Without a list, the device's usual one, those that quantised checkpoints have, of exports those that were measured
    on the device, and those that the runtime's own files are published in. Raises InputError where the
    hardware runs none, or for a precision that is not the one of the only checkpoint.
    """
    if text is None:
        usual = [own_precision(model) or hardware.default_precision(runtime) for model in models]
        if SERVING[runtime].exported:  # which rounds any model: what was measured here is worth a choice
            usual += [
                one.precision for one in hardware.calibration if (one.runtime, one.basis) == (runtime, Basis.MEASURED)
            ]
        usual += SERVING[runtime].offered
        return tuple(dict.fromkeys(precision for precision in usual if precision is not None)), ()
    accepted, refused = [], []
    several = "," in text
    for item in text.split(","):
        if item.strip() not in list(Precision):
            hint = did_you_mean(item, Precision)
            raise InputError(f"--precision: found '{item}', expected a comma list of {', '.join(Precision)}{hint}")
        precision = Precision(item.strip())
        try:
            computed = hardware.compute_precision(precision, runtime)
            if several and precision is Precision.FP8 is not computed and own_precision(models[0]) is not precision:
                raise InputError(
                    f"{hardware.name} has no fp8 peak and multiplies such weights in {computed}; alone, --precision "
                    "fp8 prices that"
                )
        except InputError as error:
            refused.append(error)
        else:
            accepted.append(precision)
    if refused and not accepted:
        raise refused[0]
    if len(models) == 1 and own_precision(models[0]) not in accepted:
        check_own(models[0], accepted[0])
    return tuple(dict.fromkeys(accepted)), tuple(dict.fromkeys(f"of --precision {text}: {error}" for error in refused))


def _run_here(
    models: Sequence[ModelSpec], precisions: Sequence[Precision], hardware: HardwareProfile, runtime: Runtime
) -> tuple[tuple[ModelSpec, ...], tuple[str, ...]]:
    """The models that the runtime runs in one of the precisions, and a note on the others.

    Raises InputError, with the reason, when none is left.
    """
    kept = tuple(model for model in models if runnable(model, precisions, hardware, runtime))
    out = [model for model in models if model not in kept]
    if not out:
        return kept, ()
    why = next((why for p in precisions if (why := refusal(out[0], p, hardware, runtime))), None)
    if not kept and why:
        raise NoCandidate(f"no candidate left: {with_what_works(why, out[0], hardware, runtime)}")
    in_these = ", ".join(precisions)
    return kept, (
        f"that {runtime} does not run in {in_these} on {hardware.name}: {_some_names([m.name for m in out])}",
    )


def asked_task(given: str | ScalingLaw) -> str:
    """Return what to ask for a task by again; a law's name ends as its file's would, so that it is none of a task."""
    return given if isinstance(given, str) else f"{given.name}.toml"


def _law(text: str) -> str:
    """A law's file; the shipped one where no file of that name is here and one is shipped."""
    stem = text.removesuffix(".toml")
    shipped = stem in catalogue.names(catalogue.Shelf.LAWS)
    return stem if shipped and not os.path.exists(text) else text  # noqa: PTH110 - an impossible path does not exist


def _judge(asked: Asked, workload: Workload, law: ScalingLaw | None) -> Judge:
    """A law where the user brings one or candidates are to be trained, published scores otherwise."""
    evidence = catalogue.evidence()
    if law is not None or asked.task.endswith(".toml"):
        law = law or catalogue.law(_law(asked.task))
        return by_law({law.name: (law, 1.0)}, evidence, workload, stock=not asked.paper)
    shares = parse_task(asked.task)
    if not asked.paper:
        return by_scores(evidence, shares, workload, catalogue.own_scores, catalogue.evidence_digest())
    for name in shares:
        if name not in catalogue.names(catalogue.Shelf.LAWS):
            known = ", ".join(catalogue.names(catalogue.Shelf.LAWS))
            raise InputError(f"no law for task '{name}' with --candidates paper; expected {known} or a LAW.toml")
    return by_law({name: (catalogue.law(name), share) for name, share in shares.items()}, evidence, workload)


def _served_alike(model: ModelSpec, known: Sequence[ModelSpec]) -> ModelSpec:
    """A model read from its files, served as shipped models of its architecture are."""
    alike = (shipped.serving for shipped in known if shipped.architecture == model.architecture and shipped.serving)
    return model if model.serving or model in known else replace(model, serving=next(alike, {}))


def _candidates(asked: Asked, own: ModelSpec | None) -> tuple[list[ModelSpec], tuple[str, ...]]:
    """Where candidates come from, and the globs one of which names must match; ``own`` is what a path to one meant."""
    if asked.model is not None and asked.models is not None:
        raise InputError("--model and --models exclude each other; give one")
    known = catalogue.models()
    if own is not None:
        return [_served_alike(own, known)], ("*",)
    left = [m for m in known if m.image and (m.image.rule is Rule.COMPRESSED) == asked.paper]
    if asked.model is not None:
        model = catalogue.model(asked.model)
        if asked.paper and model.image is not None and model.image.rule is not Rule.COMPRESSED:
            raise InputError(
                f"--model {model.name}: found a finished checkpoint, expected a backbone to train with --candidates "
                f"paper ({', '.join(one.name for one in left[:3])} ...)"
            )
        return [_served_alike(model, known)], ("*",)
    if asked.models is not None and os.path.isdir(asked.models):  # noqa: PTH112 - a glob need not be a valid path
        return [_served_alike(catalogue.model(asked.models), known)], ("*",)
    return left, tuple(part.strip() for part in (asked.models or "*").casefold().split(",") if part.strip())


def _like(patterns: Sequence[str], models: Sequence[ModelSpec]) -> str:
    """The names most like globs that match none."""
    names = [model.name.rpartition("/")[2] for model in models]
    close = [nearest(pattern.strip("*?"), names) for pattern in patterns]
    return ", ".join(dict.fromkeys(name for name in close if name))


def _some_names(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _models(
    asked: Asked, workload: Workload, runtime: Runtime, judge: Judge, own: ModelSpec | None
) -> tuple[tuple[ModelSpec, ...], tuple[str, ...]]:
    """Return the models that may be chosen, and a note on each kind of model left out.

    Raises InputError when none is left.
    """
    left, patterns = _candidates(asked, own)
    check_globs(asked, left)
    everyone, notes = left, []
    for barrier in barriers(asked, patterns, workload, runtime, judge):
        why = barrier.why
        out = [model.name for model in left if not barrier.keeps(model)]
        left = [model for model in left if model.name not in out]
        shown = _some_names(out)
        if out and why != NAMED:
            notes.append(f"{why}: {shown}")
        if not left:
            like = _like(patterns, everyone) if why == NAMED else ""
            hint = f"nearest: {like}; " if like else ""
            raise NoCandidate(
                f"no candidate left: the last are left out, {why} ({shown}); {hint}'vlmplan catalogue models' lists "
                "what there is"
            )
    return tuple(left), tuple(notes)


def kept_out_by(
    asked: Asked, workload: Workload, runtime: Runtime, law: ScalingLaw | None, model: ModelSpec
) -> Barrier | None:
    """Return what keeps a model out of the question about all models, before it is priced; None where nothing does."""
    about_all = replace(asked, model=None)
    _, patterns = _candidates(about_all, None)
    judge = _judge(about_all, workload, law)
    return next((one for one in barriers(about_all, patterns, workload, runtime, judge) if not one.keeps(model)), None)


def _portable(asked: Asked) -> Asked:
    """The options without the folders of this machine: of a path from the root, the last name, still as a path."""

    def named(text: str | None) -> str | None:
        return f"./{PurePath(text).name}" if text is not None and PurePath(text).is_absolute() else text

    return replace(
        asked,
        hardware=named(asked.hardware) or asked.hardware,
        task=PurePath(asked.task).name if PurePath(asked.task).is_absolute() else asked.task,
        models=named(asked.models),
        model=named(asked.model),
    )


def query(
    asked: Asked,
    workload: Workload,
    budget: Budget,
    hardware: HardwareProfile | None = None,
    own: ModelSpec | None = None,
    law: ScalingLaw | None = None,
) -> Query:
    """Resolve the names in ``asked``; where given, ``hardware``, ``own`` (the one model) and ``law`` are what is meant.

    Raises InputError, naming what is unknown and what there is.
    """
    hardware = hardware or catalogue.hardware(asked.hardware)
    runtime = asked.runtime or hardware.default_runtime
    hardware.check_runtime(runtime)
    judge = _judge(asked, workload, law)
    models, left_out = _models(asked, workload, runtime, judge, own)
    precisions, not_run = _precisions(asked.precisions, models, hardware, runtime)
    models, refused = _run_here(models, precisions, hardware, runtime)
    unseen = [model.name for model in models if model.image and refused_shape(*workload.image, model.image)]
    width, height = workload.image
    shapes = [f"whose processor refuses an image of {width} x {height}: {_some_names(unseen)}"] if unseen else []
    space = Space(
        models=models,
        precisions=precisions,
        workload=workload,
        gpus=asked.gpus,
        confidence=asked.confidence,
        allow_untrained=asked.allow_untrained,
        paper_flops=asked.paper_flops,
        engine=None if asked.paper else SERVING[runtime].engine,
        route=Route.TRAIN if asked.paper else Route.EXPORT if SERVING[runtime].exported else Route.ENGINE,
    )
    return Query(
        hardware=hardware,
        typical=catalogue.typical(),
        runtime=runtime,
        budget=budget,
        space=space,
        judge=judge,
        aim=Aim(objective=asked.minimise, preference=asked.prefer),
        left_out=(*not_run, *left_out, *refused, *shapes),
        asked=_portable(asked),
    )
