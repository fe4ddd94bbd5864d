"""Plans -> a screen of terminal text: what to run, what to expect, what else there is, and what is not sure."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vlmplan.accuracy import GUESSED, TOO_SMALL
from vlmplan.cost import Service
from vlmplan.extras import installed
from vlmplan.hardware import SERVING
from vlmplan.inventory import Budget
from vlmplan.planning import LEAST_ERROR, NO_REPLICAS, AtBest, Objective, Outline, Plan, WhyNot
from vlmplan.serving import LOGGED, LoggedTimes
from vlmplan.units import counted, format_bytes, format_seconds
from vlmplan.views.plan import LEAST_POINTS, command_lines, firm, headline, shown_tokens
from vlmplan.views.service import service_lines
from vlmplan.views.text import (
    RESTS_ON,
    load_words,
    memory_words,
    new_console,
    percent,
    print_unsure,
    time_range,
)

_CLEARLY = 0.8  # an alternative that is faster or smaller has at most this share of the choice's time or memory
_HALF = 0.5  # of the cases: a choice that is the best in fewer is explained
_LESS_ERROR = 0.005  # and one that is better, at least so much less error


def _task(plan: Plan) -> str:
    """The task in words, its parts with their shares."""
    task = plan.error_source.task
    return " and ".join(name if share == 1 else f"{name} ({share:.0%})" for name, share in task.items())


def _within(interval_s: tuple[float, float], limit_s: float | None, confidence: float) -> str:
    """The interval of a time, and the limit it was held to: with ``confidence``, where the interval goes beyond."""
    limit = "" if limit_s is None else f"; limit {format_seconds(limit_s)}"
    if limit_s is not None and interval_s[1] > limit_s:
        limit += f", kept in {100 * confidence:.3g} of 100"
    return f"({time_range(interval_s)}{limit})"


def expected(plan: Plan) -> Iterator[str]:
    """Yield how wrong, how fast and how large, in words."""
    choice, budget, sure = plan.choice, plan.budget, plan.interval_level_fraction
    low, high = choice.error_interval or (choice.predicted_error, choice.predicted_error)
    yield (
        f"Error: about {100 * choice.predicted_error:.0f} ({math.floor(100 * low)} to {math.ceil(100 * high)}) of 100 "
        f"answers wrong on {_task(plan)}."
    )
    yield from (f"Warning: {line}." for line in plan.warnings if line.startswith(TOO_SMALL))
    first = f"first word after {format_seconds(choice.ttft_s)} {_within(choice.ttft_interval_s, budget.ttft_s, sure)}"
    whole = f"{format_seconds(choice.latency_s)} an answer {_within(choice.latency_interval_s, budget.latency_s, sure)}"
    further = ""
    if choice.tpot_s is not None and choice.tpot_interval_s is not None and budget.tpot_s is not None:
        further = (
            f", then {format_seconds(choice.tpot_s)} a token {_within(choice.tpot_interval_s, budget.tpot_s, sure)}"
        )
    yield f"Time: {whole}, {first}{further}."
    if plan.logged is not None:
        yield _logged(plan.logged, budget)
    held = memory_words(choice.memory_bytes.total, plan.hardware.memory_bytes)
    own = budget.memory_bytes is None or budget.memory_bytes == plan.hardware.usable_bytes(plan.runtime)
    limit = "" if own or budget.memory_bytes is None else f" (limit {format_bytes(budget.memory_bytes)})"
    yield f"Memory: {held}{limit}; {load_words(choice, plan.workload)}."
    if plan.service is not None:
        yield from service_lines(plan.service)
    if choice.price:
        hour = "" if plan.service is None else (
            f", {choice.price.hour_price * choice.gpus * plan.service.replicas:.3g} an hour for "
            f"{counted(choice.gpus * plan.service.replicas, 'GPU')}"
        )  # fmt: skip
        yield f"Price: 1,000 requests cost {choice.price.thousand_requests_price:.3g} {choice.price.currency}{hour}."


def _logged(logged: LoggedTimes, budget: Budget) -> str:
    """How many of the logged requests keep the limits, and how long they take."""
    timed = any((budget.latency_s, budget.ttft_s, budget.tpot_s))
    kept = f"{logged.kept} of {logged.requests} keep the limits of time by their medians; " if timed else ""
    refused = f"; {logged.refused} cannot be answered, for context, memory or shape" if logged.refused else ""
    half, tail = format_seconds(logged.latency_median_s), format_seconds(logged.latency_tail_s)
    return f"Logged requests: {kept}half take up to {half}, 95 of 100 up to {tail}{refused}."


def _known(plan: Plan) -> list[Outline]:
    """All that a plan lists beside its choice and that the device holds, each once."""
    others = (*plan.front, *plan.runners_up, plan.fewer_tokens, plan.more_tokens)
    held = plan.hardware.usable_bytes(plan.runtime) or math.inf
    known = (one for one in dict.fromkeys(others) if one is not None and not plan.is_choice(one))
    return [one for one in known if one.memory_bytes <= held]


def _least_wrong(outlines: Iterable[Outline]) -> Outline | None:
    return min(outlines, key=lambda one: (one.predicted_error, one.latency_s), default=None)


def alternatives(plan: Plan) -> dict[str, Outline]:
    """Return what is clearly faster, better or smaller than the choice, at the least loss; only what there is.

    What is better breaks the budget, or costs more time than it is worth; of several the fastest.
    """
    choice, known = plan.choice, _known(plan)
    better = [one for one in known if one.predicted_error <= choice.predicted_error - _LESS_ERROR]
    ahead = {
        "faster": _least_wrong(one for one in known if one.latency_s <= _CLEARLY * choice.latency_s),
        "better": min(better, key=lambda one: one.latency_s, default=None),
        "smaller": _least_wrong(one for one in known if one.memory_bytes <= _CLEARLY * choice.memory_bytes.total),
    }
    return {name: one for name, one in ahead.items() if one is not None}


def _beyond(one: Outline) -> str:
    """The first limit that an alternative breaks, alone or under the load, or nothing."""
    if NO_REPLICAS in (one.reason or ""):
        return NO_REPLICAS
    return next((part for part in (one.reason or "").split("; ") if "exceeds" in part), "")


def _placed(one: Outline, plan: Plan) -> str:
    """An alternative's name and tokens, and its precision where it is not the choice's."""
    other = f", {one.precision}" if one.precision is not plan.choice.precision else ""
    each = counted(one.visual_tokens, "token") if plan.frames is None else f"{one.visual_tokens} a frame"
    return f"{one.model.rpartition('/')[2]}, {each}{other}"


def _gains_and_costs(one: Outline, names: Sequence[str], plan: Plan) -> tuple[str, str]:
    """What an alternative brings by the ``names`` of what it is ahead in, and what it costs; either may be nothing."""
    time, memory = format_seconds(one.latency_s), format_bytes(one.memory_bytes)
    points = 100 * (one.predicted_error - plan.choice.predicted_error)
    wrong = f"{abs(points):.1f} {'more' if points > 0 else 'fewer'} of 100 wrong"
    gains = {"faster": time, "better": wrong, "smaller": memory}
    costs = [wrong] if points >= LEAST_POINTS else []
    costs += [time] if one.latency_s > plan.choice.latency_s else []
    costs += [f"{one.gpus} GPUs"] if one.gpus > plan.choice.gpus else []
    return ", ".join(gains[name] for name in names), ", ".join(costs)


def alternative_lines(plan: Plan) -> Iterator[str]:
    """Yield what else there is: in what it is ahead, its name, what it brings, what it costs, what limit it breaks."""
    ahead = alternatives(plan)
    for outline in dict.fromkeys(ahead.values()):
        names = [name for name, other in ahead.items() if other == outline]
        gains, costs = _gains_and_costs(outline, names, plan)
        beyond = _beyond(outline)
        label = f"{', '.join(names).capitalize()}{', over the limit' if beyond else ''}"
        end = f"{f', but {costs}' if costs else ''}{f'; {beyond}' if beyond else ''}."
        yield f"{label}: {_placed(outline, plan)}: {gains}{end}"


def _sure(plan: Plan) -> str:
    """How firm the choice is, and why it is taken where another is the best more often."""
    said = firm(plan)
    said = f"{said[:1].upper()}{said[1:]}"
    if plan.objective is not Objective.ERROR or plan.stability >= _HALF:
        return said
    least = plan.chosen_because == LEAST_ERROR
    return f"{said}. Chosen {'for the least expected error' if least else f'all the same: {plan.chosen_because}'}"


def unsure(plan: Plan) -> tuple[str, list[str]]:
    """Return what a reader should doubt: on what the times rest and how firm the choice is; then the warnings."""
    said = f"{plan.hardware.name} with {plan.runtime}:"  # how a warning of the times' basis begins
    level = 100 * plan.interval_level_fraction
    first = f"intervals hold {level:g}%; times rest on {RESTS_ON[plan.basis]}. {_sure(plan)}"
    warnings = [one for one in plan.warnings if not one.startswith((said, LOGGED, TOO_SMALL))]
    return first, sorted(warnings, key=lambda one: GUESSED not in one)  # what makes all of it a guess is said first


def _by_hand(plan: Plan) -> str:
    """What to do where no command does it: load the model and set the tokens in a program."""
    choice, load = plan.choice, SERVING[plan.runtime].load
    tokens_by = "" if choice.setting == "none" else f"; tokens are set by: {choice.setting}"
    if load is not None and choice.precision.dtype is not None:
        return f"Load: {load.format(model=choice.model, dtype=choice.precision.dtype)}{tokens_by}."
    return f"Run: no command of {plan.runtime} is known for it{tokens_by}."


def _whose(plan: Plan) -> str | None:
    """Which published quantised checkpoint is served, and who made it; None where none is."""
    checkpoint = None if plan.choice.deploy is None else plan.choice.deploy.checkpoint
    if checkpoint is None:
        return None
    publisher, maker = checkpoint.partition("/")[0], plan.choice.model.partition("/")[0]
    by = f"{maker} itself" if publisher == maker else f"{publisher}, not by {maker}"
    return f"Checkpoint: {checkpoint}, quantised to {plan.choice.precision} by {by}."


def print_brief(plan: Plan, written: Path | None = None) -> None:
    """Print the choice in a screen, its command with the file ``written``; ``print_plan`` has the rest."""
    console, choice = new_console(), plan.choice
    console.print(f"{headline(plan)}, on {plan.hardware.name} with {plan.runtime}.", style="bold")
    for line in expected(plan):
        console.print(line)
    if plan.objective is not Objective.ERROR:
        console.print(f"Chosen: {plan.chosen_because}.")
    if (whose := _whose(plan)) is not None:
        console.print(whose)
    if choice.deploy is not None:
        for line in command_lines(choice.deploy, written):
            console.print(line, soft_wrap=True)
    if choice.deploy is None or not choice.deploy.command:
        console.print(_by_hand(plan), soft_wrap=True)
    console.print()
    for line in alternative_lines(plan):
        console.print(line)
    first, warnings = unsure(plan)
    if whose is not None and choice.deploy is not None:
        warnings = [one for one in warnings if not one.startswith(f"{choice.deploy.checkpoint} is quantised by")]
    print_unsure(console, first, [one.removeprefix(f"{choice.model}: ") for one in warnings[:1]])
    rest = f"{counted(len(warnings) - 1, 'more warning')}, " if len(warnings) > 1 else ""
    page = ", --open" if installed("jinja2", "plotly") else ""
    console.print(f"More: -v ({rest}costs, front, losers), --why MODEL, --json{page}.")


def _at_best(best: AtBest, plan: Plan) -> str:
    """The figures of a model that was not chosen, beside those of the choice."""
    low, high = best.error_interval or (best.predicted_error, best.predicted_error)
    range_ = "" if best.error_interval is None else f" ({percent(low)} to {percent(high)})"
    choice, gpus = plan.choice, f" on {best.gpus} GPUs" if best.gpus > 1 else ""
    return (
        f"At its {'nearest to' if best.error_interval is None else 'best within'} the limits it has "
        f"{shown_tokens(best.visual_tokens, plan.frames)}, {best.precision}{gpus}: error "
        f"{percent(best.predicted_error)}{range_}, {format_seconds(best.latency_s)} an answer "
        f"({time_range(best.latency_interval_s)}), {format_bytes(best.memory_bytes)} a device. The choice has "
        f"{percent(choice.predicted_error)}, {format_seconds(choice.latency_s)}, "
        f"{format_bytes(choice.memory_bytes.total)}.{_borne(best.service, plan.service)}"
    )


def _borne(own: Service | None, chosen: Service | None) -> str:
    """What the load does to a model, and to the choice; nothing without one."""
    told = [
        f"{counted(one.replicas, 'replica')}, {100 * one.utilisation_fraction:.0f} % used, p95 "
        f"{format_seconds(one.latency.p95_s)}"
        for one in (own, chosen)
        if one is not None and one.latency is not None
    ]
    return f" Under load: {told[0]}; the choice {told[1]}." if len(told) > 1 else ""


def print_why(why: WhyNot, again: Callable[[Mapping[str, str | None]], str]) -> None:
    """Print why a model was not chosen and what would make it win; ``again`` is the command with other options."""
    console, choice = new_console(), why.plan.choice
    if why.is_choice:
        console.print(f"{why.model} is the choice: {why.reason}.", style="bold")
        return
    console.print(f"{why.model} was not chosen because {why.reason}.", style="bold")
    shown = shown_tokens(choice.visual_tokens, why.plan.frames)
    console.print(f"The choice is {choice.model} with {shown}, {choice.precision}.")
    if why.at_best is not None:
        console.print(_at_best(why.at_best, why.plan))
    if why.plan.asked is not None and why.plan.asked.model is not None:
        return
    if why.wins:
        each = "Either of these makes" if len(why.wins) > 1 else "This makes"
        console.print(f"{each} it the choice:")
    elif why.otherwise is not None:
        console.print("No single change that was tried makes it the choice. The first that lets it in favours another:")
    else:
        console.print("No single change that was tried makes it the choice.")
    for change in why.wins or ([why.otherwise] if why.otherwise is not None else []):
        console.print(f"- {change.what}: {change.brings}")
        console.print(f"  {again(change.options)}", soft_wrap=True)
