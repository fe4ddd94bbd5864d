"""How each family is tried against transformers: a file of the same name as the family's own, for every one of them."""

import importlib
import importlib.util

from part import Part
from processors import Counted, Plain

from vlmplan.models.families import FAMILIES

PARTS: dict[str, Part] = {
    kind: part
    for name in FAMILIES
    if importlib.util.find_spec(f"families.{name}")  # one without is told by test_families.py
    for kind, part in importlib.import_module(f"families.{name}").PARTS.items()
}


def counted(kind: str, settings: Plain) -> Counted:
    """Return what counts the tokens that a type's processor makes at these settings."""
    count = PARTS[kind].count
    assert count is not None
    return count(settings)
