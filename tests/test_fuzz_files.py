"""Any file that a user names, spoiled at random, is read or refused in one line: no exception but ours escapes."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, Reader

from vlmplan.errors import VlmplanError

JUNK = (
    b"", b"\x00", b"\xff", b"9" * 400, b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"null", b"true", b'"', b"'", b"{",
    b"}", b"[", b"]", b"\n", b",", b":", b"=", b".", b"\\ud800", "é\u2028".encode(), b"[" * 3000, b"\t", b"\r", b"#",
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.sampled_from(JUNK)), min_size=1, max_size=4
)


def _spoiled(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Cut some bytes out at each place, and put junk there."""
    for place, cut, junk in edits:
        at = int(place * len(content))
        content = content[:at] + junk + content[at + cut :]
    return content


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_good_file_is_read(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / reader.file
    path.write_bytes(reader.good())
    reader.read(path)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(edits=EDITS)
def test_a_spoiled_file_is_read_or_refused(
    reader: Reader, tmp_path: Path, edits: list[tuple[float, int, bytes]]
) -> None:
    path = tmp_path / reader.file
    path.write_bytes(_spoiled(reader.good(), edits))
    try:
        reader.read(path)
    except VlmplanError as error:
        assert "\n" not in str(error)
        str(error).encode()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@pytest.mark.parametrize("brackets", ["[", "{", '{"a":'])
def test_depth_without_end_is_refused(reader: Reader, brackets: str, tmp_path: Path) -> None:
    path = tmp_path / reader.file
    path.write_text(brackets * 100_000 + "\n", encoding="utf-8")
    with pytest.raises(VlmplanError):
        reader.read(path)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(content=st.binary(max_size=300))
def test_noise_is_refused(reader: Reader, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / reader.file
    path.write_bytes(content)
    with pytest.raises(VlmplanError):
        reader.read(path)
