"""Opening the store's database, SQLite or PostgreSQL, with the same tables in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from volano.errors import StoreError
from volano.store import _tables

__all__ = ["SCHEMA", "open_database", "reason", "says_full"]

SCHEMA = 1
"""The layout of the tables that this version writes; a newer one is refused."""

BUSY_TIMEOUT_S = 30

SCHEMA_LOCK = 8_641_977
"""Any number that no other program on the same PostgreSQL database locks."""


def open_database(address: str, *, belongs: Path | None = None) -> sa.Engine:
    """Open the store's database and make its tables where there are none.

    Args:
      address: ``sqlite:///FILE`` or ``postgresql://...``.
      belongs: A folder that is not new, so its database must not be new either.
    Raises:
      StoreError: It cannot be reached or written (STORE-001), a newer Volano made it (002), its
        driver is not installed (003), or it is empty and the folder is not (005); or the disk is
        full (010).
    """
    try:
        url = sa.make_url(address)
    except (SQLAlchemyError, ValueError) as error:
        raise StoreError(
            1,
            f"the store's address cannot be read ({reason(error)})",
            expected="sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        ) from error
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    shown = url.render_as_string(hide_password=True)
    engine: sa.Engine | None = None
    try:
        if url.get_backend_name() == "sqlite":
            engine = _open_sqlite(url)
        else:
            engine = sa.create_engine(url, pool_pre_ping=True)
        _prepare(engine, shown, belongs)
    except ModuleNotFoundError as error:
        raise StoreError(
            3,
            f"the driver {error.name!r} is not installed",
            where=shown,
            fix='pip install "volano[postgresql]"',
        ) from error
    except (OSError, SQLAlchemyError) as error:
        if engine:
            engine.dispose()
        if says_full(error):
            raise StoreError(
                10,
                "the disk is full",
                where=shown,
                fix="free some space, then run the same command again",
            ) from error
        raise StoreError(
            1,
            f"the store cannot be opened ({reason(error)})",
            where=shown,
            expected="a database that this user may read and write",
        ) from error
    except StoreError:
        if engine:
            engine.dispose()
        raise
    return engine


def reason(error: Exception) -> str:
    """The first line of what the driver itself said."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def says_full(error: Exception) -> bool:
    """Whether a database or another library means that the disk is full."""
    text = reason(error)
    return "disk is full" in text or "No space left" in text


def _open_sqlite(url: sa.URL) -> sa.Engine:
    assert url.database
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        # WAL lets readers read while one writes. NORMAL survives a killed process; only a power
        # cut may lose the last commits, never the file.
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return engine


def _prepare(engine: sa.Engine, shown: str, belongs: Path | None) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            # Taken before looking, or two processes would both find no tables and both make them.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
        if sa.inspect(connection).has_table(_tables.meta.name):
            found = connection.execute(
                sa.select(_tables.meta.c.value).where(_tables.meta.c.key == "schema")
            ).scalar_one_or_none()
            if found is not None and int(found) > SCHEMA:
                raise StoreError(
                    2,
                    f"the store has layout {found}",
                    where=shown,
                    expected=f"layout {SCHEMA} or older: a newer Volano made it",
                    fix="pip install --upgrade volano",
                )
            if found is not None:
                return
        if belongs is not None:
            # A new database would freeze new golden rows, and forget every turn and correction.
            raise StoreError(
                5,
                f"the database is empty, and {belongs} holds what earlier turns made",
                where=shown,
                expected="the database of those turns, from where it was or from a backup",
                fix=f"rm -r {belongs}   (only to start anew: it forgets every turn)",
            )
        _tables.metadata.create_all(connection)
        connection.execute(_tables.meta.insert().values(key="schema", value=str(SCHEMA)))
