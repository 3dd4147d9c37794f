"""Judging: metrics with intervals, calibration, the gate, and the baselines to beat.

Pure functions on numpy arrays: no torch, no files, no clock. Importing this room costs numpy
alone; scikit-learn is imported only when a baseline that needs it is fitted.
"""

from __future__ import annotations

from volano.evaluation.baselines import BASELINES, Baseline, majority, tfidf_svm
from volano.evaluation.calibration import fit_temperature, softmax
from volano.evaluation.changes import ClassChange, class_changes
from volano.evaluation.gate import (
    Judgement,
    NonInferiority,
    judge,
    not_worse,
)
from volano.evaluation.metrics import (
    ClassificationReport,
    ClassRow,
    Estimate,
    ReliabilityBin,
    classification_report,
    row_scores,
)
from volano.evaluation.rows import align_names, scores_by_name
from volano.evaluation.spending import AlphaSpending, minimum_rows

__all__ = [
    "BASELINES",
    "AlphaSpending",
    "Baseline",
    "ClassChange",
    "ClassRow",
    "ClassificationReport",
    "Estimate",
    "Judgement",
    "NonInferiority",
    "ReliabilityBin",
    "align_names",
    "class_changes",
    "classification_report",
    "fit_temperature",
    "judge",
    "majority",
    "minimum_rows",
    "not_worse",
    "row_scores",
    "scores_by_name",
    "softmax",
    "tfidf_svm",
]
