"""Artifacts, runs, turns and champions, on SQLite and, where there is a server, on PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from kept import finish, keep

from volano import Wheel
from volano.errors import StoreError, WheelError
from volano.store import Store, disk_errors, folder_digest
from volano.store._database import open_database


def test_what_was_kept_is_found(store: Store) -> None:
    run = finish(store, "k" * 64, "hello")
    found = store.finished("k" * 64)
    assert found is not None
    assert (found.lineage, found.summary, found.seconds) == (run.lineage, run.summary, 1.5)
    assert found.cached
    assert found.artifact == run.artifact
    assert (found.artifact.path / "inner" / "file").read_text() == "hello"
    assert folder_digest(found.artifact.path)[0] == run.artifact.digest
    assert store.finished("other") is None
    assert store.artifact(run.artifact.digest).kind == "data"


def test_the_same_content_is_one_artifact(store: Store) -> None:
    assert keep(store, "same") == keep(store, "same")
    assert keep(store, "same").path != keep(store, "other").path
    assert len(list((store.folder / "artifacts").iterdir())) == 2


def test_a_later_run_with_the_same_key_takes_its_place(store: Store) -> None:
    finish(store, "k", "one")
    finish(store, "k", "two")
    found = store.finished("k")
    assert found is not None
    assert (found.artifact.path / "inner" / "file").read_text() == "two"


@pytest.mark.parametrize("damage", ["missing", "cut", "grown", "file missing"])
def test_a_damaged_artifact_is_not_finished_and_is_replaced(store: Store, damage: str) -> None:
    run = finish(store, "k", "hello")
    path = run.artifact.path / "inner" / "file"
    if damage == "missing":
        shutil.rmtree(run.artifact.path)
    elif damage == "file missing":
        path.unlink()
    else:
        path.write_text("hell" if damage == "cut" else "hello!")
    assert store.finished("k") is None
    with pytest.raises(StoreError, match="missing" if damage == "missing" else "damaged") as caught:
        store.artifact(run.artifact.digest)
    assert caught.value.code == "STORE-020"
    finish(store, "k", "hello")
    assert store.finished("k") is not None
    assert path.read_text() == "hello"
    assert not list((store.folder / "artifacts").glob(".new-*"))


def test_a_failure_while_building_leaves_nothing(store: Store) -> None:
    def build() -> None:
        with store.new_folder() as folder:
            (folder / "half").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert not list((store.folder / "artifacts").iterdir())


def test_leftovers_of_a_killed_turn_are_swept(store: Store) -> None:
    finish(store, "k" * 64, "x")
    (store.folder / "artifacts" / ".new-123").mkdir()
    for key in ("k" * 64, "j" * 64, "empty"):
        store.scratch(key).mkdir(parents=True)
    for key in ("k" * 64, "j" * 64):
        (store.scratch(key) / "checkpoint").write_text("x")
    with store.turning():
        pass
    assert not list((store.folder / "artifacts").glob(".new-*"))
    # A run that is not finished goes on from its checkpoint.
    assert [path.name for path in (store.folder / "scratch").iterdir()] == ["j" * 32]


def test_golden_rows_are_frozen_once(store: Store) -> None:
    assert store.golden() is None
    assert store.freeze_golden("one") == "one"
    assert store.freeze_golden("two") == "one"
    assert store.golden() == "one"


def test_numbers_of_tests_are_given_once(store: Store) -> None:
    assert [store.test_number(key) for key in ("a", "b", "a", "c", "b")] == [1, 2, 1, 3, 2]


def test_a_question_that_is_not_worth_asking_takes_no_number(store: Store) -> None:
    assert store.test_number("a") == 1
    assert store.test_number("b", worth=lambda number: number > 2) is None
    assert store.test_number("c", worth=lambda number: number == 2) == 2
    # What was asked has its number, whatever is thought of it now.
    assert store.test_number("a", worth=lambda number: False) == 1


def test_numbers_of_tests_are_unique_under_concurrency(
    store: Store, tmp_path: Path, address: str | None
) -> None:
    found: dict[tuple[int, int], int] = {}

    def ask(who: int) -> None:
        with Store(tmp_path / ".volano", address) as own:
            for question in range(6):
                found[who, question] = own.test_number(f"q{question}")

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_question = [{found[who, question] for who in range(4)} for question in range(6)]
    assert all(len(numbers) == 1 for numbers in by_question)
    assert sorted(min(numbers) for numbers in by_question) == [1, 2, 3, 4, 5, 6]


def test_a_turn_and_its_champion_are_written_together(store: Store) -> None:
    assert store.add_turn(verdict="rejected", artifact="a", record={"x": 1}, why=None) == 1
    assert store.champion() is None
    assert store.add_turn(verdict="promoted", artifact="b", record={"x": 2}, why="better") == 2
    champion = store.champion()
    assert champion is not None
    assert (champion.turn, champion.artifact.digest, champion.why) == (2, "b", "better")
    assert [record["turn"] for record in store.turns()] == [1, 2]
    assert store.last_turn() == {"x": 2, "turn": 2}


def test_neither_a_turn_nor_its_champion_when_one_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Store, "_crown", fails)
    with pytest.raises(RuntimeError):
        store.add_turn(verdict="promoted", artifact="b", record={}, why="better")
    assert store.turns() == []


def test_a_turn_that_is_not_there(store: Store) -> None:
    with pytest.raises(WheelError, match="there was none yet") as caught:
        store.turn(1)
    assert caught.value.code == "WHEEL-010"
    store.add_turn(verdict="rejected", artifact="a", record={}, why=None)
    with pytest.raises(WheelError, match="a number from 1 to 1"):
        store.turn(7)


def test_going_back_and_forth(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = Wheel(tmp_path)
    wheel.__dict__["store"] = store
    for number in (1, 2, 3):
        digest = keep(store, f"turn {number}", "deploy").digest
        record = {"artifacts": {"deploy": digest}, "verdict": "inconclusive"}
        store.add_turn(verdict="inconclusive", artifact=digest, record=record, why=None)

    def serves() -> int:
        return wheel.champion().turn

    with pytest.raises(WheelError) as caught:
        wheel.champion()
    assert caught.value.code == "WHEEL-013"
    for number in (1, 2, 3):
        wheel.promote(number)
    with pytest.raises(WheelError) as caught:
        wheel.promote(3)
    assert caught.value.code == "WHEEL-011"
    assert wheel.rollback().turn == 2
    assert wheel.rollback().turn == 1
    with pytest.raises(WheelError) as caught:
        wheel.rollback()
    assert caught.value.code == "WHEEL-012"
    wheel.promote(3)
    assert serves() == 3
    assert wheel.rollback().turn == 1
    assert serves() == 1


def test_a_file_is_hashed_again_only_when_it_changed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volano.store import _store

    path = tmp_path / "data"
    path.write_text("one")
    hashed = []
    real = _store.file_digest

    def counted(file: Path) -> str:
        hashed.append(file)
        return real(file)

    monkeypatch.setattr(_store, "file_digest", counted)
    first = store.fingerprint(path)
    assert store.fingerprint(path) == first
    assert len(hashed) == 2  # too fresh to be sure of
    monkeypatch.setattr(_store, "SETTLED_NS", -(10**18))
    assert [store.fingerprint(path) for _ in range(3)] == [first] * 3
    assert len(hashed) == 3
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert store.fingerprint(path) != first


def test_a_newer_layout_is_refused(store: Store, tmp_path: Path, address: str | None) -> None:
    with store.begin() as connection:
        connection.execute(sa.text("UPDATE volano_meta SET value = '99' WHERE key = 'schema'"))
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / ".volano", address)
    assert caught.value.code == "STORE-002"


def test_one_database_holds_one_wheel(tmp_path: Path, address: str | None) -> None:
    if address is None:
        address = f"sqlite:///{tmp_path / 'shared.db'}"
    Store(tmp_path / "one", address).close()
    Store(tmp_path / "one", address).close()
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "other", address)
    assert caught.value.code == "STORE-004"


def test_a_relative_address_starts_at_the_wheel(tmp_path: Path) -> None:
    Store(tmp_path / ".volano", "sqlite:///own.db").close()
    assert (tmp_path / "own.db").exists()


@pytest.mark.parametrize(
    "address", ["sqlite:///", "postgresql://x:notaport/d", "postgresql://127.0.0.1:1/none"]
)
def test_addresses_that_lead_nowhere(tmp_path: Path, address: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / ".volano", address)
    assert caught.value.code == "STORE-001"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    if not mounted:
        # What the error says is tested without one.
        pytest.skip(reason="only root may mount the small file system that is to fill")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    with Store(small_disk / ".volano") as store:
        finish(store, "k", "small")
        with (
            pytest.raises(StoreError) as caught,
            store.new_folder() as folder,
            disk_errors(store.folder),
        ):
            (folder / "big").write_bytes(bytes(2_000_000))
        assert caught.value.code == "STORE-010"
        assert len(list((store.folder / "artifacts").iterdir())) == 1
        assert store.finished("k") is not None


@pytest.mark.parametrize("library", ["numpy", "safetensors"])
def test_a_full_disk_in_a_librarys_own_words(small_disk: Path, library: str) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    values = np.ones(500_000, np.float32)
    save = {
        "numpy": lambda: np.save(small_disk / "x.npy", values),
        "safetensors": lambda: save_file({"x": values}, small_disk / "x.safetensors"),
    }[library]
    with pytest.raises(StoreError) as caught, disk_errors(small_disk):
        save()
    assert caught.value.code == "STORE-010"


def test_the_database_on_a_full_disk(small_disk: Path) -> None:
    with Store(small_disk / ".volano") as store:
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(StoreError) as caught:
            store.add_turn(
                verdict="rejected", artifact="a", record={"x": "y" * 2_000_000}, why=None
            )
        assert caught.value.code == "STORE-010"
        filler.unlink()
        store.add_turn(verdict="rejected", artifact="a", record={}, why=None)
    open_database(f"sqlite:///{small_disk / '.volano' / 'store.db'}").dispose()


def test_a_folder_that_may_not_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuses(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuses)
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / ".volano")
    assert caught.value.code == "STORE-011"


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), disk_errors(tmp_path):
        _ = 1 / 0
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "none").read_text()
