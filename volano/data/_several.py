"""Targets that are several names at once: their names counted, and what each row is held out by.

A row is of as many classes as it has names. To hold out a fair part of each, a row counts for its
rarest name: common names are spread well in any case, and of a rare one each row matters.
Sechidis et al., `On the Stratification of Multi-label Data
<https://doi.org/10.1007/978-3-642-23808-6_10>`_, 2011, go on from there name by name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from volano.data._parquet import import_pyarrow
from volano.errors import DataError, shorten

if TYPE_CHECKING:
    from volano.data._snapshot import SnapshotSummary

__all__ = ["MAX_NAMES", "count_names", "names_of", "unparted", "write_strata"]

MAX_NAMES = 1000
"""Different names of one target at the most: every row has a decision for each."""

OTHER_SEPARATORS = ("|", ";", ",")


def names_of(target: str) -> list[str]:
    """The names of a target as a snapshot has it.

    Example:
      >>> names_of('["a", "b"]')
      ['a', 'b']
    """
    found: list[str] = json.loads(target)
    return found


def count_names(counts: dict[str, int], targets: Sequence[str], column: str) -> None:
    """Add the names of some rows to their counts.

    Raises:
      DataError: There are more than a thousand different ones (DATA-028).
    """
    for target, times in Counter(targets).items():
        for name in names_of(target):
            counts[name] = counts.get(name, 0) + times
    if len(counts) > MAX_NAMES:
        shown = ", ".join(shorten(name, 24) for name in list(counts)[:3])
        raise DataError(
            28,
            f"the rows have more than {MAX_NAMES:,} different labels ({shown}, ...)",
            where=column,
            expected="names that come back in many rows, between the separator of the spec",
            fix=f'target: {{{column}: {{type: labels, separator: ";"}}}}   (or what stands there)',
        )


def unparted(counts: Mapping[str, int], num_rows: int) -> list[str]:
    """A note, where names look as if they were several that another separator parts."""
    if sum(counts.values()) > num_rows:
        return []  # some rows have several: the separator is the right one
    for separator in OTHER_SEPARATORS:
        joined = [name for name in counts if separator in name]
        if len(joined) * 5 >= len(counts) and joined:
            return [
                f"no row has more than one label, and {len(joined)} of {len(counts)} labels have "
                f"a {separator!r} in them, such as {shorten(joined[0], 40)}: if it stands between "
                f'labels, write separator: "{separator}"'
            ]
    return []


def write_strata(out: Path, counts: Mapping[str, int], summary: SnapshotSummary) -> None:
    """Write the code of each row's rarest name, int32; rows without one are a stratum of their own.

    Args:
      out: The snapshot's folder, with its rows.
      counts: Name -> rows.
      summary: Knows the names in the order of their codes.
    """
    pyarrow = import_pyarrow("A snapshot")
    codes = {name: code for code, name in enumerate(summary.labels)}
    strata = np.lib.format.open_memmap(
        out / "strata.npy", mode="w+", dtype=np.int32, shape=(summary.num_rows,)
    )
    known: dict[str, int] = {}
    with pyarrow.memory_map(str(out / "rows.arrow")) as source:
        reader = pyarrow.ipc.open_file(source)
        done = 0
        for at in range(reader.num_record_batches):
            targets = reader.get_batch(at).column("target").to_pylist()
            for target in set(targets) - known.keys():
                names = names_of(target)
                rarest = min(names, key=lambda name: (counts[name], name), default=None)
                known[target] = len(codes) if rarest is None else codes[rarest]
            strata[done : done + len(targets)] = [known[target] for target in targets]
            done += len(targets)
    strata.flush()
