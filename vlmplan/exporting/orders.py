"""What exactly is to be exported? Options and a plan made one order; what contradicts itself is said, not guessed."""

from dataclasses import dataclass
from pathlib import Path

from vlmplan.checkpoints import MODEL_TYPES, Checkpoint, compression_of, open_checkpoint
from vlmplan.errors import InputError
from vlmplan.exporting.files.genai import check_runs
from vlmplan.exporting.manifest import ClientLayout
from vlmplan.exporting.tiles import USUAL_IMAGE, tiling
from vlmplan.hardware import Precision
from vlmplan.inventory import catalogue
from vlmplan.models import Compressor
from vlmplan.planning import Plan
from vlmplan.units import format_image

PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4)
EXTERNAL_ABOVE_BYTES = 2**28  # a protobuf holds at most 2 GiB; smaller graphs stay in one file


def check_text(option: str, text: str) -> None:
    """Raise InputError for a text that is empty or no Unicode."""
    if not text.strip():
        raise InputError(f"{option}: found no text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{option}: found bytes that are no UTF-8 text") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOrder:
    """What to export. ``weights`` are a learned compressor's; ``query`` is baked into QueCC's encoder.

    Of a tiled checkpoint ``visual_tokens`` are those of an image of ``image`` pixels, width and height.
    """

    checkpoint: str
    visual_tokens: int
    compressor: Compressor
    precision: Precision = Precision.FP32
    base_precision: Precision = Precision.FP32
    weights: Path | None = None
    random_weights: bool = False
    query: str | None = None
    all_logits: bool = False
    image: tuple[int, int] | None = None
    layout: ClientLayout = ClientLayout.TRANSFORMERS_JS
    plan: Plan | None = None
    external_above_bytes: int = EXTERNAL_ABOVE_BYTES

    def __post_init__(self) -> None:
        """Reject precisions that no graph is drawn in, and options that contradict each other."""
        if self.precision not in PRECISIONS:
            raise InputError(f"--precision: found {self.precision}, expected {', '.join(PRECISIONS)}")
        if self.base_precision not in (Precision.FP32, Precision.FP16):
            raise InputError(f"--base-precision: found {self.base_precision}, expected fp32 or fp16")
        if self.random_weights and self.weights is not None:
            raise InputError("--random-weights and --weights exclude each other; give one")
        if self.query is not None and not self.compressor.reads_question:
            raise InputError(f"--query: compressor {self.compressor} does not read the question; expected quecc")
        if self.query is not None:
            check_text("--query", self.query)

    @property
    def floats(self) -> Precision:
        """The precision of all that is not quantised."""
        return self.precision if self.precision in (Precision.FP32, Precision.FP16) else self.base_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportChoices:
    """The options of ``export`` as given; None where nothing was."""

    checkpoint: str | None = None
    visual_tokens: int | None = None
    compressor: Compressor | None = None
    precision: Precision | None = None
    base_precision: Precision | None = None
    weights: Path | None = None
    random_weights: bool = False
    query: str | None = None
    all_logits: bool = False
    image: tuple[int, int] | None = None
    layout: ClientLayout = ClientLayout.TRANSFORMERS_JS


def export_order(choices: ExportChoices, plan: Plan | None) -> ExportOrder:
    """Return the order. Raises InputError where options contradict the plan or something is missing."""
    checkpoint = choices.checkpoint or (plan.choice.model if plan is not None else None)
    if checkpoint is None:
        raise InputError("nothing to export: give a PLAN.json, --checkpoint DIR|HUB-ID or --model NAME")
    if plan is not None:
        _check_agreement(choices, plan)
    given = (
        choices.visual_tokens or (plan.choice.visual_tokens if plan is not None else None),
        choices.compressor or (plan.choice.compressor if plan is not None else None),
    )
    _check_known(checkpoint, choices.layout)
    opened = (
        open_checkpoint(checkpoint, check_runs) if choices.layout is ClientLayout.GENAI else open_checkpoint(checkpoint)
    )
    image = _image(opened, choices, plan)
    visual_tokens, compressor = compressed(opened, *given, image)
    precision = choices.precision or _planned_precision(plan)
    return ExportOrder(
        checkpoint=checkpoint,
        visual_tokens=visual_tokens,
        compressor=compressor,
        precision=precision,
        base_precision=_base_precision(choices, precision, plan),
        weights=choices.weights,
        random_weights=choices.random_weights,
        query=choices.query,
        all_logits=choices.all_logits,
        image=image,
        layout=choices.layout,
        plan=plan,
    )


def _image(checkpoint: Checkpoint, choices: ExportChoices, plan: Plan | None) -> tuple[int, int] | None:
    """The size of an image that visual tokens are those of; None where every image makes as many."""
    if checkpoint.tiled:
        return choices.image or (USUAL_IMAGE if plan is None else plan.workload.image)
    if choices.image is not None:
        raise InputError(f"--image: an export of {checkpoint.config.model_type} makes one view of any; leave it out")
    return None


def _check_known(name: str, layout: ClientLayout) -> None:
    """Raise InputError for a model of the catalogue that is not exported so, before anything is downloaded."""
    if name not in catalogue.names(catalogue.Shelf.MODELS) or Path(name).exists():
        return
    if not (known := catalogue.model(name)).exportable:
        raise InputError(
            f"{name}: its type, {known.architecture}, is not exported; vlmplan exports {', '.join(MODEL_TYPES)}"
        )
    if layout is ClientLayout.GENAI:
        check_runs(known.architecture)


def compressed(
    checkpoint: Checkpoint,
    visual_tokens: int | None,
    compressor: Compressor | None,
    image: tuple[int, int] | None = None,
) -> tuple[int, Compressor]:
    """How many tokens, by what: as given, else as the checkpoint was trained, else all of them.

    Of a tiled checkpoint those of ``image``. Raises InputError where that is not what it was trained for.
    """
    if checkpoint.tiled is not (image is not None):
        raise InputError(f"image: found {image}, expected {'its width and height' if checkpoint.tiled else 'none'}")
    if image is not None:
        kind = compressor or Compressor.NONE
        compression_of(checkpoint, kind, 0)
        _check_counted(visual_tokens, kind)
        return tiling(checkpoint, image, visual_tokens, kind).visual_tokens, kind
    if checkpoint.trained is None:
        _check_counted(visual_tokens, compressor or Compressor.NONE)
        return visual_tokens or checkpoint.view_tokens, compressor or Compressor.NONE
    kind, counts = checkpoint.trained
    if compressor not in (None, kind) or visual_tokens not in (None, *counts):
        listed = ", ".join(map(str, counts))
        raise InputError(
            f"{checkpoint.name} was trained with {kind} for {listed} visual tokens; found {compressor or kind} and "
            f"{visual_tokens or counts[0]}; export what it was trained for"
        )
    return visual_tokens or counts[0], kind


def _check_counted(visual_tokens: int | None, compressor: Compressor) -> None:
    """Raise InputError where a compressor is not told how many tokens it is to leave."""
    if visual_tokens is None and compressor is not Compressor.NONE:
        raise InputError(f"--compressor {compressor}: give --visual-tokens too, how many it is to leave")


def _planned_precision(plan: Plan | None) -> Precision:
    """The plan's precision; graphs of 16 bit are drawn in fp16, which the planner prices like bf16."""
    if plan is None:
        return Precision.FP32
    return Precision.FP16 if plan.choice.precision is Precision.BF16 else plan.choice.precision


def _base_precision(choices: ExportChoices, precision: Precision, plan: Plan | None) -> Precision:
    """Of a quantised export: fp16 where the plan is for a GPU, fp32 for a CPU, whose runtime has no 16-bit products."""
    if choices.base_precision is not None:
        if precision in (Precision.FP32, Precision.FP16):
            raise InputError(f"--base-precision is for int8 and int4; all of an {precision} export is {precision}")
        return choices.base_precision
    return planned_base(plan)


def planned_base(plan: Plan | None) -> Precision:
    """Return the base precision of a quantised export where none was asked for."""
    return Precision.FP16 if plan is not None and plan.hardware.kind == "gpu" else Precision.FP32


def _check_agreement(choices: ExportChoices, plan: Plan) -> None:
    """Raise InputError where an option says otherwise than the plan, or the plan cannot be exported."""
    if plan.choice.gpus > 1:
        raise InputError(f"the plan splits the model over {plan.choice.gpus} GPUs; ONNX Runtime runs it on one")
    pairs = (
        ("--visual-tokens", choices.visual_tokens, plan.choice.visual_tokens),
        ("--compressor", choices.compressor, plan.choice.compressor),
        ("--precision", choices.precision, _planned_precision(plan)),
        ("--image", choices.image and format_image(choices.image), format_image(plan.workload.image)),
    )
    for option, given, planned in pairs:
        if given is not None and given != planned:
            raise InputError(f"{option}: found {given}, the plan says {planned}; leave one of them out")
