"""The room as a whole: what it offers and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import volano.evaluation


def test_the_public_surface():
    assert set(volano.evaluation.__all__) == {
        "BASELINES", "AlphaSpending", "Baseline", "ClassChange", "ClassRow", "ClassificationReport",
        "Estimate", "Judgement", "NonInferiority", "ReliabilityBin", "align_names",
        "class_changes", "classification_report", "fit_temperature", "judge", "majority",
        "minimum_rows", "not_worse", "row_scores", "scores_by_name", "softmax", "tfidf_svm",
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
