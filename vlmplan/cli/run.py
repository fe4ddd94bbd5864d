"""``vlmplan run``: one question to an export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass
from vlmplan.cli.options import JsonOption, Provider, ProviderOption, ThreadsOption
from vlmplan.cli.output import deliver, prepare


def run(  # noqa: PLR0917 - one parameter an option
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What export wrote.")],
    image: Annotated[Path, typer.Option("--image", metavar="FILE", help="A picture.")],
    prompt: Annotated[str, typer.Option("--prompt", help="A question about it.")],
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, max=100_000, help="Longest answer.")] = 64,
    provider: ProviderOption = Provider.CPU,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Ask an export about a picture; the answer on stdout, its timings on stderr.

    Example: vlmplan run llava-36 --image photo.jpg --prompt 'What is this?'
    """
    prepare()
    from vlmplan.exporting import answer
    from vlmplan.views import print_answer

    found = answer(folder, image, prompt, max_tokens, provider.value, threads)
    deliver(found, None, json, lambda: print_answer(found))
