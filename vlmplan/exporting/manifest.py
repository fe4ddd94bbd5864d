"""What is in an export? The manifest: how it was made, of what, with which promises, and every file's digest.

Same checkpoint, options and versions: same bytes. ``validate`` reads it, and so may any client.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vlmplan.document import Document, load
from vlmplan.errors import InputError
from vlmplan.hardware import Precision
from vlmplan.models import Compressor
from vlmplan.planning import Plan

FILE_NAME = "manifest.json"
GRAPH_REVISION = 2  # raised whenever the graphs drawn of the same checkpoint change
VISION, EMBED, DECODER = "onnx/vision_encoder.onnx", "onnx/embed_tokens.onnx", "onnx/decoder_model_merged.onnx"
GRAPHS = (VISION, EMBED, DECODER)


class ClientLayout(enum.StrEnum):
    """For which client's ways an export is laid out: what it looks for, and what its graphs read and give."""

    TRANSFORMERS_JS = "transformers.js"
    GENAI = "genai"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """One file of the export."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Document):
    """How an export was made. ``clients`` can run it unmodified; ``padding`` is the side on which a batch is padded.

    ``checkpoint`` and ``weights`` (a learned compressor's) are what the user named. ``precision`` is that of the LLM's
    linear layers, ``base_precision`` of all else. ``query`` is QueCC's baked question; without one the vision encoder
    has an input ``text_query``. Where an image's shape decides (tiles, grids), ``visual_tokens`` are those of an image
    of ``image`` pixels, width and height. ``layout`` is the client's whose files and graphs these are.
    """

    SCHEMA: ClassVar[str] = "vlmplan.export/1"

    vlmplan_version: str
    graph_revision: int
    versions: Mapping[str, str]
    checkpoint: str
    checkpoint_sha256: str
    architecture: str
    image_size: int
    visual_tokens: int
    compressor: Compressor
    weights: str | None
    weights_sha256: str | None
    random_weights: bool
    query: str | None
    precision: Precision
    base_precision: Precision
    all_logits: bool
    opset: int
    batch: str
    padding: str
    clients: tuple[str, ...]
    files: Mapping[str, FileDigest]
    image: tuple[int, int] | None = None
    layout: ClientLayout = ClientLayout.TRANSFORMERS_JS
    plan: Plan | None = None

    @property
    def reads_question(self) -> bool:
        """Whether the vision encoder wants the question's embedding beside the image."""
        return self.compressor.reads_question and self.query is None


def data_file(graph: str) -> str:
    """Return the name of a graph's external data, as transformers.js expects it."""
    return f"{graph}_data"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an export. Raises InputError where there is none."""
    if not (folder / FILE_NAME).is_file():
        raise InputError(f"{folder}: found no {FILE_NAME}; expected a folder that vlmplan export wrote")
    return load(Manifest, folder / FILE_NAME)


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
