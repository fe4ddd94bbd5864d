"""Where the tools read public facts from: `facts/`, in the repository."""

import csv
import gzip
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "facts"
PROFILES = ROOT / "profiles"


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV, plain or gzipped, below ``facts/``."""
    return read_rows(FACTS / name)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV, plain or gzipped."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def generation(row: dict[str, str]) -> str:
    """Return the family of a row of ``vlms.csv``, by generation as in all families but one.

    The four MiniCPM-V models are a year and an LLM family apart; of Kimi-VL one answers at once and one thinks first.
    """
    if row["family"] == "Kimi-VL" and "Thinking" in row["hf_id"]:
        return "Kimi-VL Thinking"
    if row["family"] == "MiniCPM-V":
        return "MiniCPM-V " + row["hf_id"].rpartition("-V-")[2].replace("_", ".")
    return row["family"]


def number(text: str) -> float | None:
    """Return a cell as a number, None when blank."""
    return float(text) if text.strip() else None
