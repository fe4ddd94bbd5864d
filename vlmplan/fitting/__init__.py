"""A scaling law from points: tables and harness results -> rows, what is suspicious, coefficients, intervals."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.fitting.fit import FitReport as FitReport
    from vlmplan.fitting.fit import fit_law as fit_law
    from vlmplan.fitting.fit_form import FitOptions as FitOptions
    from vlmplan.fitting.fit_form import untold as untold
    from vlmplan.fitting.harness_files import Harness as Harness
    from vlmplan.fitting.harness_results import read_results as read_results
    from vlmplan.fitting.lint import kept as kept
    from vlmplan.fitting.point_tables import Row as Row
    from vlmplan.fitting.point_tables import of_task as of_task
    from vlmplan.fitting.point_tables import points as points
    from vlmplan.fitting.point_tables import read_points as read_points
    from vlmplan.fitting.prior import Prior as Prior
    from vlmplan.fitting.prior import shipped_prior as shipped_prior

__getattr__, __all__ = face(
    __name__,
    {
        "fit": ("FitReport", "fit_law"),
        "fit_form": ("FitOptions", "untold"),
        "harness_files": ("Harness",),
        "harness_results": ("read_results",),
        "lint": ("kept",),
        "point_tables": ("Row", "of_task", "points", "read_points"),
        "prior": ("Prior", "shipped_prior"),
    },
)
