"""What several commands take: options with their help."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vlmplan.cli import completion
from vlmplan.hardware import Provider, Runtime
from vlmplan.models import Compressor
from vlmplan.units import parse_seconds, parse_wait, written

RuntimeOption = Annotated[Runtime | None, typer.Option("--runtime", help="Engine [default: by the device].")]
TextOption = Annotated[
    int | None, typer.Option("--text-tokens", help="Prompt tokens, template included [default: 50].")
]
OutputOption = Annotated[int | None, typer.Option("--output-tokens", help="Tokens generated [default: 32].")]
ImageOption = Annotated[str | None, typer.Option("--image", metavar="WxH", help="Image size in pixels [1024x768].")]
ImagesOption = Annotated[int | None, typer.Option("--images", "--frames", help="Images, or frames of a video [1].")]
BatchOption = Annotated[int | None, typer.Option("--batch", help="Requests run side by side [1].")]
ConcurrencyOption = Annotated[
    int | None, typer.Option("--concurrency", min=1, max=100_000, help="Requests in flight [1].")
]
WorkloadOption = Annotated[
    str | None,
    typer.Option(
        "--workload",
        metavar="NAME|FILE.toml",
        help="A usual request ('catalogue workloads').",
        autocompletion=completion.workload,
    ),
]
RequestsOption = Annotated[
    Path | None,
    typer.Option("--requests", metavar="FILE.jsonl", help="Your own requests: median and tail."),
]
CachedTextOption = Annotated[
    int | None,
    typer.Option("--cached-text-tokens", help="Prompt tokens before the image, cached."),
]
CachedImagesOption = Annotated[bool | None, typer.Option("--cached-images", help="Vision features are cached.")]
RateOption = Annotated[
    str | None,
    typer.Option("--rate", metavar="20/s|FILE", help="Requests that come, or arrival times."),
]
ReplicasOption = Annotated[int | None, typer.Option("--replicas", help="Servers for --rate [fewest that hold].")]


def _percentile(name: str, what: str) -> Any:
    flag = f"--{name}"
    return typer.Option(flag, parser=written(parse_seconds, flag), metavar="2s", help=f"Limit under --rate: {what}.")


P50Option = Annotated[str | None, _percentile("p50", "latency of half")]
P95Option = Annotated[str | None, _percentile("p95", "latency of 95 in 100")]
P99Option = Annotated[str | None, _percentile("p99", "latency of 99 in 100")]
TtftP50Option = Annotated[str | None, _percentile("ttft-p50", "first token")]
TtftP95Option = Annotated[str | None, _percentile("ttft-p95", "first token")]
TtftP99Option = Annotated[str | None, _percentile("ttft-p99", "first token")]
TpotP50Option = Annotated[str | None, _percentile("tpot-p50", "each further token")]
TpotP95Option = Annotated[str | None, _percentile("tpot-p95", "each further token")]
TpotP99Option = Annotated[str | None, _percentile("tpot-p99", "each further token")]
Three = tuple[str | None, str | None, str | None]


def percentiles(latency: Three, ttft: Three, tpot: Three) -> dict[str, str]:
    """Return the limits under a load, those of 50, 95 and 99 in 100 of each time, by the names of their options."""
    given = {"": latency, "ttft-": ttft, "tpot-": tpot}
    return {
        f"{of}p{percent}": limit
        for of, limits in given.items()
        for percent, limit in zip((50, 95, 99), limits, strict=True)
        if limit is not None
    }


GpusOption = Annotated[int, typer.Option("--gpus", min=1, max=16, help="Most GPUs (tensor parallel).")]
ConfidenceOption = Annotated[float, typer.Option("--confidence", help="Share that intervals hold.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the document instead of the view.")]
CompressorOption = Annotated[Compressor | None, typer.Option("--compressor", help="Between tower and LLM.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="All that was found, not a screen of it.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the document here, atomically.")]
CheckpointOption = Annotated[
    str | None, typer.Option("--checkpoint", metavar="DIR|HUB-ID", help="Weights as safetensors, with config.json.")
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="A learned compressor's .safetensors.")
]
PlanOption = Annotated[Path | None, typer.Option("--plan", help="Plan to hold times against [default: the export's].")]
ProviderOption = Annotated[Provider, typer.Option("--provider", help="Where ONNX Runtime runs.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=256, help="Threads of an operator [default: ONNX Runtime's].")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Of all that is drawn.")]
ImageFolderOption = Annotated[Path, typer.Option("--images", metavar="DIR", help="Where the images are.")]
ServedModelOption = Annotated[
    str | None, typer.Option("--served-model", help="The model's name there [default: the only one it lists].")
]
ScoreOption = Annotated[
    str,
    typer.Option("--score", metavar="RULE", help="exact, contains, number, choice, anls, f1, cer, wer, json, regex."),
]
SizedByOption = Annotated[
    str, typer.Option("--by", metavar="size|request", help="Smaller pictures, or vLLM's setting of a request.")
]
AnswerTokensOption = Annotated[int, typer.Option("--output-tokens", min=1, help="The most of an answer.")]
AtOnceOption = Annotated[int, typer.Option("--at-once", min=1, max=256, help="Requests in flight.")]
FirstQuestionsOption = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first questions.")]
OrderSeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Of the order of questions.")]
AnswerTimeoutOption = Annotated[
    str,
    typer.Option(
        "--timeout", parser=written(parse_wait, "--timeout"), metavar="60s", help="Longest time of a whole answer."
    ),
]
