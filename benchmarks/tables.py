"""Tables: the default `volano init` and `volano turn` on small and real ones.

    python benchmarks/tables.py california --budget 5m --seeds 0 1 2 3 4
    python benchmarks/tables.py sklearn [--tables digits]
    python benchmarks/tables.py xor --seeds 20
    python benchmarks/tables.py adult
    python benchmarks/tables.py houses

All answers are the shipped bundle's, through `volano.load`, on rows that the turn never saw. Where
the model of comparison is LightGBM with its defaults, it learns from all rows that the turn was
given. `VOLANO_DATA` names the folder with the data.

The official split of adult cannot be run where only `adult.test` (16,281 rows) is: four fifths of
it stand for the training rows then.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from results import write_result

DATA = Path(os.environ.get("VOLANO_DATA", "."))
HOUSES = DATA / "california_housing" / "housing.csv"
ADULT = DATA / "adult"
TABLES = ("iris", "wine", "breast_cancer", "digits")
ADULT_COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation"),
    *("relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week"),
    *("native_country", "income"),
)

Rows = list[list[Any]]


def write(path: Path, head: Sequence[str], rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(rows)


def turn(
    folder: Path, head: Sequence[str], train: Rows, test: Rows, extra: str = ""
) -> tuple[dict[str, Any], float, Any]:
    """Record and seconds of a default turn, and its bundle."""
    import volano

    write(folder / "train.csv", head, train)
    write(folder / "test.csv", head, test)
    command = [sys.executable, "-m", "volano"]
    made = [*command, "init", "train.csv", "--target", head[-1], "--test", "test.csv"]
    subprocess.run(made, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with (folder / "volano.yaml").open("a", encoding="utf-8") as file:
        file.write(extra)
    started = time.perf_counter()
    found = subprocess.run(
        [*command, "turn", "--json"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - started
    record = json.loads(found.stdout)
    return record, seconds, volano.load(folder / record["bundle"])


def answers(model: Any, head: Sequence[str], rows: Rows) -> list[Any]:
    # A column of one value is left out by init.
    known = [(place, name) for place, name in enumerate(head) if name in model.inputs]
    inputs = [{name: row[place] for place, name in known} for row in rows]
    return list(model.predict(inputs))


def shares(found: Sequence[Any], names: Sequence[str]) -> np.ndarray:
    return np.array([[answer.probabilities[name] for name in names] for answer in found])


def shipped(record: dict[str, Any]) -> str:
    return next(item["name"] for item in record["candidates"] if item["chosen"])


def xor(options: argparse.Namespace) -> Iterator[str]:
    """Four rows, an MLP; one number under --seeds says how many seeds, more say which."""
    head, rows = (
        ["a", "b", "odd"],
        [[a, b, "yes" if a != b else "no"] for a in (0, 1) for b in (0, 1)],
    )
    right = 0
    seeds = options.seeds or [20]
    seeds = list(range(seeds[0])) if len(seeds) == 1 else seeds
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            extra = f"train: {{models: [network], seed: {seed}}}\nclean: {{duplicates: keep}}\n"
            _, _, model = turn(Path(folder), head, rows, rows, extra)
            found = [answer.value for answer in answers(model, head, rows)]
        right += sum(one == row[-1] for one, row in zip(found, rows, strict=True))
    total = 4 * len(seeds)
    yield f"XOR, network, {len(seeds)} seeds: {right} of {total} right, {right / total:.1%}"


def houses(options: argparse.Namespace) -> Iterator[str]:
    """One number in, one out: the normal equation against SGD."""
    del options
    random = np.random.default_rng(0)
    size = random.uniform(40, 250, 100)
    price = 3000 * size + 50_000 + random.normal(scale=20_000, size=100)
    rows: Rows = [[repr(float(a)), repr(float(b))] for a, b in zip(size, price, strict=True)]
    found = {}
    for solver in ("exact", "sgd"):
        with tempfile.TemporaryDirectory() as folder:
            extra = f"train: {{models: [linear], penalty: none, solver: {solver}}}\n"
            _, _, model = turn(Path(folder), ["size", "price"], rows[:80], rows[80:], extra)
            found[solver] = np.array([one.value for one in answers(model, ["size", "price"], rows)])
    gap = np.abs(found["sgd"] / found["exact"] - 1).max()
    yield f"100 houses: SGD and the normal equation differ by {gap:.1e} of the price at the most"


def california(options: argparse.Namespace) -> Iterator[str]:
    """RMSE on a random fifth."""
    with HOUSES.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    place = head.index("median_house_value")
    order = [*range(place), *range(place + 1, len(head)), place]
    head, rows = [head[i] for i in order], [[row[i] for i in order] for row in rows]
    budget = f"budget: {options.budget}\n" if options.budget else ""
    yield "| california_housing, seed | RMSE | ships | s |"
    yield "|---|---|---|---|"
    all_found = []
    for seed in options.seeds or range(5):
        mixed = np.random.default_rng(seed).permutation(len(rows))
        cut = int(0.8 * len(rows))
        train, test = ([rows[i] for i in part] for part in (mixed[:cut], mixed[cut:]))
        with tempfile.TemporaryDirectory() as folder:
            record, seconds, model = turn(Path(folder), head, train, test, budget)
            found = np.array([one.value for one in answers(model, head, test)], float)
        error = found - np.array([float(row[-1]) for row in test])
        all_found.append(float(np.sqrt((error**2).mean())))
        yield f"| {seed} | {all_found[-1]:,.0f} | {shipped(record)} | {seconds:.0f} |"
    yield f"| mean, {options.budget or 'no budget'} | {np.mean(all_found):,.0f} | | |"


def _lightgbm(head: Sequence[str], train: Rows, test: Rows, names: Sequence[str]) -> np.ndarray:
    """Shares of the classes by LightGBM's defaults, with names as its own categories."""
    import lightgbm

    columns = list(zip(*[row[:-1] for row in [*train, *test]], strict=True))
    coded, kinds = [], []
    for place, column in enumerate(columns):
        try:
            coded.append(np.array([float(value) if value != "" else np.nan for value in column]))
        except ValueError:
            known = {value: code for code, value in enumerate(sorted(set(column)))}
            coded.append(np.array([float(known[value]) for value in column]))
            kinds.append(place)
    matrix = np.stack(coded, axis=1)
    target = np.array([names.index(row[-1]) for row in train])
    machine = lightgbm.LGBMClassifier(verbosity=-1)
    machine.fit(matrix[: len(train)], target, categorical_feature=kinds or "auto")
    del head
    return np.asarray(machine.booster_.predict(matrix[len(train) :])).reshape(len(test), -1)


def adult_splits(seeds: Sequence[int]) -> list[tuple[Rows, Rows]]:
    """Training and test rows: the official split where it is there, else fifths of adult.test."""

    def read(path: Path) -> Rows:
        with path.open(encoding="utf-8", newline="") as file:
            found = [[cell.strip() for cell in row] for row in csv.reader(file) if len(row) == 15]
        if found[0][0] == "age":
            found = found[1:]  # some copies begin with names of columns
        return [
            [*("" if cell == "?" else cell for cell in row[:-1]), row[-1].rstrip(".")]
            for row in found
        ]

    test = read(ADULT / "adult.test")
    if (ADULT / "adult.data").exists():
        return [(read(ADULT / "adult.data"), test)]
    splits = []
    for seed in seeds:
        mixed = np.random.default_rng(seed).permutation(len(test))
        cut = int(0.8 * len(test))
        splits.append(([test[i] for i in mixed[:cut]], [test[i] for i in mixed[cut:]]))
    return splits


def adult(options: argparse.Namespace) -> Iterator[str]:
    """ROC AUC; the official split where it is there, else fifths of adult.test."""
    from sklearn.metrics import roc_auc_score

    splits = adult_splits(options.seeds or range(5))
    official = len(splits) == 1 and (ADULT / "adult.data").exists()
    names = ["<=50K", ">50K"]
    yield f"adult, {'official split' if official else 'no adult.data here: 80/20 of adult.test'}"
    yield ""
    yield "| split | training rows | ROC AUC | LightGBM's defaults | ships | s |"
    yield "|---|---|---|---|---|---|"
    for place, (train, rows) in enumerate(splits):
        with tempfile.TemporaryDirectory() as folder:
            record, seconds, model = turn(Path(folder), ADULT_COLUMNS, train, rows)
            found = shares(answers(model, ADULT_COLUMNS, rows), names)[:, 1]
        right = np.array([row[-1] == names[1] for row in rows])
        theirs = _lightgbm(ADULT_COLUMNS, train, rows, names)[:, 0]
        yield (
            f"| {place} | {len(train):,} | {roc_auc_score(right, found):.4f} "
            f"| {roc_auc_score(right, theirs):.4f} | {shipped(record)} | {seconds:.0f} |"
        )


def tables_of_sklearn(options: argparse.Namespace) -> Iterator[str]:
    """The classification tables that come with scikit-learn, five folds."""
    from sklearn import datasets
    from sklearn.model_selection import StratifiedKFold

    yield "| table | accuracy | LightGBM's defaults | log loss | theirs | ships | s |"
    yield "|---|---|---|---|---|---|---|"
    for name in options.tables:
        table = getattr(datasets, f"load_{name}")()
        head = [*(f"x{place}" for place in range(table.data.shape[1])), "label"]
        names = [f"class {code}" for code in range(len(table.target_names))]
        rows = [
            [*map(float, values), names[code]]
            for values, code in zip(table.data, table.target.tolist(), strict=True)
        ]
        ours, theirs, ships, seconds = [], [], [], 0.0
        right = []
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        for train_rows, test_rows in folds.split(table.data, table.target):
            train, test = [rows[i] for i in train_rows], [rows[i] for i in test_rows]
            with tempfile.TemporaryDirectory() as folder:
                record, took, model = turn(Path(folder), head, train, test)
                ours.append(shares(answers(model, head, test), names))
            found = _lightgbm(head, train, test, names)
            theirs.append(found if found.shape[1] > 1 else np.hstack([1 - found, found]))
            right.append(table.target[test_rows])
            ships.append(shipped(record))
            seconds += took
        truth = np.concatenate(right)
        shown = []
        for found in (np.concatenate(ours), np.concatenate(theirs)):
            likely = np.clip(found[np.arange(len(truth)), truth], 1e-7, 1)
            shown.append((float((found.argmax(1) == truth).mean()), float(-np.log(likely).mean())))
        yield (
            f"| {name} | {shown[0][0]:.2%} | {shown[1][0]:.2%} | {shown[0][1]:.4f} "
            f"| {shown[1][1]:.4f} | {', '.join(sorted(set(ships)))} | {seconds:.0f} |"
        )


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "xor": xor,
    "houses": houses,
    "california": california,
    "adult": adult,
    "sklearn": tables_of_sklearn,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="*", help="0 to 4; of xor how many: 20")
    parser.add_argument("--tables", nargs="*", default=TABLES, help="of sklearn")
    parser.add_argument("--budget", help="of california, such as 5m")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    lines: list[str] = []
    for name in options.parts:
        for line in PARTS[name](options):
            print(line, flush=True)
            lines.append(line)
        lines.append("")
    name = "tables" if set(options.parts) == set(PARTS) else "-".join(["tables", *options.parts])
    print(write_result(name, "Tables", lines))


if __name__ == "__main__":
    main()
