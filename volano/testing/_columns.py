"""What `volano.columns.Column` and `FittedColumn` promise."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from volano.columns import Column, Encoded, FittedColumn, Ragged, column_kind
from volano.errors import BundleError, RequestError

__all__ = ["check_column", "check_fitted"]

WRONG: Mapping[str, object] = MappingProxyType({})


def check_column(
    kind: str | type[Column],
    values: Sequence[str],
    *,
    options: Mapping[str, Any] | None = None,
    wrong: object = WRONG,
) -> FittedColumn:
    """Check a column type on some raw values, as a table has them.

    A type that can be both an input and the target is checked as each.

    Args:
      kind: Its registered name, or the class.
      values: At least two different ones.
      options: Options that differ from their defaults.
      wrong: A value that is not of this type; an object without keys, as JSON may send it.
    Returns:
      The column, fitted on the values: as an input where it can be one.
    Raises:
      AssertionError: A promise is broken; the message says which.
    """
    column = column_kind(kind) if isinstance(kind, str) else kind
    assert column.kind.isidentifier(), f"kind is {column.kind!r}, which no spec can name"
    assert column.use in ("input", "target", "both"), f"use is {column.use!r}"
    assert isinstance(column.version, int), "version is not a whole number"
    assert column.version >= 1, "versions start at 1"
    plain = column.Options.model_validate(dict(options or {})).model_dump(mode="json")
    json.dumps(plain)
    found = {}
    for use in ("target", "input") if column.use == "both" else (column.use,):
        for sample in ([], [None, ""], [*values, None]):
            inference = column.infer(sample, use)
            assert 0 <= inference.score <= 1, f"infer gives {inference.score} for {sample!r:.80}"
            assert inference.reason, "infer gives no reason"
        fitted = column.fit("a column", iter(values), plain, use)
        assert isinstance(fitted, column.Fitted), f"fit gives {type(fitted)}, not {column.Fitted}"
        again = column.fit("a column", iter(values), plain, use)
        assert _saved(fitted) == _saved(again), "fitting the same values twice gives another state"
        check_fitted(fitted, values, wrong=wrong)
        # Where rows are steps in time, the target is made of the whole table and not of a value.
        if use == "target" and not getattr(column, "in_order", False):
            _check_targets(column, fitted, values)
        found[use] = fitted
    return found.get("input", fitted)


def _check_targets(column: type[Column], fitted: FittedColumn, values: Sequence[str]) -> None:
    """What a task learns: one finite number or code for each value that can be a target."""
    usable = [value for value in values if column.refuse(value) is None]
    assert usable, "refuse takes none of the values"
    targets = fitted.targets(usable)  # type: ignore[attr-defined]
    assert len(targets) == len(usable), "not one target for each value"
    assert np.isfinite(targets).all(), "a value that is not refused has no target"
    loaded = type(fitted).load(fitted.name, _saved(fitted))
    assert np.array_equal(targets, loaded.targets(usable)), "targets after loading"  # type: ignore[attr-defined]


def check_fitted(fitted: FittedColumn, values: Sequence[str], *, wrong: object = WRONG) -> None:
    """Check a fitted column: frozen, saved and loaded the same, encoding without surprises."""
    assert fitted.name == "a column"
    assert dataclasses.is_dataclass(fitted), "a fitted column is a frozen dataclass"
    try:
        fitted.name = "other"
    except AttributeError:
        pass
    else:
        raise AssertionError("a fitted column can be changed")
    checked = [fitted.check(value) for value in values]
    assert 400 <= _refusal(fitted, wrong) < 500, f"check takes {wrong!r}"
    files = _saved(fitted)
    assert files, "save writes nothing"
    loaded = type(fitted).load(fitted.name, files)
    assert _saved(loaded) == files, "what was loaded saves other bytes"
    for broken in ({}, dict.fromkeys(files, b"\xff{")):
        try:
            type(fitted).load(fitted.name, broken)
        except BundleError:
            continue
        raise AssertionError("load takes files that are missing or damaged")
    encoded = fitted.encode(checked)
    assert len(encoded) == len(values), "not one encoded row for each value"
    _same(encoded, fitted.encode(checked), "encoding twice")
    _same(encoded, loaded.encode(checked), "encoding after loading")
    _same(encoded, fitted.encode(values), "encoding in training")
    assert json.loads(json.dumps(dict(encoded.counts))) == dict(encoded.counts)
    assert all(0 <= row < len(values) for row in encoded.notes), "a note on a row that is not there"
    assert len(fitted.encode([])) == 0, "no values give rows"
    _check_rows(fitted, encoded, checked)


def _refusal(fitted: FittedColumn, value: object) -> int:
    """The HTTP status with which a value is refused; 0 when it is taken."""
    try:
        fitted.check(value)
    except RequestError as error:
        return error.status
    return 0


def _check_rows(fitted: FittedColumn, encoded: Encoded, checked: Sequence[Any]) -> None:
    """A row's arrays depend on that row alone, wherever it stands."""
    order = np.arange(len(checked), dtype=np.int64)[::-1].copy()
    batch = fitted.collate(encoded, order)
    assert batch, "collate gives nothing"
    assert not fitted.collate(encoded, order[:0])[next(iter(batch))].size
    for key, array in batch.items():
        assert key.startswith(f"{fitted.name}."), f"{key} does not begin with the column's name"
        assert len(array) == len(order), f"{key} does not have one row for each row asked for"
    for place, row in enumerate(order.tolist()):
        alone = fitted.collate(fitted.encode([checked[row]]), np.zeros(1, np.int64))
        for key, array in batch.items():
            own, among = alone[key][0], array[place]
            if own.ndim:
                among = among[tuple(slice(0, size) for size in own.shape)]
            assert _equal(own, among), f"row {row} of {key} is another one by itself"


def _saved(fitted: FittedColumn) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder))
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _same(one: Encoded, other: Encoded, when: str) -> None:
    assert dict(one.counts) == dict(other.counts), f"{when} counts otherwise"
    assert dict(one.notes) == dict(other.notes), f"{when} notes otherwise"
    assert one.arrays.keys() == other.arrays.keys(), f"{when} gives other arrays"
    for name, array in one.arrays.items():
        twin = other.arrays[name]
        if isinstance(array, Ragged):
            assert isinstance(twin, Ragged)
            assert np.array_equal(array.flat, twin.flat), f"{when} gives another {name}"
            assert np.array_equal(array.offsets, twin.offsets), f"{when} gives another {name}"
        else:
            assert isinstance(twin, np.ndarray)
            assert _equal(array, twin), f"{when} gives another {name}"


def _equal(one: Any, other: Any) -> bool:
    """Whether arrays are the same; what is missing (NaN) is as missing in both."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
