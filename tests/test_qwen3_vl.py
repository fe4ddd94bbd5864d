"""Qwen3-VL: features of more than one of the tower's layers, positions stretched over the image and taken in turns."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mutants import DECODER, EMBED, VISION, agree, revalued, rewired
from onnx import helper, numpy_helper
from small_models import (
    checkpoint,
    exported,
    hub_checkpoint,
    largest_difference,
    quiet,
    random_picture,
    reference_of,
)

from vlmplan import api
from vlmplan.checkpoints.checkpoint import quiet_transformers
from vlmplan.checkpoints.families.qwen_vl import position_axes
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts
from vlmplan.exporting.manifest import read_manifest
from vlmplan.exporting.orders import ExportChoices
from vlmplan.exporting.orders import export_order as chosen
from vlmplan.exporting.runner import OnnxModel, Prompt, generate, prompt_embeds, stepped
from vlmplan.exporting.write import export
from vlmplan.inventory import catalogue
from vlmplan.proof.options import Options
from vlmplan.proof.validate import Validator

KIND, WIDTH, IMAGE = "qwen3-vl", 64, 3
STACKED = 2  # layers of the tower whose features go into the LLM's first


@pytest.mark.parametrize("sections", [(24, 20, 20), (16, 24, 24), (4, 2, 2), (0, 5, 3), (8, 0, 0)])
def test_frequencies_take_turns_as_transformers_has_them(sections: tuple[int, int, int]) -> None:
    """Angles of 0, 1 and 2 in time, height and width come out as the axis that each frequency follows."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": list(sections)}
    text = quiet_transformers().Qwen3VLTextConfig(head_dim=2 * sum(sections), rope_parameters=rope)
    angles = torch.arange(3.0)[:, None, None, None].expand(3, 1, 1, sum(sections)).clone()
    found = Qwen3VLTextRotaryEmbedding(text).recomposition_frequencies(angles)[0, 0, : sum(sections)]
    assert position_axes(text) == tuple(int(axis) for axis in found)


def _asked(folder: Path) -> Prompt:
    return Prompts(exported(KIND)).of(random_picture(folder, 200, 130), "What is this?", reads_question=False)


def test_features_beside_the_images_are_added_where_transformers_adds_them(tmp_path: Path) -> None:
    """With none of them the decoder gives what transformers gives without DeepStack, and that is something else."""
    prompt, model = _asked(tmp_path), OnnxModel(exported(KIND))
    embeds = prompt_embeds(model, prompt)
    seen = prompt.input_ids == IMAGE
    assert embeds.shape == (*prompt.input_ids.shape, WIDTH * (1 + STACKED))
    assert not embeds[~seen][:, WIDTH:].any() and embeds[seen][:, WIDTH:].all()
    whole = stepped(model, embeds, prompt.attention_mask, None, prompt.positions)[0]
    plain = embeds.copy()
    plain[..., WIDTH:] = 0
    without = stepped(model, plain, prompt.attention_mask, None, prompt.positions)[0]
    places = prompt.positions.first  # type: ignore[union-attr]
    torch_model = reference_of(KIND).model
    with torch.inference_mode():
        states = torch_model.model.language_model(
            inputs_embeds=torch.from_numpy(plain[..., :WIDTH]),
            attention_mask=torch.from_numpy(prompt.attention_mask),
            position_ids=torch.from_numpy(places),
        ).last_hidden_state[:, -1]
        theirs = torch_model.lm_head(states).numpy()
    assert largest_difference(without, theirs) < 1e-4
    assert largest_difference(whole, without) > 0.1


def test_text_alone_has_no_features() -> None:
    ids = np.random.default_rng(0).integers(10, 200, (1, 20))
    prompt = Prompt(input_ids=ids, attention_mask=np.ones_like(ids), pixel_values=None)
    ours = generate(OnnxModel(exported(KIND)), prompt, 8)
    with torch.inference_mode():
        theirs = reference_of(KIND).model.generate(
            input_ids=torch.from_numpy(ids), attention_mask=torch.ones_like(torch.from_numpy(ids)), max_new_tokens=8,
            min_new_tokens=8, do_sample=False,
        )  # fmt: skip
    assert list(ours.tokens) == theirs[0, -8:].tolist()


def test_other_clients_carry_the_features() -> None:
    """They put rows of ``image_features`` in the places of image tokens, whatever their width."""
    assert read_manifest(exported(KIND)).clients == ("vlmplan", "transformers.js")
    widths = {
        name: onnx.load(exported(KIND) / name, load_external_data=False).graph for name in (VISION, EMBED, DECODER)
    }
    shapes = [widths[VISION].output[0], widths[EMBED].output[0], widths[DECODER].input[0]]
    assert {one.type.tensor_type.shape.dim[-1].dim_value for one in shapes} == {WIDTH * (1 + STACKED)}


# As Qwen3-VL-2B-Instruct lays its files out, with small numbers.
_TEXT: dict[str, Any] = {
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "dtype": "bfloat16", "eos_token_id": 2,
    "head_dim": 24, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02, "intermediate_size": 96,
    "max_position_embeddings": 262144, "model_type": "qwen3_vl_text", "num_attention_heads": 4, "num_hidden_layers": 3,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 5000000, "tie_word_embeddings": True,
    "rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 4, 4], "rope_type": "default"},
    "use_cache": True, "vocab_size": 300,
}  # fmt: skip
_TOWER: dict[str, Any] = {
    "deepstack_visual_indexes": [0, 1, 2], "depth": 4, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 32,
    "in_channels": 3, "initializer_range": 0.02, "intermediate_size": 48, "model_type": "qwen3_vl", "num_heads": 2,
    "num_position_embeddings": 64, "out_hidden_size": 64, "patch_size": 16, "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}  # fmt: skip
_HUB: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"], "image_token_id": 3, "model_type": "qwen3_vl",
    "text_config": _TEXT, "tie_word_embeddings": True, "transformers_version": "4.57.0.dev0", "video_token_id": 4,
    "vision_config": _TOWER, "vision_end_token_id": 6, "vision_start_token_id": 5,
}  # fmt: skip
_IMAGES = {
    "size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16, "temporal_patch_size": 2,
    "merge_size": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessorFast",
}  # fmt: skip


def test_a_checkpoint_as_the_hub_has_it_is_exported(tmp_path: Path) -> None:
    """Of transformers 4.57: rotary settings by their older names, the tower under the model's own type."""
    folder = hub_checkpoint(tmp_path / "hub", KIND, _HUB, _IMAGES, str)
    api.export(checkpoint=folder, visual_tokens=88, out=tmp_path / "made")
    report = Validator(Options(checkpoint=str(folder), threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    assert not report.failed, report.failed
    prompt = Prompts(tmp_path / "made").of(random_picture(tmp_path, 640, 480), "What is this?", reads_question=False)
    assert (prompt.input_ids == IMAGE).sum() == 88
    held = json.loads((tmp_path / "made" / "preprocessor_config.json").read_text())
    assert (held["image_mean"], held["patch_size"], held["min_pixels"]) == ([0.5, 0.5, 0.5], 16, 65536)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("vision_config", {"deepstack_visual_indexes": [0, 0]}, "deepstack_visual_indexes is .0, 0., expected layers"),
        ("vision_config", {"deepstack_visual_indexes": [3]}, "of the tower's 3, each once, counted from 0"),
        ("vision_config", {"deepstack_visual_indexes": [-1]}, "of the tower's 3, each once, counted from 0"),
        ("vision_config", {"deepstack_visual_indexes": [0, 1, 2]}, "has 3 layers, the LLM that takes them 2"),
        ("vision_config", {"num_position_embeddings": 0}, "num_position_embeddings is 0, expected 1 or more"),
        ("vision_config", {"num_position_embeddings": 49}, "pos_embed.weight is .36, 64., expected .49, 64."),
        ("text_config", {"head_dim": 24}, "mrope_section is .*, expected three numbers, 12 in all: half a head"),
    ],
)
def test_what_cannot_be_exported_is_named(table: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    shutil.copytree(checkpoint(KIND), tmp_path / "changed")
    path = tmp_path / "changed" / "config.json"
    content = json.loads(path.read_text())
    content[table].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        export(chosen(ExportChoices(checkpoint=str(tmp_path / "changed")), None), tmp_path / "made", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


def _features_swapped(folder: Path) -> None:
    """The features of the tower's second layer go into the LLM's first, and the other way round."""

    def change(graph: Any) -> None:
        node = next(one for one in graph.node if one.op_type == "Concat" and len(one.input) == 1 + STACKED)
        node.input[:] = [node.input[0], node.input[2], node.input[1]]

    rewired(folder, change)


def _added(graph: Any) -> list[Any]:
    """The operators that add features behind layers."""
    split = next(one for one in graph.node if one.op_type == "Split")
    return [one for one in graph.node if one.op_type == "Add" and set(one.input) & set(split.output[1:])]


def _features_dropped(folder: Path) -> None:
    """The second layer's features are left out, as by a client that does not know them."""

    def change(graph: Any) -> None:
        node = _added(graph)[1]
        node.op_type = "Identity"
        del node.input[1]

    rewired(folder, change, DECODER)


def _features_exchanged(folder: Path) -> None:
    """The decoder takes the first layer's features for the second's."""

    def change(graph: Any) -> None:
        first, second = _added(graph)
        first.input[1], second.input[1] = second.input[1], first.input[1]

    rewired(folder, change, DECODER)


def _features_of_the_last(folder: Path) -> None:
    """What is stacked is made of the last layer's output, not of an earlier one's."""

    def change(graph: Any) -> None:
        makers = {output: node for node in graph.node for output in node.output}
        joined = [
            makers[node.input[0]]
            for node in graph.node
            if node.op_type == "LayerNormalization" and "deepstack_merger_list" in node.input[1]
        ]
        merger = next(one for one in graph.node if "vision_tower.merger.norm.weight" in one.input)
        joined[0].input[0] = merger.input[0]
        graph.node.remove(joined[0])
        graph.node.insert(list(graph.node).index(merger), joined[0])

    rewired(folder, change)


def _text_with_features(folder: Path) -> None:
    """Text's embeddings are padded by ones."""

    def change(graph: Any) -> None:
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
        next(one for one in graph.node if one.op_type == "Pad").input.append("one")

    rewired(folder, change, EMBED)


def _positions_cut(folder: Path) -> None:
    """Learned positions are those of the nearest place above and left alone."""

    def change(graph: Any) -> None:
        node = next(one for one in graph.node if one.op_type == "Sum")
        del node.input[1:]

    rewired(folder, change)


def _features_as_an_output(folder: Path) -> None:
    """Image features of the LLM's width, the stacked ones in an output of their own: no client reads it."""

    def change(graph: Any) -> None:
        node = next(one for one in graph.node if one.op_type == "Concat" and len(one.input) == 1 + STACKED)
        del node.input[1:]
        graph.output[0].type.tensor_type.shape.dim[1].dim_value = WIDTH
        graph.output.append(helper.make_tensor_value_info("deepstack_features", 1, ["num_tokens", WIDTH * STACKED]))

    rewired(folder, change)


FORGED: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "features swapped": (_features_swapped, {"structure"}),
    "features dropped": (_features_dropped, {"structure"}),
    "features exchanged": (_features_exchanged, {"structure"}),
    "features of the last layer": (_features_of_the_last, {"structure"}),
    "text with features": (_text_with_features, {"structure"}),
    "features as an output": (_features_as_an_output, {"interface", "structure"}),
    "positions cut": (_positions_cut, {"structure"}),
    "a table half as large": (
        lambda folder: revalued(folder, "tower.last_place", lambda array: array / 2),
        {"weights", "vision"},
    ),
    "a table turned": (
        lambda folder: revalued(folder, "vision_tower.pos_embed.weight", lambda array: array[::-1]),
        {"weights", "vision"},
    ),
    "one merger for another": (
        lambda folder: revalued(
            folder, "vision_tower.deepstack_merger_list.1.linear_fc1.weight.T", lambda array: array[:, ::-1]
        ),
        {"weights", "vision"},
    ),
    "frequencies in three runs": (
        lambda folder: revalued(folder, "rotary.axes", np.sort, DECODER),
        {"weights", "logits"},
    ),
    "queries unnormed": (
        lambda folder: revalued(
            folder, "language_model.layers.0.self_attn.q_norm.weight", lambda array: array * 2, DECODER
        ),
        {"weights", "logits"},
    ),
}


@functools.cache
def _validator() -> Validator:
    return Validator(Options(checkpoint=str(checkpoint(KIND)), threads=2, repeats=1, visual_tokens=88), quiet)


@pytest.mark.parametrize("what", FORGED)
def test_forgeries_of_deepstack_are_refused(what: str, tmp_path: Path) -> None:
    """All digests agree with what was forged, and yet it is seen."""
    shutil.copytree(exported(KIND), tmp_path / "forged")
    change, expected = FORGED[what]
    change(tmp_path / "forged")
    agree(tmp_path / "forged")
    report = _validator().validate(tmp_path / "forged").report
    failed = {check.name for check in report.failed}
    assert expected <= failed, report.checks
    assert "integrity" not in failed


def test_its_mixtures_of_experts_are_not_exported() -> None:
    found = {model.name: model.exportable for model in catalogue.models() if "Qwen3-VL" in model.name}
    assert len(found) >= 6
    assert all(able is ("A3B" not in name and "A22B" not in name) for name, able in found.items())
