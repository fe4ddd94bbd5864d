"""How does a quantised checkpoint store its weights? What its files say, by the operators that read them.

Bytes are of one weight with its share of scales and zero points. What is not listed stays in the base precision:
embeddings and norms always, and the modules that the checkpoint leaves out.
"""

from collections.abc import Mapping
from dataclasses import field

from vlmplan.errors import check_name, check_range
from vlmplan.hardware import Part, Precision
from vlmplan.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """The precision that a checkpoint was stored in, which ``--precision`` cannot change.

    ``method`` is the name in its files, ``title`` says it in full, ``precision`` is that of most of the LLM's linear
    layers (None: the LLM is not quantised). ``weight_bytes`` is the mean over the layers of an operator, named as
    ``operator_key`` does. ``kept`` are the parts that are left whole; ``cache`` is how the file wants keys and values.
    """

    method: str
    title: str
    precision: Precision | None = None
    weight_bytes: Mapping[str, float] = field(default_factory=dict, hash=False)
    kept: tuple[str, ...] = ()
    cache: str | None = None

    def __post_init__(self) -> None:
        """A weight takes between an eighth of a byte and four."""
        check_name("method", self.method)
        for name, size in self.weight_bytes.items():
            check_range(f"weight_bytes.{name}", size, 0.125, 4)

    @property
    def whole_title(self) -> str:
        """The title with what is left whole."""
        return f"{self.title}; not quantised: {', '.join(self.kept)}" if self.kept else self.title

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the price leaves out."""
        if self.cache is None:
            return ()
        return (
            f"the checkpoint wants its KV cache in {self.cache}; it is priced in 16 bits, as engines keep it unasked",
        )


def operator_key(part: Part, name: str) -> str:
    """Name an operator as ``weight_bytes`` does: the LLM's are the same in prefill, decode and QueCC's look."""
    if part is Part.VISION:
        return f"vision {name}"
    if part is Part.COMPRESSOR and name.startswith(("projector", "resampler")):
        return name
    return f"llm {name}"
