"""Does memory grow with the file? Snapshot, clean and split of 0.5 and of 5 million rows.

Each size runs in a process of its own. What is measured is anonymous memory (RssAnon), sampled
every 20 ms: pages of memory-mapped files belong to the page cache and go when others need room.

    python benchmarks/data_memory.py [--write]
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from results import write_result

SIZES = (500_000, 5_000_000)


def status(name: str) -> int:
    """A line of /proc/self/status, in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise KeyError(name)


def make_table(path: Path, num_rows: int) -> None:
    """Short texts of Zipf's law, 77 classes, some repeats and some quotes."""
    chance = random.Random(0)
    words = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9)))
        for _ in range(20_000)
    ]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    pool = chance.choices(words, weights, k=2_000_000)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for row in range(num_rows):
            if row % 50 == 49:
                text = " ".join(pool[: 5 + row % 7])  # repeats
            else:
                at = chance.randrange(len(pool) - 20)
                text = " ".join(pool[at : at + 5 + row % 11]).capitalize() + "."
            writer.writerow([text, f"class {hash_of(text) % 77}"])


def hash_of(text: str) -> int:
    return sum(map(ord, text))


def measure(path: Path, work: Path) -> None:
    """In a process of its own: run everything, print seconds and peaks as JSON."""
    from volano.data import (
        GoldenRows,
        Snapshot,
        choose_golden,
        clean,
        resolve,
        split_snapshot,
        take_snapshot,
        write_rows,
    )
    from volano.spec import CleanSpec

    peaks: dict[str, int] = {}
    seconds: dict[str, float] = {}
    stage = "start"
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peaks[stage] = max(peaks.get(stage, 0), status("RssAnon"))

    import numpy as np
    import pyarrow as pa

    assert np
    assert pa
    threading.Thread(target=watch, daemon=True).start()
    time.sleep(0.1)

    def timed(name: str) -> None:
        nonlocal stage, started
        seconds[stage] = time.perf_counter() - started
        started, stage = time.perf_counter(), name

    started = time.perf_counter()
    timed("snapshot")
    files = resolve([str(path)], root=work)
    summary = take_snapshot(files, inputs=["text"], target="label", out=work / "snapshot")
    timed("golden")
    snapshot = Snapshot.open(work / "snapshot")
    golden = choose_golden(snapshot, share=0.15, max_rows=2000, seed=0)
    write_rows(snapshot, golden, work / "golden.arrow")
    timed("clean")
    rows = clean(
        snapshot,
        CleanSpec(),
        golden=GoldenRows.open(work / "golden.arrow"),
        findings=work / "findings.jsonl",
    ).rows
    timed("split")
    train, validation = split_snapshot(snapshot, rows, share=0.1, seed=0)
    timed("end")
    stop.set()
    del seconds["start"]
    print(
        json.dumps(
            {
                "rows": summary.num_rows,
                "golden": len(golden),
                "train": len(train),
                "validation": len(validation),
                "seconds": seconds,
                "peak_anonymous_mb": {name: kb / 1024 for name, kb in peaks.items()},
                "vm_hwm_mb": status("VmHWM") / 1024,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write a dated result")
    parser.add_argument("--measure", nargs=2, metavar=("TABLE", "WORK"), help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    if options.measure:
        measure(Path(options.measure[0]), Path(options.measure[1]))
        return
    lines = [
        "| rows | CSV MB | snapshot s | rows/s | golden s | clean s | split s "
        "| peak anonymous MB: start | snapshot | golden | clean | split |",
        "|" + "---:|" * 12,
    ]
    for num_rows in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "rows.csv")
            make_table(table, num_rows)
            done = subprocess.run(
                [sys.executable, __file__, "--measure", str(table), folder],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            found = json.loads(done.stdout)
            seconds, peaks = found["seconds"], found["peak_anonymous_mb"]
            lines.append(
                f"| {num_rows:,} | {table.stat().st_size / 1e6:.0f} | {seconds['snapshot']:.1f} "
                f"| {num_rows / seconds['snapshot']:,.0f} | {seconds['golden']:.1f} "
                f"| {seconds['clean']:.1f} | {seconds['split']:.1f} | "
                + " | ".join(f"{peaks.get(n, 0):.0f}" for n in ("start", "snapshot", "golden"))
                + f" | {peaks.get('clean', 0):.0f} | {peaks.get('split', 0):.0f} |"
            )
            print(json.dumps(found), file=sys.stderr)
    report = "\n".join(lines)
    print(report)
    if options.write:
        note = (
            "Anonymous memory (RssAnon), sampled every 20 ms; memory-mapped files not counted. "
            "Written by `python benchmarks/data_memory.py --write`."
        )
        write_result("data-memory", "Memory of snapshot, clean and split", [report, "", note])


if __name__ == "__main__":
    main()
