"""Which model and how many visual tokens for one's own questions, by as few answers as that takes: a study.

Servers and questions -> what to ask next, until the choice is settled, and the document that says so.
"""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.studies.belief import Belief as Belief
    from vlmplan.studies.prior import published_belief as published_belief
    from vlmplan.studies.prior import untold_belief as untold_belief
    from vlmplan.studies.rounds import ServedArm as ServedArm
    from vlmplan.studies.rounds import served_arms as served_arms
    from vlmplan.studies.study import Labels as Labels
    from vlmplan.studies.study import StudiedArm as StudiedArm
    from vlmplan.studies.study import Study as Study
    from vlmplan.studies.study import Wish as Wish
    from vlmplan.studies.study import of_catalogue as of_catalogue
    from vlmplan.studies.study import run_study as run_study

__getattr__, __all__ = face(
    __name__,
    {
        "belief": ("Belief",),
        "prior": ("published_belief", "untold_belief"),
        "rounds": ("ServedArm", "served_arms"),
        "study": ("Labels", "StudiedArm", "Study", "Wish", "of_catalogue", "run_study"),
    },
)
