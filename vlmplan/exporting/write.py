"""How does a checkpoint become an export? Graphs drawn, weights streamed into them, everything renamed when whole.

(checkpoint, options, perhaps a plan) -> a folder and its :class:`Manifest`. One tensor is in memory at a time, so the
peak does not grow with the model. Nothing is left behind when it is interrupted; what a killed one leaves, the next
one into the same folder removes.
"""

import contextlib
import functools
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmplan import __version__
from vlmplan.checkpoints import (
    Checkpoint,
    Compression,
    Joined,
    RandomWeights,
    Weights,
    check_shapes,
    compression_of,
    compressor_weights,
    open_checkpoint,
    weights_source,
)
from vlmplan.cost import read_model_config
from vlmplan.document import to_json
from vlmplan.errors import InputError, Unavailable, one_line
from vlmplan.exporting.files.clients import clients, texts
from vlmplan.exporting.manifest import (
    DECODER,
    EMBED,
    FILE_NAME,
    GRAPH_REVISION,
    GRAPHS,
    VISION,
    ClientLayout,
    FileDigest,
    Manifest,
    data_file,
    file_sha256,
    read_manifest,
)
from vlmplan.exporting.orders import ExportOrder
from vlmplan.exporting.runner import OnnxModel, question_embedding
from vlmplan.exporting.tiles import Tiling, tiling
from vlmplan.graphs import (
    OPSET,
    DecoderOptions,
    decoder_graph,
    embedding_graph,
    encoder_graph,
    gemma_decoder_graph,
    gemma_embedding_graph,
    gemma_encoder_graph,
    internvit_graph,
    lfm2_decoder_graph,
    patch_graph,
    picture_graph,
    tile_graph,
    view_graph,
)
from vlmplan.hardware import Precision
from vlmplan.panics import panics_refused
from vlmplan.planning import Plan
from vlmplan.progress import Progress

SCRATCH = ".vlmplan-export-"  # beside the export while it is written
_MARK = ".being-written"  # in it, until it is whole
LIBRARIES = ("torch", "transformers", "onnx", "onnx_ir", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """An order with its checkpoint opened: what the graphs are drawn from, at export and again at validation."""

    order: ExportOrder
    checkpoint: Checkpoint
    compression: Compression
    compressor: Weights | None

    @property
    def weights(self) -> Weights:
        """All tensors: the compressor's before the checkpoint's, since it may bring its own projector."""
        own = self.checkpoint.tensors
        return own if self.compressor is None else Joined(parts=(self.compressor, own))

    @property
    def decoder_options(self) -> DecoderOptions:
        """What the decoder graph is to be."""
        return DecoderOptions(
            precision=self.order.precision,
            base_precision=self.order.floats,
            all_logits=self.order.all_logits,
            hidden_output=self.order.compressor.reads_question,
            stacked=len(self.checkpoint.stacked_layers),
        )

    @property
    def tiles(self) -> Tiling | None:
        """What is asked of a tiled checkpoint's processor; None for others."""
        order = self.order
        if order.image is None:
            return None
        return tiling(self.checkpoint, order.image, order.visual_tokens, order.compressor)

    @property
    def merges(self) -> bool:
        """Whether the graph of embeddings puts image features in their places: onnxruntime-genai expects it to."""
        return self.order.layout is ClientLayout.GENAI

    def _gemma_graph(self, name: str) -> Any:
        """One of the graphs of Gemma 3 or PaliGemma."""
        if name == DECODER:
            return gemma_decoder_graph(self.checkpoint, self.weights, self.decoder_options)
        if name == EMBED:
            return gemma_embedding_graph(self.checkpoint, self.order.floats, merges=self.merges)
        return gemma_encoder_graph(self.checkpoint, self.compression, self.order.floats)

    def graph(self, name: str, query: Any | None = None) -> Any:
        """Draw one of the three graphs; ``query`` is QueCC's baked embedding."""
        text, floats = self.checkpoint.text, self.order.floats
        if self.checkpoint.pooled:
            return self._gemma_graph(name)
        if name == DECODER:
            drawn = lfm2_decoder_graph if self.checkpoint.shaped else decoder_graph
            return drawn(text, self.weights, self.decoder_options)
        if name == EMBED:
            token = self.checkpoint.image_token if self.merges else None
            return embedding_graph(text, self.weights, floats, len(self.checkpoint.stacked_layers), token)
        if self.checkpoint.pictured:
            return picture_graph(self.checkpoint, floats, flat=self.merges)
        if self.checkpoint.shaped:
            return view_graph(self.checkpoint, floats, self.compression.factor)
        if self.checkpoint.gridded:
            return patch_graph(self.checkpoint, floats, self.compression.factor)
        if self.checkpoint.tiled:
            return (tile_graph if self.checkpoint.masked else internvit_graph)(self.checkpoint, floats)
        return encoder_graph(self.checkpoint, self.weights, self.compression, floats, query)


def open_parts(order: ExportOrder) -> Parts:
    """Open the checkpoint and the compressor's weights. Raises InputError or Unavailable."""
    checkpoint = open_checkpoint(order.checkpoint)
    plan = compression_of(checkpoint, order.compressor, order.visual_tokens)
    check_plan(order.plan, checkpoint)
    check_shapes(checkpoint)
    weights = compressor_weights(checkpoint, plan, order.weights, order.random_weights)
    parts = Parts(order=order, checkpoint=checkpoint, compression=plan, compressor=weights)
    tiles = parts.tiles
    if tiles is None or (cut := tiles.squares or tiles.shapes) is None:
        return parts
    return replace(parts, compression=replace(plan, side=cut.merge, factor=cut.merge))


def check_plan(plan: Plan | None, checkpoint: Checkpoint) -> None:
    """Raise InputError where the checkpoint is not the plan's model."""
    if plan is None:
        return
    model, expected = read_model_config(checkpoint.folder / "config.json"), plan.model
    for part, ours, theirs in (("llm", model.llm, expected.llm), ("vision", model.vision, expected.vision)):
        for key in ("layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate", "vocabulary", "qk_norm"):
            here, there = getattr(ours, key, None), getattr(theirs, key, None)
            if here != there:
                raise InputError(
                    f"{checkpoint.name}: {part}.{key} is {here}, the plan's {expected.name} has {there}; "
                    "expected that model's checkpoint"
                )


def weight_bytes(model: Any) -> int:
    """Return how many bytes the weights of a drawn graph take."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())


def write_graph(path: Path, model: Any, external: bool, progress: Callable[[int, int], None]) -> None:
    """Write one graph, its weights beside it where they are ``external``; progress in bytes done and in all."""
    import onnx_ir

    path.parent.mkdir(exist_ok=True)
    total, done = weight_bytes(model), 0

    def tell(tensor: Any, _: Any) -> None:
        nonlocal done
        done += tensor.nbytes
        progress(min(done, total), total)

    progress(0, total)
    try:
        if external:
            onnx_ir.save(model, path, external_data=data_file(path.name), callback=tell)
        else:
            onnx_ir.save(model, path)
    except onnx_ir.serde.SerdeError as error:
        raise _root(error) from None
    progress(total, total)


def _root(error: BaseException) -> BaseException:
    """What was raised where a tensor was read: onnx_ir wraps it as often as the graph is deep."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _baked(parts: Parts, folder: Path) -> Any | None:
    """The embedding of a fixed question, in fp32 whatever the export's precision: it is computed once and kept."""
    if parts.order.query is None:
        return None
    exact = replace(parts, order=replace(parts.order, precision=Precision.FP32, base_precision=Precision.FP32))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name in (DECODER, EMBED):
            model = exact.graph(name)
            external = weight_bytes(model) > parts.order.external_above_bytes
            write_graph(Path(scratch) / name, model, external, lambda *_: None)
        asked = baked_question_ids(exact.checkpoint.folder, parts.order.query)
        return question_embedding(OnnxModel(Path(scratch)), asked)


def question_ids(tokenizer: Any, text: str) -> Any:
    """Token ids ``[1, tokens]`` of a question by the LLM's tokenizer, special tokens as it adds them."""
    import numpy as np

    return np.array([tokenizer(text.strip())["input_ids"]], dtype=np.int64)


def baked_question_ids(folder: Path, text: str) -> Any:
    """Token ids of a question that is baked into an export of the checkpoint in ``folder``. Raises InputError."""
    from transformers import AutoTokenizer

    try:
        with panics_refused(str(folder)):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            return question_ids(tokenizer, text)
    except InputError:
        raise
    except Exception as error:  # a damaged tokenizer raises what it likes
        raise InputError(f"{folder}: its tokenizer cannot be used ({one_line(error)})") from None


def manifest_of(parts: Parts, files: dict[str, FileDigest]) -> Manifest:
    """Return the manifest of an export."""
    from importlib.metadata import version

    order, checkpoint = parts.order, parts.checkpoint
    quecc = order.compressor.reads_question and order.query is None
    read = None if isinstance(parts.compressor, RandomWeights | None) else weights_source(checkpoint, order.weights)
    return Manifest(
        vlmplan_version=__version__,
        graph_revision=GRAPH_REVISION,
        versions={name: version(name.replace("_", "-")) for name in LIBRARIES},
        checkpoint=order.checkpoint,
        checkpoint_sha256=file_sha256(checkpoint.folder / "config.json"),
        architecture=checkpoint.config.model_type,
        image_size=checkpoint.image_size,
        visual_tokens=order.visual_tokens,
        compressor=order.compressor,
        weights=None if order.weights is None else str(order.weights),
        weights_sha256=None if read is None else file_sha256(read),
        random_weights=isinstance(parts.compressor, RandomWeights),
        query=order.query,
        precision=order.precision,
        base_precision=order.floats,
        all_logits=order.all_logits,
        image=order.image,
        layout=order.layout,
        opset=OPSET,
        batch="any",
        padding="left",
        clients=clients(checkpoint, order.layout, asks=quecc),
        files=files,
        plan=order.plan,
    )


def export(order: ExportOrder, out: Path, progress: Progress, overwrite: bool = False) -> Manifest:
    """Write the export to ``out``, which must not exist unless ``overwrite``. Raises InputError or Unavailable."""
    out = Path(os.path.realpath(out))
    _check_out(out, overwrite)
    parts = open_parts(order)
    if parts.checkpoint.folder.resolve().is_relative_to(out):
        raise InputError(f"--out: {out} holds the checkpoint; choose another folder")
    scratch = out.parent / f"{SCRATCH}{secrets.token_hex(6)}"
    held = []
    clear_scratch(out.parent)
    try:  # the folder is made in here: Ctrl-C right after it would else leave it
        held.append(make_scratch(scratch, out))
        manifest = _fill(parts, scratch, progress)
        (scratch / _MARK).unlink()
        _move(scratch, out, overwrite)
    except OSError as error:
        raise Unavailable(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for descriptor in held:
            os.close(descriptor)
    return manifest


def make_scratch(scratch: Path, out: Path) -> int:
    """Make a folder to write in and return its descriptor, whose lock says that somebody writes there.

    Its name is ``SCRATCH`` and 12 hexadecimal digits. Raises InputError where ``out`` cannot be written.
    """
    import fcntl

    try:
        while True:
            scratch.mkdir(mode=0o700)
            (scratch / _MARK).touch()
            with contextlib.suppress(FileNotFoundError):  # another export took it for one left behind, and made room
                descriptor = os.open(scratch, os.O_RDONLY)
                with contextlib.suppress(OSError):  # where files have no locks nothing is ever taken for left behind
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if scratch.is_dir() and os.path.samestat(scratch.stat(), os.fstat(descriptor)):
                    return descriptor
                os.close(descriptor)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another folder") from None


def clear_scratch(parent: Path) -> None:
    """Remove what killed exports left in a folder: what no process holds the lock of.

    An export that was about to be replaced is not: it is the only one where its successor is not in place.
    """
    import fcntl

    for path in parent.glob(f"{SCRATCH}*"):
        old = path.with_name(f"{path.name}.old")
        if (path.suffix == ".old" and path.with_suffix("").exists()) or old.exists() or not path.is_dir():
            continue
        ours = re.fullmatch(rf"{re.escape(SCRATCH)}[0-9a-f]{{12}}(\.old)?", path.name)
        if not ours or not ((path / _MARK).is_file() or _is_export(path)):
            continue  # somebody else's
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise InputError, before any work, where the folder cannot be written."""
    if not str(out).isprintable():
        raise InputError("--out: found a name that cannot be printed; choose another folder")
    if not out.parent.is_dir():
        raise InputError(f"--out: {out.parent} is no folder; create it first")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_export(out):
        raise InputError(f"--out: {out} exists and is no export, or not only one; choose another folder")
    if not overwrite:
        raise InputError(f"--out: {out} holds an export already; give --replace or choose another folder")


def _is_export(folder: Path) -> bool:
    """Tell whether a folder holds an export and nothing else, so that it may be replaced."""
    try:
        listed = {FILE_NAME, *read_manifest(folder).files}
    except InputError:
        return False
    return all(path.is_dir() or str(path.relative_to(folder)) in listed for path in folder.rglob("*"))


def _fill(parts: Parts, scratch: Path, progress: Progress) -> Manifest:
    """Write everything. All is drawn first, so that what is missing is said before anything large is written."""
    drawn = {name: parts.graph(name) for name in GRAPHS}
    external = tuple(name for name in GRAPHS if weight_bytes(drawn[name]) > parts.order.external_above_bytes)
    contents = texts(parts.checkpoint, parts.order.visual_tokens, external, parts.tiles, parts.order.layout)
    query = _baked(parts, scratch)
    if query is not None:
        drawn[VISION] = parts.graph(VISION, query)
    for name in GRAPHS:
        write_graph(scratch / name, drawn[name], name in external, functools.partial(progress, name))
    for name, content in contents.items():
        (scratch / name).write_bytes(content)
    written = sorted(path for path in scratch.rglob("*") if path.is_file() and path.name != _MARK)
    digests = {
        str(path.relative_to(scratch)): FileDigest(size_bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in written
    }
    manifest = manifest_of(parts, digests)
    (scratch / FILE_NAME).write_text(to_json(manifest), encoding="utf-8")
    return manifest


def _move(scratch: Path, out: Path, overwrite: bool) -> None:
    """Put the finished folder in place; an export that was there goes only then, and comes back if that fails.

    Raises OSError where something else came to be there meanwhile.
    """
    scratch.chmod(0o755)
    old = scratch.with_name(scratch.name + ".old")
    try:
        if overwrite and out.exists():
            out.rename(old)
        scratch.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
