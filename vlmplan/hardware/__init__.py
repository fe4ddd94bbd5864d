"""What a machine is and has: its profile, its name, its price, and what is found on this one."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.hardware.detect import PROVIDERS as PROVIDERS, Setup as Setup, cache_bytes as cache_bytes, probe as probe, setup as setup
    from vlmplan.hardware.found import FoundMachine as FoundMachine, machine_here as machine_here
    from vlmplan.hardware.gpus import Device as Device
    from vlmplan.hardware.installed import Folder as Folder, LEAST_GPU_RUNTIME as LEAST_GPU_RUNTIME, Package as Package, RUNTIMES as RUNTIMES, driver_cuda as driver_cuda, extras as extras, folder as folder, hub_cache as hub_cache, numbers as numbers, providers as providers, refused_on_cuda as refused_on_cuda, torch_cuda as torch_cuda, version_of as version_of, versions_of as versions_of
    from vlmplan.hardware.names import ReportedNames as ReportedNames, meant as meant, near as near, without_memory as without_memory
    from vlmplan.hardware.prices import Prices as Prices, read_prices as read_prices
    from vlmplan.hardware.profile import Basis as Basis, Calibration as Calibration, Efficiency as Efficiency, HardwareProfile as HardwareProfile, Kind as Kind, Part as Part, Preprocess as Preprocess
    from vlmplan.hardware.rates import DeviceRates as DeviceRates, cuda_rates as cuda_rates, processor_rates as processor_rates
    from vlmplan.hardware.runtimes import Command as Command, Engine as Engine, Precision as Precision, Provider as Provider, Runs as Runs, Runtime as Runtime, SERVING as SERVING, WEIGHT_ONLY as WEIGHT_ONLY
    from vlmplan.hardware.surroundings import PROBE_TIMEOUT_S as PROBE_TIMEOUT_S, Surroundings as Surroundings, within as within

__getattr__, __all__ = face(
    __name__,
    {
        'detect': ('PROVIDERS', 'Setup', 'cache_bytes', 'probe', 'setup'),
        'found': ('FoundMachine', 'machine_here'),
        'gpus': ('Device',),
        'installed': ('Folder', 'LEAST_GPU_RUNTIME', 'Package', 'RUNTIMES', 'driver_cuda', 'extras', 'folder', 'hub_cache', 'numbers', 'providers', 'refused_on_cuda', 'torch_cuda', 'version_of', 'versions_of'),
        'names': ('ReportedNames', 'meant', 'near', 'without_memory'),
        'prices': ('Prices', 'read_prices'),
        'profile': ('Basis', 'Calibration', 'Efficiency', 'HardwareProfile', 'Kind', 'Part', 'Preprocess'),
        'rates': ('DeviceRates', 'cuda_rates', 'processor_rates'),
        'runtimes': ('Command', 'Engine', 'Precision', 'Provider', 'Runs', 'Runtime', 'SERVING', 'WEIGHT_ONLY'),
        'surroundings': ('PROBE_TIMEOUT_S', 'Surroundings', 'within'),
    },
)
