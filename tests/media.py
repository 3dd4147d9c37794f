"""Tiny pictures and sounds as columns encode them, and networks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from volano.columns import Encoded, EncodedSplit
from volano.models import Network
from volano.models.encoders.audio import AudioEncoder
from volano.models.encoders.image import ImageEncoder

RATE = 2000
SHORTEST, LONGEST = 200, 500


@dataclass(frozen=True)
class Pixels:
    """As a fitted image column: its arrays and nothing else."""

    kind: ClassVar[str] = "image"
    name: str = "photo"
    height: int = 12
    width: int = 10
    channels: int = 1

    def encode(self, values: Sequence[Any]) -> Encoded:
        shape = (len(values), self.channels, self.height, self.width)
        return Encoded({"pixels": np.array(values, np.uint8).reshape(shape)})

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {f"{self.name}.pixels": np.asarray(encoded.arrays["pixels"])[rows]}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Waves:
    """As a fitted audio column: waves of unequal length, here kept padded."""

    kind: ClassVar[str] = "audio"
    name: str = "clip"
    rate: int = RATE
    max_samples: int = 4 * LONGEST

    def encode(self, values: Sequence[Any]) -> Encoded:
        lengths = np.array([len(value) for value in values], np.int64)
        waves = np.zeros((len(values), max(1, lengths.max(initial=0))), np.float32)
        for row, value in enumerate(values):
            waves[row, : len(value)] = value
        return Encoded({"waves": waves, "lengths": lengths})

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        waves, lengths = (np.asarray(encoded.arrays[name]) for name in ("waves", "lengths"))
        longest = max(1, int(lengths[rows].max(initial=0)))
        return {
            f"{self.name}.wave": waves[rows, :longest],
            f"{self.name}.length": lengths[rows],
        }


def pictures(num_rows: int, seed: int = 0) -> EncodedSplit:
    """Upright and lying bars in noise, and which of the two."""
    random = np.random.default_rng(seed)
    column = Pixels()
    labels = random.integers(0, 2, num_rows)
    pixels = random.integers(0, 120, (num_rows, 1, column.height, column.width))
    for row, label in enumerate(labels):
        place = int(random.integers(2, 7))
        if label:
            pixels[row, :, place : place + 2] += 100
        else:
            pixels[row, :, :, place : place + 2] += 100
    return EncodedSplit({column.name: column.encode(list(pixels))}, labels)


def sounds(num_rows: int, seed: int = 0) -> EncodedSplit:
    """Rising and falling tones of unequal length in noise, and which of the two."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, num_rows)
    clips = []
    for label in labels:
        length = int(random.integers(SHORTEST, LONGEST))
        turns = np.cumsum(np.linspace(*((200, 700) if label else (700, 200)), length)) / RATE
        clip = 0.3 * np.sin(2 * np.pi * turns) + random.normal(0, 0.05, length)
        clips.append(clip.astype(np.float32))
    column = Waves()
    return EncodedSplit({column.name: column.encode(clips)}, labels)


def picture_network(
    channels: int = 1, num_outputs: int = 2, *, small_first: bool = False
) -> Network:
    """A net of some thousand weights."""
    torch.manual_seed(0)
    encoder = ImageEncoder(
        channels, widths=(4, 8, 8), blocks=(0, 1, 1), strides=(1,), small_first=small_first
    )
    return Network((Pixels().name,), [encoder], num_outputs)


def sound_network(num_outputs: int = 2) -> Network:
    """A net of some thousand weights."""
    torch.manual_seed(0)
    encoder = AudioEncoder(RATE, num_bands=12, widths=(4, 8, 8), blocks=(0, 1, 1), strides=(1,))
    return Network((Waves().name,), [encoder], num_outputs)


def with_used_norms(network: Network) -> Network:
    """Batch norms as after training: far from doing nothing."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias)
    return network.eval()
