"""Rows without a label: texts and numbers that a model can be asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from volano.data._form import TableForm
from volano.data._golden import GoldenRows
from volano.data._keys import folded_hashes, hash_inputs
from volano.data._read import read_rows, sample
from volano.data._snapshot_file import Snapshot
from volano.data._sources import SourceFile
from volano.data._table import ReadReport, Row, missing_column

__all__ = ["Unlabelled", "known_rows", "rows_of", "unlabelled"]

_AT_A_TIME = 4096

Known = set[tuple[int, int]]


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


def known_rows(snapshot: Snapshot, golden: GoldenRows, form: TableForm) -> Known:
    """The rows of a turn, as `unlabelled` takes them."""
    found: Known = set()
    if not form.observations:
        for hashes in (folded_hashes(snapshot.keys), golden.folded):
            found.update(map(tuple, hashes.tolist()))
        return found
    # Those of observations take their target and place in, which these rows have not.
    every = np.arange(snapshot.summary.num_rows, dtype=np.int64)
    for start in range(0, len(every), _AT_A_TIME):
        rows = every[start : start + _AT_A_TIME]
        cells = [_texts(snapshot.column(name, rows)) for name in form.inputs]
        found.update(map(tuple, hash_inputs(cells, form.folds)[1].tolist()))
    cells = [_texts(golden.column(name)) for name in form.inputs]
    found.update(map(tuple, hash_inputs(cells, form.folds)[1].tolist()))
    return found


def _texts(cells: Sequence[str | None]) -> list[str]:
    return [cell or "" for cell in cells]


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
    most: int,
) -> Unlabelled:
    """Rows that say something new.

    Args:
      rows: Column -> cell; None for a row that cannot be read.
      form: How rows are told apart.
      known: Rows that are left out, up to case, space and punctuation; grows by those kept.
      plain: Column -> what makes its cells such as all later steps read them.
      most: Where to stop.
    """
    found: dict[str, list[str]] = {name: [] for name in form.inputs}
    counts = dict.fromkeys(("read", "broken", "empty", "known", "kept"), 0)

    def keep(some: list[list[str]]) -> None:
        columns = [list(cells) for cells in zip(*some, strict=True)]
        _, folded = hash_inputs(columns, form.folds)
        for cells, (high, low) in zip(some, folded.tolist(), strict=True):
            if (high, low) in known:
                counts["known"] += 1
                continue
            if counts["kept"] >= most:
                return
            known.add((high, low))
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
