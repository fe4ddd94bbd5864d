"""Data to train on: what is read, and that every bad row is named by file and row, or counted."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image
from small_models import quiet
from small_training import base
from typer.testing import CliRunner

from vlmplan.cli.app import app
from vlmplan.errors import InputError
from vlmplan.training.conversations import Loaded, Turn, faulty_images, open_image, read_rows, without

GOOD = {
    "image": "a.png",
    "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "red"}],
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a good image, a broken JPEG and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (20, 10), (200, 0, 0)).save(folder / "a.png")
    Image.effect_noise((64, 64), 90).convert("RGB").save(folder / "whole.jpg")
    (folder / "torn.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    (folder / "text.png").write_text("no image")
    return folder


def _read(path: Path, images: Path, skip_bad: bool = False) -> Loaded:
    found = read_rows(path, images)
    return without(found, faulty_images(found.rows, quiet), skip_bad)


def _written(folder: Path, rows: list[Any], lines: bool) -> Path:
    path = folder / ("data.jsonl" if lines else "data.json")
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return path


def _talk(*messages: tuple[str, str]) -> dict[str, Any]:
    return GOOD | {"conversations": [{"from": role, "value": text} for role, text in messages]}


BAD = [
    (GOOD | {"image": "gone.png"}, "there is no image"),
    (GOOD | {"image": "torn.jpg"}, "torn.jpg is no image that can be read"),
    (GOOD | {"image": "text.png"}, "text.png is no image that can be read"),
    (GOOD | {"image": 7}, "image is 7, expected a file's name"),
    (GOOD | {"image": ["a.png"]}, "image is ['a.png'], expected a file's name"),
    ({"conversations": GOOD["conversations"]}, "found no image"),
    ({"image": "a.png"}, "expected a list 'conversations'"),
    (GOOD | {"conversations": []}, "expected a list 'conversations'"),
    (_talk(("gpt", "red"), ("human", "What?")), "message 1 is from 'gpt', expected human"),
    (_talk(("human", "What?"), ("human", "What?")), "message 2 is from 'human', expected gpt"),
    (_talk(("human", "What?"), ("robot", "red")), "message 2 is from 'robot', expected gpt"),
    (_talk(("human", "<image>"), ("gpt", "red")), "message 1 has no text"),
    (_talk(("human", "What?")), "the last message has no answer"),
    (_talk(("human", "<image><image> What?"), ("gpt", "red")), "found <image> 2 times"),
    ("text", "expected a table with image and conversations"),
    (GOOD | {"conversations": ["What?"]}, "message 1 is from nobody, expected human"),
]


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(("row", "message"), BAD)
def test_bad_rows_are_named_or_counted(row: Any, message: str, lines: bool, tmp_path: Path, images: Path) -> None:
    path = _written(tmp_path, [GOOD, row, GOOD], lines)
    place = "data.jsonl line 2" if lines else "data.json row 2"
    with pytest.raises(InputError) as raised:
        _read(path, images)
    assert str(raised.value).startswith(f"{place}: ")
    assert message in str(raised.value)
    assert "--skip-bad" in str(raised.value)
    left = _read(path, images, skip_bad=True)
    assert (len(left.rows), len(left.bad)) == (2, 1)


def test_a_line_that_is_no_json_is_a_bad_row(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{{broken\n")
    with pytest.raises(InputError, match=r"data\.jsonl line 3: is no JSON"):
        _read(path, images)
    assert len(_read(path, images, skip_bad=True).rows) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"found no row that can be used"),
        ("{}", "expected a list of rows"),
        ("[", "is no JSON"),
        (json.dumps([GOOD | {"image": "gone.png"}]), r"found no row that can be used .*gone\.png"),
    ],
)
def test_nothing_to_learn_from_is_said(content: str, message: str, tmp_path: Path, images: Path) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(InputError, match=message):
        _read(tmp_path / "data.json", images, skip_bad=True)


def test_roles_of_other_tools_and_several_turns(tmp_path: Path, images: Path) -> None:
    rows = [
        {
            "image": "a.png",
            "conversations": [
                {"role": "user", "content": "What is it?\n<image>"}, {"role": "assistant", "content": " red "},
                {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "yes"},
            ],
        }
    ]  # fmt: skip
    found = _read(_written(tmp_path, rows, lines=False), images).rows
    assert found[0].turns == (Turn(question="What is it?", answer="red"), Turn(question="Sure?", answer="yes"))


def test_a_folder_that_datasets_saved(tmp_path: Path, images: Path) -> None:
    """With pictures inside, as image columns hold them."""
    rows = {"image": [str(images / "a.png")] * 2, "conversations": [GOOD["conversations"]] * 2}
    made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    made.save_to_disk(tmp_path / "saved")
    found = _read(tmp_path / "saved", images).rows
    assert len(found) == 2
    assert open_image(found[1].image).size == (20, 10)
    assert found[1].name == "saved row 2"
    torn = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
                              "conversations": made.features["conversations"]})  # fmt: skip
    rows["image"] = [{"bytes": (images / name).read_bytes(), "path": None} for name in ("a.png", "torn.jpg")]
    datasets.Dataset.from_dict(rows, features=torn).save_to_disk(tmp_path / "torn")
    with pytest.raises(InputError, match="torn row 2: its image is no image that can be read"):
        _read(tmp_path / "torn", images)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="datasets cannot load it"):
        _read(tmp_path / "empty", images)


def test_the_command_counts_what_it_skips(tmp_path: Path, images: Path) -> None:
    path = _written(tmp_path, [GOOD, GOOD | {"image": "torn.jpg"}], lines=True)
    flags = [
        "train", "--checkpoint", str(base()), "--visual-tokens", "1", "--compressor", "average-pool",
        "--data", str(path), "--images", str(images), "--out", str(tmp_path / "made"),
        "--align-steps", "1", "--tune-steps", "1",
    ]  # fmt: skip
    refused = CliRunner().invoke(app, flags, catch_exceptions=False)
    assert refused.exit_code == 2
    assert "data.jsonl line 2: " in refused.stderr
    assert not (tmp_path / "made").exists()
    done = CliRunner().invoke(app, [*flags, "--skip-bad"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "1 conversations; 1 bad rows left out" in done.stdout
    assert "1 bad rows left out" in (tmp_path / "made" / "README.md").read_text()


def test_half_characters_are_bad_rows_named_and_counted(images: Path, tmp_path: Path) -> None:
    """JSON can spell half a character; no tokenizer takes one."""
    bad = json.dumps(_talk(("human", "What\ud800?"), ("gpt", "red")))
    for name, text in (("d.jsonl", f"{json.dumps(GOOD)}\n{bad}\n"), ("d.json", f"[{json.dumps(GOOD)}, {bad}]")):
        (tmp_path / name).write_text(text)
        place = f"{name} {'line' if name.endswith('l') else 'row'} 2"
        with pytest.raises(InputError, match=f"{place}: found half a character .a lone surrogate."):
            _read(tmp_path / name, images)
        left = _read(tmp_path / name, images, skip_bad=True)
        assert (len(left.rows), len(left.bad)) == (1, 1)


def test_only_a_line_end_ends_a_line(images: Path, tmp_path: Path) -> None:
    odd = "a\u2028b\u0085c\u000bd"
    row = _talk(("human", f"What {odd}?"), ("gpt", "red"))
    (tmp_path / "d.jsonl").write_text(
        f"{json.dumps(row, ensure_ascii=False)}\r\n\n{json.dumps(GOOD)}", encoding="utf-8"
    )
    found = _read(tmp_path / "d.jsonl", images)
    assert [one.name for one in found.rows] == ["d.jsonl line 1", "d.jsonl line 3"]


@pytest.mark.parametrize("image", ["../outside.png", "/etc/passwd", "x" * 5000, "a\0b"])
def test_images_outside_the_folder_are_bad_rows(images: Path, tmp_path: Path, image: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    path = _written(tmp_path, [GOOD, GOOD | {"image": image}], lines=True)
    with pytest.raises(InputError, match=r"data.jsonl line 2: (the image .* lies outside|there is no image)"):
        _read(path, images)


def test_train_says_half_a_character_in_one_line(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(_talk(('human', 'What?'), ('gpt', chr(0xDFFF))))}\n")
    flags = ["train", "--data", str(path), "--images", str(images), "--checkpoint", str(base()), "--visual-tokens", "4"]
    flags += ["--compressor", "average-pool", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, flags, catch_exceptions=False)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "data.jsonl line 2: found half a character" in done.stderr
    assert not (tmp_path / "out").exists()
