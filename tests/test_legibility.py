"""Why fewer tokens fail: documents with text of known height, a server that reads tall text only, and their page."""

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from typer.testing import CliRunner

from vlmplan import api
from vlmplan.cli.app import app
from vlmplan.errors import InputError
from vlmplan.evaluation.legibility import legible_height
from vlmplan.evaluation.paired import TokenCurve
from vlmplan.evaluation.questions import Question, read_questions
from vlmplan.evaluation.seen import Seen, failures
from vlmplan.inventory import catalogue
from vlmplan.models.visual_tokens import at_most, options, seen_size
from vlmplan.pages import missed

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
LEGIBLE_PX = 13.0  # below which the server reads nothing
SIZE = (980, 700)
HOSTILE = "<script>alert(1)</script> ::error::x"


def _word(number: int) -> str:
    return "".join(chr(65 + (number * step) % 26) for step in (1, 3, 7, 11))


def _document(path: Path, number: int, points: int) -> list[int]:
    """A white page with a word; the box of its ink, left, top, right and bottom."""
    page = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(page).text((60, 300), _word(number), fill="black", font=ImageFont.load_default(points))
    page.save(path)
    rows, columns = np.nonzero(np.asarray(page.convert("L")) < 128)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


class _Reader(BaseHTTPRequestHandler):
    """Qwen2.5-VL's eyes: what its processor would resize; text lower than ``LEGIBLE_PX`` is no text."""

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _send(self, value: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def do_GET(self) -> None:
        self._send({"data": [{"id": MODEL}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image, text = body["messages"][0]["content"]
        data = base64.b64decode(image["image_url"]["url"].partition(",")[2])
        picture = Image.open(io.BytesIO(data)).convert("L")
        high, wide = smart_resize(picture.height, picture.width, factor=28, min_pixels=4 * 784, max_pixels=16384 * 784)
        ink = np.asarray(picture.resize((wide, high))).min(axis=1) < 128
        tall = int(ink.sum()) >= LEGIBLE_PX
        said = _word(int(text["text"].split()[-1])) if tall else HOSTILE
        self._send({"choices": [{"message": {"content": said}}],
                    "usage": {"prompt_tokens": 20 + wide * high // 784}})  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Reader)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty documents with words of 12 to 90 points, and where they stand; one file has a name that would be HTML."""
    folder = tmp_path_factory.mktemp("documents")
    rows = []
    for number in range(20):
        name = "<img src=x onerror=alert(1)>.png" if number == 0 else f"{number}.png"
        box = _document(folder / name, number, 12 + 4 * number)
        rows.append({"image": name, "question": f"<b>word</b> of {number}", "answer": _word(number),
                     "boxes": [{"box": box, "text": _word(number)}]})  # fmt: skip
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "questions.jsonl"


@pytest.fixture(scope="module")
def asked(url: str, table: Path) -> TokenCurve:
    return api.evaluate_endpoint(
        endpoint=url, questions=table, images=table.parent, visual_tokens="64,256,1024",
        answers=table.parent / "answers.jsonl", page=table.parent / "page.html",
    )  # fmt: skip


class _Page(HTMLParser):
    """What a page is made of: tags, addresses, handlers and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.pictures += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_height_of_legible_text_is_recovered(asked: TokenCurve) -> None:
    found = asked.legibility
    assert found is not None
    assert found.height_px == pytest.approx(LEGIBLE_PX, abs=2)
    assert found.interval_px is not None
    low, high = found.interval_px
    assert low <= LEGIBLE_PX <= high
    assert high - low < 5
    assert (found.answers, found.questions) == (60, 20)
    assert not asked.warnings  # the server counts the tokens that the rule says


@pytest.mark.usefixtures("asked")
def test_the_page_shows_what_the_model_saw_and_runs_nothing(table: Path) -> None:
    text = (table.parent / "page.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert "script" not in page.tags
    assert not page.handlers
    assert page.tags.count("img") == len(page.pictures) == 3 * page.tags.count("h3") > 0
    assert HOSTILE.replace("::", ":\\x3a") in page.text  # text, and no command of a log
    assert "<b>word</b> of" in page.text
    assert "is not read" in page.text
    sizes = []
    for address in page.pictures:
        assert re.match("data:image/(png|jpeg);base64,", address)
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
            sizes.append(picture.width)
    assert max(sizes) <= 512
    assert all(few < some < many for few, some, many in zip(sizes[::3], sizes[1::3], sizes[2::3], strict=True))


def test_kept_answers_make_the_same_page(asked: TokenCurve, table: Path, tmp_path: Path) -> None:
    found = api.evaluate_answers(
        answers=table.parent / "answers.jsonl", questions=table, images=table.parent, like=MODEL,
        page=tmp_path / "page.html",
    )  # fmt: skip
    assert found.at == asked.at
    assert found.legibility == asked.legibility
    again = _Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert again.pictures == _Page((table.parent / "page.html").read_text(encoding="utf-8")).pictures


@pytest.mark.usefixtures("asked")
def test_without_its_model_a_picture_is_shown_as_it_was_sent(table: Path, tmp_path: Path) -> None:
    given = ["evaluate", str(table.parent / "answers.jsonl"), str(table), "--images", str(table.parent), "--page",
             str(tmp_path / "page.html")]  # fmt: skip
    ran = CliRunner().invoke(app, given, env={"COLUMNS": "100"})
    assert ran.exit_code == 0, ran.output
    assert "Text below about" in ran.stdout
    assert "wrote" in ran.stderr


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("like", [None, MODEL])
def test_no_answer_was_given_to_more_than_its_picture(table: Path, tmp_path: Path, like: str | None) -> None:
    row = json.loads((table.parent / "answers.jsonl").read_text().splitlines()[0]) | {"size": [99999, 99999]}
    (tmp_path / "answers.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(
        InputError, match=f"size: found 99999x99999, expected at most the picture's {SIZE[0]}x{SIZE[1]}"
    ):
        api.evaluate_answers(
            answers=tmp_path / "answers.jsonl", questions=table, images=table.parent, like=like,
            page=tmp_path / "page.html",
        )  # fmt: skip
    assert not (tmp_path / "page.html").exists()


def test_failures_are_sorted_by_what_fewer_tokens_lose(table: Path) -> None:
    one, two, three, four = read_questions(table, None, 4)
    rights = {one: (0, 1), two: (0, 0), three: (1, 1), four: (0, 0)}
    seen = [
        Seen(question=question, limit=limit, visual_tokens=limit, text="", right_fraction=right)
        for question, scores in rights.items()
        for limit, right in zip((64, 256), scores, strict=True)
    ]
    assert [failure.question for failure in failures(seen)] == [one, two, four]
    assert [failure.lost for failure in failures(seen)] == [(64,), (), ()]


def test_the_size_that_is_seen_is_the_processor_s() -> None:
    model = catalogue.model(MODEL)
    for width, height in ((980, 700), (333, 517), (64, 48), (1600, 200)):
        high, wide = smart_resize(height, width, factor=28, min_pixels=4 * 784, max_pixels=16384 * 784)
        assert seen_size(model, (width, height), options(model, (width, height))[-1]) == (wide, high)
        held = at_most(model, (width, height), 64)
        assert held is not None
        high, wide = smart_resize(height, width, factor=28, min_pixels=4 * 784, max_pixels=64 * 784)
        assert seen_size(model, (width, height), held) == (wide, high)


def test_a_picture_that_cannot_be_read_is_said_on_the_page(asked: TokenCurve, tmp_path: Path) -> None:
    question = Question(name="q line 1", image=tmp_path / "none.png", text="?", answers=("x",))
    seen = [
        Seen(question=question, limit=limit, visual_tokens=limit, text="y", right_fraction=0) for limit in (64, 256)
    ]
    page = _Page(missed.failures_page(asked, failures(seen)))
    assert "the image cannot be read" in page.text
    assert not page.pictures


def test_a_page_is_bounded(table: Path, asked: TokenCurve, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = read_questions(table, table.parent)
    seen = [
        Seen(question=one, limit=limit, visual_tokens=limit, text="z" * 10_000, right_fraction=limit == 256)
        for one in questions for limit in (64, 256)
    ]  # fmt: skip
    monkeypatch.setattr(missed, "MOST_SHOWN", 3)
    few = missed.failures_page(asked, failures(seen))
    assert few.count("<h3>") == 3
    assert "17 more are not" in few
    assert "z" * 500 not in few
    monkeypatch.setattr(missed, "MOST_BYTES", 100)
    assert missed.failures_page(asked, failures(seen)).count("<img") == 0


# ---- the threshold by itself


def _drawn(
    rng: np.random.Generator, threshold: float, steepness: float, ceiling: float
) -> list[tuple[str, float, float]]:
    heights = np.exp(rng.uniform(np.log(4), np.log(60), 150))
    share = ceiling / (1 + (threshold / heights) ** steepness)
    right = rng.uniform(size=150) < share
    return [(str(n), float(tall), float(one)) for n, (tall, one) in enumerate(zip(heights, right, strict=True))]


def test_the_interval_of_the_threshold_holds_it() -> None:
    rng, held, found = np.random.default_rng(0), 0, []
    for _ in range(20):
        one = legible_height(_drawn(rng, 14, 6, 0.85), 0.9)
        assert one is not None
        assert one.interval_px is not None
        held += one.interval_px[0] <= 14 <= one.interval_px[1]
        found.append(one.height_px or 0.0)
    assert held >= 15
    assert np.median(found) == pytest.approx(14, abs=1.5)


@pytest.mark.parametrize("right", [0.0, 1.0, None])
def test_heights_that_tell_nothing_have_no_threshold(right: float | None) -> None:
    rng = np.random.default_rng(3)
    answers = [
        (str(n), float(tall), float(rng.uniform() < 0.5) if right is None else right)
        for n, tall in enumerate(rng.uniform(5, 50, 60))
    ]
    found = legible_height(answers, 0.9)
    assert found is not None
    assert found.height_px is None
    assert found.interval_px is None
    assert sum(count for _, _, count, _ in found.bands) == 60


def test_no_answers_have_no_threshold() -> None:
    assert legible_height([], 0.9) is None


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ("here", "boxes: expected a list"),
        ([[1, 2, 3]], "boxes: expected left, top, right, bottom in pixels"),
        ([[5, 2, 3, 9]], "boxes: expected left before right"),
        ([{"text": "x"}], "boxes: expected left, top"),
    ],
)
def test_boxes_that_are_none_are_one_line(tmp_path: Path, boxes: Any, message: str) -> None:
    row = {"image": "a.png", "question": "?", "answer": "x", "boxes": boxes}
    (tmp_path / "q.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_questions(tmp_path / "q.jsonl", None)
