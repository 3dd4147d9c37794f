"""Rows of one key, such as a customer, held out together.

A model that has learned from nine rows of a customer answers the tenth better than it will answer
those of a new one. Where the spec says that a column groups rows, every golden and validation row
is of a group that no training row is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from volano.columns import column_kind
from volano.data._groups import mix
from volano.data._parquet import import_pyarrow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from volano.spec import ColumnSpec

__all__ = ["choose_groups", "group_hashes", "grouping_columns", "write_groups"]

FILE = "groups.npy"

Hashes = npt.NDArray[np.uint64]


def grouping_columns(inputs: Mapping[str, ColumnSpec]) -> list[str]:
    """The inputs whose rows of one value are held out together: ids with ``group: true``."""
    return [
        name
        for name, column in inputs.items()
        if column.options.get("group") is True
        and "group" in column_kind(column.type).Options.model_fields
    ]


def group_hashes(columns: Sequence[Sequence[str | None]]) -> Hashes:
    """A hash of each row's group, shape (num_rows,); 0 where no column says which it is."""
    known: dict[tuple[str, ...], int] = {}
    found = []
    for row in zip(*columns, strict=True):
        key = tuple((value or "").strip() for value in row)
        if key not in known:
            digest = blake2b("\0".join(key).encode(), digest_size=8).digest()
            known[key] = (int.from_bytes(digest, "little") or 1) if any(key) else 0
        found.append(known[key])
    return np.array(found, np.uint64)


def write_groups(out: Path, columns: Sequence[str], keys: npt.NDArray[np.void]) -> None:
    """Write the group of each row of a snapshot, uint64; a row without a key is one of its own.

    Args:
      out: The snapshot's folder, with its rows.
      columns: Those that group.
      keys: The rows' keys, in their order.
    """
    pyarrow = import_pyarrow("A snapshot")
    groups = np.lib.format.open_memmap(out / FILE, mode="w+", dtype=np.uint64, shape=(len(keys),))
    with pyarrow.memory_map(str(out / "rows.arrow")) as source:
        reader = pyarrow.ipc.open_file(source)
        done = 0
        for at in range(reader.num_record_batches):
            batch = reader.get_batch(at)
            found = group_hashes([batch.column(f"input.{name}").to_pylist() for name in columns])
            alone = keys["folded_lo"][done : done + len(found)] | np.uint64(1)
            groups[done : done + len(found)] = np.where(found == 0, alone, found)
            done += len(found)
    groups.flush()


def choose_groups(groups: Hashes, wanted: int, seed: int) -> npt.NDArray[np.bool_]:
    """Whole groups with about so many rows, drawn by a hash of the seed and the group.

    Args:
      groups: Of each row that may be chosen, shape (num_rows,).
      wanted: The most rows.
      seed: Another seed chooses others.
    Returns:
      Which rows are chosen; one group at least is not.
    """
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    chosen = np.zeros(len(names), bool)
    total = 0
    for place in np.argsort(mix(names, names, seed), kind="stable").tolist():
        # A group too large for what is left is passed over: smaller ones may still fit.
        if total + sizes[place] <= wanted and chosen.sum() < len(names) - 1:
            chosen[place] = True
            total += int(sizes[place])
    found: npt.NDArray[np.bool_] = chosen[group]
    return found
