"""What `volano check` says of the values of each column, by the column's own means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import MediaKind, column_kind, facts_of, media_kind
from volano.data import OrderedTable, Snapshot
from volano.spec import Spec
from volano.wheel._series_checked import series_checked

__all__ = ["columns_checked", "target_checked", "warnings_of"]

CHECKED_ROWS = 50_000
"""Rows whose values are looked at, at even distances."""

CHECKED_FILES = 2000
"""Files that are read to their end, at even distances: decoding takes far longer than parsing."""

FILES_AT_A_TIME = 64


def target_checked(spec: Spec, snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[str, Any]:
    """The target's type, its rows; of numbers their range and middle, of series what was mended."""
    kind = column_kind(spec.target_column.type)
    found: dict[str, Any] = {"type": kind.kind, "rows": len(rows)}
    if kind.names or hasattr(kind, "canonical") or not len(rows):
        return found
    if getattr(kind, "in_order", False):
        order = OrderedTable.of(spec.kinds, spec.target_name, spec.target_column.options)
        return found | series_checked(spec, order, snapshot, rows)
    values = snapshot.column(snapshot.target, _some(rows))
    column = kind.fit(spec.target_name, values, spec.target_column.options, "target")
    numbers = np.asarray(column.targets(values), np.float64)  # type: ignore[attr-defined]
    return found | facts_of(column) | {"middle": float(np.nanmedian(numbers))}


def columns_checked(
    spec: Spec, snapshot: Snapshot, rows: NDArray[np.int64]
) -> dict[str, dict[str, int]]:
    """Input -> values that are missing or cannot be read as its type."""
    found: dict[str, dict[str, int]] = {}
    some = _some(rows)
    for name, column in spec.inputs.items():
        kind = column_kind(column.type)
        files = media_kind(column.type)
        if files is not None:
            if counts := _files_checked(files, snapshot, name, rows):
                found[name] = counts
            continue
        if getattr(kind, "any_value", False):
            continue
        values = snapshot.column(name, some)
        encoded = kind.fit(name, values, column.options).encode(values)
        counts = {key: encoded.counts.get(key, 0) for key in ("missing", "unreadable")}
        if any(counts.values()):
            found[name] = counts
    return found


def _files_checked(
    kind: type[MediaKind], snapshot: Snapshot, name: str, rows: NDArray[np.int64]
) -> dict[str, int]:
    """Photos or recordings that cannot be read to their end; none where all can."""
    some = rows[:: max(1, -(-len(rows) // CHECKED_FILES))]
    unreadable = sum(
        kind.problem(data) is not None
        for start in range(0, len(some), FILES_AT_A_TIME)
        for data in snapshot.values(name, some[start : start + FILES_AT_A_TIME])
        if data is not None
    )
    if not unreadable:
        return {}
    return {"unreadable": unreadable} | (
        {"files looked at": len(some)} if len(some) < len(rows) else {}
    )


def warnings_of(spec: Spec, snapshot: Snapshot, rows: NDArray[np.int64]) -> list[str]:
    """What the inputs' types warn of, in words."""
    found = []
    for name, column in spec.inputs.items():
        warn = getattr(column_kind(column.type), "warn", None)
        said = warn(name, snapshot.column(name, _some(rows))) if warn else None
        if said:
            found.append(said)
    return found


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[:: max(1, -(-len(rows) // CHECKED_ROWS))]
