"""What do toolkits write that hold many schemes? TorchAO, compressed-tensors, NVIDIA's Model Optimizer, AMD's Quark.

(table) -> a Layout, by module where the toolkit says so. A scheme that is not read is an InputError that names it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vlmplan.errors import InputError
from vlmplan.models.keys import nested, switch, whole
from vlmplan.models.modules import patterns
from vlmplan.models.schemes import SCALE_BYTES, Layout, Rule, Scheme, bits_of, group_of, listed, scheme_of, strings
from vlmplan.models.text_types import Plain

# TorchAO's configurations: (bits, group unless the file says, floating point, bits of activations).
_TORCHAO: Mapping[str, tuple[int, int, bool, int]] = {
    "int4weightonly": (4, 128, False, 16),
    "int8weightonly": (8, 0, False, 16),
    "int8dynamicactivationint8weight": (8, 0, False, 8),
    "int8dynamicactivationint4weight": (4, 32, False, 8),
    "float8weightonly": (8, 0, True, 16),
    "float8dynamicactivationfloat8weight": (8, 0, True, 8),
    "float8dynamicactivationint4weight": (4, 128, False, 8),
    "float8staticactivationfloat8weight": (8, 0, True, 8),
    "int8dynamicactivationintxweight": (4, 32, False, 8),
    "intxweightonly": (4, 32, False, 16),
}


def _torchao_scheme(kind: Any, own: Plain, where: str) -> Scheme | None:
    if kind is None:
        return None
    known = _TORCHAO.get(str(kind).lower().replace("_", "").removesuffix("config"))
    if known is None:
        raise InputError(f"{where}: quant_type {kind!r:.60} is not read; expected one of {', '.join(_TORCHAO)}")
    bits, group, floating, active = known
    if written := re.search(r"int(\d)", str(own.get("weight_dtype"))):
        bits = int(written[1])
    granularity = nested(own, "weight_granularity", where) or nested(own, "granularity", where)
    inner = nested(granularity, "_data", where)
    group = group_of(own.get("group_size", inner.get("group_size", group)), f"{where}.group_size")
    zero_bytes = SCALE_BYTES if bits < 8 else 0.0
    return scheme_of(bits, group, floating=floating, active_bits=active, zero_bytes=zero_bytes)


def _torchao_rules(found: Any, own: Plain, where: str) -> Iterator[Rule]:
    """A name, one serialised configuration, or a table of them by module."""
    if not isinstance(found, dict):
        yield None, _torchao_scheme(found, own, where)
        return
    data = nested(found, "_data", where)
    by_name = nested(data, "module_fqn_to_config", where) or nested(data, "fqn_to_config", where)
    if not by_name:
        yield None, _torchao_scheme(found.get("_type"), data, where)
        return
    for name in sorted(by_name, key=lambda name: name == "_default"):
        means = None if name == "_default" else patterns([name], where)
        single = nested(by_name, name, where)
        yield means, _torchao_scheme(single.get("_type"), nested(single, "_data", where), where)


def torchao(table: Plain, where: str) -> Layout:
    """TorchAO: ``quant_type`` is a name, or the configuration under ``default``."""
    kind, inside = table.get("quant_type"), f"{where}.quant_type"
    own = nested(table, "quant_type_kwargs", where)
    found = kind.get("default", kind) if isinstance(kind, dict) else kind
    if found is None:
        raise InputError(f"{inside}: missing, expected one of {', '.join(_TORCHAO)}")
    left, _ = listed(table, where, "modules_to_not_convert")
    head = switch(table, "include_input_output_embeddings", where, default=False)
    return Layout(method="torchao", rules=tuple(_torchao_rules(found, own, inside)), left=left, head=head)


NVFP4 = scheme_of(4, 16, floating=True, scale_bytes=1)
# Names of algorithms and presets, as compressed-tensors and NVIDIA's Model Optimizer write them, in lower case.
_NAMED: Mapping[str, Scheme | None] = {
    **dict.fromkeys(("w8a16", "w8a16_sq", "int8_wo"), scheme_of(8)),
    **dict.fromkeys(("w4a16", "w4a16_awq", "int4_awq", "int4_wo", "w4a16_gptq"), scheme_of(4, 128)),
    "w4a16_asym": scheme_of(4, 128, zero_bytes=0.5),
    "w4a8": scheme_of(4, 128, active_bits=8),
    **dict.fromkeys(("w4a8_awq", "w4afp8"), scheme_of(4, 128, active_bits=8)),
    **dict.fromkeys(
        ("int8", "w8a8", "int8_sq", "w8a8_sq_per_channel", "w8a8_sq_per_channel_per_token_plugin"),
        scheme_of(8, active_bits=8),
    ),
    **dict.fromkeys(
        ("fp8", "fp8_dynamic", "fp8_static", "fp8_per_channel_per_token", "fp8_block", "fp8_pb_real"),
        scheme_of(8, floating=True, active_bits=8),
    ),
    **dict.fromkeys(("fp8_pb_wo", "w8a16_fp8"), scheme_of(8, floating=True)),
    **dict.fromkeys(("nvfp4", "nvfp4_awq", "nvfp4a16", "nvfp4_svdquant", "w4a16_nvfp4"), NVFP4),
    **dict.fromkeys(("mxfp4", "mxfp4a16", "w4a8_mxfp4_fp8"), scheme_of(4, 32, floating=True, scale_bytes=1)),
    "mxfp8": scheme_of(8, 32, floating=True, active_bits=8, scale_bytes=1),
    "unquantized": None,
}


def _algorithm(name: Any, where: str) -> Scheme | None:
    found = name.lower() if isinstance(name, str) else ""
    if found not in _NAMED:
        raise InputError(f"{where}: {name!r:.40} is not read; expected one of {', '.join(_NAMED)}")
    return _NAMED[found]


def _cache(table: Plain, where: str) -> str | None:
    """How keys and values are to be kept."""
    cache = nested(table, "kv_cache_scheme", where)
    return f"{bits_of(cache.get('num_bits', 8), f'{where}.kv_cache_scheme.num_bits')} bits" if cache else None


def modelopt(table: Plain, where: str) -> Layout:
    """NVIDIA's Model Optimizer: one algorithm, or one by layer; ``exclude_modules`` are globs."""
    left, _ = listed(table, where, "exclude_modules", "ignore")
    rules: list[Rule] = []
    algorithm = table.get("quant_algo")
    if isinstance(algorithm, str) and algorithm.lower() == "mixed_precision":
        layers = nested(table, "quantized_layers", where)
        for name in layers:
            own = nested(layers, name, f"{where}.quantized_layers")
            rules.append((patterns([name], where), _algorithm(own.get("quant_algo"), f"{where}.quantized_layers")))
    elif algorithm is None and table.get("config_groups"):
        return compressed(table, where)
    else:
        rules.append((None, _algorithm(algorithm, f"{where}.quant_algo")))
    cache = table.get("kv_cache_quant_algo")
    kept = str(cache).lower()[:20] if cache else _cache(table, where)
    return Layout(method="modelopt", rules=tuple(rules), left=left, head=True, cache=kept)


def _compressed_scheme(group: Plain, where: str) -> Scheme | None:
    """One group of compressed-tensors: its weights, and whether its inputs are quantised."""
    weights, inputs = nested(group, "weights", where), nested(group, "input_activations", where)
    if not weights:
        return None
    inside = f"{where}.weights"
    bits, floating = bits_of(weights.get("num_bits", 8), f"{inside}.num_bits"), weights.get("type", "int") == "float"
    active = bits_of(inputs.get("num_bits", 8), f"{where}.input_activations.num_bits") if inputs else 16
    shared = group_of(weights.get("group_size"), f"{inside}.group_size")
    block = weights.get("block_structure")
    if isinstance(block, list) and len(block) == 2:
        shared = whole(block[0], f"{inside}.block_structure") * whole(block[1], f"{inside}.block_structure")
    symmetric = switch(weights, "symmetric", inside, default=True)
    scale_bytes = 1.0 if floating and bits < 8 else SCALE_BYTES
    zero_bytes = 0.0 if symmetric else bits / 8
    return scheme_of(
        bits, shared, floating=floating, active_bits=active, scale_bytes=scale_bytes, zero_bytes=zero_bytes
    )


def compressed(table: Plain, where: str) -> Layout:
    """compressed-tensors: groups of modules by class or name, each with its scheme; ``ignore`` are left whole."""
    if "24" in str(table.get("format")) or nested(table, "sparsity_config", where).get("format") not in (None, "dense"):
        raise InputError(f"{where}: sparse weights ({table.get('format')}) are not priced; expected a dense format")
    groups = nested(table, "config_groups", where)
    if not groups:
        raise InputError(f"{where}.config_groups: missing, expected at least one group for compressed-tensors")
    named: list[Rule] = []
    by_class: list[Rule] = []
    for name, group in groups.items():
        inside = f"{where}.config_groups.{name:.40}"
        preset = isinstance(group, list)
        if not preset and not isinstance(group, dict):
            raise InputError(f"{inside}: expected a table, found {group!r:.40}")
        targets = strings(group if not preset else {"targets": group}, inside, "targets") or ["Linear"]
        scheme = _algorithm(name, inside) if preset else _compressed_scheme(group, inside)
        modules = [one for one in targets if one not in ("Linear", "Embedding") and not one.endswith("Linear")]
        if len(modules) < len(targets):
            by_class.append((None, scheme))
        if modules:
            named.append((patterns(modules, inside), scheme))
    left, _ = listed(table, where, "ignore", "ignored_layers")
    rules = (*named, *by_class)
    return Layout(method="compressed-tensors", rules=rules, left=left, head=True, cache=_cache(table, where))


def _quark_scheme(table: Plain, where: str) -> Scheme | None:
    weights, inputs = nested(table, "weight", where), nested(table, "input_tensors", where)
    if not weights:
        return None
    kinds = {"int4": (4, False), "uint4": (4, False), "int8": (8, False), "fp8_e4m3": (8, True), "fp4": (4, True)}
    kind = weights.get("dtype")
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(f"{where}.weight.dtype: expected one of {', '.join(kinds)}, found {kind!r:.40}")
    bits, floating = kinds[kind]
    group = group_of(weights.get("group_size"), f"{where}.weight.group_size")
    active = 8 if inputs else 16
    return scheme_of(
        bits, group, floating=floating, active_bits=active, scale_bytes=1 if kind == "fp4" else SCALE_BYTES
    )


def quark(table: Plain, where: str) -> Layout:
    """AMD's Quark: one configuration, others by layer."""
    inside, by_layer = f"{where}.layer_quant_config", nested(table, "layer_quant_config", where)
    rules: list[Rule] = [
        (patterns([name], inside), _quark_scheme(nested(by_layer, name, inside), inside)) for name in by_layer
    ]
    usual = f"{where}.global_quant_config"
    rules.append((None, _quark_scheme(nested(table, "global_quant_config", where), usual)))
    left, _ = listed(table, where, "exclude")
    return Layout(method="quark", rules=tuple(rules), left=left, head=True)
