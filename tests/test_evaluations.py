"""Result folders of lmms-eval and VLMEvalKit, laid out as the harnesses write them."""

import json
from pathlib import Path
from typing import Any

import pytest

from vlmplan.errors import InputError
from vlmplan.evaluations import read_results
from vlmplan.harness import Harness

RUNS = "run,llm_params_b,visual_tokens,family\n" + "".join(
    f"llava__{size}b-{tokens},{size},{tokens},llava\n" for size in (1, 7) for tokens in (16, 64)
)


def runs(folder: Path, text: str = RUNS) -> Path:
    path = folder / "runs.csv"
    path.write_text(text)
    return path


def lmms(folder: Path, run: str, figures: dict[str, Any], date: str = "20260101_101010") -> None:
    path = folder / "logs" / run / f"{date}_results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"results": figures, "configs": {}, "model_name": run, "date": date}))


def figures(docvqa: float) -> dict[str, Any]:
    return {
        "docvqa_val": {"alias": "docvqa_val", "anls,none": docvqa, "anls_stderr,none": "N/A"},
        "mme": {"alias": "mme", "mme_cognition_score,none": 300.0, "mme_perception_score,none": 1400.0},
    }


def test_lmms_eval(tmp_path: Path) -> None:
    for size in (1, 7):
        for tokens in (16, 64):
            lmms(tmp_path, f"llava__{size}b-{tokens}", figures(size / 20 + tokens / 200))
    lmms(tmp_path, "llava__7b-64", figures(0.9), date="20260301_000000")  # newer
    lmms(tmp_path, "other", figures(0.1))
    trial = tmp_path / "logs" / "llava__7b-64" / "20260401_000000_results.json"
    trial.write_text(json.dumps({"results": figures(0.01), "config": {"limit": 8}}))  # not a full run
    rows, notes = read_results(tmp_path / "logs", Harness.LMMS_EVAL, runs(tmp_path), metric="anls")
    assert {(row.llm_params_b, row.visual_tokens): row.error for row in rows} == pytest.approx(
        {(1, 16): 0.87, (1, 64): 0.63, (7, 16): 0.57, (7, 64): 0.1}
    )
    assert {row.task for row in rows} == {"docvqa_val"}
    assert {row.family for row in rows} == {"llava"}
    assert notes == ("runs without N and V in runs.csv, ignored: other",)
    mme, _ = read_results(tmp_path / "logs", Harness.LMMS_EVAL, runs(tmp_path), "mme_perception_score", 2000)
    assert [row.error for row in mme] == pytest.approx([0.3] * 4)
    documents, _ = read_results(tmp_path / "logs", Harness.LMMS_EVAL, runs(tmp_path), tasks={"docvqa_val"})
    assert len(documents) == 4
    with pytest.raises(InputError, match="mme: found the figures mme_cognition_score, mme_perception_score; name one"):
        read_results(tmp_path / "logs", Harness.LMMS_EVAL, runs(tmp_path))


def test_figures_that_are_none(tmp_path: Path) -> None:
    """Filters are part of a figure's name; booleans, huge integers and standard errors are none."""
    figures = {"acc,none": 0.5, "acc,strict": 0.4, "ok,none": True, "big,none": 10**400, "acc_stderr,none": 0.1}
    lmms(tmp_path, "llava__1b-16", {"ai2d": figures})
    with pytest.raises(InputError, match="ai2d: found the figures acc, acc,strict; name one"):
        read_results(tmp_path, Harness.LMMS_EVAL, runs(tmp_path))
    rows, _ = read_results(tmp_path, Harness.LMMS_EVAL, runs(tmp_path), metric="acc,strict")
    assert [row.error for row in rows] == [0.6]


def kit(folder: Path, run: str, dated: str | None, ending: str, text: str) -> None:
    path = folder / run / (dated or "") / f"{run}_{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_vlmevalkit(tmp_path: Path) -> None:
    """Fractions, percent, splits, OCRBench's JSON, and dated folders of which the newest counts."""
    folder = tmp_path / "outputs"
    for size in (1, 7):
        for tokens in (16, 64):
            run, percent = f"llava__{size}b-{tokens}", 40 + size + tokens / 8
            kit(folder, run, None, "DocVQA_VAL_acc.csv", f'"val","Overall"\n"{percent}","{percent}"\n')
            mmmu = f'"split","Overall","Art"\n"dev","0.9","0.1"\n"validation","{percent / 100}","0.2"\n'
            kit(folder, run, "T20260101_Gabc", "MMMU_DEV_VAL_acc.csv", mmmu.replace(f"{percent / 100}", "0.01"))
            kit(folder, run, "T20260302_Gdef", "MMMU_DEV_VAL_acc.csv", mmmu)
            kit(folder, run, None, "OCRBench_score.json", json.dumps({"Final Score": 5, "Final Score Norm": percent}))
            skills = f'"Task&Skill","tot","hit","acc"\n"algebra","9","9","99.0"\n"Overall","10","1","{percent}"\n'
            kit(folder, run, None, "MathVista_MINI_gpt-4-turbo_score.csv", skills)
            kit(folder, run, None, "MME_score.csv", '"perception","reasoning"\n"1400","300"\n')  # no overall
    rows, notes = read_results(folder, Harness.VLMEVALKIT, runs(tmp_path))
    assert notes == ()
    assert {row.task for row in rows} == {"DocVQA_VAL", "MMMU_DEV_VAL", "OCRBench", "MathVista_MINI_gpt-4-turbo"}
    for row in rows:
        assert row.error == pytest.approx(1 - (40 + row.llm_params_b + row.visual_tokens / 8) / 100)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    lmms(tmp_path, "llava__1b-16", {"ai2d": {"exact_match,flexible-extract": 0.5}})
    _, notes = read_results(tmp_path, Harness.LMMS_EVAL, runs(tmp_path))
    assert notes == ("runs of runs.csv without results: llava__1b-64, llava__7b-16, llava__7b-64",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("run,llm_params_b\nx,1\n", "no column visual_tokens; expected run, llm_params_b, visual_tokens"),
        ("run,llm_params_b,visual_tokens\nx,1,1\nx,2,2\n", "the run 'x' stands there twice"),
        ("run,llm_params_b,visual_tokens\n,1,1\n", "line 2: run is empty"),
        ("run,llm_params_b,visual_tokens\nx,big,1\n", "line 2: llm_params_b is 'big'"),
        (
            "run,llm_params_b,visual_tokens\nllava,1,1\n",
            r"none of its runs \(llava\) has results .*found runs llava__1b-16",
        ),
    ],
)
def test_bad_tables_of_runs(tmp_path: Path, table: str, message: str) -> None:
    lmms(tmp_path, "llava__1b-16", {"ai2d": {"exact_match,none": 0.5}})
    with pytest.raises(InputError, match=message):
        read_results(tmp_path / "logs", Harness.LMMS_EVAL, runs(tmp_path, table))


def test_bad_folders(tmp_path: Path) -> None:
    table = runs(tmp_path)
    with pytest.raises(InputError, match="expected a folder of lmms-eval results"):
        read_results(tmp_path / "gone", Harness.LMMS_EVAL, table)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found no vlmevalkit results; expected MODEL/MODEL_DATASET_acc"):
        read_results(tmp_path / "empty", Harness.VLMEVALKIT, table)
    broken = tmp_path / "broken" / "m" / "x_results.json"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"results": 3}')
    with pytest.raises(InputError, match="no table 'results' in it"):
        read_results(tmp_path / "broken", Harness.LMMS_EVAL, table)
