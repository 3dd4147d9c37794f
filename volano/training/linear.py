"""Linear models: ridge by the normal equation, logistic regression by L-BFGS, all else by SGD.

Of several names each has a logistic regression of its own.

Each is fitted at several penalties, and validation rows choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.errors import TrainError
from volano.models import (
    LinearModel,
    TableFeature,
    is_sparse,
    sparse_matrix,
    sparse_sizes,
    table_arrays,
    table_features,
)
from volano.training._descent import descend, smooth_loss
from volano.training._learner import Fit, Job, table_refusal
from volano.training.boosted import huber_width

__all__ = ["LinearLearner", "ridge"]

PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the mean loss per row; columns are scaled, so that one penalty suits them all."""

MAX_EXACT_COLUMNS = 4000
"""Columns of the design up to which the normal equation is solved exactly: 128 MB."""

MAX_ROWS = 200_000
"""Rows that logistic regression is fitted on at the most, taken at even distances."""

Floats = NDArray[np.float64]


def design(
    features: tuple[TableFeature, ...], numbers: Any, codes: Any, more: Sequence[Any] = ()
) -> Any:
    """Numbers, marks of missing numbers, one column per code, sparse ones; scipy CSR, float64."""
    from scipy import sparse

    absent = np.isnan(numbers)
    parts = [sparse.csr_array(np.where(absent, 0, numbers).astype(np.float64))]
    parts.append(sparse.csr_array(absent.astype(np.float64)))
    sizes = [feature.num_codes for feature in features if not feature.size]
    rows = np.arange(len(codes))
    for place, size in enumerate(sizes):
        ones = np.ones(len(codes))
        parts.append(sparse.csr_array((ones, (rows, codes[:, place])), shape=(len(codes), size)))
    return sparse.hstack([*parts, *more], format="csr")


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
        # Columns that say nothing new have no direction of their own, and get no weight.
        least = values_D.max(initial=0.0) * 1e-12
        found = []
        for penalty in penalties:
            safe_D = np.where(values_D > least, values_D + penalty, np.inf)
            found.append(vectors_DD @ (rotated_D / safe_D))
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
    version: ClassVar[int] = 2

    @staticmethod
    def suits(job: Job) -> str | None:
        dense = {
            name: column for name, column in job.prepared.inputs.items() if not is_sparse(column)
        }
        return table_refusal(dense)

    @staticmethod
    def defaults(job: Job) -> Sequence[dict[str, Any]]:
        del job
        return ({},)

    @staticmethod
    def space(job: Job) -> dict[str, Any]:
        del job
        return {}

    @staticmethod
    def fit(job: Job) -> Fit:
        if job.task == "forecasting":
            from volano.training.linear_forecast import fit_linear_forecast

            return fit_linear_forecast(job)
        features = table_features(job.prepared.inputs)
        train, validation = job.train, job.validation
        target = np.asarray(train.target)
        way = _way(job)
        rows = np.arange(len(target))
        if way != "ridge" and len(target) > MAX_ROWS:
            rows = rows[:: -(-len(target) // MAX_ROWS)]
            if job.task == "multilabel":
                names, places = np.nonzero(target[:, :-1].T)
                rows = np.union1d(rows, places[np.unique(names, return_index=True)[1]])
            if job.task == "classification":
                # The first row of each class is in, or a rare class would be lost as a whole.
                rows = np.union1d(rows, np.unique(target, return_index=True)[1])
        sizes = sparse_sizes(job.prepared.inputs)
        more = [sparse_matrix(train.columns[name], size, rows) for name, size in sizes.items()]
        train_ND = design(features, *table_arrays(features, train, rows), more)
        target = target[rows]
        if job.task == "multilabel":
            target = np.asarray(target[:, :-1] > 0, np.float64)
        weights = job.row_weights(train)
        penalties = PENALTIES[job.task != "regression" :]
        if job.spec.penalty == "none":
            penalties = (0.0,)
        if "penalty" in job.settings:
            penalties = (job.settings["penalty"],)
        best: tuple[float, float, LinearModel] | None = None
        scores = []
        known = np.asarray(validation.target)
        loss = _loss(job)
        for place, (penalty, coefficients, bias) in enumerate(
            _WAYS[way](train_ND, target, job, None if weights is None else weights[rows], penalties)
        ):
            job.step("linear model", place + 1, len(penalties) + 1)
            model = _model(features, coefficients, bias, sizes)
            found = loss(model.outputs(validation), known) if len(known) else penalty
            scores.append({"penalty": penalty, "validation_loss": found})
            if best is None or found < best[0]:
                best = (found, penalty, model)
            if job.late:
                break  # a penalty that is not the best one is better than none
        assert best is not None
        model = best[2]
        summary = {"penalty": best[1], "penalties": scores, "solver": way}
        return Fit(model, model.outputs(validation), summary, {"penalty": best[1]})


def _way(job: Job) -> str:
    """How the spec's loss, penalty and solver are met: ``ridge``, ``logistic`` or ``descent``."""
    spec = job.spec
    regression = job.task == "regression"
    usual = spec.loss in ("auto", "squared" if regression else "cross_entropy")
    exact = usual and spec.penalty in ("auto", "none", "l2")
    if spec.solver == "exact" and not (exact and regression):
        raise TrainError(
            4,
            "there is no exact solution of this loss and penalty",
            where="train.solver",
            expected="exact with the squared loss of numbers, and penalty l2 or none",
            fix="train: {solver: auto}",
        )
    if spec.solver == "sgd" or not exact:
        return "descent"
    if job.task == "multilabel":
        return "several"
    return "ridge" if regression else "logistic"


def _ridges(train_ND: Any, target: Any, job: Job, weights: Any, penalties: Any) -> Any:
    del job, weights
    found = ridge(train_ND, target.astype(np.float64), penalties)
    for penalty, (coefficients, bias) in zip(penalties, found, strict=True):
        yield penalty, coefficients[:, None], np.array([bias])


def _descents(train_ND: Any, target: Any, job: Job, weights: Any, penalties: Any) -> Any:
    """By gradient descent, the strongest penalty first, each from where the last one ended."""
    spec = job.spec
    regression = job.task == "regression"
    centre, spread = 0.0, 1.0
    if regression:
        # At deviation 1, one rate and one penalty suit every target.
        target = target.astype(np.float64)
        centre, spread = float(target.mean()), float(target.std()) or 1.0
        target = (target - centre) / spread
    name: str = spec.loss if spec.loss != "auto" else ("squared" if regression else "cross_entropy")
    width = huber_width(target) if name == "huber" else 1.0
    positive = None
    if job.task == "multilabel":
        name, positive = "binary", job.label_weights(target)
    loss = smooth_loss(name, quantile=spec.quantile, width=width, positive=positive)
    half = {"l1": (1.0, 0.0), "elastic": (0.5, 0.5)}.get(spec.penalty, (0.0, 1.0))
    found = None
    for penalty in sorted(penalties, reverse=True):
        found = descend(
            train_ND,
            target,
            loss,
            job.num_outputs,
            l1=half[0] * penalty,
            l2=half[1] * penalty,
            row_weights=weights,
            seed=spec.seed,
            start=found,
        )
        yield penalty, found[:-1] * spread, found[-1] * spread + centre


def _logistics(train_ND: Any, target: Any, job: Job, weights: Any, penalties: Any) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(target)
    for penalty in penalties:
        strength = np.inf if penalty == 0 else 1 / (penalty * len(target))
        machine = LogisticRegression(C=strength, max_iter=200)
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


def _several(train_ND: Any, target: Any, job: Job, weights: Any, penalties: Any) -> Any:
    """A logistic regression for each name, all at once, the strongest penalty first.

    The loss is a sum over the names, each with weights of its own: its least is the least of each.
    """
    from scipy.optimize import minimize

    del weights
    num_rows, num_columns = train_ND.shape
    loss = smooth_loss("binary", positive=job.label_weights(target))
    share = (target.sum(axis=0) + 1) / (num_rows + 2)
    shape = (num_columns + 1, target.shape[1])
    w = np.zeros(shape)
    w[-1] = np.log(share / (1 - share))

    for penalty in sorted(penalties, reverse=True):

        def worth(flat: Floats, penalty: float = penalty) -> tuple[float, Floats]:
            w = flat.reshape(shape)
            losses, slopes = loss(np.asarray(train_ND @ w[:-1] + w[-1]), target)
            gradient = np.concatenate(
                [
                    np.asarray(train_ND.T @ slopes) / num_rows + penalty * w[:-1],
                    slopes.sum(axis=0)[None] / num_rows,
                ]
            )
            return float(losses.mean()) + penalty / 2 * float((w[:-1] ** 2).sum()), gradient.ravel()

        # Stopping early only makes the penalty a little larger.
        found = minimize(worth, w.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
        w = found.x.reshape(shape)
        yield penalty, w[:-1], w[-1]


_WAYS = {"ridge": _ridges, "logistic": _logistics, "descent": _descents, "several": _several}


def _model(
    features: tuple[TableFeature, ...],
    coefficients: Floats,
    bias: Floats,
    sparse: Mapping[str, int],
) -> LinearModel:
    num_numbers = sum(feature.size for feature in features)
    sizes = [feature.num_codes for feature in features if not feature.size]
    parts = np.split(
        coefficients.astype(np.float32),
        np.cumsum([num_numbers, num_numbers, *sizes, *sparse.values()])[:-1],
    )
    return LinearModel(
        features,
        parts[0],
        parts[1],
        tuple(parts[2 : 2 + len(sizes)]),
        bias.astype(np.float32),
        dict(zip(sparse, parts[2 + len(sizes) :], strict=True)),
    )


def _loss(job: Job) -> Any:
    """What validation rows choose the penalty by: outputs, targets -> mean loss."""
    regression = job.task == "regression"
    name = (
        job.spec.loss if job.spec.loss != "auto" else "squared" if regression else "cross_entropy"
    )
    target = np.asarray(job.train.target)
    unit = (float(target.astype(np.float64).std()) or 1.0) if regression else 1.0
    width = huber_width(target) / unit if name == "huber" else 1.0
    loss = smooth_loss(name, quantile=job.spec.quantile, width=width)

    if job.task == "multilabel":
        decided = smooth_loss("binary")
        return lambda outputs, targets: float(
            decided(outputs.astype(np.float64), np.asarray(targets[:, :-1] > 0, np.float64))[
                0
            ].mean()
        )

    def mean(outputs: Any, targets: Any) -> float:
        known = ~np.isnan(targets) if regression else targets >= 0
        values = outputs[known].astype(np.float64)
        # In the target's own deviations, as everywhere a loss is bent.
        found = loss(values / unit, targets[known] / unit if regression else targets[known])[0]
        return float(found.mean()) * (2 * unit**2 if name == "squared" else 1.0)

    return mean
