"""Exports for onnxruntime-genai: run by the released package, compared with PyTorch, and refused where it would err."""

import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mutants import EMBED, agree, revalued, rewired
from PIL import Image
from small_models import KINDS, checkpoint, opened_checkpoint, quiet, reference_of

from vlmplan import api
from vlmplan.checkpoints import open_checkpoint
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.errors import InputError
from vlmplan.exporting import texts
from vlmplan.exporting.files.genai import GENAI_CLIENT, GENAI_MARKS, IMAGES
from vlmplan.exporting.files.genai_images import client_squares
from vlmplan.exporting.files.genai_search import GENAI_CONFIG as CONFIG
from vlmplan.exporting.files.generation import GENERATION_FILE
from vlmplan.exporting.manifest import GRAPHS, ClientLayout, read_manifest
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.tiles import tiling
from vlmplan.exporting.write import Parts, open_parts
from vlmplan.models.spec import Compressor
from vlmplan.proof.clients.genai import NAME, client, merging
from vlmplan.proof.files import generated
from vlmplan.proof.options import Options
from vlmplan.proof.report import Outcome, Report
from vlmplan.proof.validate import Validator

pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed (extra test)")

_FOLDER = tempfile.TemporaryDirectory(prefix="vlmplan-genai-tests-")
_TALL = SmallModel(model_type="gemma3", llm="gemma3_text", joined=1, vision={"image_size": 224, "num_hidden_layers": 2})
FAMILIES = ("qwen2.5-vl", "qwen3-vl", "gemma3", "mistral3")  # by the names of small checkpoints


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take most of the time of models this small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@functools.cache
def _source(kind: str) -> Path:
    """A checkpoint; of Gemma 3 one with 256 tokens an image, which is what the client writes."""
    return write_checkpoint(_TALL, Path(_FOLDER.name) / "gemma3") if kind == "gemma3" else checkpoint(kind)


@functools.cache
def _made(kind: str, precision: str = "fp32") -> Path:
    out = Path(_FOLDER.name) / f"{kind}-{precision}"
    given: dict[str, Any] = {} if kind == "gemma3" else {"visual_tokens": 88, "image": "1024x768"}
    api.export(checkpoint=_source(kind), out=out, layout="genai", precision=precision, **given)
    return out


@functools.cache
def _validator(kind: str) -> Validator:
    return Validator(Options(checkpoint=str(_source(kind)), threads=1, repeats=1), quiet)


def _found(report: Report, name: str) -> Any:
    return next(check for check in report.checks if check.name == name)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_client_says_what_pytorch_says(kind: str) -> None:
    """Text alone, one image, two of unlike shapes where shapes may be, and a picture by its own processor."""
    report = _validator(kind).validate(_made(kind)).report
    assert not report.failed, report.failed
    assert _found(report, NAME).outcome is Outcome.PASSED
    assert "64 tokens due" in _found(report, NAME).detail
    assert _found(report, "merging").outcome is Outcome.PASSED
    assert read_manifest(_made(kind)).clients == ("vlmplan", GENAI_CLIENT)


@pytest.mark.parametrize(("kind", "precision"), [("qwen2.5-vl", "int4"), ("gemma3", "int8"), ("qwen3-vl", "fp16")])
def test_rounded_exports_run_in_the_client_as_in_ours(kind: str, precision: str) -> None:
    report = _validator(kind).validate(_made(kind, precision)).report
    assert not report.failed, report.failed
    assert _found(report, NAME).outcome is Outcome.PASSED


@functools.cache
def _parts(kind: str) -> Parts:
    manifest = read_manifest(_made(kind))
    return open_parts(
        ExportOrder(
            checkpoint=str(_source(kind)), visual_tokens=manifest.visual_tokens, compressor=Compressor.NONE,
            image=manifest.image, layout=ClientLayout.GENAI,
        )
    )  # fmt: skip


def _edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _operation(content: dict[str, Any], kind: str) -> dict[str, Any]:
    found = (one["operation"] for one in content["processor"]["transforms"])
    return next(one["attrs"] for one in found if one["type"] == kind)


SMALL = ("qwen2.5-vl", "qwen3-vl", "mistral3")  # whose images may have any size


@pytest.mark.parametrize("kind", SMALL)
def test_which_tokens_the_client_makes_of_a_size_is_known(kind: str, tmp_path: Path) -> None:
    """By running it: sides that tie, that are enlarged, shrunk, and too long."""
    genai = pytest.importorskip("onnxruntime_genai")
    resize = _operation(json.loads((_made(kind) / IMAGES).read_text()), "Resize")
    side = resize["patch_size"] * resize["merge_size"]
    half = side // 2
    sizes = [(3 * side + one, 2 * side + two) for one in (0, half, half + 1) for two in (0, half - 1, half)]
    sizes += [(9, 13), (57, 3000), (1000, 4), (1024, 768), (771, 2000), (side + half, 5 * side + half)]
    processor = genai.Model(str(_made(kind))).create_multimodal_processor()
    text = f"{GENAI_MARKS[opened_checkpoint(kind).config.model_type]}?"
    for size in sizes:
        Image.new("RGB", size).save(tmp_path / "one.png")
        try:
            made = processor(text, images=genai.Images.open(str(tmp_path / "one.png")))
            shape = made["pixel_values"].as_numpy().shape[-2:] if kind == "mistral3" else None
            grid = (made["image_grid_thw"].as_numpy()[0, 1:] * resize["patch_size"]) if shape is None else shape
            found = tuple(int(one) // side for one in grid)
        except RuntimeError:
            found = None
        assert client_squares(size, side, resize["min_pixels"], resize["max_pixels"]) == found, size


@pytest.mark.parametrize(
    ("kind", "image", "theirs", "works"),
    [
        ("qwen3-vl", "1280x720", "22x39", "1280x719"),
        ("qwen2.5-vl", "1022x770", "27x36", "1021x770"),
        ("mistral3", None, "27x37", "1036x784"),
    ],
)
def test_an_image_of_which_the_client_makes_other_tokens_is_refused(
    kind: str, image: str | None, theirs: str, works: str, tmp_path: Path
) -> None:
    given = {"image": image} if image else {}
    with pytest.raises(InputError, match=f"onnxruntime-genai makes {theirs} tokens .* give --image .*{works}") as found:
        api.export(checkpoint=_source(kind), out=tmp_path / "out", layout="genai", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    tokens = int(str(found.value).split("--visual-tokens ")[1].split(",")[0])
    wide, high = map(int, works.split("x"))
    parts = open_parts(
        ExportOrder(
            checkpoint=str(_source(kind)), visual_tokens=tokens, compressor=Compressor.NONE, image=(wide, high),
            layout=ClientLayout.GENAI,
        )
    )  # fmt: skip
    assert CONFIG in texts(parts.checkpoint, tokens, (), parts.tiles, ClientLayout.GENAI)


def _with_generation(folder: Path, **said: Any) -> Path:
    """The small Qwen2.5-VL with other settings of generation."""
    shutil.copytree(checkpoint("qwen2.5-vl"), folder)
    (folder / GENERATION_FILE).write_text(json.dumps({"pad_token_id": 0, **said}))
    return folder


def _written(folder: Path) -> dict[str, Any]:
    """``genai_config.json`` of a checkpoint's export."""
    opened = open_checkpoint(str(folder))
    found = texts(opened, 88, (), tiling(opened, (1024, 768), 88), ClientLayout.GENAI)
    return json.loads(found[CONFIG])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"suppress_tokens": [5, 6]}, r"suppress_tokens \[5, 6\], which onnxruntime-genai has no setting for"),
        ({"bad_words_ids": [[5]], "min_new_tokens": 5}, r"bad_words_ids \[\[5\]\], min_new_tokens 5, which"),
        ({"forced_eos_token_id": 0}, "forced_eos_token_id 0, which"),
        ({"max_new_tokens": 3}, "max_new_tokens 3, which"),
        ({"do_sample": True, "min_p": 0.1}, r"min_p 0\.1, which"),
        ({"num_beams": 4}, "has num_beams 4, and"),
        ({"top_k": "many"}, "top_k of generation_config.json: onnxruntime-genai cannot read 'many'"),
        ({"eos_token_id": None}, "its answers end at no token"),
    ],
)
def test_generation_that_the_client_has_not_is_refused_by_name(
    said: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=named):
        _written(_with_generation(tmp_path / "source", **({"eos_token_id": 2} | said)))


def test_generation_that_the_client_has_is_carried(tmp_path: Path) -> None:
    """All of it by its number; what is unsaid as transformers fills it in."""
    said = {"eos_token_id": [2, 5], "no_repeat_ngram_size": 2, "min_length": 12, "max_length": 64, "min_p": 0.1}
    said |= {"length_penalty": 0.5, "typical_p": 1.0, "suppress_tokens": [], "repetition_penalty": 1.2, "top_k": 0}
    held = _written(_with_generation(tmp_path / "source", **said))
    assert held["model"]["eos_token_id"] == [2, 5]
    assert held["search"] == {
        "do_sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.2, "min_length": 12,
        "max_length": 64, "no_repeat_ngram_size": 2, "num_beams": 1, "past_present_share_buffer": False,
    }  # fmt: skip


def test_settings_that_the_client_would_not_heed_are_seen(tmp_path: Path) -> None:
    """As the client reads them: by themselves, whatever the export's own code writes."""
    opened = open_checkpoint(str(_with_generation(tmp_path / "source", eos_token_id=2, no_repeat_ngram_size=2)))
    shutil.copytree(_made("qwen2.5-vl"), tmp_path / "made")
    assert "generation in onnxruntime-genai: no_repeat_ngram_size: expected 2, found 0" in [
        *generated(tmp_path / "made", opened)
    ]


def test_a_checkpoint_that_ends_at_no_token_has_no_end_in_transformers_js(tmp_path: Path) -> None:
    source = _with_generation(tmp_path / "source")
    _edit(source, "config.json", lambda held: held.update(eos_token_id=2))
    opened = open_checkpoint(str(source))
    made = tmp_path / "made"
    made.mkdir()
    for name, content in texts(opened, 88, (), tiling(opened, (1024, 768), 88)).items():
        (made / name).write_bytes(content)
    assert not [*generated(made, opened)]
    _edit(made, "config.json", lambda held: held.update(eos_token_id=2))
    assert [*generated(made, opened)] == ["generation in transformers.js: ends at: expected [], found [2]"]


@pytest.mark.parametrize("number", [0, 4, 5])
def test_a_filter_that_the_client_has_not_is_refused(number: int, tmp_path: Path) -> None:
    source = _with_generation(tmp_path / "source", eos_token_id=2)
    _edit(source, "processor_config.json", lambda held: held.get("image_processor", held).update(resample=number))
    with pytest.raises(InputError, match=f"scales with resample {number}; onnxruntime-genai has 1 .LANCZOS."):
        _written(source)


WRONG: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "positions of larger squares": (
        "qwen2.5-vl",
        lambda folder: _edit(folder, CONFIG, lambda held: held["model"]["vision"].update(spatial_merge_size=4)),
        "cannot run it|tokens|token ids",
    ),
    "blue for red": (
        "mistral3",
        lambda folder: _edit(
            folder,
            IMAGES,
            lambda held: held["processor"]["transforms"].insert(
                1, {"operation": {"name": "colours", "type": "ConvertRGB"}}
            ),
        ),
        "makes other pixels of a picture",
    ),
    "another mean": (
        "mistral3",
        lambda folder: _edit(folder, IMAGES, lambda held: _operation(held, "Normalize").update(mean=[0.5, 0.5, 0.5])),
        "makes other pixels of a picture",
    ),
    "fewer pixels": (
        "qwen2.5-vl",
        lambda folder: _edit(folder, IMAGES, lambda held: _operation(held, "Resize").update(max_pixels=31360)),
        "writes other token ids",
    ),
    "another image token": (
        "mistral3",
        lambda folder: revalued(folder, "scalar.3", lambda array: array + 1, EMBED),
        "cannot run it|tokens",
    ),
    "narrower embeddings": (
        "mistral3",
        lambda folder: _edit(folder, CONFIG, lambda held: held["model"]["decoder"].update(hidden_size=48)),
        "cannot run it",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_check_of_the_client_sees_what_is_wrong(what: str, tmp_path: Path) -> None:
    """By itself: such an export fails other checks before, and is then not handed to the client."""
    kind, change, said = WRONG[what]
    shutil.copytree(_made(kind), tmp_path / "wrong")
    change(tmp_path / "wrong")
    found = client(tmp_path / "wrong", _parts(kind), reference_of(kind), 1e-4, 300)
    assert found.outcome is Outcome.FAILED
    assert any(one in found.detail for one in said.split("|")), found.detail


FORGED: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a library of operators": (
        lambda folder: _edit(
            folder,
            CONFIG,
            lambda held: held["model"]["decoder"]["session_options"].update(custom_ops_library="evil.so"),
        ),
        {"configuration"},
    ),
    "another graph": (
        lambda folder: _edit(folder, CONFIG, lambda held: held["model"]["vision"].update(filename="../evil.onnx")),
        {"configuration"},
    ),
    "an end of its own": (
        lambda folder: _edit(folder, CONFIG, lambda held: held["model"].update(eos_token_id=9)),
        {"configuration"},
    ),
    "other sampling": (
        lambda folder: _edit(folder, CONFIG, lambda held: held["search"].update(temperature=9.0)),
        {"configuration"},
    ),
    "another mean": (
        lambda folder: _edit(folder, IMAGES, lambda held: _operation(held, "Normalize").update(mean=[0.5, 0.5, 0.5])),
        {"configuration"},
    ),
    "no configuration for the client": (lambda folder: (folder / CONFIG).unlink(), {"configuration", "integrity"}),
    "another image token": (lambda folder: revalued(folder, "scalar.3", lambda array: array + 1, EMBED), {"weights"}),
    "features left out": (lambda folder: rewired(folder, _text_alone, EMBED), {"structure"}),
    "another layout": (
        lambda folder: _edit(folder, "manifest.json", lambda held: held.update(layout="transformers.js")),
        {"interface", "structure", "manifest"},
    ),
    "more clients": (
        lambda folder: _edit(folder, "manifest.json", lambda held: held["clients"].append("transformers.js")),
        {"manifest"},
    ),
}


def _text_alone(graph: Any) -> None:
    """Text wherever there is an image."""
    last = graph.node[-1]
    last.op_type = "Identity"
    del last.input[1:]


@pytest.mark.parametrize("what", FORGED)
def test_forgeries_are_refused_and_never_handed_to_the_client(what: str, tmp_path: Path) -> None:
    shutil.copytree(_made("qwen2.5-vl"), tmp_path / "forged")
    change, expected = FORGED[what]
    change(tmp_path / "forged")
    agree(tmp_path / "forged")
    report = _validator("qwen2.5-vl").validate(tmp_path / "forged").report
    assert expected - {"integrity"} <= {check.name for check in report.failed}, report.checks
    assert NAME not in {check.name for check in report.checks}


def test_an_export_of_another_layout_that_calls_itself_this_one_is_refused(tmp_path: Path) -> None:
    given = {"visual_tokens": 88, "image": "1024x768"}
    api.export(checkpoint=_source("qwen2.5-vl"), out=tmp_path / "forged", **given)  # type: ignore[arg-type]
    _edit(tmp_path / "forged", "manifest.json", lambda held: held.update(layout="genai"))
    report = _validator("qwen2.5-vl").validate(tmp_path / "forged").report
    assert {"manifest", "configuration", "interface"} <= {check.name for check in report.failed}


@pytest.mark.parametrize("kind", [*KINDS, "smolvlm", "internvl", "paligemma", "qwen2-vl", "lfm2-vl"])
def test_what_the_client_has_no_class_for_is_refused_before_weights_are_looked_for(kind: str, tmp_path: Path) -> None:
    shutil.copytree(checkpoint(kind), tmp_path / "source", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(InputError, match=r"onnxruntime-genai 0\.18 has no .* that vlmplan exports; expected one of"):
        api.export(checkpoint=tmp_path / "source", out=tmp_path / "out", layout="genai")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="has no llava that"):
        api.export(model="llava-1.5-7b", out=tmp_path / "out", layout="genai")


def test_counts_and_tokens_that_the_client_would_write_otherwise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="writes 256 tokens for every image of a gemma3, this export makes 64"):
        api.export(
            checkpoint=_source("gemma3"), out=tmp_path / "out", layout="genai", visual_tokens=64,
            compressor="average-pool",
        )  # fmt: skip
    shutil.copytree(_source("qwen2.5-vl"), tmp_path / "source")
    path = tmp_path / "source" / "tokenizer.json"
    path.write_text(path.read_text().replace("<|vision_end|>", "<|over|>"))
    with pytest.raises(InputError, match=r"no added token <\|vision_end\|>, which onnxruntime-genai writes"):
        api.export(checkpoint=tmp_path / "source", out=tmp_path / "out", layout="genai")


def test_an_image_token_that_was_generated_is_text() -> None:
    """The client hands over no features then."""
    import numpy as np

    from vlmplan.exporting.runner import OnnxModel

    for kind in FAMILIES:
        model, number = OnnxModel(_made(kind)), opened_checkpoint(kind).image_token
        ids = np.array([[5, number, 6]], np.int64)
        found = model.embeds(ids)
        assert found.shape[:2] == ids.shape and np.abs(found[0, 1]).sum() > 0
        with pytest.raises(InputError, match="cannot run the embeddings"):
            model.merged(ids, np.zeros((2, found.shape[-1]), np.float32))


def test_a_merge_that_is_off_by_one_number_is_seen() -> None:
    from vlmplan.exporting.runner import OnnxModel
    from vlmplan.proof.numbers import probes

    class Off(OnnxModel):
        """The export, one number of whose merged embeddings is another."""

        def merged(self, input_ids: Any, features: Any) -> Any:
            """As the graph, and one off."""
            found = super().merged(input_ids, features)
            found[0, -1, 0] += 1e-6
            return found

    parts = _parts("qwen2.5-vl")
    asked = probes(read_manifest(_made("qwen2.5-vl")), parts.checkpoint, parts.tiles)
    assert merging(OnnxModel(_made("qwen2.5-vl")), asked).outcome is Outcome.PASSED
    assert merging(Off(_made("qwen2.5-vl")), asked).outcome is Outcome.FAILED


def test_without_the_client_the_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlmplan.proof.clients.genai.installed", lambda *_: False)
    report = _validator("qwen2.5-vl").validate(_made("qwen2.5-vl")).report
    assert _found(report, NAME).outcome is Outcome.SKIPPED
    assert "is not installed" in _found(report, NAME).detail


def test_the_graphs_of_a_layout_have_the_usual_names() -> None:
    held = json.loads((_made("gemma3") / CONFIG).read_text())["model"]
    assert {held[part]["filename"] for part in ("vision", "embedding", "decoder")} == set(GRAPHS)
    assert held["decoder"]["hidden_size"] == 65  # the LLM's, and the channel that marks images


def test_an_export_for_the_client_answers_in_ours_too(tmp_path: Path) -> None:
    from small_models import random_picture

    picture = random_picture(tmp_path, 420, 300)
    said = api.run(folder=_made("qwen2.5-vl"), image=picture, prompt="What is this?", max_tokens=4)
    assert said.visual_tokens == 88
