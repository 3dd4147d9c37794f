"""Losses of networks against references, and what learning by them comes to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mixed_tables import encoded, fitted
from torch.nn import functional as F

from volano.models import build_network
from volano.spec import TrainSpec
from volano.training import TrainPlan, fit, network_logits, plan_training
from volano.training._descent import smooth_loss
from volano.training._objective import objective
from volano.training.boosted import huber_width


def plan(loss: str, quantile: float = 0.5, **changes: object) -> TrainPlan:
    made = plan_training(TrainSpec(), num_rows=400, pretrained=False, table=True)
    return replace(made, loss=loss, quantile=quantile, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", ["absolute", "huber", "quantile"])
def test_losses_of_numbers_are_those_of_linear_models(loss: str) -> None:
    random = np.random.default_rng(0)
    targets = random.normal(50, 7, 40)
    outputs = targets + random.standard_t(2, 40) * 9
    aim = objective("regression")(targets, 1, plan(loss, 0.8))
    found = aim.loss(None, torch.from_numpy(outputs)[:, None], torch.from_numpy(targets))  # type: ignore[arg-type]
    spread = targets.std()
    width = huber_width(targets) / spread
    reference = smooth_loss(loss, quantile=0.8, width=width)
    wanted, _ = reference((outputs / spread)[:, None], targets / spread)
    # Those round the tip of the loss, by a hundredth of a deviation.
    assert float(found) == pytest.approx(float(np.mean(wanted)), abs=0.006)


def test_the_focal_loss_is_that_of_linear_models_and_its_gradient_is_finite() -> None:
    random = np.random.default_rng(0)
    logits, codes = random.normal(0, 3, (50, 4)), random.integers(0, 4, 50)
    aim = objective("classification")(codes, 4, plan("focal"))
    tensor = torch.from_numpy(logits).requires_grad_(True)
    found = aim.loss(None, tensor, torch.from_numpy(codes))  # type: ignore[arg-type]
    wanted, _ = smooth_loss("focal")(logits, codes)
    assert found.item() == pytest.approx(float(np.mean(wanted)), rel=1e-6)
    found.backward()
    assert tensor.grad is not None
    sure = torch.tensor([[60.0, -60.0]], requires_grad=True)
    loss = aim.loss(None, sure, torch.tensor([0]))  # type: ignore[arg-type]
    loss.backward()
    assert torch.isfinite(sure.grad).all()  # type: ignore[arg-type]
    balanced = objective("classification")(codes, 4, plan("focal", balanced=True))
    each = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(codes), reduction="none")
    weights = len(codes) / (np.bincount(codes) * 4)
    focal = ((1 - (-each).exp()) ** 2 * each).numpy()
    by_hand = (focal * weights[codes]).sum() / weights[codes].sum()
    got = balanced.loss(None, torch.from_numpy(logits), torch.from_numpy(codes))  # type: ignore[arg-type]
    assert float(got) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize(("loss", "quantile"), [("quantile", 0.9), ("quantile", 0.2)])
def test_a_network_learns_a_quantile(loss: str, quantile: float, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    size = random.uniform(0, 10, 900).round(3)
    target = 3 * size + random.exponential(4, 900)
    rows = {"size": size.tolist()}
    columns = fitted({"size": "number"}, rows)
    train = encoded(columns, {"size": size[:600].tolist()}, target[:600])
    rest = encoded(columns, {"size": size[600:].tolist()}, target[600:])
    network = build_network(columns, {}, 1, root=tmp_path, num_rows=600, seed=0)
    made = plan(loss, quantile, epochs=12, passes=4, learning_rate=3e-3, head_rate=3e-3)
    result = fit(network, columns, train, rest, made, task="regression", scratch=tmp_path)
    below = (target[600:] <= network_logits(network, columns, rest)[:, 0]).mean()
    assert below == pytest.approx(quantile, abs=0.06)
    losses = [entry["validation_loss"] for entry in result.curves]
    assert min(losses) < losses[0] or losses[0] < 0.2
