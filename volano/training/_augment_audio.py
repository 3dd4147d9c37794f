"""Sound for training: shifted, louder or softer, noisier; or two clips in one.

Spans of time and bands are hidden by the encoder, where there is a spectrogram to hide them in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAMES", "change", "defaults", "mix"]

# Legend: B rows, T samples.

NAMES = ("frequency_mask", "gain", "noise", "shift", "time_mask")

LONGEST_SHIFT = 0.1
"""As a share of the clip."""

GAIN_DB = 6.0
NOISE_DB = (15.0, 45.0)
"""How far below the clip's own loudness the noise lies."""


def defaults(column: object) -> tuple[str, ...]:
    """What is done without being asked for: all of it."""
    del column
    return NAMES


def change(
    arrays: dict[str, NDArray[Any]], names: tuple[str, ...], random: np.random.Generator
) -> None:
    """Change ``wave``, float32, (B, T), zero beyond ``length``, int64, (B,)."""
    wave, length = arrays["wave"], arrays["length"]
    num_rows = len(wave)
    places_T = np.arange(wave.shape[1])
    inside_BT = places_T < length[:, None]
    # Drawn whether they are used or not: turning one off leaves the others as they were.
    shift_B = np.rint(random.uniform(-LONGEST_SHIFT, LONGEST_SHIFT, num_rows) * length)
    gain_B = 10 ** (random.uniform(-GAIN_DB, GAIN_DB, num_rows) / 20)
    below_B = 10 ** (-random.uniform(*NOISE_DB, num_rows) / 20)
    if "shift" in names:
        from_BT = places_T - shift_B[:, None].astype(np.int64)
        known_BT = inside_BT & (from_BT >= 0) & (from_BT < length[:, None])
        moved_BT = np.take_along_axis(wave, np.clip(from_BT, 0, wave.shape[1] - 1), axis=1)
        wave = np.where(known_BT, moved_BT, np.float32(0))
    if "noise" in names:
        loudness_B = np.sqrt((wave**2).sum(1) / np.maximum(length, 1))
        noise_BT = random.standard_normal(wave.shape, dtype=np.float32)
        wave = wave + noise_BT * (loudness_B * below_B)[:, None].astype(np.float32) * inside_BT
    if "gain" in names:
        wave = np.clip(wave * gain_B[:, None], -1, 1)
    arrays["wave"] = wave.astype(np.float32)


def mix(
    arrays: dict[str, NDArray[Any]],
    way: str,
    partner: NDArray[np.int64],
    random: np.random.Generator,
) -> float:
    """Add a part of each clip's partner to it; returns the part that stays its own."""
    del way  # a piece cut out of a clip says little, so both ways add
    share = float(random.beta(0.4, 0.4))
    wave, length = arrays["wave"], arrays["length"]
    arrays["wave"] = (share * wave + (1 - share) * wave[partner]).astype(np.float32)
    arrays["length"] = np.maximum(length, length[partner])
    return share
