"""``vlmplan estimate``: what one configuration costs."""

from typing import Annotated, Any

import typer

from vlmplan import api
from vlmplan.cli import completion
from vlmplan.cli.options import (
    BatchOption,
    CachedImagesOption,
    CachedTextOption,
    CompressorOption,
    ConcurrencyOption,
    ConfidenceOption,
    GpusOption,
    ImageOption,
    ImagesOption,
    JsonOption,
    OutOption,
    OutputOption,
    P50Option,
    P95Option,
    P99Option,
    RateOption,
    ReplicasOption,
    RequestsOption,
    RuntimeOption,
    TextOption,
    TpotP50Option,
    TpotP95Option,
    TpotP99Option,
    TtftP50Option,
    TtftP95Option,
    TtftP99Option,
    VerboseOption,
    WorkloadOption,
    percentiles,
)
from vlmplan.cli.output import deliver, tell_request
from vlmplan.document import check_apart, check_destination
from vlmplan.errors import Infeasible
from vlmplan.hardware import Precision


def estimate(  # noqa: PLR0917 - one parameter an option
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Hub id, part of one, checkpoint directory or config.json.", autocompletion=completion.model
        ),
    ],
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware", help="A name, a part of one or a profile [this machine].", autocompletion=completion.device
        ),
    ] = None,
    visual_tokens: Annotated[
        int | None,
        typer.Option("--visual-tokens", min=0, max=1_000_000, help="Per image; 0: text only [as the model does]."),
    ] = None,
    text_tokens: TextOption = None,
    output_tokens: OutputOption = None,
    workload: WorkloadOption = None,
    requests: RequestsOption = None,
    runtime: RuntimeOption = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="[default: as stored, or bf16, else fp16]")
    ] = None,
    compressor: CompressorOption = None,
    image: ImageOption = None,
    images: ImagesOption = None,
    batch: BatchOption = None,
    concurrency: ConcurrencyOption = None,
    cached_text_tokens: CachedTextOption = None,
    cached_images: CachedImagesOption = None,
    gpus: GpusOption = 1,
    rate: RateOption = None,
    replicas: ReplicasOption = None,
    p50: P50Option = None,
    p95: P95Option = None,
    p99: P99Option = None,
    ttft_p50: TtftP50Option = None,
    ttft_p95: TtftP95Option = None,
    ttft_p99: TtftP99Option = None,
    tpot_p50: TpotP50Option = None,
    tpot_p95: TpotP95Option = None,
    tpot_p99: TpotP99Option = None,
    confidence: ConfidenceOption = 0.9,
    explain: Annotated[bool, typer.Option("--explain", help="Show the time of every operator.")] = False,
    verbose: VerboseOption = False,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Price one configuration: latency by part, memory, FLOPs, parameters, the knee.

    What is not given is assumed, and said.

    Example: vlmplan estimate --model InternVL3-1B

    Example: vlmplan estimate --model llava-1.5-7b --hardware a100-80gb-sxm --visual-tokens 576 --text-tokens 50
    --output-tokens 32
    """
    from vlmplan.views import overload_words, print_estimate

    check_destination(out)
    check_apart({"--out": out}, (model, hardware, workload, requests))
    device = api.hardware_profile(hardware)
    asked: dict[str, Any] = {
        "model": model, "hardware": device, "visual_tokens": visual_tokens, "text_tokens": text_tokens,
        "output_tokens": output_tokens, "image": image, "images": images, "batch": batch, "concurrency": concurrency,
        "cached_text_tokens": cached_text_tokens, "cached_images": cached_images, "runtime": runtime,
        "precision": precision, "compressor": compressor, "gpus": gpus, "confidence": confidence, "workload": workload,
        "requests": requests, "rate": rate, "replicas": replicas,
        "percentiles": percentiles((p50, p95, p99), (ttft_p50, ttft_p95, ttft_p99), (tpot_p50, tpot_p95, tpot_p99)),
    }  # fmt: skip
    tell_request(asked)
    document = api.estimate(**asked)
    explained = api.explain(**(asked | {"visual_tokens": document.visual_tokens})) if explain else {}
    deliver(document, out, json, lambda: print_estimate(document, device, explained, verbose=verbose))
    if document.obstacles:
        raise Infeasible(
            f"{document.model} on {gpus} x {device.name} cannot be run: {'; '.join(document.obstacles)}; give more "
            "--gpus, another device, or a smaller --precision or prompt"
        )
    if document.service is not None and not document.service.stable:
        raise Infeasible(f"{document.model} on {device.name}: {overload_words(document.service)}")
