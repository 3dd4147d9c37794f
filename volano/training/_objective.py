"""What a network is taught to make small, by task; and what validation rows are scored by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from volano.columns import Windows
from volano.models import Network
from volano.training._plan import TrainPlan
from volano.training.boosted import huber_width

__all__ = ["Objective", "WindowTargets", "objective"]

Values = NDArray[Any] | Windows


class Objective(Protocol):
    """A task's loss. One whose head can start from a logistic regression is a `HeadAim` too."""

    def __init__(self, targets: Values, num_outputs: int, plan: TrainPlan) -> None: ...

    def prepare(self, network: Network) -> None:
        """Set what of the network follows from the targets alone."""

    def targets(self, values: Values) -> Any:
        """Encoded targets as the loss takes them: a tensor, or what gives one by rows."""

    def known(self, targets: Any) -> Tensor:
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

    quality: ClassVar[str] = "accuracy"

    def __init__(self, targets: Values, num_outputs: int, plan: TrainPlan) -> None:
        self.class_weights: Tensor | None = None
        self._smoothing, self._focal = plan.label_smoothing, plan.loss == "focal"
        if plan.balanced:
            counts = torch.bincount(self.targets(targets), minlength=num_outputs).float()
            present = (counts > 0).sum()
            self.class_weights = len(targets) / (counts.clamp(min=1) * present)

    def prepare(self, network: Network) -> None:
        del network

    def targets(self, values: Values) -> Tensor:
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

    def head_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, weight=self.class_weights)

    def head_quality(self, outputs: Tensor, targets: Tensor) -> float:
        return (outputs.argmax(1) == targets).float().mean().item()

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        loss = F.cross_entropy(outputs, targets).item()
        accuracy = (outputs.argmax(1) == targets).float().mean().item()
        return (accuracy, -loss), loss, {"validation_loss": loss, "validation_accuracy": accuracy}


class MultilabelObjective:
    """Cross-entropy of each name's own yes or no, summed over the names; the lowest is best.

        loss = sum over names of log(1 + exp(-s z)),   s = 1 where the name applies, else -1

    Summed and not averaged: the gradient of a logit is then as large as in a softmax.
    """

    quality: ClassVar[str] = "Jaccard index"

    def __init__(self, targets: Values, num_outputs: int, plan: TrainPlan) -> None:
        truth = self.targets(targets)
        assert truth.shape[1] == num_outputs
        # One row more of each kind: no name is certain, nor impossible.
        share = (truth.sum(0) + 1) / (len(truth) + 2)
        self._odds = torch.log(share / (1 - share))
        self._weights: Tensor | None = None
        if plan.balanced:
            self._weights = (1 - share) / share
        self._smoothing = plan.label_smoothing

    def prepare(self, network: Network) -> None:
        # At the shares of the training rows, so that the first steps need not learn them.
        network.head.bias.data.copy_(self._odds)

    def targets(self, values: Values) -> Tensor:
        # The last column counts names that were not trained on.
        return torch.from_numpy(np.asarray(values)[:, :-1].astype(np.float32))

    def known(self, targets: Tensor) -> Tensor:
        return torch.ones(len(targets), dtype=torch.bool)

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        del network
        smooth = targets * (1 - self._smoothing) + 0.5 * self._smoothing
        return self._summed(outputs, smooth)

    def _summed(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(
            outputs, targets, pos_weight=self._weights, reduction="none"
        )
        return each.sum(1).mean()

    def head_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._summed(outputs, targets)

    def head_quality(self, outputs: Tensor, targets: Tensor) -> float:
        given, right = outputs > 0, targets > 0
        both, either = (given & right).sum(1), (given | right).sum(1)
        index = torch.where(either > 0, both / either.clamp(min=1), torch.ones(()))
        return index.float().mean().item()

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        loss = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)
        mean = loss.mean().item()
        found = {"validation_loss": mean, "validation_jaccard": self.head_quality(outputs, targets)}
        return (-mean, 0.0), mean, found


class RegressionObjective:
    """What errors cost, at mean 0 and deviation 1.

    squared   e^2                       huber     e^2 / 2 within w, w (|e| - w / 2) beyond
    absolute  |e|                       quantile  max(q e, (q - 1) e),  e = target - output
    """

    def __init__(self, targets: Values, num_outputs: int, plan: TrainPlan) -> None:
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

    def targets(self, values: Values) -> Tensor:
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


class WindowTargets:
    """Steps to come of windows, made as they are asked for: all at once they would not fit."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: Any) -> Tensor:
        places = rows.numpy() if isinstance(rows, Tensor) else rows
        return torch.from_numpy(np.asarray(self._values[places], np.float32))


class ForecastingObjective:
    """Squared error over all steps and series that were measured, on the fitted scale."""

    head_start: ClassVar[bool] = False

    def __init__(self, targets: Values, num_outputs: int, plan: TrainPlan) -> None:
        del targets, num_outputs, plan

    def prepare(self, network: Network) -> None:
        del network

    def targets(self, values: Values) -> WindowTargets:
        return WindowTargets(values)

    def known(self, targets: WindowTargets) -> Tensor:
        # Windows of which too little was measured were left out when they were made.
        return torch.ones(len(targets), dtype=torch.bool)

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        del network
        missing = torch.isnan(targets)
        error = torch.where(missing, torch.zeros_like(outputs), outputs - targets)
        return error.square().sum() / (~missing).sum().clamp(min=1)

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        # Windows count the same, as they do where models are chosen.
        loss = float((outputs - targets).square().flatten(1).nanmean(1).double().mean())
        return (-loss, 0.0), loss, {"validation_loss": loss}


_KINDS: Mapping[str, type[Objective]] = {
    "classification": ClassificationObjective,
    "forecasting": ForecastingObjective,
    "multilabel": MultilabelObjective,
    "regression": RegressionObjective,
}


def objective(task: str) -> type[Objective]:
    """The objective of a task, by the task's kind."""
    return _KINDS[task]
