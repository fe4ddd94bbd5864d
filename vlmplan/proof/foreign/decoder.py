"""A text decoder that others exported: optimum-cli's or the onnxruntime-genai builder's ``model.onnx``.

Its inputs tell what it is: ``input_ids``, ``attention_mask``, perhaps ``position_ids``, and
``past_key_values.N.key|value``. The reference is the same checkpoint as a causal LM in PyTorch.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import head_dim, local_folder, quiet_transformers
from vlmplan.document import read_plain
from vlmplan.errors import InputError, one_line, printable
from vlmplan.exporting import Allowance, decoder_pass, empty_cache, open_session
from vlmplan.hardware import Precision

_FP32, _HALVES = 1, (10, 16)  # ONNX's numbers of fp32; of fp16 and bf16
INTEGERS = (2, 3, 21, 22)  # ONNX's numbers of uint8, int8, uint4 and int4
_FED = re.compile(r"input_ids|attention_mask|position_ids|use_cache_branch|past_key_values\.[0-9]+\.(key|value)")
_PLACES = ("model.onnx", "onnx/model.onnx", "decoder_model_merged.onnx")


def decoder_file(folder: Path) -> Path:
    """Return the decoder's file. Raises InputError where there is none."""
    for place in _PLACES:
        if (folder / place).is_file():
            return folder / place
    raise InputError(f"{folder}: found neither manifest.json nor {', '.join(_PLACES)}; expected an export")


class _Text:
    """What text decoders share: token ids go in as they are, and there is nothing to see with."""

    __slots__ = ()

    def image_features(self, pixel_values: Any, *_: Any, **__: Any) -> Any:  # noqa: ARG002
        """Raise InputError."""
        raise InputError("a text decoder has no vision encoder")

    def embeds(self, input_ids: Any) -> Any:
        """Token ids as they are."""
        return input_ids


class TextDecoder(_Text):
    """A foreign decoder as a model that generates: its embeddings are inside, so token ids go in."""

    def __init__(
        self,
        path: Path,
        config: Any,
        provider: str,
        threads: int | None,
        *,
        allowance: Allowance | None = None,
        counts: bool = False,
    ) -> None:
        """Open the session; ``config`` is transformers', ``counts`` as ``counts_padding``.

        ``allowance`` is the time that it may take, with all its runs.

        Raises InputError for inputs that are not a decoder's.
        """
        self._counts, self._opened = counts, (path, config, provider, threads)
        self._allowance = allowance
        kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        self._heads, self._vocabulary = (kv_heads, head_dim(config)), config.vocab_size
        self.session, self.device = open_session(path, provider, threads, allowance=allowance), provider
        names = {value.name for value in self.session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= names or not any(n.startswith("past_key_values.") for n in names):
            raise InputError(
                f"{path}: expected inputs input_ids, attention_mask and past_key_values.N.key/value, found "
                f"{', '.join(sorted(names)[:6])}"
            )
        optional = {value.name for value in self.session.get_overridable_initializers()}
        if strange := sorted(name for name in names | optional if not _FED.fullmatch(name)):
            raise InputError(f"{path}: input {printable(strange[0])} is none that clients feed a decoder")
        for value in self.session.get_inputs():
            kinds = ("tensor(float)", "tensor(float16)")
            if value.name.startswith("past_key_values.") and (len(value.shape) != 4 or value.type not in kinds):
                raise InputError(
                    f"{path}: {printable(value.name)}: expected fp32 or fp16 [batch, heads, tokens, width], found "
                    f"{printable(value.type)} {printable(str(value.shape))}"
                )

    def _pass(self, ids: Any, mask: Any, cache: Any | None) -> tuple[Any, Any]:
        """Logits ``[batch, places, vocabulary]`` and the cache. Raises InputError for logits that are none."""
        past = cache or empty_cache(self.session, mask.shape[0], self.device, self._heads)
        try:
            logits, _, kept = decoder_pass(self.session, {"input_ids": ids}, mask, past, self.device)
        except (RuntimeError, AttributeError, TypeError) as error:  # of a type that numpy lacks, or no tensor at all
            raise InputError(f"the decoder's results cannot be read ({one_line(error)})") from None
        shape: tuple[int, ...] = getattr(logits, "shape", ())
        due = len(shape) == 3 and shape[0] == len(ids) and shape[1] > 0 and shape[2] == self._vocabulary
        if not due or logits.dtype.kind != "f":
            raise InputError(
                f"logits: expected floats [{len(ids)}, 1 to {ids.shape[1]}, {self._vocabulary}], found "
                f"{getattr(logits, 'dtype', type(logits).__name__)} {list(shape)}"
            )
        return logits, kept

    def unrounded(self) -> "TextDecoder":
        """Return this decoder with its activations as they are, not rounded to 8 bits where it is quantised."""
        path, _, provider, threads = self._opened
        other = copy.copy(self)
        other.session = open_session(path, provider, threads, True, self._allowance)
        return other

    @property
    def counts_padding(self) -> bool:
        """Whether attention is told how many tokens there are, not which (GroupQueryAttention): no gaps within."""
        return self._counts

    @property
    def slides(self) -> bool:
        """Whether the checkpoint's attention sees a window of the last tokens, padding among them."""
        return bool(getattr(self._opened[1], "sliding_window", None))

    def step(self, embeds: Any, mask: Any, cache: Any | None, positions: Any | None = None) -> tuple[Any, Any, Any]:
        """Run the decoder on new token ids after ``cache``; its positions are the mask's."""
        del positions
        logits, kept = self._pass(embeds, mask, cache)
        return logits[:, -1], None, kept

    def whole(self, input_ids: Any, mask: Any | None = None) -> list[Any]:
        """Logits ``[batch, places, vocabulary]`` of as many last tokens as the graph gives, then each layer's cache."""
        import numpy as np

        mask = np.ones_like(input_ids) if mask is None else mask
        logits, kept = self._pass(input_ids, mask, None)
        layers = range(len(kept) // 2)
        names = [f"past_key_values.{layer}.{part}" for layer in layers for part in ("key", "value")]
        return [logits, *(kept[name].numpy() for name in names if name in kept)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReference(_Text):
    """The checkpoint as transformers' causal LM, fp32; ``name`` is what the user called it.

    ``replaced`` are parameters that stand in the place of the model's own.
    """

    name: str
    model: Any
    replaced: Mapping[str, Any] = field(default_factory=dict)

    def _run(self, **given: Any) -> Any:
        """Call the model."""
        import torch

        if not self.replaced:
            return self.model(**given)
        return torch.func.functional_call(self.model, dict(self.replaced), (), given, tie_weights=False)

    def step(self, embeds: Any, mask: Any, cache: Any | None, positions: Any | None = None) -> tuple[Any, Any, Any]:
        """Run the model on new token ids after ``cache``; its positions are the mask's."""
        import torch

        del positions
        with torch.inference_mode():
            attention = torch.from_numpy(mask)
            counted = (attention.cumsum(-1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
            output = self._run(
                input_ids=torch.from_numpy(embeds),
                attention_mask=attention,
                position_ids=counted,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            return output.logits[:, -1].numpy(), None, output.past_key_values

    def whole(self, input_ids: Any) -> list[Any]:
        """Logits ``[batch, tokens, vocabulary]`` of every token, then keys and values of each layer."""
        import torch

        with torch.inference_mode():
            output = self._run(input_ids=torch.from_numpy(input_ids), use_cache=True)
            layers = getattr(output.past_key_values, "layers", ())
            cache = [part.numpy() for layer in layers for part in (layer.keys, layer.values) if part is not None]
            return [output.logits.numpy(), *cache]


def load_text_reference(checkpoint: str) -> TextReference:
    """Load a causal LM. Raises InputError or Unavailable."""
    import torch

    folder = local_folder(checkpoint)
    kind = read_plain(folder / "config.json").get("model_type")
    transformers = quiet_transformers()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # a damaged checkpoint raises what it likes
        raise InputError(
            f"{folder}: model_type {kind!r} is no causal LM that transformers loads ({one_line(error)})"
        ) from None
    return TextReference(name=checkpoint, model=model.eval())


def precision_of(graph: Any, live: set[str]) -> Precision:
    """Tell the precision of most of a decoder's products, a GraphProto: int4 stands for all rounded to integers.

    Only operators count of whose results, in ``live``, some output is made.
    """
    kinds = [node.op_type for node in graph.node if live & set(node.output)]
    integers = {tensor.name for tensor in graph.initializer if tensor.data_type in INTEGERS and len(tensor.dims) > 1}
    rounded = sum(kind in ("MatMulNBits", "MatMulInteger", "QMoE") for kind in kinds)
    rounded += sum(
        node.op_type == "DequantizeLinear" and node.input[0] in integers
        for node in graph.node
        if live & set(node.output)
    )
    if rounded > len(kinds) / 50 and rounded >= kinds.count("MatMul") / 4:
        return Precision.INT4
    return base_precision(graph, live)


def base_precision(graph: Any, live: set[str]) -> Precision:
    """Return the precision of most numbers in ``live`` that are not rounded to integers."""
    import math

    sizes = dict.fromkeys((_FP32, *_HALVES), 0)
    for tensor in graph.initializer:
        if tensor.name in live and tensor.data_type in sizes:
            sizes[tensor.data_type] += math.prod(tensor.dims)
    return Precision.FP16 if sum(sizes[half] for half in _HALVES) > sizes[_FP32] else Precision.FP32
