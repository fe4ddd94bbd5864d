"""Any shipped document with junk in it is refused in our words, or gives finite answers."""

import copy
import functools
import math
import random
from typing import Any

import pytest
from conftest import machine_of

from vlmplan.accuracy.law import ScalingLaw
from vlmplan.cost.knee import knees
from vlmplan.cost.op import Request
from vlmplan.cost.roofline import machine
from vlmplan.cost.totals import cost
from vlmplan.document import Document, from_plain, plain
from vlmplan.errors import InputError
from vlmplan.hardware.profile import HardwareProfile
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.models.spec import ModelSpec, Workload
from vlmplan.models.visual_tokens import options

JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**9, 10**30, -(10**30), 0.0, -1.5, 0.5, 1e-300, 1e300, math.inf, math.nan,
    "", "x", "bf16", "é\u2028", [], [0], [1e300], {}, {"x": 1},
]  # fmt: skip
WORK = Workload(text_tokens=9, output_tokens=3)


def _paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a plain document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, item in inside for path in _paths(item, (*here, key)))]


def _mutant(document: Document, chance: random.Random) -> Any:
    """The document with one place replaced by junk, taken out, or given a key too many."""
    data = copy.deepcopy(plain(document))
    path = chance.choice([one for one in _paths(data) if one])
    owner = functools.reduce(lambda found, key: found[key], path[:-1], data)
    if chance.random() < 0.1:
        del owner[path[-1]]
    elif chance.random() < 0.1 and isinstance(owner, dict):
        owner["extra"] = 1
    else:
        owner[path[-1]] = chance.choice(JUNK)
    return data


def _price(model: ModelSpec, device: HardwareProfile) -> None:
    precision = device.default_precision(device.default_runtime) or Precision.BF16
    ready = machine(device, catalogue.typical(), Runtime.VLLM, precision)
    visual = options(model, (640, 480))[-1] if model.image else None
    request = Request(model=model, workload=WORK, visual=visual, precision=precision)
    found = cost(request, ready)
    assert 0 < found.latency_s < math.inf
    assert 0 < found.memory_bytes.total < math.inf
    assert 0 < found.latency_interval_s(0.9)[0] <= found.latency_interval_s(0.9)[1]
    knees(request, ready)


LLAVA = catalogue.model("llava-1.5-7b")


def _use(kind: type[Document], value: Any) -> None:
    document = from_plain(kind, value, "document")
    if isinstance(document, HardwareProfile):
        _price(LLAVA, document)
    elif isinstance(document, ModelSpec):
        _price(document, machine_of("l4").hardware)
    elif isinstance(document, ScalingLaw):
        assert 0 <= document.error(7, 16) <= 1
        assert all(math.isfinite(value) for draw in document.coefficient_draws(3) for value in draw.values)
        assert document.residual_logit_sd(14, 1) >= 0


MODELS = ("Qwen3-VL-30B-A3B", "gemma-3-4b", "FastVLM-0.5B", "Qwen1.5-7B", "llava-v1.6-vicuna-7b", "SmolVLM-256M",
          "Qwen3.5-35B-A3B", "gemma-4-E2B", "Llama-3.2-11B", "Kimi-VL-A3B-Instruct", "MiniCPM-V-4.6", "MiniCPM-V-4_5",
          "LFM2-VL-450M", "Molmo-7B-D", "idefics2", "ERNIE-4.5", "Pixtral-12B")  # fmt: skip
DOCUMENTS: list[Document] = [
    catalogue.hardware("l4"),
    catalogue.hardware("h100-sxm"),
    catalogue.law("ocr"),
    catalogue.evidence(),
    LLAVA,
    *map(catalogue.model, MODELS),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: getattr(document, "name", "evidence"))
def test_mutants(document: Document) -> None:
    chance = random.Random(document.SCHEMA)
    refused = 0
    for _ in range(400):
        data = _mutant(document, chance)
        try:
            _use(type(document), data)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
