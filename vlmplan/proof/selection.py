"""Did an export choose its tokens as the checkpoint would? Choices that rounding alone can tell apart are both right.

A greedy choice turns on its closest decision: of tokens that are equally good by a criterion, or so nearly that the
next bit of a feature decides, another precision takes another, and all that follows differs. So the choice is judged by
itself, step by step, on the checkpoint's own features: no token taken may be worse than the best at its step by more
than the features' own rounding explains. What comes after is compared with the checkpoint reading the tokens that the
export chose, as decoded tokens are compared along one path.
"""

from typing import Any

from vlmplan.checkpoints import KEPT, MERGED, Reference
from vlmplan.exporting import OnnxModel, Prompt
from vlmplan.proof.report import Check, failed, verdict

# Each cosine is off by at most what its two tokens are off by, relative to their lengths, and a decision compares two
# cosines: 4; tokens that were not kept may be off by twice as much as those that were, which alone are seen.
_MARGIN = 8.0
_LEAST = 1e-6  # of a cosine: the sum of a few hundred products in fp32


class Following:
    """The reference reading the tokens that an export chose, whatever it would have chosen itself."""

    def __init__(self, reference: Reference, export: OnnxModel) -> None:
        """Nothing is run yet."""
        self.embeds, self.step, self._reference, self._export = reference.embeds, reference.step, reference, export

    def image_features(
        self,
        pixel_values: Any,
        query: Any | None = None,  # noqa: ARG002
        mask: Any | None = None,  # noqa: ARG002
        grid: Any | None = None,  # noqa: ARG002
    ) -> Any:
        """``[batch, 3, size, size] -> [batch, visual tokens, LLM width]``."""
        return self._reference.features_by(pixel_values, self._export.selected(pixel_values)[1])[0]


def _impossible(choice: dict[str, Any], tokens: int, merged: int) -> str | None:
    """What is wrong with a choice among ``tokens`` for ``merged`` others whatever they hold; None where nothing is."""
    import numpy as np

    if MERGED in choice and (choice[MERGED].min() < 0 or choice[MERGED].max() >= merged):
        return f"it merges tokens into number {choice[MERGED].max()} of {merged}"
    for row in choice[KEPT]:
        if row.min() < 0 or row.max() >= tokens:
            return f"it keeps positions {row.min()} to {row.max()} of {tokens} tokens"
        if len(np.unique(row)) < len(row):
            return f"it keeps {len(row)} tokens, {len(np.unique(row))} of them different"
    return None


def selection(export: OnnxModel, reference: Reference, prompts: tuple[Prompt, ...]) -> Check:
    """What is kept of random images, by the checkpoint's own features."""
    import numpy as np

    plan, shortfalls, limits = reference.compression, [], []
    for prompt in prompts:
        ours, choice = export.selected(prompt.pixel_values)
        if wrong := _impossible(choice, plan.region_tokens, plan.merged_tokens):
            return failed("selection", wrong)
        theirs, shortfall = reference.features_by(prompt.pixel_values, choice)
        off = np.linalg.norm(ours - theirs, axis=-1) / np.maximum(np.linalg.norm(theirs, axis=-1), 1e-12)
        shortfalls.append(shortfall)
        limits.append(_LEAST + _MARGIN * float(off.max()))
    worst, limit = max(zip(shortfalls, limits, strict=True), key=lambda pair: pair[0] / pair[1])
    detail = (
        f"every token kept is the best left at its step, or within {worst:.1e} of a cosine of it; rounding of the "
        f"features explains {limit:.1e}"
    )
    wrong = f"a token is kept that is worse than another by {worst:.1e} of a cosine; rounding explains {limit:.1e}"
    return verdict("selection", [wrong] if not worst <= limit else [], detail, largest_difference=worst)
