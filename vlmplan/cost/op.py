"""The vocabulary of the operator list: a request, an operator, a linear layer.

A multiply-add is two FLOPs; only matrix products count, as in torch's flop counter; attention counts every pair of
tokens, masked or not, also as torch does. Left out: softmax and norm arithmetic (their bytes are in).
"""

from vlmplan.errors import InputError
from vlmplan.hardware import Kind, Part, Precision
from vlmplan.models import ModelSpec, VisualInput, Workload
from vlmplan.records import dataclass

# Bytes of one weight as stored. int4: 4 bits and one 16-bit scale and zero point in 4 + 16 bits per group of 128
# (the layout of GPTQ and AWQ checkpoints, arXiv 2210.17323 and 2306.00978).
WEIGHT_BYTES = {
    Precision.FP32: 4.0,
    Precision.FP16: 2.0,
    Precision.BF16: 2.0,
    Precision.FP8: 1.0,
    Precision.INT8: 1.0,
    Precision.INT8_W8A8: 1.0,
    Precision.INT4: 0.5 + 20 / 8 / 128,
}
# vlmplan's own exports at int8 and int4 store blocks of so many inputs, a scale each in the base precision, and at four
# bits a zero point of four bits. At int4 these products alone have four bits, all others eight (docs/rounding.md).
EXPORT_BLOCK = 32
FOUR_BIT_PARTS = ("gate_proj", "up_proj")
# Passes over the hidden state that a norm with its residual is priced as: what a norm and an add take apart (Vidur: 2
# passes at 0.33 of the bandwidth and 3 at 0.88) is 3 of the norm's.
NORM_PASSES = 3
ATTENTION_TILE_TOKENS = 128  # rows of queries that one thread block of a flash-attention kernel takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """``count`` equal kernels, all figures being their sum.

    ``flops`` and ``params`` are the whole model's; ``shards`` GPUs divide the FLOPs, and bytes are of one GPU.
    ``shape`` of one kernel: (rows, columns, depth) of a linear, (independent tiles,) of an attention. ``params`` and
    ``resident_bytes`` are what the operator brings to memory: zero where another operator already owns the weights.
    ``quantised`` weights follow the chosen precision, others stay in 16 (or 32) bit.
    """

    part: Part
    name: str
    kind: Kind
    count: int
    shape: tuple[float, ...] = ()
    flops: float = 0.0
    weight_bytes: float = 0.0
    moved_bytes: float = 0.0
    params: int = 0
    resident_bytes: float = 0.0
    shards: int = 1
    quantised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A workload on one model at one number of visual tokens, precision and number of GPUs (tensor parallel).

    ``exported``: weights as vlmplan writes them; ``stored_weight_bytes``: of one in a runtime's own format, head too.
    """

    model: ModelSpec
    workload: Workload
    visual: VisualInput | None
    precision: Precision
    gpus: int = 1
    base_precision: Precision | None = None
    exported: bool = False
    stored_weight_bytes: float | None = None

    def __post_init__(self) -> None:
        """Tensor parallelism splits whole heads. Raises InputError."""
        if self.model.llm.heads % self.gpus:
            raise InputError(
                f"--gpus: found {self.gpus}, expected a divisor of the {self.model.llm.heads} attention heads of "
                f"{self.model.name}"
            )

    @property
    def visual_tokens(self) -> int:
        """Visual tokens per image."""
        return self.visual.visual_tokens if self.visual else 0

    @property
    def activation_bytes(self) -> int:
        """Bytes of one activation or KV-cache entry."""
        return 4 if (self.base_precision or self.precision) is Precision.FP32 else 2

    def weight_bytes(self, part: str) -> float:
        """Bytes of a weight of one of the LLM's products (``q_proj``, ``lm_head``) as stored, its share of scales in.

        Exports at int8 and int4 store blocks as vlmplan writes them, runtimes with a format of their own in
        ``stored_weight_bytes``, others as is usual elsewhere.
        """
        if self.stored_weight_bytes is not None:
            return self.stored_weight_bytes
        if not self.exported:
            return WEIGHT_BYTES[self.precision]
        scale = self.activation_bytes / EXPORT_BLOCK
        if self.precision is Precision.INT4 and part in FOUR_BIT_PARTS:
            return 0.5 + 0.5 / EXPORT_BLOCK + scale
        return 1.0 + scale

    @property
    def head_quantised(self) -> bool:
        """Whether the LLM's head is stored as its other weights are."""
        return self.exported or self.stored_weight_bytes is not None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of one request in the LLM's sequence when it emits its first.

        A model that attends to visual tokens from beside the sequence has one token an image there.
        """
        each = self.visual_tokens if self.model.llm.sees_visual_tokens else min(1, self.visual_tokens)
        return self.workload.text_tokens + each * self.workload.images

    @property
    def context_tokens(self) -> int:
        """Tokens of one request at its end: prompt and output."""
        return self.prompt_tokens + self.workload.output_tokens

    @property
    def fits_context(self) -> bool:
        """Whether the model's context holds the request; an unknown context is taken to."""
        longest = self.model.llm.max_context_tokens
        return longest is None or self.context_tokens <= longest

    @property
    def sizes(self) -> dict[str, int]:
        """What a time depends on and a calibration was measured over, by name."""
        workload = self.workload
        sizes = {
            "llm hidden width": self.model.llm.hidden,
            "batch": workload.decoded_together,
            "tokens prefilled": workload.batch * self.prefill_tokens,
            "context tokens": self.context_tokens,
        }
        if self.model.vision is not None and self.visual is not None:
            sizes["vision hidden width"] = self.model.vision.output_width
        return sizes

    @property
    def prefill_tokens(self) -> int:
        """Tokens of one request that prefill computes, at least the last one."""
        return max(1, self.prompt_tokens - self.workload.cached_text_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Emits linear layers of one part: ``count`` of them, ``rows`` x ``depth`` times ``depth`` x ``columns``."""

    part: Part
    count: int
    activation_bytes: float
    weight_bytes: float
    quantised: bool = False
    owns: bool = True

    def __call__(  # noqa: PLR0913 - a matrix product and how it is split
        self,
        name: str,
        rows: float,
        columns: float,
        depth: float,
        *,
        bias: bool = False,
        split_columns: int = 1,
        split_depth: int = 1,
    ) -> Op:
        """Return the layers as one operator; ``split_columns`` or ``split_depth`` GPUs share the weights."""
        shards = split_columns * split_depth
        columns_here, depth_here = columns / split_columns, depth / split_depth
        stored = self.count * columns_here * depth_here * self.weight_bytes
        params = round(self.count * columns * (depth + bias)) if self.owns else 0
        return Op(
            part=self.part,
            name=name,
            kind=Kind.LINEAR,
            count=self.count,
            shape=(rows, columns_here, depth_here),
            flops=2.0 * self.count * rows * columns * depth,
            weight_bytes=stored,
            moved_bytes=self.count * rows * (columns_here + depth_here) * self.activation_bytes,
            params=params,
            resident_bytes=stored if self.owns else 0.0,
            shards=shards,
            quantised=self.quantised,
        )


def elementwise(  # noqa: PLR0913, PLR0917 - the fields of an Op that such a kernel has
    part: Part,
    name: str,
    count: int,
    moved_bytes: float,
    params: int = 0,
    resident: float = 0,
    kind: Kind = Kind.ELEMENTWISE,
) -> Op:
    """Return ``count`` kernels that only move bytes (norms, activations, rotary embedding, look-ups)."""
    return Op(
        part=part,
        name=name,
        kind=kind,
        count=count,
        moved_bytes=moved_bytes,
        params=params,
        resident_bytes=resident,
    )


def all_reduce(part: Part, layers: int, output_bytes: float, gpus: int) -> Op:
    """Tensor parallelism's sums: in every layer those of attention and MLP, ``output_bytes`` each, around a ring."""
    moved = 2 * layers * output_bytes * 2 * (gpus - 1) / gpus
    return Op(part=part, name="all-reduce", kind=Kind.ALL_REDUCE, count=2 * layers, moved_bytes=moved)
