"""What a network is taught to make small, by task; and what validation rows are scored by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from volano.models import Network
from volano.training._plan import TrainPlan
from volano.training.boosted import huber_width

__all__ = ["Objective", "objective"]


class Objective(Protocol):
    """A task's loss.

    Attributes:
      head_start: Whether the head can start from a logistic regression.
    """

    head_start: ClassVar[bool]

    def __init__(self, targets: NDArray[Any], num_outputs: int, plan: TrainPlan) -> None: ...

    def prepare(self, network: Network) -> None:
        """Set what of the network follows from the targets alone."""

    def targets(self, values: NDArray[Any]) -> Tensor:
        """Encoded targets as the loss takes them."""

    def known(self, targets: Tensor) -> Tensor:
        """Which of them can be learned and scored; bool, (B,)."""

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the rows of a batch."""

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        """To be made large; the loss; and what curves show, by name."""


FOCUS = 2.0
"""How much less the focal loss cares for rows that are right already."""


class ClassificationObjective:
    """Cross-entropy, or the focal loss -(1 - p)^2 log p, which cares less for what is right.

    Probabilities learned by the second are too close to each other; the temperature that is fitted
    on validation rows afterwards takes that back (Mukhoti et al., `Calibrating Deep Neural
    Networks using Focal Loss <https://arxiv.org/abs/2002.09437>`_, 2020). Either way the best
    weights are those with the highest accuracy, then the lowest cross-entropy.
    """

    head_start: ClassVar[bool] = True

    def __init__(self, targets: NDArray[Any], num_outputs: int, plan: TrainPlan) -> None:
        self.class_weights: Tensor | None = None
        self._smoothing, self._focal = plan.label_smoothing, plan.loss == "focal"
        if plan.balanced:
            counts = torch.bincount(self.targets(targets), minlength=num_outputs).float()
            present = (counts > 0).sum()
            self.class_weights = len(targets) / (counts.clamp(min=1) * present)

    def prepare(self, network: Network) -> None:
        del network

    def targets(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.asarray(values).astype(np.int64))

    def known(self, targets: Tensor) -> Tensor:
        return targets >= 0

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        del network
        if self._focal:
            # Lin et al., `Focal Loss <https://arxiv.org/abs/1708.02002>`_, 2017.
            each = F.cross_entropy(outputs, targets, reduction="none")
            each = (1 - torch.exp(-each)).clamp(min=0) ** FOCUS * each
            if self.class_weights is None:
                return each.mean()
            weights = self.class_weights[targets]
            return (each * weights).sum() / weights.sum()
        return F.cross_entropy(
            outputs, targets, weight=self.class_weights, label_smoothing=self._smoothing
        )

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        loss = F.cross_entropy(outputs, targets).item()
        accuracy = (outputs.argmax(1) == targets).float().mean().item()
        return (accuracy, -loss), loss, {"validation_loss": loss, "validation_accuracy": accuracy}


class RegressionObjective:
    """What errors cost, at mean 0 and deviation 1.

    squared   e^2                       huber     e^2 / 2 within w, w (|e| - w / 2) beyond
    absolute  |e|                       quantile  max(q e, (q - 1) e),  e = target - output
    """

    head_start: ClassVar[bool] = False

    def __init__(self, targets: NDArray[Any], num_outputs: int, plan: TrainPlan) -> None:
        del num_outputs
        values = np.asarray(targets, np.float64)
        self._mean, self._spread = float(values.mean()), float(values.std()) or 1.0
        self._loss = "squared" if plan.loss == "auto" else plan.loss
        self._quantile = plan.quantile if plan.loss == "quantile" else 0.5
        self._width = huber_width(values) / self._spread
        if self._loss != "squared":
            # Where half (or such a share) of the targets lie below is where these losses settle.
            self._mean = float(np.quantile(values, self._quantile))

    def prepare(self, network: Network) -> None:
        network.shift.fill_(self._mean)  # type: ignore[operator]
        network.scale.fill_(self._spread)  # type: ignore[operator]

    def targets(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float64).astype(np.float32))

    def known(self, targets: Tensor) -> Tensor:
        return ~torch.isnan(targets)

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        del network
        return self._cost(outputs[:, 0] / self._spread, targets / self._spread)

    def _cost(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._loss == "squared":
            return F.mse_loss(outputs, targets)
        if self._loss == "absolute":
            return F.l1_loss(outputs, targets)
        if self._loss == "huber":
            return F.huber_loss(outputs, targets, delta=self._width)
        error = targets - outputs
        return torch.maximum(self._quantile * error, (self._quantile - 1) * error).mean()

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        error = (outputs[:, 0] - targets).double()
        rmse = float(error.square().mean().sqrt())
        loss = (rmse / self._spread) ** 2
        if self._loss != "squared":
            exact = outputs[:, 0].double() / self._spread
            loss = float(self._cost(exact, targets.double() / self._spread))
        return (-loss, 0.0), loss, {"validation_loss": loss, "validation_rmse": rmse}


_KINDS: Mapping[str, type[Objective]] = {
    "classification": ClassificationObjective,
    "regression": RegressionObjective,
}


def objective(task: str) -> type[Objective]:
    """The objective of a task, by the task's kind."""
    return _KINDS[task]
