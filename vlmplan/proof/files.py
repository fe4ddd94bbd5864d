"""Which checks are made of an export's files? Its folder, manifest, configuration, three graphs, and image processor.

Each function yields :class:`Check`; none stops at the first fault, since a second one may say more. The files beside an
export say how a picture is cut and scaled in other words than the checkpoint's, so it is done: two pictures of awkward
shapes go through both image processors. Where the checkpoint makes several views of a picture and the export one, that
one is the whole picture, the first.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import (
    SHAPED_TYPES,
    Checkpoint,
    opened,
    own_weights,
    quiet_transformers,
    stored_type,
    view_processor,
)
from vlmplan.cost import read_model_config
from vlmplan.document import plain, read_plain, to_json, unambiguous_json
from vlmplan.errors import InputError, one_line, printable
from vlmplan.exporting import (
    EXTERNAL_ABOVE_BYTES,
    FILE_NAME,
    GENAI_CLIENT,
    GENAI_CONFIG,
    GENERATION_FILE,
    GRAPH_REVISION,
    GRAPHS,
    VISION,
    ClientLayout,
    Manifest,
    Parts,
    Tiling,
    checkpoint_generation,
    cut_within,
    data_file,
    due_generation,
    ending_tokens,
    genai_generation,
    generation_keys,
    generation_settings,
    manifest_of,
    part_of,
    texts,
    tiling,
    weight_bytes,
)
from vlmplan.models import Compressor
from vlmplan.progress import Progress
from vlmplan.proof.folder import integrity, links
from vlmplan.proof.graphs import Differences, compare
from vlmplan.proof.protobuf import beyond, check_tensors, misplaced, read_proto, skeleton
from vlmplan.proof.report import Check, Outcome, failed, passed, verdict
from vlmplan.proof.trust import claims, same_weights

BEFORE_RUNNING = ("interface", "structure")  # graphs that fail these are not run: they could do anything
_SPELLING = "is laid out as no writer of JSON does: its spaces and escapes could hold anything; write it again"
_MOST_LAYOUT = 8  # how much longer a JSON file may be than ours for its spaces
_ROUNDING = 2e-5  # of a normalised hidden state: two runtimes, one LLM pass
_MOST_BESIDE_BYTES = 2**28  # tokenizer, configuration and operators of any checkpoint take less
_SHOWN = 60  # characters of a value in a fault
# What no answer depends on: bookkeeping, and with what a batch is filled or begun where there is no prompt.
_INERT = {"bos_token_id", "pad_token_id", "use_cache", "output_attentions", "output_hidden_states", "output_scores",
          "output_logits", "return_dict_in_generate", "cache_implementation", "cache_config"}  # fmt: skip
_MERGED = ("decoder", "generator", "text_config")  # by which transformers.js overlays the top of config.json, in turn


def files(folder: Path, manifest: Manifest, parts: Parts, query: Any | None, progress: Progress) -> Iterator[Check]:
    """Every check of the files themselves: the folder, the manifest, the configuration and the three graphs.

    ``query`` is QueCC's baked embedding as PyTorch computes it.
    """
    drawn = {name: parts.graph(name, query if name == VISION else None) for name in GRAPHS}
    yield integrity(folder, manifest, sum(map(weight_bytes, drawn.values())) + _MOST_BESIDE_BYTES)
    yield from links(folder)
    external = apart(folder, {name: weight_bytes(parts.graph(name)) for name in GRAPHS})
    due_files = texts(parts.checkpoint, parts.order.visual_tokens, external, parts.tiles, parts.order.layout)
    yield promises(folder, manifest, parts, {*due_files, *map(data_file, external)})
    yield pictures(folder, parts, configuration(folder, due_files, parts.checkpoint))
    yield from graphs(folder, parts, drawn, external, progress)


def apart(folder: Path, sizes_bytes: dict[str, int]) -> tuple[str, ...]:
    """Return which graphs are to have their data in a file beside them, by the sizes of their weights.

    Those above ``export``'s threshold are; a lower one may have been asked for, where every graph that is at least as
    large as one with a data file has one too. Whether a data file is there says no more than that: what must be in it,
    to the byte, is known either way.
    """
    beside = [size for name, size in sizes_bytes.items() if (folder / data_file(name)).is_file()]
    least = min([*beside, EXTERNAL_ABOVE_BYTES + 1])
    return tuple(name for name in GRAPHS if sizes_bytes[name] >= least)


def promises(folder: Path, manifest: Manifest, parts: Parts, beside: set[str]) -> Check:
    """The manifest says of the export what exporting this checkpoint would; ``beside`` are its files but graphs."""
    named = same_weights(manifest, parts.order, parts.checkpoint)
    if manifest.weights is None and own_weights(parts.checkpoint, parts.compression) is not None:
        parts = replace(parts, order=replace(parts.order, weights=None))  # a file given holds the same, or is refused
    parts = parts if named is None else replace(parts, order=replace(parts.order, weights=named))
    due = manifest_of(parts, dict(manifest.files))
    due = replace(
        due,
        vlmplan_version=manifest.vlmplan_version,
        versions=manifest.versions,
        graph_revision=manifest.graph_revision,
        checkpoint=manifest.checkpoint,
        weights=manifest.weights,
        plan=manifest.plan,
    )
    needed = {*GRAPHS, *beside}
    faults = [f"files: {name} is not listed" for name in sorted(needed - set(manifest.files))]
    faults += [f"files: {name} does not belong" for name in sorted(set(manifest.files) - needed)]
    if manifest.graph_revision != GRAPH_REVISION:
        faults.append(f"graph_revision: {manifest.graph_revision}; this vlmplan draws {GRAPH_REVISION}; export again")
    faults += claims(manifest, parts.order)
    text = (folder / FILE_NAME).read_bytes()
    held = json.loads(text)
    told = {"image": None, "layout": ClientLayout.TRANSFORMERS_JS.value, **held}  # which vlmplan 0.2 did not write
    if not _same(typed := _as_typed(told, plain(manifest)), plain(manifest)):
        faults.append(f"{_difference(FILE_NAME, plain(manifest), typed)}: the same number, in other words")
    elif text.decode() != to_json(manifest) and not _laid_out(text, held):
        faults.append(f"{FILE_NAME} {_SPELLING}")
    faults += [
        f"{key}: expected {getattr(due, key)}, found {getattr(manifest, key)}"
        for key in manifest.__dataclass_fields__
        if getattr(due, key) != getattr(manifest, key)
    ]
    good = "says what exporting this checkpoint would; the versions it was made by are its own word"
    return verdict("manifest", faults, good)


def _meaning(name: str, content: bytes) -> Any:
    """A file's content as clients read it: JSON in UTF-8, whatever its layout. Raises InputError for what is none."""
    if not name.endswith(".json"):
        return content
    try:
        return unambiguous_json(content.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is no JSON that all readers take alike ({one_line(error)})") from None


def _laid_out(content: bytes, document: Any) -> bool:
    """Whether JSON lies as ours does or Python's writer lays it, in a usual way, one newline at its end or none."""
    text = content.removesuffix(b"\n").decode()
    second = text[:1000].split("\n")[1:2]
    spaces = second[0][: len(second[0]) - len(second[0].lstrip())] if second else ""
    indent = spaces if second and spaces in ("", " ", "  ", "   ", "    ", "\t") else None
    usual = (None, (",", ":")) if indent is None else (None,)
    return any(
        text == json.dumps(document, indent=indent, separators=marks, ensure_ascii=ascii_only)
        for marks in usual
        for ascii_only in (True, False)
    )


def _same(want: Any, actual: Any) -> bool:
    """Equal with their types: to a client 36 is not 36.0, nor 1 true."""
    if isinstance(want, bytes) or isinstance(actual, bytes):
        return bool(want == actual)
    return json.dumps(want, sort_keys=True) == json.dumps(actual, sort_keys=True)


def _in_javascript(folder: Path) -> dict[str, Any]:
    """What transformers.js goes by (``_prepare_generation_config`` of its src/models/modeling_utils.js, 4.3.2)."""
    merged = read_plain(folder / "config.json")
    for key in _MERGED:
        inner = merged.get(key)
        merged |= inner if isinstance(inner, dict) else {}
    path = folder / GENERATION_FILE
    return merged | (read_plain(path) if path.is_file() else {})


def _apart(want: Mapping[str, Any], actual: Mapping[str, Any], keys: frozenset[str]) -> Iterator[tuple[str, Any, Any]]:
    """Settings that are not the same, with what was expected and what was found."""
    due, ends = ending_tokens(want), ending_tokens(actual)
    if due != ends:
        yield "ends at", sorted(due), sorted(ends)
    for key in sorted(keys - _INERT - {"eos_token_id"}):
        if want.get(key) != actual.get(key):
            yield key, want.get(key), actual.get(key)


def generated(folder: Path, checkpoint: Checkpoint) -> Iterator[str]:
    """Yield faults of how an export's clients would generate: each puts its settings together in its own way.

    The checkpoint's are those that transformers' ``generate`` of it goes by. Raises InputError where those cannot be
    read.
    """
    want, keys = checkpoint_generation(checkpoint), generation_keys()
    for client, read in (("transformers", generation_settings), ("transformers.js", _in_javascript)):
        try:
            settings = read(folder)
        except InputError as error:
            yield str(error)
            return
        for name, expected, told in _apart(want, settings, keys):
            shown = [printable(str(value)[:_SHOWN]) for value in (expected, told)]
            yield f"generation in {client}: {name}: expected {shown[0]}, found {shown[1]}"
    if (folder / GENAI_CONFIG).is_file():
        due = due_generation(checkpoint, want)
        for name, expected, told in _apart(due, genai_generation(folder), keys):
            yield f"generation in {GENAI_CLIENT}: {name}: expected {expected}, found {told}"


def configuration(folder: Path, due_files: dict[str, bytes], checkpoint: Checkpoint) -> Check:
    """Configuration, processor and tokenizer are those that the checkpoint and the visual tokens ask for.

    Beside what they say, where answers end by them is compared, as each client reads it.
    """
    faults = []
    for name, content in due_files.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
            continue
        if (size := path.stat().st_size) > _MOST_LAYOUT * len(content) + 2**16:
            faults.append(f"{name} has {size} bytes, the checkpoint's {len(content)}")
            continue
        held = path.read_bytes()
        if held == content:
            continue
        try:
            want, actual = _meaning(name, content), _meaning(name, held)
        except InputError as error:
            faults.append(str(error))
            continue
        if not _same(want, actual):
            faults.append(_difference(name, want, actual))
        elif name.endswith(".json") and not _laid_out(held, actual):
            faults.append(f"{name} {_SPELLING}")
    if not faults:
        faults += generated(folder, checkpoint)
    return verdict("configuration", faults, f"{len(due_files)} files as the checkpoint asks for")


def _as_typed(held: Any, due: Any) -> Any:
    """``held`` with its whole numbers as floats where ``due`` has floats: a field of floats may be given an int."""
    if isinstance(held, dict) and isinstance(due, dict):
        return {key: _as_typed(value, due.get(key)) for key, value in held.items()}
    if isinstance(held, list) and isinstance(due, list) and len(held) == len(due):
        return [_as_typed(one, other) for one, other in zip(held, due, strict=True)]
    return float(held) if type(held) is int and type(due) is float and held == due else held


def _difference(name: str, want: Any, actual: Any) -> str:
    """The first key at which two documents part."""
    if isinstance(want, dict) and isinstance(actual, dict):
        for key in sorted(set(want) | set(actual)):
            if not _same(want.get(key), actual.get(key)):
                return _difference(f"{name}: {key}", want.get(key), actual.get(key))
    short = [text if len(text := str(value)) < 80 else text[:80] + "..." for value in (want, actual)]
    return f"{name}: expected {short[0]}, found {short[1]}"


def _loaded(folder: Path, name: str) -> tuple[Any, Any]:
    """A graph file as a ModelProto and as an onnx_ir model, both checked to hold nothing else. Raises InputError."""
    import onnx_ir

    path = folder / name
    if not path.is_file():
        raise InputError(f"{name} is missing")
    proto = read_proto(path)
    check_tensors(path, proto)
    try:
        return proto, onnx_ir.load(path)
    except Exception as error:  # a broken graph raises what it likes
        raise InputError(f"{name} cannot be read ({one_line(error)})") from None


def _slack(parts: Parts) -> dict[str, Any]:
    """What a baked question's embedding may be off by: rounding, of which each channel has its norm's weight."""
    import numpy as np

    if parts.order.query is None:
        return {}
    return {"query": _ROUNDING * np.abs(parts.weights.array("language_model.norm.weight"))}


def _compared(folder: Path, name: str, expected: Any, external: bool, slack: dict[str, Any]) -> Differences:
    """What differs between a graph file and the graph as drawn. Raises InputError where the file cannot be read."""
    proto, actual = _loaded(folder, name)
    try:
        differences = compare(expected, actual, slack)
    except (ValueError, OSError, TypeError) as error:  # as onnx_ir says that data are too short
        raise InputError(f"{name}: a tensor cannot be read ({one_line(error)})") from None
    if differences.interface or differences.structure:
        return differences
    data = Path(data_file(name)).name if external else None
    return replace(differences, structure=(*beyond(skeleton(expected), proto), *misplaced(expected, proto, data)))


def graphs(
    folder: Path, parts: Parts, drawn: dict[str, Any], external: tuple[str, ...], progress: Progress
) -> Iterator[Check]:
    """Interface, operators and weights of the three graphs, against those drawn of the checkpoint.

    ``external`` ones have their data beside them.
    """
    slack = _slack(parts)
    differences: dict[str, Differences] = {}
    unreadable: list[str] = []
    for number, name in enumerate(GRAPHS):
        progress(f"comparing {part_of(name)}", number, len(GRAPHS))
        try:
            differences[part_of(name)] = _compared(folder, name, drawn[name], name in external, slack)
        except InputError as error:
            unreadable.append(str(error))
    unread = [f"{part_of(name)} cannot be read" for name in GRAPHS if part_of(name) not in differences]
    for kind, good in (
        ("interface", "inputs, outputs, dynamic axes and opsets as documented"),
        ("structure", "every operator as drawn from the checkpoint's configuration"),
    ):
        faults = [f"{part}: {line}" for part, one in differences.items() for line in getattr(one, kind)]
        yield verdict(kind, (unreadable if kind == "interface" else unread) + faults, good)
    count = sum(one.weights_compared for one in differences.values())
    size = sum(one.bytes_compared for one in differences.values())
    faults = [f"{part}: {line}" for part, one in differences.items() for line in one.weights]
    good = f"{count - len(slack)} tensors, {size / 1e6:.1f} MB, bit for bit those of the checkpoint at "
    good += f"{parts.order.precision}{'; the question as PyTorch embeds it, but for rounding' if slack else ''}"
    yield verdict("weights", unread + faults, good)


_SHAPES = ((37, 131), (143, 29))  # height and width in pixels: neither square nor even
_MOST_OFF = 0.05  # of a pixel that is brought to mean 0 and spread 1: less than two of 255 greys


def _processor(folder: Path) -> Any:
    """A folder's image processor as transformers opens it, or ours in its place. Raises InputError."""
    usual = quiet_transformers().AutoImageProcessor
    return opened(folder, "image processor", view_processor() if stored_type(folder) in SHAPED_TYPES else usual)


def _pixels(processor: Any, picture: Any) -> Any:
    """What a processor makes of a picture: ``[1, 3, size, size]``, or ``[1, views, 3, size, size]``."""
    import numpy as np

    try:
        return np.asarray(processor(images=[picture], return_tensors="np")["pixel_values"])
    except Exception as error:  # settings that fit no picture raise what they like
        raise InputError(f"the image processor makes nothing of a picture ({one_line(error)})") from None


def _pixels_apart(ours: Any, theirs: Any) -> tuple[int, float]:
    """How many pictures were compared, and by how much a pixel is off at most, infinity for another shape."""
    import numpy as np
    from PIL import Image

    rng, compared, worst = np.random.default_rng(5), 0, 0.0
    for shape in _SHAPES:
        picture = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        actual, want = _pixels(ours, picture), _pixels(theirs, picture)
        if want.ndim == actual.ndim + 1:
            want = want[:, 0]
        off = float(np.abs(actual - want).max()) if actual.shape == want.shape else float("inf")
        compared, worst = compared + 1, max(worst, off if np.isfinite(off) else float("inf"))
    return compared, worst


def _cut_as_asked(processor: Any, checkpoint: Checkpoint, tiles: Tiling) -> None:
    """Set an image processor to cut as the checkpoint's processor asks it to, up to the limit of an export.

    Where tokens are pooled patches come in larger squares.
    """
    if checkpoint.pictured:  # whose own processor sets another size of patches than the file has
        processor.patch_size = dict.fromkeys(("height", "width"), checkpoint.tower.patch_size)
    elif tiles.shapes is not None:
        _ask(processor, checkpoint, tiles)
        return
    elif tiles.squares is not None:
        processor.merge_size = tiles.squares.merge
    elif not checkpoint.masked:
        processor.crop_to_patches = True
    if tiles.setting is not None:
        cut_within(processor, tiles.setting, masked=checkpoint.masked)


def _ask(processor: Any, checkpoint: Checkpoint, tiles: Tiling) -> None:
    """Set of a processor of views what the visual tokens ask for, and nothing else.

    Settings in which the order is as the checkpoint is read stay the processor's own, so that a misreading shows.
    """
    rule = read_model_config(checkpoint.folder).image
    unasked = tiling(checkpoint, tiles.image, None, Compressor.NONE).shapes
    if tiles.shapes is None or unasked is None or rule is None:
        return
    as_read = unasked.settings() | {"min_image_tokens": rule.least_tokens}  # an export may write a lower least
    for name, value in tiles.shapes.settings().items():
        if value != as_read[name]:
            setattr(processor, name, value)


def pictures(folder: Path, parts: Parts, configured: Check) -> Check:
    """Return the check of the configuration, with what was found of pictures; one that failed as it is.

    A checkpoint of a type that cuts views, with a processor that makes one by a crop, is compared by its files only.
    """
    if configured.outcome is not Outcome.PASSED:
        return configured
    if parts.checkpoint.first_format:
        return passed(configured.name, f"{configured.detail}; pictures not compared: its processor is code, not run")
    try:
        theirs = _processor(parts.checkpoint.folder)
    except InputError as error:
        return passed(configured.name, f"{configured.detail}; pictures not compared: {error}")
    crops = type(theirs).__name__.startswith("CLIP") and theirs.do_center_crop
    if crops and parts.checkpoint.config.model_type != "llava":
        return passed(configured.name, f"{configured.detail}; pictures not compared: its processor cuts no views")
    if parts.tiles is not None:
        _cut_as_asked(theirs, parts.checkpoint, parts.tiles)
    try:
        count, worst = _pixels_apart(_processor(folder), theirs)
    except InputError as error:
        return failed(configured.name, str(error))
    if worst > _MOST_OFF:
        return failed(
            configured.name,
            f"pictures are not cut as the checkpoint's {type(theirs).__name__} cuts them: pixels off by {worst:.2g} of "
            f"their spread, limit {_MOST_OFF:g}",
        )
    return passed(configured.name, f"{configured.detail}; {count} pictures cut as its processor cuts them")
