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


class ClassificationObjective:
    """Cross-entropy; the best weights are those with the highest accuracy, then the lowest loss."""

    head_start: ClassVar[bool] = True

    def __init__(self, targets: NDArray[Any], num_outputs: int, plan: TrainPlan) -> None:
        self.class_weights: Tensor | None = None
        self._smoothing = plan.label_smoothing
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
    """Squared error at mean 0 and deviation 1."""

    head_start: ClassVar[bool] = False

    def __init__(self, targets: NDArray[Any], num_outputs: int, plan: TrainPlan) -> None:
        del num_outputs, plan
        values = np.asarray(targets, np.float64)
        self._mean, self._spread = float(values.mean()), float(values.std()) or 1.0

    def prepare(self, network: Network) -> None:
        network.shift.fill_(self._mean)  # type: ignore[operator]
        network.scale.fill_(self._spread)  # type: ignore[operator]

    def targets(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float64).astype(np.float32))

    def known(self, targets: Tensor) -> Tensor:
        return ~torch.isnan(targets)

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        del network
        return F.mse_loss(outputs[:, 0] / self._spread, targets / self._spread)

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        rmse = float((outputs[:, 0] - targets).double().square().mean().sqrt())
        loss = (rmse / self._spread) ** 2
        return (-loss, 0.0), loss, {"validation_loss": loss, "validation_rmse": rmse}


_KINDS: Mapping[str, type[Objective]] = {
    "classification": ClassificationObjective,
    "regression": RegressionObjective,
}


def objective(task: str) -> type[Objective]:
    """The objective of a task, by the task's kind."""
    return _KINDS[task]
