"""Documents are read strictly and written whole."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmplan.document import (
    Document,
    check_apart,
    digest,
    from_plain,
    load,
    plain,
    read_plain,
    to_json,
    to_toml,
    write_text,
)
from vlmplan.errors import InputError
from vlmplan.hardware.profile import HardwareProfile
from vlmplan.hardware.runtimes import Precision
from vlmplan.inventory import catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A part."""

    count: int
    share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Document):
    """A document with every kind of field."""

    SCHEMA: ClassVar[str] = "vlmplan.sample/1"

    name: str
    precision: Precision
    pairs: tuple[Inner, ...] = ()
    bounds: tuple[float, float] | None = None
    maybe: str | None = None


inners = st.builds(Inner, count=st.integers(), share=st.floats(allow_nan=False, allow_infinity=False))
samples = st.builds(
    Sample,
    name=st.text(),
    precision=st.sampled_from(Precision),
    pairs=st.lists(inners).map(tuple),
    bounds=st.none() | st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)),
    maybe=st.none() | st.text(),
)


@given(samples)
def test_plain_and_back(sample: Sample) -> None:
    assert from_plain(Sample, plain(sample), "sample") == sample


@given(st.builds(Sample, name=st.text(st.characters(codec="utf-8")), precision=st.sampled_from(Precision)))
def test_files_and_back(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> None:
    folder = tmp_path_factory.mktemp("documents")
    for name, text in (("x.json", to_json(sample)), ("x.toml", to_toml(sample))):
        write_text(folder / name, text)
        assert load(Sample, folder / name) == sample


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "sample.name: expected str, found 3"),
        ({"precision": "bf17"}, "sample.precision: expected one of fp32"),
        ({"pairs": [{"count": "1"}]}, r"sample.pairs\[0\].count: expected int, found '1'"),
        ({"pairs": [{"count": True}]}, r"sample.pairs\[0\].count: expected int, found True"),
        ({"pairs": [{"count": 1, "share": float("nan")}]}, "expected a finite number"),
        ({"pairs": {}}, "sample.pairs: expected a list"),
        ({"bounds": [1.0]}, "sample.bounds: expected 2 items, found 1"),
        ({"nmae": "x"}, "sample.nmae: unknown key; did you mean name"),
    ],
)
def test_wrong_values_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_plain(Sample, {"name": "x", "precision": "bf16"} | change, "sample")


def test_missing_key_is_named() -> None:
    with pytest.raises(InputError, match=r"sample.precision: missing"):
        from_plain(Sample, {"name": "x"}, "sample")


def test_a_key_of_several_lines_is_named_on_one() -> None:
    for value in ({"na\nme": 1}, {"name": "x", "precision": "bf16", "by": {"a\nb": "c"}}):
        with pytest.raises(InputError) as found:
            from_plain(Sample, value, "sample")
        assert "\n" not in str(found.value)


def test_wrong_schema(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('schema = "other/1"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r'expected schema = "vlmplan.sample/1", found \'other/1\''):
        load(Sample, file)


def _bad_files(folder: Path) -> dict[str, Path]:
    made = {
        name: folder / name for name in ("empty.toml", "binary.toml", "bad.json", "list.json", "big.toml", "loop.toml")
    }
    made["empty.toml"].write_text(" \n", encoding="utf-8")
    made["binary.toml"].write_bytes(bytes(range(256)))
    made["bad.json"].write_text("{", encoding="utf-8")
    made["list.json"].write_text("[1]", encoding="utf-8")
    with made["big.toml"].open("wb") as stream:
        stream.truncate(100_000_000)
    made["loop.toml"].symlink_to(made["loop.toml"])
    fifo = folder / "fifo.toml"
    os.mkfifo(fifo)
    nested = folder / "nested.json"
    nested.write_text("[" * 100_000, encoding="utf-8")
    return made | {"folder": folder, "absent": folder / "absent.toml", "fifo": fifo, "nested": nested}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.toml", "empty"),
        ("binary.toml", "UTF-8"),
        ("bad.json", "not valid JSON"),
        ("list.json", "expected a table"),
        ("big.toml", "at most"),
        ("loop.toml", "cannot be read"),
        ("folder", "a directory"),
        ("absent", "cannot be read"),
        ("fifo", "not a regular file"),
        ("nested", "not valid JSON"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_plain(_bad_files(tmp_path)[name])


def test_write_is_atomic_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old", encoding="utf-8")
    write_text(target, "new")
    assert target.read_text(encoding="utf-8") == "new"
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "absent" / "out.json", "x")
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_digest_follows_content() -> None:
    one = Sample(name="a", precision=Precision.BF16)
    assert digest(one) == digest(Sample(name="a", precision=Precision.BF16))
    assert digest(one) != digest(Sample(name="b", precision=Precision.BF16))


def test_a_number_that_python_will_not_print(tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    path.write_text(f"schema = 0x{'F' * 5000}\n")
    with pytest.raises(InputError, match="found a number of thousands of digits"):
        load(HardwareProfile, path)


def test_half_a_character_is_not_written(tmp_path: Path) -> None:
    """And what stood there stays whole."""
    path = tmp_path / "it"
    write_text(path, "before")
    with pytest.raises(InputError, match=r"cannot be written .found half a character"):
        write_text(path, "a\ud800")
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="found half a character"):
        to_toml(replace(catalogue.hardware("l4"), notes="\ud800"))


def test_nothing_is_written_over_what_is_read_or_twice(tmp_path: Path) -> None:
    table, link = tmp_path / "table.jsonl", tmp_path / "link.jsonl"
    table.write_text("{}")
    link.symlink_to(table)
    check_apart({"--out": tmp_path / "a", "--answers": tmp_path / "b", "--plot": None}, (table, None))
    for written, message in (
        ({"--out": link}, "--out: .*link.jsonl is the input .*table.jsonl"),
        ({"--out": tmp_path / "a", "--answers": tmp_path / "x" / ".." / "a"}, "--answers: .* is that of --out"),
    ):
        with pytest.raises(InputError, match=message):
            check_apart(written, (table,))
