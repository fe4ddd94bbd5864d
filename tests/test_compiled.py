"""The compiled catalogue gives what the profiles give, or it is not used."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from vlmplan.accuracy.law import ScalingLaw
from vlmplan.accuracy.published_scores import Evidence, OwnScores
from vlmplan.document import Document, digest, load
from vlmplan.errors import InputError
from vlmplan.hardware.names import ReportedNames
from vlmplan.hardware.profile import HardwareProfile
from vlmplan.inventory import NamedWorkload, catalogue, compiled
from vlmplan.inventory.catalogue import TypicalCalibrations
from vlmplan.models.spec import ModelSpec

L4 = "hardware/l4.toml"
MODEL = "models/OpenGVLab--InternVL3-1B.toml"
KINDS: dict[str, type[Document]] = {
    "hardware": HardwareProfile,
    "workloads": NamedWorkload,
    "models": ModelSpec,
    "laws": ScalingLaw,
    "scores": OwnScores,
    "device_names.toml": ReportedNames,
    "evidence.toml": Evidence,
    "typical.toml": TypicalCalibrations,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped profiles elsewhere, compiled."""
    folder = tmp_path_factory.mktemp("made") / "profiles"
    shutil.copytree(catalogue.profiles_folder(), folder, ignore=shutil.ignore_patterns(compiled.NAME))
    catalogue.compile_profiles(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A few of them, with the whole compiled file: no process has read it."""
    here = tmp_path / "profiles"
    for name in (L4, MODEL, compiled.NAME):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / name, here / name)
    return here


def test_every_document_comes_back_as_it_is_read(made: Path) -> None:
    paths = [path for path in made.rglob("*.toml") if path.name != "residuals.toml"]  # which tools alone read
    for path in paths:
        name = path.relative_to(made).as_posix()
        kind, read = KINDS[name.partition("/")[0]], load(KINDS[name.partition("/")[0]], path)
        assert compiled.is_fresh(made, name), name
        assert compiled.shipped(kind, made, name) == read
        assert repr(compiled.shipped(kind, made, name)) == repr(read)  # 1 and 1.0 are equal, and not shown alike
        assert compiled.digest_shipped(kind, made, name) == digest(read)
    assert len(paths) > 290


def test_an_edited_profile_is_seen_at_once_and_the_others_are_still_taken(folder: Path) -> None:
    text = (folder / L4).read_text(encoding="utf-8")
    assert compiled.shipped(HardwareProfile, folder, L4).memory_bytes == 23727177728
    (folder / L4).write_text(text.replace("23727177728", "23727177729"), encoding="utf-8")  # as long as it was
    assert compiled.shipped(HardwareProfile, folder, L4).memory_bytes == 23727177729
    assert compiled.digest_shipped(HardwareProfile, folder, L4) == digest(load(HardwareProfile, folder / L4))
    assert compiled.is_fresh(folder, MODEL)
    (folder / L4).write_text(text, encoding="utf-8")
    assert compiled.is_fresh(folder, L4)


@pytest.mark.parametrize(
    "spoilt",
    ["", "memory_bytes = ", 'schema = "vlmplan.hardware/0"', "[[[[", None],
    ids=["empty", "cut", "another", "no TOML", "gone"],
)
def test_a_broken_profile_has_the_error_that_it_has_alone(folder: Path, spoilt: str | None) -> None:
    if spoilt is None:
        (folder / L4).unlink()
    else:
        (folder / L4).write_text(spoilt, encoding="utf-8")
    with pytest.raises(InputError) as alone:
        load(HardwareProfile, folder / L4)
    with pytest.raises(InputError) as compiled_one:
        compiled.shipped(HardwareProfile, folder, L4)
    assert str(compiled_one.value) == str(alone.value)


def _header(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        head, _, lines = content.partition(b"\n")
        header = json.loads(head)
        change(header)
        return json.dumps(header).encode() + b"\n" + lines

    return changed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda content: content[: content.index(b"\n") + 100],
        lambda content: content.replace(b"Ada", b"ada").replace(b"l4", b"l5"),
        lambda content: b"[]\n" + content,
        lambda content: b"{}\n" + content,
        lambda content: content.partition(b"\n")[0],
        _header(lambda header: header.update(schema="vlmplan.compiled/0")),
        _header(lambda header: header.update(code={"models/spec.py": [1, 2]})),
        _header(lambda header: header.update(code={"models/gone.py": [1, 2]})),
        _header(lambda header: header.update(code=3)),
        _header(lambda header: header.update(documents=[])),
        _header(lambda header: header.update(documents={L4: 3})),
        _header(lambda header: header.update(documents={L4: [[1, 2], 0, [3]]})),
    ],
)
def test_a_spoilt_or_an_old_file_is_not_taken(folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    (folder / compiled.NAME).write_bytes(spoil((folder / compiled.NAME).read_bytes()))
    assert not compiled.is_fresh(folder, L4)
    assert compiled.shipped(HardwareProfile, folder, L4) == load(HardwareProfile, folder / L4)


def test_no_flipped_byte_changes_what_is_read(folder: Path) -> None:
    content, random = (folder / compiled.NAME).read_bytes(), Random("flip")
    wanted = repr(load(HardwareProfile, folder / L4)), repr(load(ModelSpec, folder / MODEL))
    head = content.index(b"\n")
    for place in [*(random.randrange(head) for _ in range(60)), *(random.randrange(len(content)) for _ in range(20))]:
        flipped = content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]
        (folder / compiled.NAME).write_bytes(flipped)
        compiled._compiled.cache_clear()
        found = compiled.shipped(HardwareProfile, folder, L4), compiled.shipped(ModelSpec, folder, MODEL)
        assert tuple(map(repr, found)) == wanted, place


def test_a_file_that_is_not_there_is_not_missed(folder: Path) -> None:
    (folder / compiled.NAME).unlink()
    assert compiled.shipped(ModelSpec, folder, MODEL) == load(ModelSpec, folder / MODEL)


def test_what_is_no_profile_is_not_compiled(folder: Path) -> None:
    before = (folder / compiled.NAME).read_bytes()
    (folder / L4).write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected schema"):
        compiled.write(folder, {L4: HardwareProfile})
    assert (folder / compiled.NAME).read_bytes() == before


def test_the_same_profiles_make_the_same_file(made: Path, tmp_path: Path) -> None:
    again = tmp_path / "profiles"
    shutil.copytree(made, again)
    assert catalogue.compile_profiles(again).read_bytes() == (made / compiled.NAME).read_bytes()


def test_a_plan_reads_no_toml_where_all_is_compiled(made: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from vlmplan.inventory import catalogue
catalogue.profiles_folder = lambda: Path({str(made)!r})
import vlmplan
plan = vlmplan.recommend(hardware="l4", task="ocr", latency="400ms", text_tokens=50, output_tokens=32)
assert "tomli" not in sys.modules and "_hashlib" not in sys.modules
print(plan.choice.model)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "/" in done.stdout
