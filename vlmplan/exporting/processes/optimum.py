"""How does optimum export a text model? ``optimum-cli`` in an environment of its own, with versions that go together.

(checkpoint of a text model, a Python that has them) -> a folder with ``model.onnx``. optimum-onnx 0.1.0 needs
transformers 4.57, and with transformers 5 it fails to import; it has no vision-language model. transformers 4.57 does
not know ``rope_parameters``, which transformers 5 writes, and would take rotary frequencies of another base without a
word: it is given a copy of the configuration in its own words, and the export gets the checkpoint's own files back.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import local_folder
from vlmplan.document import read_plain
from vlmplan.errors import InputError, Unavailable, printable
from vlmplan.exporting.files.clients import TOKENIZER_FILES
from vlmplan.exporting.write import SCRATCH, clear_scratch, make_scratch
from vlmplan.progress import Progress

PINNED = {"optimum-onnx": "0.1.0", "optimum": "2.1.0", "transformers": "4.57"}
_INSTALL = "optimum-onnx==0.1.0 optimum==2.1.0 transformers==4.57.6 torch onnx onnxruntime"
_VERSIONS = (
    "import importlib.metadata as m, json, sys; "
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}))"
)
_RUN = "from optimum.commands.optimum_cli import main; main()"
_LONGEST_SAID = 300  # characters of an error
_WAIT_S = 60.0  # for an environment to say its versions
_OWN = ("config.json", *TOKENIZER_FILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextExport:
    """What ``optimum-cli`` made: ``versions`` of its libraries, ``size_bytes`` of all graphs and their data."""

    versions: dict[str, str]
    size_bytes: int


def _environment(python: str | None) -> dict[str, str]:
    """The versions in the environment of a Python. Raises InputError where they are not those that go together."""
    made = f"make one by: python3.11 -m venv optimum && optimum/bin/pip install {_INSTALL}"
    if python is None:
        raise InputError(f"--via optimum: give --optimum-python, the Python of an environment that has it; {made}")
    try:
        done = subprocess.run([python, "-I", "-c", _VERSIONS], capture_output=True, timeout=_WAIT_S, check=False)
        versions = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        versions = None
    if not isinstance(versions, dict):
        raise InputError(f"--optimum-python: {python} is no Python that runs; {made}")
    held = {name: str(versions.get(name, "none")) for name in PINNED}
    if odd := [name for name, due in PINNED.items() if held[name] != due and not held[name].startswith(f"{due}.")]:
        said = ", ".join(f"{name} {held[name]} (expected {PINNED[name]})" for name in odd)
        raise InputError(f"--optimum-python: {python} has {said}; {made}")
    return held


def _check_text(folder: Path) -> None:
    """Raise InputError for a model that is not of text alone, before its weights are looked for."""
    config = read_plain(folder / "config.json")
    if any(key in config for key in ("vision_config", "text_config", "image_token_id", "image_token_index")):
        raise InputError(
            f"--via optimum: optimum-onnx {PINNED['optimum-onnx']} exports no vision-language model, found "
            f"{str(config.get('model_type'))!r:.40}; leave out --via for those that vlmplan exports"
        )


def older_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of transformers 5 in the words of 4.57. Raises InputError where it has none.

    Rotary settings are ``rope_theta`` and ``rope_scaling`` there, one of each for all layers.
    """
    made = dict(config)
    if (rotary := made.pop("rope_parameters", None)) is not None:
        if not isinstance(rotary, dict) or any(isinstance(value, dict) for value in rotary.values()):
            raise InputError(
                "--via optimum: its transformers 4.57 has one kind of rotary positions for all layers; config.json has "
                f"{', '.join(map(str, rotary))}"
            )
        made |= {key: rotary[key] for key in ("rope_theta", "partial_rotary_factor") if key in rotary}
        scaling = {key: value for key, value in rotary.items() if key not in made}
        made["rope_scaling"] = None if scaling.get("rope_type") in (None, "default") else scaling
    if "dtype" in made:
        made["torch_dtype"] = made.pop("dtype")
    return made


def _stage(source: Path, stage: Path) -> None:
    """A checkpoint as transformers 4.57 reads it: its files by links, but for those that it would misread."""
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".py":
            (stage / path.name).symlink_to(path.resolve())
    written = {"config.json": older_config(read_plain(source / "config.json"))}
    if (tokenizer := source / "tokenizer_config.json").is_file():
        told = read_plain(tokenizer)
        if told.get("tokenizer_class") == "TokenizersBackend":  # what 4.57 calls otherwise
            told |= {"tokenizer_class": "PreTrainedTokenizerFast"}
        written["tokenizer_config.json"] = told
    for name, content in written.items():
        (stage / name).unlink()
        (stage / name).write_text(json.dumps(content), encoding="utf-8")


def _run(python: str, stage: Path, out: Path) -> None:
    """Let ``optimum-cli`` export. Raises InputError, with the last line of what it says, where it fails."""
    asked = ["export", "onnx", "--model", str(stage), "--task", "text-generation-with-past", "--framework", "pt"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-I", "-c", _RUN, *asked, str(out)], capture_output=True, check=False, env=environment
    )
    if done.returncode or not (out / "model.onnx").is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing was said"]
        raise InputError(f"--via optimum: optimum-cli failed ({printable(said[-1][:_LONGEST_SAID])})")


def _own_files(source: Path, out: Path) -> None:
    """The checkpoint's own configuration and tokenizer in place of those that were written anew."""
    for name in _OWN:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)


def _fill(source: Path, out: Path, python: str) -> None:
    """Export in a folder beside ``out``, which the next export takes away where this one is killed."""
    clear_scratch(out.parent)
    scratch, held = out.parent / f"{SCRATCH}{secrets.token_hex(6)}", list[int]()
    try:
        held.append(make_scratch(scratch, out))
        stage, made = scratch / "checkpoint", scratch / "export"
        stage.mkdir()
        _stage(source, stage)
        _run(python, stage, made)
        _own_files(source, made)
        made.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for descriptor in held:
            os.close(descriptor)


@contextlib.contextmanager
def _ended_with_us() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, which ends a child and takes away what was being written."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    heeded = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for one in heeded:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in heeded:
            signal.signal(one, signal.SIG_DFL)


def optimum_export(checkpoint: str, out: Path, python: str | None, progress: Progress) -> TextExport:
    """Export a text model to ``out``, which must not exist, by ``optimum-cli`` in the environment of ``python``.

    ``python`` is as a shell takes it: a name alone is looked for in PATH. Raises InputError for a model, an environment
    or a folder that cannot be, Unavailable where it cannot be written.
    """
    if out.exists():
        raise InputError(f"--out: {out} exists; choose another folder")
    if not out.parent.is_dir():
        raise InputError(f"--out: {out.parent} is no folder; create it first")
    source = local_folder(checkpoint, _check_text)
    versions = _environment(python)
    progress(f"optimum-cli exports {source.name}", 0, 1)
    try:
        with _ended_with_us():
            _fill(source, out, str(python))
    except OSError as error:
        raise Unavailable(f"{out}: cannot be written ({error.strerror or error})") from None
    progress(f"optimum-cli exports {source.name}", 1, 1)
    sizes = (path.stat().st_size for path in out.iterdir() if path.name.startswith("model.onnx"))
    return TextExport(versions=versions, size_bytes=sum(sizes))
