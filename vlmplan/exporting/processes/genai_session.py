"""Run an export in onnxruntime-genai: ``python -m vlmplan.exporting.processes.genai_session JOB``.

JOB is a folder with ``job.json`` (the export, how many tokens at most, cases) and ``N.npz`` for the cases that are
tensors; ``N.answer.npz`` come back. A case with a ``prompt`` goes through onnxruntime-genai's own processor, its
``pictures`` being files and ``most`` its own number of tokens; the answer then holds what the processor made, too.
"""

import json
import sys
from pathlib import Path
from typing import Any


def _tokens(genai: Any, model: Any, inputs: Any, most: int) -> list[int]:
    """Greedy tokens, at most so many or up to one that ends; no step is made for none."""
    if not most:
        return []
    params = genai.GeneratorParams(model)
    length = inputs["input_ids"].as_numpy().shape[-1] + most
    params.set_search_options(do_sample=False, repetition_penalty=1.0, max_length=length, batch_size=1)
    params.set_search_options(min_length=0, no_repeat_ngram_size=0, num_beams=1)
    generator = genai.Generator(model, params)
    generator.set_inputs(inputs)
    tokens: list[int] = []
    while len(tokens) < most and not generator.is_done():
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return tokens


def main(job: Path) -> None:
    """Answer every case of a job."""
    import numpy as np
    import onnxruntime_genai as genai

    asked = json.loads((job / "job.json").read_text(encoding="utf-8"))
    model = genai.Model(asked["export"])
    processor = model.create_multimodal_processor()
    for number, case in enumerate(asked["cases"]):
        if case is None:
            inputs, made = genai.NamedTensors(), {}
            for name, values in np.load(job / f"{number}.npz").items():
                inputs[name] = np.ascontiguousarray(values)
        else:
            pictures = genai.Images.open(*case["pictures"]) if case["pictures"] else None
            inputs = processor(case["prompt"], images=pictures)
            made = {name: inputs[name].as_numpy() for name in inputs.keys()}  # noqa: SIM118 - no mapping
        tokens = _tokens(genai, model, inputs, asked["most"] if case is None else case["most"])
        np.savez(job / f"{number}.answer.npz", tokens=np.array(tokens, np.int64), **made)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
