"""How does help fit a screen? Commands in groups, options in panels, a line each; by ``-h`` their names alone.

Which group a command is in, and which panel an option, is said here; what is named nowhere stands at the end, so that
nothing is ever left out.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer

COMMAND_GROUPS = {
    "Plan": ("recommend", "estimate", "tokens", "page", "explore"),
    "Know": ("catalogue", "profile", "doctor", "fit"),
    "Deploy": ("handover", "export", "validate", "run", "demo"),
    "Train": ("synthetic", "train", "evaluate", "study", "sweep"),
}
_PLANNING: dict[str, tuple[str, ...]] = {
    "What is asked": (
        "workload", "requests", "task", "model", "visual_tokens", "compressor", "text_tokens", "output_tokens",
        "image", "images", "text_height", "batch", "concurrency", "cached_text_tokens", "cached_images",
    ),
    "Load": (
        "rate", "replicas", "p50", "p95", "p99", "ttft_p50", "ttft_p95", "ttft_p99", "tpot_p50", "tpot_p95", "tpot_p99",
    ),
    "Where it runs": ("hardware", "runtime", "gpus", "precision"),
    "Limits": ("latency", "ttft", "tpot", "flops", "memory", "max_error", "flop_rule"),
    "Which models": (
        "models", "family", "license_", "max_params", "released_after", "candidates", "allow_untrained", "minimise",
        "prefer", "price",
    ),
}  # fmt: skip
_OUTPUT: dict[str, tuple[str, ...]] = {
    "Output": (
        "confidence", "verbose", "explain", "why", "answers", "junit", "out", "json", "plot", "open_", "check", "help",
    )
}  # fmt: skip
# By command with more options than a screen takes in at a glance. Others, and new options, do without.
OPTION_PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "recommend": _PLANNING | _OUTPUT,
    "estimate": _PLANNING | _OUTPUT,
    "fit": {
        "Points": ("task", "from_", "runs", "metric", "score_max", "reduction", "drop", "keep"),
        "Law": ("form", "prior", "floor", "loss", "like", "draws", "seed", "text_tokens", "published"),
        "Output": ("name", *_OUTPUT["Output"]),
    },
    "train": {
        "What is made": ("checkpoint", "tower", "visual_tokens", "compressor", "data", "images", "skip_bad"),
        "How it learns": (
            "align_steps", "tune_steps", "align_rate", "tune_rate", "batch", "lora", "train_tower", "seed",
        ),
        "On this machine": ("process_batch", "bf16", "gradient_checkpointing", "save_steps", "log_steps"),
    } | _OUTPUT,
    "validate": {
        "What it should be": (
            "checkpoint", "plan", "visual_tokens", "image", "compressor", "precision", "weights", "query",
        ),
        "Where it runs": ("provider", "threads", "repeats", "timeout"),
        "What is held": ("max_divergence", "logit_tolerance", "budget_only", "by_samples", "questions", "images"),
        "Output": ("recalibrate", *_OUTPUT["Output"]),
    },
    "evaluate": {
        "What is asked": ("images", "visual_tokens", "limit", "output_tokens", "score"),
        "A checkpoint or an export": ("against", "provider", "threads"),
        "A server": (
            "like", "served_model", "by", "at_once", "budget", "may_lose", "seed", "timeout", "points", "page", "task",
        ),
        "Answers": ("judge", "judge_model", "verdicts", "within", "allow_unsure"),
    } | _OUTPUT,
    "study": {
        "What is asked": ("images", "endpoint", "visual_tokens", "limit", "output_tokens", "score", "task", "seed"),
        "When it ends": ("budget", "confidence", "tolerance", "prior"),
        "Servers": ("like", "by", "at_once", "timeout"),
        "Output": tuple(name for name in _OUTPUT["Output"] if name != "confidence"),
    },
    "profile": {
        "This machine": ("device", "runtime", "precision", "provider", "threads", "quick", "fresh"),
        "A server, or times of one's own": (
            "endpoint", "from_measurements", "with_", "hardware", "model", "served_model", "images",
            "concurrency", "timeout",
        ),
    } | _OUTPUT,
    "export": {
        "What is exported": (
            "checkpoint", "model", "visual_tokens", "image", "compressor", "weights", "random_weights", "query", "seed",
        ),
        "How it is stored": ("precision", "base_precision", "all_logits", "layout"),
        "Through optimum": ("via", "optimum_python"),
        "Output": ("replace", *_OUTPUT["Output"]),
    },
}  # fmt: skip
_LONGEST_NAME = 26  # columns; an option with a longer name has its help on the next line
_RANGE = re.compile(r"(?<=\[default: )([^;\]]*); [^\]]*(?=\])|  \[[^\];]*[<>]=?x[^\]]*\]|  \[x[<>]=?[^\]]*\]")
_NO_DEFAULT = re.compile(r"  \[default: (0|no-[^\]]*)\]")


def _grouped(names: Iterable[str], groups: Mapping[str, tuple[str, ...]], rest: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each group with those of the names that it has, in its order; what no group has under ``rest``."""
    left = dict.fromkeys(names)
    for title, members in groups.items():
        listed = [name for name in members if name in left]
        for name in listed:
            del left[name]
        if listed:
            yield title, listed
    if left:
        yield rest, list(left)


def _record(param: Any, context: typer.Context) -> tuple[str, str] | None:
    """What help says of an option: its name with what it takes, and a line without what an error would say."""
    record = param.get_help_record(context)
    if record is None:
        return None
    name, text = record
    if param.default is False:  # a switch that is off: not its way back
        name = name.partition(" / ")[0]
    name = re.sub(r"<([^>]*[|][^>]*)>", r"\1", name.replace(" range>", ">"))
    return name, _NO_DEFAULT.sub("", _RANGE.sub(lambda match: match[1] or "", text))


def _folded(name: str, most: int) -> str:
    """A name with what it takes, folded at its bars to lines of at most ``most`` columns."""
    if len(name) <= most:
        return name
    indent = " " * (name.rfind(" ", 0, name.find("|")) + 1)
    lines, rest = [], name
    while len(rest) > most and (at := rest.rfind("|", len(indent), most)) > 0:
        lines.append(rest[: at + 1])
        rest = indent + rest[at + 1 :]
    return "\n  ".join([*lines, rest])


def write_options(command: Any, context: typer.Context, formatter: Any) -> None:
    """Write arguments, then options, in the command's panels."""
    params = {param.name: param for param in command.get_params(context)}
    records = {name: record for name, param in params.items() if (record := _record(param, context))}
    arguments = [name for name in records if params[name].param_type_name == "argument"]
    options = [name for name in records if name not in arguments]
    panels = OPTION_PANELS.get(command.name, {})
    sections = [("Arguments", arguments)] if arguments else []
    sections += _grouped(options, panels, "Options" if not panels else "More")
    width = max((len(name) for name, _ in records.values() if len(name) <= _LONGEST_NAME), default=_LONGEST_NAME)
    for title, names in sections:
        with formatter.section(title):
            formatter.write_dl(
                [(_folded(records[name][0].ljust(width), formatter.width - 2), records[name][1]) for name in names],
                width,
            )


def _filled(text: str, width: int, indent: str) -> str:
    """Lines of whole words: an option is never folded at its hyphens, as click would."""
    filled = textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    return f"{filled}\n"


def write_text_in_brief(command: Any, formatter: Any) -> None:
    """Write what the command does in its first paragraph, and its examples, a line each."""
    first, *rest = (command.help or "").split("\n\n")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(" ".join(first.split()))
        formatter.write_paragraph()
        for one in rest:
            if one.strip().startswith("Example: "):
                formatter.write(_filled(" ".join(one.split()).removeprefix("Example: "), formatter.width, "  "))


def write_options_in_brief(command: Any, context: typer.Context, formatter: Any) -> None:
    """Write the names of the command's options, panel by panel."""
    names = {param.name: param.opts[0] for param in command.get_params(context) if param.param_type_name == "option"}
    panels = [
        (title, ", ".join(names[name] for name in members))
        for title, members in _grouped(names, OPTION_PANELS[command.name], "More")
    ]
    formatter.write_paragraph()
    wide = max(len(title) for title, _ in panels) + 2
    for title, listed in panels:
        formatter.write(title.ljust(wide) + _filled(listed, formatter.width, " " * wide).lstrip())
    formatter.write_paragraph()
    formatter.write_text("--help says what each of them is.")


def write_commands(commands: Mapping[str, str], formatter: Any) -> None:
    """Write the commands in groups, a line each: as much of what each is for as is whole and fits."""
    width = max(map(len, commands))
    for title, names in _grouped(commands, COMMAND_GROUPS, "More"):
        with formatter.section(title):
            formatter.write_dl(
                [(name.ljust(width), _brief(commands[name], formatter.width - width - 4)) for name in names]
            )


def _brief(text: str, most: int) -> str:
    """The text where it fits, else up to the last of its pauses that does, else words and three dots."""
    text = text.removesuffix(".")
    if len(text) <= most:
        return text
    pauses = [pause.start() for pause in re.finditer(r"[,:;.] ", text) if pause.start() <= most]
    return text[: pauses[-1]] if pauses else f"{text[: most - 3].rpartition(' ')[0]}..."
