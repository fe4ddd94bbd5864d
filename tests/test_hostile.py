"""Hostile text in every field of every document, through every command and view: nothing of it does anything."""

import ast
import functools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hostile import HOSTILE, is_inert, planted
from PIL import Image
from small_models import checkpoint, exported
from test_cli import ESTIMATE, RECOMMEND, changed, run
from test_page import reported
from test_plans_again import planned

from vlmplan.cost.estimates import Estimate
from vlmplan.document import Document, from_plain, load, to_json, to_toml, write_text
from vlmplan.evaluation.questions import Agreement, Evaluation, Share
from vlmplan.exporting.answers import Answer
from vlmplan.exporting.manifest import FILE_NAME, Manifest
from vlmplan.fitting.fit import FitReport
from vlmplan.inventory import catalogue
from vlmplan.inventory.catalogue import Shelf
from vlmplan.models.spec import Compressor
from vlmplan.models.token_report import Tokens
from vlmplan.pages.html_page import Dossier, page
from vlmplan.pages.plots import plot_front, plot_law
from vlmplan.planning.comparison import Comparison
from vlmplan.planning.rechecks import recheck, recheck_markdown
from vlmplan.proof.report import junit_xml, report_markdown
from vlmplan.sweeping.grid import Trial
from vlmplan.sweeping.grid_point import TrialResult
from vlmplan.sweeping.sweeps import Status
from vlmplan.training.card import model_card
from vlmplan.training.recipe import Recipe, Stage, StageResult, Training
from vlmplan.views.brief import print_brief
from vlmplan.views.comparison import print_comparison
from vlmplan.views.deployment import print_answer, print_export, print_report
from vlmplan.views.estimate import print_estimate
from vlmplan.views.fit import print_fit
from vlmplan.views.plan import print_plan, print_recheck
from vlmplan.views.profile import measuring
from vlmplan.views.text import print_device, print_document, print_shelf, print_tokens
from vlmplan.views.training import print_evaluation, print_sweep, print_training, sweep_table, voice

OUT = Path(f"--help{HOSTILE.replace('/', '')}")
POINTS = "llm_params_b,visual_tokens,error,family,source\n" + "".join(
    f"{size},{count},{0.5 - 0.05 * size**0.5 - 0.01 * step:.4f},a,b\n"
    for size in (0.5, 1.8, 4, 7)
    for step, count in enumerate((1, 4, 16, 64))
)


def _asked(kind: type[Any], *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return from_plain(kind, json.loads(out), "it")


def _share() -> Share:
    return Share(questions=4, right=2, accuracy_fraction=0.5, interval=(0.2, 0.8))


def _evaluation() -> Evaluation:
    return Evaluation(
        model="m", runtime="onnxruntime", visual_tokens=4, compressor=Compressor.NONE, questions="q.jsonl",
        interval_level_fraction=0.9, overall=_share(), by_task={"reading": _share()}, by_kind={"word": _share()},
        against=Agreement(other="o", differing=1, near_ties=1, logit_tolerance=1e-4, accuracy_fraction=0.5),
    )  # fmt: skip


def _training() -> Training:
    stage = Stage(name="align", steps=2, batch=4, learning_rate=1e-3, llm=False)
    recipe = Recipe(
        checkpoint="org/name", tower="eyes", compressor=Compressor.QUECC, visual_tokens=(4, 1), stages=(stage,),
        rows=9, data_sha256="0" * 64,
    )  # fmt: skip
    result = StageResult(name="align", steps=2, losses=((1, 2.0),))
    return Training(vlmplan_version="1", recipe=recipe, stages=(result,), bad_rows=1, processes=1, plan_sha256="0" * 64)


@functools.cache
def _fit() -> FitReport:
    path = checkpoint().parent / "points.csv"
    path.write_text(POINTS, encoding="utf-8")
    found: FitReport = _asked(FitReport, "fit", str(path), "--draws", "200")
    return found


def _trial() -> TrialResult:
    trial = Trial(llm="small", compressor=Compressor.NONE, visual_tokens=4, seed=0)
    return TrialResult(
        trial=trial, llm_params=10**6, steps=3, final_loss_nats=1.0, by_task={"reading": _share()}, by_kind={}
    )


def _print_sweep(found: TrialResult) -> None:
    with sweep_table() as show:
        show({f"trial{HOSTILE}": Status(state=f"failed{HOSTILE}", detail=HOSTILE)})
    print_sweep({"one": found}, OUT)


def _both(show: Callable[..., None], *given: object) -> None:
    """A screen of it, and all of it."""
    show(*given)
    show(*given, verbose=True)


VIEWS: dict[str, tuple[Callable[[], Document], Callable[[Any], object]]] = {
    "plan": (planned, print_plan),
    "recheck": (  # no command reads one: its figures' names are ours
        lambda: recheck(planned()),
        lambda found: print_recheck(replace(found, figures=recheck(planned()).figures)),
    ),
    "brief plan": (planned, print_brief),
    "estimate": (
        lambda: _asked(Estimate, *ESTIMATE),
        lambda found: _both(print_estimate, found, catalogue.hardware("l4"), {}),
    ),
    "tokens": (lambda: _asked(Tokens, "tokens", "--model", "llava-1.5-7b"), lambda found: _both(print_tokens, found)),
    "comparison": (
        lambda: _asked(Comparison, *changed(RECOMMEND, hardware="l4,t4")),
        lambda found: _both(print_comparison, found),
    ),
    "fit": (  # nor a fit's report
        _fit,
        lambda found: _both(print_fit, replace(found, range=_fit().range), OUT),
    ),
    "report": (reported, lambda found: _both(print_report, found)),
    "manifest": (lambda: load(Manifest, exported() / FILE_NAME), lambda found: print_export(found, OUT)),
    "evaluation": (_evaluation, print_evaluation),
    "training": (_training, lambda found: print_training(found, OUT)),
    "trial": (_trial, _print_sweep),
    "hardware": (lambda: catalogue.hardware("l4"), lambda found: print_device(found, ())),
    "model": (lambda: catalogue.model("llava-1.5-7b"), print_document),
    "law": (lambda: catalogue.law("reasoning"), print_document),
    "hardware shelf": (lambda: catalogue.hardware("l4"), lambda found: print_shelf([found])),
    "model shelf": (lambda: catalogue.model("llava-1.5-7b"), lambda found: print_shelf([found])),
    "law shelf": (lambda: catalogue.law("reasoning"), lambda found: print_shelf([found])),
}


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_of_every_document(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, show = VIEWS[name]
    found = planted(make())
    assert any(HOSTILE in text for text in _strings(json.loads(to_json(found))))
    capsys.readouterr()
    show(found)
    out, err = capsys.readouterr()
    assert ("error" in out + err) is not (name == "model shelf")  # models' names are refused, no other text is shown
    assert is_inert(out)
    assert is_inert(err)
    assert is_inert(to_json(found))


def test_a_document_shown_is_still_one(tmp_path: Path) -> None:
    for kind, name in ((Shelf.HARDWARE, "l4"), (Shelf.LAWS, "reasoning"), (Shelf.MODELS, "llava-1.5-7b")):
        document = planted(
            {Shelf.HARDWARE: catalogue.hardware, Shelf.LAWS: catalogue.law}.get(kind, catalogue.model)(name)
        )
        path = tmp_path / "first.toml"
        write_text(path, to_toml(document))
        code, out, _ = run("catalogue", kind, str(path))
        assert code == 0
        write_text(tmp_path / "again.toml", out)
        assert load(type(document), tmp_path / "again.toml") == document


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *_strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


SUMMARY_TAGS = re.compile(r"<(?!/?(br|code)\b)")


def test_markdown_and_junit_of_hostile_reports() -> None:
    report = planted(reported())
    for text in (
        report_markdown(report),
        recheck_markdown(planted(recheck(planned()))),
        model_card(planted(_training()), str(OUT)),
    ):
        assert is_inert(text)
        assert "\\x1b" in text
    rows = [line for line in report_markdown(report).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(report.checks)
    assert all(line.count("|") == 4 for line in rows)
    cases = ElementTree.fromstring(junit_xml(report)).findall("testcase")
    assert len(cases) == len(report.checks)
    assert is_inert(junit_xml(report))
    yaml = model_card(planted(_training()), str(OUT)).split("---")[1]
    assert "base_model" not in yaml  # what is no hub id names none


def test_a_page_of_hostile_documents() -> None:
    pytest.importorskip("plotly")
    text = page(
        Dossier(
            plan=planted(planned()),
            export=planted(load(Manifest, exported() / FILE_NAME)),
            report=planted(reported()),
        )
    )
    body = text[text.index("<body>") :]
    assert "<img" not in body
    for unseen in "\x1b\u202e\u200b\u2060\ufeff\u3164\U000e0041\x07\x9b":
        assert unseen not in body
    assert "\\u202e" in body


def test_pictures_of_hostile_documents(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_front(planted(planned()), tmp_path / "front.svg")
    plot_law(planted(catalogue.law("reasoning")), 50, tmp_path / "law.svg")
    for name in ("front.svg", "law.svg"):
        root = ElementTree.parse(tmp_path / name).getroot()
        assert "\\u202e" in "".join(root.itertext())


@pytest.mark.parametrize("interactive", [False, True])
def test_progress_about_a_hostile_name(
    interactive: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if interactive:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes stderr for a terminal
        monkeypatch.setenv("TERM", "xterm")
    with measuring() as tell:
        tell(HOSTILE, 1, 2)
    with voice() as heard:
        heard.tell(HOSTILE, 1, 2)
        heard.say(HOSTILE)
    out, err = capsys.readouterr()
    colours = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # rich's own
    assert is_inert(colours.sub("", out))
    assert is_inert(colours.sub("", err))
    assert "[2J" not in err.replace("\\x1b[2J", "")
    assert "error" in err


def _files(folder: Path) -> dict[str, str]:
    """A profile, a model, a law, points, runs and prices, hostile in every text, and a folder with a name to match."""
    law = planted(catalogue.law("reasoning"))
    made = {
        "device.toml": to_toml(planted(catalogue.hardware("l4"))),
        "model.toml": to_toml(planted(catalogue.model("llava-1.5-7b"))),
        "law.toml": to_toml(law),
        "points.csv": _hostile_csv(POINTS),
        "times.csv": TIMES.replace(",b\n", f',"{HOSTILE}"\n'),
    }
    for name, text in made.items():
        write_text(folder / name, text)
    (folder / OUT.name).symlink_to(checkpoint())
    return made


TIMES = "model,precision,text_tokens,visual_tokens,output_tokens,ttft_ms,tpot_ms,source\n" + "".join(
    f"llava-1.5-7b,bf16,{text},576,32,{60 + text / 50},12,b\n" for text in (50, 200, 800)
)


def _hostile_csv(text: str) -> str:
    """The table with hostile names of families and sources, and a column of that name."""
    quoted = '"' + HOSTILE.replace('"', '""').replace("\r", "") + '"'
    head, *rows = text.splitlines()
    return "\n".join(
        [
            f"{head},{quoted}",
            *(f"{re.sub('a,b$|b$', quoted + (',b' if row.endswith('a,b') else ''), row)},1" for row in rows),
        ]
    )


WORK = ["--text-tokens", "50", "--output-tokens", "32"]
ASK = ["recommend", "--task", "./law.toml", *WORK]
PRICE = ["estimate", "--visual-tokens", "576", *WORK]
COMMANDS = [
    ["catalogue", "hardware", "./device.toml"],
    ["catalogue", "models", "./model.toml"],
    ["catalogue", "laws", "./law.toml"],
    [*PRICE, "--model", "./model.toml", "--hardware", "./device.toml", "--explain"],
    [*PRICE, "--model", f"./{OUT.name}", "--hardware", "l4"],
    ["tokens", "--model", f"./{OUT.name}"],
    [*ASK, "--hardware", "./device.toml", "--latency", "3s", "--out", "plan.json"],
    [*ASK, "--hardware", "./device.toml", "--latency", "1ms"],
    [*ASK, "--hardware", "./device.toml,l4", "--latency", "3s"],
    [*ASK, "--hardware", "l4", "--models", f"./{OUT.name}", "--runtime", "onnxruntime", "--latency", "30s"],
    ["fit", "./points.csv", "--draws", "200", "--out", f"./{OUT.name}.toml"],
    ["profile", "--from-measurements", "./times.csv", "--hardware", "./device.toml", "--out", "made.toml"],
    *([*start, HOSTILE] for start in (
        ["catalogue", "hardware"], ["recommend", "--check"], ["validate"], ["page"], ["fit"],
        [*changed(RECOMMEND, task=None), "--task"], [*changed(RECOMMEND, out=None), "--out"], ["sweep", "--out", "x"],
        ["evaluate", "--images", ".", "q.jsonl"], ["export", "--out", "x", "--checkpoint"],
        ["run", "--image", "x.png", "--prompt", "y"],
    )),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:40])
@pytest.mark.parametrize("json_wanted", [False, True], ids=["view", "json"])
def test_every_command_on_hostile_files(
    command: list[str], json_wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    _files(tmp_path)
    if json_wanted and command[0] in ("page", "sweep"):
        pytest.skip("prints no document")
    code, out, err = run(*command, *(["--json"] if json_wanted else []))
    assert code == (2 if HOSTILE in command else 3 if "1ms" in command else 0), err
    assert is_inert(out)
    assert is_inert(err)
    ways = [line for line in err.splitlines() if code == 3 and line.startswith(("Each of these", "- ", "  vlmplan "))]
    assert err.count("\n") - len(ways) <= 2


def test_an_export_and_its_proof_in_a_hostile_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint's folder, a tensor's and a file's name, questions, kinds, answers: through all that deploys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path(OUT.name).symlink_to(checkpoint())
    Image.new("RGB", (40, 40)).save("a.png")
    row = {"image": "a.png", "question": f"What?{HOSTILE}", "answer": f"red{HOSTILE}", "kind": HOSTILE, "task": HOSTILE}
    write_text(Path("q.jsonl"), json.dumps(row) + "\n")
    made = ["--visual-tokens", "4", "--compressor", "average-pool", "--out", "made"]
    asked = ["--images", ".", "--threads", "1"]
    steps = [
        (0, ["export", "--checkpoint", f"./{OUT.name}", *made]),
        (0, ["validate", "made", "--repeats", "1", "--junit", "it.xml", "--out", "report.json"]),
        (4, ["validate", "made", "--checkpoint", f"./{OUT.name}", "--logit-tolerance", "1e-30", "--repeats", "1"]),
        (0, ["evaluate", "made", "q.jsonl", *asked, "--answers", "answers.jsonl", "--against", f"./{OUT.name}"]),
        (0, ["evaluate", f"./{OUT.name}", "q.jsonl", *asked]),
        (0, ["run", "made", "--image", "a.png", "--prompt", f"What?{HOSTILE}", "--max-tokens", "4"]),
        (2, ["run", "made", "--image", HOSTILE, "--prompt", "What?"]),
    ]
    for wanted, step in steps:
        code, out, err = run(*step)
        assert code == wanted, (step, err)
        assert is_inert(out), step
        assert is_inert(err), step
    (answer,) = Path("answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(answer)["text"] == row["question"]
    for name in ("summary.md", "it.xml", "report.json"):
        assert is_inert(Path(name).read_text(encoding="utf-8"))
    ElementTree.parse("it.xml")
    Path("made", f"x{HOSTILE}".replace("/", "")).write_text("more", encoding="utf-8")
    code, out, err = run("validate", "made", "--repeats", "1", "--junit", "it.xml")
    assert is_inert(out)
    assert is_inert(err)
    assert is_inert(Path("summary.md").read_text(encoding="utf-8"))
    ElementTree.parse("it.xml")


def test_an_answer_keeps_its_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    given = Answer(
        text=f"one\ntwo{HOSTILE}", prompt_tokens=1, visual_tokens=1, output_tokens=1, vision_s=1.0, prefill_s=1.0,
        ttft_s=1.0, tpot_s=None, baked_query=HOSTILE,
    )  # fmt: skip
    print_answer(given)
    out, err = capsys.readouterr()
    assert out.startswith("one\ntwo\n")
    assert is_inert(out)
    assert is_inert(err)
    assert err.count("\n") == 2


PACKAGE = Path(__file__).resolve().parents[1] / "vlmplan"
WAYS_OUT = {
    # explore: its own address; handover: JSON, or quoted words of a plan that is read strictly
    "typer.echo": {"app", "explore", "handover", "output", "recommend", "synthetic"},
    "sys.stdout.write": set(),
    "sys.stderr.write": {"__main__", "loopback"},
    "print": set(),
    "Console": set(),
    "Table": set(),
}


@pytest.mark.parametrize("call", WAYS_OUT)
def test_nothing_is_printed_but_by_what_makes_it_inert(call: str) -> None:
    """Consoles, tables and ``say`` do; a new way out has to be looked at, and listed here."""
    found = {
        path.stem
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == call
    }
    assert found == WAYS_OUT[call]
