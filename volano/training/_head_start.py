"""Starting the head from a logistic regression on the features of the encoder as it is.

A random head sends random gradients into a pretrained encoder and spoils what it knows before it
has learned anything itself. Kumar et al., `Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution <https://arxiv.org/abs/2202.10054>`_, 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["fit_linear", "start_head"]

PENALTIES = (3e-4, 1e-3, 3e-3)
ITERATIONS = 60


def fit_linear(
    features_NH: Tensor,
    labels_N: Tensor,
    num_classes: int,
    penalty: float,
    weights_C: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression: mean cross-entropy + penalty / 2 |W|^2, by L-BFGS."""
    weight = torch.zeros((num_classes, features_NH.shape[1]), requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        solver.zero_grad()
        logits = F.linear(features_NH, weight, bias)
        loss = F.cross_entropy(logits, labels_N, weight=weights_C)
        loss = loss + penalty / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    solver.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def start_head(
    head: torch.nn.Linear,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    weights_C: Tensor | None,
) -> float | None:
    """Fit the head on frozen features, with the penalty that validation rows like best.

    Args:
      head: Receives the weights.
      train: Features (N, H) and labels (N,).
      validation: The same; may have no rows, then the middle penalty is taken.
      weights_C: Weight of each class, or None.
    Returns:
      Accuracy on the validation rows, or None without any.
    """
    features, labels = validation
    best: tuple[float, Tensor, Tensor] | None = None
    for penalty in PENALTIES if len(labels) else PENALTIES[1:2]:
        weight, bias = fit_linear(*train, head.out_features, penalty, weights_C)
        loss = 0.0
        if len(labels):
            loss = F.cross_entropy(F.linear(features, weight, bias), labels).item()
        if best is None or loss < best[0]:
            best = (loss, weight, bias)
    assert best is not None
    with torch.no_grad():
        head.weight.copy_(best[1])
        head.bias.copy_(best[2])
    if not len(labels):
        return None
    answers = F.linear(features, best[1], best[2]).argmax(1)
    return (answers == labels).float().mean().item()
