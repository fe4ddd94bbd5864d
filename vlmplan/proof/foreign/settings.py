"""Do the settings beside a decoder by others lead where the checkpoint's do? Tokenizer, template, ends, sampling.

What a client reads there decides what the graph is fed and when it stops, so it belongs to what was compared. A
tokenizer is held by what it does, the rest by what it says.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlmplan.document import TwiceError, read_plain, read_text, unambiguous_json
from vlmplan.errors import InputError, printable
from vlmplan.exporting import TOKENIZER_FILES
from vlmplan.proof.foreign import genai as foreign_genai
from vlmplan.proof.foreign import tokenizer as foreign_tokenizer
from vlmplan.proof.foreign.decoder import TextReference
from vlmplan.proof.foreign.files import CODE, Accused
from vlmplan.proof.foreign.genai import shown
from vlmplan.proof.foreign.samples import LONGEST_TOKENS
from vlmplan.proof.foreign.texts import CHAT, SENTENCES
from vlmplan.proof.protobuf import tensors_of
from vlmplan.proof.report import Check, skipped, verdict

_ALIKE = ("special_tokens_map.json", "added_tokens.json", "chat_template.json")  # the checkpoint's, key by key
_WEIGHTS = (
    *sorted(CODE),
    ".exe",
    ".sh",
    ".bat",
    ".safetensors",
    ".pt",
    ".pth",
    ".pkl",
    ".gguf",
    ".bin",
)  # said first, so
_MOST_JSON_BYTES = 2**28  # tokenizers of 250,000 tokens take 2**25
_NAMED = 5  # files that the verdict spells out
_READ_HERE = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "config.json",
              "genai_config.json"}  # fmt: skip
_OWN_WORDS = {"transformers_version", "_from_model_config"}  # of generation_config.json, and decide nothing
_NAMES_FILES = ("_file", "_files")  # how a tokenizer's keys end that send a client elsewhere
_CORRUPTS = "clean_up_tokenization_spaces_"  # as transformers 5 spells what it does to BPE only when it is told to
# Of config.json what no client decides by: who wrote it, in which format, and where from.
_FREE_KEYS = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "use_cache", "auto_map",
              "_attn_implementation_autoset", "_commit_hash", "bos_token_id", "eos_token_id", "pad_token_id",
              "output_attentions", "output_hidden_states", "return_dict"}  # fmt: skip


def _tokenizer(path: Path) -> tuple[str, Any, Mapping[str, Any]]:
    """A tokenizer as its library writes it without padding and cutting, and how it cuts and pads. Raises InputError."""
    from tokenizers import Tokenizer

    try:
        with foreign_tokenizer.panics():
            made = Tokenizer.from_file(str(path))
    except InputError as error:
        raise InputError(f"{path.name} cannot be read ({error})") from None
    cut, padding = made.truncation, dict(made.padding or {})
    made.no_padding()
    made.no_truncation()
    return str(made.to_str()), cut, padding


def _of_file(folder: Path, checkpoint: Path) -> Iterator[str]:
    """Faults of ``tokenizer.json``: what it says apart from cutting and padding, then these."""
    name = "tokenizer.json"
    (ours, cut, filled), (theirs, due, want) = (_tokenizer(one / name) for one in (folder, checkpoint))
    if ours != theirs:
        yield f"{name} is another than the checkpoint's"
    if cut != due:
        yield f"{name}: truncation: expected {due}, found {cut}"
    if filled.get("length") != want.get("length"):
        yield f"{name}: padding to a length: expected {want.get('length')}, found {filled.get('length')}"
    if filled and not want and (own := foreign_tokenizer.opened(checkpoint)) is not None:
        want = {"direction": own.padding_side, "pad_id": own.pad_token_id}  # as a use of it would have left them
    for key in ("direction", "pad_id", "pad_to_multiple_of") if filled else ():
        if filled.get(key) != want.get(key):
            yield f"{name}: padding: {key}: expected {want.get(key)}, found {filled.get(key)}"


def _templates(folder: Path) -> Iterator[Any]:
    """Every chat template of a folder: that of the tokenizer's configuration, and those in files of their own."""
    config, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    if config.is_file() and (found := read_plain(config).get("chat_template")) is not None:
        yield found
    if template.is_file():
        yield read_text(template)
    yield from (read_text(one) for one in sorted((folder / "additional_chat_templates").glob("*.jinja")))


def _of_template(folder: Path, checkpoint: Path) -> Iterator[str]:
    """Faults of the chat templates: others than the checkpoint's, or none where it has one."""
    allowed, found = list(_templates(checkpoint)), list(_templates(folder))
    if (older := checkpoint / "chat_template.json").is_file():
        allowed.append(read_plain(older).get("chat_template"))
    if any(one not in allowed for one in found):
        yield (
            "the chat template is another than the checkpoint's"
            if allowed
            else ("there is a chat template, and the checkpoint has none")
        )
    has_tokenizer = (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file()
    if has_tokenizer and not found and any(True for _ in _templates(checkpoint)):
        yield "there is no chat template, and the checkpoint has one"


def _stops(config: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens at which a configuration starts and ends a text, an end as the set of all its tokens."""
    ends = config.get("eos_token_id")
    return {
        "bos_token_id": config.get("bos_token_id"),
        "eos_token_id": sorted(ends if isinstance(ends, list) else [ends], key=repr),
    }


def generation_of(checkpoint: Path) -> Mapping[str, Any]:
    """What a checkpoint says of generation: in its own file, else in its configuration. Raises InputError."""
    own, whole = checkpoint / "generation_config.json", read_plain(checkpoint / "config.json")
    return {**whole, **(read_plain(own) if own.is_file() else {})}


def _ends(folder: Path, checkpoint: Path, padding: int | None) -> Iterator[str]:
    """Faults of the files that say where generation starts and ends, and of what code they name.

    ``padding`` is the padding token of the checkpoint's tokenizer; a text may also be padded with one that ends it.
    """
    whole, own = read_plain(checkpoint / "config.json"), generation_of(checkpoint)
    inner = whole.get("text_config", {})
    allowed = [_stops(own), _stops(whole), _stops(inner if isinstance(inner, dict) else {})]
    fill = [padding, own.get("pad_token_id"), *(end for one in allowed for end in one["eos_token_id"])]
    for name in ("config.json", "genai_config.json", "generation_config.json"):
        if not (folder / name).is_file():
            continue
        found = read_plain(folder / name)
        table = found.get("model", {}) if name == foreign_genai.FILE else found
        if not isinstance(table, dict):
            continue
        starts = [one["bos_token_id"] for one in allowed]
        starts += [1] if name == foreign_genai.FILE and starts[0] is None else []  # its builder writes 1 for none
        due = {"bos_token_id": starts, "eos_token_id": [one["eos_token_id"] for one in allowed]}
        if name == foreign_genai.FILE:  # which heeds this alone
            due["eos_token_id"] = due["eos_token_id"][:1]
        for key, value in _stops(table).items():
            missing = table.get(key) is None and (name != foreign_genai.FILE or key == "bos_token_id")
            if not missing and value not in due[key]:
                yield f"{name}: {key}: expected {due[key][0]}, found {printable(str(value)[:60])}"
        if (pad := table.get("pad_token_id")) is not None and pad not in fill:
            yield f"{name}: pad_token_id: expected {fill[0]}, found {printable(str(pad)[:60])}"
        if found.get("auto_map") != (whole.get("auto_map") if name == "config.json" else None):
            yield f"{name}: auto_map names code that is not the checkpoint's"


def _left_out(folder: Path, checkpoint: Path) -> Iterator[str]:
    """A fault where what ends the checkpoint's texts stands in a file that the folder has not."""
    name = "generation_config.json"
    if (folder / name).is_file() or (folder / foreign_genai.FILE).is_file() or not (checkpoint / name).is_file():
        return
    due, rest = (
        _stops(one)["eos_token_id"] for one in (read_plain(checkpoint / name), read_plain(checkpoint / "config.json"))
    )
    if due not in ([None], rest):
        yield f"{name} is left out, which ends texts at {shown(due)}"


def _of_configs(folder: Path, checkpoint: Path, both: set[str]) -> Iterator[str]:
    """Faults of the files that are held key by key."""
    for name in sorted(both & {"generation_config.json", *_ALIKE}):
        found, want = (read_plain(one / name) for one in (folder, checkpoint))
        yield from (
            f"{name}: {printable(key)}: expected {printable(str(want.get(key))[:60])}, found "
            f"{printable(str(found.get(key))[:60])}"
            for key in sorted((set(found) | set(want)) - _OWN_WORDS)
            if found.get(key) != want.get(key)
        )
    if (folder / "tokenizer_config.json").is_file():
        name = "tokenizer_config.json"
        found, want = (read_plain(one / name) if (one / name).is_file() else {} for one in (folder, checkpoint))
        if found.get("auto_map") != want.get("auto_map"):
            yield f"{name}: auto_map names code that is not the checkpoint's"
        for key in sorted(key for key in found if key.endswith(_NAMES_FILES) or key.startswith(_CORRUPTS)):
            if found[key] not in (None, False, want.get(key)):
                yield f"{name}: {printable(key[:60])}: expected {shown(want.get(key))}, found {shown(found[key])}"


# Of tokenizer_config.json: what is compared by what the tokenizer does or by itself, and who wrote the file.
_HELD = {
    *foreign_tokenizer.SETTINGS, *foreign_tokenizer.ROLES, "added_tokens_decoder", "additional_special_tokens",
    "extra_special_tokens", "auto_map", "model_specific_special_tokens", "chat_template", "model_max_length",
    "model_input_names", "tokenizer_class", "processor_class", "backend", "is_local", "local_files_only",
    "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file", "transformers_version",
}  # fmt: skip
# What is meant where a file says nothing.
_USUAL = {"errors": "replace", "legacy": True, "spaces_between_special_tokens": True}


def _meant(key: str, value: Any) -> Any:
    """What a client takes a setting for: a token by its text, what is unsaid or empty as the usual."""
    text = value.get("content", value) if isinstance(value, dict) else value
    return _USUAL.get(key, False) if text is None or text in ("", [], {}) else text


def _of_tokenizer(folder: Path, checkpoint: Path) -> Iterator[str]:
    """Faults of ``tokenizer_config.json``: a key that any client may heed, set otherwise than the checkpoint's.

    What a file does not say is as its tokenizer has it when it is opened: transformers writes all that it was told,
    other tools leave out what is as ever.
    """
    name = "tokenizer_config.json"
    if not (folder / name).is_file():
        return
    said = [read_plain(one / name) if (one / name).is_file() else {} for one in (folder, checkpoint)]
    held = [foreign_tokenizer.opened(one) for one in (folder, checkpoint)]
    for key in sorted({*said[0], *said[1]} - _HELD):
        if key.endswith(_NAMES_FILES) or key.startswith(_CORRUPTS):
            continue
        found, want = (
            one[key] if key in one else getattr(tokenizer, key, None) for one, tokenizer in zip(said, held, strict=True)
        )
        if _meant(key, found) != _meant(key, want):
            yield f"{name}: {printable(key[:60])}: expected {shown(want)}, found {shown(found)}"


def _of_model(folder: Path, checkpoint: Path) -> Iterator[str]:
    """Faults of ``config.json``: what transformers reads of it otherwise than of the checkpoint's, and other keys."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return
    try:
        with foreign_tokenizer.panics():
            found, want = (
                AutoConfig.from_pretrained(one, trust_remote_code=False, local_files_only=True).to_dict()
                for one in (folder, checkpoint)
            )
    except InputError as error:
        yield f"config.json cannot be read ({error})"
        return
    # keys that transformers drops: its version 4 and other clients still read how to sample there
    raw, due = (read_plain(one / "config.json") for one in (folder, checkpoint))
    found = {key: value for key, value in raw.items() if key not in found} | found
    want = {key: value for key, value in due.items() if key not in want} | want
    for key in sorted((set(found) | set(want)) - _FREE_KEYS):
        if found.get(key) != want.get(key):
            expected, said = shown(want.get(key)), shown(found.get(key))
            yield f"config.json: {printable(key[:60])}: expected {expected}, found {said}"


def _of_behaviour(folder: Path, checkpoint: Path, context: int) -> Iterator[str]:
    """Faults of what the tokenizer does, where both folders say enough to open one."""
    if all(
        any((one / name).is_file() for name in ("tokenizer_config.json", "config.json")) for one in (folder, checkpoint)
    ):
        yield from foreign_tokenizer.faults(folder, checkpoint, SENTENCES, CHAT, context)


def uncompared(accused: Accused, checkpoint: Path) -> str:
    """What the verdict says of files that clients may read and nothing here compared; empty where there are none."""
    named = {
        entry.value for tensor in tensors_of(accused.proto) for entry in tensor.external_data if entry.key == "location"
    }
    held = {accused.path, *(accused.path.parent / name for name in named)}
    known = {name for name in (*_READ_HERE, *_ALIKE) if (checkpoint / name).is_file()} | {
        "config.json",
        "genai_config.json",
    }
    found = (
        path.relative_to(accused.folder)
        for path in accused.folder.rglob("*")
        if path.is_file() and path not in held and not (path.parent == accused.folder and path.name in known)
    )
    left = [str(one) for one in sorted(found, key=lambda one: (_rank(one), str(one)))]
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return f"not compared: {', '.join(map(printable, left[:_NAMED]))}{more}; " if left else ""


def _rank(path: Path) -> int:
    """How early a file is named: what is run, then what is loaded, then all else."""
    suffix = path.suffix.lower()
    return _WEIGHTS.index(suffix) if suffix in _WEIGHTS else len(_WEIGHTS)


def ambiguous(folder: Path) -> Iterator[str]:
    """Yield faults of JSON files in which a key stands twice: one reader takes its first value, another its last.

    What is no JSON at all is told where it is read.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() != ".json" or not path.is_file() or path.stat().st_size > _MOST_JSON_BYTES:
            continue
        try:
            unambiguous_json(path.read_bytes().decode())
        except TwiceError as error:
            yield f"{printable(str(path.relative_to(folder)))}: {error}"
        except (ValueError, RecursionError):
            continue


def configuration(accused: Accused, reference: TextReference, checkpoint: Path) -> Check:
    """The tokenizer beside the decoder, its chat template, where generation stops and what is loaded: as compared."""
    folder = accused.folder
    if twice := [*ambiguous(folder)]:
        return verdict("configuration", twice, "")
    both = {name for name in TOKENIZER_FILES if (folder / name).is_file() and (checkpoint / name).is_file()}
    faults = [*_of_file(folder, checkpoint)] if "tokenizer.json" in both else []
    faults += [*_of_template(folder, checkpoint), *_of_configs(folder, checkpoint, both)]
    own = None if faults else foreign_tokenizer.opened(checkpoint)
    context = int(getattr(reference.model.config, "max_position_embeddings", LONGEST_TOKENS))
    faults += [] if faults else [*_of_behaviour(folder, checkpoint, context)]
    faults += [] if faults else [*_of_tokenizer(folder, checkpoint)]
    faults += _of_model(folder, checkpoint)
    faults += _ends(folder, checkpoint, getattr(own, "pad_token_id", None))
    faults += _left_out(folder, checkpoint)
    faults += foreign_genai.faults(folder, accused.path, reference, generation_of(checkpoint))
    if not both and not faults:
        return skipped("configuration", "no tokenizer, chat template or generation beside both")
    return verdict("configuration", faults, f"{', '.join(sorted(both))}: as the checkpoint's")
