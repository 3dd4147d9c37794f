"""A small table of two numbers and a name, and what a good model would say of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from volano.columns import Encoded, EncodedSplit, column_kind

Cells = dict[str, list[str]]


def columns(num_rows: int, *, missing: bool = False) -> tuple[dict[str, Any], Cells]:
    """The columns, fitted, and their cells; one age in fifty may be missing."""
    random = np.random.default_rng(0)
    cells = {
        "size": [f"{value:.3f}" for value in random.normal(0, 1, num_rows)],
        "age": [f"{value:.3f}" for value in random.uniform(0, 1, num_rows)],
        "kind": random.choice(["red", "green", "blue"], num_rows).tolist(),
    }
    if missing:
        cells["age"][::50] = [""] * len(cells["age"][::50])
    fitted = {
        name: column_kind(kind).fit(name, cells[name], column_kind(kind).Options().model_dump())
        for name, kind in (("size", "number"), ("age", "number"), ("kind", "category"))
    }
    return fitted, cells


def split(fitted: dict[str, Any], cells: Cells, target: np.ndarray) -> EncodedSplit:
    encoded = {name: Encoded(column.encode(cells[name]).arrays) for name, column in fitted.items()}
    return EncodedSplit(encoded, target.astype(np.float32))


def truth(cells: Cells) -> np.ndarray:
    """A number that all columns have a part in."""
    size = np.array(cells["size"], float)
    age = np.array([float(value or 0) for value in cells["age"]])
    kind = np.array([{"red": 1.0, "green": -1.0, "blue": 0.0}[name] for name in cells["kind"]])
    return np.asarray(2 * size * (age > 0.5) + kind)
