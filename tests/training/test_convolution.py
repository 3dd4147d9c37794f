"""Whole runs of convolutional nets: they learn, repeat bit by bit, and keep their norms' means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media import Pixels, Waves, picture_network, pictures, sound_network, sounds

from volano.columns import EncodedSplit
from volano.models import Network
from volano.spec import TrainSpec
from volano.training import TrainPlan, TrainResult, fit, network_logits, plan_training
from volano.training._optimiser import FlatOptimiser, ParameterGroup, moving_statistics

Case = tuple[Network, Mapping[str, Any], EncodedSplit, EncodedSplit]


def case(kind: str) -> Case:
    if kind != "audio":
        network = picture_network(small_first=kind == "growing image")
        return network, {"photo": Pixels()}, pictures(120), pictures(40, seed=1)
    return sound_network(), {"clip": Waves()}, sounds(120), sounds(40, seed=1)


def plan(**changes: Any) -> TrainPlan:
    made = plan_training(TrainSpec(epochs=3), num_rows=120, pretrained=False, convolution=True)
    return replace(made, batch_rows=16, **changes)


def run(kind: str, folder: Path, plan: TrainPlan) -> tuple[dict[str, torch.Tensor], TrainResult]:
    folder.mkdir(exist_ok=True)
    network, inputs, train, validation = case(kind)
    result = fit(network, inputs, train, validation, plan, scratch=folder)
    return {name: value.clone() for name, value in network.state_dict().items()}, result


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


@pytest.mark.parametrize("kind", ["image", "growing image", "audio"])
def test_it_learns_and_repeats_bit_for_bit_also_when_it_was_cut_off(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volano.training import _loop

    augment = ("crop", "mixup", "shift", "noise", "time_mask")
    whole, result = run(kind, tmp_path / "whole", plan(augment=augment))
    assert result.precision == "fp32"
    monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
    step = _loop._Run._step

    class Killed(Exception):
        pass

    def stopping(self: Any, rows: Any, number: int, num_steps: int) -> float:
        if number >= 12:
            raise Killed
        return step(self, rows, number, num_steps)

    with monkeypatch.context() as patch:
        patch.setattr(_loop._Run, "_step", stopping)
        with pytest.raises(Killed):
            run(kind, tmp_path / "cut", plan(augment=augment))
    resumed, _ = run(kind, tmp_path / "cut", plan(augment=augment))
    assert same(whole, resumed)
    other, _ = run(kind, tmp_path / "other", plan(augment="off"))
    assert not same(whole, other)


def test_a_run_that_will_be_late_sees_whole_pictures_before_it_ends(tmp_path: Path) -> None:
    network, inputs, train, validation = case("growing image")
    encoder: Any = network.encoders[0]
    seen: list[tuple[int, bool]] = []
    encoder.net.register_forward_pre_hook(
        lambda module, given: seen.append((given[0].shape[2], module.training))
    )
    steps = [0]

    def step(label: str, done: float, total: float) -> None:
        steps[0] = int(done)

    made = replace(plan(), epochs=40)  # 320 steps, of which there is time for 16
    fit(
        network,
        inputs,
        train,
        validation,
        made,
        scratch=tmp_path,
        step=step,
        gone=lambda: steps[0] / 16,
    )
    learned = [height for height, training in seen if training]
    assert learned[:7] == [8] * 7
    assert learned[-4:] == [12] * 4


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_what_is_kept_of_the_weights_is_kept_of_the_norms(kind: str, tmp_path: Path) -> None:
    """The weights that come back are those that were best on validation rows, norms included."""
    network, inputs, train, validation = case(kind)
    result = fit(network, inputs, train, validation, plan(epochs=6), scratch=tmp_path)
    outputs = network_logits(network, inputs, validation)
    accuracy = float((outputs.argmax(1) == validation.target).mean())
    best = result.curves[result.best_epoch - 1]
    assert accuracy == pytest.approx(best["validation_accuracy"], abs=1e-6)
    assert accuracy > 0.8
    assert all(value.grad is None for value in network.parameters())
    moving = [value for name, value in network.named_buffers() if "running" in name]
    assert moving
    assert not any(value._base is not None for value in moving)


def test_sgd_is_torchs_with_momentum_of_nesterov() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(7, 3), torch.nn.Linear(7, 3)
    theirs.load_state_dict(ours.state_dict())
    flat = FlatOptimiser(
        [ParameterGroup.of(list(ours.parameters()), 0.05, 5e-4)], clip=1e9, memory=10, kind="sgd"
    )
    rule = torch.optim.SGD(
        theirs.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    inputs, targets = torch.randn(40, 7), torch.randint(0, 3, (40,))
    for _ in range(20):
        torch.nn.functional.cross_entropy(ours(inputs), targets).backward()
        flat.step(1.0)
        rule.zero_grad()
        torch.nn.functional.cross_entropy(theirs(inputs), targets).backward()
        rule.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_means_of_norms_are_averaged_and_swapped_with_the_weights() -> None:
    network = picture_network()
    groups = [ParameterGroup.of(list(network.parameters()), 0.1, 0.0)]
    groups += moving_statistics(network)
    assert moving_statistics(torch.nn.Linear(2, 2)) == []
    optimiser = FlatOptimiser(groups, clip=1.0, memory=4)
    norm = network.encoders[0].net.stem[0].norm
    norm.running_mean.fill_(1.0)
    for _ in range(200):
        optimiser.update_average()
    norm.running_mean.fill_(3.0)
    optimiser.swap_average()
    torch.testing.assert_close(norm.running_mean, torch.ones(4))
    optimiser.swap_average()
    torch.testing.assert_close(norm.running_mean, torch.full((4,), 3.0))


def test_sounds_of_like_length_meet() -> None:
    from volano.columns import Encoded, Ragged
    from volano.training._feed import Feed

    network = sound_network()
    flat = np.zeros(900, np.int16)
    encoded = Encoded({"wave": Ragged(flat, np.array([0, 100, 500, 900]))})
    split = EncodedSplit({"clip": encoded}, np.zeros(3, np.int64))
    assert Feed({}, split, {}, network).widths.tolist() == [
        5,
        20,
        20,
    ]  # a frame begins every 20 samples
