"""A few boosted trees that learn what a larger model answers, by LightGBM.

For each class c the share p_c that the teacher gives it, mixed with what is right where that is
known, is learned by cross-entropy, and the trees' sum is log(p_c / (1 - p_c)). With two classes one
sum is enough. A number is learned as it is, by squares.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit, FittedColumn
from volano.models import TreesModel, table_features, tree_matrix
from volano.training.boosted import import_lightgbm, name_ranks, trees_of

__all__ = ["fit_tree_student"]

# Legend: N rows, C classes.

TEACHER_SHARE = 0.7
"""What the teacher's answer counts where the right one is known."""


def fit_tree_student(
    inputs: Mapping[str, FittedColumn],
    train: EncodedSplit,
    *,
    task: str,
    rounds: int,
    leaves: int,
    seed: int,
    step: Callable[[str, float, float], None] = lambda label, done, total: None,
) -> TreesModel:
    """Trees of a table.

    Args:
      inputs: Columns of a table, fitted.
      train: Rows; the target of each is the teacher's outputs and then what is right, as
        `volano.compression.Work.lessons` has it.
      task: ``classification`` or ``regression``.
      rounds: Trees for each class; one forest does for two.
      leaves: Of a tree, at the most.
      seed: Decides every random choice.
      step: Told how far it is; may raise.
    """
    lightgbm = import_lightgbm()
    values = np.asarray(train.target, np.float64)
    wanted_NC, names = _wanted(values, task)
    features = table_features(inputs)
    ranks = name_ranks(features, train, _spread(wanted_NC))
    matrix = tree_matrix(features, ranks, train)
    settings = {
        "objective": "regression" if task == "regression" else "cross_entropy",
        "learning_rate": min(0.3, max(0.05, 8 / rounds)),
        "num_leaves": leaves,
        "min_data_in_leaf": max(1, min(20, len(values) // 50)),
        "lambda_l2": 1.0,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1 if len(values) < 2000 else 0,
        "verbosity": -1,
    }
    dumps: list[Any] = []
    outputs: list[int] = []
    for place, name in enumerate(names):
        target_N = wanted_NC[:, place]

        def look(environment: Any, place: int = place) -> None:
            step("growing trees", place * rounds + environment.iteration, len(names) * rounds)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            booster = lightgbm.train(
                settings,
                lightgbm.Dataset(matrix, target_N, params=settings),
                num_boost_round=rounds,
                callbacks=[look],
            )
        found = booster.dump_model()["tree_info"]
        dumps += found
        outputs += [name] * len(found)
    num_outputs = len(names) if len(names) > 1 or task == "regression" else 2
    base = np.zeros(num_outputs, np.float32)
    dump = {"num_tree_per_iteration": 1, "tree_info": dumps}
    return trees_of(dump, features, ranks, num_outputs, outputs, base)


def _wanted(values: NDArray[np.float64], task: str) -> tuple[NDArray[np.float64], list[int]]:
    """What is learned, shape (N, number of sums), and the output that each sum is of."""
    if task == "regression":
        teacher, right = values[:, :1], values[:, 1:]
        mixed = TEACHER_SHARE * teacher + (1 - TEACHER_SHARE) * right
        return np.where(np.isnan(right), teacher, mixed), [0]
    logits, codes = values[:, :-1], values[:, -1].astype(np.int64)
    shares_NC = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares_NC /= shares_NC.sum(axis=1, keepdims=True)
    known = codes >= 0
    right_NC = np.eye(logits.shape[1])[codes[known]]
    shares_NC[known] = TEACHER_SHARE * shares_NC[known] + (1 - TEACHER_SHARE) * right_NC
    if shares_NC.shape[1] == 2:
        return shares_NC[:, 1:], [1]
    return shares_NC, list(range(shares_NC.shape[1]))


def _spread(wanted_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum that parts the rows most: names are put in its order."""
    return np.asarray(wanted_NC[:, int(wanted_NC.var(axis=0).argmax())])
