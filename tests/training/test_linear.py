"""Linear models against the plain normal equation and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixed_tables import KINDS, encoded, fitted, job_of, mixed_rows
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from volano.models import LinearModel, load_model, save_model, table_arrays, table_features
from volano.training import learner, linear
from volano.training.linear import LinearLearner, design, ridge

PENALTIES = (1e-6, 1e-3, 1.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_ridge_is_the_normal_equation_and_scikit_learns(seed: int, is_sparse: bool) -> None:
    random = np.random.default_rng(seed)
    num_rows, num_columns = int(random.integers(5, 60)), int(random.integers(1, 12))
    table = random.normal(3, 2, (num_rows, num_columns)) * (random.random(num_columns) < 0.7)
    target = random.normal(100, 20, num_rows)
    matrix = sparse.csr_array(table) if is_sparse else table
    for penalty, (weights, bias) in zip(PENALTIES, ridge(matrix, target, PENALTIES), strict=True):
        # (1/n) |y - Xw - b|^2 + a |w|^2; scikit-learn's penalty is of the sum, not the mean
        reference = Ridge(alpha=penalty * num_rows).fit(table, target)
        np.testing.assert_allclose(weights, reference.coef_, rtol=1e-6, atol=1e-7)
        assert bias == pytest.approx(reference.intercept_, rel=1e-7)
        centred = table - table.mean(0)
        gram = centred.T @ centred / num_rows + penalty * np.eye(num_columns)
        plain = np.linalg.solve(gram, centred.T @ (target - target.mean()) / num_rows)
        if penalty >= 1e-3:
            np.testing.assert_allclose(weights, plain, rtol=1e-9, atol=1e-9)


def test_one_number_in_one_out_is_the_line_through_the_points() -> None:
    x = np.arange(100.0)
    ((weights, bias),) = ridge(x[:, None], 3 * x + 7, (0.0,))
    np.testing.assert_allclose([weights[0], bias], [3, 7], rtol=1e-9)


def test_thousands_of_columns_are_solved_by_conjugate_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    matrix = sparse.random_array((300, 80), density=0.1, rng=random, format="csr")
    target = matrix @ random.normal(0, 3, 80) + random.normal(5, 1, 300)
    exact = ridge(matrix, target, PENALTIES)
    monkeypatch.setattr(linear, "MAX_EXACT_COLUMNS", 10)
    for (weights, bias), (wanted, wanted_bias) in zip(
        ridge(matrix, target, PENALTIES), exact, strict=True
    ):
        np.testing.assert_allclose(weights, wanted, rtol=1e-4, atol=1e-5)
        assert bias == pytest.approx(wanted_bias, rel=1e-5)


def test_the_design_has_numbers_marks_and_one_column_a_name() -> None:
    rows = {"a": ["1", "", "3"], "c": ["x", "y", "x"]}
    columns = fitted({"a": "number", "c": "category"}, rows)
    features = table_features(columns)
    found = design(features, *table_arrays(features, encoded(columns, rows, [0, 1, 0]))).toarray()
    np.testing.assert_allclose(
        found, [[-1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [1, 0, 0, 1, 0]], atol=1e-7
    )


def test_a_regression_picks_its_penalty_on_validation_rows(tmp_path: Path) -> None:
    rows, right = mixed_rows(300, 0)
    more, more_right = mixed_rows(200, 1)
    columns = fitted(KINDS, rows)
    train, validation = encoded(columns, rows, right), encoded(columns, more, more_right)
    fit = LinearLearner.fit(job_of(columns, train, validation, tmp_path))
    scores = {row["penalty"]: row["validation_loss"] for row in fit.summary["penalties"]}
    assert fit.summary["penalty"] == min(scores, key=scores.__getitem__)
    error = np.sqrt(np.mean((fit.outputs[:, 0] - more_right) ** 2))
    assert error < 10 < np.std(more_right), "noise of 5, and gaps that hide some of the age"
    np.testing.assert_array_equal(fit.outputs, fit.model.outputs(validation))
    save_model(fit.model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", columns)
    np.testing.assert_array_equal(loaded.outputs(validation), fit.outputs)
    assert loaded.num_weights() == fit.model.num_weights()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_logistic_regression_is_scikit_learns(tmp_path: Path, num_classes: int) -> None:
    rows, right = mixed_rows(240, 0)
    more, more_right = mixed_rows(100, 1)
    cuts = np.quantile(right, np.linspace(0, 1, num_classes + 1)[1:-1])
    target, more_target = np.digitize(right, cuts), np.digitize(more_right, cuts)
    columns = fitted(KINDS, rows)
    train, validation = encoded(columns, rows, target), encoded(columns, more, more_target)
    names = tuple("abc"[:num_classes])
    fit = LinearLearner.fit(job_of(columns, train, validation, tmp_path, names=names))
    features = table_features(columns)
    matrices = [design(features, *table_arrays(features, split)) for split in (train, validation)]
    reference = LogisticRegression(C=1 / (fit.summary["penalty"] * 240), max_iter=200)
    wanted = reference.fit(matrices[0], target).predict_proba(matrices[1])
    exponentials = np.exp(fit.outputs - fit.outputs.max(axis=1, keepdims=True))
    found = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_class_without_training_rows_is_never_likely(tmp_path: Path) -> None:
    rows, right = mixed_rows(120, 0)
    columns = fitted(KINDS, rows)
    target = np.where(right > np.median(right), 2, 0)
    split = encoded(columns, rows, target)
    fit = LinearLearner.fit(job_of(columns, split, split, tmp_path, names=("a", "b", "c")))
    assert (fit.outputs[:, 1] < fit.outputs[:, [0, 2]].max(axis=1) - 10).all()
    assert (fit.outputs.argmax(axis=1) == target).mean() > 0.9


def test_a_rare_class_stays_when_only_some_rows_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "MAX_ROWS", 40)
    rows, _ = mixed_rows(120, 0)
    columns = fitted(KINDS, rows)
    target = np.zeros(120, np.int64)
    target[61] = 1
    split = encoded(columns, rows, target)
    fit = LinearLearner.fit(
        job_of(columns, split, split, tmp_path, names=("a", "b"), class_weights="balanced")
    )
    assert np.isfinite(fit.outputs).all()
    assert fit.outputs[61].argmax() == 1


def test_a_row_far_outside_still_has_an_answer(tmp_path: Path) -> None:
    rows, right = mixed_rows(120, 0)
    columns = fitted(KINDS, rows)
    split = encoded(columns, rows, right * 1e6)
    model = LinearLearner.fit(job_of(columns, split, split, tmp_path)).model
    assert isinstance(model, LinearModel)
    far = {**{name: values[:1] for name, values in rows.items()}, "size": ["1e308"]}
    assert np.isfinite(model.outputs(encoded(columns, far, [0.0]))).all()


def test_texts_are_refused(tmp_path: Path) -> None:
    columns = fitted({"words": "text"}, {"words": ["good tea", "bad tea"] * 9})
    job = job_of(columns, None, None, tmp_path)  # type: ignore[arg-type]
    for name in ("linear", "boosted"):
        assert learner(name).suits(job) == (
            "it takes numbers and names, and the column 'words' is neither"
        )
