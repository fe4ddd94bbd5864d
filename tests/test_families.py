"""One file a family: the tables that follow from the files agree, nothing in them is dead, nothing stands twice."""

import dataclasses
import importlib
from collections import Counter
from pathlib import Path

import pytest
from families import PARTS

import vlmplan.models.families
from vlmplan.models.configs.family import Architecture
from vlmplan.models.configs.text_types import SHARED_TEXTS
from vlmplan.models.configs.towers import SHARED_TOWERS
from vlmplan.models.families import ARCHITECTURES, BORROWED, FAMILIES, SYNONYMS, TEXT_NAMES, TEXTS, TOWERS

ROOT = Path(__file__).resolve().parents[1]
EACH = pytest.mark.parametrize("kind", ARCHITECTURES)


def _files(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_every_family_has_its_three_files_and_no_file_is_left_over() -> None:
    assert {*FAMILIES} == _files(Path(vlmplan.models.families.__file__).parent)
    assert {*FAMILIES} == _files(ROOT / "tests" / "families")
    assert {*FAMILIES} == _files(ROOT / "tools" / "recipes")


@pytest.mark.parametrize("name", FAMILIES)
def test_each_test_file_has_the_types_of_its_family(name: str) -> None:
    assert {*importlib.import_module(f"families.{name}").PARTS} == {
        one.model_type for one in FAMILIES[name].architectures
    }


def test_no_type_tower_or_name_stands_twice() -> None:
    """The tables are made of all files; what stands in two of them would be lost without a word."""
    every = [one for family in FAMILIES.values() for one in family.architectures]
    towers = [*SHARED_TOWERS, *(name for family in FAMILIES.values() for name in family.towers)]
    texts = [*SHARED_TEXTS, *(name for family in FAMILIES.values() for name in family.texts)]
    types = [one.model_type for one in every]
    synonyms, borrows = [[name for one in every for name in getattr(one, key)] for key in ("synonyms", "borrows")]
    names = [
        *(name for one in every for name in one.text_names),
        *(name for one in TEXTS.values() for name in one.names),
    ]
    for found in (types + synonyms, towers, texts, borrows, names, [name for one in every for name in one.classes]):
        assert [name for name, count in Counter(found).items() if count > 1] == []
    assert not {*types} & {*texts}  # a config has one model_type
    assert (len(ARCHITECTURES), len(TOWERS), len(TEXTS)) == (len(types), len(towers), len(texts))
    assert (len(SYNONYMS), len(BORROWED), len(TEXT_NAMES)) == (len(synonyms), len(borrows), len(names))


@EACH
def test_every_type_has_all_its_parts(kind: str) -> None:
    """Or says None: what has no default has to be said."""
    known = ARCHITECTURES[kind]
    assert known.tower in TOWERS and known.text in TEXTS and known.classes
    assert {*known.versions.values()} <= {*TEXTS}
    assert {*known.by_tower} <= {*TOWERS} and {*known.by_tower.values()} <= {*ARCHITECTURES}
    unsaid = {field.name for field in dataclasses.fields(Architecture) if field.default is dataclasses.MISSING}
    assert {"projector", "image", "settings", "places", "tower", "text", "classes"} <= unsaid
    assert not {*known.vision_defaults, *known.traits} & {"model_type"}
    names = (*known.text_names, *known.towers, *known.tower_names)
    assert len({*names}) >= max(len({*known.text_names}), len({*known.towers}))


def test_nothing_is_dead() -> None:
    """Every tower and decoder is one that some type comes with, or one that configs may name beside it."""
    own = {name for family in FAMILIES.values() for name in family.towers}
    assert own <= {one.tower for one in ARCHITECTURES.values()}
    of_families = {name for family in FAMILIES.values() for name in family.texts}
    assert of_families <= {one.text for one in ARCHITECTURES.values()}
    assert {*PARTS} == {*ARCHITECTURES}
    assert not {*SYNONYMS} & {*TEXTS}
