"""What a machine is and has: its profile, its name, its price, and what is found on this one."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.hardware.detect import PROVIDERS as PROVIDERS
    from vlmplan.hardware.detect import Setup as Setup
    from vlmplan.hardware.detect import cache_bytes as cache_bytes
    from vlmplan.hardware.detect import probe as probe
    from vlmplan.hardware.detect import setup as setup
    from vlmplan.hardware.found import FoundMachine as FoundMachine
    from vlmplan.hardware.found import machine_here as machine_here
    from vlmplan.hardware.gpus import Device as Device
    from vlmplan.hardware.installed import LEAST_GPU_RUNTIME as LEAST_GPU_RUNTIME
    from vlmplan.hardware.installed import RUNTIMES as RUNTIMES
    from vlmplan.hardware.installed import Folder as Folder
    from vlmplan.hardware.installed import Package as Package
    from vlmplan.hardware.installed import driver_cuda as driver_cuda
    from vlmplan.hardware.installed import extras as extras
    from vlmplan.hardware.installed import folder as folder
    from vlmplan.hardware.installed import hub_cache as hub_cache
    from vlmplan.hardware.installed import numbers as numbers
    from vlmplan.hardware.installed import providers as providers
    from vlmplan.hardware.installed import refused_on_cuda as refused_on_cuda
    from vlmplan.hardware.installed import torch_cuda as torch_cuda
    from vlmplan.hardware.installed import version_of as version_of
    from vlmplan.hardware.installed import versions_of as versions_of
    from vlmplan.hardware.names import ReportedNames as ReportedNames
    from vlmplan.hardware.names import meant as meant
    from vlmplan.hardware.names import near as near
    from vlmplan.hardware.names import without_memory as without_memory
    from vlmplan.hardware.prices import Prices as Prices
    from vlmplan.hardware.prices import read_prices as read_prices
    from vlmplan.hardware.profile import Basis as Basis
    from vlmplan.hardware.profile import Calibration as Calibration
    from vlmplan.hardware.profile import Efficiency as Efficiency
    from vlmplan.hardware.profile import HardwareProfile as HardwareProfile
    from vlmplan.hardware.profile import Kind as Kind
    from vlmplan.hardware.profile import Part as Part
    from vlmplan.hardware.profile import Preprocess as Preprocess
    from vlmplan.hardware.rates import DeviceRates as DeviceRates
    from vlmplan.hardware.rates import cuda_rates as cuda_rates
    from vlmplan.hardware.rates import processor_rates as processor_rates
    from vlmplan.hardware.runtimes import SERVING as SERVING
    from vlmplan.hardware.runtimes import WEIGHT_ONLY as WEIGHT_ONLY
    from vlmplan.hardware.runtimes import Command as Command
    from vlmplan.hardware.runtimes import Engine as Engine
    from vlmplan.hardware.runtimes import Precision as Precision
    from vlmplan.hardware.runtimes import Provider as Provider
    from vlmplan.hardware.runtimes import Runs as Runs
    from vlmplan.hardware.runtimes import Runtime as Runtime
    from vlmplan.hardware.surroundings import PROBE_TIMEOUT_S as PROBE_TIMEOUT_S
    from vlmplan.hardware.surroundings import Surroundings as Surroundings
    from vlmplan.hardware.surroundings import within as within

__getattr__, __all__ = face(
    __name__,
    {
        "detect": ("PROVIDERS", "Setup", "cache_bytes", "probe", "setup"),
        "found": ("FoundMachine", "machine_here"),
        "gpus": ("Device",),
        "installed": (
            "Folder",
            "LEAST_GPU_RUNTIME",
            "Package",
            "RUNTIMES",
            "driver_cuda",
            "extras",
            "folder",
            "hub_cache",
            "numbers",
            "providers",
            "refused_on_cuda",
            "torch_cuda",
            "version_of",
            "versions_of",
        ),
        "names": ("ReportedNames", "meant", "near", "without_memory"),
        "prices": ("Prices", "read_prices"),
        "profile": ("Basis", "Calibration", "Efficiency", "HardwareProfile", "Kind", "Part", "Preprocess"),
        "rates": ("DeviceRates", "cuda_rates", "processor_rates"),
        "runtimes": ("Command", "Engine", "Precision", "Provider", "Runs", "Runtime", "SERVING", "WEIGHT_ONLY"),
        "surroundings": ("PROBE_TIMEOUT_S", "Surroundings", "within"),
    },
)
