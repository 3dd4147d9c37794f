"""Cross-fitting: where rows are few, every row is both learned from and judged on, never at once.

Training and validation rows together are divided into folds. A model fitted without a fold says
what is to be expected on it; the model that ships is fitted on all of them. So a table of 150 rows
is judged on all 150, and not on the 15 that a validation split would set aside.

Stone, `Cross-Validatory Choice and Assessment of Statistical Predictions
<https://doi.org/10.1111/j.2517-6161.1974.tb00994.x>`_, 1974.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from volano.columns import Encoded, EncodedSplit, Ragged
from volano.training._learner import Fit, Job, Learner

__all__ = ["NUM_FOLDS", "cross_fit", "fold_of", "joined", "taken"]

NUM_FOLDS = 5

Ints = NDArray[np.int64]


def taken(split: EncodedSplit, rows: Ints) -> EncodedSplit:
    """Some rows of a table's split."""
    columns = {}
    for name, encoded in split.columns.items():
        arrays = {}
        for key, array in encoded.arrays.items():
            assert not isinstance(array, Ragged), "rows of a table are of equal length"
            arrays[key] = np.asarray(array[rows])
        columns[name] = Encoded(arrays)
    groups = None if split.groups is None else split.groups[rows]
    return EncodedSplit(columns, np.asarray(split.target)[rows], groups)


def joined(splits: Sequence[EncodedSplit]) -> EncodedSplit:
    """Splits of a table one after the other."""
    columns = {
        name: Encoded(
            {
                key: np.concatenate(
                    [np.asarray(split.columns[name].arrays[key]) for split in splits]
                )
                for key in encoded.arrays
            }
        )
        for name, encoded in splits[0].columns.items()
    }
    known = [split.groups for split in splits if split.groups is not None]
    groups = np.concatenate(known) if len(known) == len(splits) else None
    target = np.concatenate([np.asarray(split.target) for split in splits])
    return EncodedSplit(columns, target, groups)


def fold_of(split: EncodedSplit, seed: int) -> Ints:
    """The fold of each row: rows with equal inputs share one, and each has its part of each class.

    Where a column groups rows, those of one group share a fold instead.

    Args:
      split: A table's rows.
      seed: Another seed divides otherwise.
    Returns:
      0 to NUM_FOLDS - 1, shape (num_rows,).
    """
    if split.groups is not None:
        _, unit = np.unique(split.groups, return_inverse=True)
        drawn = np.random.default_rng(seed).permutation(int(unit.max(initial=-1)) + 1)
        return np.asarray(drawn[unit] % NUM_FOLDS, np.int64)
    parts = [
        np.ascontiguousarray(np.asarray(array).reshape(split.num_rows, -1)).view(np.uint8)
        for encoded in split.columns.values()
        for array in encoded.arrays.values()
        if isinstance(array, np.ndarray)
    ]
    whole = np.ascontiguousarray(np.concatenate(parts, axis=1))
    keys = whole.view([("bytes", np.void, whole.shape[1])]).ravel()
    _, first, unit = np.unique(keys, return_index=True, return_inverse=True)
    target = np.asarray(split.target)[first]
    if target.ndim > 1:
        # Of several names the sets, so that every fold has its part of each that comes back.
        target = np.unique(target, axis=0, return_inverse=True)[1].ravel()
    drawn = np.random.default_rng(seed).permutation(len(first))
    # Dealt out in the order of the target: every fold gets its share of each class, or of each
    # range of numbers.
    order = drawn[np.argsort(target[drawn], kind="stable")]
    folds = np.empty(len(first), np.int64)
    folds[order] = np.arange(len(first)) % NUM_FOLDS
    return folds[unit.ravel()]


def cross_fit(
    kind: type[Learner],
    job: Job,
    seen: Callable[[int, Ints, NDArray[np.float32]], None] = lambda fold, rows, outputs: None,
) -> Fit:
    """A model of all rows, with what is to be expected of it on each of them.

    What validation rows choose (a penalty, a number of rounds) is chosen in each fold; the median
    is then used in all of them, and for the model of all rows, so that no row is judged by a model
    that was tuned on it alone.

    Args:
      kind: Fits it.
      job: Its rows to learn from and to steer by are joined.
      seen: Told after each fold of its number, its rows and what is answered to them, float32,
        shape (rows of the fold, num_outputs); may raise `Pruned`.
    """
    train, validation = job.train, job.validation
    whole = joined([train, validation])
    folds = fold_of(whole, job.spec.seed)
    parts = [
        (np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(NUM_FOLDS)
    ]

    def fits(settings: dict[str, object]) -> list[Fit]:
        found = []
        for place, (mine, held) in enumerate(parts):
            rows = (taken(whole, mine), taken(whole, held))
            quiet = replace(
                job,
                rows=rows,
                settings=settings,
                step=lambda *told: None,
                watch=lambda *told: None,
            )
            found.append(kind.fit(quiet))
            seen(place, held, found[-1].outputs)
            job.step("cross-fitting", place + 1, NUM_FOLDS)
        return found

    found = fits(dict(job.settings))
    settings = dict(job.settings)
    if found[0].choices:
        for name in found[0].choices:
            settings[name] = float(np.median([fit.choices[name] for fit in found]))
        found = fits(settings)
    outputs = np.zeros((whole.num_rows, found[0].outputs.shape[1]), np.float32)
    for (_, held), fit in zip(parts, found, strict=True):
        outputs[held] = fit.outputs
    none = taken(validation, np.zeros(0, np.int64))
    final = kind.fit(replace(job, rows=(whole, none), settings=settings))
    num_train = train.num_rows
    answers = final.model.outputs(validation) if hasattr(final.model, "outputs") else None
    if answers is None:
        from volano.training._loop import network_logits

        answers = network_logits(final.model, job.prepared.inputs, validation)  # type: ignore[arg-type]
    return Fit(
        final.model,
        outputs[num_train:],
        {**final.summary, "cross_fitted": NUM_FOLDS},
        answers=np.asarray(answers, np.float32),
        held_out=outputs[:num_train],
    )
