"""Boosted trees for several names at once: for each name trees of its own, side by side."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from volano.models import table_features, tree_matrix
from volano.training._learner import Fit, Job
from volano.training.boosted import (
    LEAST_GAIN,
    MAX_TREES,
    MAX_TREES_OF_FEW,
    PATIENCE,
    import_lightgbm,
    name_ranks,
    ordering,
    settings_of,
    stop_when_late,
    trees_of,
)

__all__ = ["fit_labels"]

UNSTEERED_ROUNDS = 100
"""Trees of a name where no validation row says when to stop."""


def fit_labels(job: Job) -> Fit:
    """As `BoostedLearner.fit`, with one binary model for each name.

    A name that all training rows have, or none, is answered by how sure so many rows make it.
    """
    lightgbm = import_lightgbm()
    features = table_features(job.prepared.inputs)
    train, validation = job.train, job.validation
    ranks = name_ranks(features, train, ordering(np.asarray(train.target), job.task))
    matrix = tree_matrix(features, ranks, train)
    held = tree_matrix(features, ranks, validation) if validation.num_rows else None
    truth, known = job.truth, np.asarray(validation.target)[:, :-1]
    weights = job.label_weights(truth)
    settings = settings_of(job, len(truth))
    most = MAX_TREES if len(truth) > 2000 else MAX_TREES_OF_FEW
    having = truth.sum(axis=0)
    base = np.zeros(job.num_outputs, np.float32)
    dumps: list[Any] = []
    outputs: list[int] = []
    rounds: dict[str, float] = {}
    for name in range(job.num_outputs):
        job.step("growing trees", name, job.num_outputs)
        if having[name] in (0, len(truth)):
            base[name] = np.log((having[name] + 1) / (len(truth) - having[name] + 1))
            rounds[f"rounds_{name}"] = 1.0  # folds without a rare name have a say in its trees too
            continue
        own = {**settings, "scale_pos_weight": float(weights[name])}
        fixed = int(job.settings.get(f"rounds_{name}", 0))
        data = lightgbm.Dataset(matrix, truth[:, name], params=own)
        sets, callbacks = [], [stop_when_late(job)]
        if held is not None and not fixed:
            sets = [data.create_valid(held, known[:, name])]
            callbacks.append(lightgbm.early_stopping(PATIENCE, verbose=False, min_delta=LEAST_GAIN))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            booster = lightgbm.train(
                own,
                data,
                num_boost_round=fixed or (most if sets else UNSTEERED_ROUNDS),
                valid_sets=sets,
                callbacks=callbacks,
            )
        grown = booster.best_iteration if sets else booster.current_iteration()
        rounds[f"rounds_{name}"] = float(max(1, grown))
        found = booster.dump_model(num_iteration=max(1, grown))["tree_info"]
        dumps += found
        outputs += [name] * len(found)
    model = trees_of(
        {"num_tree_per_iteration": 1, "tree_info": dumps},
        features,
        ranks,
        job.num_outputs,
        outputs,
        base,
    )
    summary = {
        "settings": {key: value for key, value in settings.items() if key != "num_threads"},
        "trees": model.num_trees,
    }
    return Fit(model, model.outputs(validation), summary, rounds)
