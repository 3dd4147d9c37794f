"""Students that sum over hashed words and parts of words: a table to look up, and a head."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volano.columns import FittedColumn, Ragged
from volano.columns.text import FittedPieces, FittedText
from volano.compression._contract import Compact, Settings, Work

__all__ = ["build", "settings", "suits"]

ROWS_LEARNED = 300_000
"""Rows that a student learns from in all, repeated as often as it takes."""

COUNTED_ROWS = 20_000
FEWEST, MOST = 1 << 10, 1 << 17
"""Buckets of the middle size."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    if getattr(model.model, "family", "") != "network":
        return "it is no network"
    if not any(isinstance(column, FittedText) for column in model.inputs.values()):
        return "there is no text that is read in tokens"
    if any(not isinstance(model.inputs[name], FittedText) for name in model.model.columns):
        return "there are photos or sounds beside the text"
    return None


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """From the middle outwards: about two pieces share a bucket, then one, then eight."""
    epochs = max(4, min(24, round(ROWS_LEARNED / max(1, work.num_rows))))
    kinds = sum(_num_pieces(work.texts(name)) for name in model.model.columns)
    middle = min(MOST, max(FEWEST, 1 << round(math.log2(max(1, kinds) / 2))))
    sizes = ((middle, 64), (2 * middle, 96), (middle // 4, 64), (4 * middle, 64), (middle // 2, 32))
    # More numbers than the teacher has are nothing smaller, whatever they learn.
    most = model.model.num_weights() / len(model.model.columns)
    small = [size for size in sizes if size[0] * size[1] <= most] or [min(sizes)]
    return [{"buckets": buckets, "width": width, "epochs": epochs} for buckets, width in small]


def _num_pieces(texts: Sequence[str]) -> int:
    """Different pieces of some texts, as far as 30 bits tell them apart."""
    some = texts[:: max(1, -(-len(texts) // COUNTED_ROWS))]
    found = FittedPieces.of("", some, 1 << 30).encode(some).arrays["pieces"]
    assert isinstance(found, Ragged)
    return len(np.unique(found.flat))


def label(settings: Settings) -> str:
    """``pieces32k-64``: 32,768 vectors of 64 numbers."""
    buckets = settings["buckets"]
    return (
        f"pieces{buckets >> 10}k-{settings['width']}"
        if buckets >= 1024
        else (f"pieces{buckets}-{settings['width']}")
    )


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
