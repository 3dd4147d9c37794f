"""The room as a whole: what it offers and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import volano.evaluation


def test_the_public_surface():
    assert set(volano.evaluation.__all__) == {
        "BASELINES", "AlphaSpending", "Baseline", "ClassChange", "ClassRow", "ClassificationReport",
        "Estimate", "Evaluator", "Judgement", "NonInferiority", "ReliabilityBin", "agreement",
        "align_names",
        "class_changes", "classification_report", "conformal_half_width", "evaluator",
        "fit_temperature", "gate_metric", "independent_rows", "judge", "majority", "minimum_rows",
        "not_worse",
        "regression_report", "row_scores", "row_slices", "scores_by_name", "softmax",
        "table_baselines",
        "tfidf_svm", "unit_scores",
    }  # fmt: skip
    for name in volano.evaluation.__all__:
        assert hasattr(volano.evaluation, name)


def test_importing_it_costs_numpy_alone():
    code = (
        "import sys, volano.evaluation;"
        "print(sorted({'scipy', 'sklearn', 'torch', 'pandas'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
