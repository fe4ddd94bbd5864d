"""Documents for people: terminal text, and progress while they are made."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.views.brief import expected as expected
    from vlmplan.views.brief import print_brief as print_brief
    from vlmplan.views.brief import print_why as print_why
    from vlmplan.views.brief import unsure as unsure
    from vlmplan.views.comparison import print_comparison as print_comparison
    from vlmplan.views.demo import print_demo as print_demo
    from vlmplan.views.deployment import print_answer as print_answer
    from vlmplan.views.deployment import print_export as print_export
    from vlmplan.views.deployment import print_report as print_report
    from vlmplan.views.deployment import progress as progress
    from vlmplan.views.doctor import print_checkup as print_checkup
    from vlmplan.views.estimate import print_estimate as print_estimate
    from vlmplan.views.fit import EQUATIONS as EQUATIONS
    from vlmplan.views.fit import print_fit as print_fit
    from vlmplan.views.plan import FIGURES as FIGURES
    from vlmplan.views.plan import FRONT_ROWS as FRONT_ROWS
    from vlmplan.views.plan import choice_lines as choice_lines
    from vlmplan.views.plan import front_about_choice as front_about_choice
    from vlmplan.views.plan import print_plan as print_plan
    from vlmplan.views.plan import print_recheck as print_recheck
    from vlmplan.views.plan import scores_line as scores_line
    from vlmplan.views.plan import sensitivity as sensitivity
    from vlmplan.views.plan import sentence as sentence
    from vlmplan.views.plan import tokens_each as tokens_each
    from vlmplan.views.profile import measuring as measuring
    from vlmplan.views.profile import print_adjusted as print_adjusted
    from vlmplan.views.profile import print_profiled as print_profiled
    from vlmplan.views.profile import print_verdict as print_verdict
    from vlmplan.views.service import overload_words as overload_words
    from vlmplan.views.service import rate_words as rate_words
    from vlmplan.views.service import service_lines as service_lines
    from vlmplan.views.text import knee_line as knee_line
    from vlmplan.views.text import load_line as load_line
    from vlmplan.views.text import memory_line as memory_line
    from vlmplan.views.text import new_console as new_console
    from vlmplan.views.text import overhead_name as overhead_name
    from vlmplan.views.text import part_times as part_times
    from vlmplan.views.text import percent as percent
    from vlmplan.views.text import print_device as print_device
    from vlmplan.views.text import print_document as print_document
    from vlmplan.views.text import print_shelf as print_shelf
    from vlmplan.views.text import print_tokens as print_tokens
    from vlmplan.views.text import time_range as time_range
    from vlmplan.views.text import tokens as tokens
    from vlmplan.views.training import print_answers_gate as print_answers_gate
    from vlmplan.views.training import print_evaluation as print_evaluation
    from vlmplan.views.training import print_study as print_study
    from vlmplan.views.training import print_sweep as print_sweep
    from vlmplan.views.training import print_token_curve as print_token_curve
    from vlmplan.views.training import print_training as print_training
    from vlmplan.views.training import sweep_table as sweep_table
    from vlmplan.views.training import voice as voice

__getattr__, __all__ = face(
    __name__,
    {
        "brief": ("expected", "print_brief", "print_why", "unsure"),
        "comparison": ("print_comparison",),
        "demo": ("print_demo",),
        "deployment": ("print_answer", "print_export", "print_report", "progress"),
        "doctor": ("print_checkup",),
        "estimate": ("print_estimate",),
        "fit": ("EQUATIONS", "print_fit"),
        "plan": (
            "FIGURES",
            "FRONT_ROWS",
            "choice_lines",
            "front_about_choice",
            "print_plan",
            "print_recheck",
            "scores_line",
            "sensitivity",
            "sentence",
            "tokens_each",
        ),
        "profile": ("measuring", "print_adjusted", "print_profiled", "print_verdict"),
        "service": ("overload_words", "rate_words", "service_lines"),
        "text": (
            "knee_line",
            "load_line",
            "memory_line",
            "overhead_name",
            "part_times",
            "percent",
            "print_device",
            "print_document",
            "print_shelf",
            "print_tokens",
            "time_range",
            "tokens",
            "new_console",
        ),
        "training": (
            "print_answers_gate",
            "print_evaluation",
            "print_study",
            "print_sweep",
            "print_token_curve",
            "print_training",
            "sweep_table",
            "voice",
        ),
    },
)
