"""Measuring a bundle on this machine: bytes, milliseconds, rows per second."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volano.errors import BundleError, RequestError
from volano.runtime import Model

__all__ = ["accepted_row", "bundle_size", "measure_encoding", "measure_speed", "measure_start"]

SINGLE_RUNS = 60
BATCH_ROWS = 32
BATCH_RUNS = 5

_FIRST = np.zeros(1, np.int64)


def bundle_size(folder: Path) -> int:
    """Bytes of all files of a bundle."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _answerable(model: Model, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table as a service takes them, without those that it would refuse; all if it would
    refuse every one."""
    cells = [model.cells(row) for row in rows]
    found = []
    for row in cells:
        with contextlib.suppress(RequestError):
            model.check([row])
            found.append(row)
    return found or cells


def accepted_row(model: Model, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first of some rows that a service would take as it is; none where it would take none."""
    for row in rows:
        with contextlib.suppress(RequestError):
            model.check([row])
            return [row]
    return []


def measure_encoding(model: Model, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How long the runtime takes to make arrays of one row's values, column by column.

    Args:
      model: A bundle: all of a turn encode alike.
      rows: Real rows as tables have them, at least one; taken in turn.
    Returns:
      Column -> milliseconds, the median over single rows.
    """
    checked = model.check(_answerable(model, rows))
    found = {}
    for name, column in model.inputs.items():
        values = checked[name]
        column.encode(values[:1])
        times = []
        for run in range(SINGLE_RUNS):
            value = values[run % len(values)]
            started = time.perf_counter()
            encoded = column.encode([value])
            column.collate(encoded, _FIRST)
            times.append((time.perf_counter() - started) * 1000)
        found[name] = round(float(np.median(times)), 4)
    return found


def measure_speed(model: Model, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Time whole answers: tokens, graph, decoding.

    Args:
      model: The bundle.
      rows: Real rows as tables have them, at least one; taken in turn.
    Returns:
      ``p50_ms`` and ``p99_ms`` of one row at a time, ``rows_per_s`` in batches (median), and
      ``rows_per_s_spread`` (lowest and highest).
    """
    rows = _answerable(model, rows)
    model.predict(rows[:2])
    single = []
    for run in range(SINGLE_RUNS):
        row = rows[run % len(rows)]
        started = time.perf_counter()
        model.predict([row])
        single.append((time.perf_counter() - started) * 1000)
    batches = []
    for run in range(BATCH_RUNS):
        batch = [rows[(run * BATCH_ROWS + place) % len(rows)] for place in range(BATCH_ROWS)]
        started = time.perf_counter()
        model.predict(batch)
        batches.append(len(batch) / (time.perf_counter() - started))
    return {
        "p50_ms": round(float(np.percentile(single, 50)), 3),
        "p99_ms": round(float(np.percentile(single, 99)), 3),
        "rows_per_s": round(float(np.median(batches)), 1),
        "rows_per_s_spread": [round(min(batches), 1), round(max(batches), 1)],
    }


_START = """
import json, resource, sys, time
started = time.perf_counter()
import volano
rows = json.load(sys.stdin)
volano.load(sys.argv[1]).predict(rows)
took = time.perf_counter() - started
try:
    # What getrusage says of a new process is at least what its parent held when it started it.
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e3
except OSError:
    unit = 1e6 if sys.platform == "darwin" else 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
print(json.dumps([took, peak]))
"""


def measure_start(
    folder: Path, rows: Sequence[Mapping[str, Any]], *, runs: int = 3
) -> dict[str, Any]:
    """Start a new process that answers once: how long that takes, and how much memory.

    Args:
      folder: The bundle.
      rows: What it answers, such as `accepted_row` finds.
      runs: Processes, one after the other.
    Returns:
      ``start_s``, seconds from the first import to the first answer, and ``peak_mb``, the largest
      resident memory (medians); ``start_s_spread`` and ``peak_mb_spread`` (lowest and highest).
      Empty without rows, or where they cannot be sent to another process.
    Raises:
      BundleError: A new process cannot answer with it (BUNDLE-032).
    """
    try:
        text = json.dumps(list(rows))
    except (TypeError, ValueError):
        return {}
    if not rows:
        return {}
    found = []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", _START, str(folder)],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BundleError(
                32,
                "a new process cannot answer with the bundle",
                where=str(folder),
                expected="an answer to a row of the table",
                fix="see why: " + (done.stderr.strip().splitlines() or ["it says nothing"])[-1],
            )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    starts, peaks = zip(*found, strict=True)
    return {
        "start_s": round(statistics.median(starts), 3),
        "start_s_spread": [round(min(starts), 3), round(max(starts), 3)],
        "peak_mb": round(statistics.median(peaks), 1),
        "peak_mb_spread": [round(min(peaks), 1), round(max(peaks), 1)],
    }
