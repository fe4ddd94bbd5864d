"""The decoder drawn as a graph gives what transformers gives: prefill, decode, padding, windows, scaled positions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from small_models import largest_difference

from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.checkpoints.small_checkpoint import enliven
from vlmplan.checkpoints.tensors import Tensors
from vlmplan.cost.llm import prefill
from vlmplan.cost.op import FOUR_BIT_PARTS
from vlmplan.cost.stored import read_model_config
from vlmplan.cost.totals import request_of
from vlmplan.exporting.runner import decoder_step
from vlmplan.graphs.decoder import DecoderOptions, cache_names, decoder_graph
from vlmplan.graphs.quantise import BLOCK, packed_shape, quantised, zeros_shape
from vlmplan.hardware.profile import Kind
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.spec import Workload

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 200,
    "max_position_embeddings": 512,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-mha": ("llama", {"num_key_value_heads": 4}),
    "llama-gqa": ("llama", {}),
    "llama-mqa-tied": ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama3-rope": ("llama", {"rope_parameters": LLAMA3}),
    "yarn-rope": ("llama", {"rope_parameters": YARN}),
    "linear-rope": ("llama", {"rope_parameters": LINEAR}),
    "dynamic-rope": ("qwen2", {"rope_parameters": DYNAMIC}),
    "dynamic-rope-beyond": ("qwen2", {"rope_parameters": DYNAMIC, "max_position_embeddings": 8}),
    "qwen2": ("qwen2", {}),
    "qwen2-windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "mistral-window": ("mistral", {"sliding_window": 6, "head_dim": 24}),
    "mistral-whole": ("mistral", {"sliding_window": None}),
    "qwen3": ("qwen3", {"head_dim": 32}),
}


class _Saved:
    """A causal LM in PyTorch and its tensors on disk, under the names that a VLM gives them."""

    def __init__(self, kind: str, folder: Path) -> None:
        transformers = quiet_transformers()
        model_type, changes = KINDS[kind]
        self.config = transformers.CONFIG_MAPPING[model_type](**SHAPE | changes)
        self.model = transformers.AutoModelForCausalLM.from_config(self.config).eval()
        enliven(self.model, seed=0)
        self.model.save_pretrained(folder)

        def renamed(name: str) -> str:
            return name if name.startswith("lm_head") else name.replace("model.", "language_model.", 1)

        self.tensors = Tensors((folder / "model.safetensors",), rename=renamed)

    def session(self, folder: Path, options: DecoderOptions) -> Any:
        onnx_ir.save(decoder_graph(self.config, self.tensors, options), folder / "decoder.onnx")
        return onnxruntime.InferenceSession(folder / "decoder.onnx", providers=["CPUExecutionProvider"])

    def step(self, embeds: Any, mask: Any, cache: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            positions = torch.from_numpy((mask.cumsum(-1) - 1).clip(min=0)[:, -embeds.shape[1] :])
            found = self.model(
                inputs_embeds=torch.from_numpy(embeds),
                attention_mask=torch.from_numpy(mask),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        return found.logits[:, -1].numpy(), found.past_key_values


def _walk(saved: _Saved, session: Any, batch_padding: tuple[int, ...]) -> float:
    """Prefill of 12 tokens and four steps of decode; the largest difference of a logit."""
    rng = np.random.default_rng(0)
    batch = len(batch_padding)
    mask = np.stack([np.arange(12) >= padded for padded in batch_padding]).astype(np.int64)
    ours_cache = theirs_cache = None
    worst, new = 0.0, 12
    for _ in range(5):
        embeds = rng.standard_normal((batch, new, 64)).astype(np.float32)
        ours, _, ours_cache = decoder_step(session, {"inputs_embeds": embeds}, mask, ours_cache, "cpu")
        theirs, theirs_cache = saved.step(embeds, mask, theirs_cache)
        worst = max(worst, largest_difference(ours, theirs))
        mask, new = np.concatenate([mask, np.ones((batch, 1), np.int64)], axis=1), 1
    return worst


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [(0,), (0, 5)], ids=["alone", "padded batch"])
def test_logits_equal_pytorch(kind: str, padding: tuple[int, ...], tmp_path: Path) -> None:
    saved = _Saved(kind, tmp_path)
    assert _walk(saved, saved.session(tmp_path, DecoderOptions()), padding) < 2e-5


def test_half_precision_is_near(tmp_path: Path) -> None:
    saved = _Saved("qwen2", tmp_path)
    options = DecoderOptions(precision=Precision.FP16, base_precision=Precision.FP16)
    session = saved.session(tmp_path, options)
    assert {one.type for one in session.get_inputs() if one.name.startswith("past")} == {"tensor(float16)"}
    assert 0 < _walk(saved, session, (0,)) < 3e-2


@pytest.mark.parametrize(("precision", "limit"), [(Precision.INT8, 0.2), (Precision.INT4, 2.5)])
def test_block_quantised_is_near(precision: Precision, limit: float, tmp_path: Path) -> None:
    saved = _Saved("llama-gqa", tmp_path)
    assert 0 < _walk(saved, saved.session(tmp_path, DecoderOptions(precision=precision)), (0,)) < limit


def test_all_logits_and_hidden_state(tmp_path: Path) -> None:
    saved = _Saved("qwen2", tmp_path)
    session = saved.session(tmp_path, DecoderOptions(all_logits=True, hidden_output=True))
    embeds = np.random.default_rng(0).standard_normal((1, 7, 64)).astype(np.float32)
    feeds = {"inputs_embeds": embeds, "attention_mask": np.ones((1, 7), np.int64), "position_ids": np.arange(7)[None]}
    feeds |= {name: np.zeros((1, 2, 0, 16), np.float32) for name, _ in cache_names(3)}
    logits, hidden = session.run(["logits", "last_hidden_state"], feeds)
    with torch.inference_mode():
        expected = saved.model(inputs_embeds=torch.from_numpy(embeds), output_hidden_states=True)
    assert largest_difference(logits, expected.logits.numpy()) < 2e-5
    assert largest_difference(hidden, expected.hidden_states[-1][:, -1:].numpy()) < 2e-5


def _by_hand(packed: Any, scales: Any, zeros: Any, bits: int) -> Any:
    """Unpacked: blocks of 32 inputs, less the zero point (half the range where there is none), times the scale."""
    values = packed.astype(np.int64)
    if bits == 8:
        return ((values - 128) * scales[:, :, None]).reshape(len(values), -1)
    values = np.stack([values & 15, values >> 4], axis=-1).reshape(len(values), -1, BLOCK)
    points = np.stack([zeros & 15, zeros >> 4], axis=-1).reshape(len(zeros), -1)[:, : scales.shape[1]].astype(np.int64)
    return ((values - points[:, :, None]) * scales[:, :, None]).reshape(len(values), -1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_quantised_values_come_back_within_a_step(bits: int, shift: float) -> None:
    weight = (np.random.default_rng(0).standard_normal((5, 70)) + shift).astype(np.float32)
    packed, scales, zeros = quantised(weight, bits)
    assert packed.shape == packed_shape(5, 70, bits)
    assert (None if zeros is None else zeros.shape) == zeros_shape(5, 70, bits)
    back = _by_hand(packed, scales, zeros, bits)[:, :70]
    assert np.abs(back - weight).max() <= 1.01 * np.abs(scales).max()
    assert np.abs(back - weight).mean() <= 0.3 * np.abs(scales).mean()


def test_four_bits_spend_no_code_on_values_that_do_not_occur() -> None:
    """Weights from 0 to 1 have all 16 codes: a step is a fifteenth, where symmetric rounding has an eighth."""
    weight = np.random.default_rng(0).uniform(0, 1, (8, 64)).astype(np.float32)
    packed, scales, zeros = quantised(weight, 4)
    assert np.abs(scales).max() <= 1 / 15 + 1e-6
    assert np.abs(_by_hand(packed, scales, zeros, 4) - weight).max() <= 0.51 / 15


def test_int4_keeps_eight_bits_where_rounding_hurts_most(tmp_path: Path) -> None:
    saved = _Saved("llama-gqa", tmp_path)
    graph = decoder_graph(saved.config, saved.tensors, DecoderOptions(precision=Precision.INT4)).graph
    bits = {
        node.inputs[1].name.split(".")[-3]: node.attributes["bits"].value
        for node in graph
        if node.op_type == "MatMulNBits"
    }
    assert {name for name, found in bits.items() if found == 4} == set(FOUR_BIT_PARTS)
    assert {name for name, found in bits.items() if found == 8} == set(bits) - set(FOUR_BIT_PARTS)
    assert "lm_head" in bits


@pytest.mark.parametrize("base", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
@pytest.mark.parametrize("kind", ["llama-gqa", "llama-mha", "qwen3"])
def test_stored_bytes_are_those_that_are_priced(
    kind: str, precision: Precision, base: Precision, tmp_path: Path
) -> None:
    """Every quantised product of the graph, its scales and zero points too, against the operators of the cost model."""
    saved = _Saved(kind, tmp_path)
    options = DecoderOptions(precision=precision, base_precision=base)
    graph = decoder_graph(saved.config, saved.tensors, options).graph
    written = sum(
        value.const_value.nbytes
        for name, value in graph.initializers.items()
        if name.rpartition(".")[2] in ("q4", "q8", "scales", "zeros")
    )
    (tmp_path / "config.json").write_text(saved.config.to_json_string())
    model = read_model_config(tmp_path / "config.json")
    request = replace(request_of(model, Workload(text_tokens=5), 0, precision), base_precision=base, exported=True)
    linear = [op for op in prefill(request) if op.kind is Kind.LINEAR]
    assert sum(op.weight_bytes for op in linear) == pytest.approx(written, rel=1e-9)
