"""One's own requests: their median is planned for, their tail is priced, and nothing that they say is shown."""

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_cli import run

import vlmplan
from vlmplan.errors import InputError
from vlmplan.inventory import RequestLog, read_requests
from vlmplan.inventory.request_log import FIELDS, LoggedRequest, quantile_of
from vlmplan.serving.logged_times import MOST_PRICED

SECRET = "my diagnosis"


def picture(width: int, height: int, kind: str = "PNG") -> str:
    """A picture as a data URL."""
    made = io.BytesIO()
    Image.new("RGB", (width, height)).save(made, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(made.getvalue()).decode()}"


def chat(*urls: str, text: str = SECRET, model: str = "mine", **usage: Any) -> dict[str, Any]:
    """A request to /v1/chat/completions with the usage of its answer."""
    parts = [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    return {
        "model": model,
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": parts}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 40} | usage,
    }


def log(path: Path, *rows: Any) -> Path:
    file = path / "log.jsonl"
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def one(path: Path, row: Any) -> LoggedRequest:
    return read_requests(log(path, row)).requests[0]


# What is read


def test_rows_of_counts(tmp_path: Path) -> None:
    rows = [
        {"text_tokens": 10, "output_tokens": 3, "image": "640x480", "id": 7},
        {"text_tokens": 20, "output_tokens": 0, "image": [800, 600], "images": 2},
        {"text_tokens": 30, "output_tokens": 5, "images": ["100x50", [2000, 1000]]},
        {"text_tokens": 9, "output_tokens": 9},
    ]
    found = read_requests(log(tmp_path, *rows))
    assert [(x.text_tokens, x.output_tokens, x.images) for x in found.requests] == [
        (10, 3, ((640, 480),)),
        (20, 0, ((800, 600), (800, 600))),
        (30, 5, ((100, 50), (2000, 1000))),
    ]
    assert (found.name, found.without_images, found.estimated) == ("log.jsonl", 1, 0)
    assert found.at(0.5) == {"text_tokens": 20, "output_tokens": 3, "images": 2, "image": (800, 600)}
    assert found.at(0.95) == {"text_tokens": 30, "output_tokens": 5, "images": 2, "image": (2000, 1000)}
    assert found.requests[2].image == (2000, 1000)


def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed() -> None:
    assert [quantile_of(range(1, 21), share) for share in (0.0, 0.5, 0.95, 1.0)] == [1, 10, 19, 20]
    assert quantile_of([4], 0.95) == 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_data_url_says_its_size(tmp_path: Path, kind: str) -> None:
    assert one(tmp_path, chat(picture(33, 21, kind))).images == ((33, 21),)


def test_a_file_is_looked_for_beside_the_log(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a b.png")
    for url in ("a b.png", "./a b.png", (tmp_path / "a b.png").as_uri()):
        assert one(tmp_path, chat(url)).images == ((50, 40),)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda row: row,
        lambda row: {"request": {k: row[k] for k in ("model", "messages")}, "response": {"usage": row["usage"]}},
        lambda row: {"request": {"body": row}, "response": {"body": {"usage": row["usage"]}}},
        lambda row: {"custom_id": "1", "body": row, "response": {"status_code": 200, "body": {"usage": row["usage"]}}},
    ],
)
def test_the_shapes_of_logs(tmp_path: Path, wrap: Callable[[Mapping[str, Any]], Any]) -> None:
    found = one(tmp_path, wrap(chat(picture(8, 8), prompt_tokens_details={"image_tokens": 600})))
    assert (found.text_tokens, found.output_tokens, found.images, found.estimated) == (300, 40, ((8, 8),), False)


def test_text_without_its_picture_is_what_the_server_or_the_model_says(tmp_path: Path) -> None:
    """Of a shipped model by its own image rule; of another four characters are a token, and that is said."""
    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    made = vlmplan.tokens(model=name, image="640x480").native.visual_tokens
    by_model = one(tmp_path, chat(picture(640, 480), model=name, prompt_tokens=made + 77))
    assert (by_model.text_tokens, by_model.estimated) == (77, False)
    told = one(tmp_path, chat(picture(8, 8), prompt_tokens_details={"text_tokens": 55}))
    assert (told.text_tokens, told.estimated) == (55, False)
    guessed = one(tmp_path, chat(picture(8, 8), text="x" * 393))
    assert (guessed.text_tokens, guessed.estimated) == (100, True)
    impossible = one(tmp_path, chat(picture(640, 480), model=name, prompt_tokens=made - 5, text="x" * 393))
    assert impossible.estimated


def test_a_picture_that_its_camera_turned_is_as_wide_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = io.BytesIO()
    Image.new("RGB", (1024, 768)).save(made, "JPEG", exif=exif)
    url = f"data:image/jpeg;base64,{base64.b64encode(made.getvalue()).decode()}"
    assert one(tmp_path, chat(url)).images == ((768, 1024),)


def test_no_more_text_than_the_prompt_has(tmp_path: Path) -> None:
    row = chat(picture(8, 8), prompt_tokens_details={"text_tokens": 901})
    with pytest.raises(InputError, match="line 1: usage: found 901 text_tokens of 900 prompt_tokens"):
        one(tmp_path, row)


def test_sizes_that_a_row_states_save_the_pictures(tmp_path: Path) -> None:
    row = chat("https://example.org/private.png") | {"images": ["1024x768"]}
    assert one(tmp_path, row).images == ((1024, 768),)


# What is said of it


def test_the_median_is_planned_for_and_the_tail_is_priced(tmp_path: Path) -> None:
    rows = [{"text_tokens": 40 + n, "output_tokens": 10 + n, "image": "640x480"} for n in range(100)]
    path = log(tmp_path, *rows)
    code, out, err = run("recommend", "--requests", str(path), "--hardware", "l4", "--task", "ocr", "--latency", "2s",
                         "--json")  # fmt: skip
    plan = json.loads(out)
    assert code == 0, err
    work, choice = plan["workload"], plan["choice"]
    assert (work["text_tokens"], work["output_tokens"], work["images"], work["image"]) == (89, 59, 1, [640, 480])
    assert "log.jsonl, 100 requests, p50 (p95): text tokens 89 (134), output tokens 59 (104), images 1 (1)" in err
    with_tokens = {"model": choice["model"], "hardware": "l4", "visual_tokens": choice["visual_tokens"]}
    half, tail = (
        vlmplan.estimate(**with_tokens, text_tokens=text, output_tokens=text - 30, image="640x480").latency_s
        for text in (89, 134)
    )
    said = next(line for line in plan["assumptions"] if "the p50 (p95) request takes" in line)
    assert f"takes {half * 1e3:.0f} ms ({tail:.2f} s)" in said or f"takes {half:.2f} s ({tail:.2f} s)" in said
    assert str(tmp_path) not in out


def test_a_tail_beyond_the_limit_is_a_warning(tmp_path: Path) -> None:
    rows = [{"text_tokens": 40, "output_tokens": 20, "image": "640x480"}] * 90
    rows += [{"text_tokens": 40, "output_tokens": 2000, "image": "640x480"}] * 10
    with pytest.warns(vlmplan.Assumed):
        plan = vlmplan.recommend(hardware="l4", task="ocr", latency="1s", requests=log(tmp_path, *rows))
    assert plan.workload.output_tokens == 20
    assert plan.warnings[0].startswith("logged requests: 10 of 100 do not keep the limits of time, by their medians; ")
    assert "the p95's latency of" in plan.warnings[0] and "exceeds 1.00 s" in plan.warnings[0]
    assert plan.logged is not None and plan.logged.kept == 90


def test_the_command_lets_in_what_was_logged(tmp_path: Path) -> None:
    """Planned for the medians; the longest request and the one with most pictures are served."""
    short = {"text_tokens": 40, "output_tokens": 20, "image": "640x480", "images": 2}
    rows = [short] * 9 + [{"text_tokens": 9000, "output_tokens": 1500, "image": "640x480", "images": 5}]
    with pytest.warns(vlmplan.Assumed):
        plan = vlmplan.recommend(
            hardware="l4", task="ocr", latency="2s", model="Qwen3-VL-4B", requests=log(tmp_path, *rows)
        )
    deploy, logged = plan.choice.deploy, plan.logged
    assert deploy is not None and logged is not None
    assert logged.context_tokens == 9000 + 1500 + 5 * plan.choice.visual_tokens
    assert 1.05 * logged.context_tokens <= deploy.context_tokens < 1.06 * logged.context_tokens
    assert f"--max-model-len {deploy.context_tokens}" in str(deploy.command)
    assert "--limit-mm-per-prompt '{\"image\": 5}'" in str(deploy.command)


def test_what_memory_does_not_hold_is_refused_and_said(tmp_path: Path) -> None:
    """An engine does not start for longer requests than its memory holds: those of the log do not count as served."""
    rows = [{"text_tokens": 40, "output_tokens": 20, "image": "640x480"}] * 9
    rows += [{"text_tokens": 60_000, "output_tokens": 500, "image": "640x480"}]
    with pytest.warns(vlmplan.Assumed):
        plan = vlmplan.recommend(
            hardware="l4", task="ocr", latency="9s", model="Qwen3-VL-8B", requests=log(tmp_path, *rows)
        )
    deploy, logged = plan.choice.deploy, plan.logged
    assert deploy is not None and logged is not None
    assert deploy.context_tokens < 60_000
    assert logged.refused == 1 and logged.context_tokens <= deploy.context_tokens
    assert any("1 cannot be answered: context, memory or image shape" in one for one in plan.assumptions)


def test_words_go_before_the_log_and_the_log_before_a_name(tmp_path: Path) -> None:
    path = log(tmp_path, {"text_tokens": 40, "output_tokens": 20, "image": "640x480"})
    with pytest.warns(vlmplan.Assumed) as said:
        plan = vlmplan.recommend(hardware="l4", workload="batch", requests=path, output_tokens=7)
    work = plan.workload
    assert (work.text_tokens, work.output_tokens, work.image, work.concurrency) == (40, 7, (640, 480), 64)
    assert any("workload batch: --concurrency 64 --task reasoning" in str(one.message) for one in said)


def test_an_estimate_says_the_tail_too(tmp_path: Path) -> None:
    rows = [{"text_tokens": 40 + n, "output_tokens": 10, "image": "640x480"} for n in range(20)]
    code, out, err = run("estimate", "--model", "InternVL3-1B", "--hardware", "l4", "--visual-tokens", "256",
                         "--requests", str(log(tmp_path, *rows)), "--json")  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["workload"]["text_tokens"] == 49
    assert "with OpenGVLab/InternVL3-1B at 256 visual tokens the p50 (p95) request takes" in err


def test_requests_that_the_model_refuses_are_counted(tmp_path: Path) -> None:
    rows = [{"text_tokens": 40, "output_tokens": 20, "image": "640x480"}] * 99
    rows.append({"text_tokens": 5_000_000, "output_tokens": 20, "image": "640x480"})
    code, out, err = run(
        "recommend", "--hardware", "l4", "--task", "ocr", "--latency", "2s", "--requests", str(log(tmp_path, *rows))
    )
    assert code == 0, err
    assert "; 1 cannot be answered, for context, memory or shape." in " ".join(out.split())


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("llava-onevision-qwen2-0.5b", 7329),  # unasked; its tiles grow with the picture
        ("Qwen2.5-VL-3B", 154),  # the command states the planned picture's pixels
        ("InternVL3-1B", 256),  # one tile is asked for
    ],
)
def test_larger_pictures_make_the_tokens_that_the_setting_lets_them(model: str, tokens: int) -> None:
    """A plan for a small picture, and requests whose pictures are large."""
    small = LoggedRequest(text_tokens=40, output_tokens=20, images=((400, 300),))
    large = LoggedRequest(text_tokens=40, output_tokens=20, images=((3000, 2000),))
    given = RequestLog(name="x", requests=(small, small, large), without_images=0)
    with pytest.warns(vlmplan.Assumed):
        plan = vlmplan.recommend(
            hardware="l4", task="ocr", latency="60s", model=model, prefer="accuracy", requests=given
        )
    found, seen = plan.logged, vlmplan.tokens(model=plan.model, image="3000x2000", visual_tokens=tokens)
    assert seen.wanted is not None and found is not None
    priced = vlmplan.estimate(
        model=plan.model, hardware="l4", visual_tokens=seen.wanted.visual_tokens, text_tokens=40, output_tokens=20,
        image="3000x2000",
    )  # fmt: skip
    assert plan.workload.image == (400, 300)
    assert found.latency_median_s == pytest.approx(plan.choice.latency_s)
    assert found.latency_tail_s == pytest.approx(priced.latency_s, rel=0.01)


def test_a_long_log_is_priced_by_a_sample(tmp_path: Path) -> None:
    number = MOST_PRICED + 500
    rows = [{"text_tokens": n, "output_tokens": 10, "image": "640x480"} for n in range(number)]
    with pytest.warns(vlmplan.Assumed):
        plan = vlmplan.recommend(
            hardware="l4", task="ocr", latency="2s", model="InternVL3-1B", requests=log(tmp_path, *rows)
        )
    half = vlmplan.estimate(
        model=plan.choice.model, hardware="l4", visual_tokens=plan.choice.visual_tokens, text_tokens=number // 2,
        output_tokens=10, image="640x480",
    )  # fmt: skip
    said = next(line for line in plan.assumptions if "request takes" in line)
    assert f"takes {half.latency_s * 1e3:.0f} ms" in said
    assert plan.assumptions[-2].startswith(f"log.jsonl, {number} requests")


# What is none


def header(width: int, height: int) -> str:
    """A PNG of a header and no picture."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


GOOD = {"text_tokens": 40, "output_tokens": 20, "image": "640x480"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text_tokens": ', "is no JSON"),
        ("[1]", "expected an object, found a list"),
        (f'"{SECRET}"', "expected an object, found text"),
        (
            {"prompt": SECRET},
            "expected text_tokens, output_tokens and image, or a chat request's messages with usage; found prompt",
        ),
        (
            {"text_tokens": 4, "image": "8x8"},
            "output_tokens is missing; a row has text_tokens, output_tokens, image (a size",
        ),
        (
            {"prompt_tokens": 4, "output_tokens": 4, SECRET[:3]: 1},
            "found prompt_tokens, output_tokens, " + SECRET[:3] + "; did you mean text_tokens by prompt_tokens?",
        ),
        (dict.fromkeys("abcdefghijk", 1), "found a, b, c, d, e, f, g, h ..."),
        (GOOD | {"text_tokens": SECRET}, "text_tokens: expected a whole number of tokens, found text"),
        (GOOD | {"text_tokens": True}, "found true or false"),
        (GOOD | {"output_tokens": 1.5}, "found a number with a fraction"),
        (GOOD | {"output_tokens": -1}, "expected 0 to 10000000 tokens, found fewer"),
        (GOOD | {"output_tokens": 10**400}, "found more"),
        (GOOD | {"image": SECRET}, "image: expected a size"),
        (GOOD | {"image": [0, 5]}, "image: expected a size"),
        (GOOD | {"image": [5, True]}, "image: expected a size"),
        (GOOD | {"images": -1}, "images: expected 0 to 10000"),
        (GOOD | {"image": None, "images": 3}, "images: found a number of them and no size"),
        ({k: v for k, v in chat(picture(8, 8)).items() if k != "usage"}, "usage: missing"),
        (chat(picture(8, 8), completion_tokens=None), "completion_tokens: expected a whole number"),
        (chat(picture(8, 8)) | {"messages": SECRET}, "messages: expected a list, found text"),
        (chat(picture(8, 8)) | {"messages": [SECRET]}, "messages: expected objects"),
        (chat("https://example.org/me.png"), "an address on a network, which is not read"),
        (chat("absent.png"), "a file that is not there"),
        (chat("\x00.png"), "a file that is not there"),
        (chat("."), "a file that is not there"),
        (chat("/dev/zero"), "a file that is not there"),
        (chat("x" * 5000), "a file that is not there"),
        (chat("data:image/png;base64,bm90IGEgcGljdHVyZQ=="), "a picture in it cannot be read"),
        (chat("data:image/png;base64,!!"), "a picture in it cannot be read"),
        (chat("data:image/png,abc"), "data URL in base64"),
        (chat(header(100_000, 100_000)), "a picture in it cannot be read"),
        (chat(header(0, 5)), "cannot be read"),
        (chat(7), "image_url: expected a data URL or a file"),  # type: ignore[arg-type]
        ({"messages": [{"content": [{"type": "video_url"}]}], "usage": chat()["usage"]}, "neither text nor image_url"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_bad_row_is_a_line_that_names_it_and_tells_nothing(tmp_path: Path, row: Any, message: str) -> None:
    path = log(tmp_path, GOOD, row, GOOD)
    code, out, err = run("recommend", "--requests", str(path), "--hardware", "l4")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{path.name} line 2: " in err and message in err
    assert SECRET not in err and "example.org" not in err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "found a directory"),
        (lambda path: path.write_text(""), "an empty file"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "expected UTF-8"),
        (os.mkfifo, "not a regular file"),
        (
            lambda path: path.write_text('{"text_tokens": 3, "output_tokens": 4, "img": "8x8"}\n'),
            f"found no picture in 1 request; expected {FIELDS}, or image_url parts in messages; the first has "
            "text_tokens, output_tokens, img",
        ),
        (lambda _: None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    path = tmp_path / "log.jsonl"
    make(path)
    code, out, err = run("recommend", "--requests", str(path), "--hardware", "l4")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_nothing_of_a_prompt_is_shown(tmp_path: Path) -> None:
    """Neither in what is printed nor in the plan."""
    path = log(tmp_path, *[chat(picture(640, 480)) for _ in range(3)])
    code, out, err = run("recommend", "--requests", str(path), "--hardware", "l4", "--json")
    assert code == 0, err
    assert SECRET not in out + err and "base64" not in out + err
    assert "the text tokens of 3 are estimated at 4 characters a token" in err


def test_that_a_log_says_no_task_is_said_with_the_option(tmp_path: Path) -> None:
    path = log(tmp_path, GOOD)
    assert (
        "assumed --task reasoning: log.jsonl says none"
        in run("recommend", "--requests", str(path), "--hardware", "l4")[2]
    )
    assert "says none" not in run("recommend", "--requests", str(path), "--hardware", "l4", "--task", "ocr")[2]
