"""A checkpoint compressed to 36 visual tokens, exported, proved, and used as a gate: exit 4 where it falls short.

Needs the extra deploy. Run: python examples/export_and_prove.py CHECKPOINT [FOLDER]
"""

import sys
from pathlib import Path

import vlmplan


def main(checkpoint: str, folder: Path) -> int:
    """Export, validate, print what was found; the exit code of a gate."""
    vlmplan.export(checkpoint=checkpoint, out=folder, visual_tokens=36, compressor="average-pool")
    report = vlmplan.validate(folder=folder, checkpoint=checkpoint, threads=2, repeats=3).report
    for check in report.checks:
        print(f"{check.outcome:<8} {check.name:<24} {check.detail}")
    return 0 if report.passed else vlmplan.OutOfTolerance.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "exported")))
