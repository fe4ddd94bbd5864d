"""What did validation find? One check after another, each passed, failed or skipped with the reason, and the timings.

A report is JSON for CI, JUnit XML for its test views and Markdown for its summaries. It holds measurements, so two runs
differ; what is judged does not depend on the machine but for the latencies.
"""

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from vlmplan import inert
from vlmplan.document import Document
from vlmplan.errors import InputError, OutOfTolerance, VlmplanError, printable
from vlmplan.intervals import Interval
from vlmplan.planning import Plan

MOST_LISTED = 3  # faults of a kind that are spelt out
# Who named what an export is compared with; whether it was sampled only; whether its files have names elsewhere.
JUDGE, SAMPLES, LINKS = "judge", "samples", "links"
RESERVED = (JUDGE, SAMPLES, LINKS)


class Outcome(enum.StrEnum):
    """How a check ended. Skipped is neither good nor bad: ``reason`` says what was missing."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. ``figures`` are what was measured, by name with unit."""

    name: str
    outcome: Outcome
    detail: str
    figures: Mapping[str, float] = field(default_factory=dict)


def passed(name: str, detail: str, **figures: float) -> Check:
    """Return a check that passed."""
    return _check(name, Outcome.PASSED, detail, figures)


def failed(name: str, detail: str, **figures: float) -> Check:
    """Return a check that failed."""
    return _check(name, Outcome.FAILED, detail, figures)


def skipped(name: str, reason: str) -> Check:
    """Return a check that could not be made."""
    return _check(name, Outcome.SKIPPED, reason, {})


def _check(name: str, outcome: Outcome, detail: str, figures: Mapping[str, float]) -> Check:
    """One printable line, whatever a file's names hold; figures that JSON can hold (the detail tells the others)."""
    finite = {key: value for key, value in figures.items() if math.isfinite(value)}
    return Check(name=printable(name), outcome=outcome, detail=printable(detail), figures=finite)


def verdict(name: str, faults: list[str], good: str, **figures: float) -> Check:
    """Return failed with the first faults, or passed with ``good``."""
    if not faults:
        return passed(name, good, **figures)
    more = f" (and {len(faults) - MOST_LISTED} more)" if len(faults) > MOST_LISTED else ""
    return failed(name, "; ".join(faults[:MOST_LISTED]) + more, **figures)


def any_failed(checks: Sequence[Check]) -> bool:
    """Whether any check failed."""
    return any(check.outcome is Outcome.FAILED for check in checks)


def guarded(checks: Callable[[], Iterable[Check]]) -> list[Check]:
    """Checks made until one cannot be: a graph that fails to run is a finding, not a traceback."""
    made: list[Check] = []
    try:
        for check in checks():
            made.append(check)
    except VlmplanError as error:
        made.append(failed("run", str(error)))
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Document):
    """All checks of one export on one machine. ``export`` and ``checkpoint`` are what the user named.

    ``passed`` says that none failed.
    """

    SCHEMA: ClassVar[str] = "vlmplan.report/1"

    export: str
    checkpoint: str | None
    provider: str
    threads: int | None
    versions: Mapping[str, str]
    passed: bool
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        """The verdict is that of the checks."""
        if self.passed is bool(self.failed):
            raise InputError(f"passed: found {self.passed}, the checks say {not self.failed}")

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILED)

    @property
    def reservations(self) -> tuple[Check, ...]:
        """What the verdict leaves unproved: checks that bear on all others, and could not be made."""
        reserved = (check for check in self.checks if check.name in RESERVED and check.outcome is Outcome.SKIPPED)
        return tuple(reserved)

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many checks ended how."""
        return {outcome: sum(check.outcome is outcome for check in self.checks) for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A time that was measured and held against its prediction."""

    name: str
    predicted_s: float
    interval_s: Interval
    measured_s: float

    @property
    def inside(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.interval_s[0] <= self.measured_s <= self.interval_s[1]


def held(report: Report, plan: Plan) -> tuple[Held, ...]:
    """Return the times of a report that were held against ``plan``; none where validation came to none.

    Raises InputError for a report that was made with another plan.
    """
    choice, figures = plan.choice, {check.name: check.figures for check in report.checks}
    predictions = (
        ("TTFT", "latency: ttft", choice.ttft_s, choice.ttft_interval_s),
        ("TPOT", "latency: tpot", choice.tpot_s, choice.tpot_interval_s),
        ("request", "latency: request", choice.latency_s, choice.latency_interval_s),
    )
    times = []
    for name, key, predicted_s, interval in predictions:
        measured = figures.get(key, {})
        if predicted_s is None or interval is None or not {"predicted_s", "measured_s"} <= set(measured):
            continue
        if not math.isclose(measured["predicted_s"], predicted_s, rel_tol=1e-6):
            raise InputError(
                f"the report holds its {name} against {measured['predicted_s']:.4g} s, the plan says "
                f"{predicted_s:.4g} s; expected the report of an export of this plan"
            )
        times.append(Held(name=name, predicted_s=predicted_s, interval_s=interval, measured_s=measured["measured_s"]))
    return tuple(times)


def require_good(report: Report, where: Path) -> None:
    """Raise OutOfTolerance, naming the checks that failed, for an export at ``where`` that fell short."""
    if report.failed:
        raise OutOfTolerance(f"{where}: {', '.join(check.name for check in report.failed)} failed")


def with_check(report: Report, check: Check) -> Report:
    """Return the report with one more check."""
    checks = (*report.checks, check)
    return replace(report, checks=checks, passed=report.passed and check.outcome is not Outcome.FAILED)


def junit_xml(report: Report) -> str:
    """Return JUnit XML: a test case a check."""
    return checks_junit("validate", report.checks)


def checks_junit(command: str, checks: Sequence[Check]) -> str:
    """Return JUnit XML of what a command checked: a test case a check."""
    from xml.etree import ElementTree

    outcomes = [check.outcome for check in checks]
    suite = ElementTree.Element(
        "testsuite",
        name=f"vlmplan {command}",
        tests=str(len(checks)),
        failures=str(outcomes.count(Outcome.FAILED)),
        skipped=str(outcomes.count(Outcome.SKIPPED)),
        errors="0",
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=f"vlmplan.{command}", name=inert.junit(check.name))
        detail = inert.junit(check.detail)
        if check.outcome is Outcome.PASSED:
            ElementTree.SubElement(case, "system-out").text = detail
        else:
            kind = "failure" if check.outcome is Outcome.FAILED else "skipped"
            ElementTree.SubElement(case, kind, message=detail)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def report_markdown(report: Report) -> str:
    """Return a table for a CI job's summary page."""
    verdict = "failed" if report.failed else "passed"
    place = f"{inert.markdown_code(report.export)} on {inert.markdown(report.provider)}"
    head = [f"### vlmplan validate: {verdict}", "", place, ""]
    unproved = [
        f"Not proved, {inert.markdown(check.name)}: {inert.markdown(check.detail)}.\n" for check in report.reservations
    ]
    return "\n".join([*head, *unproved, *checks_markdown(report.checks)])


def checks_markdown(checks: Sequence[Check]) -> list[str]:
    """Return the lines of a table of checks, the last of them empty."""
    rows = [
        f"| {check.outcome.value} | {inert.markdown(check.name)} | {inert.markdown(check.detail)} |" for check in checks
    ]
    return ["| outcome | check | what was found |", "|---|---|---|", *rows, ""]
