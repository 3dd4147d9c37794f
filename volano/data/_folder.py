"""One folder for each class: photos/cat/1.jpg is an image whose label is cat."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from volano.columns import column_kinds, media_kind
from volano.data._table import Batch, FileReport, Meter, pick_columns

__all__ = ["LABEL", "Listing", "folder_digest", "listing", "media_in", "read_folder"]

LABEL = "label"
"""The column of the folders' names."""

_BATCH_ROWS = 8192

Listing = list[tuple[str, int, int]]
"""Path below the folder, bytes, and time of the last change, sorted by path."""


def listing(folder: Path, extensions: frozenset[str]) -> Listing:
    """All files of some endings below a folder; hidden ones are left alone."""
    found: Listing = []
    todo = [(str(folder), "")]
    while todo:
        place, prefix = todo.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                name = entry.name
                if name[0] in "._":
                    continue
                # A link to a folder may lead round in a circle.
                if entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, f"{prefix}{name}/"))
                # Names that begin with a dot were left out: the last one parts the ending off.
                elif name[name.rfind(".") :].lower() in extensions:
                    try:
                        status = entry.stat()
                    except OSError:
                        # A link to nowhere is a file that cannot be read: a broken row, later.
                        found.append((prefix + name, 0, 0))
                        continue
                    # A pipe or a device would keep its reader waiting for ever.
                    if stat.S_ISREG(status.st_mode):
                        found.append((prefix + name, status.st_size, status.st_mtime_ns))
    found.sort()
    return found


def media_in(folder: Path) -> tuple[str, Listing, str] | None:
    """The kind of which a folder holds most files, these, and what is to be said of the others;
    None when there is none.
    """
    kinds = {name: media_kind(name) for name in column_kinds()}
    endings = {name: kind.extensions for name, kind in kinds.items() if kind}
    everything = listing(folder, frozenset().union(*endings.values()))
    found = Counter(path[path.rfind(".") :] for path, _, _ in everything)
    for ending in [ending for ending in found if ending != ending.lower()]:
        found[ending.lower()] += found.pop(ending)
    counts: Counter[str] = Counter()
    for name, known in endings.items():
        if number := sum(found[ending] for ending in known):
            counts[name] = number
    if not counts:
        return None
    kind = counts.most_common(1)[0][0]
    if len(counts) == 1:
        return kind, everything, ""
    others = ", ".join(f"{number:,} {name}" for name, number in counts.most_common()[1:])
    note = f"holds {counts[kind]:,} {kind} files, and {others} files that are left out"
    return kind, listing(folder, endings[kind]), note


def folder_digest(files: Listing) -> str:
    """A digest of the names, sizes and times of files."""
    digest = hashlib.sha256()
    for start in range(0, len(files), _BATCH_ROWS):
        digest.update(repr(files[start : start + _BATCH_ROWS]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read_folder(
    files: Listing,
    kind: str,
    file: int,
    columns: Sequence[str] | None,
    report: FileReport,
    meter: Meter,
) -> Iterator[Batch]:
    """Rows with the path of each file, and the first folder on the way to it as its label.

    Raises:
      DataError: As ``pick_columns``.
    """
    picked = pick_columns([kind, LABEL], columns, where=report.name)
    done = bare = 0
    for start in range(0, len(files), _BATCH_ROWS):
        part = files[start : start + _BATCH_ROWS]
        paths = [path for path, _, _ in part]
        labels = [path.partition("/")[0] if "/" in path else "" for path in paths]
        bare += labels.count("")
        numbers = range(start + 1, start + 1 + len(part))
        both = {kind: paths, LABEL: labels}
        report.num_rows += len(part)
        done += sum(size for _, size, _ in part)
        meter(done)
        yield Batch(
            file,
            tuple(name for name, _ in picked),
            numbers,
            [None] * len(part),
            [list(both[name]) for name, _ in picked],
        )
    if bare:
        report.notes.append(f"{bare:,} files lie in no folder of a class, and have no label")
