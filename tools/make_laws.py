"""Make ``profiles/laws/*.toml`` from ``tools/points/*.csv`` with ``vlmplan fit``: prints each command and runs it.

Run: ``python tools/make_laws.py [NAME ...]``; without names, all, and those gone are removed.
"""

import csv
import subprocess
import sys
from pathlib import Path

from published import NESTED, ONE_SCALE

from facts import PROFILES, ROOT
from vlmplan.models.spec import Reduction

POINTS = Path(__file__).with_name("points")
# The same mean score stands at 4B and 7B; the authors' older list has no value at 7B.
DROPPED = {"ocr": "duplicate"}
# The paper's own form and the one beside it, as these studies have been read from the start: exact reproductions.
FORMS = "power,logit"
# A family without points is taken for LLaVA-NeXT where its tokens were studied: what 'recommend --candidates paper'
# would train; published checkpoints of other families had more data.


def command(points: Path) -> list[str]:
    """Return the arguments of ``vlmplan`` that make the law of one table; its name ends with its reduction."""
    task, _, rest = points.stem.partition("-")
    reduction = Reduction(rest) if rest else Reduction.TRAINED
    made = ["fit", str(points.relative_to(ROOT)), "--name", points.stem, "--task", task, "--reduction", reduction]
    made += ["--form", FORMS]
    made += ["--drop", DROPPED[task]] if task in DROPPED else []
    with points.open(encoding="utf-8", newline="") as stream:
        families = {row["family"] for row in csv.DictReader(stream)}
    made += [word for family in (ONE_SCALE, NESTED) if family in families for word in ("--like", family)]
    return [*made, "--out", str((PROFILES / "laws" / f"{points.stem}.toml").relative_to(ROOT))]


def main() -> None:
    """Make the laws named, or all."""
    tables = sorted(POINTS.glob("*.csv"))
    wanted = sys.argv[1:] or [path.stem for path in tables]
    if not sys.argv[1:]:
        for old in (PROFILES / "laws").glob("*.toml"):
            old.unlink()
    for path in tables:
        if path.stem in wanted:
            print("vlmplan", *command(path), flush=True)
            subprocess.run([sys.executable, "-m", "vlmplan", *command(path)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
