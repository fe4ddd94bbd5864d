"""From a table of your own measurements to a law, and from the law to the number of visual tokens to train for.

Run: python examples/law_of_your_own.py [POINTS.csv]
"""

import sys
from pathlib import Path

import vlmplan

POINTS = Path(__file__).resolve().parents[1] / "tools" / "points" / "reasoning.csv"


def main(points: Path) -> None:
    """Fit, say how sure, and plan with it."""
    law, report = vlmplan.fit(points=points, name="mine", draws=500)
    print(f"{report.form} fits {report.n_points} points; left out one by one they are missed by {report.loo_rmse:.2%}")
    for tokens in (1, 16, 144, 576):
        print(f"7B at {tokens:>3} visual tokens: error {law.error(llm_params_b=7, visual_tokens=tokens):.1%}")
    plan = vlmplan.recommend(hardware="l4", latency="1s", task=law, candidates="paper")
    print(
        f"Within a second on an L4: train {plan.choice.model} with {plan.choice.visual_tokens} visual tokens "
        f"({plan.choice.predicted_error:.1%} error)"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else POINTS)
