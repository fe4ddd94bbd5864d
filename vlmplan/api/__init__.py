"""What a program calls: the command line's words as keyword arguments -> documents. The command line calls it, too."""

from typing import TYPE_CHECKING

from vlmplan.document import Document, shown_in_notebooks
from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.api.costs import estimate as estimate
    from vlmplan.api.costs import explain as explain
    from vlmplan.api.costs import knees as knees
    from vlmplan.api.costs import tokens as tokens
    from vlmplan.api.exports import evaluate as evaluate
    from vlmplan.api.exports import export as export
    from vlmplan.api.exports import page as page
    from vlmplan.api.exports import run as run
    from vlmplan.api.exports import validate as validate
    from vlmplan.api.fits import fit as fit
    from vlmplan.api.losers import why_not as why_not
    from vlmplan.api.plans import compare as compare
    from vlmplan.api.plans import hand_over as hand_over
    from vlmplan.api.plans import recheck as recheck
    from vlmplan.api.plans import recommend as recommend
    from vlmplan.api.profiles import check_profile as check_profile
    from vlmplan.api.profiles import profile as profile
    from vlmplan.api.profiles import profile_endpoint as profile_endpoint
    from vlmplan.api.profiles import profile_measurements as profile_measurements
    from vlmplan.api.questions import compare_answers as compare_answers
    from vlmplan.api.questions import evaluate_answers as evaluate_answers
    from vlmplan.api.questions import evaluate_endpoint as evaluate_endpoint
    from vlmplan.api.shelves import catalogue as catalogue
    from vlmplan.api.shelves import hardware_profile as hardware_profile
    from vlmplan.api.shelves import law as law
    from vlmplan.api.shelves import load as load
    from vlmplan.api.shelves import model as model
    from vlmplan.api.shelves import save as save
    from vlmplan.api.shelves import task as task
    from vlmplan.api.shelves import workload as workload
    from vlmplan.api.studying import study as study


def _html(document: Document) -> str | None:
    """A document in a notebook, as a view has it, imported when the first is shown."""
    from vlmplan.pages import html_of

    return html_of(document)


__getattr__, __all__ = face(
    __name__,
    {
        "costs": ("estimate", "explain", "knees", "tokens"),
        "exports": ("evaluate", "export", "page", "run", "validate"),
        "fits": ("fit",),
        "losers": ("why_not",),
        "plans": ("compare", "hand_over", "recheck", "recommend"),
        "profiles": ("check_profile", "profile", "profile_endpoint", "profile_measurements"),
        "questions": ("compare_answers", "evaluate_answers", "evaluate_endpoint"),
        "shelves": ("catalogue", "hardware_profile", "law", "load", "model", "save", "task", "workload"),
        "studying": ("study",),
    },
)

shown_in_notebooks(_html)
