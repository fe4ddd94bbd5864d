"""Small checkpoints, written once a test process, and what tests do with them."""

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import torch
from PIL import Image
from safetensors.torch import save_file

from vlmplan.checkpoints.checkpoint import Checkpoint, open_checkpoint, quiet_transformers
from vlmplan.checkpoints.compressors import compression_of
from vlmplan.checkpoints.reference import Reference, load_reference
from vlmplan.checkpoints.small_checkpoint import SmallModel, enliven, write_checkpoint
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.write import export
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator

_FOLDER = tempfile.TemporaryDirectory(prefix="vlmplan-tests-")
KINDS = {
    "clip-qwen2": SmallModel(),
    "clip-llama": SmallModel(llm="llama", text={"num_key_value_heads": 4}, seed=1),
    "siglip-mistral": SmallModel(
        model_type="llava_onevision",
        tower="siglip_vision_model",
        llm="mistral",
        text={"sliding_window": 7, "head_dim": 16},
        seed=2,
    ),
    "next-qwen3": SmallModel(model_type="llava_next", llm="qwen3", text={"head_dim": 16}, seed=3),
}
TILED = {
    "smolvlm": SmallModel(model_type="smolvlm", llm="llama", seed=4),
    "idefics3": SmallModel(model_type="idefics3", llm="llama", vision={"image_size": 130, "patch_size": 16}, joined=4,
                           seed=5),
    "internvl": SmallModel(model_type="internvl", llm="qwen2", seed=6),
    "internvl-large": SmallModel(model_type="internvl", llm="qwen3", text={"head_dim": 16}, joined=4, seed=7,
                                 vision={"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": True,
                                         "use_mean_pooling": False}),
}  # fmt: skip
GRIDDED = {
    "qwen2-vl": SmallModel(model_type="qwen2_vl", seed=8),
    "qwen2.5-vl": SmallModel(model_type="qwen2_5_vl", seed=9),
    "qwen2.5-vl-wide": SmallModel(model_type="qwen2_5_vl", joined=3, seed=10,
                                  vision={"patch_size": 8, "window_size": 49},
                                  text={"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen3-vl": SmallModel(model_type="qwen3_vl", seed=15),
    "qwen3-vl-wide": SmallModel(model_type="qwen3_vl", joined=3, seed=16, text={"head_dim": 24, "num_hidden_layers": 3},
                                vision={"patch_size": 8, "deepstack_visual_indexes": [2, 0], "depth": 4,
                                        "num_position_embeddings": 50}),
}  # fmt: skip
PICTURED = {
    "mistral3": SmallModel(model_type="mistral3", llm="mistral", seed=17),
    "mistral3-wide": SmallModel(model_type="mistral3", llm="mistral", joined=3, seed=18, text={"head_dim": 24},
                                vision={"patch_size": 16, "hidden_size": 96, "hidden_act": "gelu"}),
}  # fmt: skip
POOLED = {
    "gemma3": SmallModel(model_type="gemma3", llm="gemma3_text", seed=11),
    "gemma3-wide": SmallModel(model_type="gemma3", llm="gemma3_text", joined=1, seed=12,
                              text={"num_key_value_heads": 1, "rope_parameters": {
                                  "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                  "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
    "paligemma": SmallModel(model_type="paligemma", llm="gemma", text={"num_key_value_heads": 1}, seed=13),
    "paligemma2": SmallModel(model_type="paligemma", llm="gemma2", seed=14),
}  # fmt: skip
SHAPED = {
    "lfm2-vl": SmallModel(model_type="lfm2_vl", llm="lfm2", seed=15),
    "lfm2-vl-wide": SmallModel(model_type="lfm2_vl", llm="lfm2", joined=3, seed=16,
                               vision={"patch_size": 6, "num_patches": 100},
                               text={"conv_L_cache": 5, "conv_bias": True, "num_key_value_heads": 1,
                                     "num_hidden_layers": 4,
                                     "layer_types": ["full_attention", "conv", "conv", "full_attention"]}),
}  # fmt: skip
MASKED = ("smolvlm", "idefics3")  # whose tiles come with a mask of the pixels that are no padding
TILE_TOKENS = {"smolvlm": 16, "idefics3": 4, "internvl": 16, "internvl-large": 4}
USUAL_IMAGE = (1024, 768)


def quiet(*_: Any) -> None:
    """Show no progress."""


def checkpoint(kind: str = "clip-qwen2") -> Path:
    """A checkpoint of one of KINDS, TILED, GRIDDED, PICTURED, POOLED or SHAPED."""
    return _checkpoint(kind)


@functools.cache
def _checkpoint(kind: str) -> Path:
    return write_checkpoint((KINDS | TILED | GRIDDED | PICTURED | POOLED | SHAPED)[kind], Path(_FOLDER.name) / kind)


def order(kind: str = "clip-qwen2", **given: Any) -> ExportOrder:
    """An order for one of KINDS: 36 tokens by average pooling unless said otherwise; for one of TILED, five views.

    For one of GRIDDED 88 squares, of PICTURED 88 with the tokens that end rows, for one of POOLED 16 tokens, for one of
    SHAPED three views.
    """
    usual: dict[str, Any] = {"visual_tokens": 36, "compressor": Compressor.AVERAGE_POOL}
    if kind in TILED:
        usual = {"visual_tokens": 5 * TILE_TOKENS[kind], "compressor": Compressor.NONE, "image": USUAL_IMAGE}
    if kind in (*GRIDDED, *PICTURED):
        count = 70 if kind == "mistral3-wide" else 88
        usual = {"visual_tokens": count, "compressor": Compressor.NONE, "image": USUAL_IMAGE}
    if kind in POOLED:
        usual["visual_tokens"] = 16
    if kind in SHAPED:
        usual = {"visual_tokens": 182, "compressor": Compressor.NONE, "image": USUAL_IMAGE}
    return ExportOrder(checkpoint=str(checkpoint(kind)), **usual | given)


def exported(kind: str = "clip-qwen2") -> Path:
    """An export of one of KINDS in fp32; do not change it."""
    return _exported(kind)


@functools.cache
def _exported(kind: str) -> Path:
    folder = Path(_FOLDER.name) / f"{kind}-export"
    given = {"siglip-mistral": {"visual_tokens": 81}}.get(kind, {})
    export(order(kind, **given), folder, quiet)
    return folder


def hub_checkpoint(
    folder: Path, kind: str, config: dict[str, Any], images: dict[str, Any], rename: Callable[[str], str]
) -> Path:
    """A Qwen-VL as the Hub has it: bf16 in two shards, tied embeddings, the chat template in a file of its own.

    ``kind`` is the small checkpoint whose tokenizer it gets, ``rename`` what a tensor is called in the files.
    """
    transformers = quiet_transformers()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    model = transformers.AutoModelForImageTextToText.from_config(transformers.AutoConfig.from_pretrained(folder))
    enliven(model, 0)
    tensors = {rename(name): tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    del tensors["lm_head.weight"]
    shards = {"one.safetensors": sorted(tensors)[::2], "two.safetensors": sorted(tensors)[1::2]}
    for shard, names in shards.items():
        save_file({name: tensors[name] for name in names}, folder / shard, metadata={"format": "pt"})
    table = {name: shard for shard, names in shards.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(checkpoint(kind) / name, folder / name)
    template = (checkpoint(kind) / "chat_template.jinja").read_text()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    return folder


def run_graph(model: Any, feeds: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Save an onnx_ir model, run it and return its outputs by name."""
    path = folder / "graph.onnx"
    onnx_ir.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def largest_difference(ours: Any, theirs: Any) -> float:
    """The largest absolute difference of two arrays of one shape."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def foreign(folder: Path, positions: bool, made: Path | None = None) -> None:
    """A decoder with its embeddings inside, as a file; the checkpoint it is of beside it, as a causal LM.

    ``made`` is the export whose decoder it is.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    transformers = quiet_transformers()
    model = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint())
    text = transformers.AutoModelForCausalLM.from_config(model.config.text_config)
    own = {name.replace("model.language_model", "model"): tensor for name, tensor in model.state_dict().items()}
    text.load_state_dict({name: own[name] for name in text.state_dict()})
    text.save_pretrained(folder / "text")
    drawn = onnx.load((made or exported()) / "onnx" / "decoder_model_merged.onnx")
    graph = drawn.graph
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    table = numpy_helper.from_array(own["model.embed_tokens.weight"].numpy(), "table")
    graph.initializer.append(table)
    added = [helper.make_node("Gather", ["table", "input_ids"], ["inputs_embeds"])]
    kept = [value for value in graph.input if value.name not in ("inputs_embeds", "position_ids" * (not positions))]
    if not positions:  # the genai builder counts positions from the mask
        constants = {"last": [-1], "far": [2**62], "axis": [1]}
        for name, values in constants.items():
            graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.int64), "unit"))
        added += [
            helper.make_node("CumSum", ["attention_mask", "unit"], ["counted"]),
            helper.make_node("Sub", ["counted", "unit"], ["from zero"]),
            helper.make_node("Shape", ["input_ids"], ["length"], start=1, end=2),
            helper.make_node("Neg", ["length"], ["first"]),
            helper.make_node("Slice", ["from zero", "first", "far", "axis"], ["position_ids"]),
        ]
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.input[:]
    graph.input.extend([ids, *kept])
    (folder / "foreign").mkdir()
    onnx.save(drawn, folder / "foreign" / "model.onnx")


@functools.cache
def opened_checkpoint(kind: str) -> Checkpoint:
    """A checkpoint of one of the kinds, opened."""
    return open_checkpoint(str(checkpoint(kind)))


@functools.cache
def reference_of(kind: str) -> Reference:
    """The same in PyTorch, nothing compressed."""
    opened = opened_checkpoint(kind)
    return load_reference(opened, compression_of(opened, Compressor.NONE, 0), None)


@contextmanager
def serving(fault: str = "", kind: str = "clip-qwen2") -> Iterator[str]:
    """Run a checkpoint behind OpenAI's interface, a process of its own; its URL."""
    command = [sys.executable, str(Path(__file__).with_name("model_server.py")), str(checkpoint(kind)), fault]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def random_picture(folder: Path, width: int, height: int) -> Path:
    """A file of random pixels, the same for the same width."""
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{width}x{height}.png")
    return folder / f"{width}x{height}.png"


def judged_export(folder: Path, kind: str, **given: Any) -> Report:
    """What ``validate`` says of an export of a checkpoint of one of the kinds."""
    options = Options(checkpoint=str(checkpoint(kind)), threads=2, repeats=1, **given)
    return Validator(options, quiet).validate(folder).report
