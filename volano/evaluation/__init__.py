"""Judging: metrics with intervals, calibration, the gate, and the baselines to beat.

Pure functions on numpy arrays: no torch, no files, no clock. Importing this room costs numpy
alone; scikit-learn is imported only when a baseline that needs it is fitted.
"""

from __future__ import annotations

from volano.evaluation._contract import Evaluator
from volano.evaluation._kinds import evaluator, gate_metric, independent_rows, unit_scores
from volano.evaluation.agreement import agreement
from volano.evaluation.baselines import (
    BASELINES,
    Baseline,
    majority,
    table_baselines,
    tfidf_svm,
)
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
from volano.evaluation.regression import conformal_half_width, regression_report
from volano.evaluation.rows import align_names, scores_by_name
from volano.evaluation.slices import row_slices
from volano.evaluation.spending import AlphaSpending, minimum_rows

__all__ = [
    "BASELINES",
    "AlphaSpending",
    "Baseline",
    "ClassChange",
    "ClassRow",
    "ClassificationReport",
    "Estimate",
    "Evaluator",
    "Judgement",
    "NonInferiority",
    "ReliabilityBin",
    "agreement",
    "align_names",
    "class_changes",
    "classification_report",
    "conformal_half_width",
    "evaluator",
    "fit_temperature",
    "gate_metric",
    "independent_rows",
    "judge",
    "majority",
    "minimum_rows",
    "not_worse",
    "regression_report",
    "row_scores",
    "row_slices",
    "scores_by_name",
    "softmax",
    "table_baselines",
    "tfidf_svm",
    "unit_scores",
]
