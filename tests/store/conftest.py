"""A PostgreSQL server for the tests of the store, and a store on it and on SQLite."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from volano.store import Store


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own on a free port of the loopback."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip(reason="initdb and pg_ctl are not installed; the same tests run on SQLite")
    pytest.importorskip("psycopg")
    folder = tmp_path_factory.mktemp("postgresql")
    # The server refuses to run as root.
    user = next(
        (name for name in ("postgres", "nobody") if os.geteuid() == 0 and _exists(name)), None
    )
    if user:
        for parent in (folder, *folder.parents[:3]):
            if parent.owner() == "root" and parent != Path("/tmp"):
                parent.chmod(0o755)
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(*command: str) -> None:
        with (folder / "said").open("ab") as said:
            subprocess.run(command, check=True, user=user, cwd=folder, stdout=said, stderr=said)

    data = str(folder / "data")
    call("initdb", "-D", data, "-A", "trust", "-U", "volano", "-E", "UTF8", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    call("pg_ctl", "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
    yield f"postgresql://volano@127.0.0.1:{port}/postgres"
    # A busy machine may take longer than pg_ctl waits; the server ends all the same.
    with contextlib.suppress(subprocess.CalledProcessError):
        call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str | None:
    """None for SQLite in the folder, or an empty database of our own on the server."""
    if request.param == "sqlite":
        return None
    server: str = request.getfixturevalue("postgresql")
    name = f"t{uuid.uuid4().hex}"
    url = server.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server.rsplit('/', 1)[0]}/{name}"


@pytest.fixture
def store(tmp_path: Path, address: str | None) -> Iterator[Store]:
    with Store(tmp_path / ".volano", address) as store:
        yield store
