"""Is an export what it says it is? An export, its checkpoint and a plan -> a report of checks."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.proof.latency import plan_matches as plan_matches
    from vlmplan.proof.numbers import FP32_TOLERANCE as FP32_TOLERANCE
    from vlmplan.proof.options import Options as Options
    from vlmplan.proof.report import JUDGE as JUDGE
    from vlmplan.proof.report import Check as Check
    from vlmplan.proof.report import Held as Held
    from vlmplan.proof.report import Outcome as Outcome
    from vlmplan.proof.report import Report as Report
    from vlmplan.proof.report import checks_junit as checks_junit
    from vlmplan.proof.report import checks_markdown as checks_markdown
    from vlmplan.proof.report import failed as failed
    from vlmplan.proof.report import held as held
    from vlmplan.proof.report import junit_xml as junit_xml
    from vlmplan.proof.report import passed as passed
    from vlmplan.proof.report import report_markdown as report_markdown
    from vlmplan.proof.report import require_good as require_good
    from vlmplan.proof.report import skipped as skipped
    from vlmplan.proof.report import verdict as verdict
    from vlmplan.proof.report import with_check as with_check
    from vlmplan.proof.validate import Validation as Validation
    from vlmplan.proof.validate import Validator as Validator
    from vlmplan.proof.validate import trusted_order as trusted_order
    from vlmplan.proof.whole_chain import MACHINE as MACHINE
    from vlmplan.proof.whole_chain import Shown as Shown
    from vlmplan.proof.whole_chain import demo as demo

__getattr__, __all__ = face(
    __name__,
    {
        "latency": ("plan_matches",),
        "numbers": ("FP32_TOLERANCE",),
        "options": ("Options",),
        "report": (
            "Check",
            "Held",
            "JUDGE",
            "Outcome",
            "Report",
            "checks_junit",
            "checks_markdown",
            "failed",
            "held",
            "junit_xml",
            "passed",
            "report_markdown",
            "require_good",
            "skipped",
            "verdict",
            "with_check",
        ),
        "validate": ("Validation", "Validator", "trusted_order"),
        "whole_chain": ("MACHINE", "Shown", "demo"),
    },
)
