"""What was asked? The options of ``recommend`` that are names or switches; a plan keeps them, to be asked again."""

from dataclasses import dataclass

from vlmplan.errors import check_range
from vlmplan.hardware import Runtime

CONFIDENCE = (0.5, 0.999)  # the shares that an interval may be asked to hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options as typed; workload and budget are documents of their own."""

    hardware: str
    task: str
    runtime: Runtime | None = None
    precisions: str | None = None
    paper: bool = False
    models: str | None = None
    model: str | None = None
    family: str | None = None
    license: str | None = None
    max_params: float | None = None
    released_after: str | None = None
    gpus: int = 1
    confidence: float = 0.9
    allow_untrained: bool = False
    paper_flops: bool = False

    def __post_init__(self) -> None:
        """An interval holds a share that intervals can."""
        check_range("confidence", self.confidence, *CONFIDENCE)
