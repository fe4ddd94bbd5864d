"""The command line: parse, call one function of the API, show. A module a command, imported when it is called.

Exit codes are those of ``docs/reference/exit-codes.md``. Data goes to stdout, everything else to stderr.
"""

import contextlib
import errno
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from vlmplan import __version__, inert
from vlmplan.cli.output import Reader, say
from vlmplan.errors import Assumed, InputError, VlmplanError, did_you_mean, meant

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # typer exports its child only
# What each command is for: the first line of its help, so that the list of commands imports none of them.
COMMANDS = {
    "estimate": "Price one configuration: latency by part, memory, FLOPs, parameters, the knee.",
    "tokens": "Show how many visual tokens an image makes, and what sets another number, engine by engine.",
    "catalogue": "List the devices, models, tasks, workloads or laws that are shipped, or show one.",
    "doctor": "Say what is installed and found here, what each command lacks, and the line that mends it.",
    "demo": "Profile this machine, plan for a small random checkpoint, export it compressed and prove it. No download.",
    "export": "Write a checkpoint as ONNX, with the plan's number of visual tokens, for ONNX Runtime and "
    "transformers.js.",
    "handover": "Write what a serving stack takes for a plan's replicas: Helm values, a manifest, a configuration, or "
    "commands.",
    "validate": "Prove an export against its checkpoint: files, weights, numbers, tokens, latency. Exit 4 "
    "when it falls short.",
    "run": "Ask an export about a picture; the answer on stdout, its timings on stderr.",
    "fit": "Fit a scaling law, error by LLM size and visual tokens, to measured points.",
    "page": "Write one HTML page about a plan, with its export and validation: charts, intervals, "
    "sources. Needs no network.",
    "explore": "Move sliders and see the plan change: a page in the browser, served on this machine alone.",
    "profile": "Measure this machine, a server, or take measurements of one's own: a hardware profile to plan with.",
    "recommend": "Find the model and the number of visual tokens that answer best within a budget.",
    "synthetic": "Draw pictures of shapes and words, with questions: data to train small models on.",
    "train": "Train a checkpoint for fewer visual tokens: compressor and projector, then with the LLM.",
    "evaluate": "Ask a checkpoint, an export or a server a table of questions, and count the right answers.",
    "study": "Ask servers your own questions, those that decide, until which to take is settled.",
    "sweep": "Train and evaluate every point of a grid, and write points.csv for fit.",
}
PIPE_CLOSED = 141  # 128 + SIGPIPE, what a shell shows for a process that a closed pipe ended
LONGEST_MESSAGE = 1200
CLOSED = "stdout is closed; send it to a file, or to /dev/null"
_WRITING = ("out", "answers", "junit", "recalibrate", "plot")  # options after which the answer lies in a file
_IMPOSSIBLE_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)  # of files that users name: caught here, where all are


def _fail(message: str, code: int) -> typer.Exit:
    """Print one line on stderr, whatever characters were typed, and return the exit to raise."""
    line = inert.short(inert.terminal(message))
    say(f"vlmplan: error: {line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + '...'}")
    return typer.Exit(code)


@contextlib.contextmanager
def _assumptions_said() -> Iterator[None]:
    """Print what is assumed, and what libraries warn of, as lines of their own on stderr, once.

    Where Python was told how to warn (-W, PYTHONWARNINGS), libraries' warnings are shown as it does.
    """
    usual, told = warnings.showwarning, set()

    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        assumed = issubclass(category, Assumed)
        if not assumed and sys.warnoptions:
            usual(message, category, *where)
        elif str(message) not in told:
            told.add(str(message))
            line = inert.short(inert.terminal(" ".join(str(message).split())))
            say(f"note: {line}" if assumed else f"vlmplan: warning: {line} ({category.__name__})")

    with warnings.catch_warnings():
        warnings.simplefilter("always", Assumed)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _flags(error: Exception) -> list[str]:
    """The options of the command that was called wrongly."""
    context = getattr(error, "ctx", None)
    params = () if context is None else context.command.params
    return [flag for one in params for flag in one.opts if flag.startswith("--")]


def _no_option(error: Exception) -> str:
    """What is said of an option that is not there: what it is called here, or which is spelt nearly so."""
    from vlmplan.cli.called import all_options, option_here

    wrong: str = error.option_name  # type: ignore[attr-defined]
    before = isinstance(getattr(getattr(error, "ctx", None), "command", None), _Group)
    here = option_here(wrong, all_options() if before else _flags(error))
    best = None if here else meant(wrong.lstrip("-"), [one.lstrip("-") for one in _flags(error)])
    return f"No such option: {wrong}" + (here or (f"; did you mean --{best}?" if best else "")) + ("" if best else ".")


def _extra(text: str, words: str, flags: Sequence[str]) -> str:
    """What is said of words that stand alone: an option without its dashes, or a name without its option."""
    from vlmplan.cli.called import option_of

    word, _, rest = words.partition(" ")
    if f"--{word}" in flags:
        return f"{text}; did you mean --{word} {rest}".rstrip() + "?"
    option = option_of(word)
    return f"{text}; did you mean {option} {word}?" if option in flags else f"{text}."


def _usage(error: Exception) -> str:
    """What click says of wrong usage, and what was probably meant: the nearest choice or option."""
    text = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    if type(error).__name__ == "NoSuchOption":
        return _no_option(error)
    choice = re.search(r"'([^']*)' is not one of (.*)\.$", text)
    if choice is not None:
        from vlmplan.cli.called import engine_here
        from vlmplan.hardware import Runtime

        by_name = {one.value: one for one in Runtime}  # which know what they are called besides
        known = [by_name.get(one, one) for one in re.findall(r"'([^']*)'", choice[2])]
        if any(isinstance(one, Runtime) for one in known) and (engine := engine_here(choice[1])):
            return f"{text.removesuffix('.')}; {engine}."
        return text.removesuffix(".") + (did_you_mean(choice[1], known) or ".")
    extra = re.fullmatch(r"Got unexpected extra argument\(?s?\)? \((.*)\)", text)
    if extra is not None:
        return _extra(text, extra[1], _flags(error))
    whole = re.fullmatch(r"(.* '([0-9]+)k' is not a valid int)\.", text)
    if whole is not None:
        return f"{whole[1]}; did you mean {whole[2]}000?"
    return text if text.endswith((".", "?")) else f"{text}."


def _called(ctx: typer.Context) -> str:
    """The command that was called, with a space behind it; nothing before one was."""
    return f"{ctx.invoked_subcommand} " if ctx.invoked_subcommand in COMMANDS else ""


_IN_BRIEF = "vlmplan.help_in_brief"


class _Command(TyperCommand):
    """A command that is not begun where its answer would be lost; page writes its file unasked."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the options. ``-h`` of a command with many asks for their names alone."""
        if "-h" in args and "--help" not in args:
            from vlmplan.cli.help import OPTION_PANELS

            ctx.meta[_IN_BRIEF] = self.name in OPTION_PANELS
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write what it is for."""
        if ctx.meta.get(_IN_BRIEF):
            from vlmplan.cli.help import write_text_in_brief

            write_text_in_brief(self, formatter)
        else:
            super().format_help_text(ctx, formatter)

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write what it takes, in panels."""
        from vlmplan.cli.help import write_options, write_options_in_brief

        (write_options_in_brief if ctx.meta.get(_IN_BRIEF) else write_options)(self, ctx, formatter)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run it. Raises InputError."""
        if sys.__stdout__ is None and self.name != "page" and not any(map(ctx.params.get, _WRITING)):
            raise InputError(CLOSED)
        return super().invoke(ctx)


class _Group(TyperGroup):
    """The one place where errors become a line and an exit code."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands: Any = dict.fromkeys(COMMANDS)  # built when called: their names are what is needed before
        self._listing = False

    def get_command(self, _: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Import the module of a command and build it; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name])
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(cmd_name, cls=_Command)(
            getattr(importlib.import_module(f"vlmplan.cli.commands.{cmd_name}"), cmd_name)
        )
        return typer.main.get_command(single)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """Find a command by its name. Raises InputError, which says what it is called here."""
        if args and args[0] not in COMMANDS and args[0][:1] != "-" and not ctx.resilient_parsing:
            from vlmplan.cli.called import command_here

            said = f"No such command '{args[0]}'{command_here(args[0], args[1:], COMMANDS)}"
            raise InputError(f"{said}{'' if said.endswith('?') else '.'} See 'vlmplan --help'.")
        return super().resolve_command(ctx, args)

    def format_commands(self, _: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """List the commands by what COMMANDS says of them, so that help imports none."""
        from vlmplan.cli.help import write_commands

        write_commands(COMMANDS, formatter)

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> Any:  # type: ignore[override]
        """Offer the commands by what COMMANDS says of them, so that a tab imports none."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False

    def make_context(self, info_name: str | None, args: list[str], *given: Any, **named: Any) -> Any:
        """Read the options; --help and --version print at once, and where stdout is closed are refused before."""
        options = {word.partition("=")[0] for word in args}
        if sys.__stdout__ is None and args[:1] != ["page"] and not options & {f"--{name}" for name in _WRITING}:
            raise _fail(CLOSED, 2)
        try:
            return super().make_context(info_name, args, *given, **named)
        except BrokenPipeError:
            os._exit(PIPE_CLOSED)
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            said, option = _usage(error), getattr(error, "option_name", None)
            if option and not said.endswith("?"):
                ours = re.search(r"here it is (--[a-z-]+)", said)
                said = f"{said.removesuffix('.')}. Options come after a command, as in: vlmplan recommend "
                said += f"{ours[1] if ours else option} ..."
            raise _fail(f"{said} See 'vlmplan --help'.", 2) from None

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command; a VlmplanError ends the process with its code, wrong usage with 2, Ctrl-C with 130."""
        try:
            with _assumptions_said():
                returned = super().invoke(ctx)
            sys.stdout.flush()
        except VlmplanError as error:
            failed = _fail(str(error), error.exit_code)
            for note in getattr(error, "__notes__", ()):
                say(note)
            raise failed from None
        except _UsageError as error:
            raise _fail(f"{_usage(error)} See 'vlmplan {_called(ctx)}--help'.", 2) from None
        except BrokenPipeError:
            os._exit(PIPE_CLOSED)  # the reader has gone; flushing again would only fail again
        except OSError as error:
            if error.errno not in _IMPOSSIBLE_NAMES:
                raise
            raise _fail(f"{error.filename}: no file can be named so ({error.strerror}); choose another", 2) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(130) from None
        if Reader.gone:
            os._exit(PIPE_CLOSED)
        return returned


app = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a GPU, a task and a budget to the vision-language model that answers best.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"vlmplan {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plan the deployment of a vision-language model."""
