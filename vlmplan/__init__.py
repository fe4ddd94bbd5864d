"""vlmplan: from a GPU, a task and a budget to the vision-language model that answers best.

The public Python API: functions, the documents that they take and return, and the errors. A name is imported when it
is first used, so that ``import vlmplan`` costs next to nothing.
"""

from vlmplan.lazy import face

__version__ = "0.2.0"

TYPE_CHECKING = False  # as in typing, which takes longer to import than all else here
if TYPE_CHECKING:
    from vlmplan.accuracy import Form as Form
    from vlmplan.accuracy import Loss as Loss
    from vlmplan.accuracy import Point as Point
    from vlmplan.accuracy import ScalingLaw as ScalingLaw
    from vlmplan.api import catalogue as catalogue
    from vlmplan.api import check_profile as check_profile
    from vlmplan.api import compare as compare
    from vlmplan.api import compare_answers as compare_answers
    from vlmplan.api import estimate as estimate
    from vlmplan.api import evaluate as evaluate
    from vlmplan.api import evaluate_answers as evaluate_answers
    from vlmplan.api import evaluate_endpoint as evaluate_endpoint
    from vlmplan.api import explain as explain
    from vlmplan.api import export as export
    from vlmplan.api import fit as fit
    from vlmplan.api import hand_over as hand_over
    from vlmplan.api import hardware_profile as hardware_profile
    from vlmplan.api import knees as knees
    from vlmplan.api import law as law
    from vlmplan.api import load as load
    from vlmplan.api import model as model
    from vlmplan.api import page as page
    from vlmplan.api import profile as profile
    from vlmplan.api import profile_endpoint as profile_endpoint
    from vlmplan.api import profile_measurements as profile_measurements
    from vlmplan.api import recheck as recheck
    from vlmplan.api import recommend as recommend
    from vlmplan.api import run as run
    from vlmplan.api import save as save
    from vlmplan.api import study as study
    from vlmplan.api import task as task
    from vlmplan.api import tokens as tokens
    from vlmplan.api import validate as validate
    from vlmplan.api import why_not as why_not
    from vlmplan.api import workload as workload
    from vlmplan.cost import Estimate as Estimate
    from vlmplan.errors import Assumed as Assumed
    from vlmplan.errors import Infeasible as Infeasible
    from vlmplan.errors import InputError as InputError
    from vlmplan.errors import NoCandidate as NoCandidate
    from vlmplan.errors import Outdated as Outdated
    from vlmplan.errors import OutOfTolerance as OutOfTolerance
    from vlmplan.errors import Unavailable as Unavailable
    from vlmplan.errors import Unsettled as Unsettled
    from vlmplan.errors import VlmplanError as VlmplanError
    from vlmplan.evaluation import AnswersGate as AnswersGate
    from vlmplan.evaluation import Evaluation as Evaluation
    from vlmplan.evaluation import TokenCurve as TokenCurve
    from vlmplan.exporting import Answer as Answer
    from vlmplan.exporting import Manifest as Manifest
    from vlmplan.fitting import FitReport as FitReport
    from vlmplan.fitting import Harness as Harness
    from vlmplan.hardware import HardwareProfile as HardwareProfile
    from vlmplan.hardware import Precision as Precision
    from vlmplan.hardware import Prices as Prices
    from vlmplan.hardware import Provider as Provider
    from vlmplan.hardware import Runtime as Runtime
    from vlmplan.inventory import Budget as Budget
    from vlmplan.inventory import NamedWorkload as NamedWorkload
    from vlmplan.inventory import Preference as Preference
    from vlmplan.measuring import Adjusted as Adjusted
    from vlmplan.measuring import Profiled as Profiled
    from vlmplan.measuring import Verdict as Verdict
    from vlmplan.models import Compressor as Compressor
    from vlmplan.models import ModelSpec as ModelSpec
    from vlmplan.models import Reduction as Reduction
    from vlmplan.models import Tokens as Tokens
    from vlmplan.models import Workload as Workload
    from vlmplan.planning import Choice as Choice
    from vlmplan.planning import Comparison as Comparison
    from vlmplan.planning import HandedOver as HandedOver
    from vlmplan.planning import Outline as Outline
    from vlmplan.planning import Plan as Plan
    from vlmplan.planning import Recheck as Recheck
    from vlmplan.planning import WhyNot as WhyNot
    from vlmplan.proof import Check as Check
    from vlmplan.proof import Report as Report
    from vlmplan.proof import Validation as Validation
    from vlmplan.studies import Study as Study

    __all__: list[str]
else:  # unseen by type checkers, which would take any name for one that is there
    __getattr__, __all__ = face(
        __name__,
        {
            "accuracy": ("Form", "Loss", "Point", "ScalingLaw"),
            "api": (
                "catalogue",
                "check_profile",
                "compare",
                "compare_answers",
                "estimate",
                "evaluate",
                "evaluate_answers",
                "evaluate_endpoint",
                "explain",
                "export",
                "fit",
                "hand_over",
                "hardware_profile",
                "knees",
                "law",
                "load",
                "model",
                "page",
                "profile",
                "profile_endpoint",
                "profile_measurements",
                "recheck",
                "recommend",
                "run",
                "save",
                "study",
                "task",
                "tokens",
                "validate",
                "why_not",
                "workload",
            ),
            "cost": ("Estimate",),
            "errors": (
                "Assumed",
                "Infeasible",
                "InputError",
                "NoCandidate",
                "OutOfTolerance",
                "Outdated",
                "Unavailable",
                "Unsettled",
                "VlmplanError",
            ),
            "evaluation": ("AnswersGate", "Evaluation", "TokenCurve"),
            "exporting": ("Answer", "Manifest"),
            "fitting": ("FitReport", "Harness"),
            "hardware": ("HardwareProfile", "Precision", "Prices", "Provider", "Runtime"),
            "measuring": ("Adjusted", "Profiled", "Verdict"),
            "models": ("Compressor", "ModelSpec", "Reduction", "Tokens", "Workload"),
            "inventory": ("Budget", "NamedWorkload", "Preference"),
            "planning": ("Choice", "Comparison", "HandedOver", "Outline", "Plan", "Recheck", "WhyNot"),
            "proof": ("Check", "Report", "Validation"),
            "studies": ("Study",),
        },
    )


def __dir__() -> list[str]:
    """What a notebook offers after ``vlmplan.``: names not imported yet, too."""
    return sorted({*globals(), *__all__})
