"""Agreement of two models against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from volano.evaluation import agreement, evaluator
from volano.tasks.classification import Classification
from volano.tasks.multilabel import Multilabel
from volano.tasks.regression import Regression


def test_numbers_agree_by_the_variance_that_is_left() -> None:
    theirs = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    ours = np.array([1.0, 2.0, 3.0, 3.0, 9.0])
    assert agreement(ours, theirs) == pytest.approx(1 - (1 / 4) / 1.25)
    assert agreement(-9 * ours, theirs) == 0.0
    assert agreement(np.full(3, 2.0), np.full(3, 2.0)) == 1.0
    assert agreement(np.full(3, 2.1), np.full(3, 2.0)) == 0.0
    assert agreement(np.zeros(0), np.zeros(0)) == 1.0


def test_sets_agree_by_their_jaccard_index() -> None:
    ours = np.array([[True, True], [False, False], [True, False]])
    theirs = np.array([[True, False], [False, False], [False, True]])
    assert agreement(ours, theirs) == pytest.approx((0.5 + 1 + 0) / 3)


def test_what_tasks_compare_and_what_is_right() -> None:
    logits = np.array([[0.1, 2.0], [3.0, 1.0]], np.float32)
    names = evaluator("classification")
    np.testing.assert_array_equal(names.answers(Classification(("a", "b")), logits), [1, 0])
    np.testing.assert_array_equal(names.truth(np.array([1, -1])), [1, -1])
    numbers = evaluator("regression")
    answers = numbers.answers(Regression(), np.array([[1.5], [2.5]], np.float32))
    assert agreement(answers, numbers.truth(np.array([1.5, 2.5]))) == 1.0
    labels = evaluator("multilabel")
    task = Multilabel(("a", "b"), (0.5, 0.9), 1.0)
    np.testing.assert_array_equal(labels.answers(task, logits), [[True, False], [True, False]])
    truth = labels.truth(np.array([[1, 0, 2], [0, 1, 0]]))
    np.testing.assert_array_equal(truth, [[True, False], [False, True]])
