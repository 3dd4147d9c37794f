"""What a turn makes of its best model: quality, bytes and speed of each point of the front.

    python benchmarks/compression.py [banking77 ...] [--budget 10m] [--rounds 5] [--wheel FOLDER]

Jobs: ``banking77``, ``trec``, ``sst2`` (with the film reviews of MR as rows without a label),
``fashion`` (Fashion-MNIST), ``fsdd`` (spoken digits, official split) and ``adult`` (its ensemble;
judged by ROC AUC). The table is turned as a
user would, with a budget to look for smaller models; then the best model as it was trained and
every point of the front answer the given test rows, which no turn trained on.

Speed is rows per second in batches of 32, each side with two threads and in turns: the best model
as an fp32 graph in a plain ONNX Runtime session, its batches as they come and padded to their
longest row; the points through the runtime that serves them. Texts are tokenised or hashed by
either side; photos and recordings are decoded before, by the same code for both. Medians, with the
lowest and the highest. `--wheel` keeps the wheel in a folder, and uses one that is there.
`VOLANO_DATA` names the folder with the data.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from results import write_result
from turns import TABLES, sentences, write

import volano
from volano.runtime import EncodedRows

BATCH_ROWS = 32
WINDOW_ROWS = 640
THREADS = 2

Answer = Callable[[Sequence[int]], np.ndarray]
"""Test rows by their places -> the graph's outputs, (num_rows, num_outputs)."""


@dataclass
class Job:
    """A table that has been written.

    Attributes:
      command: What `volano init` is given.
      spec: Keys under ``compress`` beside margin and budget.
      rows: The test rows: column -> value.
      right: Their labels.
      decoded: Whether the time that encoding takes is left out.
      ranked: The name whose rank among the answers is judged, by ROC AUC; empty for accuracy.
    """

    command: list[str]
    spec: str
    rows: list[dict[str, Any]]
    right: list[str]
    decoded: bool = False
    ranked: str = ""


def texts(name: str, folder: Path) -> Job:
    """A table of texts and labels."""
    train, test = TABLES[name]()
    assert test is not None
    write(folder / "train.csv", train)
    write(folder / "test.csv", test)
    more = ""
    if name == "sst2":
        # SST's snippets are of the same reviews: what repeats one of them is left out by the turn.
        write(folder / "mr.csv", sentences("rt-polarity.all"))
        more = ", unlabelled: mr.csv"
    command = ["train.csv", "--target", "label", "--test", "test.csv"]
    rows = [{"text": text} for text, _ in test]
    return Job(command, more, rows, [label for _, label in test])


def media(column: str, parts: dict[str, list[tuple[bytes, str]]], folder: Path) -> Job:
    """Files within Parquet tables."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part, rows in parts.items():
        table = pa.table({column: [data for data, _ in rows], "label": [name for _, name in rows]})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=4096)
    command = ["train.parquet", "--target", "label", "--test", "test.parquet"]
    test = parts["test"]
    rows = [{column: data} for data, _ in test]
    return Job(command, "", rows, [label for _, label in test], decoded=True)


def fashion(folder: Path) -> Job:
    """Fashion-MNIST as PNG."""
    from images import read
    from PIL import Image

    def packed(pixels: np.ndarray) -> bytes:
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "png", compress_level=1)
        return data.getvalue()

    parts = {}
    for part, name in (("train", "train"), ("test", "t10k")):
        images, labels = read(name)
        parts[part] = [
            (packed(image[0]), f"class {label}")
            for image, label in zip(images, labels, strict=True)
        ]
    return media("photo", parts, folder)


def fsdd(folder: Path) -> Job:
    """Spoken digits, the official split."""
    from sounds import recordings

    parts: dict[str, list[tuple[bytes, str]]] = {"train": [], "test": []}
    for digit, _, index, path in recordings():
        parts["test" if index < 5 else "train"].append((path.read_bytes(), digit))
    return media("clip", parts, folder)


def adult(folder: Path) -> Job:
    """The census table."""
    from tables import ADULT_COLUMNS, adult_splits
    from tables import write as write_rows

    train, test = adult_splits([0])[0]
    write_rows(folder / "train.csv", ADULT_COLUMNS, train)
    write_rows(folder / "test.csv", ADULT_COLUMNS, test)
    command = ["train.csv", "--target", ADULT_COLUMNS[-1], "--test", "test.csv"]
    rows = [dict(zip(ADULT_COLUMNS[:-1], row[:-1], strict=True)) for row in test]
    return Job(command, "", rows, [row[-1] for row in test], decoded=True, ranked=">50K")


JOBS: dict[str, Callable[[Path], Job]] = {
    "banking77": lambda folder: texts("banking77", folder),
    "trec": lambda folder: texts("trec", folder),
    "sst2": lambda folder: texts("sst2", folder),
    "fashion": fashion,
    "fsdd": fsdd,
    "adult": adult,
}


def turned(job: Job, budget: str, folder: Path) -> dict[str, Any]:
    """The record of a turn with a search, in a wheel of its own."""
    spec = folder / "volano.yaml"
    if not spec.exists():
        run(folder, "init", *job.command)
        with spec.open("a", encoding="utf-8") as file:
            file.write(f"compress: {{margin: 1%, budget: {budget}{job.spec}}}\n")
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


def encoder_of(model: volano.Model, job: Job) -> Callable[[Sequence[int]], EncodedRows]:
    """Rows as a model reads them: encoded when they are asked for, or all of them before."""

    def encode(rows: Sequence[int]) -> EncodedRows:
        columns = {
            name: column.encode([job.rows[row].get(name) for row in rows])
            for name, column in model.inputs.items()
        }
        return EncodedRows(columns, len(rows))

    if not job.decoded:
        return encode
    done: dict[tuple[int, ...], EncodedRows] = {}

    def once(rows: Sequence[int]) -> EncodedRows:
        if tuple(rows) not in done:
            done[tuple(rows)] = encode(rows)
        return done[tuple(rows)]

    return once


def plain(model: volano.Model, job: Job) -> Answer:
    """The graph as anyone would run it: rows padded to the longest of their batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    graph = model.path / model.manifest["graph"]["file"]
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    wanted = {item.name for item in session.get_inputs()}
    encode = encoder_of(model, job)

    def answer(rows: Sequence[int]) -> np.ndarray:
        encoded, every, feed = encode(rows), np.arange(len(rows)), {}
        for name, column in model.inputs.items():
            feed |= column.collate(encoded.columns[name], every)
        return np.asarray(session.run(None, {key: feed[key] for key in wanted})[0])

    return answer


def shipped(model: volano.Model, job: Job) -> Answer:
    """The bundle through the runtime that serves it."""
    encode = encoder_of(model, job)
    return lambda rows: model.outputs(encode(rows))


def rows_per_s(answer: Answer, rows: Sequence[int], *, warm: bool) -> float:
    batches = [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]
    if warm:
        for batch in batches:
            answer(batch)
    started = time.perf_counter()
    for batch in batches:
        answer(batch)
    return len(rows) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", default=list(JOBS), help="all of them")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wheel", type=Path, help="of one job")
    options = parser.parse_args()
    for name in options.jobs:
        with tempfile.TemporaryDirectory() as made:
            folder = options.wheel or Path(made)
            folder.mkdir(parents=True, exist_ok=True)
            print("\n".join(compressed(name, folder, options.budget, options.rounds)))


def compressed(name: str, folder: Path, budget: str, rounds: int) -> list[str]:
    """One job: its lines, which are written as well."""
    job = JOBS[name](folder)
    started = time.perf_counter()
    record = turned(job, budget, folder)
    seconds = time.perf_counter() - started
    lines = measured(job, record, folder, rounds)
    chains = sum(bool(row.get("steps")) for row in record["candidates"])
    lines += [
        "",
        f"The turn took {seconds:.0f} s, budget of the search {budget}; {chains} chains of passes.",
    ]
    path = write_result(f"compression-{name}", f"Smaller models: {name}", lines)
    return [*lines, str(path)]


def quality(outputs: np.ndarray, names: np.ndarray, job: Job) -> float:
    """Accuracy, or the area under the curve of the name that is ranked."""
    right = np.array(job.right)
    if not job.ranked:
        return float((names[outputs.argmax(1)] == right).mean())
    from sklearn.metrics import roc_auc_score

    (place,) = np.flatnonzero(names == job.ranked)
    margin = outputs[:, place] - np.delete(outputs, place, axis=1).max(axis=1)
    return float(roc_auc_score(right == job.ranked, margin))


def measured(job: Job, record: dict[str, Any], folder: Path, rounds: int) -> list[str]:
    """A line for the best model and one for each point of the front."""
    digest = record["artifacts"]["compress"]
    (place,) = (folder / ".volano" / "artifacts").glob(f"{digest[:40]}*")
    rows = [row for row in record["candidates"] if row["kept"] and row["size_bytes"]]
    models = {
        row["name"]: volano.load(place / "candidates" / row["name"], threads=THREADS)
        for row in rows
    }
    first = rows[0]
    answers = {
        row["name"]: (plain if row is first else shipped)(models[row["name"]], job) for row in rows
    }
    speeds: dict[str, list[float]] = {row["name"]: [] for row in rows}
    random = np.random.default_rng(0)
    for turn in range(rounds + 1):
        some = random.permutation(len(job.rows))[:WINDOW_ROWS].tolist()
        for row in rows:
            found = rows_per_s(answers[row["name"]], some, warm=job.decoded)
            if turn:  # the first is a warm-up
                speeds[row["name"]].append(found)
    lines = [
        f"| candidate | ships | test {'ROC AUC' if job.ranked else 'accuracy'} "
        "| of the best model's | bytes | 1 / | rows/s "
        "| times (lowest to highest) | start s | peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    accuracies = {}
    for row in rows:
        model = models[row["name"]]
        names = np.array(model.target.names)  # type: ignore[attr-defined]
        every = range(len(job.rows))
        found = [answers[row["name"]](every[at : at + 256]) for at in range(0, len(every), 256)]
        accuracies[row["name"]] = quality(np.concatenate(found), names, job)
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
