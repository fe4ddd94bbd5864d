"""A plan, an export and its validation -> one HTML page that needs no network.

(plan, manifest, report) -> HTML. Charts are plotly's, their library inside the page; the rest is a template beside this
file. Needs the extra ``page``. Same inputs, same bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan import __version__, inert
from vlmplan.cost import Service
from vlmplan.document import digest
from vlmplan.errors import missing_library
from vlmplan.exporting import Manifest
from vlmplan.pages import page_charts
from vlmplan.planning import Plan
from vlmplan.proof import Report
from vlmplan.units import format_bytes, format_count, format_seconds
from vlmplan.views import (
    choice_lines,
    knee_line,
    load_line,
    memory_line,
    percent,
    rate_words,
    scores_line,
    sensitivity,
    sentence,
    service_lines,
    time_range,
)

TEMPLATE = "page.html.jinja"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What a page is about: a plan, and where there are any its export and the report of its validation."""

    plan: Plan
    export: Manifest | None = None
    report: Report | None = None


def libraries() -> tuple[Any, Any]:
    """Return jinja2 and plotly. Raises Unavailable."""
    try:
        import jinja2
        import plotly.io
        import plotly.offline
    except ModuleNotFoundError as error:
        raise missing_library("page", str(error.name), "page") from None
    return jinja2, plotly


def _shown(value: Any) -> Any:
    """What the template prints: texts made inert, but for HTML of our own."""
    return inert.html(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _chart(plotly: Any, figure: Any, name: str) -> str | None:
    """A chart as a piece of HTML; its library stands in the page's head."""
    if figure is None:
        return None
    config = {"responsive": True, "displayModeBar": False}
    return str(plotly.io.to_html(figure, full_html=False, include_plotlyjs=False, div_id=name, config=config))


def _tiles(plan: Plan) -> list[tuple[str, str, str]]:
    """(what, figure, its interval or limit) of the figures that matter."""
    choice, limits = plan.choice, plan.budget
    error = choice.error_interval
    tiles = [
        ("predicted error", percent(choice.predicted_error), f"{percent(error[0])} to {percent(error[1])}" if error
         else ""),
        ("latency", format_seconds(choice.latency_s), time_range(choice.latency_interval_s)),
        ("TTFT", format_seconds(choice.ttft_s), time_range(choice.ttft_interval_s)),
        ("memory", format_bytes(choice.memory_bytes.total),
         f"of {format_bytes(limits.memory_bytes)}" if limits.memory_bytes else "no limit known"),
        ("stability", f"{100 * plan.stability:.0f} %", "of cases that the intervals allow"),
    ]  # fmt: skip
    if (service := plan.service) is not None:
        used = f"{100 * service.utilisation_fraction:.0f} % used"
        tiles.append(("replicas", str(service.replicas), f"{rate_words(service.asked.rate_per_s)}, {used}"))
    if (price := choice.price) is not None:
        cost = f"{price.thousand_requests_price:.3g} {price.currency}"
        tiles.append(("1,000 requests", cost, f"{price.hour_price:.3g} an hour a GPU"))
    if choice.tpot_s is not None and choice.tpot_interval_s is not None:
        tiles.insert(3, ("TPOT", format_seconds(choice.tpot_s), time_range(choice.tpot_interval_s)))
    return tiles


def _wishes(plan: Plan) -> list[tuple[str, str]]:
    """What else was asked, where it was."""
    asked = plan.asked
    if asked is None:
        return []
    wishes = {
        "candidates": "backbones to train" if asked.paper else "",
        "models": asked.models or asked.model or "",
        "family": asked.family or "",
        "licence": asked.license or "",
        "parameters": f"at most {format_count(asked.max_params)}" if asked.max_params else "",
        "released after": asked.released_after or "",
        "GPUs": f"up to {asked.gpus}" if asked.gpus > 1 else "",
        "tokens": "also counts nobody trained for" if asked.allow_untrained else "",
    }
    return [(what, value) for what, value in wishes.items() if value]


def _load(service: Service) -> list[tuple[str, str]]:
    """What was asked of a service."""
    asked, limits = service.asked, service.asked.limits
    kept = ", ".join(f"{one.of.value} p{one.percent} {format_seconds(one.limit_s)}" for one in limits)
    came = "" if asked.trace is None else ", as a trace has them"
    return [("rate", f"{rate_words(asked.rate_per_s)}{came}"), *([("under load", kept)] if kept else [])]


def _asked(plan: Plan) -> list[tuple[str, str]]:
    """What was asked, as pairs to list."""
    work, bounds = plan.workload, plan.budget.limits
    task = ", ".join(f"{name} {100 * share:.0f} %" for name, share in plan.error_source.task.items())
    images = f"{work.images} image{'' if work.images == 1 else 's'} of {work.image[0]} x {work.image[1]} pixels"
    return [
        ("device", f"{plan.hardware.title}, {plan.runtime}"),
        ("task", task),
        ("request", f"{work.text_tokens} text tokens, {images}, {work.output_tokens} output tokens"),
        *([("in flight", str(work.decoded_together))] if plan.service is None else _load(plan.service)),
        ("budget", ", ".join(f"{name} {show(value)}" for name, value, show in bounds if value is not None)),
        ("least", plan.objective.words),
        *_wishes(plan),
    ]


def _commands(plan: Plan) -> list[tuple[str, str]]:
    """What to run, each with what it does."""
    deploy = plan.choice.deploy
    if deploy is None:
        return []
    gpus = plan.choice.gpus
    machines = [f"on machine {number} of 2" for number in range(1, 1 + len(deploy.two_machines))]
    commands = [
        ("first, make the checkpoint", deploy.make),
        (f"on {gpus} GPU{'' if gpus == 1 else 's'}" if plan.hardware.kind == "gpu" else "here", deploy.command),
        (f"on {2 * gpus} GPUs", deploy.more_gpus),
        *zip(machines, deploy.two_machines, strict=True),
        ("then check that it keeps the plan", deploy.check),
    ]
    return [(label, command) for label, command in commands if command]


def _sources(plan: Plan) -> list[tuple[str, str]]:
    """Where the figures come from: (what, source), with digests of what is embedded or named."""
    hardware = plan.hardware
    sources = [(f"device {hardware.name}", "; ".join(hardware.sources) or hardware.confidence)]
    for one in hardware.calibration:
        sources.append((f"times, {one.runtime} {one.precision}", f"{one.basis}: {one.source}"))
    sources.append((f"model {plan.model.name}", "; ".join(plan.model.sources) or "its config.json"))
    sources.append((f"error, {plan.error_source.name}", "; ".join(plan.error_source.basis)))
    if plan.scores:
        sources.append(("scores", scores_line(plan.scores)))
    sources.append(("digests", f"device {digest(hardware)[:16]}, error {plan.error_source.sha256[:16]}"))
    return sources


def _files(export: Manifest | None) -> list[tuple[str, str, str]]:
    if export is None:
        return []
    return [(name, format_bytes(one.size_bytes), one.sha256[:16]) for name, one in export.files.items()]


def templates(jinja2: Any) -> Any:
    """Return the templates beside this file; what they print is made inert, and escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(dossier: Dossier) -> str:
    """Return the page. Raises Unavailable where the extra is missing, InputError for a report of another plan."""
    jinja2, plotly = libraries()
    environment = templates(jinja2)
    plan, report = dossier.plan, dossier.report
    charts = {
        "front": page_charts.front_chart(plan),
        "parts": page_charts.parts_chart(plan),
        "knee": page_charts.knee_chart(plan),
        "load": page_charts.load_chart(plan),
        "latency": None if report is None else page_charts.latency_chart(report, plan),
    }
    environment.filters |= {"seconds": format_seconds, "percent": percent}
    return str(
        environment.get_template(TEMPLATE).render(
            plan=plan,
            export=dossier.export,
            report=report,
            version=__version__,
            sentence=sentence(plan),
            lines=[memory_line(plan.choice, plan.hardware), load_line(plan.choice, plan.workload)],
            knee=knee_line(plan.choice, plan),
            load=[] if plan.service is None else list(service_lines(plan.service)),
            sensitivity=sensitivity(plan),
            chosen=" ".join(choice_lines(plan)),
            tiles=_tiles(plan),
            asked=_asked(plan),
            commands=_commands(plan),
            sources=_sources(plan),
            files=_files(dossier.export),
            charts={name: _chart(plotly, figure, f"chart-{name}") for name, figure in charts.items()},
            library=plotly.offline.get_plotlyjs(),
        )
    )
