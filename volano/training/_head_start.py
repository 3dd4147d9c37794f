"""Starting the head from a logistic regression on the features of the encoder as it is.

A random head sends random gradients into a pretrained encoder and spoils what it knows before it
has learned anything itself. Kumar et al., `Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution <https://arxiv.org/abs/2202.10054>`_, 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["HeadAim", "fit_linear", "start_head"]

PENALTIES = (3e-4, 1e-3, 3e-3)
ITERATIONS = 60


@runtime_checkable
class HeadAim(Protocol):
    """What the head is fitted to.

    Attributes:
      quality: What `head_quality` measures, in words.
    """

    quality: ClassVar[str]

    def head_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of the rows."""

    def head_quality(self, outputs: Tensor, targets: Tensor) -> float:
        """A share of right answers, to be shown."""

    def score(
        self, outputs: Tensor, targets: Tensor
    ) -> tuple[tuple[float, float], float, dict[str, float]]:
        """As of `Objective`."""


def fit_linear(
    features_NH: Tensor,
    targets_N: Tensor,
    num_outputs: int,
    penalty: float,
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Logistic regression: mean loss + penalty / 2 |W|^2, by L-BFGS."""
    weight = torch.zeros((num_outputs, features_NH.shape[1]), requires_grad=True)
    bias = torch.zeros(num_outputs, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        solver.zero_grad()
        loss = loss_of(F.linear(features_NH, weight, bias), targets_N)
        loss = loss + penalty / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    solver.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def start_head(
    head: torch.nn.Linear,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    aim: HeadAim,
) -> float | None:
    """Fit the head on frozen features, with the penalty that validation rows like best.

    Args:
      head: Receives the weights.
      train: Features (N, H) and targets (N, ...).
      validation: The same; may have no rows, then the middle penalty is taken.
      aim: The loss, and what is shown.
    Returns:
      What is shown, on the validation rows, or None without any.
    """
    features, targets = validation
    best: tuple[float, Tensor, Tensor] | None = None
    for penalty in PENALTIES if len(targets) else PENALTIES[1:2]:
        weight, bias = fit_linear(*train, head.out_features, penalty, aim.head_loss)
        loss = 0.0
        if len(targets):
            loss = aim.score(F.linear(features, weight, bias), targets)[1]
        if best is None or loss < best[0]:
            best = (loss, weight, bias)
    assert best is not None
    with torch.no_grad():
        head.weight.copy_(best[1])
        head.bias.copy_(best[2])
    if not len(targets):
        return None
    return aim.head_quality(F.linear(features, best[1], best[2]), targets)
