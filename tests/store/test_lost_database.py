"""A database that was lost must not look like a new wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from volano.errors import StoreError
from volano.store import Store


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A store with one artifact."""
    folder = tmp_path / ".volano"
    with Store(folder) as store, store.new_folder() as fresh:
        (fresh / "rows").write_text("1")
        store.keep(fresh, "golden")
    return folder


def lose(folder: Path, how: str) -> None:
    for path in folder.glob("store.db*"):
        path.unlink()
    if how == "empty":
        (folder / "store.db").touch()


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_it_is_refused_as_often_as_it_is_opened(used: Path, how: str) -> None:
    lose(used, how)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            Store(used)
        assert caught.value.code == "STORE-005"
        assert str(used) in str(caught.value)
        assert f"Fix: rm -r {used} " in str(caught.value)


def test_the_database_itself_can_be_put_back(used: Path) -> None:
    content = (used / "store.db").read_bytes()
    lose(used, "missing")
    with pytest.raises(StoreError):
        Store(used)
    (used / "store.db").write_bytes(content)
    with Store(used) as store:
        assert store.turns() == []


def test_another_address_is_no_way_around(used: Path) -> None:
    (used / "turns" / "0001").mkdir(parents=True)
    with pytest.raises(StoreError) as caught:
        Store(used, "sqlite:///elsewhere.db")
    assert caught.value.code == "STORE-005"


def test_a_folder_where_nothing_was_made_is_new(tmp_path: Path) -> None:
    folder = tmp_path / ".volano"
    (folder / "artifacts" / ".new-0").mkdir(parents=True)
    with Store(folder) as store:
        assert store.champion() is None
