"""From what a user asks to a query that the search can answer: names become documents, defaults are filled in.

(options, workload, budget) -> Query. Raises InputError for unknown names and for combinations that cannot be answered.
"""

from dataclasses import dataclass

from vlmplan import catalogue
from vlmplan.errors import InputError
from vlmplan.hardware import HardwareProfile, Precision, Runtime
from vlmplan.judge import Judge, by_law, by_scores, parse_task
from vlmplan.model import Route, Rule, Workload
from vlmplan.plan import Query
from vlmplan.search import Budget, Space, select_models


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of ``recommend`` that are names or switches, as typed."""

    hardware: str
    task: str
    runtime: Runtime | None = None
    precisions: str | None = None
    paper: bool = False
    models: str | None = None
    license: str | None = None
    gpus: int = 1
    confidence: float = 0.9
    allow_untrained: bool = False
    paper_flops: bool = False


def _precisions(text: str | None, hardware: HardwareProfile) -> tuple[Precision, ...]:
    """Read a comma list; each must be one that the hardware runs."""
    if text is None:
        return hardware.default_precisions
    found = []
    for item in text.split(","):
        if item.strip() not in list(Precision):
            raise InputError(f"--precision: found '{item}', expected a comma list of {', '.join(Precision)}")
        precision = Precision(item.strip())
        hardware.compute_precision(precision)
        found.append(precision)
    return tuple(dict.fromkeys(found))


def _judge(asked: Asked, workload: Workload) -> Judge:
    """A law where the user brings one or candidates are to be trained, published scores otherwise."""
    evidence = catalogue.evidence()
    if asked.task.endswith(".toml"):
        law = catalogue.law(asked.task)
        return by_law({law.name: (law, 1.0)}, evidence)
    shares = parse_task(asked.task)
    if not asked.paper:
        return by_scores(evidence, shares, workload)
    for name in shares:
        if name not in catalogue.names(catalogue.Shelf.LAWS):
            known = ", ".join(catalogue.names(catalogue.Shelf.LAWS))
            raise InputError(f"no law for task '{name}' with --candidates paper; expected {known} or a LAW.toml")
    return by_law({name: (catalogue.law(name), share) for name, share in shares.items()}, evidence)


def query(asked: Asked, workload: Workload, budget: Budget) -> Query:
    """Resolve the names in ``asked``. Raises InputError, naming what is unknown and what there is."""
    hardware = catalogue.hardware(asked.hardware)
    runtime = asked.runtime or hardware.default_runtime
    route = Route.TRAIN if asked.paper else Route.EXPORT if runtime is Runtime.ONNXRUNTIME else Route.ENGINE
    models = select_models(
        catalogue.models(),
        asked.models,
        asked.license,
        lambda model: (
            (model.image is not None and model.image.rule is Rule.COMPRESSED) == asked.paper
            and (route is not Route.EXPORT or model.exportable)
        ),
    )
    space = Space(
        models=models,
        precisions=_precisions(asked.precisions, hardware),
        workload=workload,
        gpus=asked.gpus,
        confidence=asked.confidence,
        allow_untrained=asked.allow_untrained,
        paper_flops=asked.paper_flops,
        route=route,
    )
    return Query(
        hardware=hardware,
        typical=catalogue.typical(),
        runtime=runtime,
        budget=budget,
        space=space,
        judge=_judge(asked, workload),
    )
