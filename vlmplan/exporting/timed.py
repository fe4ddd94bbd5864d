"""How is a request of an export timed? A workload as a prompt, and one run of it with the seconds of its parts."""

from dataclasses import dataclass, replace

from vlmplan.exporting.runner import Model, Prompt, generate
from vlmplan.exporting.shapes import Shapes
from vlmplan.models import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRequest:
    """One request of a workload: a runner for the timing loop."""

    model: Model
    prompt: Prompt
    output_tokens: int

    def run(self) -> dict[str, float]:
        """Generate once; seconds of the parts, of the first token, of each further one and of all."""
        generation = generate(self.model, self.prompt, self.output_tokens)
        times = {"ttft": generation.ttft_s, "latency": generation.token_s[-1]}
        if self.prompt.pixel_values is not None:
            times |= {"vision": generation.vision_s, "prefill": generation.prefill_s}
        return times if generation.tpot_s is None else times | {"tpot": generation.tpot_s}


def workload_prompt(
    workload: Workload, visual_tokens: int, image_size: int, image_token: int, reads_question: bool, tiles: int = 0
) -> Prompt:
    """Return a prompt of the workload's size: images first, then text; of an image so many ``tiles``, or one view."""
    import numpy as np

    rng = np.random.default_rng(0)
    ids = np.full((workload.batch, workload.text_tokens + workload.images * visual_tokens), image_token, np.int64)
    if workload.text_tokens:
        text = rng.integers(0, image_token, workload.text_tokens) if image_token > 0 else np.zeros(1, np.int64)
        ids[:, -workload.text_tokens :] = text
    views = (workload.batch, workload.images * tiles) if tiles else (workload.batch * workload.images,)
    size = (*views, 3, image_size, image_size)
    return Prompt(
        input_ids=ids,
        attention_mask=np.ones_like(ids),
        pixel_values=rng.standard_normal(size).astype(np.float32) if visual_tokens else None,
        question_ids=ids[:, -workload.text_tokens :] if reads_question else None,
        image_token=image_token,
    )


def shaped_prompt(workload: Workload, shapes: Shapes, image_token: int) -> Prompt:
    """Return a prompt of the workload's size whose images become views of patches, each in a shape of its own."""
    import numpy as np

    prompt = workload_prompt(workload, shapes.tokens, 1, image_token, reads_question=False)
    views = shapes.patches(workload.batch * workload.images)
    if not len(views):
        return prompt
    pixels, mask = shapes.read(np.random.default_rng(0), views, int(views.prod(axis=1).max()))
    return replace(prompt, pixel_values=pixels, pixel_mask=mask, shapes=views)
