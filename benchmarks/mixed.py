"""Text and a number in one row: is a turn on both as good as one on the text alone?

    python benchmarks/mixed.py [--seed 0] [--text FOLDER]

Banking77 with a made column of numbers beside the text, drawn without a look at the label: what a
model can learn from it is nothing, and what it must not do is be led astray by it. Both are default
turns of what `volano init` writes; the test rows are answered by the bundles that would ship, and
the answers are compared row by row. `--text` names a wheel of the text alone whose champion answers
in the place of a new turn's bundle. `VOLANO_DATA` names the folder with the data.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from results import write_result
from turns import Rows, banking

import volano
from volano.evaluation import judge


def write(path: Path, rows: Rows, numbers: np.ndarray | None) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["text", *(["amount"] if numbers is not None else []), "label"])
        for place, (text, label) in enumerate(rows):
            more = [f"{numbers[place]:.2f}"] if numbers is not None else []
            table.writerow([text, *more, label])


def turn(folder: Path, seed: int, *, number: bool) -> tuple[np.ndarray, float]:
    """Which test rows a default turn's bundle has right, and the turn's seconds."""
    random = np.random.default_rng(seed)
    train, test = banking("train"), banking("test")
    amounts = [random.lognormal(4, 1, len(rows)) if number else None for rows in (train, test)]
    write(folder / "train.csv", train, amounts[0])
    write(folder / "test.csv", test, amounts[1])
    tool = [sys.executable, "-m", "volano"]
    subprocess.run(
        [*tool, "init", "train.csv", "--target", "label", "--test", "test.csv"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with (folder / "volano.yaml").open("a", encoding="utf-8") as spec:
        spec.write(f"\ntrain: {{seed: {seed}}}\n")
    started = time.perf_counter()
    done = subprocess.run(
        [*tool, "turn", "--json"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - started
    record = json.loads(done.stdout)
    model = volano.load(folder / record["bundle"])
    shipped = next(item["name"] for item in record["candidates"] if item["chosen"])
    print(f"ships {shipped}, which reads {', '.join(model.inputs)}", flush=True)
    with (folder / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key: row[key] for key in model.inputs} for row in csv.DictReader(file)]
    return right_of(model, rows), seconds


def right_of(model: volano.Model, rows: list[dict[str, str]] | None = None) -> np.ndarray:
    """Which test rows a bundle has right: 1 or 0."""
    test = banking("test")
    answers = model.predict(rows or [{"text": text} for text, _ in test])
    right = [answer.value == label for answer, (_, label) in zip(answers, test, strict=True)]
    return np.array(right, np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", type=Path, help="a wheel of the text alone")
    options = parser.parse_args()
    found = {}
    lines = ["| inputs | test accuracy | s |", "|---|---|---|"]
    for name, number in (("text", False), ("text and a number", True)):
        with tempfile.TemporaryDirectory() as folder:
            if options.text and not number:
                with volano.Wheel(options.text) as wheel:
                    found[number], seconds = right_of(wheel.model()), float("nan")
            else:
                found[number], seconds = turn(Path(folder), options.seed, number=number)
        lines.append(f"| {name} | {found[number].mean():.2%} | {seconds:.0f} |")
        print(lines[-1], flush=True)
    compared = judge(found[True], found[False], alpha=0.05)
    lines += [
        "",
        f"With the number less without, on the same {len(found[True]):,} test rows: "
        f"{compared.effect:+.2%} ({compared.low:+.2%} to {compared.high:+.2%}).",
    ]
    print(write_result("mixed", "Text and a number beside text alone", lines))


if __name__ == "__main__":
    main()
