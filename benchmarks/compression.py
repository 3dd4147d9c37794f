"""What a turn makes of its best model: quality, bytes and speed of each point of the front.

    python benchmarks/compression.py banking77 [--budget 10m] [--rounds 5] [--wheel FOLDER]

The table is turned as a user would, with a budget to look for smaller models; then the best model
as it was trained and every point of the front answer the given test rows, which no turn trained on.

Speed is rows per second in batches of 32, texts in, names out, each side with two threads and in
turns: the best model as an fp32 graph in a plain ONNX Runtime session, its batches as they come and
padded to their longest text; the points through `volano.load`. Medians, with the lowest and the
highest. `--wheel` keeps the wheel in a folder, and uses one that is there. `VOLANO_DATA` names the
folder with the data.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from results import write_result
from turns import TABLES, write

import volano

BATCH_ROWS = 32
WINDOW_ROWS = 640
THREADS = 2


def turned(name: str, budget: str, folder: Path) -> dict[str, Any]:
    """The record of a turn with a search, in a wheel of its own."""
    if not (folder / "volano.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        train, test = TABLES[name]()
        assert test is not None
        write(folder / "train.csv", train)
        write(folder / "test.csv", test)
        command = ["init", "train.csv", "--target", "label", "--test", "test.csv"]
        run(folder, *command)
        spec = folder / "volano.yaml"
        with spec.open("a", encoding="utf-8") as file:
            file.write(f"compress: {{margin: 1%, budget: {budget}}}\n")
    found: dict[str, Any] = json.loads(run(folder, "turn", "--json"))
    return found


def run(folder: Path, *command: str) -> str:
    """What a command of volano prints."""
    done = subprocess.run(
        [sys.executable, "-m", "volano", *command],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def plain(model: volano.Model) -> Callable[[Sequence[str]], np.ndarray]:
    """The graph as anyone would run it: rows padded to the longest of their batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    graph = model.path / model.manifest["graph"]["file"]
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    (column,) = model.inputs.values()

    def answer(texts: Sequence[str]) -> np.ndarray:
        encoded = column.encode(texts)
        feed = column.collate(encoded, np.arange(len(texts)))
        return np.asarray(session.run(None, feed)[0]).argmax(1)

    return answer


def shipped(model: volano.Model) -> Callable[[Sequence[str]], np.ndarray]:
    """The bundle through the runtime that serves it."""
    (name,) = model.inputs

    def answer(texts: Sequence[str]) -> np.ndarray:
        return model.outputs(model.encode(model.check([{name: text} for text in texts]))).argmax(1)

    return answer


def rows_per_s(answer: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> float:
    started = time.perf_counter()
    for start in range(0, len(texts), BATCH_ROWS):
        answer(texts[start : start + BATCH_ROWS])
    return len(texts) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=[name for name in TABLES if name != "thousand"])
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wheel", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.wheel or Path(made)
        started = time.perf_counter()
        record = turned(options.table, options.budget, folder)
        seconds = time.perf_counter() - started
        lines = measured(options.table, record, folder, options.rounds)
    lines.append("")
    lines.append(
        f"The turn took {seconds:.0f} s, budget of the search {options.budget}; "
        f"{sum(bool(row.get('steps')) for row in record['candidates'])} chains of passes."
    )
    path = write_result(f"compression-{options.table}", f"Smaller models: {options.table}", lines)
    print("\n".join(lines), path, sep="\n")


def measured(name: str, record: dict[str, Any], folder: Path, rounds: int) -> list[str]:
    """A line for the best model and one for each point of the front."""
    test = TABLES[name]()[1]
    assert test is not None
    texts, right = [text for text, _ in test], [label for _, label in test]
    digest = record["artifacts"]["compress"]
    (place,) = (folder / ".volano" / "artifacts").glob(f"{digest[:40]}*")
    rows = [row for row in record["candidates"] if row["kept"] and row["size_bytes"]]
    models = {
        row["name"]: volano.load(place / "candidates" / row["name"], threads=THREADS)
        for row in rows
    }
    first = rows[0]
    answers = {
        row["name"]: (plain if row is first else shipped)(models[row["name"]]) for row in rows
    }
    speeds: dict[str, list[float]] = {row["name"]: [] for row in rows}
    random = np.random.default_rng(0)
    for turn in range(rounds + 1):
        some = [texts[place] for place in random.permutation(len(texts))[:WINDOW_ROWS]]
        for row in rows:
            found = rows_per_s(answers[row["name"]], some)
            if turn:  # the first is a warm-up
                speeds[row["name"]].append(found)
    lines = [
        "| candidate | ships | test accuracy | of the best model's | bytes | 1 / | rows/s "
        "| times (lowest to highest) | start s | peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    accuracies = {}
    for row in rows:
        model = models[row["name"]]
        names = np.array(model.target.names)  # type: ignore[attr-defined]
        found = [answers[row["name"]](texts[at : at + 256]) for at in range(0, len(texts), 256)]
        accuracies[row["name"]] = float((names[np.concatenate(found)] == np.array(right)).mean())
    best = accuracies[first["name"]]
    for row in rows:
        mine, theirs = speeds[row["name"]], speeds[first["name"]]
        times = [a / b for a, b in zip(mine, theirs, strict=True)]
        lines.append(
            f"| {row['name']} | {'yes' if row['chosen'] else ''} | {accuracies[row['name']]:.2%} "
            f"| {accuracies[row['name']] / best:.1%} | {row['size_bytes']:,} "
            f"| {first['size_bytes'] / row['size_bytes']:.1f} | {statistics.median(mine):,.0f} "
            f"| {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) "
            f"| {row.get('start_s', '')} | {row.get('peak_mb', '')} |"
        )
    return lines


if __name__ == "__main__":
    main()
