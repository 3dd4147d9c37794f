"""How long a folder of many small photos takes until the first training step.

    python benchmarks/many_images.py [--rows 200000] [--folder DIR]

Makes a folder of one class per folder with Fashion-MNIST's pictures as PNG (28 by 28), each moved
by another step so that no two are equal, and starts a turn on what `volano init` writes. The clock
runs from the start of the turn to the first step of training; making the folder is not counted.
`VOLANO_DATA` names the folder that holds `fashion-mnist`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from images import read
from PIL import Image
from results import write_result

import volano
from volano.wheel import SilentProgress, init_wheel


class Started(Exception):
    """Training has begun."""


class UntilTraining(SilentProgress):
    """Notes when each stage begins, and stops the turn at the first step of training."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[tuple[str, float]] = []

    def say(self, text: str) -> None:
        self.marks.append((text.strip(), time.perf_counter()))

    def step(self, label: str, done: float, total: float) -> None:
        del done, total
        if label == "training":
            raise Started


def make(folder: Path, num_rows: int) -> None:
    """Files ``CLASS/NUMBER.png``."""
    images, labels = read("train")
    for label in range(10):
        (folder / f"class{label}").mkdir(parents=True)
    for row in range(num_rows):
        turn, place = divmod(row, len(images))
        pixels = np.roll(images[place, 0], turn, axis=1)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "png", compress_level=1)
        (folder / f"class{labels[place]}" / f"{row:06}.png").write_bytes(data.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the photos are kept for another run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        photos = (options.folder or Path(place)) / "photos"
        if not photos.exists():
            make(photos, options.rows)
        root = Path(place) / "wheel"
        root.mkdir()
        with contextlib.chdir(root):
            init_wheel(Path(), [str(photos)], target="label")
        progress = UntilTraining()
        with volano.Wheel(root, progress=progress) as wheel:
            started = time.perf_counter()
            with contextlib.suppress(Started):
                wheel.turn()
            seconds = time.perf_counter() - started
    lines = ["| until | s |", "|---|---|"]
    lines += [f"| {text} | {moment - started:.1f} |" for text, moment in progress.marks]
    lines.append(f"| **the first step of training, {options.rows:,} photos** | **{seconds:.1f}** |")
    print("\n".join(lines))
    print(write_result("many-images", "A folder of many small photos", lines))


if __name__ == "__main__":
    main()
