"""How does a room show what others may use? A face: names -> the module that holds each, imported when first asked for.

Importing a room costs nothing until something of it is used, so that ``vlmplan --help`` and ``import vlmplan`` stay
fast. A type checker reads the imports under TYPE_CHECKING beside it; a test holds the two together.
"""

import importlib
import sys
from collections.abc import Callable, Mapping


def face(package: str, names: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], object], list[str]]:
    """Return ``__getattr__`` and ``__all__`` of a package whose modules hold ``names`` (PEP 562)."""
    homes = {name: f"{package}.{module}" for module, held in names.items() for name in held}

    def look(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        attribute = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, attribute)
        return attribute

    return look, sorted(homes)
