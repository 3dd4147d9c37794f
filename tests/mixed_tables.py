"""Tables of a few rows, encoded, for learners of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from volano.columns import EncodedSplit, FittedColumn, column_kind
from volano.spec import TrainSpec
from volano.training import Job

__all__ = ["KINDS", "encoded", "fitted", "job_of", "mixed_rows"]


def fitted(kinds: Mapping[str, str], rows: Mapping[str, Sequence[Any]]) -> dict[str, FittedColumn]:
    """Input columns, fitted on rows: column -> values."""
    found = {}
    for name, kind in kinds.items():
        options = column_kind(kind).Options().model_dump()
        found[name] = column_kind(kind).fit(name, [str(value) for value in rows[name]], options)
    return found


def encoded(
    columns: Mapping[str, FittedColumn], rows: Mapping[str, Sequence[Any]], target: Any
) -> EncodedSplit:
    """Rows as the stages hand them on."""
    return EncodedSplit(
        {name: column.encode([str(v) for v in rows[name]]) for name, column in columns.items()},
        np.asarray(target),
    )


def job_of(
    columns: Mapping[str, FittedColumn],
    train: EncodedSplit,
    validation: EncodedSplit,
    folder: Path,
    *,
    names: tuple[str, ...] = (),
    **settings: Any,
) -> Job:
    """A job of classification into some names, or of regression."""
    prepared = SimpleNamespace(
        inputs=dict(columns),
        target=SimpleNamespace(names=names),
        details={},
        split={"train": train, "validation": validation}.__getitem__,
    )
    spec = TrainSpec(**settings)
    task = "classification" if names else "regression"
    return Job(prepared, task, spec, folder, folder)  # type: ignore[arg-type]


def mixed_rows(
    num_rows: int, seed: int, *, gaps: bool = True
) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Rows with numbers, names, yes and no, and a number that they make up with some noise."""
    random = np.random.default_rng(seed)
    size, age = random.normal(70, 20, num_rows), random.exponential(30, num_rows)
    town = random.choice(["Ulm", "Bari", "Lyon", "Cork"], num_rows, p=[0.4, 0.3, 0.2, 0.1])
    garden = random.random(num_rows) < 0.4
    worth = {"Ulm": 10.0, "Bari": -20.0, "Lyon": 30.0, "Cork": 0.0}
    right = 2 * size - 0.5 * age + 15 * garden + np.array([worth[name] for name in town])
    right = right + random.normal(0, 5, num_rows)
    rows: dict[str, list[Any]] = {
        "size": size.round(1).tolist(),
        "age": age.round().tolist(),
        "town": town.tolist(),
        "garden": np.where(garden, "yes", "no").tolist(),
    }
    if gaps:
        for row in np.flatnonzero(random.random(num_rows) < 0.1).tolist():
            rows["age"][row] = ""
    return rows, right


KINDS = {"size": "number", "age": "number", "town": "category", "garden": "boolean"}
"""Types of the columns of `mixed_rows`."""
