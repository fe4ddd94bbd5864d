"""How many visual tokens transformers' own processors make of an image, by ``model_type`` and the processor's settings.

Where a processor can be made without torchvision it is; of the others the methods that count are compiled from
transformers' own file.
"""

import __future__

import ast
import collections
import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Counted = Callable[[int, int], int]  # (width, height) -> visual tokens; ValueError where the processor refuses
Plain = dict[str, Any]


def module(name: str) -> Any:
    """A module of transformers' models."""
    return pytest.importorskip(f"transformers.models.{name}")


def processor_of(model: str, name: str, settings: Plain) -> Any:
    """An image processor that needs no torchvision."""
    return getattr(module(f"{model}.image_processing_pil_{model}"), f"{name}ImageProcessorPil")(**settings)


def own_code(model: str, *names: str, **attributes: Any) -> Any:
    """Functions and methods ``names`` of a processor whose module needs torchvision to be imported, without it.

    They are compiled from transformers' own file, and hang on one object with ``attributes``.
    """
    transformers = pytest.importorskip("transformers")
    file = Path(transformers.__file__).parent / "models" / model / f"image_processing_{model}.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]
    assert {node.name for node in found} == set(names)
    for node in found:
        node.decorator_list = []
    scope: dict[str, Any] = {"math": math, "itertools": itertools, "reduce": functools.reduce, "torch": torch_()}
    scope["defaultdict"] = collections.defaultdict
    flags = __future__.annotations.compiler_flag
    exec(compile(ast.Module(body=list(found), type_ignores=[]), str(file), "exec", flags=flags), scope)
    owner = SimpleNamespace(**attributes)
    for node in found:
        function, method = scope[node.name], node.args.args[:1] and node.args.args[0].arg == "self"
        setattr(owner, node.name, functools.partial(function, owner) if method else function)
    return owner


def torch_() -> Any:
    """torch, where it is installed."""
    return pytest.importorskip("torch")


def area(model: str, name: str, unasked: Plain) -> Callable[[Plain], Counted]:
    """Qwen2-VL and its copies: patches, joined in squares."""

    def of(settings: Plain) -> Counted:
        processor = processor_of(model, name, {**({} if settings else unasked), **settings})
        return lambda width, height: int(
            processor.get_number_of_image_patches(height, width) // processor.merge_size**2
        )

    return of
