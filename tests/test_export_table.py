"""The table of exported families: some rows are made again, and no family is missing."""

from dataclasses import asdict, replace
from pathlib import Path

import export_table
import pytest
from export_table import GOOD, HEADINGS, NO_CLASS, NOT_RUN, PAGE, Cell, Kind, faults, kinds, prove, rows

from vlmplan.checkpoints.checkpoint import MODEL_TYPES
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.families import ARCHITECTURES

SETTING = HEADINGS.index("V") + 1  # columns that say what was exported
FP32 = HEADINGS.index("fp32")
PROVED = Cell(
    setting="pixels", compressor="none", visual_tokens=12, precision="fp32", faults="", client=GOOD, genai=NO_CLASS
)


def _committed() -> list[tuple[str, ...]]:
    """Cells of the table in the docs, without its head."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


@pytest.mark.parametrize("model_type", ["internvl_chat", "gemma3"])
def test_rows_are_made_again(model_type: str, tmp_path: Path) -> None:
    kind = next(one for one in kinds() if one.model_type == model_type)
    made = rows(kind, prove(kind, tmp_path, None, (Precision.FP32,)))
    shipped = [row for row in _committed() if row[:3] == made[0][:3]]
    assert [(*row[:SETTING], row[FP32]) for row in made] == [(*row[:SETTING], row[FP32]) for row in shipped]
    assert {row[FP32] for row in made} == {"proved"}


def test_every_family_has_its_rows() -> None:
    found = _committed()
    assert {row[0] for row in found} == set(MODEL_TYPES)
    assert {row[:2] for row in found} == {(kind.model_type, kind.llm) for kind in kinds()}
    assert all(set(row[FP32 : FP32 + 4]) == {"proved"} for row in found)
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name, one in ARCHITECTURES.items() if not one.exportable)


def test_a_fault_shows() -> None:
    kind = Kind(model_type="qwen2_vl", llm="qwen2")
    wrong = replace(PROVED, visual_tokens=88, faults="weights: another", client="DIFFERENT from PyTorch")
    (row,) = rows(kind, [PROVED, wrong])
    assert row[FP32] == row[HEADINGS.index("transformers.js")] == "1 of 2"
    assert rows(kind, [wrong])[0][FP32] == "FAILED"
    assert rows(kind, [wrong])[0][FP32 + 1] == NOT_RUN
    said = [f"qwen2_vl-qwen2, pixels 88, fp32: {what}" for what in ("weights: another", "DIFFERENT from PyTorch")]
    assert faults(kind, [PROVED, wrong]) == said
    assert "\n".join(f"- {one}" for one in said) in export_table.page({kind: [PROVED, wrong]}, None)


def test_what_was_found_is_not_made_again(tmp_path: Path) -> None:
    """Nor is a line that an interrupted run left half written."""
    kind = next(one for one in kinds() if one.model_type == "internvl_chat")
    made = prove(kind, tmp_path, None, (Precision.FP32,))
    path = tmp_path / f"{kind.name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0].replace('"faults": ""', '"faults": "kept"'), lines[1], lines[2][:20]]))
    again = prove(kind, tmp_path, None, (Precision.FP32,))
    assert [asdict(one) for one in again] == [asdict(replace(made[0], faults="kept")), *map(asdict, made[1:])]
