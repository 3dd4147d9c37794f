"""Fine-tuning MiniLM on banking77: Volano's loop against the transformers `Trainer`.

    python benchmarks/finetune.py [--epochs 1] [--seeds 0 1 2] [--layers all|N] [--rounds 5]

Speed: windows of training steps of either side, in turns in one process, after a warm-up; the
ratio of rows per second, median and spread over the rounds. Accuracy: both train the same epochs
on the same rows with each seed, and answer the same test rows. The `Trainer` needs the package
accelerate. `VOLANO_DATA` names the folder that holds `banking77`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import statistics
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

    def __init__(self, epochs: int, seed: int, max_steps: int = -1) -> None:
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
            max_steps=max_steps,
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


def windows(rounds: int, layers: int | None) -> tuple[list[float], list[float], float]:
    """Rows per second of both sides, window by window in turns; and our seconds before step one.

    Our loop runs as it is and hands over after each window: its steps are those of a real run.
    """
    import threading

    from transformers import TrainerCallback

    ours, theirs = [], []
    turn = threading.Semaphore(1)
    handed = threading.Semaphore(0)
    before = 0.0

    class Window(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            if state.global_step % WINDOW_STEPS == 0:
                turn.acquire()
                self.started = time.perf_counter()

        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % WINDOW_STEPS == 0:
                seconds = time.perf_counter() - self.started
                theirs.append(WINDOW_STEPS * TRAINER_ROWS / seconds)
                handed.release()
                if len(theirs) > rounds:
                    control.should_training_stop = True

    trainer = TrainerSide(epochs=1, seed=0, max_steps=WINDOW_STEPS * (rounds + 1))
    trainer.trainer.add_callback(Window())
    thread = threading.Thread(target=trainer.trainer.train, daemon=True)
    side = OurSide(1, 0, layers)
    state = {"started": 0.0, "begun": time.perf_counter()}

    def step(label: str, done: float, _total: float) -> None:
        nonlocal before
        if label != "training":
            return
        if state["started"] == 0.0:
            before = time.perf_counter() - state["begun"]
        elif done % WINDOW_STEPS == 0:
            seconds = time.perf_counter() - state["started"]
            ours.append(WINDOW_STEPS * side.plan.batch_rows / seconds)
            if len(ours) > rounds:
                raise Enough
            if not thread.is_alive():
                thread.start()
            else:
                turn.release()
            handed.acquire()
        elif done % WINDOW_STEPS != 1 and state["started"]:
            return
        state["started"] = time.perf_counter()

    with contextlib.suppress(Enough):
        side.train(step)
    # The first window of either side warms it up.
    return ours[1:], theirs[1:], before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--layers", default="all", help="layers that learn, from the top")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    use_cores()
    layers = None if options.layers == "all" else int(options.layers)
    ours, theirs, before = windows(options.rounds, layers)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=False)]
    lines = [
        f"Layers that learn: {options.layers}. Windows of {WINDOW_STEPS} steps in turns.",
        "",
        "| | rows/s, median | lowest | highest |",
        "|---|---|---|---|",
    ]
    for name, values in (("Volano", ours), ("Trainer", theirs), ("ratio", ratios)):
        lines.append(
            f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |"
        )
    lines += ["", f"Before its first step Volano reads features for {before:.0f} s, once a run."]
    print("\n".join(lines), flush=True)
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
