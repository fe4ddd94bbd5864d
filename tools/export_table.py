"""Every family that is exported, proved on small random checkpoints: the table of ``docs/evidence/exports.md``.

    PYTHONPATH=.:tools:tests python tools/export_table.py [--client DIR] [--jobs 2] [--state DIR] [--only TYPE ...]

A checkpoint of each family and LLM is exported in each precision, at the fewest, some and the most visual tokens that
each way to set them has there, and validated against the checkpoint. ``--client`` is a folder in which
``npm install @huggingface/transformers`` ran: exports are asked there, too, about two pictures where the family takes
several. What is found is kept below ``build/exports`` and not made again while the sources stay as they are. Writes the
page, or prints the rows of ``--only``; ends with 1 where a cell failed.
"""

import argparse
import functools
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare_transformers_js import TILED_HERE, compared
from first_format import first_format
from PIL import Image
from safetensors.numpy import save_file

from vlmplan.checkpoints.checkpoint import (
    GRIDDED_TYPES,
    LLAVA_TYPES,
    MODEL_TYPES,
    TEXT_TYPES,
    TOWER_TYPES,
    Checkpoint,
    open_checkpoint,
)
from vlmplan.checkpoints.compressors import RandomWeights, compression_of, parameter_shapes
from vlmplan.checkpoints.families.internvl_chat import FIRST_FORMAT
from vlmplan.checkpoints.families.pixtral import PICTURED_TYPES
from vlmplan.checkpoints.small_checkpoint import SmallModel, write_checkpoint
from vlmplan.cost.stored import read_model_config
from vlmplan.errors import InputError
from vlmplan.exporting.files.clients import clients
from vlmplan.exporting.files.genai import TYPES
from vlmplan.exporting.manifest import ClientLayout
from vlmplan.exporting.orders import PRECISIONS, ExportOrder
from vlmplan.exporting.tiles import USUAL_IMAGE, tiling
from vlmplan.exporting.write import export
from vlmplan.hardware.runtimes import Precision
from vlmplan.models.families import ARCHITECTURES
from vlmplan.models.spec import Compressor
from vlmplan.models.visual_tokens import options
from vlmplan.proof.options import Options
from vlmplan.proof.report import Outcome
from vlmplan.proof.validate import Validator

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence" / "exports.md"
ASKED = (Precision.FP32, Precision.INT4)  # in the client
MOST_TOKENS = 700  # of an image, so that a cell takes seconds
QUESTION = "read all text"  # baked in where a compressor reads one
GOOD, NOT_RUN, NO_CLASS, NOT_THIS_V = "equal", "not run here", "no class", "not this V"
UNHURT = (GOOD, NOT_RUN, NO_CLASS, NOT_THIS_V)
PICTURES = ((320, 240), (200, 300))  # width and height, of what the client is asked about
_FIRST_KINDS = {
    "qwen2": "internvl",
    "qwen3": "internvl-large",
}  # small models that are written in InternVL's first format
HEADINGS = ("family", "LLM", "tower", "V is set by", "V", *PRECISIONS, "transformers.js", "genai")
_TITLE = "# Every exported family, proved"
_HEAD = """
Made by `make exports` (`tools/export_table.py`), no cell by hand; a test makes some rows anew and compares them.
Small random checkpoints, learned compressors with random weights in a file, and an image of 1024x768 where its size
matters. *proved*: `vlmplan validate`, told the checkpoint and all that was asked for, had nothing to object at each V
of the row. transformers.js {client}: *equal* means that the unmodified client chose the 16 tokens of our own loop in
{asked}, and in fp32 without a compressor those of PyTorch (but of {tiled}, whose images PyTorch tiles), about two
pictures where the family takes several; *no class*, that it has none for the family. genai: *equal* means that the
released onnxruntime-genai makes the tokens it should of the export that `--layout genai` writes, in fp32 and int4;
*not this V*, that its code writes another number of tokens.
"""
_OTHERS = "Read and planned by vlmplan, not exported: {others}."
_TILED = "With the tiles that their processors cut, not exported: {tiled}. Their exports make one view of an image."


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A family with an LLM and, where there is a choice, a tower; ``place`` is the LLM's among the family's."""

    model_type: str
    llm: str
    tower: str | None = None
    place: int = 0

    @property
    def name(self) -> str:
        """What its folder is called."""
        return "-".join(part for part in (self.model_type, self.llm, self.tower) if part)

    def write(self, folder: Path) -> Path:
        """Write a small checkpoint of it."""
        if self.model_type == FIRST_FORMAT:
            return first_format(folder, _FIRST_KINDS[self.llm])
        text: dict[str, Any] = {"head_dim": 16} if self.llm == "qwen3" else {}
        made = SmallModel(model_type=self.model_type, llm=self.llm, text=text)
        return write_checkpoint(made if self.tower is None else replace(made, tower=self.tower), folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One export and what was found of it: ``faults`` are empty where it was proved."""

    setting: str
    compressor: str
    visual_tokens: int
    precision: str
    faults: str
    client: str
    genai: str


def kinds() -> Iterator[Kind]:
    """Return every family with every LLM that is drawn for it; Qwen-VLs have their own, LLaVA's towers take turns."""
    for model_type in MODEL_TYPES:
        known = ARCHITECTURES[model_type]
        texts = known.exported_texts or TEXT_TYPES
        if model_type == FIRST_FORMAT:
            texts = tuple(_FIRST_KINDS)
        elif model_type in GRIDDED_TYPES and model_type not in PICTURED_TYPES:
            texts = (known.text,)
        for number, llm in enumerate(texts):
            tower = TOWER_TYPES[number % len(TOWER_TYPES)] if model_type in LLAVA_TYPES else None
            yield Kind(model_type=model_type, llm=llm, tower=tower, place=number)


def _offered(checkpoint: Checkpoint, compressor: Compressor, count: int) -> bool:
    """Whether a compressor leaves so many tokens of the usual image."""
    try:
        compression_of(checkpoint, compressor, count)
        if checkpoint.tiled:
            tiling(checkpoint, USUAL_IMAGE, count, compressor)
    except InputError:
        return False
    return True


def _turn(kind: Kind, compressor: Compressor) -> bool:
    """Whether a compressor is tried with this LLM: in the LLaVA families, which have many of both, they take turns."""
    if kind.model_type not in LLAVA_TYPES or compressor is Compressor.NONE:
        return True
    number = list(Compressor).index(compressor) + LLAVA_TYPES.index(kind.model_type)
    return number % len(TEXT_TYPES) == kind.place


def ways(kind: Kind, checkpoint: Checkpoint) -> Iterator[tuple[Compressor, tuple[int, ...]]]:
    """Return each way to set the number of visual tokens, with the fewest, some and the most.

    Tiled families are tried at each with their first LLM, at the middle one with the others.
    """
    reached = [checkpoint.view_tokens]
    if checkpoint.tiled:
        reached = [one.visual_tokens for one in options(read_model_config(checkpoint.folder), USUAL_IMAGE)]
        reached = [count for count in reached if count <= MOST_TOKENS]
    for compressor in (one for one in Compressor if _turn(kind, one)):
        found = reached
        if compressor is not Compressor.NONE:
            found = [count for count in range(1, max(reached)) if _offered(checkpoint, compressor, count)]
        if found:
            some = found[len(found) // 2]
            tried = {some} if kind.place and checkpoint.tiled else {found[0], some, found[-1]}
            yield compressor, tuple(sorted(tried))


def setting(checkpoint: Checkpoint, compressor: Compressor) -> str:
    """Return what sets the number of visual tokens, in a few words."""
    if compressor is not Compressor.NONE:
        return compressor.value
    if checkpoint.shaped:
        return "tiles and whole view"
    if checkpoint.pictured or checkpoint.masked:
        return "longest edge"
    return "pixels" if checkpoint.gridded else "tiles" if checkpoint.tiled else "as it is"


def _weights(checkpoint: Checkpoint, compressor: Compressor, count: int, folder: Path) -> Path | None:
    """A file of a learned compressor's weights, random ones; None for the others."""
    plan = compression_of(checkpoint, compressor, count)
    if not plan.learned:
        return None
    drawn = RandomWeights(shapes=parameter_shapes(checkpoint, plan))
    path = folder / f"{compressor}-{count}.safetensors"
    save_file({name: np.ascontiguousarray(drawn.array(name)) for name in drawn.shapes}, path)
    return path


def _genai(given: dict[str, Any], model_type: str, out: Path) -> str:
    """Whether onnxruntime-genai makes PyTorch's tokens of the same in its own layout."""
    if model_type not in TYPES:
        return NO_CLASS
    try:
        export(ExportOrder(**given, layout=ClientLayout.GENAI), out, lambda *_: None, overwrite=True)
    except InputError as refused:
        return f"{NOT_THIS_V}: {refused}"
    report = Validator(Options(**given, threads=1, repeats=1), lambda *_: None).validate(out).report
    ran = any(one.name == "client: onnxruntime-genai" and one.outcome is Outcome.PASSED for one in report.checks)
    faults = "; ".join(f"{one.name}: {one.detail}" for one in report.failed)
    return f"FAILED: {faults}" if faults else GOOD if ran else NOT_RUN


def _asked(folder: Path, checkpoint: Checkpoint, client: Path) -> str:
    """Whether an unmodified transformers.js makes the same tokens of an export."""
    if "transformers.js" not in clients(checkpoint, ClientLayout.TRANSFORMERS_JS, asks=False):
        return NO_CLASS
    named, rng = [], np.random.default_rng(0)
    for number, (width, height) in enumerate(PICTURES[:1] if checkpoint.gridded else PICTURES):
        named.append(str(folder.parent / f"picture-{number}.png"))
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(named[-1])
    out = folder.parent / f"{folder.name}-asked"
    command = ["node", str(ROOT / "tools" / "try_transformers_js.mjs"), ",".join(named), str(folder), "--out", str(out)]
    done = subprocess.run(command, cwd=client, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        return f"FAILED: {next((line for line in lines if 'Error' in line), done.stdout.strip())}"
    same, _ = compared(out / f"{folder.name}.json", str(checkpoint.folder))
    return (
        GOOD if all(same.values()) else "DIFFERENT from " + " and ".join(name for name, one in same.items() if not one)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A checkpoint, and a folder to export it in."""

    checkpoint: Checkpoint
    scratch: Path
    client: Path | None

    def cell(self, compressor: Compressor, count: int, precision: Precision) -> Cell:
        """Export once, validate, ask the client."""
        checkpoint, question = self.checkpoint, QUESTION if compressor.reads_question else None
        weights = _weights(checkpoint, compressor, count, self.scratch)
        image = USUAL_IMAGE if checkpoint.tiled else None
        given: dict[str, Any] = {
            "checkpoint": str(checkpoint.folder), "visual_tokens": count, "compressor": compressor, "weights": weights,
            "precision": precision, "query": question, "image": image,
        }  # fmt: skip
        out, faults, asked, genai = self.scratch / "export", "", NOT_RUN, NOT_RUN
        try:
            export(ExportOrder(**given), out, lambda *_: None, overwrite=True)
            report = Validator(Options(**given, threads=1, repeats=1), lambda *_: None).validate(out).report
            faults = "; ".join(f"{one.name}: {one.detail}" for one in (*report.failed, *report.reservations))
            if precision in ASKED:
                genai = _genai(given, checkpoint.config.model_type, self.scratch / "genai")
            if self.client is not None and precision in ASKED:
                asked = _asked(out, checkpoint, self.client)
        except InputError as error:
            faults = str(error)
        return Cell(
            setting=setting(checkpoint, compressor), compressor=compressor, visual_tokens=count, precision=precision,
            faults=faults, client=asked, genai=genai,
        )  # fmt: skip


def prove(kind: Kind, state: Path, client: Path | None, precisions: Sequence[Precision] = PRECISIONS) -> list[Cell]:
    """Return every cell of a kind, those that ``state`` lacks made anew and kept there."""
    path = state / f"{kind.name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    whole = [line for line in lines if line.endswith("}")]  # the last one may have been interrupted
    path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    known = {
        (one.compressor, one.visual_tokens, one.precision): one for one in (Cell(**json.loads(line)) for line in whole)
    }
    found = []
    with tempfile.TemporaryDirectory() as temporary, path.open("a", encoding="utf-8") as kept:
        checkpoint = open_checkpoint(str(kind.write(Path(temporary) / kind.name)))
        bench = Bench(checkpoint=checkpoint, scratch=Path(temporary), client=client)
        for compressor, counts in ways(kind, checkpoint):
            for count, precision in ((count, precision) for count in counts for precision in precisions):
                cell = known.get((compressor, count, precision))
                if cell is None:
                    cell = bench.cell(compressor, count, precision)
                    kept.write(json.dumps(asdict(cell)) + "\n")
                    kept.flush()
                found.append(cell)
    return found


def _said(cells: Sequence[Cell], read: Callable[[Cell], str], good: str) -> str:
    """One word where all cells say the same, else how many are good."""
    said = [read(one) for one in cells]
    if len(set(said)) == 1:
        return said[0]
    return f"{said.count(good)} of {len(said)}" if said else NOT_RUN


def rows(kind: Kind, cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """Return the rows of a kind, a way to set V each."""
    found = []
    for way in dict.fromkeys((one.compressor, one.setting) for one in cells):
        own = [one for one in cells if one.compressor == way[0]]
        numbers = sorted({one.visual_tokens for one in own})
        proved = (
            _said(
                [one for one in own if one.precision == p], lambda one: "FAILED" if one.faults else "proved", "proved"
            )
            for p in PRECISIONS
        )
        asked = _said([one for one in own if one.precision in ASKED], lambda one: one.client.split(":")[0], GOOD)
        tower = (kind.tower or "its own").removesuffix("_vision_model")
        found.append(
            (kind.model_type, kind.llm, tower, way[1], ", ".join(map(str, numbers)), *proved, asked,
             _said([one for one in own if one.precision in ASKED], lambda one: one.genai.split(":")[0], GOOD))
        )  # fmt: skip
    return found


def faults(kind: Kind, cells: Sequence[Cell]) -> list[str]:
    """Return a line for each cell that failed."""
    return [
        f"{kind.name}, {one.setting} {one.visual_tokens}, {one.precision}: {what}"
        for one in cells
        for what in (one.faults, *(said for said in (one.client, one.genai) if said.split(":")[0] not in UNHURT))
        if what
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False)


def page(found: dict[Kind, list[Cell]], client: Path | None) -> str:
    """Return the page: the table, what failed, and what is not exported."""
    version = ""
    if client is not None:
        own = client / "node_modules" / "@huggingface" / "transformers" / "package.json"
        version = json.loads(own.read_text(encoding="utf-8"))["version"]
    table = [_line(HEADINGS), _line(["---"] * len(HEADINGS))]
    table += [_line(row) for kind, cells in found.items() for row in rows(kind, cells)]
    wrong = [f"- {one}" for kind, cells in found.items() for one in faults(kind, cells)]
    others = ", ".join(f"`{name}`" for name, one in ARCHITECTURES.items() if not one.exportable)
    tiled = ", ".join(f"`{name}`" for name in TILED_HERE)
    said = _HEAD.format(client=version or "was not there", asked=" and ".join(ASKED), tiled=tiled)
    parts = [
        _TITLE, _wrapped(said), "\n".join(table), *(["Failed:", "\n".join(wrong)] if wrong else []),
        _wrapped(_OTHERS.format(others=others)), _wrapped(_TILED.format(tiled=tiled)),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


@functools.cache
def sources() -> str:
    """Return a digest of the code that decides what a cell says."""
    files = sorted([*(ROOT / "vlmplan").rglob("*.py"), *(ROOT / "tools").glob("*transformers_js*"), Path(__file__)])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def main() -> None:
    """Prove every kind, two at a time, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--client", type=Path, help="a folder with node_modules/@huggingface/transformers")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--state", type=Path, help="go on with what was found in this folder, by whatever sources")
    parser.add_argument("--only", choices=MODEL_TYPES, nargs="+", default=MODEL_TYPES)
    given = parser.parse_args()
    client = given.client.resolve() if given.client is not None and shutil.which("node") else None
    state = given.state or ROOT / "build" / "exports" / f"{sources()}-{'asked' if client else 'alone'}"
    state.mkdir(parents=True, exist_ok=True)
    wanted = [kind for kind in kinds() if kind.model_type in given.only]
    found: dict[Kind, list[Cell]] = {}
    with ProcessPoolExecutor(given.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        made = {pool.submit(prove, kind, state, client): kind for kind in wanted}
        for number, one in enumerate(as_completed(made), 1):
            kind, error = made[one], one.exception()
            if error is not None:
                print(f"{kind.name} stopped: {error!r}", file=sys.stderr)
                continue
            found[kind] = one.result()
            print(f"{number} of {len(wanted)}: {kind.name}, {len(found[kind])} exports", file=sys.stderr)
            for line in faults(kind, found[kind]):
                print(f"  {line}", file=sys.stderr)
    if len(found) < len(wanted):
        sys.exit("nothing was written: run it again, it goes on where it stopped")
    text = page({kind: found[kind] for kind in wanted}, client)
    if len(given.only) < len(MODEL_TYPES):
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
    sys.exit(1 if any(faults(kind, cells) for kind, cells in found.items()) else 0)


if __name__ == "__main__":
    main()
