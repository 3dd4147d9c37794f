"""Kills turns of a tiny wheel at chosen moments, and reports what the next turn makes of it.

Run as a program by `test_crash.py`: one process imports torch once and turns a wheel to the end, on
one core so that it may be forked; every crash is then a fork of it that dies by SIGKILL, and the
turn after it another fork. What is printed is JSON: one object for each crash.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Counter:
    """Counts how often a boundary is crossed; dies at one of the crossings."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        self.kind, self.at = kind, at
        self.counts: dict[str, int] = {}

    def cross(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == self.kind and self.counts[kind] == self.at:
            die()


def wrap(owner: Any, name: str, kind: str, counter: Counter) -> None:
    """Count before and after every call of a function."""
    function = getattr(owner, name)

    def wrapped(*args: Any, **more: Any) -> Any:
        counter.cross(f"before {kind}")
        result = function(*args, **more)
        counter.cross(f"after {kind}")
        return result

    setattr(owner, name, wrapped)


def install(counter: Counter) -> None:
    """Put the counter at every boundary where half of something could be left."""
    from sqlalchemy.engine.default import DefaultDialect

    from volano.training import _loop, _optimiser

    wrap(Path, "rename", "rename", counter)
    wrap(Path, "replace", "replace", counter)
    wrap(Path, "write_text", "write", counter)
    wrap(shutil, "rmtree", "rmtree", counter)
    wrap(DefaultDialect, "do_commit", "commit", counter)
    wrap(_optimiser.FlatOptimiser, "step", "step", counter)
    wrap(_loop._Run, "_end_epoch", "epoch", counter)
    wrap(_loop, "write_checkpoint", "checkpoint", counter)


def prepare_process() -> None:
    """One core, small steps, a checkpoint at every step."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    from volano.training import _dropout, _head_start, _loop

    _loop.CHECKPOINT_EVERY_S = -1.0
    _dropout.POOL_SIZE = 1 << 16
    _head_start.ITERATIONS = 5


def turn(folder: Path) -> dict[str, Any]:
    import volano

    with volano.Wheel(folder) as wheel:
        made = wheel.turn()
        store = wheel.store.folder
        trained = wheel.store.artifact(made.record["artifacts"]["train"]).path
        saved = trained / "models" / "network" / "model.safetensors"
        return {
            "artifacts": made.record["artifacts"],
            "weights": hashlib.sha256(saved.read_bytes()).hexdigest(),
            "ran": [item["name"] for item in made.record["stages"] if not item["cached"]],
            "turn": made.number,
            "turns": len(wheel.history()),
            "verdict": made.verdict,
            "unchanged": made.unchanged,
            "report": made.report.exists(),
            "train_loss": [entry["train_loss"] for entry in made.record["training"]["epochs"]],
            "left": sorted(
                str(path.relative_to(store))
                for pattern in ("artifacts/.new-*", "**/*.part", "**/*.partial", "scratch/*")
                for path in store.glob(pattern)
            ),
        }


def in_fork(work: Callable[[], Any], out: Path) -> int:
    """Do something in a fork; returns how it ended, as `os.waitpid` says."""
    child = os.fork()
    if child == 0:
        try:
            out.write_text(json.dumps(work()))
        except BaseException:
            out.write_text(json.dumps({"failed": traceback.format_exc()}))
            os._exit(1)
        os._exit(0)
    return child


def finished_stages(folder: Path) -> list[str]:
    path = folder / ".volano" / "store.db"
    if not path.exists():
        return []
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT stage FROM runs")]
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def crash(base: Path, place: Path, kind: str, at: float) -> dict[str, Any]:
    """One crash and the turn after it."""
    shutil.copytree(base, place)
    out = place.with_suffix(".json")

    def dying() -> Any:
        install(Counter(kind, int(at)))
        return turn(place)

    child = in_fork(turn_of(place) if kind == "time" else dying, out)
    if kind == "time":
        time.sleep(at)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    died = os.WIFSIGNALED(status)
    finished = finished_stages(place)
    out.unlink(missing_ok=True)
    child = in_fork(turn_of(place), out)
    os.waitpid(child, 0)
    found = json.loads(out.read_text())
    child = in_fork(turn_of(place), out)
    os.waitpid(child, 0)
    again = json.loads(out.read_text())
    shutil.rmtree(place)
    return {
        "kind": kind,
        "at": at,
        "died": died,
        "finished": finished,
        "next": found,
        "again": again,
    }


def turn_of(place: Path) -> Callable[[], Any]:
    return lambda: turn(place)


def main() -> None:
    base, work = Path(sys.argv[1]), Path(sys.argv[2])
    asked = json.loads(sys.argv[3])
    prepare_process()
    counter = Counter()
    whole = work / "whole"
    shutil.copytree(base, whole)
    turn(whole)  # imports and measures everything that is measured once
    shutil.rmtree(whole)
    shutil.copytree(base, whole)
    started = time.monotonic()
    reference = turn(whole)
    seconds = time.monotonic() - started
    shutil.rmtree(whole)
    shutil.copytree(base, whole)

    def counting() -> Any:
        install(counter)
        turn(whole)
        return counter.counts

    os.waitpid(in_fork(counting, work / "counts.json"), 0)
    counts = json.loads((work / "counts.json").read_text())
    random.seed(0)
    crashes = []
    for kind, share in asked.items():
        if kind == "time":
            moments = [random.uniform(0, seconds) for _ in range(share)]
        else:
            moments = spread(counts[kind], share)
        for number, at in enumerate(moments):
            crashes.append(crash(base, work / f"{kind.replace(' ', '-')}-{number}", kind, at))
    print(json.dumps({"reference": reference, "counts": counts, "crashes": crashes}))


def spread(count: int, most: int) -> list[int]:
    """At most so many numbers from 1 to `count`, the first and the last among them."""
    if most == 1:
        return [1 + count // 2]
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(place * (count - 1) / (most - 1)) for place in range(most)})


if __name__ == "__main__":
    main()
