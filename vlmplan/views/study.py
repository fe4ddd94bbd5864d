"""A study -> terminal text: the choice and how sure it is, every arm, and what was asked for that."""

from typing import TYPE_CHECKING

from vlmplan.units import counted
from vlmplan.views.text import new_console, new_table

if TYPE_CHECKING:
    from vlmplan.studies import StudiedArm, Study


def print_study(found: "Study") -> None:
    """Print the choice, then a row an arm, what was asked, and what to mind."""
    shown, choice = new_console(), found.choice
    shown.print(f"{counted(found.question_count, 'question')} of {found.questions}, judged by {found.score}:",
                soft_wrap=True)  # fmt: skip
    shown.print(f"{'Take' if found.settled else 'Not settled; likeliest is'} {choice.served_model} with at most "
                f"{choice.limit} visual tokens: {_error(choice)} of 100 answers wrong.", style="bold")  # fmt: skip
    shown.print(f"It is the cheapest within {100 * found.tolerance_fraction:g} points of the best: asking everything "
                f"would say the same with {_percent(found.probability_fraction)} (wished "
                f"{_percent(found.confidence_fraction)}), more questions like these with "
                f"{_percent(found.probability_of_more_fraction)}.")  # fmt: skip
    for name, limit in found.enough.items():
        shown.print(f"{name}: {limit} visual tokens are enough to keep what its most tokens score.")
    columns = ("model", "at most", "TFLOP", "asked", "wrong of 100", "foretold", "answers weigh", "lost", "choice")
    table = new_table(*columns, wrap="model")
    for one in found.arms:
        table.add_row(
            one.served_model, str(one.limit), f"{one.flops / 1e12:.3g}", str(one.questions), _error(one),
            f"{100 * one.expected_error_fraction:.0f}", _percent(one.answers_weight_fraction), _lost(one),
            _percent(one.choice_fraction),
        )  # fmt: skip
    shown.print(table)
    shown.print(f"Intervals hold {_percent(found.interval_level_fraction)}. Foretold by {found.prior}.", soft_wrap=True)
    shown.print(f"{counted(found.requests, 'request')} made" + (f", {found.kept} kept from before" * bool(found.kept))
                + f"; asking everything takes {found.all_requests}.")  # fmt: skip
    for note in found.notes:
        shown.print(f"Mind: {note}.", soft_wrap=True)
    if found.failed:
        rest = f", and {len(found.failed) - 1} more" if len(found.failed) > 1 else ""
        shown.print(f"Warning: no answer: {found.failed[0]}{rest}.", soft_wrap=True)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _error(one: "StudiedArm") -> str:
    low, high = one.error_interval
    return f"{100 * one.error_fraction:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def _lost(one: "StudiedArm") -> str:
    low, high = one.lost_interval
    return "" if low == high else f"{100 * one.lost_fraction:.1f} ({100 * low:.1f} to {100 * high:.1f})"
