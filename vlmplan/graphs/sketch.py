"""How is a graph drawn? Operators on an onnx_ir tape, weights attached by name and read only when the file is written.

Initialisers carry the names of the tensors they come from, with a suffix for what was done to them: ``.T`` transposed,
``.q4`` or ``.q8`` quantised, ``.scales`` and ``.zeros`` beside it. So a file can be compared with its checkpoint,
tensor by tensor. Operators are those of opset 23 (Attention, RotaryEmbedding, RMSNormalization: no contrib operator)
but for the block-quantised product, ``com.microsoft::MatMulNBits``.
"""

from collections.abc import Callable
from typing import Any

from vlmplan.checkpoints import Weights
from vlmplan.errors import InputError
from vlmplan.graphs.quantise import BLOCK, blocks, packed_shape, quantised, zeros_shape
from vlmplan.hardware import Precision

OPSET, IR_VERSION = 23, 10
_TO_THE_END = 2**62  # of any axis


class Sketch:
    """One graph being drawn. ``precision`` is that of the activations and of all weights but the quantised ones."""

    def __init__(self, weights: Weights, precision: Precision) -> None:
        """Nothing is drawn yet."""
        import numpy as np
        import onnx_ir as ir

        self.ir, self.np = ir, np
        self.weights = weights
        half = precision is Precision.FP16
        self.float_type = ir.DataType.FLOAT16 if half else ir.DataType.FLOAT
        self.numpy_type = np.float16 if half else np.float32
        self.tape = ir.tape.Tape()
        self._initialisers: dict[str, Any] = {}
        self._quantised_last: tuple[str, Any] = ("", None)

    def op(self, kind: str, *inputs: Any, domain: str = "", **attributes: Any) -> Any:
        """Append an operator with one output and return it."""
        return self.tape.op(kind, list(inputs), attributes, domain=domain)

    def ops(self, kind: str, outputs: int, *inputs: Any, **attributes: Any) -> Any:
        """Append an operator with several outputs and return them."""
        return self.tape.op_multi_out(kind, list(inputs), attributes, num_outputs=outputs)

    def input(
        self,
        name: str,
        shape: list[int | str] | None,
        *,
        integer: bool = False,
        cache: bool = False,
        boolean: bool = False,
    ) -> Any:
        """Return an input: fp32 but for token ids and masks (int64), masks of pixels (bool) and the cache (its own).

        Without a ``shape`` it may have any number of axes.
        """
        types = self.ir.DataType
        kind = types.BOOL if boolean else types.INT64 if integer else self.float_type if cache else types.FLOAT
        return self.ir.val(name, kind, shape)

    def _initialiser(self, name: str, tensor: Callable[[], Any]) -> Any:
        if name not in self._initialisers:
            self._initialisers[name] = self.tape.initializer(tensor(), name=name)
        return self._initialisers[name]

    def ints(self, *values: int) -> Any:
        """Return a one-dimensional int64 constant."""
        name = "ints." + ".".join(map(str, values))
        return self._initialiser(name, lambda: self.ir.tensor(self.np.array(values, self.np.int64), name=name))

    def scalar(self, value: int) -> Any:
        """Return a scalar int64 constant."""
        name = f"scalar.{value}"
        return self._initialiser(name, lambda: self.ir.tensor(self.np.array(value, self.np.int64), name=name))

    def constant(self, name: str, values: Any) -> Any:
        """Return a constant array as it is given."""
        return self._initialiser(name, lambda: self.ir.tensor(self.np.ascontiguousarray(values), name=name))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor. Raises InputError, naming it, where there is none."""
        found = self.weights.shape(name)
        if found is None:
            raise InputError(f"no tensor '{name}' in the checkpoint")
        return found

    def lazy(self, name: str, shape: tuple[int, ...], kind: Any, values: Callable[[], Any]) -> Any:
        """Return an initialiser whose values are computed when the file is written, and then forgotten."""

        def tensor() -> Any:
            return self.ir.tensor(self.np.ascontiguousarray(values()), name=name)

        lazy = self.ir.LazyTensor
        return self._initialiser(name, lambda: lazy(tensor, dtype=kind, shape=self.ir.Shape(shape), name=name))

    def parameter(self, name: str, *, transposed: bool = False) -> Any:
        """Return a tensor of the checkpoint, transposed where asked."""
        shape = self.shape(name)

        def values() -> Any:
            array = self.cast(name, self.weights.array(name))
            return array.T if transposed else array

        stored, shown = (f"{name}.T", shape[::-1]) if transposed else (name, shape)
        return self.lazy(stored, shown, self.float_type, values)

    def cast(self, name: str, array: Any) -> Any:
        """Return a tensor in the graph's precision. Raises InputError for values that fp16 cannot hold."""
        with self.np.errstate(over="ignore"):
            found = array.astype(self.numpy_type)
        if not self.np.isfinite(found).all() and self.np.isfinite(array).all():
            raise InputError(f"{name} holds {self.np.abs(array).max():.3g}, beyond fp16; expected --precision fp32")
        return found

    def has(self, name: str) -> bool:
        """Tell whether there is a tensor of this name."""
        return self.weights.shape(name) is not None

    def linear(self, x: Any, name: str, bits: int | None = None) -> Any:
        """Return ``x @ weight.T + bias``, the bias where the checkpoint has one; ``bits`` quantises the weight."""
        product = (
            self._quantised(x, f"{name}.weight", bits)
            if bits
            else self.op("MatMul", x, self.parameter(f"{name}.weight", transposed=True))
        )
        return self.op("Add", product, self.parameter(f"{name}.bias")) if self.has(f"{name}.bias") else product

    def _quantised(self, x: Any, name: str, bits: int) -> Any:
        columns, rows = self.shape(name)  # output, input

        def part(index: int) -> Any:
            if self._quantised_last[0] != name:  # a weight's parts are written one after the other
                self._quantised_last = (name, quantised(self.weights.array(name), bits))
            return self._quantised_last[1][index]

        types = self.ir.DataType
        inputs = [
            self.lazy(f"{name}.q{bits}", packed_shape(columns, rows, bits), types.UINT8, lambda: part(0)),
            self.lazy(
                f"{name}.scales", (columns, blocks(rows)), self.float_type, lambda: part(1).astype(self.numpy_type)
            ),
        ]
        zeros = zeros_shape(columns, rows, bits)
        if zeros is not None:
            inputs.append(self.lazy(f"{name}.zeros", zeros, types.UINT8, lambda: part(2)))
        attributes = {"K": rows, "N": columns, "bits": bits, "block_size": BLOCK, "accuracy_level": 4}
        return self.op("MatMulNBits", x, *inputs, domain="com.microsoft", **attributes)

    def rms_norm(self, x: Any, name: str, epsilon: float) -> Any:
        """Return RMSNorm over the last axis, computed in fp32."""
        return self.op("RMSNormalization", x, self.parameter(name), axis=-1, epsilon=float(epsilon), stash_type=1)

    def layer_norm(self, x: Any, name: str, epsilon: float) -> Any:
        """Return LayerNorm over the last axis."""
        scale, shift = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=float(epsilon))

    def activation(self, x: Any, kind: str) -> Any:
        """Return an activation by its transformers name. Raises InputError for one that is not known here."""
        match kind:
            case "silu":
                return self.op("Mul", x, self.op("Sigmoid", x))
            case "gelu":
                return self.op("Gelu", x)
            case "gelu_pytorch_tanh":
                return self.op("Gelu", x, approximate="tanh")
            case "quick_gelu":
                factor = self.constant("quick_gelu.1702", self.np.array(1.702, self.numpy_type))
                return self.op("Mul", x, self.op("Sigmoid", self.op("Mul", x, factor)))
        raise InputError(f"activation '{kind}' is not known; expected silu, gelu, gelu_pytorch_tanh or quick_gelu")

    def inner(self, x: Any) -> Any:
        """Return an fp32 input in the graph's own precision."""
        return x if self.float_type == self.ir.DataType.FLOAT else self.op("Cast", x, to=self.float_type)

    def output(self, x: Any, name: str, shape: list[int | str], *, cache: bool = False) -> Any:
        """Name an output; fp32 but for the cache."""
        kind = self.float_type if cache else self.ir.DataType.FLOAT
        if not cache and self.float_type != kind:
            x = self.op("Cast", x, to=kind)
        x.name, x.type, x.shape = name, self.ir.TensorType(kind), self.ir.Shape(shape)
        return x

    def integers(self, x: Any, name: str, shape: list[int | str]) -> Any:
        """Name an output of int64."""
        x.name, x.type, x.shape = name, self.ir.TensorType(self.ir.DataType.INT64), self.ir.Shape(shape)
        return x

    def tail(self, x: Any, start: int, axis: int) -> Any:
        """Return what lies from ``start`` on along an axis; -1 keeps the last alone."""
        return self.op("Slice", x, self.ints(start), self.ints(_TO_THE_END), self.ints(axis))

    def model(self, name: str, inputs: list[Any], outputs: list[Any]) -> Any:
        """Return the finished onnx_ir model."""
        opsets = {"": OPSET}
        if any(node.domain for node in self.tape.nodes):
            opsets["com.microsoft"] = 1
        graph = self.ir.Graph(
            inputs,
            outputs,
            nodes=self.tape.nodes,
            initializers=self.tape.initializers,
            opset_imports=opsets,
            name=name,
        )
        return self.ir.Model(graph, ir_version=IR_VERSION, producer_name="vlmplan")
