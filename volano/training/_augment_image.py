"""Pictures for training: moved, mirrored, turned, recoloured, with a hole; or two in one.

Mirroring is done by itself to colour pictures only: photos stay what they are, while grey ones are
often letters and digits, which do not. ``train: {augment: [crop, flip, cutout]}`` asks for it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch.nn import functional as F

__all__ = ["NAMES", "change", "defaults", "mix"]

# Legend: B rows, C channels, H height, W width.

NAMES = ("colour", "crop", "cutout", "flip", "rotate")

PADDING = 1 / 14
"""Farthest that a crop moves a picture, as a share of its size: 2 of 28 pixels."""

HOLE = 2 / 7
"""Edge of a hole as a share of the picture's: 8 of 28 pixels."""

TURN_DEGREES, ZOOM = 12.0, 0.15
STRENGTH = 0.25
SMALL = 64
"""Pictures up to this size lose too much by being turned."""


class _Fitted(Protocol):
    height: int
    width: int
    channels: int


def defaults(column: _Fitted) -> tuple[str, ...]:
    """What is done without being asked for."""
    names = ["crop", "cutout"]
    if column.channels == 3:
        names += ["flip", "colour"]
    if max(column.height, column.width) > SMALL:
        names += ["rotate"]
    return tuple(names)


def change(
    arrays: dict[str, NDArray[Any]], names: tuple[str, ...], random: np.random.Generator
) -> None:
    """Change ``pixels``, uint8, (B, C, H, W)."""
    pixels = arrays["pixels"]
    if "rotate" in names:
        pixels = _turned(pixels, random)
    if "crop" in names:
        pixels = _moved(pixels, random)
    if "flip" in names:
        mirrored = random.random(len(pixels)) < 0.5
        pixels = np.where(mirrored[:, None, None, None], pixels[..., ::-1], pixels)
    if "colour" in names:
        pixels = _recoloured(pixels, random)
    if "cutout" in names:
        pixels = _with_hole(pixels, random)
    arrays["pixels"] = pixels


def _moved(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Each picture up to `PADDING` of its size to any side, over a repeated edge."""
    height, width = pixels.shape[2:]
    tall, wide = max(1, round(PADDING * height)), max(1, round(PADDING * width))
    padded = np.pad(pixels, ((0, 0), (0, 0), (tall, tall), (wide, wide)), mode="edge")
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))
    rows = np.arange(len(pixels))
    down = random.integers(0, 2 * tall + 1, len(pixels))
    right = random.integers(0, 2 * wide + 1, len(pixels))
    moved: NDArray[np.uint8] = windows[rows, :, down, right]
    return moved


def _with_hole(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A square of each picture's own mean, anywhere, partly beyond the edge too.

    DeVries and Taylor, `Cutout <https://arxiv.org/abs/1708.04552>`_, 2017.
    """
    height, width = pixels.shape[2:]
    inside_BHW = _box(len(pixels), height, width, HOLE, random)
    mean_BC11 = pixels.mean(axis=(2, 3), keepdims=True).astype(np.uint8)
    holed: NDArray[np.uint8] = np.where(inside_BHW[:, None], mean_BC11, pixels)
    return holed


def _box(
    num_rows: int, height: int, width: int, edge: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Where a box about a random centre is, (B, H, W)."""
    down_B1 = random.integers(0, height, num_rows)[:, None]
    right_B1 = random.integers(0, width, num_rows)[:, None]
    tall_BH = np.abs(np.arange(height) - down_B1 + 0.5) < edge * height / 2
    wide_BW = np.abs(np.arange(width) - right_B1 + 0.5) < edge * width / 2
    inside_BHW: NDArray[np.bool_] = tall_BH[:, :, None] & wide_BW[:, None, :]
    return inside_BHW


def _recoloured(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Brightness, contrast and the weight of each channel, a quarter up or down at the most."""
    shape = (len(pixels), 1, 1, 1)
    values = pixels.astype(np.float32)
    mean = values.mean(axis=(1, 2, 3), keepdims=True)
    contrast = 1 + random.uniform(-STRENGTH, STRENGTH, shape)
    brightness = 1 + random.uniform(-STRENGTH, STRENGTH, shape)
    tint = 1 + random.uniform(-STRENGTH, STRENGTH, (len(pixels), pixels.shape[1], 1, 1)) / 3
    values = ((values - mean) * contrast + mean) * brightness * tint
    recoloured: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return recoloured


def _turned(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Turned by up to `TURN_DEGREES` and zoomed by up to `ZOOM`, about the middle."""
    num_rows = len(pixels)
    angle = np.deg2rad(random.uniform(-TURN_DEGREES, TURN_DEGREES, num_rows))
    zoom = np.exp(random.uniform(-ZOOM, ZOOM, num_rows))
    ratio = pixels.shape[3] / pixels.shape[2]
    # Output place -> input place, both axes in -1..1.
    matrix = np.zeros((num_rows, 2, 3))
    matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(angle) / zoom, -np.sin(angle) / zoom / ratio
    matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(angle) / zoom * ratio, np.cos(angle) / zoom
    grid = F.affine_grid(
        torch.from_numpy(matrix.astype(np.float32)), list(pixels.shape), align_corners=False
    )
    values = torch.from_numpy(np.ascontiguousarray(pixels)).float()
    found = F.grid_sample(values, grid, padding_mode="border", align_corners=False)
    return found.round_().clamp_(0, 255).to(torch.uint8).numpy()


def mix(
    arrays: dict[str, NDArray[Any]],
    way: str,
    partner: NDArray[np.int64],
    random: np.random.Generator,
) -> float:
    """Put a part of each picture's partner into it; returns the part that stays its own.

    Zhang et al., `mixup <https://arxiv.org/abs/1710.09412>`_, 2017; Yun et al., `CutMix
    <https://arxiv.org/abs/1905.04899>`_, 2019.
    """
    pixels = arrays["pixels"]
    share = float(random.beta(0.4, 0.4)) if way == "mixup" else float(random.random())
    if way == "mixup":
        both = share * pixels.astype(np.float32) + (1 - share) * pixels[partner]
        arrays["pixels"] = (both + 0.5).astype(np.uint8)
        return share
    # One box for the whole batch, so that all rows keep the same share.
    height, width = pixels.shape[2:]
    inside_HW = _box(1, height, width, (1 - share) ** 0.5, random)[0]
    arrays["pixels"] = np.where(inside_HW, pixels[partner], pixels)
    return float(1 - inside_HW.mean())
