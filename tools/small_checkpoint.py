"""Write a small random checkpoint, to try export and validate without a download.

    PYTHONPATH=. python tools/small_checkpoint.py small [--llm qwen2] [--tower clip_vision_model] [--family llava]

Its answers mean nothing; its shapes and files are those of transformers' own ``save_pretrained``.
"""

import argparse
from pathlib import Path

from vlmplan.checkpoints.checkpoint import MODEL_TYPES, TEXT_TYPES, TOWER_TYPES
from vlmplan.checkpoints.families.internvl_chat import FIRST_FORMAT
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.errors import VlmplanError
from vlmplan.models.families import ARCHITECTURES


def main() -> None:
    """Read the options and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    own = {llm for kind in MODEL_TYPES for llm in ARCHITECTURES[kind].exported_texts}
    parser.add_argument("--llm", choices=[*TEXT_TYPES, *sorted(own)], help="default: qwen2, or the family's own")
    parser.add_argument("--tower", choices=TOWER_TYPES, default="clip_vision_model", help="of the LLaVA families")
    made_here = [kind for kind in MODEL_TYPES if kind != FIRST_FORMAT]
    parser.add_argument("--family", choices=made_here, default="llava")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    texts = ARCHITECTURES[given.family].exported_texts or TEXT_TYPES
    llm = given.llm or (texts[0] if texts is not TEXT_TYPES else "qwen2")
    if llm not in texts:
        parser.error(f"--llm: found {llm}, {given.family} is exported with {', '.join(texts)}")
    made = SmallModel(model_type=given.family, llm=llm, tower=given.tower, seed=given.seed)
    try:
        print(f"wrote {write_checkpoint(made, given.folder)}")
    except VlmplanError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
