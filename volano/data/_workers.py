"""Many rows of photos or recordings, decoded by as many processes as there are cores.

Threads would wait for each other: with small files most of the work is Python's own. A worker is
``python -m volano.data._workers`` with a job on its standard input, and not a copy of the calling
process, which may hold a network and its threads, or be a script that must not run twice. It
writes arrays to files of its own, which are then joined.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn, media_kind
from volano.data._prepared import HEADER_BYTES, EncodedRows, Prepared, encode_split, write_header
from volano.data._snapshot_file import RowIndices, Snapshot
from volano.errors import DataError

__all__ = ["encode_rows"]

PARALLEL_ROWS = 2000
"""Rows below which starting processes costs more than they save."""

BATCH_ROWS = 8192

_JOB = "volano.data._workers"


def encode_rows(
    folder: Path,
    prepared: Path,
    inputs: Mapping[str, FittedColumn],
    target: FittedColumn,
    snapshot: Snapshot,
    rows: RowIndices,
    *,
    progress: Callable[[int], None] = lambda rows: None,
    workers: int | None = None,
) -> EncodedRows:
    """Encode rows of a snapshot into a split's folder, as `encode_split` does.

    Args:
      folder: Where the split's arrays go.
      prepared: Where `save_columns` wrote the columns.
      inputs: The columns.
      target: The target.
      snapshot: Where the rows are.
      rows: Which, in this order.
      progress: Told how many more rows are done.
      workers: Processes; None for one a core where the columns are files, and none elsewhere.
    Raises:
      DataError: A worker ended without an answer (DATA-504).
    """
    if workers is None:
        media = any(media_kind(column.kind) for column in inputs.values())
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        if not media or len(rows) < PARALLEL_ROWS:
            workers = 1
    if workers < 2:
        return encode_split(
            folder, inputs, target, _batches(snapshot, rows, inputs, target, progress)
        )
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "wanted.npy", rows)
    borders = np.linspace(0, len(rows), workers + 1).astype(int).tolist()
    parts = [folder / f"part{number}" for number in range(workers)]
    jobs = [
        {
            "snapshot": str(snapshot.path.resolve()),
            "prepared": str(prepared.resolve()),
            "rows": str((folder / "wanted.npy").resolve()),
            "start": start,
            "stop": stop,
            "out": str(part.resolve()),
        }
        for part, start, stop in zip(parts, borders[:-1], borders[1:], strict=True)
    ]
    found = _run(jobs, progress)
    counts: dict[str, dict[str, int]] = {name: {} for name in inputs}
    lost: list[int] = []
    for start, answer in zip(borders[:-1], found, strict=True):
        lost += [start + row for row in answer["lost"]]
        for name, own in answer["counts"].items():
            for key, count in own.items():
                counts[name][key] = counts[name].get(key, 0) + count
    _join(folder, parts)
    (folder / "wanted.npy").unlink()
    return EncodedRows(counts, np.array(lost, np.int64))


def _batches(
    snapshot: Snapshot,
    rows: RowIndices,
    inputs: Mapping[str, FittedColumn],
    target: FittedColumn,
    progress: Callable[[int], None],
) -> Iterator[dict[str, list[Any]]]:
    for batch in snapshot.batches(rows, (*inputs, target.name), num_rows=BATCH_ROWS):
        yield batch
        progress(len(batch[target.name]))


def _run(
    jobs: Sequence[Mapping[str, Any]], progress: Callable[[int], None]
) -> list[dict[str, Any]]:
    # One thread each: as many processes as cores are running already.
    single = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    path = os.pathsep.join(item for item in sys.path if item)
    environment = {**os.environ, **single, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    said: queue.SimpleQueue[tuple[int, str | None]] = queue.SimpleQueue()
    answers: list[dict[str, Any] | None] = [None] * len(jobs)
    errors = [""] * len(jobs)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", _JOB],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        for _ in jobs
    ]

    def listen(number: int) -> None:
        process = processes[number]
        assert process.stdout
        for line in process.stdout:
            said.put((number, line))
        said.put((number, None))

    def read_errors(number: int) -> None:
        process = processes[number]
        assert process.stderr
        for line in process.stderr:
            errors[number] = line.strip() or errors[number]

    threads = [
        threading.Thread(target=work, args=(number,), daemon=True)
        for number in range(len(jobs))
        for work in (listen, read_errors)
    ]
    try:
        for process, job in zip(processes, jobs, strict=True):
            assert process.stdin
            process.stdin.write(json.dumps(job))
            process.stdin.close()
        for thread in threads:
            thread.start()
        running = len(jobs)
        while running:
            number, line = said.get()
            if line is None:
                running -= 1
            elif "done" in (message := json.loads(line)):
                progress(message["done"])
            else:
                answers[number] = message
        for thread in threads:
            thread.join()
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream
                stream.close()
    for answer, error in zip(answers, errors, strict=True):
        if answer is None:
            raise DataError(
                504,
                f"a process that decodes files has ended ({error or 'without a word'})",
                expected="memory and disk for as many of them as there are cores",
                fix="volano turn",
            )
    return [answer for answer in answers if answer is not None]


def _join(folder: Path, parts: Sequence[Path]) -> None:
    """The parts' arrays, one behind the other; each part is gone when it is copied."""
    first = parts[0]
    names = sorted(path.relative_to(first) for path in first.rglob("*.npy"))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.name.endswith(".offsets.npy"):
            lengths = [np.diff(np.load(part / name)) for part in parts]
            offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
            np.cumsum(np.concatenate(lengths), out=offsets[1:])
            np.save(folder / name, offsets)
            continue
        arrays = [np.load(part / name, mmap_mode="r") for part in parts]
        dtype, shape = arrays[0].dtype, arrays[0].shape[1:]
        length = sum(map(len, arrays))
        del arrays
        (first / name).rename(folder / name)
        with (folder / name).open("r+b") as whole:
            write_header(whole, dtype, (length, *shape))
            whole.seek(0, os.SEEK_END)
            for part in parts[1:]:
                with (part / name).open("rb") as piece:
                    piece.seek(HEADER_BYTES)
                    shutil.copyfileobj(piece, whole, 2**22)
                (part / name).unlink()
    for part in parts:
        shutil.rmtree(part)


def _work(job: Mapping[str, Any]) -> None:
    """One worker's whole life."""
    snapshot = Snapshot.open(Path(job["snapshot"]))
    prepared = Prepared.open(Path(job["prepared"]))
    rows: NDArray[np.int64] = np.load(job["rows"])[job["start"] : job["stop"]]

    def tell(done: int) -> None:
        print(json.dumps({"done": done}), flush=True)

    batches = _batches(snapshot, rows, prepared.inputs, prepared.target, tell)
    found = encode_split(Path(job["out"]), prepared.inputs, prepared.target, batches)
    print(json.dumps({"counts": found.counts, "lost": found.lost.tolist()}), flush=True)


if __name__ == "__main__":
    _work(json.load(sys.stdin))
