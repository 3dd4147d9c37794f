"""Students of tables: a small net over the same columns, which answers more smoothly than trees.

It learns from the rows that a student of trees learns from too: Fakoor et al., `Fast, Accurate, and
Simple Models for Tabular Data via Augmented Distillation <https://arxiv.org/abs/2006.14284>`_,
2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Settings, Work

__all__ = ["answer_in_unit", "build", "label", "settings", "suits"]

ROWS_LEARNED = 1_500_000
"""Rows that a student learns from in all, repeated as often as it takes."""

SIZES = ((64, 2, 16), (128, 2, 16), (32, 2, 0))
"""Width, layers and waves of each number, as `volano.models.TableEncoder` has them; the best guess
first."""

LEAST_GAIN = 2
"""How many times a student's numbers the teacher's must be."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    from volano.models import is_table

    columns = model.inputs.values()
    # A series is a row of numbers too, but one that a net would read along time.
    if any(not is_table(each) or each.kind == "series" for each in columns):
        return "not all inputs are columns of a table"
    if getattr(model.model, "family", "") == "linear":
        return "a linear model is as small as it can be"
    return None if _sizes(model) else "what it has learned takes few numbers already"


def _sizes(model: Compact) -> list[tuple[int, int, int]]:
    """Those that are much smaller than the teacher."""
    most = model.model.num_weights() / LEAST_GAIN
    return [size for size in SIZES if _num_weights(model, *size) <= most]


def _num_weights(model: Compact, width: int, depth: int, waves: int) -> int:
    encoder = _encoder(model, width, depth, waves)
    return sum(parameter.numel() for parameter in encoder.parameters())


def _encoder(model: Compact, width: int, depth: int, waves: int) -> Any:
    from volano.models import TableEncoder, table_features

    return TableEncoder(table_features(model.inputs), width=width, depth=depth, waves=waves)


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """A middle size first."""
    epochs = max(8, min(30, round(ROWS_LEARNED / max(1, work.num_rows))))
    return [
        {"width": width, "depth": depth, "waves": waves, "epochs": epochs}
        for width, depth, waves in _sizes(model)
    ]


def label(settings: Settings) -> str:
    """``mlp64``: layers of 64."""
    return f"mlp{settings['width']}"


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the columns that encode for it."""
    import torch

    from volano.models import Network

    train, _ = work.lessons(model.inputs)
    target = np.asarray(train.target, np.float64)
    numbers = work.task == "regression"
    num_outputs = target.shape[1] // 2 if numbers else target.shape[1] - 1
    torch.manual_seed(work.seed)
    encoder = _encoder(model, settings["width"], settings["depth"], settings["waves"])
    student: Any = Network((), (), num_outputs, encoder)
    if numbers:
        answer_in_unit(student, target[:, :num_outputs])
    return student, model.inputs


def answer_in_unit(student: Any, answers: NDArray[Any]) -> None:
    """Let a network that learns numbers of mean 0 and deviation 1 answer in the teacher's unit.

    Args:
      student: Changed in place.
      answers: The teacher's, (num_rows, num_outputs).
    """
    import torch

    found = torch.from_numpy(np.asarray(answers, np.float64))
    student.shift.copy_(found.mean(0))
    student.scale.copy_(found.std(0).clamp(min=1e-6))
