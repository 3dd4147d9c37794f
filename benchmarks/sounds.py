"""Spoken digits (fsdd) from scratch: the official split, and speakers that were never heard.

    python benchmarks/sounds.py [--seeds 0] [--speakers all|NAME ...|none] [--epochs auto]

The official split tests on the recordings 0 to 4 of each speaker and digit, and trains on 5 to 49;
by speaker, all recordings of one speaker are the test. A tenth of the training rows steers. The
column is fitted and encoded, and the network planned, as in a turn. `VOLANO_DATA` names the folder
that holds `fsdd`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from results import write_result

from volano.columns import column_kind
from volano.columns.category import FittedCategory
from volano.data import Prepared, encode_split, save_columns
from volano.models import build_network, choose_encoder
from volano.spec import TrainSpec
from volano.training import fit, network_logits, plan_training, use_cores

Recording = tuple[str, str, int, Path]
"""Digit, speaker, index, file."""


def recordings() -> list[Recording]:
    """All of them, in the order of their names."""
    folder = Path(os.environ["VOLANO_DATA"]) / "fsdd" / "recordings"
    found = []
    for path in sorted(folder.glob("*.wav")):
        digit, speaker, index = path.stem.split("_")
        found.append((digit, speaker, int(index), path))
    return found


def run(
    train: list[Recording], test: list[Recording], seed: int, epochs: int | None
) -> tuple[float, float, dict[str, Any]]:
    """Accuracy on the test rows, seconds of training, and the plan."""
    held_out = np.random.default_rng(0).permutation(len(train)) < len(train) // 10
    parts = {
        "train": [row for row, out in zip(train, held_out, strict=True) if not out],
        "validation": [row for row, out in zip(train, held_out, strict=True) if out],
        "golden": test,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = column_kind("audio").Options().model_dump()
        chosen = choose_encoder("audio", options, [], folder)
        values = [row[3].read_bytes() for row in parts["train"]]
        column = column_kind("audio").fit("clip", values, {**options, **chosen})
        target = FittedCategory("digit", tuple(sorted({row[0] for row in train})))
        save_columns(folder, {"clip": column}, target, {"clip": chosen})

        def batches(rows: list[Recording]) -> Iterator[dict[str, list[Any]]]:
            yield {
                "clip": [row[3].read_bytes() for row in rows],
                "digit": [row[0] for row in rows],
            }

        for part, rows in parts.items():
            encode_split(folder / part, {"clip": column}, target, batches(rows))
        prepared = Prepared.open(folder)
        num_rows = len(parts["train"])
        network = build_network(
            prepared.inputs, prepared.details, 10, root=folder, num_rows=num_rows, seed=seed
        )
        plan = plan_training(
            TrainSpec(epochs=epochs or "auto", seed=seed),
            num_rows=num_rows,
            pretrained=False,
            convolution=True,
        )
        (folder / "scratch").mkdir()
        started = time.perf_counter()
        say: Callable[[str], None] = lambda text: print(text, flush=True)  # noqa: E731
        fit(
            network,
            prepared.inputs,
            prepared.split("train"),
            prepared.split("validation"),
            plan,
            scratch=folder / "scratch",
            say=say,
        )
        seconds = time.perf_counter() - started
        golden = prepared.split("golden")
        outputs = network_logits(network, prepared.inputs, golden)
        accuracy = float((outputs.argmax(1) == np.asarray(golden.target)).mean())
        return accuracy, seconds, plan.as_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--speakers", nargs="*", default=["all"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    use_cores()
    rows = recordings()
    lines = [
        "| split | seed | epochs | test rows | accuracy | minutes |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)

    def add(name: str, test: list[Recording], train: list[Recording], seed: int) -> float:
        accuracy, seconds, plan = run(train, test, seed, options.epochs)
        lines.append(
            f"| {name} | {seed} | {plan['epochs']} | {len(test)} | {accuracy:.2%} "
            f"| {seconds / 60:.1f} |"
        )
        print(lines[-1], flush=True)
        return accuracy

    for seed in options.seeds:
        add("official", [r for r in rows if r[2] < 5], [r for r in rows if r[2] >= 5], seed)
    speakers = [name for name in options.speakers if name != "none"]
    if speakers == ["all"]:
        speakers = sorted({row[1] for row in rows})
    found = [
        add(name, [r for r in rows if r[1] == name], [r for r in rows if r[1] != name], 0)
        for name in speakers
    ]
    if len(found) > 1:
        lines.append(f"| mean over speakers | | | | {statistics.mean(found):.2%} | |")
        print(lines[-1], flush=True)
    print(write_result("sounds", "Spoken digits from scratch", lines))


if __name__ == "__main__":
    main()
