"""Tables of points: what is read, what is suspicious, what --drop and --keep do, and one line for what cannot be."""

from dataclasses import replace
from pathlib import Path

import pytest
from grids import TABLES

from vlmplan.accuracy.law import Point
from vlmplan.errors import InputError
from vlmplan.fitting.lint import kept, lint
from vlmplan.fitting.point_tables import MOST_POINTS, Finding, Row, Suspicion, of_task, points, read_points

HEAD = "llm_params_b,visual_tokens,error\n"
GRID = [
    (n, v, round(0.6 - 0.02 * i - 0.005 * j, 4)) for i, n in enumerate((0.5, 2, 7)) for j, v in enumerate((1, 16, 64))
]
LINES = "".join(f"{n},{v},{e}\n" for n, v, e in GRID)


def read(tmp_path: Path, text: str, score_max: float | None = None) -> tuple[Row, ...]:
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    return read_points(path, score_max)[0]


def kinds(found: tuple[Finding, ...]) -> list[Suspicion]:
    return [one.kind for one in found]


def use(rows: tuple[Row, ...], drop: str = "", keep: str = "") -> tuple[tuple[Row, ...], tuple[str, ...]]:
    return kept(rows, frozenset(drop.split(",")) - {""}, frozenset(keep.split(",")) - {""})


def test_error_accuracy_and_score_are_one(tmp_path: Path) -> None:
    errors = read(tmp_path, HEAD + LINES)
    accuracies = read(tmp_path, HEAD.replace("error", "accuracy") + "".join(f"{n},{v},{1 - e}\n" for n, v, e in GRID))
    scores = read(
        tmp_path, HEAD.replace("error", "score") + "".join(f"{n},{v},{1000 * (1 - e)}\n" for n, v, e in GRID), 1000
    )
    shares = "".join(f"{n};{v};{f'{100 * (1 - e):.2f}'.replace('.', ',')}%\n" for n, v, e in GRID)
    percent = read(tmp_path, HEAD.replace("error", "accuracy").replace(",", ";") + shares)
    hundredths = read(tmp_path, HEAD + "".join(f"{n},{v},{100 * e}\n" for n, v, e in GRID), 100)
    for rows in (accuracies, scores, percent, hundredths):
        assert [row.error for row in rows] == pytest.approx([row.error for row in errors], abs=1e-12)
    assert lint(errors) == ()


def test_semicolons_with_decimal_commas_tabs_and_capitals(tmp_path: Path) -> None:
    expected = read(tmp_path, HEAD + LINES)
    semicolons = "LLM_Params_B;Visual_Tokens;Error\n" + LINES.replace(",", ";").replace(".", ",")
    assert read(tmp_path, "\ufeff" + semicolons) == expected
    assert read(tmp_path, (HEAD + LINES).replace(",", "\t").replace("\n", "\r\n")) == expected


def test_ignored_columns_are_said(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("llm_params_b,visual_tokens,error,accuracy,wieght\n1,2,0.5,0.5,3\n")
    rows, notes = read_points(path)
    assert rows[0].weight == 1
    assert notes == ("columns ignored: wieght, accuracy",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        ("params,visual_tokens,error\n1,1,0.5\n", r"no column llm_params_b \(found 'params'\)"),
        ("llm_params_b,visual_tokens,loss\n1,1,0.5\n", "no column error, accuracy or score"),
        ("llm_params_b,visual_tokens,score\n1,1,50\n", "a column score needs --score-max"),
        (HEAD, "found 0 rows below the header"),
        (HEAD + "1,1\n", "line 2: found another number of cells than the 3 columns"),
        (HEAD + "1,1,0.5,7\n", "line 2: found another number of cells"),
        (HEAD + "1,1,nan\n", "line 2: error is 'nan', expected a number"),
        (HEAD + "1,1,0.1_5\n", "line 2: error is '0.1_5', expected a number"),
        (HEAD + "1,1,\n", "line 2: error is '', expected a number"),
        (HEAD + "1,1,0.5\n-7,1,0.5\n", "line 3: llm_params_b is -7, expected a number above 0"),
        (HEAD + "7b,1,0.5\n", "llm_params_b is '7b', expected a number"),
        (HEAD.replace("\n", ",weight\n") + "1,1,0.5,0\n", "weight is 0, expected 1e-06 to 1e\\+06"),
        ("error,error,visual_tokens\n1,1,1\n", "found a column twice"),
        (
            "llm_params_b;visual_tokens;error\n0,5;1.024;0,5\n",
            "line 2: visual_tokens is '1.024' in a table with decimal commas",
        ),
        (
            "llm_params_b;visual_tokens;error\n0,5;1,024;0,5\n",
            "visual_tokens is '1,024' in a table with decimal commas",
        ),
        ("\ufeff", "found an empty file"),
        (HEAD + '1,"1,0.5\n', "not a table of separated values"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_a_hundred_thousand_rows(tmp_path: Path) -> None:
    """Rows of one model are averaged; a hundred thousand different models are refused."""
    rows = read(
        tmp_path, HEAD + "".join(f"{n},{v},{e + 0.0001 * (i % 3)}\n" for i in range(11_112) for n, v, e in GRID)
    )
    found = points(rows)
    assert len(rows) > 100_000
    assert [point.error for point in found] == pytest.approx([e + 0.0001 for _, _, e in GRID], abs=1e-6)
    assert found[0].weight == 11_112
    many = read(tmp_path, HEAD + "".join(f"{1 + i / 1000},16,0.5\n" for i in range(MOST_POINTS + 1)))
    with pytest.raises(InputError, match="found 1001 different models"):
        points(many)


def test_the_papers_copied_value_is_found() -> None:
    rows, _ = read_points(TABLES / "ocr.csv")
    left, warnings = use(rows, drop="duplicate")
    assert len(left) == 27
    assert not [row for row in left if (row.llm_params_b, row.visual_tokens) == (7, 576)]
    assert "line 22 and line 29 are equal to all digits (0.6539463189) (dropped line 29)" in warnings[0]
    assert "line 28 errs more than line 21" in warnings[1]
    assert len(use(rows)[0]) == 28


def test_equal_by_chance_is_no_copy(tmp_path: Path) -> None:
    rows = read(tmp_path, HEAD + LINES + "3,9,0.58\n3,10,0.58\n")
    assert Suspicion.DUPLICATE not in kinds(lint(rows))


def test_wrong_way_names_both_and_drops_the_farther(tmp_path: Path) -> None:
    rows = read(tmp_path, HEAD + LINES.replace("2,16,0.575", "2,16,0.61"))
    (found,) = lint(rows)
    assert found.kind is Suspicion.NON_MONOTONE
    assert "line 6 errs more than line 5 (0.61, 0.58) with more visual_tokens" in found.text
    assert found.suspects == {"line 6"}
    assert len(use(rows, drop="non-monotone")[0]) == 8
    assert len(use(rows, drop="non-monotone", keep="6")[0]) == 9
    assert len(use(rows, drop="line 6,7")[0]) == 7


def test_units_that_are_mixed(tmp_path: Path) -> None:
    mixed = HEAD.replace("error", "accuracy") + "".join(
        f"{n},{v},{(1 - e) * (100 if i == 4 else 1):.6g}\n" for i, (n, v, e) in enumerate(GRID)
    )
    rows = read(tmp_path, mixed)
    left, warnings = use(rows)
    assert len(left) == 8
    assert warnings[0].startswith("percent: line 6 has an error of")
    read_as_percent, warnings = use(rows, keep="percent")
    assert read_as_percent[4].error == pytest.approx(GRID[4][2])
    assert "read as percent" in warnings[0]
    with pytest.raises(InputError, match=r"9 of 9 values are not in .* look like percent"):
        lint(read(tmp_path, HEAD + "".join(f"{n},{v},{100 * e}\n" for n, v, e in GRID)))


def test_impossible_values_are_dropped_unless_kept(tmp_path: Path) -> None:
    rows = read(tmp_path, HEAD + LINES + "7,32,1.2\n7e9,16,0.5\n7,0.5,0.6\n30,16,0.4\n")
    assert kinds(lint(rows)) == [Suspicion.OUTSIDE, Suspicion.RANGE, Suspicion.SINGLE]
    left, warnings = use(rows)
    assert [row.name for row in rows if row not in left] == ["line 11", "line 12", "line 13"]
    assert "7e+09 billion parameters" in warnings[1]
    assert "line 14 is of the only V (16) of N 30" in warnings[2]
    assert len(use(rows, keep="outside")[0]) == 11
    assert "(kept as asked)" in use(rows, keep="outside")[1][0]


def test_rows_of_one_model_are_averaged_by_weight(tmp_path: Path) -> None:
    rows = read(tmp_path, "llm_params_b,visual_tokens,error,weight\n7,16,0.5,1\n7,16,0.4,3\n2,4,0.6,1\n")
    assert kinds(lint(rows))[0] is Suspicion.REPEATED
    mean = points(rows)[1]
    assert replace(mean, error=0) == Point(llm_params_b=7, visual_tokens=16, error=0, weight=4)
    assert mean.error == pytest.approx(0.425)


def test_sources_without_families_are_said(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("llm_params_b,visual_tokens,error,source\n1,2,0.5,one\n1,4,0.4,two\n")
    assert read_points(path)[1] == ("2 sources are taken for one; a column family gives each its own offset",)


def test_sizes_in_units_of_one(tmp_path: Path) -> None:
    rows = read(tmp_path, HEAD + "".join(f"{n * 1e9},{v},{e}\n" for n, v, e in GRID))
    with pytest.raises(InputError, match=r"9 of 9 rows have llm_params_b above 5000, such as 5e\+08 in line 2"):
        use(rows)


def test_what_is_dropped_by_name_is_not_suspected() -> None:
    rows, _ = read_points(TABLES / "ocr.csv")
    left, warnings = use(rows, drop="22")
    assert len(left) == 27
    assert not any("duplicate" in text for text in warnings)
    with pytest.raises(InputError, match="no point is left; all were dropped"):
        use(rows, drop=",".join(row.name.removeprefix("line ") for row in rows))


def test_a_run_is_all_its_rows() -> None:
    rows = tuple(
        Row(name=f"{run} {task}", llm_params_b=size, visual_tokens=16, error=0.4 / size, task=task, source="lmms-eval")
        for run, size in (("llava-1b", 1), ("llava-7b", 7))
        for task in ("docvqa", "chartqa")
    )
    assert {row.name for row in use(rows, drop="llava-7b")[0]} == {"llava-1b docvqa", "llava-1b chartqa"}
    assert len(use(rows, drop="llava-7b chartqa")[0]) == 3
    with pytest.raises(InputError, match="found 'llava'"):
        use(rows, drop="llava")


def test_words_that_mean_nothing() -> None:
    rows, _ = read_points(TABLES / "ocr.csv")
    with pytest.raises(InputError, match="found 'line 99', expected one of duplicate"):
        use(rows, drop="line 99")


TASKS = "llm_params_b,visual_tokens,error,task\n1,1,0.5,doc\n1,1,0.3,text\n2,1,0.4,doc\n2,1,0.2,text\n2,4,0.1,doc\n"


def test_tasks_are_chosen_or_mixed(tmp_path: Path) -> None:
    rows = read(tmp_path, TASKS)
    assert [row.error for row in of_task(rows, {"doc": 1.0})[0]] == [0.5, 0.4, 0.1]
    mixed, notes = of_task(rows, {"doc": 0.75, "text": 0.25})
    assert [row.error for row in mixed] == pytest.approx([0.45, 0.35])
    assert notes == ("1 models have not all tasks of the mix and are left out",)
    with pytest.raises(InputError, match="found points of 2 tasks; name one, or a mix, with --task: doc, text"):
        of_task(rows, None)
    with pytest.raises(InputError, match="no points of 'chess'; expected one of doc, text"):
        of_task(rows, {"chess": 1.0})
    plain = read(tmp_path, HEAD + LINES)
    assert of_task(plain, {"anything": 1.0}) == (plain, ())
    with pytest.raises(InputError, match="found a mix, and points without a column task"):
        of_task(plain, {"one": 0.5, "other": 0.5})


def test_errors_far_out_cannot_be_kept(tmp_path: Path) -> None:
    rows = read(tmp_path, HEAD + LINES + "7,99,1e200\n")
    with pytest.raises(InputError, match=r"line 11 has an error of 1e\+200, which cannot be kept"):
        use(rows, keep="outside")


def test_families_beyond_measure(tmp_path: Path) -> None:
    lines = "".join(f"{n},{v},{e},f{i}\n" for i in range(41) for n, v, e in GRID)
    with pytest.raises(InputError, match="found 41 families, expected at most 40"):
        points(read(tmp_path, HEAD.replace("\n", ",family\n") + lines))


def test_what_no_terminal_should_be_sent_is_escaped(tmp_path: Path) -> None:
    rows = read(tmp_path, HEAD.replace("\n", ",family\n") + "7,1,0.5,\x1b[31mred\n")
    assert rows[0].family == "\\x1b[31mred"
