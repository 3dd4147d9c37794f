"""Fashion-MNIST from scratch: accuracy and minutes, and the loop's speed against a plain one.

    python benchmarks/images.py [--seeds 0] [--rounds 5] [--epochs auto]

Accuracy: the default plan on the 60,000 training rows (a tenth of them steers), judged by the
10,000 test rows. Speed: windows of training steps of either side, each in a process of its own, in
turns, after a warm-up; the ratio of rows per second, median and spread over the rounds. The other
side is the same network, augmentation, optimiser and batch in a plain fp32 loop of torch with a
`DataLoader`, with no worker and with two, of which the faster counts. `VOLANO_DATA` names the
folder that holds `fashion-mnist`.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune import Enough, Side, hand_over
from numpy.typing import NDArray
from results import write_result
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from volano.columns import Encoded, EncodedSplit, FittedColumn
from volano.columns.image import FittedImage
from volano.models import Network, build_network
from volano.models.encoders.image import SMALL_FIRST
from volano.spec import TrainSpec
from volano.training import TrainPlan, fit, network_logits, plan_training, use_cores

SIZE = 28
WINDOW_STEPS = 40


def read(name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (N, 1, 28, 28) and classes (N,) of one of the two parts, ``train`` or ``t10k``."""
    folder = Path(os.environ["VOLANO_DATA"]) / "fashion-mnist"
    pixels = gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, SIZE, SIZE)
    return images, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


@dataclass
class Setting:
    """What both sides share."""

    inputs: dict[str, FittedColumn]
    train: EncodedSplit
    validation: EncodedSplit
    test: EncodedSplit
    network: Network
    plan: TrainPlan


def setting(seed: int, spec: TrainSpec, num_rows: int = 60_000) -> Setting:
    """The rows, a fresh network and its default plan."""
    pixels, labels = read("train")
    random = np.random.default_rng(0)
    order = random.permutation(len(pixels))[:num_rows]
    held_out = order[: len(order) // 10]
    rest = order[len(order) // 10 :]

    def split(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> EncodedSplit:
        return EncodedSplit({"image": Encoded({"pixels": pixels})}, labels)

    inputs: dict[str, FittedColumn] = {"image": FittedImage("image", SIZE, SIZE, 1)}
    network = build_network(
        inputs,
        {"image": {"encoder": "scratch"}},
        10,
        root=Path(),
        num_rows=len(rest),
        seed=seed,
    )
    plan = plan_training(
        spec,
        num_rows=len(rest),
        pretrained=False,
        convolution=True,
        cost=network.encoders[0].cost,
    )
    return Setting(
        inputs,
        split(pixels[rest], labels[rest]),
        split(pixels[held_out], labels[held_out]),
        split(*read("t10k")),
        network,
        plan,
    )


def train(
    made: Setting,
    step: Callable[[str, float, float], None] = lambda label, done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[float, float]:
    """Train to the end; returns the accuracy on the test rows and rows per second."""
    with tempfile.TemporaryDirectory() as scratch:
        result = fit(
            made.network,
            made.inputs,
            made.train,
            made.validation,
            made.plan,
            scratch=Path(scratch),
            step=step,
            say=say,
        )
    outputs = network_logits(made.network, made.inputs, made.test)
    return float((outputs.argmax(1) == made.test.target).mean()), result.rows_per_s


class Rows(Dataset[tuple[Tensor, int]]):
    """Training rows, moved and with a hole, one at a time, as tutorials of torch have it."""

    def __init__(self, split: EncodedSplit) -> None:
        pixels = split.columns["image"].arrays["pixels"]
        assert isinstance(pixels, np.ndarray)
        self.images = torch.from_numpy(np.ascontiguousarray(pixels))
        self.labels = np.asarray(split.target)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = self.images[row].float()
        image = F.pad(image[None], (2, 2, 2, 2), mode="replicate")[0]
        down, right = torch.randint(0, 5, (2,)).tolist()
        image = image[:, down : down + SIZE, right : right + SIZE].clone()
        down, right = torch.randint(0, SIZE, (2,)).tolist()
        top, left = max(0, down - 4), max(0, right - 4)
        image[:, top : down + 4, left : right + 4] = image.mean()
        return image, int(self.labels[row])


def plain_windows(workers: int) -> None:
    """Windows of a plain loop."""
    made = setting(0, TrainSpec())
    network, plan = made.network, made.plan
    network.encoders[0].net.memory_format = torch.contiguous_format
    loader = DataLoader(
        Rows(made.train), plan.batch_rows, shuffle=True, num_workers=workers, drop_last=True
    )
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=plan.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=plan.weight_decay,
    )
    total = plan.epochs * len(loader)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.learning_rate, total)
    network.train()
    started, step = 0.0, 0
    with contextlib.suppress(Enough):
        for _ in range(plan.epochs):
            for images, labels in loader:
                loss = F.cross_entropy(
                    network({"image.pixels": images}),
                    labels,
                    label_smoothing=plan.label_smoothing,
                )
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
                optimiser.step()
                rates.step()
                step += 1
                if step % WINDOW_STEPS == 0:
                    seconds = time.perf_counter() - started
                    hand_over(WINDOW_STEPS * plan.batch_rows / seconds if started else None)
                    started = time.perf_counter()


def our_windows(share: float) -> None:
    """Windows of our loop as it is at some share of a real run, whose pictures grow."""
    made = setting(0, TrainSpec())
    encoder: Any = made.network.encoders[0]
    progress = encoder.progress
    encoder.progress = lambda _: progress(share)
    started = 0.0

    def step(label: str, done: float, _total: float) -> None:
        nonlocal started
        if label != "training" or done % WINDOW_STEPS:
            return
        seconds = time.perf_counter() - started
        hand_over(WINDOW_STEPS * made.plan.batch_rows / seconds if started else None)
        started = time.perf_counter()

    with contextlib.suppress(Enough):
        train(made, step)


def windows(rounds: int) -> dict[str, list[float]]:
    """Rows per second of all sides, window by window in turns; and ours over a whole run."""
    before, stages = 0.0, []
    for until in (*(until for until, _ in SMALL_FIRST), 1.0):
        stages.append((f"Volano from {before:.0%} of a run on", before, until - before))
        before = until
    arguments = {name: ("ours", "--share", str(share)) for name, share, _ in stages}
    arguments |= {
        "plain, no worker": ("plain", "--workers", "0"),
        "plain, two workers": ("plain", "--workers", "2"),
    }
    sides = {name: Side("--side", *more, script=__file__) for name, more in arguments.items()}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side.window())
    for side in sides.values():
        side.stop()
    found["Volano, a whole run"] = [
        1 / sum(part / found[name][turn] for name, _, part in stages) for turn in range(rounds)
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rows", type=int, default=60_000, help="training rows, for a trial")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=["ours", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    use_cores()
    if options.side:
        our_windows(options.share) if options.side == "ours" else plain_windows(options.workers)
        return
    lines: list[str] = []
    if options.rounds:
        found = windows(options.rounds)
        plain = max(
            (name for name in found if name.startswith("plain")),
            key=lambda name: statistics.median(found[name]),
        )
        ours = [name for name in found if name.startswith("Volano")]
        for label, mine in (("ratio, whole pictures", ours[-2]), ("ratio, a whole run", ours[-1])):
            found[label] = [a / b for a, b in zip(found[mine], found[plain], strict=True)]
        lines += [
            f"Windows of {WINDOW_STEPS} steps in turns; the ratios are to '{plain}'. Volano learns "
            "from small pictures first, so its rate over a whole run is the mean over its stages.",
            "",
            "| | images/s, median | lowest | highest |",
            "|---|---|---|---|",
        ]
        for name, values in found.items():
            lines.append(
                f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} "
                f"| {max(values):.2f} |"
            )
        print("\n".join(lines), flush=True)
    if options.seeds:
        head: list[Any] = [
            "",
            "| seed | epochs | weights | test accuracy | minutes |",
            "|---|---|---|---|---|",
        ]
        lines += head
        print("\n".join(head), flush=True)
    for seed in options.seeds:
        spec = TrainSpec(epochs=options.epochs or "auto", seed=seed)
        made = setting(seed, spec, options.rows)
        started = time.perf_counter()
        accuracy, _ = train(made, say=lambda text: print(text, flush=True))
        minutes = (time.perf_counter() - started) / 60
        lines.append(
            f"| {seed} | {made.plan.epochs} | {made.network.num_weights()} | {accuracy:.2%} "
            f"| {minutes:.1f} |"
        )
        print(lines[-1], flush=True)
    print(write_result("images", "Fashion-MNIST from scratch", lines))


if __name__ == "__main__":
    main()
