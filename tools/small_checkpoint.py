"""Write a small random checkpoint, to try export and validate without a download.

    PYTHONPATH=. python tools/small_checkpoint.py small [--llm qwen2] [--tower clip_vision_model] [--family llava]

Its answers mean nothing; its shapes and files are those of transformers' own ``save_pretrained``.
"""

import argparse
from pathlib import Path

from vlmplan.checkpoints.checkpoint import MODEL_TYPES, TEXT_TYPES, TOWER_TYPES
from vlmplan.checkpoints.internvl_chat import FIRST_FORMAT
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.errors import VlmplanError


def main() -> None:
    """Read the options and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--llm", choices=TEXT_TYPES, default="qwen2")
    parser.add_argument("--tower", choices=TOWER_TYPES, default="clip_vision_model", help="of the LLaVA families")
    made_here = [kind for kind in MODEL_TYPES if kind != FIRST_FORMAT]
    parser.add_argument("--family", choices=made_here, default="llava")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    made = SmallModel(model_type=given.family, llm=given.llm, tower=given.tower, seed=given.seed)
    try:
        print(f"wrote {write_checkpoint(made, given.folder)}")
    except VlmplanError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
