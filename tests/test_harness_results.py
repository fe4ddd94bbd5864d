"""Result folders of lmms-eval and VLMEvalKit, laid out as the harnesses write them."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from vlmplan.errors import InputError
from vlmplan.fitting.harness_files import Harness
from vlmplan.fitting.harness_results import read_results

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
    assert notes == (
        "runs without N and V in runs.csv, ignored: other",
        "files ignored, of a trial on a few questions (limit): llava__7b-64/20260401_000000_results.json",
        "several results of a run and task, of which the newest count: llava__7b-64/20260301_000000_results.json",
    )
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
    left_out, older = notes
    assert (
        left_out == "MME left out: it has no overall score but perception, reasoning; name one with --task and --metric"
    )
    assert older.startswith("several results of a run and task, of which the newest count: llava__1b-16/T20260302_Gdef")
    assert {row.task for row in rows} == {"DocVQA_VAL", "MMMU_DEV_VAL", "OCRBench", "MathVista_MINI_gpt-4-turbo"}
    for row in rows:
        assert row.error == pytest.approx(1 - (40 + row.llm_params_b + row.visual_tokens / 8) / 100)


def lines(folder: Path, run: str, task: str, table: str, dated: str = "T20260601_Gabcdef12") -> Path:
    """A table of VLMEvalKit's, as it lies in a dated folder."""
    path = folder / run / dated / f"{Path(run).name}_{task}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table)
    return path


BY_PATH = "run,llm_params_b,visual_tokens\n" + "".join(
    f"v{tokens}/llava__{size}b,{size},{tokens}\n" for size in (1, 7) for tokens in (16, 64)
)


def variants(folder: Path, dates: tuple[str, str] = ("20260101_101010", "20260101_101010")) -> None:
    """The same two checkpoints, evaluated with 16 and with 64 tokens: VARIANT/MODEL/DATE_results.json."""
    for tokens, date in zip((16, 64), dates, strict=True):
        for size in (1, 7):
            lmms(folder, f"v{tokens}/llava__{size}b", figures(size / 20 + tokens / 200), date=date)
            (folder / "logs" / f"v{tokens}" / f"llava__{size}b" / f"{date}_samples_mme.jsonl").write_text("{}\n")


@pytest.mark.parametrize("shape", ["{}", "./{}", "{}/", "logs/{}"])
def test_a_run_is_named_by_its_path(tmp_path: Path, shape: str) -> None:
    variants(tmp_path)
    table = "\n".join(
        line if number == 0 else ",".join([shape.format(line.partition(",")[0]), line.partition(",")[2]])
        for number, line in enumerate(BY_PATH.splitlines())
    )
    rows, notes = read_results(tmp_path / "logs", Harness.LMMS_EVAL, runs(tmp_path, table), "anls")
    assert notes == ()
    assert {(row.llm_params_b, row.visual_tokens): row.error for row in rows} == pytest.approx(
        {(1, 16): 0.87, (1, 64): 0.63, (7, 16): 0.57, (7, 64): 0.33}
    )


def test_a_name_of_several_runs_is_refused_and_of_older_ones_said(tmp_path: Path) -> None:
    """By time, not by name: the folder that sorts first has the newest."""
    table = runs(tmp_path, "run,llm_params_b,visual_tokens\nllava__1b,1,16\n")
    variants(tmp_path)
    with pytest.raises(InputError, match=r"'llava__1b' may be v16/llava__1b, v64/llava__1b, each with results of"):
        read_results(tmp_path / "logs", Harness.LMMS_EVAL, table, "anls")
    shutil.rmtree(tmp_path / "logs")
    variants(tmp_path, ("20260701_101010", "20260101_101010"))
    rows, notes = read_results(tmp_path / "logs", Harness.LMMS_EVAL, table, "anls")
    assert [row.error for row in rows] == pytest.approx([0.87])
    assert any(
        "in v64/llava__1b, v16/llava__1b: the newest count, of v16/llava__1b/20260701_101010" in n for n in notes
    )
    folders = runs(tmp_path, "run,llm_params_b,visual_tokens\nv16,1,16\n")
    with pytest.raises(InputError, match="the run 'v16' holds v16/llava__1b, v16/llava__7b"):
        read_results(tmp_path / "logs", Harness.LMMS_EVAL, folders, "anls")


def test_a_folder_with_one_run_in_it_names_the_run(tmp_path: Path) -> None:
    lmms(tmp_path, "few/llava", figures(0.5))
    lmms(tmp_path, "many/llava", figures(0.7))
    table = runs(tmp_path, "run,llm_params_b,visual_tokens\nfew,7,16\nmany,7,64\n")
    rows, _ = read_results(tmp_path / "logs", Harness.LMMS_EVAL, table, "anls")
    assert {row.visual_tokens: row.error for row in rows} == pytest.approx({16: 0.5, 64: 0.3})


def test_of_two_evaluations_on_one_day_the_later_counts(tmp_path: Path) -> None:
    """VLMEvalKit's older folders name day and commit, which says nothing of the hour; newer ones name the second."""
    score = '"Overall"\n"{}"\n'
    first = lines(tmp_path, "llava__1b-16", "POPE_score", score.format(80), "T20260601_Gfff")
    later = lines(tmp_path, "llava__1b-16", "POPE_score", score.format(90), "T20260601_Gaaa")
    noon = datetime(2026, 6, 1, 12).timestamp()
    os.utime(first, (noon, noon))
    os.utime(later, (noon + 60, noon + 60))
    rows, notes = read_results(tmp_path, Harness.VLMEVALKIT, runs(tmp_path))
    assert [row.error for row in rows] == pytest.approx([0.1])
    assert "T20260601_Gaaa" in notes[-1]
    lines(tmp_path, "llava__1b-16", "POPE_score", score.format(70), "T20260601-130000")
    rows, _ = read_results(tmp_path, Harness.VLMEVALKIT, runs(tmp_path))
    assert [row.error for row in rows] == pytest.approx([0.3])


def test_links_beside_the_dated_folders_are_no_second_results(tmp_path: Path) -> None:
    """VLMEvalKit links the newest files into the model's folder; a link that leads nowhere is not read."""
    target = lines(tmp_path, "llava__1b-16", "POPE_score", '"Overall"\n"80"\n')
    (tmp_path / "llava__1b-16" / target.name).symlink_to(target)
    (tmp_path / "llava__1b-16" / "llava__1b-16_MME_score.csv").symlink_to(tmp_path / "gone.csv")
    rows, notes = read_results(tmp_path, Harness.VLMEVALKIT, runs(tmp_path))
    assert {row.task: row.error for row in rows} == pytest.approx({"POPE": 0.2})
    assert len(rows) == 1
    assert not any("several" in note for note in notes)


HALLUSION = '"split","aAcc","fAcc","qAcc"\n"Overall","{}","40","41"\n"VS","99","98","97"\n'


@pytest.mark.parametrize(
    ("task", "table", "metric", "error"),
    [
        ("HallusionBench", HALLUSION.format(60), "aAcc", 0.4),
        ("HallusionBench", HALLUSION.format(60), "aacc", 0.4),
        ("HallusionBench", HALLUSION.format(60), "qAcc", 0.59),
        ("MME", '"perception","reasoning","OCR"\n"1500","200","150"\n', "perception", 0.25),
        ("MME", '"perception","reasoning","OCR"\n"1500","200","150"\n', "reasoning", 0.75),
        ("MME", '"perception","reasoning","OCR"\n"1500","200","150"\n', "OCR", 0.25),
        ("POPE", '"split","Overall","acc"\n"Overall","88","86"\n"random","1","2"\n', None, 0.12),
        ("POPE", '"split","Overall","acc"\n"Overall","88","86"\n"random","1","2"\n', "acc", 0.14),
        ("Some", '"Setting","score"\n"easy","80"\n"hard","30"\n', "hard score", 0.7),
        ("One", '"accuracy"\n"0.6"\n', None, 0.4),
    ],
)
def test_tables_without_an_overall_score(
    tmp_path: Path, task: str, table: str, metric: str | None, error: float
) -> None:
    lines(tmp_path, "llava__1b-16", f"{task}_score", table)
    rows, _ = read_results(tmp_path, Harness.VLMEVALKIT, runs(tmp_path), metric, tasks={task})
    assert [row.error for row in rows] == pytest.approx([error])


def test_what_a_table_has_is_named(tmp_path: Path) -> None:
    lines(tmp_path, "llava__1b-16", "HallusionBench_score", HALLUSION.format(60))
    lines(tmp_path, "llava__1b-16", "Sums_score", '"total"\n"812"\n')
    table = runs(tmp_path)

    def ask(task: str, metric: str | None) -> None:
        read_results(tmp_path, Harness.VLMEVALKIT, table, metric, tasks={task})

    with pytest.raises(InputError, match=r"--metric: found 'bAcc', expected one of aAcc, fAcc, qAcc .*HallusionBench"):
        ask("HallusionBench", "bAcc")
    with pytest.raises(InputError, match="found the figures aAcc, fAcc, qAcc; name one with --metric"):
        ask("HallusionBench", None)
    with pytest.raises(InputError, match="found results of HallusionBench, Sums"):
        ask("Hallusion", None)
    with pytest.raises(InputError, match="total is 812, above 100; expected --score-max"):
        ask("Sums", None)


def test_other_forms_of_vlmevalkit(tmp_path: Path) -> None:
    """EVAL_FORMAT=json, a judge in the file's name, a renamed folder, sheets, and tables of something else."""
    lines(tmp_path, "renamed", "x", "a\n1\n").unlink()
    folder = tmp_path / "renamed" / "T20260601_Gabcdef12"
    (folder / "Qwen2-VL-7B_MathVista_MINI_gpt-4o-mini_acc.json").write_text('[{"split": "test", "Overall": 0.7}]')
    (folder / "Qwen2-VL-7B_ChartBench_score.xlsx").write_bytes(b"PK")
    (folder / "Qwen2-VL-7B_Odd_score.csv").write_text("a,b\n1\n")
    table = runs(tmp_path, "run,llm_params_b,visual_tokens\nrenamed,7,64\n")
    rows, notes = read_results(tmp_path, Harness.VLMEVALKIT, table, tasks={"MathVista_MINI"})
    assert {row.task: row.error for row in rows} == pytest.approx({"MathVista_MINI": 0.3})
    assert any("EVAL_FORMAT=csv): renamed/T20260601_Gabcdef12/Qwen2-VL-7B_ChartBench_score.xlsx" in n for n in notes)
    assert any("not tables of scores: renamed/T20260601_Gabcdef12/Qwen2-VL-7B_Odd_score.csv" in n for n in notes)


def test_other_forms_of_lmms_eval(tmp_path: Path) -> None:
    """Files for a leaderboard beside the results, counts of questions, a limit of -1 (none), the oldest layout."""
    lmms(tmp_path, "llava__1b-16", {"ai2d": {"exact_match,flexible-extract": 0.5, "samples": 3088}})
    whole = tmp_path / "logs" / "llava__1b-64" / "20260101_101010_results.json"
    whole.parent.mkdir()
    whole.write_text(json.dumps({"results": {"ai2d": {"exact_match,none": 0.6}}, "config": {"limit": -1}}))
    (tmp_path / "logs" / "submissions").mkdir()
    (tmp_path / "logs" / "submissions" / "mmbench_en_dev_results.json").write_text('[{"index": 1}]')
    old = tmp_path / "logs" / "llava__7b-64" / "0828_1531_llava_ai2d_llava_model_args_8cc1ad"
    old.mkdir(parents=True)
    (old / "results.json").write_text(json.dumps({"results": {"ai2d": {"exact_match,flexible-extract": 0.8}}}))
    rows, notes = read_results(tmp_path / "logs", Harness.LMMS_EVAL, runs(tmp_path))
    assert {(row.llm_params_b, row.visual_tokens): row.error for row in rows} == pytest.approx(
        {(1, 16): 0.5, (1, 64): 0.4, (7, 64): 0.2}
    )
    assert any("not results of lmms-eval: submissions/mmbench_en_dev_results.json" in note for note in notes)


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
