"""``vlmplan export``: a checkpoint as ONNX."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api, inert
from vlmplan.cli import completion
from vlmplan.cli.options import CheckpointOption, CompressorOption, JsonOption, WeightsOption
from vlmplan.cli.output import deliver, prepare
from vlmplan.document import check_apart
from vlmplan.errors import InputError
from vlmplan.exporting import ClientLayout
from vlmplan.hardware import Precision
from vlmplan.units import format_bytes


class Via(enum.StrEnum):
    """What exports."""

    VLMPLAN = "vlmplan"
    OPTIMUM = "optimum"


def _by_optimum(checkpoint: str | None, out: Path, python: str | None, others: Mapping[str, object]) -> None:
    """Export a text model by optimum-cli, and say how to prove it."""
    from vlmplan.exporting import optimum_export
    from vlmplan.views import new_console, progress

    if given := [f"--{name.replace('_', '-')}" for name, value in others.items() if value]:
        raise InputError(f"--via optimum: a text model as it is in fp32, so leave out {', '.join(given)}")
    if checkpoint is None:
        raise InputError("--via optimum: give --checkpoint, a text model")
    with progress() as tell:
        made = optimum_export(checkpoint, out, python, tell)
    libraries = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    shown = new_console()
    shown.print(
        f"Exported {checkpoint} to {out}: a text decoder of {format_bytes(made.size_bytes)}, fp32, by {libraries}.",
        soft_wrap=True,
    )
    where = f"{inert.argument(str(out))} --checkpoint {inert.argument(checkpoint)}"
    shown.print(f"Next: vlmplan validate {where} --by-samples", soft_wrap=True)


def export(  # noqa: PLR0917 - one parameter an option
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make.")],
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN.json]", help="What recommend wrote.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Catalogue name: its hub id is the checkpoint.", autocompletion=completion.model),
    ] = None,
    checkpoint: CheckpointOption = None,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, help="Per image [default: the plan's, or all].")
    ] = None,
    compressor: CompressorOption = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="fp32, fp16, int8 or int4 [default: the plan's, or fp32].")
    ] = None,
    base_precision: Annotated[
        Precision | None, typer.Option("--base-precision", help="Of what is not quantised: fp32 or fp16.")
    ] = None,
    weights: WeightsOption = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="A learned compressor at random, for a trial.")
    ] = False,
    query: Annotated[str | None, typer.Option("--query", help="QueCC: one question, baked in.")] = None,
    all_logits: Annotated[bool, typer.Option("--all-logits", help="Logits of every token, not the last.")] = False,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="WxH", help="Of tiles or grids: whose tokens are meant."),
    ] = None,
    layout: Annotated[
        ClientLayout, typer.Option("--layout", help="For which client: transformers.js, or genai (onnxruntime-genai).")
    ] = ClientLayout.TRANSFORMERS_JS,
    via: Annotated[
        Via, typer.Option("--via", help="What exports: vlmplan, or optimum (a text model, by --optimum-python).")
    ] = Via.VLMPLAN,
    optimum_python: Annotated[
        str | None,  # no Path, which drops the ./ that keeps a name from being looked for in PATH
        typer.Option("--optimum-python", metavar="PATH", help="Python of an environment with optimum-onnx."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an export at --out.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a checkpoint as ONNX, with the plan's number of visual tokens, for ONNX Runtime and transformers.js.

    Example: vlmplan export plan.json --checkpoint llava-hf/llava-1.5-7b-hf --out llava-36
    """
    prepare()
    from vlmplan.views import print_export, progress

    check_apart({"--out": out}, (plan, weights, checkpoint))
    if via is Via.OPTIMUM:
        others = {
            "plan": plan, "model": model, "visual_tokens": visual_tokens, "compressor": compressor,
            "precision": precision, "base_precision": base_precision, "weights": weights,
            "random_weights": random_weights, "query": query, "all_logits": all_logits, "image": image,
            "layout": layout is not ClientLayout.TRANSFORMERS_JS, "replace": replace, "json": json,
        }  # fmt: skip
        _by_optimum(checkpoint, out, optimum_python, others)
        return
    if optimum_python is not None:
        raise InputError("--optimum-python is for --via optimum; give both or neither")
    with progress() as tell:
        manifest = api.export(
            out=out, plan=plan, model=model, checkpoint=checkpoint, visual_tokens=visual_tokens, compressor=compressor,
            precision=precision, base_precision=base_precision, weights=weights, random_weights=random_weights,
            query=query, all_logits=all_logits, image=image, layout=layout, replace=replace, progress=tell,
        )  # fmt: skip
    deliver(manifest, None, json, lambda: print_export(manifest, out))
