"""What stands beside a decoder by others: it may be spelt otherwise than the checkpoint's, and must do the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from small_models import checkpoint, foreign, quiet

from vlmplan.proof.foreign.settings import _of_tokenizer
from vlmplan.proof.options import Options
from vlmplan.proof.report import Report
from vlmplan.proof.validate import Validator

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def _pair(folder: Path) -> tuple[Path, Path]:
    """A decoder by others and its checkpoint, with the same tokenizer, template and generation."""
    foreign(folder, positions=True)
    ours, theirs = folder / "foreign", folder / "text"
    for name in FILES:
        for place in (ours, theirs):
            shutil.copy(checkpoint() / name, place / name)
    shutil.copy(theirs / "config.json", ours / "config.json")
    return ours, theirs


def _judged(ours: Path, theirs: Path, *, by_samples: bool = True) -> Report:
    options = Options(by_samples=by_samples, threads=2, repeats=1, checkpoint=str(theirs))
    return Validator(options, quiet).validate(ours).report


def _edited(path: Path, **changes: Any) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (found | changes).items() if value is not None}))


def _special(name: str, value: Any) -> Callable[[Path], None]:
    return lambda ours: _edited(ours / "tokenizer_config.json", **{name: value, "backend": None})


def _template_gone(ours: Path) -> None:
    (ours / "chat_template.jinja").unlink()


def _another_template(ours: Path) -> None:
    (ours / "additional_chat_templates").mkdir()
    (ours / "additional_chat_templates" / "tools.jinja").write_text("Praise the forger.")


def _filled(ours: Path) -> None:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(ours / "tokenizer.json"))
    made.enable_padding(direction="left", pad_id=77, pad_token="a", pad_to_multiple_of=64)
    made.save(str(ours / "tokenizer.json"))


def _padding_token(ours: Path) -> None:
    _edited(ours / "config.json", pad_token_id=77)


def _panicking(ours: Path) -> None:
    _edited(ours / "tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})


def _strips(ours: Path) -> None:
    found = json.loads((ours / "tokenizer.json").read_text())
    for one in found["added_tokens"]:
        one["lstrip"] = True
    (ours / "tokenizer.json").write_text(json.dumps(found))


def _sampled(ours: Path) -> None:
    _edited(ours / "config.json", repetition_penalty=1.3)


def _shorter(ours: Path) -> None:
    _edited(ours / "config.json", max_position_embeddings=64)


def _no_texts(ours: Path) -> None:
    _edited(ours / "generation_config.json", eos_token_id=["a", 1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_special("extra_special_tokens", ["e", "a"]), "special tokens"),
        (_special("additional_special_tokens", ["e", "a"]), "special tokens"),
        (_special("pad_token", "a"), "pad_token"),
        (_special("model_input_names", ["x"]), "inputs"),
        (_special("model_input_names", [1, {}]), "inputs"),
        (_special("model_max_length", "many"), "model_max_length"),
        (_special("fast_tokenizer_files", ["tokenizer.4.0.0.json"]), "fast_tokenizer_files"),
        (_special("vocab_file", "../vocab.json"), "vocab_file"),
        (_strips, "tokenizer.json is another"),
        (_sampled, "repetition_penalty"),
        (_shorter, "max_position_embeddings"),
        (_template_gone, "no chat template"),
        (_another_template, "chat template"),
        (_filled, "padding"),
        (_padding_token, "pad_token_id"),
        (_panicking, "cannot be read"),
        (_no_texts, "eos_token_id"),
    ],
)
def test_what_changes_encoding_padding_or_prompts(
    change: Callable[[Path], None], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = _pair(tmp_path)
    change(ours)
    (fault,) = _judged(ours, theirs).failed
    assert said in fault.detail
    assert "panicked" not in capfd.readouterr().err


def test_a_template_that_the_checkpoint_lacks(tmp_path: Path) -> None:
    ours, theirs = _pair(tmp_path)
    (theirs / "chat_template.jinja").unlink()
    (fault,) = _judged(ours, theirs).failed
    assert "the checkpoint has none" in fault.detail


def test_a_tokenizer_that_another_transformers_saved_again(tmp_path: Path) -> None:
    """The checkpoint's configuration as transformers 4 writes it, the folder's as transformers 5 does."""
    import transformers

    ours, theirs = _pair(tmp_path)
    for _ in range(2):
        transformers.AutoTokenizer.from_pretrained(theirs).save_pretrained(theirs)
    config = json.loads((theirs / "tokenizer_config.json").read_text())
    added = json.loads((theirs / "tokenizer.json").read_text())["added_tokens"]
    older = {str(one["id"]): {key: one[key] for key in one if key != "id"} for one in added}
    kept = {key: value for key, value in config.items() if key not in ("backend", "is_local", "local_files_only")}
    (theirs / "tokenizer_config.json").write_text(json.dumps(kept | {"added_tokens_decoder": older}))
    for name in FILES[:3]:
        (ours / name).unlink()
    transformers.AutoTokenizer.from_pretrained(theirs).save_pretrained(ours)
    assert json.loads((ours / "tokenizer_config.json").read_text()) != kept | {"added_tokens_decoder": older}
    report = _judged(ours, theirs)
    assert not report.failed, report.failed


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("add_bos_token", True), ("add_eos_token", True), ("legacy", False), ("errors", "ignore"), ("stride", 2),
        ("truncation", True), ("spaces_between_special_tokens", False), ("image_token", "<s>"), ("anything", "x"),
    ],
)  # fmt: skip
def test_a_setting_of_the_tokenizer_that_some_client_may_heed(key: str, value: Any, tmp_path: Path) -> None:
    """transformers.js goes by ``add_bos_token``, for one, and transformers does not."""
    ours, theirs = _pair(tmp_path)
    _edited(ours / "tokenizer_config.json", **{key: value})
    assert [fault for fault in _of_tokenizer(ours, theirs) if fault.startswith(f"tokenizer_config.json: {key}: ")]
    _edited(theirs / "tokenizer_config.json", **{key: value})
    assert not [*_of_tokenizer(ours, theirs)]
    usual = {"errors": "replace", "legacy": True, "stride": 0, "add_bos_token": False}
    _edited(theirs / "tokenizer_config.json", **{key: None})
    _edited(ours / "tokenizer_config.json", **usual | {key: usual.get(key)})
    assert not [*_of_tokenizer(ours, theirs)]


def _genai(theirs: Path) -> dict[str, Any]:
    """As the builder of onnxruntime-genai writes it for the checkpoint."""
    config = json.loads((theirs / "config.json").read_text())
    names = {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"}
    made = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
    plain = ("input_ids", "attention_mask", "position_ids")
    context, width, heads = (config[k] for k in ("max_position_embeddings", "hidden_size", "num_attention_heads"))
    return {
        "model": {
            "type": "qwen2", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "context_length": context,
            "vocab_size": 300,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": "model.onnx",
                "head_size": width // heads, "hidden_size": width, "num_attention_heads": heads,
                "num_hidden_layers": config["num_hidden_layers"], "num_key_value_heads": config["num_key_value_heads"],
                "inputs": {**{name: name for name in plain}, **names}, "outputs": {"logits": "logits", **made},
            },
        },
        "search": {"do_sample": False, "early_stopping": True, "max_length": context, "temperature": 1.0, "top_k": 50,
                   "past_present_share_buffer": False},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (None, None),
        ("model.embedding", {"filename": "../../elsewhere.onnx"}),
        ("model.decoder.pipeline", [{"a": {"filename": "b.onnx"}}]),
        ("model.decoder.filename", "../model.onnx"),
        ("model.decoder.outputs.logits", "others"),
        ("model.decoder.inputs.past_key_names", "past_key_values.%d.value"),
        ("model.decoder.session_options.custom_ops_library", "evil"),
        ("model.decoder.session_options.provider_options", [{"QNN": {"backend_path": "evil"}}]),
        ("model.decoder.session_options.provider_options", [{"/tmp/evil": {}}]),
        ("model.decoder.session_options.provider_options", [{"cuda": {"enable_/tmp/evil": "1"}}]),
        ("model.decoder.num_key_value_heads", 4),
        ("model.decoder.head_size", 8),
        ("model.decoder.sliding_window", {"window_size": 8}),
        ("model.decoder.sliding_window", {"slide_inputs": True}),
        ("model.decoder.sliding_window", {}),
        ("model.decoder.num_key_value_heads", 2.0),
        ("model.vocab_size", 300.0),
        ("search.num_beams", True),
        ("search.min_length", False),
        ("model.context_length", 2**20),
        ("model.type", "decoder-pipeline"),
        ("model.eos_token_id", 7),
        ("model.pad_token_id", 7),
        ("model.bos_token_id", 7),
        ("search.temperature", 9.0),
        ("search.max_length", 3),
        ("model", []),
        ("model.decoder", "x"),
    ],
)
def test_genai_config_names_what_was_compared(place: str | None, value: Any, tmp_path: Path) -> None:
    ours, theirs = _pair(tmp_path)
    made = _genai(theirs)
    if place is not None:
        *parents, last = place.split(".")
        table = made
        for name in parents:
            table = table[name]
        table[last] = value
    (ours / "genai_config.json").write_text(json.dumps(made))
    report = _judged(ours, theirs)
    assert {check.name for check in report.failed} == (set() if place is None else {"configuration"}), report.failed
    if place is not None:
        assert "genai_config.json" in report.failed[0].detail


def test_the_switches_that_its_builder_writes_are_none(tmp_path: Path) -> None:
    ours, theirs = _pair(tmp_path)
    made = _genai(theirs)
    made["model"]["decoder"]["session_options"]["provider_options"] = [
        {"cuda": {"enable_cuda_graph": "0", "enable_skip_layer_norm_strict_mode": "1"}}
    ]
    (ours / "genai_config.json").write_text(json.dumps(made))
    assert not _judged(ours, theirs).failed


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("genai_config.json", '"model": {"decoder": {"session_options": {"custom_ops_library": "evil"}}},'),
        ("genai_config.json", '"search": {"min_length": 900},'),
        ("config.json", '"eos_token_id": 7,'),
        ("generation_config.json", '"eos_token_id": 7,'),
        ("tokenizer_config.json", '"eos_token": "x",'),
        ("tokenizer.json", '"model": {"type": "BPE"},'),
        ("vocab.JSON", '"a": 1, "a": 2,'),
    ],
)
def test_a_key_that_stands_twice_is_refused(name: str, forged: str, tmp_path: Path) -> None:
    """Onnxruntime-genai merges both values, Python takes the last."""
    ours, theirs = _pair(tmp_path)
    (ours / "genai_config.json").write_text(json.dumps(_genai(theirs)))
    path = ours / name
    good = path.read_text() if path.is_file() else '{"b": 3}'
    path.write_text("{" + forged + good.lstrip().removeprefix("{"))
    (fault,) = _judged(ours, theirs).failed
    assert fault.name == "configuration" and f"{name}: the key" in fault.detail and "stands twice" in fault.detail


@pytest.mark.parametrize("name", ["MODEL.ONNX", "a.PY", "libevil.so.1", "evil.DLL", "b.dylib", "c.pyc"])
def test_code_beside_a_decoder_is_refused_however_it_is_spelt(name: str, tmp_path: Path) -> None:
    ours, theirs = _pair(tmp_path)
    (ours / name).write_bytes(b"x")
    (fault,) = _judged(ours, theirs).failed
    assert name in fault.detail and "stands beside" in fault.detail


def test_data_named_after_its_graph_are_no_code(tmp_path: Path) -> None:
    """As onnxruntime-genai's builder names them."""
    ours, theirs = _pair(tmp_path)
    model = onnx.load(ours / "model.onnx")
    onnx.save(model, ours / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=256)
    path = ours / "model.onnx"
    path.write_bytes(onnx.load(path, load_external_data=False).SerializeToString(deterministic=True))
    assert not _judged(ours, theirs).failed


def test_what_is_run_is_named_first_among_what_was_not_compared(tmp_path: Path) -> None:
    ours, theirs = _pair(tmp_path)
    for number in range(6):
        (ours / f"a{number}.bin").write_bytes(b"x")
    (ours / "zz.exe").write_bytes(b"MZ")
    (found,) = _judged(ours, theirs).reservations
    assert "not compared: zz.exe, a0.bin" in found.detail and "and 2 more" in found.detail


@pytest.mark.parametrize(("length", "good"), [(4096, True), (2048, False)])
def test_texts_may_be_cut_where_the_model_ends(length: int, good: bool, tmp_path: Path) -> None:
    """The builder of onnxruntime-genai writes the context where a checkpoint's tokenizer sets no length."""
    ours, theirs = _pair(tmp_path)
    for place in (ours, theirs):
        _edited(place / "config.json", max_position_embeddings=4096)
        _edited(place / "tokenizer_config.json", model_max_length=None)
    _edited(ours / "tokenizer_config.json", model_max_length=length)
    assert bool(_judged(ours, theirs).failed) is not good


def test_what_no_samples_prove_passes_only_where_that_is_accepted(tmp_path: Path) -> None:
    ours, theirs = _pair(tmp_path)
    (fault,) = _judged(ours, theirs, by_samples=False).failed
    assert fault.name == "samples" and fault.detail.endswith("--by-samples accepts that")
    accepted = _judged(ours, theirs)
    assert not accepted.failed and "samples" in {one.name for one in accepted.reservations}


@pytest.mark.parametrize("ends", [[2, 1], [1, 0]])
def test_an_end_that_stands_in_a_file_left_out(ends: list[int], tmp_path: Path) -> None:
    ours, theirs = _pair(tmp_path)
    _edited(theirs / "generation_config.json", eos_token_id=ends)
    (ours / "generation_config.json").unlink()
    (fault,) = _judged(ours, theirs).failed
    assert "generation_config.json is left out, which ends texts at" in fault.detail
