"""Linear models: ridge by the normal equation, logistic regression by L-BFGS.

Both are fitted at several penalties, and validation rows choose.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.models import LinearModel, TableFeature, table_arrays, table_features
from volano.training._learner import Fit, Job, table_refusal

__all__ = ["LinearLearner", "ridge"]

PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the mean loss per row; columns are scaled, so that one penalty suits them all."""

MAX_EXACT_COLUMNS = 4000
"""Columns of the design up to which the normal equation is solved exactly: 128 MB."""

MAX_ROWS = 200_000
"""Rows that logistic regression is fitted on at the most, taken at even distances."""

Floats = NDArray[np.float64]


def design(features: tuple[TableFeature, ...], numbers: Any, codes: Any) -> Any:
    """Numbers, marks of missing numbers, and one column per code; scipy CSR, float64."""
    from scipy import sparse

    absent = np.isnan(numbers)
    parts = [sparse.csr_array(np.where(absent, 0, numbers).astype(np.float64))]
    parts.append(sparse.csr_array(absent.astype(np.float64)))
    sizes = [feature.num_codes for feature in features if not feature.size]
    rows = np.arange(len(codes))
    for place, size in enumerate(sizes):
        ones = np.ones(len(codes))
        parts.append(sparse.csr_array((ones, (rows, codes[:, place])), shape=(len(codes), size)))
    return sparse.hstack(parts, format="csr")


def ridge(
    design_ND: Any, target_N: Floats, penalties: tuple[float, ...]
) -> list[tuple[Floats, float]]:
    """Ridge regression at several penalties from one decomposition.

        w = inv(Xc' Xc / n + a I) Xc' yc / n,   b = mean(y) - mean(x) w      (c: without the mean)

    Args:
      design_ND: Shape (num_rows, num_columns), numpy or scipy sparse.
      target_N: Shape (num_rows,).
      penalties: The a.
    Returns:
      For each penalty the weights, shape (num_columns,), and the bias.
    References:
      Hoerl, Kennard, `Ridge Regression <https://doi.org/10.1080/00401706.1970.10488634>`_, 1970.
    """
    num_rows, num_columns = design_ND.shape
    mean_D = np.asarray(design_ND.mean(axis=0)).ravel()
    mean = float(target_N.mean())
    product_D = np.asarray(design_ND.T @ (target_N - mean)).ravel() / num_rows
    if num_columns <= MAX_EXACT_COLUMNS:
        gram = design_ND.T @ design_ND
        gram_DD = np.asarray(gram.todense() if hasattr(gram, "todense") else gram) / num_rows
        gram_DD -= np.outer(mean_D, mean_D)
        values_D, vectors_DD = np.linalg.eigh(gram_DD)
        rotated_D = vectors_DD.T @ product_D
        values_D = np.maximum(values_D, 0)
        found = [vectors_DD @ (rotated_D / (values_D + penalty)) for penalty in penalties]
    else:
        from scipy.sparse.linalg import LinearOperator, cg

        found = []
        for penalty in penalties:

            def times(w: Floats, penalty: float = penalty) -> Floats:
                inner = design_ND @ w
                centred = np.asarray(design_ND.T @ inner).ravel() / num_rows
                product: Floats = centred - mean_D * float(mean_D @ w) + penalty * w
                return product

            operator = LinearOperator((num_columns, num_columns), matvec=times, dtype=np.float64)
            found.append(cg(operator, product_D, rtol=1e-8, maxiter=500)[0])
    return [(weights, mean - float(mean_D @ weights)) for weights in found]


class LinearLearner:
    """A weight for each number and each name: the simplest model, and often a good one."""

    name: ClassVar[str] = "linear"
    version: ClassVar[int] = 1

    @staticmethod
    def suits(job: Job) -> str | None:
        return table_refusal(job.prepared.inputs)

    @staticmethod
    def fit(job: Job) -> Fit:
        if job.task == "forecasting":
            from volano.training.linear_forecast import fit_linear_forecast

            return fit_linear_forecast(job)
        features = table_features(job.prepared.inputs)
        train, validation = job.prepared.split("train"), job.prepared.split("validation")
        target = np.asarray(train.target)
        rows = np.arange(len(target))
        if job.task == "classification" and len(target) > MAX_ROWS:
            # The first row of each class is in, or a rare class would be lost as a whole.
            first = np.unique(target, return_index=True)[1]
            rows = np.union1d(rows[:: -(-len(target) // MAX_ROWS)], first)
        train_ND = design(features, *table_arrays(features, train, rows))
        target = target[rows]
        weights = job.row_weights(train)
        steps = _regressions if job.task == "regression" else _classifications
        best: tuple[float, float, LinearModel] | None = None
        scores = []
        known = np.asarray(validation.target)
        for place, (penalty, coefficients, bias) in enumerate(
            steps(train_ND, target, job, None if weights is None else weights[rows])
        ):
            job.step("linear model", place + 1, len(PENALTIES) + 1)
            model = _model(features, coefficients, bias)
            loss = _loss(model.outputs(validation), known, job.task) if len(known) else penalty
            scores.append({"penalty": penalty, "validation_loss": loss})
            if best is None or loss < best[0]:
                best = (loss, penalty, model)
        assert best is not None
        model = best[2]
        return Fit(model, model.outputs(validation), {"penalty": best[1], "penalties": scores})


def _regressions(train_ND: Any, target: Any, job: Job, weights: Any) -> Any:
    del job, weights
    found = ridge(train_ND, target.astype(np.float64), PENALTIES)
    for penalty, (coefficients, bias) in zip(PENALTIES, found, strict=True):
        yield penalty, coefficients[:, None], np.array([bias])


def _classifications(train_ND: Any, target: Any, job: Job, weights: Any) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(target)
    for penalty in PENALTIES[1:]:
        machine = LogisticRegression(C=1 / (penalty * len(target)), max_iter=200)
        with warnings.catch_warnings():
            # Stopping early only makes the penalty a little larger.
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(train_ND, target, sample_weight=weights)
        coefficients = np.zeros((train_ND.shape[1], job.num_outputs))
        bias = np.full(job.num_outputs, -20.0)
        if len(present) == 2:
            # Two classes have one weight vector; half for each side gives the same odds.
            coefficients[:, present[1]] = machine.coef_[0] / 2
            coefficients[:, present[0]] = -machine.coef_[0] / 2
            bias[present[1]], bias[present[0]] = (
                machine.intercept_[0] / 2,
                -machine.intercept_[0] / 2,
            )
        else:
            coefficients[:, present], bias[present] = machine.coef_.T, machine.intercept_
        yield penalty, coefficients, bias


def _model(features: tuple[TableFeature, ...], coefficients: Floats, bias: Floats) -> LinearModel:
    num_numbers = sum(feature.size for feature in features)
    sizes = [feature.num_codes for feature in features if not feature.size]
    parts = np.split(
        coefficients.astype(np.float32),
        np.cumsum([num_numbers, num_numbers, *sizes])[:-1],
    )
    return LinearModel(
        features, parts[0], parts[1], tuple(parts[2:] if sizes else ()), bias.astype(np.float32)
    )


def _loss(outputs: Any, target: Any, task: str) -> float:
    if task == "regression":
        return float(np.mean((outputs[:, 0] - target) ** 2))
    known = target >= 0
    shifted = outputs[known] - outputs[known].max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(logs)), target[known]].mean())
