"""Learning from what a larger model answers, beside what is right.

    loss = a T^2 KL(softmax(t / T) || softmax(s / T)) + (1 - a) CE(s, y)

for names, with the teacher's outputs t, the student's s and the right class y; a = 1 for rows
whose class nobody knows. For numbers the mean of squares against a t + (1 - a) y.

Hinton et al., `Distilling the Knowledge in a Neural Network <https://arxiv.org/abs/1503.02531>`_,
2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from volano.columns import Windows
from volano.models import Network
from volano.training._objective import Objective

__all__ = ["DistilClasses", "DistilNumbers", "distil_objective"]

Values = NDArray[Any] | Windows

TEMPERATURE = 2.0
TEACHER_SHARE = 0.7
"""a of the formula: most of what there is to learn is in how the teacher is unsure."""


class DistilClasses:
    """Names. Targets are the teacher's outputs and, last, the class's code or -1; (N, C + 1)."""

    def __init__(self, temperature: float = TEMPERATURE, share: float = TEACHER_SHARE) -> None:
        self._temperature, self._share = temperature, share

    def prepare(self, network: Network) -> None:
        del network

    def targets(self, values: Values) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.asarray(values), np.float32))

    def known(self, targets: Tensor) -> Tensor:
        return torch.isfinite(targets[:, 0])

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        del network
        heat, codes = self._temperature, targets[:, -1].long()
        soft = F.kl_div(
            F.log_softmax(outputs / heat, dim=1),
            F.log_softmax(targets[:, :-1] / heat, dim=1),
            reduction="none",
            log_target=True,
        ).sum(1) * (heat * heat)
        hard = F.cross_entropy(outputs, codes.clamp(min=0), reduction="none")
        share = torch.where(codes >= 0, self._share, 1.0)
        return (share * soft + (1 - share) * hard).mean()

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        loss = float(self.loss(None, outputs, targets))  # type: ignore[arg-type]
        codes = targets[:, -1].long()
        right = codes >= 0
        if right.any():
            share = (outputs.argmax(1) == codes)[right].float().mean().item()
        else:
            share = (outputs.argmax(1) == targets[:, :-1].argmax(1)).float().mean().item()
        agreed = (outputs.argmax(1) == targets[:, :-1].argmax(1)).float().mean().item()
        found = {"validation_loss": loss, "validation_accuracy": share, "agreement": agreed}
        return (share, -loss), loss, found


class DistilNumbers:
    """Numbers, one or several. Targets are the teacher's outputs and then what is right."""

    def __init__(self, share: float = TEACHER_SHARE) -> None:
        self._share = share
        self._spread = 0.0

    def prepare(self, network: Network) -> None:
        del network

    def targets(self, values: Values) -> Tensor:
        values = np.asarray(values, np.float64)
        found = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        # The rows to learn from come first, and set the unit of the others as well.
        self._spread = self._spread or float(np.nanstd(self._mixed(found).numpy())) or 1.0
        return found

    def _mixed(self, targets: Tensor) -> Tensor:
        teacher, right = targets.chunk(2, dim=1)
        mixed = self._share * teacher + (1 - self._share) * right
        return torch.where(torch.isnan(right), teacher, mixed)

    def known(self, targets: Tensor) -> Tensor:
        return ~torch.isnan(self._mixed(targets)).any(1)

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        del network
        return F.mse_loss(outputs / self._spread, self._mixed(targets) / self._spread)

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        loss = float(self.loss(None, outputs, targets))  # type: ignore[arg-type]
        return (-loss, 0.0), loss, {"validation_loss": loss}


def distil_objective(task: str) -> Objective:
    """What a student of a task makes small.

    Raises:
      KeyError: A task without students.
    """
    made: dict[str, Objective] = {
        "classification": DistilClasses(),
        "regression": DistilNumbers(),
    }
    return made[task]
