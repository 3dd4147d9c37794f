"""Ensembles: a weighted mean of what several models answer, or a linear model of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn

__all__ = ["LEAST_CHANCE", "LEAST_SHARE", "EnsembleModel", "Member", "mixed"]

Floats = NDArray[np.float32]

LEAST_SHARE = 1e-9
"""No share of a class is smaller, so that its logarithm is a number."""

LEAST_LOG = -20.0
"""Logarithms of shares are cut off here before they are weighed: one sure member is not all."""
LEAST_CHANCE = 1e-6
"""No chance of a label is nearer to 0 or 1: a float32 holds no more digits of it."""

_FILE = "ensemble.json"


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes:
      name: Of its folder.
      model: The model.
      weight: Its part of the mean, where those of all members sum to 1; stacked, any number.
      temperature: Divides its outputs before they become shares of classes; 1 for numbers.
    """

    name: str
    model: Any
    weight: float
    temperature: float


def mixed(
    outputs: Sequence[NDArray[Any]],
    members: Sequence[Any],
    *,
    classes: bool,
    bias: Sequence[float] = (),
    several: bool = False,
) -> Floats:
    """What an ensemble answers, from what its members answer; see `EnsembleModel`.

    Args:
      outputs: Of each member, shape (num_rows, num_outputs).
      members: Each with a ``weight`` and a ``temperature``.
      classes: Whether outputs are logits, of which one is right.
      bias: Of a stacked ensemble; empty for a mean.
      several: Whether they are logits, of which any number is right.
    """
    total = np.zeros(outputs[0].shape, np.float64)
    for found, member in zip(outputs, members, strict=True):
        values = np.asarray(found, np.float64)
        if classes:
            values = values / member.temperature
            values = values - values.max(axis=1, keepdims=True)
            values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
            values = np.maximum(values, LEAST_LOG) if bias else np.exp(values)
        elif several:
            values = 1 / (1 + np.exp(-np.clip(values / member.temperature, -500, 500)))
        total += member.weight * values
    if bias:
        total += np.asarray(bias)
    elif classes:
        total = np.log(np.maximum(total, LEAST_SHARE))
    elif several:
        total = np.clip(total, LEAST_CHANCE, 1 - LEAST_CHANCE)
        total = np.log(total / (1 - total))
    return total.astype(np.float32)


@dataclass(frozen=True)
class EnsembleModel:
    """outputs = sum of w y, or for classes log(sum of w softmax(z / T)), over the members.

    Stacked: b + sum of w y, or for classes b + sum of w log softmax(z / T); the weights are those
    of a linear or logistic regression. For labels logit(sum of w sigmoid(z / T)).

    Attributes:
      members: At least one.
      classes: Whether the outputs are logits, of which one is right.
      bias: b of a stacked ensemble, one per output; empty for a mean.
      several: Whether they are logits, of which any number is right.
    """

    family: ClassVar[str] = "ensemble"
    members: tuple[Member, ...]
    classes: bool
    bias: tuple[float, ...] = ()
    several: bool = False

    def mixed(self, outputs: Sequence[NDArray[Any]]) -> Floats:
        """What it answers, from what each member answers."""
        return mixed(
            outputs, self.members, classes=self.classes, bias=self.bias, several=self.several
        )

    def num_weights(self) -> int:
        """Numbers that were fitted."""
        return sum(member.model.num_weights() for member in self.members)

    def save(self, folder: Path) -> None:
        """Write each member into a folder of its own, and how they are mixed."""
        from volano.models._saved import save_model

        for member in self.members:
            save_model(member.model, folder / member.name)
        state = {
            "classes": self.classes,
            "bias": list(self.bias),
            "several": self.several,
            "members": [[m.name, m.weight, m.temperature] for m in self.members],
        }
        (folder / _FILE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls,
        folder: Path,
        inputs: Mapping[str, FittedColumn],
        load: Callable[[Path, Mapping[str, FittedColumn]], Any],
    ) -> Self:
        """Read what `save` wrote."""
        state = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        members = [
            Member(name, load(folder / name, inputs), weight, temperature)
            for name, weight, temperature in state["members"]
        ]
        return cls(tuple(members), state["classes"], tuple(state["bias"]), state["several"])
