"""Forests: many trees, each grown on its own with some chance, kept as plain arrays.

Geurts et al., `Extremely Randomized Trees <https://doi.org/10.1007/s10994-006-6226-1>`_, 2006;
Breiman, `Random Forests <https://doi.org/10.1023/A:1010933404324>`_, 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from volano.models import TableFeature, TreesModel, table_features, tree_matrix
from volano.training._learner import Fit, Job, table_refusal
from volano.training.boosted import name_ranks, ordering, rounded_down

__all__ = ["ForestLearner", "forest_arrays"]

MAX_NODES = 400_000
"""Of all trees together, about 20 MB: a forest grows with its rows, and must still be served."""

MAX_ROWS = 200_000
"""Rows that a forest is grown from at the most, taken at even distances."""

TREES_AT_A_TIME = 20
"""So many are grown between two looks at the time."""


class ForestLearner:
    """The mean of many trees: hard to get wrong where rows are few or noisy."""

    name: ClassVar[str] = "forest"
    version: ClassVar[int] = 1

    @staticmethod
    def suits(job: Job) -> str | None:
        if job.task == "forecasting":
            return "it answers with one number or name, and a forecast has many"
        if job.task == "multilabel":
            return "its trees answer with one number or name, and a row has several"
        if job.task == "regression" and job.spec.loss not in ("auto", "squared"):
            return f"it answers with means, which is not what the loss {job.spec.loss} asks for"
        return table_refusal(job.prepared.inputs)

    @staticmethod
    def defaults(job: Job) -> Sequence[dict[str, Any]]:
        # Extra trees are as good as a rule, and grow in a third of the time.
        del job
        return ({"extra": 1},)

    @staticmethod
    def space(job: Job) -> dict[str, Any]:
        del job
        return {}

    @staticmethod
    def fit(job: Job) -> Fit:
        from sklearn import ensemble

        features = table_features(job.prepared.inputs)
        train = job.train
        target = np.asarray(train.target)
        ranks = name_ranks(features, train, ordering(target, job.task))
        matrix = tree_matrix(features, ranks, train)
        weights = job.row_weights(train)
        every = max(1, -(-len(target) // MAX_ROWS))
        matrix, target = matrix[::every], target[::every]
        extra = bool(job.settings.get("extra", 1))
        regression = job.task == "regression"
        num_trees = 200 if len(target) <= 5000 else 100
        kind = getattr(
            ensemble,
            ("ExtraTrees" if extra else "RandomForest")
            + ("Regressor" if regression else "Classifier"),
        )
        grown = kind(
            TREES_AT_A_TIME,
            warm_start=True,  # the same trees as all at once: each has a seed of its own
            max_features=0.5 if regression else "sqrt",
            max_leaf_nodes=max(2, MAX_NODES // (2 * num_trees)) if len(target) > 1000 else None,
            random_state=job.spec.seed,
            n_jobs=-1 if len(target) > 2000 else 1,
        )
        weights = None if weights is None else weights[::every]
        for grown.n_estimators in range(TREES_AT_A_TIME, num_trees + 1, TREES_AT_A_TIME):
            grown.fit(matrix, target, sample_weight=weights)
            job.step("growing a forest", grown.n_estimators, num_trees)
            if job.late:
                break
        model = forest_arrays(grown, features, ranks, job.num_outputs, shares=not regression)
        summary = {"trees": grown.n_estimators, "kind": kind.__name__, "nodes": model.num_weights()}
        return Fit(model, model.outputs(job.validation), summary)


def forest_arrays(
    grown: Any,
    features: Sequence[TableFeature],
    ranks: Any,
    num_outputs: int,
    *,
    shares: bool,
) -> TreesModel:
    """The arrays of a forest of scikit-learn.

    Args:
      grown: A fitted forest.
      features: The columns.
      ranks: See `name_ranks`.
      num_outputs: Classes, or 1.
      shares: Whether it tells shares of classes. Their logarithms are the outputs, and no share is
        0: a class that no tree names gets what half a tree that knows nothing would give it.
    """
    trees = [item.tree_ for item in grown.estimators_]
    sizes = [tree.node_count for tree in trees]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    num_trees = len(trees)
    places = np.asarray(grown.classes_, np.int64) if shares else np.zeros(1, np.int64)
    leaf, output, value = [], [], []
    for tree, start in zip(trees, starts.tolist(), strict=True):
        ends = np.flatnonzero(tree.children_left < 0)
        table = tree.value[ends, 0]
        if shares:
            table = table / table.sum(axis=1, keepdims=True)
        rows, columns = np.nonzero(table)
        leaf.append(ends[rows] + start)
        output.append(places[columns])
        value.append(table[rows, columns])
    weight = 1 / (num_trees + 0.5) if shares else 1 / num_trees
    base = np.full(num_outputs, weight * 0.5 / num_outputs if shares else 0.0, np.float32)
    inner = [tree.children_left >= 0 for tree in trees]
    joined = np.concatenate(inner)
    threshold = np.concatenate([tree.threshold for tree in trees])
    return TreesModel(
        tuple(features),
        tuple(ranks),
        base,
        np.repeat(np.arange(num_trees), sizes),
        np.where(joined, np.concatenate([tree.feature for tree in trees]), -1).astype(np.int64),
        np.where(joined, rounded_down(threshold), 0).astype(np.float32),
        _shifted(trees, starts, "children_left"),
        _shifted(trees, starts, "children_right"),
        np.concatenate([tree.missing_go_to_left for tree in trees]).astype(np.bool_) & joined,
        np.concatenate(leaf).astype(np.int64),
        np.concatenate(output).astype(np.int64),
        (np.concatenate(value) * weight).astype(np.float32),
        shares=shares,
    )


def _shifted(trees: Sequence[Any], starts: Any, name: str) -> Any:
    parts = []
    for tree, start in zip(trees, starts.tolist(), strict=True):
        child = getattr(tree, name)
        parts.append(np.where(child >= 0, child + start, 0))
    return np.concatenate(parts).astype(np.int64)
