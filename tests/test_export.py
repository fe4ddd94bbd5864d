"""Exports are whole, repeatable and refused in one line when they cannot be made."""

import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from first_format import first_format
from PIL import Image
from safetensors.torch import load_file, save_file
from small_models import KINDS, checkpoint, exported, order, quiet
from test_cli import process
from transformers import AutoTokenizer

from vlmplan.checkpoints.checkpoint import open_checkpoint, quiet_transformers
from vlmplan.checkpoints.tensors import Tensors, canonical
from vlmplan.errors import InputError, Unavailable
from vlmplan.exporting.answers import Prompts, answer
from vlmplan.exporting.files.clients import texts
from vlmplan.exporting.manifest import DECODER, GRAPHS, VISION, file_sha256, read_manifest
from vlmplan.exporting.runner import OnnxModel, Prompt, generate, open_session
from vlmplan.exporting.write import export
from vlmplan.hardware.runtimes import Precision
from vlmplan.models import download
from vlmplan.models.spec import Compressor
from vlmplan.proof.options import Options
from vlmplan.proof.validate import Validator


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.mark.parametrize("kind", KINDS)
def test_whole_models_equal_pytorch(kind: str) -> None:
    """Every check of validate, on CLIP and SigLIP, Qwen2, Llama, Mistral and Qwen3, three LLaVA families."""
    options = Options(checkpoint=str(checkpoint(kind)), threads=2, repeats=1)
    found = Validator(options, quiet).validate(exported(kind))
    outcomes = {check.name: check.outcome.value for check in found.report.checks}
    assert outcomes.pop("latency") == "skipped"
    assert set(outcomes.values()) == {"passed"}, found.report.failed
    figures = {check.name: check.figures for check in found.report.checks}
    assert figures["logits"]["largest_difference"] < 1e-4


def test_transformers_own_generate_gives_the_same_tokens(tmp_path: Path, picture: Path) -> None:
    """Nothing compressed: the checkpoint's processor and ``generate`` against the export's processor and runner."""
    transformers = quiet_transformers()
    export(order(visual_tokens=576, compressor=Compressor.NONE), tmp_path / "whole", quiet)
    prompt = Prompts(tmp_path / "whole").of(picture, "What is this?", reads_question=False)
    ours = generate(OnnxModel(tmp_path / "whole"), prompt, 12)
    model = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint()).eval()
    processor = transformers.AutoProcessor.from_pretrained(checkpoint())
    content = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=Image.open(picture), text=text, return_tensors="pt")
    assert inputs["input_ids"].tolist() == prompt.input_ids.tolist()
    with torch.inference_mode():
        theirs = model.generate(**inputs, max_new_tokens=12, min_new_tokens=12, do_sample=False)
    assert list(ours.tokens) == theirs[0, -12:].tolist()


@pytest.mark.parametrize("visual_tokens", [1, 4, 36])
def test_processors_count_the_visual_tokens(visual_tokens: int, tmp_path: Path, picture: Path) -> None:
    export(order(visual_tokens=visual_tokens), tmp_path / "made", quiet)
    prompt = Prompts(tmp_path / "made").of(picture, "Hm?", reads_question=False)
    assert (prompt.input_ids == 3).sum() == visual_tokens
    found = answer(tmp_path / "made", picture, "Hm?", 5, "cpu", 1)
    assert found.visual_tokens == visual_tokens
    assert found.ttft_s > 0


def test_same_order_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(order(precision=Precision.INT4), tmp_path / name, quiet)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()} for n in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8, Precision.INT4])
@pytest.mark.parametrize("base", [Precision.FP32, Precision.FP16])
def test_other_precisions_validate(precision: Precision, base: Precision, tmp_path: Path) -> None:
    made = order(visual_tokens=4, precision=precision, base_precision=base)
    manifest = export(made, tmp_path / "made", quiet)
    assert manifest.base_precision is (Precision.FP16 if precision is Precision.FP16 else base)
    report = Validator(Options(threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    assert not report.failed, report.failed
    whole = sum(digest.size_bytes for name, digest in read_manifest(exported()).files.items() if DECODER in name)
    assert manifest.files[DECODER].size_bytes < 0.75 * whole


def test_quecc_reads_the_question_or_a_baked_one(tmp_path: Path, picture: Path) -> None:
    made: dict[str, Any] = {"visual_tokens": 4, "compressor": Compressor.QUECC, "random_weights": True}
    asks = export(order(**made), tmp_path / "asks", quiet)
    baked = export(order(**made, query="read all text"), tmp_path / "baked", quiet)
    assert asks.clients == ("vlmplan",)
    assert baked.clients == ("vlmplan", "transformers.js")
    assert asks.random_weights
    export(order(**made, query="read all text", precision=Precision.INT4), tmp_path / "small", quiet)
    for folder in ("asks", "baked", "small"):
        report = Validator(Options(threads=2, repeats=1), quiet).validate(tmp_path / folder).report
        assert not report.failed, report.failed
    first = answer(tmp_path / "asks", picture, "How many?", 8, "cpu", 1)
    assert first.visual_tokens == 4


def test_external_data_by_the_name_clients_expect(tmp_path: Path) -> None:
    export(order(external_above_bytes=1000), tmp_path / "made", quiet)
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    named = {Path(name).name for name in GRAPHS}
    assert set(config["transformers.js_config"]["use_external_data_format"]) == named
    assert (tmp_path / "made" / f"{DECODER}_data").stat().st_size > 100_000
    report = Validator(Options(threads=2, repeats=1), quiet).validate(tmp_path / "made").report
    assert not report.failed, report.failed


def test_names_of_older_transformers_are_read(tmp_path: Path) -> None:
    """Checkpoints on the hub were saved by releases with another nesting."""
    shutil.copytree(checkpoint(), tmp_path / "old")
    tensors = load_file(tmp_path / "old" / "model.safetensors")
    older = {name.replace("vision_tower.", "vision_tower.vision_model."): value for name, value in tensors.items()}
    save_file(older, tmp_path / "old" / "model.safetensors", metadata={"format": "pt"})
    export(order(), tmp_path / "new-made", quiet)
    made = order().__class__(checkpoint=str(tmp_path / "old"), visual_tokens=36, compressor=Compressor.AVERAGE_POOL)
    export(made, tmp_path / "old-made", quiet)
    assert file_sha256(tmp_path / "new-made" / VISION) == file_sha256(tmp_path / "old-made" / VISION)
    assert canonical("model.language_model.layers.0.mlp.up_proj.weight") == "language_model.layers.0.mlp.up_proj.weight"
    assert canonical("language_model.model.norm.weight") == "language_model.norm.weight"
    assert canonical("language_model.lm_head.weight") == "lm_head.weight"


def _broken(folder: Path, what: str) -> None:  # noqa: C901, PLR0912 - a table of cases
    """Spoil a copied checkpoint."""
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "model.safetensors"
    match what:
        case "no weights":
            weights.unlink()
        case "pickles":
            weights.rename(folder / "pytorch_model.bin")
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "a tensor less":
            tensors = load_file(weights)
            del tensors["language_model.model.layers.1.mlp.up_proj.weight"]
            save_file(tensors, weights)
        case "another family":
            config["model_type"] = "qwen3_vl_moe"
        case "another llm":
            config["text_config"]["model_type"] = "gemma2"
        case "another patch size":
            config["vision_config"]["patch_size"] = 28
        case "another width":
            config["text_config"]["intermediate_size"] = 96
        case "no patches":
            config["vision_config"]["patch_size"] = 0
        case "endless layers":
            config["vision_config"]["num_hidden_layers"] = 10**12
        case "half a character":
            (folder / "tokenizer_config.json").write_text('{"a": "\\ud800"}')
        case "a list of settings":
            (folder / "generation_config.json").write_text("[]")
        case "another encoding":
            (folder / "chat_template.jinja").write_bytes(b"\xff")
        case "nonsense":
            config["text_config"]["num_attention_heads"] = "many"
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "no processor":
            (folder / "processor_config.json").unlink()
        case "another picture" | "no crop":
            found = json.loads((folder / "processor_config.json").read_text())
            kind = "EfficientNetImageProcessor" if what == "another picture" else "CLIPImageProcessor"
            image = {key: value for key, value in found["image_processor"].items() if "crop" not in key}
            found["image_processor"] = image | {"image_processor_type": kind}
            (folder / "processor_config.json").write_text(json.dumps(found))
        case "no config":
            (folder / "config.json").unlink()
            return
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no weights", "expected model.safetensors"),
        ("pickles", "pickles are not read"),
        ("cut weights", "expected a safetensors file"),
        ("a tensor less", "no tensor 'language_model.layers.1.mlp.up_proj.weight'"),
        ("another family", "vlmplan exports gemma3, internvl_chat, internvl, lfm2_vl, llava, llava_next"),
        ("another llm", "text_config.model_type is 'gemma2'"),
        ("another patch size", r"patch_embedding.weight is \[64, 3, 14, 14\], expected"),
        ("another width", "is config.json of this checkpoint?"),
        ("nonsense", "config.json"),
        ("no patches", "patch_size is 0, expected a whole number"),
        ("endless layers", "num_hidden_layers is 1000000000000"),
        ("half a character", "lone surrogate"),
        ("a list of settings", "generation_config.json: expected a table"),
        ("another encoding", "chat_template.jinja: expected UTF-8"),
        ("no tokenizer", "no tokenizer.json"),
        ("no processor", "found neither"),
        ("another picture", "image processor is EfficientNetImageProcessor, which no export's files carry over"),
        ("no crop", "crops to {'height': 224, 'width': 224}"),
        ("no config", "no config.json"),
    ],
)
def test_what_cannot_be_exported_is_named_and_nothing_stays(what: str, message: str, tmp_path: Path) -> None:
    shutil.copytree(checkpoint(), tmp_path / "bad")
    _broken(tmp_path / "bad", what)
    made = order().__class__(checkpoint=str(tmp_path / "bad"), visual_tokens=36, compressor=Compressor.AVERAGE_POOL)
    with pytest.raises(InputError, match=message):
        export(made, tmp_path / "made", quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad"]


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        if name == VISION and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(order(), tmp_path / "made", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_only_an_export_is_replaced_and_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no export"):
        export(order(), tmp_path / "mine", quiet, overwrite=True)
    export(order(), tmp_path / "made", quiet)
    with pytest.raises(InputError, match="--replace"):
        export(order(), tmp_path / "made", quiet)
    export(order(visual_tokens=4), tmp_path / "made", quiet, overwrite=True)
    assert read_manifest(tmp_path / "made").visual_tokens == 4
    with pytest.raises(InputError, match="is no folder"):
        export(order(), tmp_path / "nowhere" / "made", quiet)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_replacing_spares_what_is_not_only_an_export(tmp_path: Path) -> None:
    """A manifest.json of something else, a file laid beside an export's, a checkpoint within."""
    (tmp_path / "addon").mkdir()
    (tmp_path / "addon" / "manifest.json").write_text('{"name": "an extension"}')
    export(order(), tmp_path / "made", quiet)
    (tmp_path / "made" / "notes.txt").write_text("mine")
    shutil.copytree(exported(), tmp_path / "holder")
    shutil.copytree(checkpoint(), tmp_path / "holder" / "inner")
    for name in ("addon", "made"):
        with pytest.raises(InputError, match="is no export, or not only one"):
            export(order(), tmp_path / name, quiet, overwrite=True)
    inner = order().__class__(
        checkpoint=str(tmp_path / "holder" / "inner"), visual_tokens=36, compressor=Compressor.AVERAGE_POOL
    )
    with pytest.raises(InputError):
        export(inner, tmp_path / "holder", quiet, overwrite=True)
    assert (tmp_path / "made" / "notes.txt").exists()
    assert (tmp_path / "holder" / "inner" / "model.safetensors").exists()


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def appear(name: str, done: int, total: int) -> None:
        if name == VISION and done == total:
            (tmp_path / "made").mkdir(exist_ok=True)
            (tmp_path / "made" / "mine.txt").write_text("mine")

    with pytest.raises(Unavailable, match="cannot be written"):
        export(order(), tmp_path / "made", appear)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "mine.txt").exists()


def test_half_precision_that_overflows_is_refused(tmp_path: Path) -> None:
    shutil.copytree(checkpoint(), tmp_path / "large")
    tensors = load_file(tmp_path / "large" / "model.safetensors")
    tensors["language_model.model.norm.weight"][0] = 1e6
    save_file(tensors, tmp_path / "large" / "model.safetensors", metadata={"format": "pt"})
    made = order().__class__(
        checkpoint=str(tmp_path / "large"),
        visual_tokens=36,
        compressor=Compressor.AVERAGE_POOL,
        precision=Precision.FP16,
    )
    with pytest.raises(InputError, match=r"language_model.norm.weight .* fp16"):
        export(made, tmp_path / "made", quiet)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": Precision.FP8}, "--precision: found fp8"),
        ({"base_precision": Precision.BF16}, "--base-precision: found bf16"),
        ({"query": "hm?"}, "does not read the question"),
        ({"compressor": Compressor.QUECC, "query": " "}, "--query: found no text"),
        ({"random_weights": True, "weights": Path("w.safetensors")}, "exclude each other"),
    ],
)
def test_orders_that_contradict_themselves(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        order(**given)


def test_a_provider_that_is_not_there_is_an_error() -> None:
    with pytest.raises(Unavailable, match="provider cuda"):
        open_session(exported() / DECODER, "cuda", None)


def test_a_wrong_number_of_image_tokens_is_an_error() -> None:
    ids = np.array([[1, 3, 3, 5]])
    pixels = np.zeros((1, 3, 336, 336), np.float32)
    prompt = Prompt(input_ids=ids, attention_mask=np.ones_like(ids), pixel_values=pixels, image_token=3)
    with pytest.raises(InputError, match="2 image tokens, the vision encoder makes 1 x 36"):
        generate(OnnxModel(exported()), prompt, 1)


class _Hub(BaseHTTPRequestHandler):
    """A hub with one model of a type that is not exported; it remembers the files it was asked for."""

    asked: ClassVar[list[str]] = []
    config: ClassVar[bytes] = json.dumps({"model_type": "qwen3_vl_moe", "vision_config": {}}).encode()

    def files(self) -> dict[str, bytes]:
        return {"config.json": self.config, "tokenizer.json": b"0" * 100, "model.safetensors": b"0" * 100}

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        files = self.files()
        if "/tree/" in self.path:
            listed = [
                {"type": "file", "path": name, "oid": "0" * 40, "size": len(body)} for name, body in files.items()
            ]
            self._answer(json.dumps(listed).encode())
        elif "/api/models/" in self.path:
            listed = [{"rfilename": name} for name in files]
            self._answer(json.dumps({"id": "some/model", "sha": "0" * 40, "siblings": listed}).encode())
        elif "/resolve/" not in self.path:
            self._answer(b"{}")
        else:
            name = self.path.rpartition("/")[2]
            self.asked.append(name)
            self._answer(files[name])

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_no_weights_are_downloaded_of_what_is_not_exported(tmp_path: Path) -> None:
    """The type is read from config.json alone, and of a model of the catalogue it is known without asking anybody."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    local = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
    try:
        done = process("export", "--checkpoint", "some/model", "--out", str(tmp_path / "out"), **local)
        assert done.returncode == 2
        assert 'model_type is "qwen3_vl_moe"; vlmplan exports gemma3, internvl_chat' in done.stderr
        assert set(_Hub.asked) == {"config.json"}
        _Hub.asked.clear()
        done = process("export", "--model", "Qwen3-VL-30B-A3B", "--out", str(tmp_path / "out"), **local)
        assert done.returncode == 2
        assert "its type, qwen3_vl_moe, is not exported" in done.stderr
        assert not _Hub.asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_hub_in_drips_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library waits for the next byte only, and there is always one."""
    monkeypatch.setattr(download, "CONFIGS_S", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    connection.sendall(b"X: y\r\n")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        start = time.monotonic()
        with pytest.raises(Unavailable, match="no whole answer within 4 s"):
            download.downloaded("some/model", download.CONFIGS)
    assert time.monotonic() - start < 20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound a process's memory")
def test_a_hub_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_MOST_MEMORY_BYTES", 2**28)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def flood() -> None:
            while True:
                with suppress(OSError), listening.accept()[0] as connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                    while True:
                        connection.sendall(b" " * 2**20)

        threading.Thread(target=flood, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        with pytest.raises(Unavailable, match="takes more memory than such files need"):
            download.downloaded("some/model", download.CONFIGS)


class _Folder(_Hub):
    """A hub with one model, the files of a folder."""

    asked: ClassVar[list[str]] = []
    folder: ClassVar[Path]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}


def test_code_of_a_hub_id_is_not_downloaded(tmp_path: Path) -> None:
    """Of InternVL's first format: the configuration, the tokenizer, which says what the image token is, the weights."""
    _Folder.folder = first_format(tmp_path / "first")
    (_Folder.folder / "modeling_internvl_chat.py").write_text("raise SystemExit('run')")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    local = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
    try:
        done = process("export", "--checkpoint", "some/model", "--out", str(tmp_path / "out"), **local)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    first = [_Folder.asked.index(name) for name in ("config.json", "tokenizer.json", "model.safetensors")]
    assert first == sorted(first)
    assert "modeling_internvl_chat.py" not in _Folder.asked


def test_hub_ids_and_missing_folders() -> None:
    with pytest.raises(InputError, match="a checkpoint's directory or a hub id"):
        open_checkpoint("no/such/folder")
    with pytest.raises(InputError, match="safetensors file"):
        Tensors((Path(__file__),))


KILLED = """
import os, sys, signal
from small_models import order
from vlmplan.exporting.write import export

def kill(name, done, total):
    if name.startswith("onnx/decoder"):
        os.kill(os.getpid(), signal.SIGKILL)

export(order(), sys.argv[1], kill, overwrite=True)
"""


def _killed(out: Path) -> Path:
    """What an export that was killed while it wrote left behind."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, cwd=Path(__file__).parent)
    assert done.returncode == -signal.SIGKILL
    (left,) = out.parent.glob(".vlmplan-export-*")
    assert any(left.rglob("*.onnx"))
    return left


def test_the_next_export_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    left = _killed(tmp_path / "made")
    export(order(), tmp_path / "other", quiet)
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("name", [".vlmplan-export-mine", ".vlmplan-export-000000000000"])
def test_a_folder_of_somebody_elses_is_not_removed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "notes.txt").write_text("precious")
    (tmp_path / name / "manifest.json").write_text("{}")
    export(order(), tmp_path / "made", quiet)
    assert (tmp_path / name / "notes.txt").read_text() == "precious"


def test_an_export_that_runs_beside_keeps_its_folder(tmp_path: Path) -> None:
    inner: list[Path] = []

    def beside(*_: Any) -> None:
        if not inner:
            inner.extend(tmp_path.glob(".vlmplan-export-*"))
            export(order(), tmp_path / "second", quiet)

    export(order(), tmp_path / "first", beside)
    assert len(inner) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_an_export_about_to_be_replaced_is_never_removed(tmp_path: Path) -> None:
    """Killed between two renames: the old export is aside, the new one not yet in place."""
    left = _killed(tmp_path / "made")
    old = left.with_name(f"{left.name}.old")
    shutil.copytree(exported(), old)
    export(order(), tmp_path / "other", quiet)
    assert left.exists()
    assert (old / "manifest.json").exists()
    shutil.rmtree(left)  # as after a replacement that was killed while the old one was taken away
    export(order(), tmp_path / "other", quiet, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}),
        ("pre_tokenizer", {"type": "FixedLength", "length": 0}),
    ],
)
def test_a_tokenizer_whose_library_panics_is_refused_in_one_line(
    key: str, value: Any, tmp_path: Path, picture: Path
) -> None:
    shutil.copytree(exported(), tmp_path / "made")
    path = tmp_path / "made" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    done = process("run", str(tmp_path / "made"), "--image", str(picture), "--prompt", "hi", "--max-tokens", "2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "its library panics" in done.stderr


def test_a_normaliser_of_the_checkpoints_class_is_carried_over(tmp_path: Path) -> None:
    """LLaVA-OneVision's tokenizer is opened by a class that joins accents to letters, an export's by its file."""
    shutil.copytree(checkpoint("siglip-mistral"), given := tmp_path / "given")
    path = given / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}))
    export(replace(order("siglip-mistral", visual_tokens=81), checkpoint=str(given)), tmp_path / "made", quiet)
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "made", given))
    for text in (unicodedata.normalize("NFD", "Café, naïve Größe"), "Café", "<image> 12 of  3"):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    validator = Validator(Options(checkpoint=str(given), threads=2, repeats=1), quiet)
    assert not validator.validate(tmp_path / "made").report.failed
    shutil.copy(given / "tokenizer.json", tmp_path / "made" / "tokenizer.json")
    assert "configuration" in {check.name for check in validator.validate(tmp_path / "made").report.failed}


def test_a_template_in_the_processors_own_file_is_carried_over(tmp_path: Path) -> None:
    shutil.copytree(checkpoint(), given := tmp_path / "given")
    path = given / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "OWN {{ messages[0].content }}"}))
    made = tmp_path / "made"
    made.mkdir()
    for name, content in texts(open_checkpoint(str(given)), 36, ()).items():
        (made / name).write_bytes(content)
    said = [{"role": "user", "content": "hi"}]
    load = quiet_transformers().AutoProcessor.from_pretrained
    asked = [load(folder).apply_chat_template(said) for folder in (given, made)]
    assert asked == ["OWN hi"] * 2
