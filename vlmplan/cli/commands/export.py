"""``vlmplan export``: a checkpoint as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import CheckpointOption, CompressorOption, JsonOption, WeightsOption
from vlmplan.cli.output import deliver, prepare
from vlmplan.document import check_apart
from vlmplan.exporting import ClientLayout
from vlmplan.hardware import Precision


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
    replace: Annotated[bool, typer.Option("--replace", help="Replace an export at --out.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a checkpoint as ONNX, with the plan's number of visual tokens, for ONNX Runtime and transformers.js.

    Example: vlmplan export plan.json --checkpoint llava-hf/llava-1.5-7b-hf --out llava-36
    """
    prepare()
    from vlmplan.views import print_export, progress

    check_apart({"--out": out}, (plan, weights, checkpoint))
    with progress() as tell:
        manifest = api.export(
            out=out, plan=plan, model=model, checkpoint=checkpoint, visual_tokens=visual_tokens, compressor=compressor,
            precision=precision, base_precision=base_precision, weights=weights, random_weights=random_weights,
            query=query, all_logits=all_logits, image=image, layout=layout, replace=replace, progress=tell,
        )  # fmt: skip
    deliver(manifest, None, json, lambda: print_export(manifest, out))
