"""What no turn needs any more, and how it goes without a trace that leads nowhere."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from volano.store import _tables as t
from volano.store._store import Store, disk_errors

__all__ = ["Unneeded", "remove_unneeded", "unneeded"]

CHUNK_DIGESTS = 500
"""Digests per statement: below SQLite's oldest limit of 999 values."""

FOLDER_NAME = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Unneeded:
    """What may go.

    Attributes:
      artifacts: Digest -> stage, of artifacts that are recorded.
      folders: Their folders, and those of artifacts that nothing records.
      leftovers: Temporary folders of killed runs.
      size_bytes: What their removal frees; a file that something needed shares counts nothing.
      kept: How many artifacts stay.
      champion_place: Of the champion at that time; a later one may need what is listed here.
    """

    artifacts: dict[str, str]
    folders: tuple[Path, ...]
    leftovers: tuple[Path, ...]
    size_bytes: int
    kept: int
    champion_place: int = field(repr=False)


def unneeded(store: Store, needed: Collection[str]) -> Unneeded:
    """What neither these artifacts are, nor a turn that was stopped could go on from.

    What was finished after the last turn belongs to a turn that was stopped: it stays, with all
    that it was made from. So do the checkpoints of such a turn.

    Args:
      store: The store, held by `Store.turning`, so that no temporary folder is of a live turn.
      needed: Digests of artifacts that must stay; the golden rows stay in any case.
    """
    with store.begin() as connection:
        place = connection.execute(sa.select(sa.func.max(t.champions.c.place))).scalar() or 0
        last = connection.execute(sa.select(sa.func.max(t.turns.c.at))).scalar()
        known = {
            row.digest: row
            for row in connection.execute(sa.select(t.artifacts).order_by(t.artifacts.c.at))
        }
        runs = connection.execute(
            sa.select(t.runs.c.key, t.runs.c.digest, t.runs.c.at, t.runs.c.lineage)
        ).all()
    since = float("-inf") if last is None else float(last)
    parents: dict[str, set[str]] = {}
    for run in runs:
        parents.setdefault(run.digest, set()).update(run.lineage.get("parents", {}).values())
    keep = {*needed, *filter(None, [store.golden()])}
    todo = {run.digest for run in runs if run.at > since}
    todo |= {digest for digest, row in known.items() if row.at > since}
    while todo - keep:
        keep |= todo
        todo = {parent for digest in todo for parent in parents.get(digest, ())}
    artifacts = {digest: row.kind for digest, row in known.items() if digest not in keep}
    kept_names = {digest[:40] for digest in keep | (known.keys() - artifacts.keys())}
    folders = tuple(
        path
        for path in sorted((store.folder / "artifacts").glob("*"))
        if FOLDER_NAME.fullmatch(path.name) and path.name not in kept_names
    )
    finished = {run.key[:32] for run in runs}
    leftovers = (
        *sorted((store.folder / "artifacts").glob(".new-*")),
        *(
            path
            for path in sorted((store.folder / "scratch").glob("*"))
            if path.is_dir() and (path.name in finished or _newest(path) <= since)
        ),
    )
    return Unneeded(
        artifacts,
        folders,
        leftovers,
        _freed_bytes([*folders, *leftovers]),
        len(known) - len(artifacts),
        place,
    )


def remove_unneeded(store: Store, found: Unneeded) -> bool:
    """Forget these artifacts and remove their folders.

    The rows go first, all in one transaction, then each folder by a rename and its files last. So
    a process that is killed on the way leaves no row whose folder is gone or half gone, only
    folders without a row, which `unneeded` finds the next time.

    Returns:
      False, with nothing removed, when another champion has been crowned since `unneeded`.
    """
    digests = list(found.artifacts)
    try:
        with store.begin() as connection:
            for start in range(0, len(digests), CHUNK_DIGESTS):
                chunk = digests[start : start + CHUNK_DIGESTS]
                connection.execute(t.artifacts.delete().where(t.artifacts.c.digest.in_(chunk)))
                connection.execute(t.runs.delete().where(t.runs.c.digest.in_(chunk)))
            # Read after the rows are gone: `Store.crown` looks for its row after it has written.
            place = connection.execute(sa.select(sa.func.max(t.champions.c.place))).scalar() or 0
            if place != found.champion_place:
                raise _CrownedMeanwhile
    except _CrownedMeanwhile:
        return False
    for folder in found.folders:
        doomed = folder.with_name(f".new-{uuid.uuid4().hex}")
        with disk_errors(folder):
            folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    for leftover in found.leftovers:
        shutil.rmtree(leftover, ignore_errors=True)
    return True


class _CrownedMeanwhile(Exception):
    """Takes the transaction back."""


def _newest(folder: Path) -> float:
    """When anything below a folder was last written; an empty folder is older than all."""
    return max((path.stat().st_mtime for path in folder.rglob("*")), default=float("-inf"))


def _freed_bytes(folders: Iterable[Path]) -> int:
    """Bytes that are free once these folders are gone.

    Bundles share their files with the candidates that they were chosen from: a file is gone when
    its last name is.
    """
    names: dict[tuple[int, int], int] = {}
    links: dict[tuple[int, int], tuple[int, int]] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            status = path.lstat()
            if path.is_dir() and not path.is_symlink():
                continue
            key = (status.st_dev, status.st_ino)
            names[key] = names.get(key, 0) + 1
            links[key] = (status.st_nlink, status.st_size)
    return sum(size for key, (count, size) in links.items() if names[key] >= count)
