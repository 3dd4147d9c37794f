"""How much of a pretrained encoder learns: what changes, what stays, and that runs repeat."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media import Pixels, pictures
from nets import write_tiny_lite
from tiny import tiny_rows
from torch import nn
from torch.nn import functional as F

from volano.columns import EncodedSplit, column_kind
from volano.errors import TrainError
from volano.models import Network, build_network, choose_encoder
from volano.spec import TrainSpec
from volano.training import TrainPlan, TrainResult, _loop, fit, network_logits, plan_training
from volano.training._layers import layer_places
from volano.training._lora import LoraLinear, adapt, merge
from volano.training._optimiser import parameter_groups

Case = tuple[Network, dict[str, Any], EncodedSplit, EncodedSplit]

WAYS: dict[str, dict[str, Any]] = {
    "head": {"tune": "head"},
    "none": {"layers": 0},
    "last": {"layers": 1},
    "gradual": {"tune": "gradual"},
    "lora": {"tune": "lora", "lora_rank": 2, "lora_alpha": 4.0},
}


def texts(encoder: Path) -> Case:
    rows = tiny_rows()
    options = {"encoder": str(encoder), "max_tokens": 16, "vocabulary": 400}
    chosen = choose_encoder("text", options, [text for text, _ in rows[:50]], encoder)
    column = column_kind("text").fit("text", [text for text, _ in rows], {**options, **chosen})
    labels = np.array([label == "positive" for _, label in rows], np.int64)
    encoded = [column.encode([text for text, _ in part]) for part in (rows[:120], rows[240:])]
    splits = [
        EncodedSplit({"text": part}, target)
        for part, target in zip(encoded, (labels[:120], labels[240:]), strict=True)
    ]
    inputs = {"text": column}
    network = build_network(inputs, {"text": chosen}, 2, root=encoder, num_rows=120, seed=0)
    return network, inputs, splits[0], splits[1]


def images(encoder: Path) -> Case:
    column = Pixels(height=12, width=10, channels=1)
    inputs = {"photo": column}
    details = {"photo": {"encoder": str(encoder)}}
    network = build_network(inputs, details, 2, root=encoder, num_rows=120, seed=0)  # type: ignore[arg-type]
    return network, inputs, pictures(80), pictures(40, seed=1)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_lite(tmp_path_factory.mktemp("lite"))


def plan(way: str, **changes: Any) -> TrainPlan:
    spec = TrainSpec(precision="fp32", epochs=3, augment="off", **WAYS[way])
    made = plan_training(spec, num_rows=120, pretrained=True)
    # From a random head, so that the last epoch is the best and not the first.
    return replace(made, learning_rate=2e-3, passes=1, head_start=False, **changes)


def run(case: Case, folder: Path, plan: TrainPlan) -> tuple[Network, TrainResult]:
    folder.mkdir(exist_ok=True)
    network, inputs, train, validation = case
    return network, fit(network, inputs, train, validation, plan, scratch=folder)


def state(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()  # nothing of what tuned them is left
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_what_learns_of_a_transformer(way: str, tiny_encoder: Path, tmp_path: Path) -> None:
    case = texts(tiny_encoder)
    before = state(case[0])
    network, result = run(case, tmp_path / way, plan(way))
    moved = changed(before, state(network))
    encoder = {name for name in moved if name.startswith("encoders")}
    assert "head.weight" in moved
    assert result.curves[-1]["train_loss"] < result.curves[0]["train_loss"]
    assert all(parameter.requires_grad for parameter in network.parameters())
    if way in ("head", "none"):
        assert encoder == set()
    elif way == "last":
        assert {name.split(".layer.")[1][0] for name in encoder} == {"1"}
    elif way == "lora":
        assert encoder
        assert all(name.endswith("weight") and "LayerNorm" not in name for name in encoder)
        assert not any("embeddings" in name for name in encoder)
    else:
        assert any("embeddings" in name for name in encoder)


@pytest.mark.parametrize("way", ["head", "last", "gradual"])
def test_what_learns_of_a_convolutional_net(way: str, lite: Path, tmp_path: Path) -> None:
    # Without rows to choose by, the last epoch is kept.
    case = (*images(lite)[:3], pictures(0))
    before = state(case[0])
    network, result = run(case, tmp_path / way, plan(way))
    moved = {name for name in changed(before, state(network)) if "tracked" not in name}
    assert result.precision == "fp32"
    encoder = {name for name in moved if name.startswith("encoders")}
    if way == "head":
        assert encoder == set()
    elif way == "last":
        assert any(".blocks.4." in name for name in encoder)
        assert any(".top." in name for name in encoder)
        assert not any(".blocks.0." in name or ".stem." in name for name in encoder)
    else:
        assert any(".stem." in name for name in encoder)
    # Norms' means stay whatever learns.
    assert not any("running" in name for name in moved)


def test_a_net_without_linear_layers_takes_no_pairs(lite: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"(?s)'photo' has no linear layers.*TRAIN-031"):
        run(images(lite), tmp_path / "lora", plan("lora"))


@pytest.mark.parametrize("way", ["head", "gradual", "lora"])
def test_an_interrupted_run_ends_bit_for_bit_the_same(
    way: str, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(texts(tiny_encoder), tmp_path / "whole", plan(way))
    monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
    step = _loop._Run._step

    class Killed(Exception):
        pass

    def dies(self: Any, rows: Any, at: int, num_steps: int) -> float:
        if at == 7:
            raise Killed
        return step(self, rows, at, num_steps)

    monkeypatch.setattr(_loop._Run, "_step", dies)
    with pytest.raises(Killed):
        run(texts(tiny_encoder), tmp_path / "cut", plan(way))
    monkeypatch.setattr(_loop._Run, "_step", step)
    again, _ = run(texts(tiny_encoder), tmp_path / "cut", plan(way))
    assert changed(state(whole), state(again)) == set()


def test_vectors_that_are_known_are_those_of_the_encoder(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    """Only the head learns: what it learned from is what the whole network computes."""
    case = texts(tiny_encoder)
    network, result = run(case, tmp_path / "head", plan("head"))
    outputs = network_logits(network, case[1], case[3])
    accuracy = (outputs.argmax(1) == np.asarray(case[3].target)).mean()
    best = max(entry["validation_accuracy"] for entry in result.curves)
    assert accuracy == pytest.approx(best, abs=1e-6)


def test_a_pair_is_the_formula_of_lora() -> None:
    """y = W x + b + (alpha / r) B A x, with A as peft draws it and B zero at first."""
    torch.manual_seed(0)
    linear = nn.Linear(6, 4)
    pair = LoraLinear(linear, 3, 12.0)
    x = torch.randn(5, 6)
    assert torch.equal(pair(x), linear(x))
    assert pair.down.abs().max() <= math.sqrt(6 / ((1 + 5) * 6))
    with torch.no_grad():
        pair.up.normal_()
        wanted = F.linear(x, linear.weight + 12.0 / 3 * pair.up @ pair.down, linear.bias)
        torch.testing.assert_close(pair(x), wanted)
    pair(x).sum().backward()
    assert linear.weight.grad is None
    assert pair.up.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(pair.merged()(x), wanted)


def test_pairs_leave_no_trace(tiny_encoder: Path) -> None:
    network = texts(tiny_encoder)[0]
    before = state(network)
    encoder = network.encoders[0]
    assert adapt(encoder, 4, 8.0) == 12  # six in each of two layers
    learning = [name for name, value in encoder.named_parameters() if value.requires_grad]
    assert len(learning) == 24
    assert all(name.endswith((".down", ".up")) for name in learning)
    merge(encoder)
    assert changed(before, state(network)) == set()


def test_places_of_layers_whatever_the_architecture(tiny_encoder: Path, lite: Path) -> None:
    places, number = layer_places(texts(tiny_encoder)[0].encoders[0])
    assert number == 2
    assert {place for name, place in places.items() if "embeddings" in name} == {-1}
    assert {place for name, place in places.items() if ".layer.1." in name} == {1}
    places, number = layer_places(images(lite)[0].encoders[0])
    assert number == 5
    assert {place for name, place in places.items() if ".stem." in name} == {-1}
    assert {place for name, place in places.items() if ".top." in name} == {5}
    assert layer_places(nn.Linear(2, 2)) == ({"weight": -1, "bias": -1}, 0)


def test_deep_layers_wait_and_what_starts_from_nothing_does_not(tiny_encoder: Path) -> None:
    network = texts(tiny_encoder)[0]
    mixed = Network(
        ("text", "photo"), [network.encoders[0], images_from_nothing()], network.head.out_features
    )
    groups = parameter_groups(
        mixed, learning_rate=1e-4, head_rate=1e-3, layer_decay=0.5, weight_decay=0.0, gradual=True
    )
    found = {(group.depth, round(group.learning_rate, 9)) for group in groups}
    assert found == {(0, 1e-4), (1, 5e-5), (2, 2.5e-5), (0, 1e-3)}


def images_from_nothing() -> nn.Module:
    from media import picture_network

    return picture_network().encoders[0]
