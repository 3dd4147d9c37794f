"""Students that sum over hashed words and parts of words: a table to look up, and a head."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from volano.columns import FittedColumn
from volano.columns.text import FittedPieces, FittedText
from volano.compression._contract import Compact, Settings, Work

__all__ = ["build", "settings", "suits"]

ROWS_LEARNED = 400_000
"""Rows that a student learns from in all, repeated as often as it takes."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    if getattr(model.model, "family", "") != "network":
        return "it is no network"
    if not any(isinstance(column, FittedText) for column in model.inputs.values()):
        return "there is no text to read in pieces"
    if any(not isinstance(model.inputs[name], FittedText) for name in model.model.columns):
        return "there are photos or sounds beside the text"
    return None


def settings(model: Compact, num_rows: int) -> Sequence[Settings]:
    """From the middle outwards."""
    del model
    epochs = max(3, min(40, round(ROWS_LEARNED / max(1, num_rows))))
    sizes = ((1 << 15, 64), (1 << 17, 64), (1 << 13, 64), (1 << 16, 96), (1 << 14, 32))
    return [{"buckets": buckets, "width": width, "epochs": epochs} for buckets, width in sizes]


def label(settings: Settings) -> str:
    """``pieces32k-64``: 32,768 vectors of 64 numbers."""
    return f"pieces{settings['buckets'] >> 10}k-{settings['width']}"


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the columns that encode for it."""
    import torch

    from volano.models import Network, PiecesEncoder

    inputs: dict[str, FittedColumn] = dict(model.inputs)
    encoders = []
    torch.manual_seed(work.seed)
    for name in model.model.columns:
        inputs[name] = FittedPieces.of(name, work.texts(name), settings["buckets"])
        encoders.append(PiecesEncoder(settings["buckets"], settings["width"]))
    old = model.model
    student: Any = Network(old.columns, encoders, old.head.out_features, copy.deepcopy(old.table))
    student.shift.copy_(old.shift)
    student.scale.copy_(old.scale)
    return student, inputs
