"""How is a weight stored, and which are? The schemes and layouts that every method of quantisation comes down to.

(bits, groups, lists of modules) -> a Scheme, a Layout. Sizes count scales and zero points of groups and blocks; those
of whole rows are left out (2 bytes in thousands).
"""

from dataclasses import dataclass
from typing import Any

from vlmplan.errors import unexpected
from vlmplan.hardware import Precision
from vlmplan.models.configs.keys import Plain, whole
from vlmplan.models.quantised.modules import Module, Patterns, patterns

EVERYWHERE = ("llm", "vision", "projector")
NOTHING = Patterns()
BLOCKS = ("llm",)  # what GPTQ and AWQ quantise unasked: the layers of the LLM (vLLM's models leave towers out, too)
SCALE_BYTES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a weight is stored: what precision that is to vlmplan, its bytes with those of scales, in words."""

    precision: Precision
    weight_bytes: float
    title: str


Rule = tuple[Patterns | None, Scheme | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which modules are stored how: of those in ``scope``, not in ``left``, the first rule that means them.

    A rule without patterns means all; one without a scheme leaves whole. ``head`` says whether the LLM's head is in
    scope; ``experts`` that nothing but experts is. ``cache`` is how keys and values are to be kept.
    """

    method: str
    rules: tuple[Rule, ...]
    left: Patterns = NOTHING
    scope: tuple[str, ...] = EVERYWHERE
    head: bool = False
    experts: bool = False
    cache: str | None = None

    def scheme(self, module: Module) -> Scheme | None:
        """Return how a module that is in scope is stored; None where it is not quantised."""
        if self.left.match(module):
            return None
        return next((scheme for means, scheme in self.rules if means is None or means.match(module)), None)


def strings(table: Plain, where: str, *keys: str) -> list[str] | None:
    """The first of ``keys`` that is there: a list of names, lists of them, or names with commas; None without any."""
    for key in keys:
        value = table.get(key)
        if value is None:
            continue
        flat = value.split(",") if isinstance(value, str) else value
        if isinstance(flat, list) and all(isinstance(one, list) for one in flat):
            flat = [name for one in flat for name in one]
        if not isinstance(flat, list) or not all(isinstance(one, str) for one in flat):
            raise unexpected(f"{where}.{key}", "a list of names", value)
        return [one.strip() for one in flat]
    return None


def bits_of(value: Any, where: str) -> int:
    """Read bits a weight. Raises InputError."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return whole(value, where, 1, 32)


def group_of(value: Any, where: str) -> int:
    """Weights that share a scale; 0 for a whole row (-1 and null in files)."""
    return 0 if value is None or value == -1 else whole(value, where, 0, 65_536)


def scheme_of(
    bits: int,
    group: int = 0,
    *,
    floating: bool = False,
    active_bits: int = 16,
    scale_bytes: float = SCALE_BYTES,
    zero_bytes: float = 0.0,
) -> Scheme | None:
    """Return how ``bits`` a weight are stored, ``group`` of them sharing a scale; None for what is not quantised.

    Products are made in 8 bit where weights and activations have 8, else in 16: weight-only.
    """
    if bits >= 16:
        return None
    precision = Precision.INT4 if bits < 8 else Precision.INT8
    if bits == 8 and active_bits <= 8:
        precision = Precision.FP8 if floating else Precision.INT8_W8A8
    words = f"{bits} bits{' floating point' if floating else ''}" + (f" in groups of {group}" if group else "")
    if active_bits < 16:
        words += f", activations in {active_bits}"
    size = bits / 8 + ((scale_bytes + zero_bytes) / group if group else 0.0)
    return Scheme(precision=precision, weight_bytes=size, title=words)


def everything(scheme: Scheme | None) -> tuple[Rule, ...]:
    """Return the rule that all modules are stored alike."""
    return ((None, scheme),)


def listed(table: Plain, where: str, *keys: str) -> tuple[Patterns, bool]:
    """(modules left whole, whether the head may be quantised): transformers spares it where there is no list."""
    modules = strings(table, where, *keys)
    return patterns(modules or (), where), modules is not None
