"""Artifacts by content, runs by what went into them, turns, champions and golden rows."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from volano.errors import StoreError, VolanoError, WheelError
from volano.store import _tables as t
from volano.store._database import open_database, reason, says_full

__all__ = ["Artifact", "Champion", "Run", "Store", "disk_errors", "file_digest", "folder_digest"]


SETTLED_NS = 2_000_000_000
"""A file that has not changed for this long has a time of change that tells it from later ones."""

MOST_TURNS = 2**31 - 1
"""The largest number of a turn that every database can hold."""

FULL_BYTES = 1 << 16
"""A disk with less room than this is full, whatever a library's error calls it."""


@dataclass(frozen=True)
class Artifact:
    """A folder that never changes, named by the digest of its content."""

    digest: str
    kind: str
    path: Path


@dataclass(frozen=True)
class Run:
    """A finished stage: what went in, what came out, what was found.

    Attributes:
      key: Digest of all that went in.
      lineage: The same, readable: stage, version, options, parents, code.
      summary: What the stage wants known: counts, metrics, choices.
      cached: Whether this turn found it finished.
    """

    key: str
    stage: str
    artifact: Artifact
    lineage: Mapping[str, Any]
    summary: Mapping[str, Any]
    seconds: float
    cached: bool = False


@dataclass(frozen=True)
class Champion:
    """The bundle that serves: the turn that made it, its deploy artifact, and why it serves."""

    place: int
    turn: int
    artifact: Artifact
    why: str
    at: float


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Say a full or read-only disk in our words; let other errors pass.

    Raises:
      StoreError: The disk is full (STORE-010) or may not be written (STORE-011).
    """
    try:
        yield
    except VolanoError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or _is_full(where):
            raise _full(where) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StoreError(
                11,
                f"this may not be written ({error.strerror})",
                where=str(error.filename or where),
                expected="a folder that this user may write",
            ) from error
        raise
    except Exception as error:
        # numpy, safetensors and others say a full disk in errors of their own, without its number.
        if says_full(error) or _is_full(where):
            raise _full(where) from error
        raise


def _full(where: Path | str) -> StoreError:
    return StoreError(
        10,
        "the disk is full",
        where=str(where),
        expected="room for this turn; nothing half-written was kept",
        fix="free some space, then run the same command again: it goes on from here",
    )


def _is_full(where: Path) -> bool:
    """Whether hardly a byte more can be written beside this path."""
    for folder in (where, *where.parents):
        try:
            return shutil.disk_usage(folder).free < FULL_BYTES
        except OSError:
            continue
    return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> tuple[str, int]:
    """SHA-256 over names and contents of all files below a folder, and their size in bytes."""
    total = hashlib.sha256()
    size = 0
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
        size += path.stat().st_size
    return total.hexdigest(), size


def _folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; -1 when there is none."""
    if not folder.is_dir():
        return -1
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sync_folder(folder: Path) -> None:
    """Make a finished folder durable before anything refers to it."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Store:
    """A wheel's memory: a folder of artifacts and a database of what led to them.

    An artifact is written to a temporary folder, made durable, renamed into place, and only then
    recorded; so a process killed at any moment leaves a store that opens, and at most some
    temporary folders, which the next turn removes.

    Args:
      folder: Where artifacts, checkpoints and the SQLite file live; made when absent.
      address: SQL address, a file's path from the folder's parent; None for SQLite in the folder.
    Raises:
      StoreError: See `volano.store.open_database`; or the database belongs to another wheel (004).
    """

    def __init__(self, folder: Path, address: str | None = None) -> None:
        self.folder = folder
        with disk_errors(folder):
            (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        if address is None:
            address_here = f"sqlite:///{folder / 'store.db'}"
        elif address.startswith("sqlite:///"):
            # From the wheel's folder, as every path in the spec, wherever the command is run.
            address_here = f"sqlite:///{folder.parent / address.removeprefix('sqlite:///')}"
        else:
            address_here = address
        made = [path for path in folder.glob("artifacts/*") if not path.name.startswith(".")]
        turned = bool(made) or any(folder.glob("turns/*"))
        self.engine = open_database(address_here, belongs=folder if turned else None)
        if address is not None:
            self._own_database()

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction.

        Raises:
          StoreError: The database refused it (STORE-012), or its disk is full (STORE-010).
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            if says_full(error):
                raise _full(self.folder) from error
            raise StoreError(
                12,
                f"the store could not be read or written ({reason(error)})",
                where=self.engine.url.render_as_string(hide_password=True),
                fix="run the same command again; what was finished is kept",
            ) from error

    def _own_database(self) -> None:
        """One database holds one wheel: two would overwrite each other's turns."""
        mark = self.folder / "id"
        with disk_errors(mark):
            if not mark.exists():
                # Linked into place when written, so that no two processes take different ids.
                fresh = self.folder / f".id-{uuid.uuid4().hex}"
                fresh.write_text(uuid.uuid4().hex)
                with contextlib.suppress(FileExistsError):
                    os.link(fresh, mark)
                fresh.unlink()
            mine = mark.read_text().strip()
        query = sa.select(t.meta.c.value).where(t.meta.c.key == "folder")
        # Two processes may open a new database at once; the second insert fails and is not needed.
        with contextlib.suppress(IntegrityError), self.begin() as connection:
            if connection.execute(query).first() is None:
                connection.execute(t.meta.insert().values(key="folder", value=mine))
        with self.begin() as connection:
            found = connection.execute(query).scalar_one()
        if found != mine:
            self.engine.dispose()
            raise StoreError(
                4,
                "this database belongs to another wheel",
                where=self.engine.url.render_as_string(hide_password=True),
                expected=f"the wheel whose store is in {self.folder}",
                fix="createdb NAME, and name it in 'store:'",
            )

    # One turn at a time ------------------------------------------------------------------------

    @contextlib.contextmanager
    def turning(self, *, sweep: bool = True) -> Iterator[None]:
        """Hold the wheel for one turn. The lock goes with the process, however it ends.

        Args:
          sweep: Remove what a killed turn left.
        Raises:
          WheelError: Another process is turning this wheel (WHEEL-001).
        """
        path = self.folder / "turning.lock"
        with disk_errors(path), path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise WheelError(
                    1,
                    f"another process is turning this wheel (process {file.read().strip() or '?'})",
                    where=str(self.folder.parent),
                    fix="wait until it has finished",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            if sweep:
                self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what a killed turn left: half-built artifacts, checkpoints of finished runs."""
        for leftover in (self.folder / "artifacts").glob(".new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        folders = [path for path in (self.folder / "scratch").glob("*") if path.is_dir()]
        if not folders:
            return
        with self.begin() as connection:
            finished = {key[:32] for key in connection.execute(sa.select(t.runs.c.key)).scalars()}
        for folder in folders:
            if folder.name in finished or not any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)

    # Artifacts and runs ------------------------------------------------------------------------

    @contextlib.contextmanager
    def new_folder(self) -> Iterator[Path]:
        """An empty folder to build an artifact in; removed at the end unless `keep` took it."""
        folder = self.folder / "artifacts" / f".new-{uuid.uuid4().hex}"
        with disk_errors(folder):
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder.with_name(f"{folder.name}-damaged"), ignore_errors=True)

    def keep(self, folder: Path, kind: str) -> Artifact:
        """Make a finished folder an artifact; one that is there already is used instead."""
        with disk_errors(folder):
            digest, size = folder_digest(folder)
            artifact = Artifact(digest, kind, self.place(digest))
            if artifact.path.exists() and folder_digest(artifact.path)[0] != digest:
                # Damaged since it was written: this one takes its place.
                artifact.path.rename(folder.with_name(f"{folder.name}-damaged"))
            if not artifact.path.exists():
                _sync_folder(folder)
                folder.rename(artifact.path)
                _sync(artifact.path.parent)
        with self.begin() as connection:
            known = connection.execute(
                sa.select(t.artifacts.c.digest).where(t.artifacts.c.digest == digest)
            ).first()
            if known is None:
                values = {"digest": digest, "kind": kind, "size_bytes": size, "at": time.time()}
                connection.execute(t.artifacts.insert().values(values))
        return artifact

    def artifact(self, digest: str) -> Artifact:
        """An artifact by its digest.

        Raises:
          StoreError: It is not there, or not whole (STORE-020).
        """
        with self.begin() as connection:
            query = sa.select(t.artifacts).where(t.artifacts.c.digest == digest)
            row = connection.execute(query).first()
        place = self.place(digest)
        # Reading every byte at every turn would take too long; sizes show what is missing or cut.
        if row is None or _folder_size(place) != row.size_bytes:
            raise StoreError(
                20,
                f"the artifact {digest[:12]} is {'damaged' if place.is_dir() else 'missing'}",
                where=str(place),
                expected="the folder that the turn wrote",
                fix="volano turn",
            )
        return Artifact(digest, row.kind, place)

    def verify(self, digest: str) -> bool:
        """Whether an artifact is there with every byte as it was written."""
        place = self.place(digest)
        try:
            return place.is_dir() and folder_digest(place)[0] == digest
        except OSError:
            return False

    def discard(self, digest: str) -> None:
        """Remove an artifact's folder, in one step; the run that made it is no longer finished."""
        place = self.place(digest)
        doomed = place.with_name(f".new-{uuid.uuid4().hex}")
        with disk_errors(place):
            if place.exists():
                place.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def finished(self, key: str) -> Run | None:
        """The run with this key, if it has finished and its artifact is still there and whole."""
        query = (
            sa.select(t.runs, t.artifacts.c.size_bytes)
            .join(t.artifacts, t.artifacts.c.digest == t.runs.c.digest)
            .where(t.runs.c.key == key)
        )
        with self.begin() as connection:
            row = connection.execute(query).first()
        if row is None or _folder_size(self.place(row.digest)) != row.size_bytes:
            return None
        artifact = Artifact(row.digest, row.stage, self.place(row.digest))
        return Run(key, row.stage, artifact, row.lineage, row.summary, row.seconds, cached=True)

    def run_of(self, digest: str) -> Run | None:
        """The latest run that made an artifact, whether the artifact is still there or not."""
        query = (
            sa.select(t.runs).where(t.runs.c.digest == digest).order_by(t.runs.c.at.desc()).limit(1)
        )
        with self.begin() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        artifact = Artifact(digest, row.stage, self.place(digest))
        return Run(row.key, row.stage, artifact, row.lineage, row.summary, row.seconds, cached=True)

    def record(self, run: Run) -> None:
        """Remember a finished run. A later one with the same key takes its place."""
        values = {
            "key": run.key,
            "stage": run.stage,
            "digest": run.artifact.digest,
            "lineage": dict(run.lineage),
            "summary": dict(run.summary),
            "seconds": run.seconds,
            "at": time.time(),
        }
        with self.begin() as connection:
            connection.execute(t.runs.delete().where(t.runs.c.key == run.key))
            connection.execute(t.runs.insert().values(values))
        shutil.rmtree(self.scratch(run.key), ignore_errors=True)

    def scratch(self, key: str) -> Path:
        """Where a run with this key keeps its checkpoints while it is not finished."""
        return self.folder / "scratch" / key[:32]

    def place(self, digest: str) -> Path:
        """Where the folder of an artifact lies, if it is there at all."""
        return self.folder / "artifacts" / digest[:40]

    # Golden rows and the questions put to them --------------------------------------------------

    def golden(self) -> str | None:
        """Digest of the frozen golden rows' artifact, or None before the first turn."""
        with self.begin() as connection:
            return connection.execute(sa.select(t.golden.c.digest)).scalar_one_or_none()

    def freeze_golden(self, digest: str) -> str:
        """Freeze golden rows unless some are frozen already; returns those that hold."""
        with contextlib.suppress(IntegrityError), self.begin() as connection:
            values = {"place": 1, "digest": digest, "at": time.time()}
            connection.execute(t.golden.insert().values(values))
        frozen = self.golden()
        assert frozen is not None
        return frozen

    def test_number(
        self, key: str, *, worth: Callable[[int], bool] = lambda number: True
    ) -> int | None:
        """The number, from 1, of this question to the golden rows; the same question keeps it.

        Args:
          key: The question.
          worth: Whether to ask it, under the number it would get. It must not look at answers.
        Returns:
          The number; None when it is not worth asking, and then it takes none.
        """
        while True:
            with contextlib.suppress(IntegrityError), self.begin() as connection:
                query = sa.select(t.tests.c.number).where(t.tests.c.key == key)
                found = connection.execute(query).scalar_one_or_none()
                if found is not None:
                    return int(found)
                last = connection.execute(sa.select(sa.func.max(t.tests.c.number))).scalar() or 0
                if not worth(last + 1):
                    return None
                values = {"number": last + 1, "key": key, "at": time.time()}
                connection.execute(t.tests.insert().values(values))
                return int(last) + 1

    # Turns and champions -----------------------------------------------------------------------

    def add_turn(
        self, *, verdict: str, artifact: str, record: Mapping[str, Any], why: str | None
    ) -> int:
        """Write a finished turn, and its bundle as the champion when `why` says so: both or none.

        Returns:
          The turn's number, from 1.
        """
        with self.begin() as connection:
            number = (
                connection.execute(sa.select(sa.func.max(t.turns.c.number))).scalar() or 0
            ) + 1
            connection.execute(
                t.turns.insert().values(
                    number=number,
                    at=time.time(),
                    verdict=verdict,
                    artifact=artifact,
                    record={**record, "turn": number},
                )
            )
            if why:
                self._crown(connection, number, artifact, why)
        return number

    def turns(self) -> list[dict[str, Any]]:
        """The records of all turns, oldest first."""
        with self.begin() as connection:
            rows = connection.execute(sa.select(t.turns.c.record).order_by(t.turns.c.number))
            return [dict(row.record) for row in rows]

    def last_turn(self) -> dict[str, Any] | None:
        """The record of the newest turn."""
        query = sa.select(t.turns.c.record).order_by(t.turns.c.number.desc()).limit(1)
        with self.begin() as connection:
            record = connection.execute(query).scalar_one_or_none()
        return dict(record) if record else None

    def turn(self, number: int) -> dict[str, Any]:
        """The record of one turn.

        Raises:
          WheelError: There is none of that number (WHEEL-010).
        """
        # No database looks for a number that its column could not hold.
        query = sa.select(t.turns.c.record).where(
            t.turns.c.number == number if 0 < number <= MOST_TURNS else sa.false()
        )
        with self.begin() as connection:
            record = connection.execute(query).scalar_one_or_none()
            if record is None:
                last = connection.execute(sa.select(sa.func.max(t.turns.c.number))).scalar()
        if record is None:
            raise WheelError(
                10,
                f"there is no turn {number}",
                expected=f"a number from 1 to {last}" if last else "a turn: there was none yet",
                fix="volano history" if last else "volano turn",
            )
        return dict(record)

    def crown(self, turn: int, artifact: str, why: str) -> None:
        """Make a turn's bundle the champion.

        Raises:
          WheelError: The bundle is no longer there (WHEEL-014).
        """
        with self.begin() as connection:
            self._crown(connection, turn, artifact, why)
            # Locked, and after writing: `clean` deletes first and then looks for a new champion,
            # so that one of the two sees the other.
            query = sa.select(t.artifacts).where(t.artifacts.c.digest == artifact)
            recorded = connection.execute(query.with_for_update()).first()
            if recorded is None or not self.place(artifact).is_dir():
                raise WheelError(
                    14,
                    f"the bundle of turn {turn} is no longer there, as after 'volano clean'",
                    where=str(self.place(artifact)),
                    expected="a turn whose bundle was kept",
                    fix="volano history",
                )

    @staticmethod
    def _crown(connection: sa.Connection, turn: int, artifact: str, why: str) -> None:
        values = {"turn": turn, "artifact": artifact, "why": why, "at": time.time()}
        connection.execute(t.champions.insert().values(values))

    def champion(self) -> Champion | None:
        """The champion, or None when nothing serves yet."""
        found = self.champions(limit=1)
        return found[0] if found else None

    def champions(self, limit: int | None = None) -> list[Champion]:
        """All champions, newest first."""
        query = sa.select(t.champions).order_by(t.champions.c.place.desc()).limit(limit)
        with self.begin() as connection:
            rows = connection.execute(query).all()
        return [
            Champion(
                row.place,
                row.turn,
                Artifact(row.artifact, "deploy", self.place(row.artifact)),
                row.why,
                row.at,
            )
            for row in rows
        ]

    # Files -------------------------------------------------------------------------------------

    def fingerprint(self, path: Path) -> str:
        """SHA-256 of a file; not computed again while its size and time of change are the same."""
        status = path.stat()
        name = str(path.resolve())
        # The time of change, not of modification: no program can set it back.
        seen = (status.st_size, status.st_ctime_ns)
        query = sa.select(t.fingerprints).where(t.fingerprints.c.path == name)
        with self.begin() as connection:
            known = connection.execute(query).first()
        if known and (known.size_bytes, known.modified_ns) == seen:
            return str(known.digest)
        started_ns = time.time_ns()
        digest = file_digest(path)
        # A file changed within the last seconds may change again without its time showing it.
        if started_ns - status.st_ctime_ns < SETTLED_NS:
            return digest
        values = {
            "path": name,
            "size_bytes": status.st_size,
            "modified_ns": status.st_ctime_ns,
            "digest": digest,
        }
        # Another process may remember the same file just now, with the same digest.
        with contextlib.suppress(IntegrityError), self.begin() as connection:
            connection.execute(t.fingerprints.delete().where(t.fingerprints.c.path == name))
            connection.execute(t.fingerprints.insert().values(values))
        return digest
