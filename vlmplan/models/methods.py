"""What does a table ``quantization_config`` say? Which modules are stored how, by one reader a method.

(table) -> a Layout. A method or a value that is not read is an InputError that names it.
"""

from collections.abc import Callable, Mapping

from vlmplan.errors import InputError, nearest
from vlmplan.hardware import Precision
from vlmplan.models.keys import nested, switch, whole
from vlmplan.models.modules import patterns
from vlmplan.models.schemes import (
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
from vlmplan.models.text_types import Plain
from vlmplan.models.toolkits import NVFP4, compressed, modelopt, quark, torchao


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
    dynamic = nested(table, "dynamic", where)
    for text in dynamic:
        inside = f"{where}.dynamic"
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
        raise InputError(f"{where}.weight_block_size: expected two sizes, found {block!r:.40}")
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
        raise InputError(f"{where}.weights: expected one of {', '.join(kinds)}, found {kind!r:.40}")
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
