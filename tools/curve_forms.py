"""Which curve ends as scores do? Four forms, each with constants of its own, compared on papers left out.

Share kept at u = steepness (x - log scale): Hill 1 / (1 + e^-u), the normal distribution's, Weibull's 1 - exp(-e^u),
Gumbel's exp(-e^-u). All rise from 0 to 1 with two parameters; they differ in how they end.

    python tools/curve_forms.py [--axes pixels trained]     # some minutes an axis and form
"""

import argparse
from collections.abc import Callable

import leave_one_study_out
import numpy as np
import token_curves
from leave_one_study_out import left_out
from scipy.special import ndtr
from token_curves import Array, Axis, constants, fitted, of_axis
from token_studies import series

FORMS: dict[str, Callable[[Array], Array]] = {
    "Hill": lambda u: 1 / (1 + np.exp(-u)),
    "normal": lambda u: ndtr(u / 1.702),
    "Weibull": lambda u: -np.expm1(-np.exp(np.minimum(u, 50))),
    "Gumbel": lambda u: np.exp(-np.exp(np.minimum(-u, 50))),
}


def curve(form: str) -> Callable[[Array | float, Array | float, float], Array]:
    """Return the share kept by one form, in place of ``token_curves.hill``."""

    def kept(x: Array | float, log_scale: Array | float, steepness: float) -> Array:
        u = np.clip(steepness * (np.asarray(x) - log_scale), -500, 500)
        return np.asarray(np.maximum(FORMS[form](u), 1e-12))

    return kept


def main() -> None:
    """Print, of each axis and form, the log evidence and the mean absolute error of what was left out, in points."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--axes", nargs="*", default=[Axis.PIXELS, Axis.TRAINED])
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    print("| axis | form | log evidence | left out, points | lowest left out, points |\n|---|---|---:|---:|---:|")
    for name in asked.axes:
        found = of_axis(series(), Axis(name))
        for form in FORMS:
            for module in (token_curves, leave_one_study_out):
                vars(module)["hill"] = curve(form)
            token_curves.log_likelihood.cache_clear()
            at = fitted(found, constants()[Axis(name)], asked.rounds, lambda _: None)
            rows = list(left_out(found, at, sorted({one.paper for one in found})))
            errors = np.array([100 * abs(row.predicted - row.share) for row in rows])
            lowest = errors[[row.lowest for row in rows]]
            evidence = token_curves.Inference(found, at).evidence
            print(f"| {name} | {form} | {evidence:.0f} | {errors.mean():.2f} | {lowest.mean():.2f} |", flush=True)


if __name__ == "__main__":
    main()
