"""An export is of the checkpoint as transformers reads it: which file is first, how pictures are cut, what is seen."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import transformers
from forgeries import agree_in_all
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import load_file, save_file
from small_models import checkpoint, foreign, order, quiet

from vlmplan.checkpoints.checkpoint import open_checkpoint
from vlmplan.errors import InputError
from vlmplan.exporting.answers import Prompts
from vlmplan.exporting.files.clients import clients, texts
from vlmplan.exporting.manifest import ClientLayout
from vlmplan.exporting.write import export, open_parts
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.spec import Compressor
from vlmplan.proof.files import generated
from vlmplan.proof.options import Options
from vlmplan.proof.report import Outcome, Report
from vlmplan.proof.validate import Validator

QUICK = Options(threads=2, repeats=1)


def _judged(folder: Path, **given: Any) -> Report:
    return Validator(replace(QUICK, **given), quiet).validate(folder).report


def _changed(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A checkpoint to change."""
    return Path(shutil.copytree(checkpoint(), tmp_path / "mine"))


def _exported(mine: Path, out: Path) -> Path:
    export(replace(order(), checkpoint=str(mine)), out, quiet)
    return out


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 350, 3), dtype=np.uint8))


def _pixels(folder: Path) -> Any:
    return np.asarray(transformers.AutoProcessor.from_pretrained(folder).image_processor(PICTURE)["pixel_values"][0])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": {"shortest_edge": 400}},
        {"size": {"height": 380, "width": 400}},
        {"resample": 2},
        {"do_rescale": True},
    ],
    ids=str,
)
def test_pictures_are_cut_as_the_checkpoint_cuts_them(settings: dict[str, Any], mine: Path, tmp_path: Path) -> None:
    _changed(mine, "processor_config.json", lambda found: found["image_processor"].update(settings))
    assert np.array_equal(_pixels(mine), _pixels(_exported(mine, tmp_path / "out")))


@pytest.mark.parametrize(
    "settings", [{"do_pad": True}, {"do_resize": False}, {"crop_size": {"height": 70, "width": 84}}], ids=str
)
def test_cuts_that_no_export_carries_are_refused(settings: dict[str, Any], mine: Path, tmp_path: Path) -> None:
    _changed(mine, "processor_config.json", lambda found: found["image_processor"].update(settings))
    with pytest.raises(InputError, match="processor"):
        _exported(mine, tmp_path / "out")


def test_of_two_files_the_one_that_transformers_reads_first(mine: Path, tmp_path: Path) -> None:
    inner = json.loads((mine / "processor_config.json").read_text())["image_processor"]
    (mine / "preprocessor_config.json").write_text(json.dumps({**inner, "image_mean": [0.9, 0.1, 0.5]}))
    (mine / "chat_template.jinja").write_text("{% for one in messages %}{{ one.role }}: <image>{% endfor %}")
    _changed(mine, "tokenizer_config.json", lambda found: found.update(chat_template="{{ 'another' }}"))
    out = _exported(mine, tmp_path / "out")
    assert np.array_equal(_pixels(mine), _pixels(out))
    said = json.loads((out / "tokenizer_config.json").read_text())["chat_template"]
    assert said == transformers.AutoTokenizer.from_pretrained(mine).chat_template


def _template(tag: str) -> str:
    return "{% for message in messages %}" + tag + ": {{ message['content'] }}\r\n{% endfor %}"


def _templates(folder: Path, **tags: str) -> None:
    """Write a template in each place that is named, and none elsewhere."""
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    for key, name in (("tokenizer", "tokenizer_config.json"), ("processor", "processor_config.json")):
        content = json.loads((folder / name).read_text())
        content.pop("chat_template", None)
        own = {"chat_template": _template(tags[key])} if key in tags else {}
        (folder / name).write_text(json.dumps(content | own))
    if "older" in tags:
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": _template(tags["older"])}))
    if "jinja" in tags:
        (folder / "chat_template.jinja").write_text(_template(tags["jinja"]))
    if "named" in tags:
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "default.jinja").write_text(_template(tags["named"]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # transformers leaves files open
@pytest.mark.parametrize("kind", ["clip-llama", "gemma3", "qwen2.5-vl"])
@pytest.mark.parametrize(
    "tags",
    [
        {"tokenizer": "T"}, {"older": "O"}, {"processor": "P"}, {"jinja": "J", "older": "O"}, {"named": "N"},
        {"processor": "P", "older": "O", "jinja": "J", "tokenizer": "T"}, {"older": "O", "tokenizer": "T"},
        {"jinja": "J", "tokenizer": "T"},
    ],
    ids="".join,
)  # fmt: skip
def test_every_client_finds_the_template_of_the_checkpoints_processor(
    kind: str, tags: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(checkpoint(kind), mine := tmp_path / "mine")
    _templates(mine, **tags)
    asked = [{"role": "user", "content": "hi"}]
    own = transformers.LlavaProcessor.from_pretrained(mine) if kind == "clip-llama" else Prompts(mine).processor
    if kind == "clip-llama" and set(tags) == {"tokenizer"}:  # whose processor has none
        own = own.tokenizer
    due = own.apply_chat_template(asked, tokenize=False)
    files = _texts(mine, kind)
    for place in ("chat_template.jinja", "tokenizer_config.json"):
        (tmp_path / place).mkdir()
        for name in ("tokenizer.json", "config.json", "tokenizer_config.json", place):
            content = json.loads(files[name]) if name == "tokenizer_config.json" else {}
            if name != place:
                content.pop("chat_template", None)
            (tmp_path / place / name).write_bytes(json.dumps(content).encode() if content else files[name])
        read = transformers.AutoTokenizer.from_pretrained(tmp_path / place)
        assert read.apply_chat_template(asked, tokenize=False) == due
    assert "chat_template.json" not in files and b"chat_template" not in files["processor_config.json"]
    assert b"\r" not in files["chat_template.jinja"]


def _texts(mine: Path, kind: str) -> dict[str, bytes]:
    """What an export has beside its graphs."""
    parts = open_parts(replace(order(kind), checkpoint=str(mine)))
    return texts(parts.checkpoint, parts.order.visual_tokens, (), parts.tiles)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ([{"name": "rag", "template": "R"}], "its chat templates are rag; expected one of the name default"),
        (7, "its chat template is 7; expected a text"),
        ("\ud800", "expected Unicode text"),
    ],
)
def test_a_template_that_no_processor_could_use_is_refused(template: Any, expected: str, mine: Path) -> None:
    _templates(mine)
    _changed(mine, "tokenizer_config.json", lambda found: found.update(chat_template=template))
    with pytest.raises(InputError, match=expected):
        _texts(mine, "clip-llama")


def test_a_gemma_without_a_template_is_not_for_transformers_js(tmp_path: Path) -> None:
    """Its processor there asks for ``chat_template.jinja``."""
    shutil.copytree(checkpoint("gemma3"), mine := tmp_path / "mine")
    assert "transformers.js" in clients(open_checkpoint(str(mine)), ClientLayout.TRANSFORMERS_JS, asks=False)
    _templates(mine)
    assert clients(open_checkpoint(str(mine)), ClientLayout.TRANSFORMERS_JS, asks=False) == ("vlmplan",)


@pytest.mark.parametrize("kind", ["clip-llama", "gemma3", "internvl", "qwen2.5-vl", "lfm2-vl"])
@pytest.mark.parametrize("inside", [False, True])
def test_an_export_ends_where_the_checkpoints_own_generate_does(kind: str, inside: bool, tmp_path: Path) -> None:
    """Where nothing but ``config.json`` says where that is."""
    shutil.copytree(checkpoint(kind), mine := tmp_path / "mine")
    (mine / "generation_config.json").unlink()

    def change(found: dict[str, Any]) -> None:
        found.pop("eos_token_id", None)
        (found["text_config"] if inside else found).update(eos_token_id=[2, 7], suppress_tokens=[5], max_length=9)

    _changed(mine, "config.json", change)
    own = transformers.AutoModelForImageTextToText.from_pretrained(mine).generation_config
    assert (own.eos_token_id, own.suppress_tokens, own.max_length) == ([2, 7], [5], 9)
    (made := tmp_path / "made").mkdir()
    for name, content in _texts(mine, kind).items():
        (made / name).write_bytes(content)
    read = transformers.GenerationConfig.from_pretrained(made)
    assert (read.eos_token_id, read.suppress_tokens, read.max_length) == ([2, 7], [5], 9)
    assert Prompts(made).stop == {2, 7}
    opened = open_checkpoint(str(mine))
    assert not [*generated(made, opened)]
    said = json.loads((made / "generation_config.json").read_text())
    (made / "generation_config.json").write_text(json.dumps(said | {"eos_token_id": 2}))
    for client, fault in zip(("transformers", "transformers.js"), generated(made, opened), strict=True):
        assert fault == f"generation in {client}: ends at: expected [2, 7], found [2]"


def test_of_two_sets_of_weights_the_one_that_transformers_loads(mine: Path) -> None:
    tensors = load_file(mine / "model.safetensors")
    name = next(one for one in tensors if one.endswith("embed_tokens.weight"))
    save_file({**tensors, name: -tensors[name]}, mine / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "other.safetensors")}
    (mine / "model.safetensors.index.json").write_text(json.dumps(index))
    loaded = transformers.AutoModelForImageTextToText.from_pretrained(mine).get_input_embeddings().weight
    found = open_checkpoint(str(mine)).tensors.array("language_model.embed_tokens.weight")
    assert np.array_equal(found, loaded.detach().numpy())


def test_an_index_that_transformers_does_not_load_is_refused(mine: Path) -> None:
    (mine / "model.safetensors").rename(mine / "other.safetensors")
    table = dict.fromkeys(load_file(mine / "other.safetensors"), "other.safetensors")
    (mine / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises(KeyError, match="metadata"):
        transformers.AutoModelForImageTextToText.from_pretrained(mine)
    with pytest.raises(InputError, match=r"index.json: expected a table 'metadata', without which transformers"):
        open_checkpoint(str(mine))


def test_one_tensor_under_two_names_is_refused(mine: Path) -> None:
    tensors = load_file(mine / "model.safetensors")
    name = next(one for one in tensors if one.endswith("embed_tokens.weight"))
    twin = name.removeprefix("model.") if name.startswith("model.") else f"model.{name}"
    save_file({**tensors, twin: -tensors[name]}, mine / "model.safetensors")
    with pytest.raises(InputError, match="one tensor under two names"):
        open_checkpoint(str(mine))


def test_mistrals_window_is_in_every_layer(tmp_path: Path) -> None:
    mine = Path(shutil.copytree(checkpoint("siglip-mistral"), tmp_path / "mine"))

    def windowed(config: dict[str, Any]) -> None:
        text = config["text_config"]
        text |= {"sliding_window": 90, "layer_types": ["full_attention"] * text["num_hidden_layers"]}

    _changed(mine, "config.json", windowed)
    export(replace(order("siglip-mistral", visual_tokens=81), checkpoint=str(mine)), tmp_path / "out", quiet)
    report = _judged(tmp_path / "out", checkpoint=str(mine))
    assert not report.failed, report.failed
    steps = next(check.detail for check in report.checks if check.name == "tokens")
    assert steps.startswith("64 of 64")  # a fourth text, beyond the window


def test_a_window_that_llama_heeds_by_halves_is_refused(tmp_path: Path) -> None:
    mine = Path(shutil.copytree(checkpoint("clip-llama"), tmp_path / "mine"))

    def windowed(config: dict[str, Any]) -> None:
        text = config["text_config"]
        text |= {"sliding_window": 80, "layer_types": ["sliding_attention"] * text["num_hidden_layers"]}

    _changed(mine, "config.json", windowed)
    with pytest.raises(InputError, match="layer_types has sliding_attention"):
        open_checkpoint(str(mine))


_PARTIAL = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "partial_rotary_factor": 0.5}


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        ("clip-llama", "sliding_window", 5, "text_config.sliding_window is 5"),
        ("clip-llama", "attention_chunk_size", 5, "text_config.attention_chunk_size is 5"),
        ("siglip-mistral", "attention_chunk_size", 5, "text_config.attention_chunk_size is 5"),
        ("clip-qwen2", "rope_scaling", _PARTIAL, "partial_rotary_factor is 0.5"),
    ],
)
def test_what_transformers_heeds_by_halves_or_cannot_run_is_refused(
    kind: str, key: str, value: Any, said: str, tmp_path: Path
) -> None:
    """A cache of a window beside a mask without one; rotary angles narrower than heads."""
    mine = Path(shutil.copytree(checkpoint(kind), tmp_path / "mine"))

    def changed(config: dict[str, Any]) -> None:
        config["text_config"] |= {"rope_parameters" if key == "rope_scaling" else key: value}
        if key != "rope_scaling":
            config["text_config"].pop("layer_types", None)

    _changed(mine, "config.json", changed)
    with pytest.raises(InputError, match=said):
        open_checkpoint(str(mine))


def test_layers_with_a_window_that_is_switched_off_are_refused(tmp_path: Path) -> None:
    """Their cache has no length; transformers ends in a TypeError of its own."""
    mine = Path(shutil.copytree(checkpoint("clip-qwen2"), tmp_path / "mine"))

    def changed(config: dict[str, Any]) -> None:
        kinds = ["sliding_attention", *["full_attention"] * (config["text_config"]["num_hidden_layers"] - 1)]
        config["text_config"] |= {"use_sliding_window": False, "sliding_window": 20, "layer_types": kinds}

    _changed(mine, "config.json", changed)
    with pytest.raises(InputError, match="layer_types has sliding_attention, and there is no window"):
        open_checkpoint(str(mine))


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with a question baked in."""
    folder = tmp_path_factory.mktemp("baked") / "out"
    made = order(visual_tokens=4, compressor=Compressor.QUECC)
    export(replace(made, random_weights=True, query="What is shown in this picture?"), folder, quiet)
    return folder


def test_a_baked_question_is_compared_value_by_value(baked: Path, tmp_path: Path) -> None:
    assert not _judged(baked, checkpoint=str(checkpoint())).failed
    folder = Path(shutil.copytree(baked, tmp_path / "bad"))
    path = folder / "onnx" / "vision_encoder.onnx"
    model = onnx.load(path)
    tensor = next(one for one in model.graph.initializer if one.name == "query")
    values = numpy_helper.to_array(tensor).copy()
    values += np.float32(0.9e-4 * np.abs(values).max()) * np.sign(values)
    tensor.CopyFrom(numpy_helper.from_array(values, "query"))
    path.write_bytes(model.SerializeToString())
    agree_in_all(folder)
    assert "weights" in {check.name for check in _judged(folder, checkpoint=str(checkpoint())).failed}


def test_only_the_export_says_its_question(baked: Path) -> None:
    whole = {
        "checkpoint": str(checkpoint()),
        "visual_tokens": 4,
        "compressor": Compressor.QUECC,
        "precision": Precision.FP32,
    }
    (left,) = [
        check
        for check in _judged(baked, **whole).reservations
        if "question" in check.detail or "random" in check.detail
    ]
    assert left.name == "judge"
    report = _judged(baked, **whole, query="Another?")
    assert [check.name for check in report.failed if check.name == "judge"] == ["judge"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("generation_config.json", '{"eos_token_id": 7}'),
        ("genai_config.json", '{"model": {"decoder": {"filename": "weights.bin"}}}'),
        ("genai_config.json", '{"model": {"eos_token_id": 9, "decoder": {"filename": "model.onnx"}}}'),
        ("config.json", '{"eos_token_id": 9, "bos_token_id": 8}'),
        ("config.json", '{"auto_map": {"AutoModel": "evil.Evil"}}'),
        ("evil.py", "print()"),
        ("other.onnx", "x"),
    ],
)
@pytest.mark.parametrize("inside", ["", "onnx"])
def test_files_beside_a_decoder_by_others(name: str, content: str, inside: str, tmp_path: Path) -> None:
    """At the folder's top, whether the graph lies there or in ``onnx``."""
    foreign(tmp_path, positions=True)
    folder = tmp_path / "foreign"
    if inside:
        (folder / inside).mkdir()
        (folder / "model.onnx").rename(folder / inside / "model.onnx")
    (folder / name).write_text(content)
    report = _judged(folder, checkpoint=str(tmp_path / "text"))
    assert {check.name for check in report.failed} & {"configuration", "integrity"}, report.checks


def test_what_nothing_compared_is_named(tmp_path: Path) -> None:
    foreign(tmp_path, positions=True)
    (tmp_path / "foreign" / "vocab.json").write_text("{}")
    report = _judged(tmp_path / "foreign", checkpoint=str(tmp_path / "text"), by_samples=True)
    said = next(check for check in report.reservations if check.name == "samples")
    assert said.outcome is Outcome.SKIPPED
    assert "not compared: vocab.json" in said.detail


@pytest.mark.parametrize("kind", ["ViTImageProcessor", "MobileViTFeatureExtractor", "EfficientNetImageProcessorFast"])
def test_processors_that_do_more_are_refused(kind: str, mine: Path, tmp_path: Path) -> None:
    """They flip channels, offset values or resample otherwise where their files are silent."""
    _changed(mine, "processor_config.json", lambda found: found["image_processor"].update(image_processor_type=kind))
    with pytest.raises(InputError, match="which no export's files carry over"):
        _exported(mine, tmp_path / "out")
