"""What was asked? The options of ``recommend`` that are names or switches; a plan keeps them, to be asked again."""

import enum

from vlmplan.errors import InputError, check_range
from vlmplan.hardware import Runtime
from vlmplan.inventory import Preference
from vlmplan.records import dataclass

CONFIDENCE = (0.5, 0.999)  # the shares that an interval may be asked to hold


class Objective(enum.StrEnum):
    """What is least in the plan that is chosen, of all that keep the budget."""

    ERROR = "error"
    COST = "cost"
    LATENCY = "latency"
    MEMORY = "memory"
    SIZE = "size"

    @property
    def words(self) -> str:
        """What it is."""
        return {
            Objective.ERROR: "expected error",
            Objective.COST: "GPU time, and so cost, a request",
            Objective.LATENCY: "latency",
            Objective.MEMORY: "memory on all its GPUs",
            Objective.SIZE: "number of parameters",
        }[self]


class CandidateSet(enum.StrEnum):
    """Where candidates come from."""

    CATALOGUE = "catalogue"
    PAPER = "paper"


class FlopRule(enum.StrEnum):
    """What ``--flops`` counts."""

    FULL = "full"
    PAPER = "paper"


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
    prefer: Preference = Preference.BALANCED
    minimise: Objective = Objective.ERROR

    def __post_init__(self) -> None:
        """An interval holds a share that intervals can; speed has its price in error where error is minimised."""
        check_range("confidence", self.confidence, *CONFIDENCE)
        if self.minimise is not Objective.ERROR and self.prefer is not Preference.BALANCED:
            raise InputError(
                f"--prefer {self.prefer}: found it beside --minimise {self.minimise}; it says what speed is worth "
                "where error is minimised; give one of them"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is planned for where nobody says what: somebody waits for an answer about a picture.

    Where nothing keeps the limits they grow to at most ``slack_ratio`` times what the fastest
    needs, and ``most_ratio`` times themselves.
    """

    task: str = "reasoning"
    text_tokens: int = 50
    output_tokens: int = 32
    ttft_s: float = 1.0
    tpot_s: float = 0.15
    why: str = "for somebody who waits and reads"
    slack_ratio: float = 2.0
    most_ratio: float = 1024.0


# A second keeps the flow of thought (Miller 1968; Nielsen, Usability Engineering, 1993, chapter 5). People read 238
# words a minute (Brysbaert 2019, doi 10.1016/j.jml.2019.104047): at four tokens for three words one token in 190 ms.
INTERACTIVE = Case()
