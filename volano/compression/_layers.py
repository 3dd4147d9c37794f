"""Students that keep some of a transformer's layers, and start from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Settings, Work

__all__ = ["build", "settings", "suits"]

ROWS_LEARNED = 60_000
"""Rows that a student learns from in all, repeated as often as it takes."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    depths = _depths(model)
    if not depths:
        return "there is no transformer of text"
    if max(depths) < 2:
        return "its transformer has one layer"
    return None


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """A third of the layers, then a half, then one."""
    depth = max(_depths(model))
    epochs = max(1, min(10, round(ROWS_LEARNED / max(1, work.num_rows))))
    layers = dict.fromkeys((max(1, round(depth / 3)), max(1, depth // 2), 1))
    return [{"layers": count, "epochs": epochs} for count in layers if count < depth]


def label(settings: Settings) -> str:
    """``layers2``"""
    return f"layers{settings['layers']}"


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the columns that encode for it."""
    import torch

    del work
    student = copy.deepcopy(model.model)
    for encoder in student.encoders:
        transformer: Any = getattr(encoder, "transformer", None)
        layers = getattr(getattr(transformer, "encoder", None), "layer", None)
        if layers is None or len(layers) <= settings["layers"]:
            continue
        # The last one shapes what the head reads, the first what all others build on.
        count = settings["layers"]
        places = np.linspace(0, len(layers) - 1, count) if count > 1 else np.zeros(1)
        kept = [layers[round(place)] for place in places]
        transformer.encoder.layer = torch.nn.ModuleList(kept)
        transformer.config.num_hidden_layers = count
    return student, model.inputs


def _depths(model: Compact) -> list[int]:
    encoders = getattr(model.model, "encoders", ())
    parts: list[Any] = [
        getattr(getattr(each, "transformer", None), "encoder", None) for each in encoders
    ]
    return [len(part.layer) for part in parts if hasattr(part, "layer")]
