"""Gradient-boosted trees: grown by LightGBM, kept as plain arrays.

Ke et al., `LightGBM <https://papers.nips.cc/paper/6907>`_, 2017.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit
from volano.errors import AssetError
from volano.models import TableFeature, TreesModel, table_arrays, table_features, tree_matrix
from volano.training._learner import Fit, Job, table_refusal

__all__ = ["BoostedLearner", "name_ranks", "trees_of"]

Floats = NDArray[np.float32]

MAX_TREES = 3000
PATIENCE = 60
"""Rounds without progress on validation rows after which no more trees are grown."""

PRIOR_ROWS = 10.0
"""How many rows of the average target a name starts with: one row says little of its name."""


def name_ranks(
    features: Sequence[TableFeature], split: EncodedSplit, target: NDArray[np.float64]
) -> tuple[Floats, ...]:
    """For each column of names the place of each code, by the mean target of its training rows.

    Args:
      features: The columns.
      split: Training rows.
      target: A number for each row: the target, or whether it is the commoner class.
    Returns:
      Per column of names float32, shape (num_codes,): 0, 1, 2, ... in the order of the means.
    """
    _, codes = table_arrays(features, split)
    sizes = [feature.num_codes for feature in features if not feature.size]
    ranks = []
    for place, size in enumerate(sizes):
        sums = np.bincount(codes[:, place], weights=target, minlength=size)
        counts = np.bincount(codes[:, place], minlength=size)
        means = (sums + PRIOR_ROWS * target.mean()) / (counts + PRIOR_ROWS)
        order = np.argsort(means, kind="stable")
        rank = np.empty(size, np.float32)
        rank[order] = np.arange(size)
        ranks.append(rank)
    return tuple(ranks)


class BoostedLearner:
    """Trees that each mend what those before them got wrong: the best first guess for a table."""

    name: ClassVar[str] = "boosted"
    version: ClassVar[int] = 1

    @staticmethod
    def suits(job: Job) -> str | None:
        if job.task == "forecasting":
            return "it answers with one number or name, and a forecast has many"
        return table_refusal(job.prepared.inputs)

    @staticmethod
    def fit(job: Job) -> Fit:
        lightgbm = _lightgbm()
        features = table_features(job.prepared.inputs)
        train, validation = job.prepared.split("train"), job.prepared.split("validation")
        target = np.asarray(train.target)
        ranks = name_ranks(features, train, _ordering(target, job.task))
        matrix = tree_matrix(features, ranks, train)
        settings = _settings(job, len(target))
        data = lightgbm.Dataset(
            matrix, target, weight=job.row_weights(train), free_raw_data=True, params=settings
        )
        known = np.asarray(validation.target)
        usable = known >= 0 if job.task == "classification" else ~np.isnan(known)
        callbacks = [_progress(job)]
        sets = []
        curve: dict[str, Any] = {}
        if usable.any():
            validation_matrix = tree_matrix(features, ranks, validation)
            sets = [data.create_valid(validation_matrix[usable], known[usable])]
            callbacks += [
                lightgbm.early_stopping(PATIENCE, verbose=False),
                lightgbm.record_evaluation(curve),
            ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            booster = lightgbm.train(
                settings,
                data,
                num_boost_round=MAX_TREES if sets else 300,
                valid_sets=sets,
                valid_names=["validation"] if sets else None,
                callbacks=callbacks,
            )
        rounds = booster.best_iteration if sets else booster.current_iteration()
        model = trees_of(booster.dump_model(num_iteration=rounds), features, ranks, job.num_outputs)
        losses = next(iter(curve.get("validation", {"": []}).values()))
        every = max(1, len(losses) // 200)
        summary = {
            "settings": {key: value for key, value in settings.items() if key != "num_threads"},
            "trees": model.num_trees,
            "rounds": rounds,
            "losses": [float(f"{loss:.6g}") for loss in losses[::every]],
            "losses_every": every,
        }
        return Fit(model, model.outputs(validation), summary)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise AssetError(
            440,
            "LightGBM is not installed",
            where="boosted",
            fix="pip install 'volano[train]'",
        ) from error
    return lightgbm


def _ordering(target: NDArray[Any], task: str) -> NDArray[np.float64]:
    if task == "regression":
        return target.astype(np.float64)
    # One order must serve all classes; the commonest against the rest carries most of it.
    return np.asarray(target != np.bincount(target[target >= 0]).argmax(), np.float64)


def _settings(job: Job, num_rows: int) -> dict[str, Any]:
    outputs = job.num_outputs
    objective: dict[str, Any]
    if job.task == "regression":
        objective = {"objective": "regression"}
    elif outputs == 2:
        objective = {"objective": "binary"}
    else:
        objective = {"objective": "multiclass", "num_class": outputs}
    return {
        **objective,
        "learning_rate": 0.1 if num_rows < 2000 or outputs > 20 else 0.05,
        "num_leaves": 31,
        # Few rows: leaves of 20 would leave nothing to split.
        "min_data_in_leaf": max(1, min(20, num_rows // 50)),
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "max_bin": 255,
        "seed": job.spec.seed,
        # The same trees whatever the number of threads.
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 0,
        "verbosity": -1,
    }


def _progress(job: Job) -> Any:
    def report(environment: Any) -> None:
        job.step("growing trees", environment.iteration + 1, environment.end_iteration)

    return report


def trees_of(
    dump: dict[str, Any],
    features: Sequence[TableFeature],
    ranks: tuple[Floats, ...],
    num_outputs: int,
) -> TreesModel:
    """The arrays of a model that LightGBM dumped.

    With two classes there is one sum of trees, the logarithm of the odds: output 1, while output 0
    stays 0, which gives the same probabilities.
    """
    nodes: dict[str, list[Any]] = {
        key: []
        for key in (
            "tree",
            "column",
            "threshold",
            "left",
            "right",
            "missing_left",
            "output",
            "value",
        )
    }
    per_round = dump["num_tree_per_iteration"]

    def add(node: dict[str, Any], tree: int, output: int) -> int:
        place = len(nodes["tree"])
        leaf = "split_feature" not in node
        values = {
            "tree": tree,
            "column": -1 if leaf else node["split_feature"],
            "threshold": 0.0 if leaf else _rounded_down(node["threshold"]),
            "left": 0,
            "right": 0,
            "missing_left": False,
            "output": output,
            "value": node.get("leaf_value", 0.0) if leaf else 0.0,
        }
        if not leaf:
            # Without missing values in training, LightGBM takes one for a zero.
            values["missing_left"] = (
                node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
            )
        for key, value in values.items():
            nodes[key].append(value)
        if not leaf:
            nodes["left"][place] = add(node["left_child"], tree, output)
            nodes["right"][place] = add(node["right_child"], tree, output)
        return place

    for tree, info in enumerate(dump["tree_info"]):
        output = 1 if num_outputs == 2 else tree % per_round
        add(info["tree_structure"], tree, output)
    return TreesModel(
        tuple(features),
        ranks,
        np.zeros(num_outputs, np.float32),
        np.array(nodes["tree"], np.int64),
        np.array(nodes["column"], np.int64),
        np.array(nodes["threshold"], np.float32),
        np.array(nodes["left"], np.int64),
        np.array(nodes["right"], np.int64),
        np.array(nodes["missing_left"], np.bool_),
        np.array(nodes["output"], np.int64),
        np.array(nodes["value"], np.float32),
    )


def _rounded_down(threshold: float) -> float:
    """The largest float32 that is not above: then `x <= threshold` is the same for float32 x."""
    # LightGBM writes 1e300 for "everything goes left".
    rounded = np.float32(min(max(threshold, -3e38), 3e38))
    if float(rounded) > threshold:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)
