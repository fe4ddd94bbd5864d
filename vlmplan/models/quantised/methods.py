"""What does a table ``quantization_config`` say? Which modules are stored how, by one reader a method or toolkit.

(table) -> a Layout. A method or a value that is not read is an InputError that names it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vlmplan.errors import InputError, nearest, unexpected
from vlmplan.hardware import Precision
from vlmplan.models.configs.keys import Plain, nested, switch, whole
from vlmplan.models.quantised.modules import check_listed, patterns
from vlmplan.models.quantised.schemes import (
    BLOCKS,
    EVERYWHERE,
    SCALE_BYTES,
    Layout,
    Rule,
    Scheme,
    bits_of,
    everything,
    group_of,
    listed,
    scheme_of,
    strings,
)

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
            raise unexpected(inside, "a table", group)
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
        raise unexpected(f"{where}.weight.dtype", f"one of {', '.join(kinds)}", kind)
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


def _packed(table: Plain, where: str) -> Scheme | None:
    """GPTQ and AWQ: groups with a scale in 16 bits, and zero points as wide as a weight unless symmetric."""
    bits = bits_of(table.get("bits", table.get("w_bit", 4)), f"{where}.bits")
    group = group_of(table.get("group_size", table.get("q_group_size", 128)), f"{where}.group_size")
    symmetric = switch(table, "sym", where, default=not switch(table, "zero_point", where, default=False))
    return scheme_of(bits, group, zero_bytes=0.0 if symmetric else bits / 8)


def _awq(table: Plain, where: str) -> Layout:
    """AutoAWQ (arXiv 2306.00978): the LLM's layers, but for ``modules_to_not_convert``."""
    left = listed(table, where, "modules_to_not_convert")[0]
    return Layout(
        method="awq", rules=everything(_packed({"zero_point": True, **table}, where)), left=left, scope=BLOCKS
    )


def _gptq(table: Plain, where: str) -> Layout:
    """GPTQ (arXiv 2210.17323), with the patterns of GPTQModel's ``dynamic``: ``-:`` leaves out, ``+:`` or none sets."""
    rules: list[Rule] = []
    dynamic, inside = nested(table, "dynamic", where), f"{where}.dynamic"
    check_listed([text.removeprefix("-:").removeprefix("+:") for text in dynamic], inside, regular=True)
    for text in dynamic:
        means = patterns([text.removeprefix("-:").removeprefix("+:")], inside, regular=True)
        own = nested(dynamic, text, inside)
        rules.append((means, None if text.startswith("-:") else _packed({**table, **own}, f"{inside}.{text:.40}")))
    inside_blocks = strings(table, where, "modules_in_block_to_quantize")
    usual = _packed({"sym": True, **table}, where)
    rules.append((None if not inside_blocks else patterns(inside_blocks, where), usual))
    head = switch(table, "lm_head", where, default=False)
    left = listed(table, where, "modules_to_not_convert")[0]
    return Layout(method="gptq", rules=tuple(rules), left=left, scope=BLOCKS, head=head)


def _auto_round(table: Plain, where: str) -> Layout:
    """AutoRound (arXiv 2309.05516): blocks by name, with changes by module."""
    rules: list[Rule] = []
    extra = nested(table, "extra_config", where)
    check_listed(list(extra), f"{where}.extra_config")
    for name in extra:
        own = _packed({"sym": True, **table, **nested(extra, name, f"{where}.extra_config")}, where)
        rules.append((patterns([name], where), own))
    blocks = strings(table, where, "block_name_to_quantize", "to_quant_block_names") or []
    towers = [name for name in blocks if "vis" in name]
    scope = EVERYWHERE[: 1 + bool(towers)]
    rules.append((None, _packed({"sym": True, **table}, where)))
    left, _ = listed(table, where, "modules_to_not_convert", "ignore_layers")
    return Layout(method="auto-round", rules=tuple(rules), left=left, scope=scope)


def _fp8(table: Plain, where: str) -> Layout:
    """DeepSeek's blocks with a scale in fp32 (arXiv 2412.19437), or one scale a tensor; never the head."""
    block = table.get("weight_block_size")
    if block is not None and (not isinstance(block, list) or len(block) != 2):
        raise unexpected(f"{where}.weight_block_size", "two sizes", block)
    shared = 1
    for side in block or ():
        shared *= whole(side, f"{where}.weight_block_size", 1, 65_536)
    size = 1 + ((1 if table.get("scale_fmt") == "ue8m0" else 4) / shared if block else 0.0)
    words = "8 bits floating point" + (f" in blocks of {block[0]} x {block[1]}" if block else "")
    scheme = Scheme(precision=Precision.FP8, weight_bytes=size, title=f"{words}, activations in 8")
    left, _ = listed(table, where, "modules_to_not_convert", "ignored_layers", "ignore")
    rules = everything(scheme)
    if table.get("expert_dtype") == "fp4":  # DeepSeek-V4's
        rules = ((patterns(["experts"], where), scheme_of(4, 32, floating=True, active_bits=8, scale_bytes=1)), *rules)
    return Layout(method="fp8", rules=rules, left=left)


def _bitsandbytes(table: Plain, where: str) -> Layout:
    """LLM.int8 (arXiv 2208.07339), and QLoRA's blocks of 64 with a scale in fp32, or in 8 bits when quantised twice."""
    four = switch(table, "load_in_4bit", where, default=switch(table, "_load_in_4bit", where, default=False))
    eight = switch(table, "load_in_8bit", where, default=switch(table, "_load_in_8bit", where, default=False))
    if not four and not eight:
        raise InputError(f"{where}: neither load_in_4bit nor load_in_8bit is true; expected one for bitsandbytes")
    twice = switch(table, "bnb_4bit_use_double_quant", where, default=False)
    scheme = scheme_of(8) if eight else scheme_of(4, 64, scale_bytes=1 + 4 / 256 if twice else 4.0)
    left, head = listed(table, where, "llm_int8_skip_modules")
    return Layout(method="bitsandbytes", rules=everything(scheme), left=left, head=head)


def _mxfp4(table: Plain, where: str) -> Layout:
    """gpt-oss: experts in 4 bits, 32 sharing a scale of 8 (OCP Microscaling)."""
    left, _ = listed(table, where, "modules_to_not_convert")
    scheme = scheme_of(4, 32, floating=True, scale_bytes=1)
    return Layout(method="mxfp4", rules=everything(scheme), left=left, experts=True)


def _simple(method: str, scheme: Scheme | None) -> Callable[[Plain, str], Layout]:
    """A method of one scheme, with ``modules_to_not_convert``."""

    def read(table: Plain, where: str) -> Layout:
        left, _ = listed(table, where, "modules_to_not_convert", "ignored_layers")
        return Layout(method=method, rules=everything(scheme), left=left)

    return read


def _quanto(table: Plain, where: str) -> Layout:
    """Optimum Quanto: int8 and float8 a scale a row, int4 and int2 groups of 128 with scale and shift."""
    kinds = {"int8": (8, 0), "float8": (8, 0), "int4": (4, 128), "int2": (2, 128)}
    kind = table.get("weights")
    if not isinstance(kind, str) or kind not in kinds:
        raise unexpected(f"{where}.weights", f"one of {', '.join(kinds)}", kind)
    bits, group = kinds[kind]
    left, head = listed(table, where, "modules_to_not_convert")
    scheme = scheme_of(bits, group, floating=kind == "float8", zero_bytes=SCALE_BYTES)
    return Layout(method="quanto", rules=everything(scheme), left=left, head=head)


def _hqq_scheme(table: Plain, where: str) -> Scheme | None:
    own = nested(table, "weight_quant_params", where) or table
    bits = bits_of(own.get("nbits", 4), f"{where}.nbits")
    return scheme_of(bits, group_of(own.get("group_size", 64), f"{where}.group_size"), zero_bytes=SCALE_BYTES)


def _hqq(table: Plain, where: str) -> Layout:
    """Half-quadratic quantisation: one table for all, or one by the name of a module in a layer."""
    inside, own = f"{where}.quant_config", nested(table, "quant_config", where)
    by_name = {} if {"weight_quant_params", "nbits"} & own.keys() else own
    rules: list[Rule] = [
        (patterns([name], inside), _hqq_scheme(nested(by_name, name, inside), inside)) for name in by_name
    ]
    if not by_name:
        rules.append((None, _hqq_scheme(own, inside)))
    left, head = listed(table, where, "skip_modules", "modules_to_not_convert")
    return Layout(method="hqq", rules=tuple(rules), left=left, head=head)


def _mlx(table: Plain, where: str) -> Layout:
    """MLX: groups with scale and bias in 16 bits, everywhere but where a module's own key says otherwise."""

    def scheme(own: Plain) -> Scheme | None:
        group = group_of(own.get("group_size", 64), f"{where}.group_size")
        return scheme_of(bits_of(own.get("bits"), f"{where}.bits"), group, zero_bytes=SCALE_BYTES)

    changed = {name: own for name, own in table.items() if own is False or isinstance(own, dict)}
    rules: list[Rule] = [
        (patterns([name], where), scheme({**table, **own}) if own else None) for name, own in changed.items()
    ]
    return Layout(method="mlx", rules=(*rules, (None, scheme(table))), head=True)


METHODS: Mapping[str, Callable[[Plain, str], Layout]] = {
    "awq": _awq,
    "gptq": _gptq,
    "auto-round": _auto_round,
    "compressed-tensors": compressed,
    "fp8": _fp8,
    "fbgemm_fp8": _simple("fbgemm_fp8", scheme_of(8, floating=True, active_bits=8)),
    "eetq": _simple("eetq", scheme_of(8)),
    "bitsandbytes": _bitsandbytes,
    "mxfp4": _mxfp4,
    "mxfp8": _simple("mxfp8", scheme_of(8, 32, floating=True, active_bits=8, scale_bytes=1)),
    "nvfp4": _simple("nvfp4", NVFP4),
    "quanto": _quanto,
    "hqq": _hqq,
    "torchao": torchao,
    "modelopt": modelopt,
    "quark": quark,
    "mlx": _mlx,
}
_SYNONYMS = {
    "awq_marlin": "awq",
    "gptq_marlin": "gptq",
    "gptqmodel": "gptq",
    "auto_round": "auto-round",
    "autoround": "auto-round",
    "intel/auto-round": "auto-round",
    "inc": "auto-round",
    "compressed_tensors": "compressed-tensors",
    "sparseml": "compressed-tensors",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "modelopt_fp4": "modelopt",
    "modelopt_fp8": "modelopt",
    "modelopt_mixed": "modelopt",
    "modelopt_mxfp8": "modelopt",
    "fine_grained_fp8": "fp8",
    "finegrained_fp8": "fp8",
}
# A key that tells the method where none is named.
_TELLING = {
    "load_in_4bit": "bitsandbytes",
    "load_in_8bit": "bitsandbytes",
    "config_groups": "compressed-tensors",
    "quant_algo": "modelopt",
}


def layout(table: Plain, where: str) -> Layout:
    """Read a table of quantisation. Raises InputError for a method that is not read, by name."""
    named = table.get("quant_method")
    if named is None:
        told = next((method for key, method in _TELLING.items() if key in table), None)
        named = told or ("mlx" if "bits" in table else None)
    folded = str(named).lower()
    method = _SYNONYMS.get(folded, folded)
    if method not in METHODS:
        close = nearest(method, METHODS)
        raise InputError(
            f"{where}.quant_method: {named!r:.40} is not read; expected one of {', '.join(METHODS)}"
            + (f" (nearest: {close})" if close else "")
            + ", or the checkpoint before it was quantised"
        )
    return METHODS[method](table, where)
