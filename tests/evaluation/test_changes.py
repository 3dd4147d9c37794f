"""Changes class by class: against scipy, statsmodels' Holm by hand, and by simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from volano.errors import DataError
from volano.evaluation import class_changes, judge


def test_counts_recall_and_order() -> None:
    targets = ["a"] * 4 + ["b"] * 3 + ["c"]
    before = ["a", "a", "b", "c", "b", "b", "b", "a"]
    after = ["a", "a", "a", "a", "a", "b", "b", "a"]
    found = class_changes(after, before, targets)
    assert [change.name for change in found] == ["a", "b", "c"]
    first = found[0]
    assert (first.support, first.before, first.after, first.effect) == (4, 0.5, 1.0, 0.5)
    assert (first.num_better, first.num_worse) == (2, 0)
    assert (first.given_before, first.given) == (3, 6)
    assert [change.effect for change in found[1:]] == pytest.approx([-1 / 3, 0])
    assert json.loads(json.dumps(first.as_dict())) == first.as_dict()


def test_p_is_the_two_sided_sign_test_and_the_interval_is_the_gates() -> None:
    rng = np.random.default_rng(0)
    targets = rng.choice(["x", "y", "z"], 300).tolist()
    before, after = (
        np.where(rng.random(300) < share, targets, "other").tolist() for share in (0.7, 0.8)
    )
    for change in class_changes(after, before, targets):
        trials = change.num_better + change.num_worse
        assert change.p == pytest.approx(stats.binomtest(change.num_better, trials).pvalue)
        rows = [place for place, name in enumerate(targets) if name == change.name]
        right, other = ([says[row] == change.name for row in rows] for says in (after, before))
        judged = judge(right, other, alpha=0.05)
        assert (change.low, change.high) == (judged.low, judged.high)


def test_holm_by_hand() -> None:
    # Better on 10 of 10, 6 of 6 and 1 of 1 rows: p = 2/1024, 2/64, 1.
    targets = ["a"] * 10 + ["b"] * 6 + ["c"]
    found = {change.name: change for change in class_changes(targets, ["no"] * 17, targets)}
    assert found["a"].adjusted_p == pytest.approx(3 * 2 / 1024)
    assert found["b"].adjusted_p == pytest.approx(2 * 2 / 64)
    assert found["c"].adjusted_p == 1.0


def test_of_many_classes_without_a_change_hardly_any_holds() -> None:
    rng = np.random.default_rng(1)
    targets = np.repeat([f"class {code}" for code in range(40)], 30)
    raised = alone = 0
    for _ in range(60):
        before, after = (np.where(rng.random(1200) < 0.7, targets, "no").tolist() for _ in "ab")
        found = class_changes(after, before, targets.tolist())
        raised += any(change.adjusted_p <= 0.05 for change in found)
        alone += any(change.low > 0 or change.high < 0 for change in found)
    assert raised <= 6  # of 60, at a level of 5%
    assert alone > 40  # single intervals are not to be read as if there were but one


def test_no_rows_and_uneven_rows_are_refused() -> None:
    for rows in ([], ["a"]):
        with pytest.raises(DataError, match=r"DATA-416"):
            class_changes(rows, [], rows)
