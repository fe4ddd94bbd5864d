"""Plans -> a screen of terminal text: what to run, what to expect, what else there is, and what is not sure."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vlmplan.planning import Objective, Outline, Plan
from vlmplan.units import format_bytes, format_seconds
from vlmplan.views.plan import can_show, headline, print_front_picture, task_words
from vlmplan.views.text import new_console, new_table, percent, time_range, tokens

if TYPE_CHECKING:
    from rich.console import Console

MOST_WARNINGS = 2
_LONGEST = 150  # characters of a warning: two lines
_CLEARLY = 0.8  # an alternative that is faster or smaller has at most this share of the choice's time or memory


def expected(plan: Plan) -> Iterator[str]:
    """Yield how wrong, how fast and how large, in words."""
    choice = plan.choice
    low, high = choice.error_interval or (choice.predicted_error, choice.predicted_error)
    yield (
        f"Wrong: about {100 * choice.predicted_error:.0f} of 100 answers on {task_words(plan)} "
        f"({math.floor(100 * low)} to {math.ceil(100 * high)})."
    )
    first = f"the first word after {format_seconds(choice.ttft_s)} ({time_range(choice.ttft_interval_s)})"
    whole = f"{format_seconds(choice.latency_s)} ({time_range(choice.latency_interval_s)})"
    yield f"Fast: an answer takes {whole}, {first}."
    held = plan.hardware.memory_bytes
    of = f" of {format_bytes(held)}" if held else ""
    yield (
        f"Large: {format_bytes(choice.memory_bytes.total)}{of} a device; {choice.requests_per_s:.3g} requests a second "
        f"with {plan.workload.decoded_together} in flight."
    )
    if choice.price:
        yield f"1,000 requests cost {choice.price.thousand_requests_price:.3g} {choice.price.currency}."


def _known(plan: Plan) -> list[Outline]:
    """All that a plan lists beside its choice, each once."""
    others = (*plan.front, *plan.runners_up, plan.fewer_tokens, plan.more_tokens)
    return [one for one in dict.fromkeys(others) if one is not None and not plan.is_choice(one)]


def _least_wrong(found: Iterable[Outline]) -> Outline | None:
    return min(found, key=lambda one: (one.predicted_error, one.latency_s), default=None)


def alternatives(plan: Plan) -> dict[str, Outline]:
    """Return what is clearly faster, better or smaller than the choice, at the least loss; only what there is.

    What is better breaks the budget, or it had been chosen; of several the fastest.
    """
    choice, known = plan.choice, _known(plan)
    better = [one for one in known if one.predicted_error < choice.predicted_error]
    found = {
        "faster": _least_wrong(one for one in known if one.latency_s <= _CLEARLY * choice.latency_s),
        "better": min(better, key=lambda one: one.latency_s, default=None),
        "smaller": _least_wrong(one for one in known if one.memory_bytes <= _CLEARLY * choice.memory_bytes.total),
    }
    return {name: one for name, one in found.items() if one is not None}


def _cost(one: Outline, plan: Plan) -> str:
    """What an alternative costs or brings beside the choice."""
    points = 100 * (one.predicted_error - plan.choice.predicted_error)
    slower_s = one.latency_s - plan.choice.latency_s
    broken = [part for part in (one.reason or "").split("; ") if "exceeds" in part]
    limit = f"; {broken[0]}" if broken else ""
    return (
        f"{abs(points):.1f} points {'worse' if points > 0 else 'better'}, {format_seconds(abs(slower_s))} "
        f"{'slower' if slower_s > 0 else 'faster'}{limit}"
    )


def _print_alternatives(console: "Console", plan: Plan) -> None:
    table = new_table("or", "model", "tokens", "what it costs", wrap="what it costs")
    found = alternatives(plan)
    for one in dict.fromkeys(found.values()):
        names = ", ".join(name for name, other in found.items() if other == one)
        table.add_row(names, one.model.rpartition("/")[2], str(one.visual_tokens), _cost(one, plan))
    if table.row_count:
        console.print(table)


def unsure(plan: Plan) -> list[str]:
    """Return what a reader should doubt: on what the times rest, how firm the choice is, and the first warnings."""
    firm = f"chosen in {100 * plan.stability:.0f} of 100 draws of error and time"
    rest = [one for one in plan.warnings if not one.startswith(f"{plan.hardware.name} with {plan.runtime}:")]
    shown = rest[: 1 if len({*alternatives(plan).values()}) > 2 else MOST_WARNINGS]
    more = f"; {len(rest) - len(shown)} more warnings with -v" if len(rest) > len(shown) else ""
    lines = [f"intervals hold {plan.interval_level_fraction:.0%}; times rest on {plan.basis}; {firm}{more}"]
    return lines + [one if len(one) <= _LONGEST else f"{one[:_LONGEST].rpartition(' ')[0]} ..." for one in shown]


def print_brief(plan: Plan) -> None:
    """Print the choice in a screen; ``print_plan`` has the rest."""
    console, choice = new_console(), plan.choice
    console.print(f"{headline(choice)}, on {plan.hardware.name} with {plan.runtime}.", style="bold")
    for line in expected(plan):
        console.print(line)
    if plan.objective is not Objective.ERROR:
        console.print(f"Chosen: {plan.chosen_because}.")
    if choice.deploy and choice.deploy.make:
        console.print(f"Make: {choice.deploy.make}", soft_wrap=True)
    if choice.deploy and choice.deploy.command:
        console.print(f"Run: {choice.deploy.command}", soft_wrap=True)
    elif choice.setting != "none":
        console.print(f"Tokens set by: {choice.setting}.")
    console.print()
    _print_alternatives(console, plan)
    if can_show(console):
        console.print()
        print_front_picture(console, plan)
    for number, line in enumerate(unsure(plan)):
        console.print(f"{'Unsure: ' if not number else '- '}{line}")
    console.print("More: -v (costs by part, the front, why others lost, sources), --why MODEL, --json, vlmplan page.")


def print_why(plan: Plan, name: str, other: "Plan | str") -> None:
    """Print why a model was not chosen; ``other`` is the plan of that model alone, or why there is none."""
    console = new_console()
    console.print(f"{name} against {plan.choice.model}:", style="bold")
    if isinstance(other, str):
        console.print(f"It cannot be chosen: {other}")
        return
    if (other.choice.model, other.choice.visual_tokens) == (plan.choice.model, plan.choice.visual_tokens):
        console.print("It is the choice.")
        return
    best = other.choice
    outline = Outline(
        model=best.model, precision=best.precision, visual_tokens=best.visual_tokens, gpus=best.gpus,
        predicted_error=best.predicted_error, ttft_s=best.ttft_s, latency_s=best.latency_s,
        memory_bytes=best.memory_bytes.total,
    )  # fmt: skip
    low, high = best.error_interval or (best.predicted_error, best.predicted_error)
    console.print(
        f"At its best within the budget it has {tokens(best.visual_tokens)} an image, {best.precision}: error "
        f"{percent(best.predicted_error)} ({percent(low)} to {percent(high)}), {format_seconds(best.latency_s)} a "
        f"request ({time_range(best.latency_interval_s)}), {format_bytes(best.memory_bytes.total)}."
    )
    console.print(f"Beside the choice: {_cost(outline, plan)}.")
