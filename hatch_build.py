"""Compile the shipped profiles into one file when a wheel is built, or the clone is installed to be edited."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


class CompiledCatalogue(BuildHookInterface):
    """Runs ``vlmplan.inventory.catalogue.compile_profiles`` of this tree, whatever vlmplan is installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - what hatchling gives
        """Write ``profiles/compiled.jsonl``, which the wheel takes with the profiles. Raises InputError."""
        sys.path.insert(0, str(ROOT))
        from vlmplan.inventory import catalogue

        catalogue.compile_profiles()
