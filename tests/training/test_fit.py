"""Whole runs of `fit` on a tiny encoder: what they learn, and that they repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_rows

from volano.columns import column_kind
from volano.columns.category import FittedCategory
from volano.data import Prepared, encode_split, save_columns
from volano.errors import TrainError
from volano.models import Network, build_network, choose_encoder, load_weights, save_weights
from volano.spec import TrainSpec
from volano.training import TrainPlan, fit, network_logits, plan_training


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    rows = tiny_rows()
    options = {"encoder": str(tiny_encoder), "max_tokens": 32, "vocabulary": 400}
    chosen = choose_encoder("text", options, [text for text, _ in rows[:50]], folder)
    column = column_kind("text").fit("text", [text for text, _ in rows], {**options, **chosen})
    target = FittedCategory("sentiment", ("negative", "positive"))
    save_columns(folder, {"text": column}, target, {"text": chosen})
    for name, part in (("train", rows[:240]), ("validation", rows[240:])):
        batch = {"text": [text for text, _ in part], "sentiment": [label for _, label in part]}
        encode_split(folder / name, {"text": column}, target, [batch])
    return Prepared.open(folder)


def plan(**changes: object) -> TrainPlan:
    made = plan_training(TrainSpec(precision="fp32"), num_rows=240, pretrained=True)
    return replace(made, epochs=2, learning_rate=1e-3, **changes)  # type: ignore[arg-type]


def run(prepared: Prepared, scratch: Path, plan: TrainPlan) -> tuple[Network, object]:
    network = build_network(
        prepared.inputs, prepared.details, 2, root=Path(), num_rows=240, seed=plan.seed
    )
    result = fit(
        network,
        prepared.inputs,
        prepared.split("train"),
        prepared.split("validation"),
        plan,
        scratch=scratch,
    )
    return network, result


def weights(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def scratch_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_it_learns_repeats_bit_for_bit_and_survives_being_saved(prepared, tmp_path):
    network, result = run(prepared, scratch_folder(tmp_path, "a"), plan())
    again, _ = run(prepared, scratch_folder(tmp_path, "b"), plan())
    assert same(weights(network), weights(again))
    assert result.curves[-1]["validation_accuracy"] > 0.8
    other, _ = run(prepared, scratch_folder(tmp_path, "c"), plan(seed=1))
    assert not same(weights(network), weights(other))
    save_weights(network, tmp_path)
    split = prepared.split("validation")
    np.testing.assert_array_equal(
        network_logits(network, prepared.inputs, split),
        network_logits(load_weights(tmp_path), prepared.inputs, split),
    )


@pytest.mark.parametrize("layers", [None, 1])
@pytest.mark.parametrize("stop_after", [1, 7, 8, 15])
def test_an_interrupted_run_ends_in_the_same_weights(
    prepared, tmp_path, monkeypatch, layers, stop_after
):
    from volano.training import _loop

    whole, _ = run(prepared, scratch_folder(tmp_path, "whole"), plan(layers=layers))
    monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
    scratch = scratch_folder(tmp_path, "cut")
    step = _loop._Run._step

    class Killed(Exception):
        pass

    def stopping(self, rows, number, num_steps):
        if number >= stop_after:
            raise Killed
        return step(self, rows, number, num_steps)

    with monkeypatch.context() as patch:
        patch.setattr(_loop._Run, "_step", stopping)
        with pytest.raises(Killed):
            run(prepared, scratch, plan(layers=layers))
    resumed, _ = run(prepared, scratch, plan(layers=layers))
    assert same(weights(whole), weights(resumed))


def test_frozen_layers_stay_and_their_cache_changes_nothing(prepared, tmp_path, monkeypatch):
    from volano.training import _frozen

    fresh = build_network(prepared.inputs, prepared.details, 2, root=Path(), num_rows=9, seed=0)
    before = weights(fresh)
    cached, _ = run(prepared, scratch_folder(tmp_path, "a"), plan(layers=1, dropout=0.0))
    after = weights(cached)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(".layer.0." in name or "embeddings" in name for name in changed)
    assert any(".layer.1." in name for name in changed)
    monkeypatch.setattr(_frozen, "LARGEST_BYTES", 0)
    live, _ = run(prepared, scratch_folder(tmp_path, "b"), plan(layers=1, dropout=0.0))
    for name, value in weights(live).items():
        torch.testing.assert_close(value, after[name], rtol=1e-3, atol=1e-4)
    assert all(parameter.requires_grad for parameter in live.parameters())


def test_it_stops_when_nothing_improves(prepared, tmp_path):
    said: list[str] = []
    network = build_network(prepared.inputs, prepared.details, 2, root=Path(), num_rows=9, seed=0)
    result = fit(
        network,
        prepared.inputs,
        prepared.split("train"),
        prepared.split("validation"),
        replace(plan(), epochs=50, patience=1, learning_rate=1e-9, head_rate=1e-9),
        scratch=tmp_path,
        say=said.append,
    )
    assert len(result.curves) < 50
    assert any("no progress" in line for line in said)


def test_a_rate_that_is_far_too_high_is_said(prepared, tmp_path):
    wild = plan(head_start=False, clip=float("inf"), head_rate=1e30, warmup=0.0)
    with pytest.raises(TrainError, match=r"(?s)the loss is (nan|inf).*learning_rate.*TRAIN-001"):
        run(prepared, tmp_path, replace(wild, learning_rate=1e30))


def test_balanced_classes_and_bf16_run(prepared, tmp_path):
    network, result = run(prepared, tmp_path, plan(balanced=True, precision="bf16"))
    assert result.precision == "bfp16"
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_the_loss_curve_of_text(prepared, tmp_path):
    """A golden curve: a change of the recipe must be meant."""
    _, result = run(prepared, tmp_path, replace(plan(), epochs=3, head_start=False))
    losses = [entry["train_loss"] for entry in result.curves]
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose(losses, GOLDEN_CURVE, rtol=0.05)


GOLDEN_CURVE = [0.6719, 0.5813, 0.5204]
