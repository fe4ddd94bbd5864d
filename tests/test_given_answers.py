"""Answers made elsewhere: the layouts that are read, the table that comes of them, and a change held against before."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from vlmplan import api
from vlmplan.cli.app import app
from vlmplan.errors import InputError, OutOfTolerance
from vlmplan.evaluation.before_after import AnswersGate, Standing, answers_gate, gate_markdown, require_answers
from vlmplan.evaluation.given_answers import read_answers
from vlmplan.evaluation.questions import Answered, answers_jsonl, read_questions
from vlmplan.evaluation.scoring import Score
from vlmplan.evaluation.served import Reply
from vlmplan.fitting.point_tables import read_points
from vlmplan.proof.report import checks_junit

LIMITS = (64, 256)
WORDS = ("red", "blue", "green", "white", "black", "brown")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six questions, each with an id."""
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": f"q{n}", "image": f"{n}.png", "question": f"colour {n}?", "answer": word} for n, word in enumerate(WORDS)
    ]
    _lines(path, rows)
    return path


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _said(number: int, limit: int) -> str:
    """Right at 256 tokens; at 64 the first two are wrong."""
    return "pink" if limit == 64 and number < 2 else WORDS[number]


def _ours(path: Path, said: Any = _said, count: int = len(WORDS), limits: tuple[int, ...] = LIMITS) -> Path:
    rows = [
        {"key": f"{n}-{limit}", "question": f"questions.jsonl line {n + 1}", "text": f"colour {n}?", "limits": [limit],
         "size": [10, 10], "visual_tokens": limit - 1, "answer": said(n, limit), "expected": [WORDS[n % len(WORDS)]],
         "prompt_tokens": 9 + limit}
        for n in range(count) for limit in limits
    ]  # fmt: skip
    _lines(path, rows)
    return path


def _plain(path: Path, delimiter: str) -> str:
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, delimiter=delimiter)
        rows.writerow(("question", "visual_tokens", "answer"))
        rows.writerows((f"q{n}", limit, _said(n, limit)) for n in range(len(WORDS)) for limit in LIMITS)
    return str(path)


def _by_run(folder: Path, ending: str, row: Any, *, lines: bool) -> str:
    """A file for each number of tokens, as harnesses write them."""
    named = []
    for limit in LIMITS:
        path = folder / f"{limit}{ending}"
        rows = [row(number, _said(number, limit)) for number in range(len(WORDS))]
        if lines:
            _lines(path, rows)
        else:
            path.write_text(json.dumps(rows), encoding="utf-8")
        named.append(f"{limit}={path}")
    return ",".join(named)


def _lmms_eval(number: int, said: str) -> dict[str, Any]:
    """As ``EvaluationTracker.save_results_samples`` leaves a sample."""
    return {"doc_id": number, "target": f"['{WORDS[number]}']", "filtered_resps": [said], "doc_hash": "0",
            "input": f"colour {number}?\nAnswer with one word.", "exact_match": 1.0}  # fmt: skip


def _vlmevalkit(number: int, said: str) -> dict[str, Any]:
    return {"index": 700 + number, "question": f"colour {number}?", "answer": WORDS[number], "prediction": said}


def _of_models(folder: Path, table: Path) -> str:
    """As ``evaluate`` writes what an export of each number of tokens says."""
    questions = read_questions(table, None)
    for limit in LIMITS:
        answered = [
            Answered(text=_said(n, limit), right=True, tokens=(1,), margins=(0.5,)) for n in range(len(questions))
        ]
        (folder / f"export-{limit}.jsonl").write_text(answers_jsonl(questions, answered), encoding="utf-8")
    return ",".join(f"{limit}={folder / f'export-{limit}.jsonl'}" for limit in LIMITS)


def _layouts(folder: Path) -> dict[str, tuple[str, bool]]:
    """What is typed for every layout, and whether its questions have ids."""
    (folder / "kit").mkdir()
    return {
        "ours": (str(_ours(folder / "ours.jsonl")), True),
        "a checkpoint's": (_of_models(folder, folder / "questions.jsonl"), True),
        "csv": (_plain(folder / "a.csv", ","), True),
        "tsv": (_plain(folder / "a.tsv", "\t"), True),
        "lmms-eval": (_by_run(folder, "_samples_mine.jsonl", _lmms_eval, lines=True), False),
        "VLMEvalKit": (_by_run(folder / "kit", ".json", _vlmevalkit, lines=False), False),
    }


def test_every_layout_makes_the_same_table(table: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    _lines(plain, [{key: value for key, value in row.items() if key != "id"} for row in rows])
    found = {
        name: api.evaluate_answers(answers=typed, questions=table if ids else plain)
        for name, (typed, ids) in _layouts(tmp_path).items()
    }
    for curve in found.values():
        assert [(one.limit, one.questions, one.worse, one.better) for one in curve.at] == [
            (64, 6, 2, 0),
            (256, 6, 0, 0),
        ]
        assert [round(one.score_fraction, 3) for one in curve.at] == [0.667, 1.0]
        assert (curve.host, curve.requests, curve.kept) == (None, 0, 12)


def test_a_run_s_folder_of_lmms_eval_is_looked_through(table: Path, tmp_path: Path) -> None:
    made = tmp_path / "run" / "model"
    made.mkdir(parents=True)
    _lines(made / "20260101_samples_mine.jsonl", [_lmms_eval(n, WORDS[n]) for n in range(6)])
    found = api.evaluate_answers(answers=f"64={tmp_path / 'run'}", questions=table)
    assert found.at[0].score_fraction == 1
    _lines(made / "20260102_samples_mine.jsonl", [])
    with pytest.raises(InputError, match=r"found 2 files .* expected one"):
        api.evaluate_answers(answers=f"64={tmp_path / 'run'}", questions=table)


def test_a_table_of_a_spreadsheet_is_read(table: Path, tmp_path: Path) -> None:
    """With a byte order mark, and tokens as a spreadsheet writes numbers."""
    (tmp_path / "b.csv").write_text("\ufeffid,tokens,prediction\nq0,64.0,red\nq1,64.0,red\n", encoding="utf-8")
    assert api.evaluate_answers(answers=tmp_path / "b.csv", questions=table).at[0].score_fraction == 0.5


def test_answers_make_points(table: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    given = ["evaluate", str(_ours(tmp_path / "a.jsonl")), str(table), "--points", str(points)]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2
    assert "name the model by --like" in refused.stderr
    ran = CliRunner().invoke(app, [*given, "--like", "Qwen2.5-VL-7B"], env={"COLUMNS": "100"})
    assert ran.exit_code == 0, ran.output
    assert "12 answers made elsewhere." in ran.stdout
    rows, _ = read_points(points)
    assert [(row.visual_tokens, row.error) for row in rows] == [(63, pytest.approx(1 / 3)), (255, 0)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "who,what\n1,2\n", r"a.csv row 1: found the columns who, what; expected question \(the number"),
        ("a.csv", "question,visual_tokens,answer\nq0,many,x\n", "visual_tokens: expected a number of tokens"),
        ("a.csv", "question,visual_tokens,answer\nnobody,64,x\n", "none of them to one of the 6 questions"),
        ("a.csv", "question,visual_tokens,answer\ndoc_id x,64,x\n", "none of them to one of the 6 questions"),
        ("a.csv", "question,visual_tokens,answer\nindex a row b,64,x\n", "none of them to one of the 6 questions"),
        ("a.csv", f"question,visual_tokens,answer\nq0,{'0' * 8}1{'9' * 5000},x\n", "expected a number of tokens"),
        (
            "a.jsonl",
            json.dumps(
                {"key": "k", "limits": ["0" * 8 + "1" * 400], "question": "q0", "answer": "x", "visual_tokens": 64}
            ),
            "limits: expected a number of tokens",
        ),
        ("a.csv", "question,visual_tokens,answer\nq0,64,x\nq0,64,y\n", "row 2: a second answer to q0 within 64"),
        ("a.csv", "question,visual_tokens,answer\n", "found no answer"),
        ("a.jsonl", '{"doc_id": 0, "filtered_resps": ["x"]}\n', "write them before it: 256=FILE"),
        ("a.jsonl", '{"key": "k", "limits": [1], "question": 3}\n', "as evaluate --answers writes them"),
        ("a.jsonl", "[]\n", "line 1: expected a table"),
        ("a.jsonl", "{\n", "line 1: is no JSON"),
        ("a.json", '{"index": 1}', "expected a list of rows"),
        ("a.xlsx", "PK", "found a workbook; expected .csv"),
        ("a.csv", 'question,visual_tokens,answer\nq0,64,"' + "x" * 200_000, "no table that can be read"),
        ("a.csv", 'question,visual_tokens,answer\nq0,64,"red\nq1,64,blue\n', "no table that can be read"),
        ("a.csv", "question,visual_tokens,answer,answer\nq0,64,red,blue\n", "the column 'answer' twice"),
        (
            "a.jsonl",
            '{"key": "k", "limits": [64], "question": "q0", "answer": "x", "visual_tokens": 64, "prompt_tokens": NaN}',
            "line 1: prompt_tokens: expected a number of tokens, or null",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(table: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        api.evaluate_answers(answers=tmp_path / name, questions=table)


def test_a_harness_s_other_questions_are_noticed(table: Path, tmp_path: Path) -> None:
    _lines(tmp_path / "a.jsonl", [_lmms_eval(0, "red") | {"input": "what is this?"}])
    with pytest.raises(InputError, match=r"asks 'what is this.'.*expected the same questions"):
        api.evaluate_answers(answers=f"64={tmp_path / 'a.jsonl'}", questions=table)


def test_answers_to_words_since_changed_are_left_out(table: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    _lines(table, [rows[0] | {"question": "another?"}, *rows[1:]])
    found = api.evaluate_answers(answers=_ours(tmp_path / "a.jsonl"), questions=table)
    assert found.at[0].questions == 5
    assert found.warnings == ("2 answers to none of these questions left out",)


@pytest.mark.parametrize("target", [f"[0x{'f' * 9000}]", "[{[]: 1}]", "[" * 9000])
def test_a_target_that_is_no_list_is_a_text(tmp_path: Path, target: str) -> None:
    _lines(tmp_path / "a.jsonl", [_lmms_eval(0, "red") | {"target": target}])
    (given,) = read_answers(f"64={tmp_path / 'a.jsonl'}")
    assert given.expected == (target,)


def test_lines_that_kills_cut_off_are_no_answers(table: Path, tmp_path: Path) -> None:
    path = _ours(tmp_path / "a.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0][:30], *lines[1:]]) + '\n{"key": "x', encoding="utf-8")
    assert api.evaluate_answers(answers=path, questions=table).at[0].questions == 5


# ---- before and after a change


def _replies(scores: Iterable[float]) -> list[Reply]:
    return [
        Reply(
            question=str(n),
            limit=64,
            visual_tokens=64,
            text="",
            right_fraction=float(right),
            prompt_tokens=None,
            key="",
        )
        for n, right in enumerate(scores)
    ]


def _gate(worse: int, better: int, same: int, within: float = 0.01) -> AnswersGate:
    before, after = [0.0] * better + [1.0] * (worse + same), [1.0] * better + [0.0] * worse + [1.0] * same
    sides = [_replies(scores) for scores in (before, after)]
    return answers_gate(("before", sides[0]), ("after", sides[1]), Score.EXACT, within)


def test_a_change_holds_falls_short_or_cannot_be_told() -> None:
    assert _gate(0, 0, 400).standing is Standing.HOLDS
    assert _gate(60, 2, 340).standing is Standing.SHORT
    unsure = _gate(0, 0, 200)
    assert unsure.standing is Standing.UNSURE
    more = unsure.at[0].more_questions
    assert more is not None
    assert _gate(0, 0, 200 + more).standing is Standing.HOLDS
    assert _gate(0, 0, 199 + more).standing is Standing.UNSURE
    assert _gate(2, 0, 198).at[0].more_questions is None  # loses just what it may
    assert unsure.at[0].p_value == 1
    assert _gate(60, 2, 340).at[0].p_value < 1e-10


def test_few_more_losses_than_allowed_are_found_with_more_questions() -> None:
    unsure = _gate(6, 2, 92)
    more = unsure.at[0].more_questions
    assert unsure.standing is Standing.UNSURE
    assert more is not None
    grown = (100 + more) / 100
    assert _gate(round(6 * grown), round(2 * grown), round(92 * grown)).standing is Standing.SHORT


def test_a_change_that_loses_what_it_may_seldom_passes() -> None:
    """Drawn at the edge: 3 points lost where 3 may be; it passes in about one of twenty."""
    rng, passed, failed = np.random.default_rng(0), 0, 0
    for _ in range(400):
        worse, better, same = (int(one) for one in rng.multinomial(300, (0.06, 0.03, 0.91)))
        standing = _gate(worse, better, same, within=0.03).standing
        passed += standing is Standing.HOLDS
        failed += standing is Standing.SHORT
    assert passed / 400 < 0.08
    assert failed / 400 < 0.08


def test_scores_in_between_are_held_too() -> None:
    rng = np.random.default_rng(1)
    sides = [_replies(scores) for scores in (rng.uniform(0.5, 1, 60), rng.uniform(0.2, 0.7, 60))]
    found = answers_gate(("before", sides[0]), ("after", sides[1]), Score.ANLS, 0.1)
    assert found.standing is Standing.SHORT
    unsure = answers_gate(("before", sides[0]), ("after", sides[1]), Score.ANLS, 0.28)
    assert unsure.at[0].more_questions is None or unsure.at[0].more_questions > 0


def _two(tmp_path: Path, wrong: int, count: int = 400) -> list[str]:
    """The command for answers before, all right, and after, so many wrong."""
    before = _ours(tmp_path / "before.jsonl", lambda n, _: WORDS[n % 6], count, (64,))
    after = _ours(tmp_path / "after.jsonl", lambda n, _: "pink" if n < wrong else WORDS[n % 6], count, (64,))
    return ["evaluate", str(after), "--against", str(before), "--within", "1%"]


@pytest.mark.parametrize(
    ("answers", "more", "code", "message"),
    [
        ((0, 400), [], 0, "The answers hold: they surely lose no more than 1 points."),
        ((40, 400), [], 4, "after.jsonl falls short at 64 visual tokens: it surely loses more than 1 points"),
        ((0, 60), [], 4, "cannot tell yet at 64 visual tokens whether after.jsonl loses more than 1 points; about"),
        ((0, 60), ["--allow-unsure"], 0, "more questions would tell"),
        ((40, 400), ["--allow-unsure"], 4, "falls short"),
    ],
)
def test_the_gate_ends_with_its_verdict(
    tmp_path: Path, answers: tuple[int, int], more: list[str], code: int, message: str
) -> None:
    wrong, count = answers
    ran = CliRunner().invoke(app, [*_two(tmp_path, wrong, count), *more, "--junit", str(tmp_path / "a.xml")],
                             env={"COLUMNS": "120", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")})  # fmt: skip
    assert ran.exit_code == code, ran.output
    assert message in ran.stdout + ran.stderr
    suite = ElementTree.parse(tmp_path / "a.xml").getroot()
    unsure = count == 60
    assert (suite.get("failures"), suite.get("skipped")) == (str(int(wrong > 0)), str(int(unsure)))
    assert "vlmplan evaluate: " in (tmp_path / "summary.md").read_text()


def test_questions_judge_answers_that_do_not_say_what_is_right(table: Path, tmp_path: Path) -> None:
    after, before = _plain(tmp_path / "after.csv", ","), _ours(tmp_path / "before.jsonl")
    with pytest.raises(InputError, match=r"does not say what is right; give QUESTIONS.jsonl"):
        api.compare_answers(after=after, before=before)
    found = api.compare_answers(after=after, before=before, questions=table)
    assert [(one.limit, one.worse, one.better) for one in found.at] == [(64, 0, 0), (256, 0, 0)]


def test_what_has_nothing_in_common_is_one_line(tmp_path: Path) -> None:
    before, after = _ours(tmp_path / "b.jsonl", limits=(64,)), _ours(tmp_path / "a.jsonl", limits=(128,))
    with pytest.raises(InputError, match=r"answer no question within the same number .*before 64, after 128"):
        api.compare_answers(after=after, before=before)


def test_answers_of_one_side_are_counted(tmp_path: Path) -> None:
    before, after = _ours(tmp_path / "b.jsonl"), _ours(tmp_path / "a.jsonl", limits=(64,))
    found = api.compare_answers(after=after, before=before)
    assert (len(found.at), found.unpaired) == (1, 6)


def test_a_verdict_may_be_on_what_is_deployed_alone(tmp_path: Path) -> None:
    before, after = _ours(tmp_path / "b.jsonl", lambda n, _: WORDS[n]), _ours(tmp_path / "a.jsonl")
    given = ["evaluate", str(after), "--against", str(before), "--allow-unsure"]
    assert CliRunner().invoke(app, [*given, "--within", "90%", "--visual-tokens", "256"]).exit_code == 0
    assert [one.limit for one in api.compare_answers(after=after, before=before, visual_tokens=256).at] == [256]
    ran = CliRunner().invoke(app, [*given, "--visual-tokens", "100"])
    assert ran.exit_code == 2
    assert "found no answer within 100 visual tokens, only within 64, 256" in ran.stderr


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """A file's name goes to the terminal, to JUnit and to a job's summary."""
    before = _ours(tmp_path / "b.jsonl", limits=(64,))
    after = _ours(tmp_path / "::error::x|<b>.jsonl", limits=(64,))
    found = api.compare_answers(after=after, before=before)
    with pytest.raises(OutOfTolerance):
        require_answers(found, allow_unsure=False)
    summary = gate_markdown(found)
    assert "::error" not in summary
    assert ElementTree.fromstring(checks_junit("evaluate", found.checks)).get("tests") == "1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a.csv"], "QUESTIONS.jsonl: found none; expected the questions that were answered"),
        (["a.csv", "q.jsonl", "--budget", "3"], "--budget: not for answers made before without --judge"),
        (["a.csv", "q.jsonl", "--within", "3%"], "--within: not for answers made before"),
        (["a.csv", "--against", "b.csv", "--points", "p.csv"], "--points: not for answers held against others"),
        (["http://127.0.0.1:9/v1", "q.jsonl", "--junit", "x.xml"], "--junit: not for a server"),
        (["http://127.0.0.1:9/v1"], "QUESTIONS.jsonl: found none; expected what a server is asked"),
        (["somewhere", "q.jsonl"], "--images: found none; expected the folder of the questions' images"),
    ],
)
def test_what_does_not_go_together_is_one_line(given: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, ["evaluate", *given])
    assert ran.exit_code == 2
    assert message in ran.stderr
