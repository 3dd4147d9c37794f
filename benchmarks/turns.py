"""The default `volano turn` on real tables: test accuracy, seconds, peak memory.

    python benchmarks/turns.py [banking77 sst2 trec thousand ...]

Each is what a user does: `volano init TRAIN --target label --test TEST`, then `volano turn`. The
accuracy is that of the bundle that would ship, on the given test rows. `thousand` is a turn on
1,000 rows of banking77's without a test table. `VOLANO_DATA` names the folder with the data.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from results import write_result

DATA = Path(os.environ.get("VOLANO_DATA", "."))
SENTENCES = DATA / "sentence_classification_sst_trec_mr_subj_cr_mpqa"
BANKING = DATA / "banking77" / "banking_data"
WAIMAI = DATA / "chinese_sentiment" / "waimai_10k" / "waimai_10k.csv"

Rows = list[tuple[str, str]]


def sentences(name: str) -> Rows:
    """Rows of a file with lines of ``LABEL TEXT``."""
    rows = []
    for line in (SENTENCES / name).read_text(encoding="latin-1").splitlines():
        label, _, text = line.partition(" ")
        rows.append((text, f"class {label}"))
    return rows


def banking(name: str) -> Rows:
    """Rows of one of banking77's files."""
    with (BANKING / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def waimai(part: int) -> Rows:
    """Chinese reviews of food deliveries: every fifth row is a test row."""
    with WAIMAI.open(encoding="utf-8-sig", newline="") as file:
        rows = [
            (row["review"], "good" if row["label"] == "1" else "bad")
            for row in csv.DictReader(file)
        ]
    return [row for number, row in enumerate(rows) if (number % 5 == 0) == bool(part)]


TABLES = {
    "banking77": lambda: (banking("train"), banking("test")),
    # The turn chooses its own validation rows: the given ones are rows to learn from like others.
    "sst2": lambda: (
        sentences("stsa.binary.train") + sentences("stsa.binary.dev"),
        sentences("stsa.binary.test"),
    ),
    "trec": lambda: (sentences("TREC.train.all"), sentences("TREC.test.all")),
    "thousand": lambda: (banking("train")[::10], None),
    "waimai": lambda: (waimai(0), waimai(1)),
}


def write(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["text", "label"])
        table.writerows(rows)


def turn(name: str, seed: int, folder: Path) -> str:
    """One table's row of the result."""
    train, test = TABLES[name]()
    write(folder / "train.csv", train)
    command = [sys.executable, "-m", "volano", "init", "train.csv", "--target", "label"]
    if test:
        write(folder / "test.csv", test)
        command += ["--test", "test.csv"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    if seed:
        spec = folder / "volano.yaml"
        with spec.open("a", encoding="utf-8") as file:
            file.write(f"train: {{seed: {seed}}}\n")
    started = time.perf_counter()
    found = subprocess.run(
        [sys.executable, "-m", "volano", "turn", "--json"],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    record = json.loads(found.stdout)
    accuracy = record["metrics"]["accuracy"]
    shipped = next(item for item in record["candidates"] if item["chosen"])
    int8 = next((item for item in record["candidates"] if item["name"] == "int8"), {})
    baseline = record["baselines"]["tfidf_svm"]["accuracy"]
    return (
        f"| {name} | {seed} | {len(train):,} | {accuracy['value']:.2%} "
        f"({accuracy['low']:.1%} to {accuracy['high']:.1%}) | {baseline:.2%} | {record['verdict']} "
        f"| {shipped['name']}, {shipped['size_bytes'] / 1e6:.0f} MB "
        f"| {int8.get('loss', 0):+.2%} | {record['training']['epochs'][-1]['epoch']} "
        f"| {seconds:.0f} | {peak:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=["banking77", "sst2", "trec", "thousand"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    options = parser.parse_args()
    lines = [
        "| table | seed | rows | test accuracy (95%) | TF-IDF + SVM | verdict | ships "
        "| int8 loses (validation) | epochs | s | peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in options.tables:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                lines.append(turn(name, seed, Path(folder)))
            print(lines[-1], flush=True)
    print(write_result("turns", "The default turn", lines))


if __name__ == "__main__":
    main()
