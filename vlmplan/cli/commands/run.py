"""``vlmplan run``: one question to an export."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli.options import JsonOption, ProviderOption, ThreadsOption
from vlmplan.cli.output import deliver, prepare
from vlmplan.hardware import Provider


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
    from vlmplan.views import print_answer

    answer = api.run(
        folder=folder, image=image, prompt=prompt, max_tokens=max_tokens, provider=provider, threads=threads
    )
    deliver(answer, None, json, lambda: print_answer(answer))
