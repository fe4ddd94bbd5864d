"""Whose evaluation results can be read? Apart from ``evaluations``, which the command line need not load to start."""

import enum


class Harness(enum.StrEnum):
    """An evaluation harness."""

    LMMS_EVAL = "lmms-eval"
    VLMEVALKIT = "vlmevalkit"
