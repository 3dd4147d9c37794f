"""Students of tables: a few small trees in the place of a forest, a network or several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Settings, Work

__all__ = ["build", "settings", "suits"]

SIZES = ((100, 15), (200, 15), (60, 31), (40, 7))
"""Trees for each class, and leaves of each; the best guess first."""

MOST_CLASSES = 30
"""Each has trees of its own."""

LEAST_GAIN = 2
"""How many times a student's nodes the teacher's numbers must be."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    from volano.models import is_table

    if not all(is_table(column) for column in model.inputs.values()):
        return "not all inputs are columns of a table"
    if getattr(model.model, "family", "") == "linear":
        return "a linear model is as small as it can be"
    if _classes(model) > MOST_CLASSES:
        return f"there are more than {MOST_CLASSES} classes, and each has trees of its own"
    return None if _sizes(model) else "what it has learned takes few numbers already"


def _sizes(model: Compact) -> list[tuple[int, int]]:
    """Those that are much smaller than the teacher."""
    most = model.model.num_weights() / LEAST_GAIN
    return [
        (trees, leaves)
        for trees, leaves in SIZES
        if _classes(model) * trees * (2 * leaves - 1) <= most
    ]


def _classes(model: Compact) -> int:
    """Sums of trees that a student of it has."""
    (output,) = model.graph.graph.output
    dims = output.type.tensor_type.shape.dim
    num_outputs = int(dims[-1].dim_value) if len(dims) > 1 else 1
    return 1 if num_outputs == 2 else max(1, num_outputs)


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """Few trees first."""
    del work
    return [{"trees": trees, "leaves": leaves} for trees, leaves in _sizes(model)]


def label(settings: Settings) -> str:
    """``trees100-15``: 100 trees with 15 leaves."""
    return f"trees{settings['trees']}-{settings['leaves']}"


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student, which has learned: trees are not grown bit by bit."""
    from volano.training import fit_tree_student

    train, _ = work.lessons(model.inputs)
    student = fit_tree_student(
        model.inputs,
        train,
        task=work.task,
        rounds=settings["trees"],
        leaves=settings["leaves"],
        seed=work.seed,
        step=work.watch,
    )
    return student, model.inputs
