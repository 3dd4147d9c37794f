"""Fine-tuning MiniLM on banking77: Volano's loop against the transformers `Trainer`.

    python benchmarks/finetune.py [--epochs 1] [--seeds 0 1 2] [--layers all|N] [--rounds 5]

Speed: windows of training steps of either side, each in a process of its own, in turns, after a
warm-up; the ratio of rows per second, median and spread over the rounds. Accuracy: both train the
same epochs on the same rows with each seed, and answer the same test rows. The `Trainer` needs the
package accelerate. `VOLANO_DATA` names the folder that holds `banking77`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import write_result

from volano.columns import column_kind
from volano.columns.category import FittedCategory
from volano.data import Prepared, encode_split, save_columns
from volano.models import build_network, choose_encoder, locate
from volano.spec import TrainSpec
from volano.training import fit, network_logits, plan_training, use_cores

TRAINER_ROWS = 32
WINDOW_STEPS = 12


def read(name: str) -> tuple[list[str], list[str]]:
    """Texts and categories of one of banking77's files."""
    path = Path(os.environ["VOLANO_DATA"]) / "banking77" / "banking_data" / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["category"] for row in rows]


class TrainerSide:
    """Fine-tuning as the documentation of transformers has it: fp32, dynamic padding, batch 32."""

    def __init__(self, epochs: int, seed: int) -> None:
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
            Trainer,
            TrainingArguments,
        )

        folder = locate("minilm", Path()).folder
        texts, labels = read("train")
        names = sorted(set(labels))
        codes = {name: code for code, name in enumerate(names)}
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def rows(texts: list[str], labels: list[str]) -> list[dict[str, Any]]:
            encoded = tokenizer(texts, truncation=True)
            return [
                {"input_ids": ids, "attention_mask": mask, "labels": codes[label]}
                for ids, mask, label in zip(
                    encoded["input_ids"], encoded["attention_mask"], labels, strict=True
                )
            ]

        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(names))
        self._folder = tempfile.TemporaryDirectory()
        arguments = TrainingArguments(
            output_dir=self._folder.name,
            num_train_epochs=epochs,
            per_device_train_batch_size=TRAINER_ROWS,
            per_device_eval_batch_size=64,
            seed=seed,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        self.test = rows(*read("test"))
        self.trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows(texts, labels),
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
        )

    def train(self) -> float:
        """Train to the end; returns the accuracy on the test rows."""
        self.trainer.train()
        found = self.trainer.predict(self.test)
        return float((found.predictions.argmax(1) == found.label_ids).mean())


class OurSide:
    """The same rows through Volano's `fit`; one training row in ten steers the run."""

    def __init__(self, epochs: int, seed: int, layers: int | None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        texts, labels = read("train")
        chosen = choose_encoder(
            "text", {"encoder": "minilm", "max_tokens": "auto"}, texts[:500], folder
        )
        options = {"max_tokens": "auto", **chosen}
        column = column_kind("text").fit("text", texts, options)
        target = FittedCategory("category", tuple(sorted(set(labels))))
        save_columns(folder, {"text": column}, target, {"text": chosen})
        held_out = np.random.default_rng(0).permutation(len(texts)) < len(texts) // 10

        def batches(rows: np.ndarray, texts: list[str], labels: list[str]) -> Iterator[Any]:
            yield {
                "text": [texts[row] for row in rows],
                "category": [labels[row] for row in rows],
            }

        test_texts, test_labels = read("test")
        splits = {
            "train": (np.flatnonzero(~held_out), texts, labels),
            "validation": (np.flatnonzero(held_out), texts, labels),
            "golden": (np.arange(len(test_texts)), test_texts, test_labels),
        }
        for name, split in splits.items():
            encode_split(folder / name, {"text": column}, target, batches(*split))
        self.prepared = Prepared.open(folder)
        self.network = build_network(
            self.prepared.inputs,
            self.prepared.details,
            len(target.names),
            root=folder,
            num_rows=len(splits["train"][0]),
            seed=seed,
        )
        plan = plan_training(
            TrainSpec(epochs=epochs, seed=seed), num_rows=len(texts), pretrained=True
        )
        self.plan = replace(plan, layers=layers)

    def train(
        self, step: Callable[[str, float, float], None] = lambda label, done, total: None
    ) -> float:
        """Train to the end; returns the accuracy on the test rows."""
        with tempfile.TemporaryDirectory() as scratch:
            fit(
                self.network,
                self.prepared.inputs,
                self.prepared.split("train"),
                self.prepared.split("validation"),
                self.plan,
                scratch=Path(scratch),
                step=step,
            )
        golden = self.prepared.split("golden")
        logits = network_logits(self.network, self.prepared.inputs, golden)
        return float((logits.argmax(1) == np.asarray(golden.target)).mean())


class Enough(Exception):
    """Ends a run after its last window."""


def hand_over(window: float | None) -> None:
    """Tell the driver what a window took, and wait until it is this side's turn again."""
    print("ready" if window is None else f"{window:.6f}", flush=True)
    if sys.stdin.readline().strip() != "go":
        raise Enough


def our_windows(layers: int | None) -> None:
    """Windows of our loop as it is: its steps are those of a real run."""
    side = OurSide(1, 0, layers)
    started = 0.0

    def step(label: str, done: float, _total: float) -> None:
        nonlocal started
        if label != "training" or done % WINDOW_STEPS:
            return
        seconds = time.perf_counter() - started
        hand_over(WINDOW_STEPS * side.plan.batch_rows / seconds if started else None)
        started = time.perf_counter()

    with contextlib.suppress(Enough):
        side.train(step)


def trainer_windows() -> None:
    """Windows of the `Trainer`'s loop."""
    from transformers import TrainerCallback

    class Window(TrainerCallback):  # type: ignore[misc]
        started = 0.0

        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % WINDOW_STEPS:
                return
            seconds = time.perf_counter() - self.started
            try:
                hand_over(WINDOW_STEPS * TRAINER_ROWS / seconds if self.started else None)
            except Enough:
                control.should_training_stop = True
            self.started = time.perf_counter()

    side = TrainerSide(epochs=1, seed=0)
    side.trainer.add_callback(Window())
    side.trainer.train()


class Side:
    """One side in a process of its own, which computes only while it is asked for a window."""

    def __init__(self, *arguments: str, script: str = __file__) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # The first window warms it up; nothing else runs until it is through.
        while (line := self._read()) != "ready":
            print(line, file=sys.stderr)

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended with exit code {self._process.wait()}")
        return line.strip()

    def window(self) -> float:
        """Rows per second of one window."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._read())

    def stop(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def windows(rounds: int, layers: str) -> tuple[list[float], list[float]]:
    """Rows per second of both sides, window by window in turns."""
    sides = Side("--side", "ours", "--layers", layers), Side("--side", "trainer")
    found: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        for side, values in zip(sides, found, strict=True):
            values.append(side.window())
    for side in sides:
        side.stop()
    return found


def speed(rounds: int, layers: str) -> list[str]:
    """The table of rows per second."""
    ours, theirs = windows(rounds, layers)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    lines = [
        f"Windows of {WINDOW_STEPS} steps in turns.",
        "",
        "| | rows/s, median | lowest | highest |",
        "|---|---|---|---|",
    ]
    for name, values in (("Volano", ours), ("Trainer", theirs), ("ratio", ratios)):
        lines.append(
            f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |"
        )
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--layers", default="all", help="layers that learn, from the top")
    parser.add_argument("--rounds", type=int, default=5, help="0: accuracy alone")
    parser.add_argument("--side", choices=["ours", "trainer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    use_cores()
    layers = None if options.layers == "all" else int(options.layers)
    if options.side:
        trainer_windows() if options.side == "trainer" else our_windows(layers)
        return
    lines = [f"Layers that learn: {options.layers}."]
    if options.rounds:
        lines += ["", *speed(options.rounds, options.layers)]
    if options.seeds:
        lines += [
            "",
            f"Test accuracy after {options.epochs} epoch(s):",
            "",
            "| seed | Volano | Trainer | seconds | seconds |",
            "|---|---|---|---|---|",
        ]
        for seed in options.seeds:
            started = time.perf_counter()
            mine = OurSide(options.epochs, seed, layers).train()
            middle = time.perf_counter()
            other = TrainerSide(options.epochs, seed).train()
            lines.append(
                f"| {seed} | {mine:.2%} | {other:.2%} | {middle - started:.0f} "
                f"| {time.perf_counter() - middle:.0f} |"
            )
            print(lines[-1], flush=True)
    print(write_result("finetune", "Fine-tuning MiniLM on banking77", lines))


if __name__ == "__main__":
    main()
