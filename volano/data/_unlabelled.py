"""Rows without a label: texts and numbers that a model can be asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from volano.data._form import TableForm
from volano.data._golden import GoldenRows
from volano.data._keys import hash_inputs
from volano.data._read import read_rows, sample
from volano.data._snapshot_file import Snapshot
from volano.data._sources import SourceFile
from volano.data._table import ReadReport, Row, missing_column

__all__ = ["Unlabelled", "known_rows", "rows_of", "unlabelled"]

_AT_A_TIME = 4096

Known = set[tuple[int, int]]

Same = Mapping[str, Callable[[str], str]]
"""Input -> what makes cells that say the same the same: 24 and 24.0 are one number."""


@dataclass
class Unlabelled:
    """What was found.

    Attributes:
      columns: Input -> its cells.
      counts: ``read`` rows; of these ``broken``, ``empty`` and ``known``, which repeat another row
        or one that has a label; and ``kept``.
    """

    columns: dict[str, list[str]]
    counts: dict[str, int] = field(default_factory=dict)


def known_rows(
    snapshot: Snapshot,
    golden: GoldenRows,
    form: TableForm,
    same: Same,
) -> Known:
    """The rows of a turn, as `unlabelled` takes them.

    Args:
      snapshot: Those that are learned from and steered by.
      golden: Those that judge.
      form: How rows are told apart.
      same: Of the inputs that can say one thing in several ways.
    """
    found: Known = set()
    every = np.arange(snapshot.summary.num_rows, dtype=np.int64)
    for start in range(0, len(every), _AT_A_TIME):
        rows = every[start : start + _AT_A_TIME]
        found.update(_hashes([snapshot.column(name, rows) for name in form.inputs], form, same))
    found.update(_hashes([golden.column(name) for name in form.inputs], form, same))
    return found


def _hashes(columns: Sequence[Sequence[str | None]], form: TableForm, same: Same) -> list[Any]:
    """What rows are known by, up to case, space and punctuation."""
    cells = [
        [same[name](cell or "") if name in same else cell or "" for cell in column]
        for name, column in zip(form.inputs, columns, strict=True)
    ]
    return list(map(tuple, hash_inputs(cells, form.folds)[1].tolist()))


def rows_of(
    files: Sequence[SourceFile], columns: Sequence[str]
) -> Iterable[Mapping[str, str | None] | None]:
    """The rows of tables in order; None for one that is broken.

    Raises:
      DataError: A table lacks one of the columns (DATA-008).
    """
    for file in files:
        there = sample([file], 1).columns
        for name in columns:
            if name not in there:
                raise missing_column(name, there, where=file.name)
    for row in read_rows(files, report=ReadReport()):
        yield row.values if isinstance(row, Row) else None


def unlabelled(
    rows: Iterable[Mapping[str, str | None] | None],
    form: TableForm,
    known: Known,
    *,
    plain: Mapping[str, Callable[[str], str]],
    same: Same = MappingProxyType({}),
    most: int,
) -> Unlabelled:
    """Rows that say something new.

    Args:
      rows: Column -> cell; None for a row that cannot be read.
      form: How rows are told apart.
      known: Rows that are left out, up to case, space and punctuation; grows by those kept.
      plain: Column -> what makes its cells such as all later steps read them.
      same: As `known_rows` had it.
      most: Where to stop.
    """
    found: dict[str, list[str]] = {name: [] for name in form.inputs}
    counts = dict.fromkeys(("read", "broken", "empty", "known", "kept"), 0)

    def keep(some: list[list[str]]) -> None:
        hashes = _hashes(list(zip(*some, strict=True)), form, same)
        for cells, row in zip(some, hashes, strict=True):
            if row in known:
                counts["known"] += 1
                continue
            if counts["kept"] >= most:
                return
            known.add(row)
            counts["kept"] += 1
            for name, cell in zip(form.inputs, cells, strict=True):
                found[name].append(cell)

    some: list[list[str]] = []
    for row in rows:
        counts["read"] += 1
        if row is None:
            counts["broken"] += 1
            continue
        cells = [row.get(name) or "" for name in form.inputs]
        if not any(map(str.strip, cells)):
            counts["empty"] += 1
            continue
        some.append(
            [
                plain[name](cell) if name in plain else cell
                for name, cell in zip(form.inputs, cells, strict=True)
            ]
        )
        if len(some) == _AT_A_TIME:
            keep(some)
            some = []
        if counts["kept"] >= most:
            break
    if some:
        keep(some)
    return Unlabelled(found, counts)
