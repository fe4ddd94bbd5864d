"""The command line: parse, call one function, render. With the other ``cli_`` modules, the only user of typer.

Exit codes: 0 good, 1 a bug (with traceback), 2 bad input or something unavailable, 3 no plan meets the budget or what
is estimated cannot be run, 4 an export fell short, 130 interrupted. Data goes to stdout, everything else to stderr.
"""

import errno
import gc
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from vlmplan import __version__, catalogue, inert
from vlmplan.asked import CONFIDENCE
from vlmplan.catalogue import Shelf
from vlmplan.document import append_text, check_destination, to_json, write_text
from vlmplan.errors import Infeasible, InputError, VlmplanError
from vlmplan.hardware import HardwareProfile, Precision, Runtime
from vlmplan.model import Compressor, Workload
from vlmplan.units import parse_image

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # typer exports its child only
PIPE_CLOSED = 141  # 128 + SIGPIPE, what a shell shows for a process that a closed pipe ended
LONGEST_MESSAGE = 1200
_IMPOSSIBLE_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)  # of files that users name: caught here, where all are
# Which LLM the knees are shown for: the backbones of arXiv 2411.03312.
KNEE_MODELS = ("Qwen/Qwen1.5-0.5B", "Qwen/Qwen1.5-1.8B", "Qwen/Qwen1.5-4B", "Qwen/Qwen1.5-7B", "Qwen/Qwen1.5-14B")


def _fail(message: str, code: int) -> typer.Exit:
    """Print one line on stderr, whatever characters were typed, and return the exit to raise."""
    line = inert.short(inert.terminal(message))
    say(f"vlmplan: error: {line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + '...'}")
    return typer.Exit(code)


def say(text: str) -> None:
    """Print a line on stderr, whatever names are in it; where its reader has gone, nowhere."""
    try:
        typer.echo(inert.terminal(text), err=True)
    except BrokenPipeError:
        _to_nowhere(sys.stderr)


def _to_nowhere(stream: TextIO) -> None:
    """Send what is still to be written where nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Group(TyperGroup):
    """The one place where errors become a line and an exit code."""

    reader_has_gone = False

    def make_context(self, *given: Any, **named: Any) -> Any:
        """Read the options; --help and --version print at once."""
        try:
            return super().make_context(*given, **named)
        except BrokenPipeError:
            os._exit(PIPE_CLOSED)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command; a VlmplanError ends the process with its code, wrong usage with 2, Ctrl-C with 130."""
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
        except VlmplanError as error:
            raise _fail(str(error), error.exit_code) from None
        except _UsageError as error:
            raise _fail(f"{error.format_message()} See 'vlmplan --help'.", 2) from None  # type: ignore[attr-defined]
        except BrokenPipeError:
            os._exit(PIPE_CLOSED)  # the reader has gone; flushing again would only fail again
        except OSError as error:
            if error.errno not in _IMPOSSIBLE_NAMES:
                raise
            raise _fail(f"{error.filename}: no file can be named so ({error.strerror}); choose another", 2) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(130) from None
        if self.reader_has_gone:
            os._exit(PIPE_CLOSED)
        return found


app = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a GPU, a task and a budget to the vision-language model that answers best.",
)

HardwareOption = Annotated[str, typer.Option("--hardware", help="Device: a name, a unique part of one, or a profile.")]
RuntimeOption = Annotated[Runtime | None, typer.Option("--runtime", help="Engine [default: by the device].")]
TextOption = Annotated[int, typer.Option("--text-tokens", help="Prompt tokens, template included.")]
OutputOption = Annotated[int, typer.Option("--output-tokens", help="Tokens generated.")]
ImageOption = Annotated[str, typer.Option("--image", metavar="WxH", help="Image size in pixels.")]
ImagesOption = Annotated[int, typer.Option("--images", help="Images per request.")]
BatchOption = Annotated[int, typer.Option("--batch", help="Requests run side by side.")]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=1, max=100_000, help="Requests in flight.")]
CachedTextOption = Annotated[
    int, typer.Option("--cached-text-tokens", help="Prompt tokens before the image that a prefix cache holds.")
]
CachedImagesOption = Annotated[bool, typer.Option("--cached-images", help="Vision features are cached.")]
GpusOption = Annotated[int, typer.Option("--gpus", min=1, max=16, help="Most GPUs (tensor parallel).")]
ConfidenceOption = Annotated[float, typer.Option("--confidence", help="Share that intervals hold, 0.5 to 0.999.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the document instead of the view.")]
CompressorOption = Annotated[Compressor | None, typer.Option("--compressor", help="Between tower and LLM.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the document here, atomically.")]


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


def prepare() -> None:
    """Set the process up for long work: memory is collected, and libraries' advice does not mix with ours."""
    gc.enable()
    warnings.simplefilter("ignore")


def check_confidence(level: float) -> None:
    """Raise InputError for a level that no interval should have."""
    low, high = CONFIDENCE
    if not low <= level <= high:
        raise InputError(f"--confidence: found {level:g}, expected {low:g} to {high:g}")


def renderer() -> Any:
    """Return the module that prints for people, imported only when it prints."""
    from vlmplan import render as module

    return module


def deliver(document: Any, out: Path | None, as_json: bool, view: Callable[[], None]) -> None:
    """Print ``document`` or its view; then, last and whole, write it where asked.

    A reader that has gone, as head does, ends the printing and not what else was asked.
    """
    text = to_json(document) if as_json or out is not None else ""
    try:
        if as_json:
            typer.echo(text, nl=False)
        else:
            view()
        sys.stdout.flush()
    except BrokenPipeError:
        _Group.reader_has_gone = True
        _to_nowhere(sys.stdout)
    if out is not None:
        write_text(out, text)
        say(f"wrote {out}")


def summarise(text: str) -> None:
    """Add to the summary page of a GitHub job, where there is one; the verdict does not depend on it."""
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            append_text(Path(summary), text)
        except InputError as error:
            say(f"vlmplan: warning: GITHUB_STEP_SUMMARY: {error}")


def workload_of(
    tokens: tuple[int, int], image: str, images: int, batch: int, concurrency: int, cached: tuple[int, bool]
) -> Workload:
    """``tokens`` are the text's and the output's; ``cached`` the text tokens, and whether images are."""
    return Workload(
        text_tokens=tokens[0],
        output_tokens=tokens[1],
        image=parse_image(image),
        images=images,
        batch=batch,
        concurrency=concurrency,
        cached_text_tokens=cached[0],
        cached_images=cached[1],
    )


@app.command()
def estimate(  # noqa: PLR0917 - one parameter an option
    model: Annotated[str, typer.Option("--model", help="Hub id, part of one, checkpoint directory or config.json.")],
    hardware: HardwareOption,
    visual_tokens: Annotated[
        int, typer.Option("--visual-tokens", min=0, max=1_000_000, help="Per image; 0: text only.")
    ],
    text_tokens: TextOption,
    output_tokens: OutputOption,
    runtime: RuntimeOption = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="[default: as stored, or bf16, else fp16]")
    ] = None,
    compressor: CompressorOption = None,
    image: ImageOption = "1024x768",
    images: ImagesOption = 1,
    batch: BatchOption = 1,
    concurrency: ConcurrencyOption = 1,
    cached_text_tokens: CachedTextOption = 0,
    cached_images: CachedImagesOption = False,
    gpus: GpusOption = 1,
    confidence: ConfidenceOption = 0.9,
    explain: Annotated[bool, typer.Option("--explain", help="Show the time of every operator.")] = False,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Price one configuration: latency by part, memory, FLOPs, parameters, the knee.

    Example: vlmplan estimate --model llava-1.5-7b --hardware a100-80gb-sxm --visual-tokens 576 --text-tokens 50
    --output-tokens 32
    """
    from vlmplan.cost import by_part_and_op, cost, request_of
    from vlmplan.estimate import estimate as price
    from vlmplan.machine import machine
    from vlmplan.refusals import precision_for

    check_confidence(confidence)
    check_destination(out)
    workload = workload_of(
        (text_tokens, output_tokens), image, images, batch, concurrency, (cached_text_tokens, cached_images)
    )
    if compressor is not None and not visual_tokens:
        raise InputError(f"--compressor: found {compressor} with --visual-tokens 0; expected tokens to compress")
    device, spec = catalogue.hardware(hardware), catalogue.model(model)
    engine = runtime or device.default_runtime
    chosen = precision_for(spec, precision, device, engine)
    request = request_of(spec, workload, visual_tokens, chosen, compressor or Compressor.NONE, gpus)
    ready = machine(device, catalogue.typical(), engine, chosen)
    document = price(request, ready, confidence)
    explained = by_part_and_op(cost(request, ready)) if explain else {}
    deliver(document, out, json, lambda: renderer().print_estimate(document, device, explained))
    if document.obstacles:
        raise Infeasible(
            f"{spec.name} on {gpus} x {device.name} cannot be run: {'; '.join(document.obstacles)}; give more --gpus, "
            "another device, or a smaller --precision or prompt"
        )


@app.command()
def tokens(
    model: Annotated[str, typer.Option("--model", help="Hub id, part of one, checkpoint directory or config.json.")],
    image: ImageOption = "1024x768",
    images: ImagesOption = 1,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, max=1_000_000, help="Most wanted per image.")
    ] = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Show how many visual tokens an image makes, and what sets another number, engine by engine.

    Example: vlmplan tokens --model Qwen2.5-VL-7B --image 1920x1080 --visual-tokens 256
    """
    from vlmplan.tokens import tokens_of

    check_destination(out)
    if not 1 <= images <= 10_000:
        raise InputError(f"--images: found {images}, expected 1 to 10000")
    document = tokens_of(catalogue.model(model), parse_image(image), images, visual_tokens)
    deliver(document, out, json, lambda: renderer().print_tokens(document))


def _show(document: Any) -> None:
    """Print one document; a device with its knees."""
    from vlmplan.knee import knee_table

    if isinstance(document, HardwareProfile):
        models = [catalogue.model(name) for name in KNEE_MODELS]
        renderer().print_device(document, knee_table(document, catalogue.typical(), models))
    else:
        renderer().print_document(document)


@app.command("catalogue")
def show_catalogue(
    shelf: Annotated[Shelf, typer.Argument(help="What to list.")],
    name: Annotated[str | None, typer.Argument(help="One of them, in full.")] = None,
    json: JsonOption = False,
) -> None:
    """List the devices, models or laws that are shipped, or show one.

    Example: vlmplan catalogue hardware l4
    """
    readers = {Shelf.HARDWARE: catalogue.hardware, Shelf.MODELS: catalogue.model, Shelf.LAWS: catalogue.law}
    if name is not None:
        document = readers[shelf](name)
        deliver(document, None, json, lambda: _show(document))
        return
    documents = [readers[shelf](known) for known in catalogue.names(shelf)]
    deliver(documents, None, json, lambda: renderer().print_shelf(documents))
