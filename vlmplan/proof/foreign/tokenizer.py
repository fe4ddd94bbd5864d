"""Is the tokenizer beside a decoder by others the checkpoint's? By what it does, not by how its files are spelt.

Both are opened as clients open them, and encode, decode, pad and write prompts; transformers 4 and 5 spell one
tokenizer's files in different ways.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, one_line, printable
from vlmplan.exporting import EndlessTemplate, templated
from vlmplan.panics import stderr_held

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
SETTINGS = ("padding_side", "truncation_side", "split_special_tokens", "clean_up_tokenization_spaces")
_PADDED = 3  # texts of a batch


@contextmanager
def panics() -> Iterator[None]:
    """Turn what tokenizers raises into an InputError: its panics too, which are no Exception, and print on stderr."""
    try:
        with stderr_held(show=False):
            yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise InputError(one_line(error)) from None


def opened(folder: Path) -> Any | None:
    """Return a folder's tokenizer as transformers opens it, None where it has none. Raises InputError."""
    import transformers

    if not any((folder / name).is_file() for name in _FILES):
        return None
    try:
        with panics():
            return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except InputError as error:
        raise InputError(f"{folder.name}: its tokenizer cannot be opened ({error})") from None


def _tried(call: Any) -> Any:
    """What a call gives, or the kind of its error: two tokenizers may refuse the same thing."""
    try:
        with panics():
            return call()
    except InputError as error:
        return f"refused: {str(error)[:40]}"


def behaviours(tokenizer: Any, texts: tuple[str, ...], chat: tuple[dict[str, str], ...]) -> Iterator[tuple[str, Any]]:
    """Yield what a tokenizer does, each by a name: settings, special tokens, encoding, decoding, padding, prompts."""
    for name in SETTINGS:
        yield name, getattr(tokenizer, name, None)
    for name in ROLES:
        yield name, (getattr(tokenizer, name, None), _tried(lambda one=name: getattr(tokenizer, f"{one}_id")))
    yield "special tokens", _tried(lambda: sorted(tokenizer.all_special_ids))
    yield (
        "added tokens",
        _tried(lambda: sorted((number, repr(one)) for number, one in tokenizer.added_tokens_decoder.items())),
    )
    yield "inputs", _tried(lambda: sorted(tokenizer.model_input_names))
    yield "vocabulary", _tried(lambda: sorted(tokenizer.get_vocab().items()))
    special = [str(one) for one in tokenizer.all_special_tokens]
    for text in (*texts, *(f"so {one} it{one}" for one in special)):
        ids = _tried(lambda text=text: tokenizer(text)["input_ids"])
        yield f"encoding {text[:20]!r}", (ids, _tried(lambda text=text: tokenizer(text, add_special_tokens=False)))
        if isinstance(ids, list):
            for skip in (True, False):
                yield (
                    f"decoding {text[:20]!r}",
                    _tried(lambda ids=ids, skip=skip: tokenizer.decode(ids, skip_special_tokens=skip)),
                )
    yield "decoding each token", [_tried(lambda i=i: tokenizer.decode([i])) for i in range(0, len(tokenizer), 97)]
    batch = list(texts[:_PADDED])
    yield "padding", _tried(lambda: dict(tokenizer(batch, padding=True)))
    yield "no padding", _tried(lambda: dict(tokenizer(batch)))
    yield "a long text", _tried(lambda: len(tokenizer("to be or not " * 300)["input_ids"]))
    yield "chat template", getattr(tokenizer, "chat_template", None)
    for prompt in (True, False):
        yield "chat template", _chat(tokenizer, list(chat), prompt)


def _chat(tokenizer: Any, chat: list[dict[str, str]], prompt: bool) -> str:
    """What a chat template writes, or how it fails. Raises EndlessTemplate."""
    try:
        return templated(tokenizer, chat, tokenize=False, add_generation_prompt=prompt)
    except EndlessTemplate:
        raise
    except InputError as error:
        return f"refused: {str(error)[:60]}"


def faults(
    folder: Path, checkpoint: Path, texts: tuple[str, ...], chat: tuple[dict[str, str], ...], context: int
) -> Iterator[str]:
    """Yield what the folder's tokenizer does otherwise than the checkpoint's; nothing where one of them has none.

    Texts may be cut at any length from ``context`` on, of which the model reads no more.
    """
    ours, theirs = opened(folder), opened(checkpoint)
    if ours is None or theirs is None:
        return
    cut, due = (_most(one.model_max_length, context) for one in (ours, theirs))
    if cut != due:
        yield f"tokenizer: model_max_length: expected {due}, found {cut}"
    told = set[str]()
    pairs = zip(_plain(ours, texts, chat), _plain(theirs, texts, chat), strict=False)
    for (name, found), (other, want) in pairs:
        if name != other or found != want:
            short = name.split(" '")[0]
            if short not in told:
                told.add(short)
                yield f"tokenizer: {name}: expected {_brief(want)}, found {_brief(found)}"
        if name != other:
            return


def _most(length: Any, context: int) -> Any:
    """The most tokens of a text, of which a model reads ``context``; what is no number as it is."""
    return min(length, context) if isinstance(length, int | float) else repr(length)


def _plain(tokenizer: Any, texts: tuple[str, ...], chat: tuple[dict[str, str], ...]) -> Iterator[tuple[str, Any]]:
    """As ``behaviours``, with values that compare as what they say."""
    for name, value in behaviours(tokenizer, texts, chat):
        yield name, repr(value)


def _brief(value: str) -> str:
    return printable(value if len(value) < 60 else value[:57] + "...")
