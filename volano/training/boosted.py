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

__all__ = [
    "LEAST_GAIN",
    "MAX_TREES",
    "MAX_TREES_OF_FEW",
    "PATIENCE",
    "BoostedLearner",
    "huber_width",
    "import_lightgbm",
    "name_ranks",
    "ordering",
    "rounded_down",
    "settings_of",
    "stop_when_late",
    "trees_of",
]

Floats = NDArray[np.float32]

MAX_TREES, MAX_TREES_OF_FEW = 3000, 500
PATIENCE = 60
"""Rounds without progress on validation rows after which no more trees are grown."""

LEAST_GAIN = 1e-5
"""What is called progress, as a share of the loss of an answer that knows nothing: where classes
can be told apart without fail, the loss goes on falling for ever."""

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
      Per column of names float32, shape (num_codes,): 0, 1, 2, ... in the order of the means;
      of keys in the order of the codes, the commonest first.
    """
    _, codes = table_arrays(features, split)
    named = [feature for feature in features if not feature.size]
    ranks = []
    for place, feature in enumerate(named):
        size = feature.num_codes
        if not feature.by_target:
            ranks.append(np.arange(size, dtype=np.float32))
            continue
        sums = np.bincount(codes[:, place], weights=target, minlength=size)
        counts = np.bincount(codes[:, place], minlength=size)
        means = (sums + PRIOR_ROWS * target.mean()) / (counts + PRIOR_ROWS)
        order = np.argsort(means, kind="stable")
        rank = np.empty(size, np.float32)
        rank[order] = np.arange(size)
        ranks.append(rank)
    return tuple(ranks)


DEFAULTS: tuple[dict[str, Any], ...] = (
    {
        "learning_rate": 0.03,
        "num_leaves": 63,
        "min_data_in_leaf": 20,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "lambda_l2": 1.0,
    },
    {
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 10,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "lambda_l2": 1.0,
    },
    {
        "learning_rate": 0.05,
        "num_leaves": 31,
        "min_data_in_leaf": 20,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "lambda_l2": 1.0,
    },
)
"""Settings that are good as a rule: large trees of a part of the columns each, and small ones."""

FAST_RATE = 0.1
"""The least learning rate where rows are few, or where every class needs a tree of its own."""

MAX_NAMES = 100
"""Names of one target that trees are grown for, one forest of them for each."""

LEAST_STEP = 10
"""Rounds between two looks at the loss by those who may stop the fit."""


class BoostedLearner:
    """Trees that each mend what those before them got wrong: the best first guess for a table."""

    name: ClassVar[str] = "boosted"
    version: ClassVar[int] = 2

    @staticmethod
    def suits(job: Job) -> str | None:
        if job.task == "forecasting":
            return "it answers with one number or name, and a forecast has many"
        if job.task == "multilabel" and job.num_outputs > MAX_NAMES:
            return f"it grows trees for each name, for {MAX_NAMES} at most, not {job.num_outputs}"
        return table_refusal(job.prepared.inputs)

    @staticmethod
    def defaults(job: Job) -> Sequence[dict[str, Any]]:
        num_rows = job.train.num_rows
        least = FAST_RATE if num_rows < 2000 or job.num_outputs > 5 else 0.0
        # Few rows tell settings apart by chance alone.
        found = DEFAULTS[1:2] if num_rows < 500 else DEFAULTS
        return [{**item, "learning_rate": max(least, item["learning_rate"])} for item in found]

    @staticmethod
    def space(job: Job) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution, IntDistribution

        del job
        return {
            "learning_rate": FloatDistribution(0.01, 0.2, log=True),
            "num_leaves": IntDistribution(7, 255, log=True),
            "min_data_in_leaf": IntDistribution(1, 100, log=True),
            "feature_fraction": FloatDistribution(0.3, 1.0),
            "bagging_fraction": FloatDistribution(0.5, 1.0),
            "lambda_l2": FloatDistribution(0.01, 30.0, log=True),
        }

    @staticmethod
    def fit(job: Job) -> Fit:
        if job.task == "multilabel":
            from volano.training._boosted_labels import fit_labels

            return fit_labels(job)
        lightgbm = import_lightgbm()
        features = table_features(job.prepared.inputs)
        train, validation = job.train, job.validation
        target = np.asarray(train.target)
        ranks = name_ranks(features, train, ordering(target, job.task))
        matrix = tree_matrix(features, ranks, train)
        settings = settings_of(job, len(target))
        data = lightgbm.Dataset(
            matrix, target, weight=job.row_weights(train), free_raw_data=True, params=settings
        )
        known = np.asarray(validation.target)
        usable = known >= 0 if job.task == "classification" else ~np.isnan(known)
        callbacks = [_progress(job)]
        sets = []
        curve: dict[str, Any] = {}
        most = MAX_TREES if len(target) > 2000 else MAX_TREES_OF_FEW
        fixed = int(job.settings.get("rounds", 0))
        if usable.any() and not fixed:
            validation_matrix = tree_matrix(features, ranks, validation)
            sets = [data.create_valid(validation_matrix[usable], known[usable])]
            callbacks += [
                lightgbm.early_stopping(
                    PATIENCE, verbose=False, min_delta=LEAST_GAIN * _scale(target, job)
                ),
                lightgbm.record_evaluation(curve),
            ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            booster = lightgbm.train(
                settings,
                data,
                num_boost_round=fixed or (most if sets else 300),
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
        return Fit(model, model.outputs(validation), summary, {"rounds": rounds})


def huber_width(target: NDArray[Any]) -> float:
    """Where Huber's loss turns from squared to absolute: 1.345 robust deviations of the target.

    Huber, `Robust Estimation of a Location Parameter
    <https://doi.org/10.1214/aoms/1177703732>`_, 1964: 95% as good as squares for normal errors.
    """
    values = np.asarray(target, np.float64)
    deviation = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return 1.345 * (deviation or float(values.std()) or 1.0)


def import_lightgbm() -> Any:
    """LightGBM.

    Raises:
      AssetError: It is not installed (ASSET-440).
    """
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


def ordering(target: NDArray[Any], task: str) -> NDArray[np.float64]:
    if task == "regression":
        return target.astype(np.float64)
    if task == "multilabel":
        # The name that parts the rows most evenly carries most.
        shares = np.asarray(target[:, :-1] > 0).mean(axis=0)
        return np.asarray(target[:, int(np.argmin(np.abs(shares - 0.5)))] > 0, np.float64)
    # One order must serve all classes; the commonest against the rest carries most of it.
    return np.asarray(target != np.bincount(target[target >= 0]).argmax(), np.float64)


_LOSSES = {"squared": "regression", "absolute": "regression_l1", "huber": "huber"}


def settings_of(job: Job, num_rows: int) -> dict[str, Any]:
    """What LightGBM is told."""
    outputs = job.num_outputs if job.task != "multilabel" else 2
    objective: dict[str, Any]
    if job.task != "regression":
        objective = {"objective": "binary"}
        if outputs != 2:
            objective = {"objective": "multiclass", "num_class": outputs}
    elif job.spec.loss == "quantile":
        objective = {"objective": "quantile", "alpha": job.spec.quantile}
    else:
        objective = {"objective": _LOSSES.get(job.spec.loss, "regression")}
        if job.spec.loss == "huber":
            # In units of the target, as everywhere here: beyond 1.35 robust deviations.
            objective["alpha"] = huber_width(np.asarray(job.train.target))
    chosen = {**BoostedLearner.defaults(job)[0], **job.settings}
    # What the folds chose is no setting of LightGBM's.
    chosen = {name: value for name, value in chosen.items() if not name.startswith("rounds")}
    # Few rows: leaves of 20 would leave nothing to split.
    chosen["min_data_in_leaf"] = max(1, min(chosen["min_data_in_leaf"], num_rows // 50))
    return {
        **objective,
        **chosen,
        "bagging_freq": 1,
        "max_bin": 255,
        "seed": job.spec.seed,
        # The same trees whatever the number of threads.
        "deterministic": True,
        "force_row_wise": True,
        # Threads that wait for each other are slower than one where there is little to do.
        "num_threads": 1 if num_rows < 2000 else 0,
        "verbosity": -1,
    }


def _scale(target: NDArray[Any], job: Job) -> float:
    """The loss of an answer that knows nothing, more or less."""
    if job.task != "regression":
        return 1.0
    squares = job.spec.loss in ("auto", "squared", "huber")
    return float(np.var(target) if squares else np.std(target))


def stop_when_late(job: Job) -> Any:
    """What ends a fit, with the trees there are, when its time is over."""
    from lightgbm.callback import EarlyStopException

    def look(environment: Any) -> None:
        found = environment.evaluation_result_list
        if environment.iteration % LEAST_STEP == 0 and found and job.late:
            raise EarlyStopException(environment.iteration, found)

    return look


def _progress(job: Job) -> Any:
    from lightgbm.callback import EarlyStopException

    def report(environment: Any) -> None:
        done = environment.iteration + 1
        job.step("growing trees", done, environment.end_iteration)
        if done % LEAST_STEP == 0 and environment.evaluation_result_list:
            # Half the rate needs twice the rounds: so much has been learned by now.
            place = round(1000 * done * environment.params["learning_rate"])
            job.watch(place, float(environment.evaluation_result_list[0][2]))
            if job.late:
                best = environment.evaluation_result_list
                raise EarlyStopException(environment.iteration, best)

    return report


def trees_of(
    dump: dict[str, Any],
    features: Sequence[TableFeature],
    ranks: tuple[Floats, ...],
    num_outputs: int,
    outputs: Sequence[int] | None = None,
    base: Floats | None = None,
) -> TreesModel:
    """The arrays of a model that LightGBM dumped.

    With two classes there is one sum of trees, the logarithm of the odds: output 1, while output 0
    stays 0, which gives the same probabilities.

    Args:
      dump: From LightGBM.
      features: The columns.
      ranks: See `name_ranks`.
      num_outputs: Of the model.
      outputs: The output that each tree adds to; None goes by the dump.
      base: What the sums start from, shape (num_outputs,); None: 0.
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
        )
    }
    leaves: dict[str, list[Any]] = {"leaf": [], "output": [], "value": []}
    per_round = dump["num_tree_per_iteration"]

    def add(node: dict[str, Any], tree: int, output: int) -> int:
        place = len(nodes["tree"])
        leaf = "split_feature" not in node
        values = {
            "tree": tree,
            "column": -1 if leaf else node["split_feature"],
            "threshold": 0.0 if leaf else node["threshold"],
            "left": 0,
            "right": 0,
            "missing_left": False,
        }
        if leaf:
            for key, value in (("leaf", place), ("output", output), ("value", node["leaf_value"])):
                leaves[key].append(value)
        else:
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
        if outputs is not None:
            output = outputs[tree]
        add(info["tree_structure"], tree, output)
    return TreesModel(
        tuple(features),
        ranks,
        np.zeros(num_outputs, np.float32) if base is None else base,
        np.array(nodes["tree"], np.int64),
        np.array(nodes["column"], np.int64),
        rounded_down(nodes["threshold"]),
        np.array(nodes["left"], np.int64),
        np.array(nodes["right"], np.int64),
        np.array(nodes["missing_left"], np.bool_),
        np.array(leaves["leaf"], np.int64),
        np.array(leaves["output"], np.int64),
        np.array(leaves["value"], np.float32),
    )


def rounded_down(threshold: Any) -> NDArray[np.float32]:
    """The largest float32 that is not above: then `x <= threshold` is the same for float32 x."""
    # LightGBM writes 1e300 for "everything goes left".
    wanted = np.asarray(threshold, np.float64)
    rounded = np.clip(wanted, -3e38, 3e38).astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.asarray(np.where(rounded.astype(np.float64) > wanted, below, rounded), np.float32)
