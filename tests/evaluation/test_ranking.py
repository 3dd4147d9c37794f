"""ROC AUC, average precision and top-k accuracy against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, top_k_accuracy_score

from volano.evaluation import classification_report
from volano.evaluation.ranking import average_precision, roc_auc


@pytest.mark.parametrize("seed", range(8))
def test_order_is_measured_as_scikit_learn_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    positive = random.random(200) < 0.2
    # Rounded, so that many scores are equal.
    scores = np.round(random.random(200) + 0.4 * positive, 1 + seed % 3)
    assert roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    wanted = average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(wanted, abs=1e-12)


def test_two_classes_are_reported_with_intervals_that_hold_the_value() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    second = 1 / (1 + np.exp(-(2 * labels - 1 + random.normal(size=300))))
    found = classification_report(np.stack([1 - second, second], 1), labels, ["no", "yes"]).metrics
    assert found["roc_auc"].value == pytest.approx(roc_auc_score(labels, second))
    both = [average_precision_score(labels, second), average_precision_score(1 - labels, -second)]
    assert found["average_precision"].value == pytest.approx(np.mean(both))
    for name in ("roc_auc", "average_precision"):
        estimate = found[name]
        assert 0 < estimate.low < estimate.value < estimate.high < 1
    # Hanley and McNeil's standard error of an AUC near 0.92 on 150 + 150 rows is about 0.016.
    assert 0.03 < found["roc_auc"].high - found["roc_auc"].low < 0.1
    assert "top_3" not in found


def test_one_class_has_no_order_and_many_have_top_k() -> None:
    found = classification_report([[0.9, 0.1], [0.2, 0.8]], [0, 0], ["no", "yes"]).metrics
    assert "roc_auc" not in found
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.ones(7), 100)
    labels = random.integers(0, 7, 100)
    found = classification_report(shares, labels, list("abcdefg")).metrics
    for top in (3, 5):
        wanted = top_k_accuracy_score(labels, shares, k=top, labels=range(7))
        assert found[f"top_{top}"].value == pytest.approx(wanted)
        assert found[f"top_{top}"].low < wanted < found[f"top_{top}"].high
