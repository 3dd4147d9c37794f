"""What `clean` takes and what it leaves, on SQLite and, where there is a server, on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from kept import finish, keep

from volano import Wheel
from volano.errors import StoreError, WheelError
from volano.store import Store, _tables, remove_unneeded, unneeded


def add_turn(store: Store, number: int, *, promoted: bool = False) -> dict[str, str]:
    """A turn of two artifacts, `train` and the `deploy` that was made from it."""
    train = finish(store, f"train {number}", f"weights {number}", "train").artifact
    deploy = keep(store, f"bundle {number}", "deploy")
    artifacts = {"train": train.digest, "deploy": deploy.digest}
    made = store.add_turn(
        verdict="promoted" if promoted else "rejected",
        artifact=deploy.digest,
        record={"artifacts": artifacts, "verdict": "promoted" if promoted else "rejected"},
        why="better" if promoted else None,
    )
    assert made == number
    return artifacts


@pytest.fixture
def wheel(tmp_path: Path, store: Store) -> Wheel:
    wheel = Wheel(tmp_path)
    wheel.__dict__["store"] = store
    return wheel


def there(store: Store, digest: str) -> bool:
    """Whether an artifact is there; one that is, is whole."""
    if store.place(digest).exists():
        return store.artifact(digest).digest == digest
    with pytest.raises(StoreError, match="missing"):
        store.artifact(digest)
    return False


def stays(wheel: Wheel, turns: list[dict[str, str]]) -> dict[int, list[str]]:
    found = {}
    for number, artifacts in enumerate(turns, 1):
        kept = [stage for stage, digest in artifacts.items() if there(wheel.store, digest)]
        if kept:
            found[number] = kept
    return found


def test_champions_and_the_last_turn_stay(wheel: Wheel) -> None:
    golden = keep(wheel.store, "golden", "golden").digest
    wheel.store.freeze_golden(golden)
    turns = [add_turn(wheel.store, number, promoted=number in (1, 2, 4)) for number in range(1, 7)]
    expected = {2: ["deploy"], 4: ["train", "deploy"], 6: ["train", "deploy"]}
    size = sum(
        wheel.store.place(digest).joinpath("inner", "file").stat().st_size
        for number, artifacts in enumerate(turns, 1)
        for stage, digest in artifacts.items()
        if stage not in expected.get(number, [])
    )
    dry = wheel.clean(keep=1, dry_run=True)
    assert len(stays(wheel, turns)) == 6
    done = wheel.clean(keep=1)
    assert stays(wheel, turns) == expected
    assert (done.artifacts, done.stages, done.kept) == (7, {"deploy": 3, "train": 4}, 6)
    assert done.size_bytes == size
    assert done.kept_turns == [2, 4, 6]
    assert (dry.artifacts, dry.size_bytes, dry.kept_turns) == (7, size, [2, 4, 6])
    assert wheel.store.verify(golden)
    assert len(wheel.history()) == 6
    assert wheel.show(3).record["bundle"] is None
    again = wheel.clean(keep=1)
    assert (again.artifacts, again.leftovers, again.size_bytes) == (0, 0, 0)


def test_what_was_removed_cannot_serve(wheel: Wheel) -> None:
    for number in range(1, 5):
        add_turn(wheel.store, number, promoted=number != 3)
    wheel.clean(keep=1)
    with pytest.raises(WheelError, match="turn 3 is no longer there") as caught:
        wheel.promote(3)
    assert caught.value.code == "WHEEL-014"
    assert wheel.champion().turn == 4
    assert wheel.rollback().turn == 2
    with pytest.raises(WheelError, match="turn 1 is no longer there") as caught:
        wheel.rollback()
    assert caught.value.code == "WHEEL-014"
    assert wheel.champion().turn == 2


def test_the_default_keeps_three_earlier_champions(wheel: Wheel) -> None:
    turns = [add_turn(wheel.store, number, promoted=True) for number in range(1, 7)]
    wheel.clean()
    assert sorted(stays(wheel, turns)) == [3, 4, 5, 6]


def test_what_rollback_leads_to_is_kept_and_not_what_it_left(wheel: Wheel) -> None:
    turns = [add_turn(wheel.store, number, promoted=number < 5) for number in range(1, 6)]
    assert [wheel.rollback().turn, wheel.rollback().turn] == [3, 2]
    wheel.clean(keep=1)
    assert sorted(stays(wheel, turns)) == [1, 2, 5]


def test_the_work_of_a_stopped_turn_stays(wheel: Wheel) -> None:
    turns = [add_turn(wheel.store, number) for number in (1, 2)]
    with wheel.store.begin() as connection:
        query = _tables.runs.select().where(_tables.runs.c.digest == turns[0]["train"])
        assert connection.execute(query).first() is not None
    # Made after the last turn, from what the first one made.
    stopped = finish(wheel.store, "evaluate", "stopped", "evaluate").artifact.digest
    with wheel.store.begin() as connection:
        lineage = {"parents": {"train": turns[0]["train"]}}
        connection.execute(
            _tables.runs.update().where(_tables.runs.c.digest == stopped).values(lineage=lineage)
        )
    for key in ("new", "old"):
        scratch = wheel.store.scratch(key)
        scratch.mkdir(parents=True)
        (scratch / "checkpoint").write_text("x")
    os.utime(wheel.store.scratch("old") / "checkpoint", (0, 0))
    assert wheel.clean().leftovers == 1
    assert stays(wheel, turns) == {1: ["train"], 2: ["train", "deploy"]}
    assert there(wheel.store, stopped)
    assert [path.name for path in (wheel.store.folder / "scratch").iterdir()] == ["new"]


def test_before_the_first_turn_nothing_goes(wheel: Wheel) -> None:
    run = finish(wheel.store, "k", "x")
    assert wheel.clean().artifacts == 0
    assert there(wheel.store, run.artifact.digest)


def test_a_file_that_a_kept_bundle_shares_frees_nothing(wheel: Wheel) -> None:
    first = add_turn(wheel.store, 1, promoted=True)
    add_turn(wheel.store, 2)
    add_turn(wheel.store, 3, promoted=True)
    shared = wheel.store.place(first["train"]) / "inner" / "file"
    os.link(shared, wheel.store.place(first["deploy"]) / "shared")
    assert wheel.clean(dry_run=True).size_bytes == len("weights 2") + len("bundle 2")


def test_a_live_turn_is_left_alone(wheel: Wheel, tmp_path: Path) -> None:
    live = wheel.store.folder / "artifacts" / ".new-live"
    live.mkdir()
    with wheel.store.turning(sweep=False):
        for dry_run in (True, False):
            with pytest.raises(WheelError) as caught:
                wheel.clean(dry_run=dry_run)
            assert caught.value.code == "WHEEL-001"
    assert live.exists()
    assert wheel.clean().leftovers == 1
    assert not live.exists()


def test_a_turn_that_is_promoted_meanwhile_stays(wheel: Wheel) -> None:
    turns = [add_turn(wheel.store, number) for number in (1, 2)]
    found = unneeded(wheel.store, set(turns[1].values()))
    wheel.store.crown(1, turns[0]["deploy"], "by hand")
    assert not remove_unneeded(wheel.store, found)
    assert len(stays(wheel, turns)) == 2
    assert wheel.store.finished("train 1") is not None


def test_fewer_than_no_champions(wheel: Wheel) -> None:
    with pytest.raises(WheelError, match="keep is -1") as caught:
        wheel.clean(keep=-1)
    assert caught.value.code == "WHEEL-015"


@pytest.mark.parametrize("number", [10**20, -(10**20), 2**31, 0, -1])
def test_no_turn_has_such_a_number(wheel: Wheel, number: int) -> None:
    add_turn(wheel.store, 1)
    for work in (wheel.show, wheel.promote):
        with pytest.raises(WheelError, match=f"no turn {number}") as caught:
            work(number)
        assert caught.value.code == "WHEEL-010"


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from sqlalchemy.engine.default import DefaultDialect
from volano import Wheel

def dying(real, at, before):
    def call(*args, **more):
        dying.count += 1
        now = dying.count == at
        if now and before:
            os.kill(os.getpid(), signal.SIGKILL)
        if now and real is shutil.rmtree:
            next(path for path in Path(args[0]).rglob("*") if path.is_file()).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **more)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    dying.count = 0
    return call

root, address, kind, at, before = sys.argv[1:]
wheel = Wheel(root)
from volano.store import Store
wheel.__dict__["store"] = Store(Path(root) / ".volano", address or None)
owner, name = {
    "commit": (DefaultDialect, "do_commit"),
    "rename": (Path, "rename"),
    "rmtree": (shutil, "rmtree"),
}[kind]
setattr(owner, name, dying(getattr(owner, name), int(at), before == "before"))
wheel.clean(keep=0)
"""


@pytest.mark.parametrize(
    ("kind", "at"),
    [*(("commit", at) for at in range(1, 10)), ("rename", 1), ("rename", 3), ("rmtree", 2)],
)
def test_killed_on_the_way(
    wheel: Wheel,
    tmp_path: Path,
    address: str | None,
    kind: str,
    at: int,
) -> None:
    turns = [add_turn(wheel.store, number, promoted=True) for number in (1, 2, 3)]
    for moment in ("before", "after"):
        command = [sys.executable, "-c", KILLED, str(tmp_path), address or "", kind, str(at)]
        done = subprocess.run([*command, moment], capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        with Store(tmp_path / ".volano", address) as again:
            with again.begin() as connection:
                digests = connection.execute(sa.select(_tables.artifacts.c.digest)).scalars().all()
                runs = connection.execute(sa.select(_tables.runs.c.digest)).scalars().all()
            assert set(runs) <= set(digests)
            for digest in digests:
                assert again.verify(digest), "a row without its folder"
    wheel.clean(keep=0)
    assert stays(wheel, turns) == {3: ["train", "deploy"]}
    names = {path.name for path in (wheel.store.folder / "artifacts").iterdir()}
    assert names == {digest[:40] for digest in turns[2].values()}


def test_an_unknown_folder_stays_and_an_unrecorded_artifact_goes(wheel: Wheel) -> None:
    add_turn(wheel.store, 1)
    artifacts = wheel.store.folder / "artifacts"
    (artifacts / "notes").mkdir()
    shutil.copytree(wheel.store.place(add_turn(wheel.store, 2)["train"]), artifacts / ("0" * 40))
    done = wheel.clean()
    assert done.stages == {"deploy": 1, "train": 1, "unknown": 1}
    assert not (artifacts / ("0" * 40)).exists()
    assert (artifacts / "notes").exists()
