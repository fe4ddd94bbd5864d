"""How each family's rows of ``facts/vlms.csv`` become configs: a file of the same name as the family's own."""

import importlib

from recipe import Recipe, Row

from vlmplan.models.families import FAMILIES

RECIPES: dict[str, Recipe] = {
    family: recipe for name in FAMILIES for family, recipe in importlib.import_module(f"recipes.{name}").RECIPES.items()
}


def recipe_of(row: Row) -> Recipe:
    """Return the recipe of a row: its family's, but for a model that is built otherwise."""
    recipe = RECIPES[row["family"]]
    return recipe.own.get(row["hf_id"], recipe)
