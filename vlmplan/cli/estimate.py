"""``vlmplan estimate``: what one configuration costs."""

from typing import Annotated

import typer

from vlmplan.cli.options import (
    BatchOption,
    CachedImagesOption,
    CachedTextOption,
    CompressorOption,
    ConcurrencyOption,
    ConfidenceOption,
    GpusOption,
    HardwareOption,
    ImageOption,
    ImagesOption,
    JsonOption,
    OutOption,
    OutputOption,
    RuntimeOption,
    TextOption,
    check_confidence,
    workload_of,
)
from vlmplan.cli.output import deliver
from vlmplan.document import check_destination
from vlmplan.errors import Infeasible, InputError
from vlmplan.hardware import Precision
from vlmplan.models import Compressor
from vlmplan.planning import catalogue


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
    from vlmplan.cost import by_part_and_op, cost, machine, request_of
    from vlmplan.cost import estimate as price
    from vlmplan.models import precision_for
    from vlmplan.views import print_estimate

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
    deliver(document, out, json, lambda: print_estimate(document, device, explained))
    if document.obstacles:
        raise Infeasible(
            f"{spec.name} on {gpus} x {device.name} cannot be run: {'; '.join(document.obstacles)}; give more --gpus, "
            "another device, or a smaller --precision or prompt"
        )
