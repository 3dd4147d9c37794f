"""Students of a pretrained net of photos: small residual nets that start from nothing.

A pretrained net knows what a million photos showed; what a table's photos are called is a small
part of that. The student is the net that would be trained from scratch, with the teacher's answers
in the place of labels alone: photos that nobody has labelled teach it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Settings, Work
from volano.compression._narrower import ROWS_LEARNED
from volano.compression._small_nets import answer_in_unit

__all__ = ["build", "settings", "suits"]

WIDTHS = (24, 16, 32)
"""Channels of the stem; the best guess first."""

LEAST_GAIN = 4
"""How many times a student's numbers the teacher's must be."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    encoders: Sequence[Any] = getattr(model.model, "encoders", ())
    alone = len(encoders) == 1 and getattr(model.model, "table", None) is None
    if not alone or getattr(encoders[0], "kind", "") != "image":
        return "photos are not all there is"
    if getattr(encoders[0], "recipe", "") != "pretrained":
        return "its net of photos is none that was trained before"
    return None if _widths(model) else "its net of photos is small already"


def _widths(model: Compact) -> list[int]:
    most = model.model.num_weights() / LEAST_GAIN
    nets = {wide: _net(model, wide) for wide in WIDTHS}
    return [
        wide for wide, net in nets.items() if sum(each.numel() for each in net.parameters()) <= most
    ]


def _net(model: Compact, wide: int) -> Any:
    from volano.models.encoders.image import net_from_scratch

    (column,) = model.inputs.values()
    return net_from_scratch(column, wide)  # type: ignore[arg-type]


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """As wide as a net from scratch would be, then narrower and wider."""
    cost = _net(model, WIDTHS[0]).cost
    epochs = max(8, min(60, round(ROWS_LEARNED / cost / max(1, work.num_rows))))
    return [{"channels": wide, "epochs": epochs} for wide in _widths(model)]


def label(settings: Settings) -> str:
    """``net24``: 24 channels behind the stem."""
    return f"net{settings['channels']}"


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the column that encodes for it."""
    import torch

    from volano.models import Network

    torch.manual_seed(work.seed)
    num_outputs = model.model.head.out_features
    student: Any = Network(tuple(model.inputs), [_net(model, settings["channels"])], num_outputs)
    if work.task == "regression":
        train, _ = work.lessons(model.inputs)
        answer_in_unit(student, np.asarray(train.target)[:, :num_outputs])
    return student, model.inputs
