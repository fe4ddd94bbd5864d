"""Does ``genai_config.json`` name what was compared? onnxruntime-genai loads and feeds what stands there, nothing else.

Keys as its builder writes them: https://onnxruntime.ai/docs/genai/reference/config.html and builders/base.py of
microsoft/onnxruntime-genai, read 2026-11-28.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import head_dim
from vlmplan.document import read_plain
from vlmplan.errors import printable
from vlmplan.proof.foreign.decoder import TextReference

FILE = "genai_config.json"
_INPUTS = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
    "position_ids": "position_ids",
    "past_key_names": "past_key_values.%d.key",
    "past_value_names": "past_key_values.%d.value",
}
_OUTPUTS = {"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
_MODEL = {"type", "bos_token_id", "eos_token_id", "pad_token_id", "context_length", "vocab_size", "decoder"}
_DECODER = {"session_options", "filename", "head_size", "hidden_size", "num_attention_heads", "num_hidden_layers",
            "num_key_value_heads", "inputs", "outputs", "sliding_window"}  # fmt: skip
_PLAIN = {"diversity_penalty": (0.0,), "do_sample": (False,), "early_stopping": (True,), "length_penalty": (1.0,),
          "min_length": (0,), "no_repeat_ngram_size": (0,), "num_beams": (1,), "num_return_sequences": (1,),
          "repetition_penalty": (1.0,), "temperature": (1.0,), "top_k": (50, 1), "top_p": (1.0,),
          "past_present_share_buffer": (True, False)}  # fmt: skip
_SWITCHES = ("enable_", "enableGraphCapture", "validationMode")  # of CUDA and WebGPU, as the builder writes them
_SETTINGS = ("0", "1", "true", "false", "disabled")
_SESSION = {"log_id", "provider_options"}
_CODE = (".so", ".dll", ".dylib", ".onnx", ".ort")


def faults(folder: Path, path: Path, reference: TextReference, generation: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the file names another graph, other inputs, other sizes or other sampling, a line each.

    ``path`` is the graph that is compared, ``generation`` the checkpoint's generation configuration. Raises InputError.
    """
    if not (folder / FILE).is_file():
        return
    whole = read_plain(folder / FILE)
    model = whole.get("model")
    decoder = model.get("decoder", {}) if isinstance(model, dict) else None
    search = whole.get("search", {})
    if not (isinstance(model, dict) and isinstance(decoder, dict) and isinstance(search, dict)):
        yield f"{FILE}: model, model.decoder and search: expected tables"
        return
    if strange := sorted(set(whole) - {"model", "search"}):
        yield f"{FILE}: {printable(strange[0])} is none of a single decoder's, and was not compared"
    yield from _session(decoder.get("session_options", {}))
    if strange := sorted({*set(model) - _MODEL, *(f"decoder.{key}" for key in set(decoder) - _DECODER)}):
        yield f"{FILE}: model.{printable(strange[0])} is none of a single decoder's, and was not compared"
    name = decoder.get("filename")
    if not isinstance(name, str) or folder / name != path:
        yield f"{FILE}: decoder.filename: expected {path.relative_to(folder)}, found {shown(name)}"
    yield from _names(decoder)
    yield from _sizes(model, decoder, reference)
    yield from _sampling(search, reference, generation)
    yield from (f"{FILE}: session_options names {shown(one)}" for one in _files(decoder.get("session_options")))


def shown(value: Any) -> str:
    """Return the beginning of a value from a file, harmless in a message."""
    return printable(str(value)[:60])


def _names(decoder: Mapping[str, Any]) -> Iterator[str]:
    """Inputs and outputs by the names under which they were fed and read."""
    for table, due in (("inputs", _INPUTS), ("outputs", _OUTPUTS)):
        names = decoder.get(table, {})
        if not isinstance(names, dict):
            yield f"{FILE}: decoder.{table}: expected a table"
            continue
        for role, name in names.items():
            if name != due.get(role, role):
                yield f"{FILE}: decoder.{table}.{printable(role)}: expected {due.get(role, role)}, found {shown(name)}"


def _sizes(model: Mapping[str, Any], decoder: Mapping[str, Any], reference: TextReference) -> Iterator[str]:
    """Heads, layers, widths, context and kind are the checkpoint's."""
    config = reference.model.config
    kind = str(config.model_type)
    kinds = {kind, kind.removesuffix("_text"), type(reference.model).__name__.split("For")[0].lower()}
    heads = config.num_attention_heads
    window = getattr(config, "sliding_window", None)
    context = getattr(config, "max_position_embeddings", None)
    due = {
        "model.vocab_size": (model.get("vocab_size"), {config.vocab_size}),
        "model.type": (model.get("type"), kinds),
        "decoder.head_size": (decoder.get("head_size"), {head_dim(config)}),
        "decoder.hidden_size": (decoder.get("hidden_size"), {config.hidden_size}),
        "decoder.num_attention_heads": (decoder.get("num_attention_heads"), {heads}),
        "decoder.num_hidden_layers": (decoder.get("num_hidden_layers"), {config.num_hidden_layers}),
        "decoder.num_key_value_heads": (
            decoder.get("num_key_value_heads"),
            {getattr(config, "num_key_value_heads", None) or heads},
        ),
    }
    for name, (stated, allowed) in due.items():
        if stated is not None and not any(_same(stated, one) for one in allowed):
            yield f"{FILE}: {name}: expected {sorted(allowed)[0]}, found {shown(stated)}"
    length = model.get("context_length")
    if length is not None and (type(length) is not int or length < 1 or length != (context or length)):
        yield f"{FILE}: model.context_length: expected {context}, found {shown(length)}"
    yield from _window(decoder.get("sliding_window"), window, config)


def _same(stated: Any, due: Any) -> bool:
    """Whether a value is another, by its kind, too: true is no 1, and 2.0 no number of heads."""
    if isinstance(due, float):
        return type(stated) in (int, float) and stated == due
    return type(stated) is type(due) and bool(stated == due)


def _window(slides: Any, window: int | None, config: Any) -> Iterator[str]:
    """The window that layers look through is the checkpoint's, and slides as onnxruntime-genai's builder writes it.

    ``models/builder`` of release 0.18 writes these keys; its runtime has others, which cut the inputs themselves.
    """
    if slides is None:
        return
    if window is None or not isinstance(slides, dict):
        due = "none" if window is None else "a table"
        yield f"{FILE}: decoder.sliding_window: expected {due}, found {shown(slides)}"
        return
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    layers = [number for number, kind in enumerate(kinds) if kind == "sliding_attention"]
    keys = {"window_size": window, "slide_key_value_cache": False, "slide_inputs": False, "layers": layers,
           "cache_slack": 0}  # fmt: skip
    for name in sorted({*slides, "window_size"}):
        if name not in keys or not _same(slides.get(name), keys[name]):
            yield (
                f"{FILE}: decoder.sliding_window.{printable(str(name))}: expected {shown(keys.get(name, 'none'))}, "
                f"found {shown(slides.get(name))}"
            )


def _session(options: Any) -> Iterator[str]:
    """Settings of ONNX Runtime: what its builder writes, and switches of a provider."""
    if not isinstance(options, dict):
        yield f"{FILE}: decoder.session_options: expected a table"
        return
    if strange := sorted(set(options) - _SESSION):
        yield f"{FILE}: session_options.{printable(strange[0])} is none that its builder writes, and was not compared"
    providers = options.get("provider_options", [])
    tables = providers if isinstance(providers, list) else [providers]
    for one in tables:
        for name, settings in one.items() if isinstance(one, dict) else [(one, {})]:
            plain = isinstance(settings, dict) and all(
                str(key).startswith(_SWITCHES) and str(key).isidentifier() and str(value).lower() in _SETTINGS
                for key, value in settings.items()
            )
            if not (plain and str(name).isascii() and str(name).isalpha()):
                yield f"{FILE}: provider_options: {shown(name)}: {shown(settings)} was not compared"


def _sampling(search: Mapping[str, Any], reference: TextReference, generation: Mapping[str, Any]) -> Iterator[str]:
    """How tokens are chosen: as the checkpoint says, or by what changes nothing."""
    context = getattr(reference.model.config, "max_position_embeddings", None)
    for name, stated in search.items():
        allowed = [*_PLAIN.get(name, ()), generation.get(name)]
        if name == "max_length":
            allowed += [context, generation.get("max_new_tokens")]
            allowed += [stated] if type(stated) is int and stated >= min(2048, context or 2048) else []
        if stated is not None and not any(_same(stated, one) for one in allowed):
            due = generation.get(name) if generation.get(name) is not None else allowed[0]
            yield f"{FILE}: search.{printable(name)}: expected {shown(due)}, found {shown(stated)}"


def _files(value: Any, key: str = "") -> Iterator[str]:
    """Names of files, paths and libraries anywhere below a value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _files(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _files(inner, key)
    elif isinstance(value, str):
        named = "library" in key or key.endswith(("_path", "_dir", "filename"))
        if value and (named or "/" in value or "\\" in value or value.lower().endswith(_CODE)):
            yield value
