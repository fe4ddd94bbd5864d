"""Shared small things: devices, models and machines that need no file."""

import os
import tempfile
from dataclasses import replace

import pytest
from hypothesis import settings

from vlmplan.cost.roofline import Machine, machine
from vlmplan.hardware.profile import HardwareProfile, Kind
from vlmplan.hardware.runtimes import Precision, Runtime
from vlmplan.inventory import catalogue
from vlmplan.models.decoder import Decoder
from vlmplan.models.spec import ModelSpec

# What one's own machines were measured at belongs to whoever runs the tests: neither read nor written by them.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="vlmplan-data-")

settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Goldens and the blocks of README and pages change only by this flag; the diff is reviewed."""
    parser.addoption("--update-goldens", action="store_true", help="rewrite goldens and the output on README and pages")


LLAMA_2_7B = Decoder(
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=32,
    head_dim=128,
    intermediate=11008,
    vocabulary=32000,
    tied_embeddings=False,
)
QWEN2_HALF_B = Decoder(
    layers=24,
    hidden=896,
    heads=14,
    kv_heads=2,
    head_dim=64,
    intermediate=4864,
    vocabulary=151936,
    tied_embeddings=True,
    qkv_bias=True,
)


def text_model(llm: Decoder) -> ModelSpec:
    """A text-only model around ``llm``."""
    return ModelSpec(name="text", family="text", architecture="llama", llm=llm)


def machine_of(hardware: str, runtime: Runtime = Runtime.VLLM, precision: Precision = Precision.BF16) -> Machine:
    """A shipped device, ready to price."""
    return machine(catalogue.hardware(hardware), catalogue.typical(), runtime, precision)


def without_floor(hardware: HardwareProfile) -> HardwareProfile:
    """The device as FLOPs see it: no weight reading, no fixed cost, nothing but multiplications at full rate."""
    calibrations = tuple(
        replace(
            calibration,
            overhead_per_call_s=0.0,
            overhead_per_request_s=0.0,
            overhead_per_layer_s=0.0,
            preprocess=None,
            operators={
                kind: replace(
                    efficiency,
                    latency_s=0.0,
                    memory_fraction=1e9,
                    overlap=8.0,
                    compute_pads=(),
                    memory_pads=(),
                    compute_fraction=1.0 if kind is Kind.LINEAR else 1e9,
                )
                for kind, efficiency in calibration.operators.items()
            },
        )
        for calibration in (hardware.calibration or catalogue.typical())
    )
    return replace(hardware, calibration=calibrations)


@pytest.fixture
def a100() -> Machine:
    """An A100-80GB with vLLM at bf16."""
    return machine_of("a100-80gb-sxm")
