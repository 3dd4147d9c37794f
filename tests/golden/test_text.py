"""Golden curves of text: how the loss falls, step for step the same until somebody means a change.

A recipe can be broken in ways that no other test sees: a schedule that starts late, a rate that is
given to the wrong layer, an average that is taken too early. All of them move these curves. When
one moves and the change is meant, put the new numbers in, and say in the commit what they are
worth on real data (benchmarks/).

The encoder is tiny and has random weights, so that the numbers mean nothing beyond being these.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_rows

from volano.columns import column_kind
from volano.columns.category import FittedCategory
from volano.data import Prepared, encode_split, save_columns
from volano.models import build_network, choose_encoder
from volano.spec import TrainSpec
from volano.training import TrainPlan, fit, plan_training

TOLERANCE = 0.01
"""Relative. Most changes of a single setting move a curve by a tenth and more."""


def plan(*, pretrained: bool) -> TrainPlan:
    """The recipe as it is, for three epochs of eight steps, at a rate that shows in so few."""
    made = plan_training(TrainSpec(precision="fp32"), num_rows=240, pretrained=pretrained)
    return replace(made, epochs=3, passes=1, learning_rate=1e-3)


def curve(folder: Path, encoder: str, plan: TrainPlan) -> dict[str, list[float]]:
    """Name of a loss -> its value after each epoch."""
    rows = tiny_rows()
    options = {"encoder": encoder, "max_tokens": 32, "vocabulary": 400}
    chosen = choose_encoder("text", options, [text for text, _ in rows[:50]], folder)
    column = column_kind("text").fit("text", [text for text, _ in rows], {**options, **chosen})
    target = FittedCategory("sentiment", ("negative", "positive"))
    save_columns(folder, {"text": column}, target, {"text": chosen})
    for name, part in (("train", rows[:240]), ("validation", rows[240:])):
        batch = {"text": [text for text, _ in part], "sentiment": [label for _, label in part]}
        encode_split(folder / name, {"text": column}, target, [batch])
    prepared = Prepared.open(folder)
    network = build_network(
        prepared.inputs, prepared.details, 2, root=Path(), num_rows=240, seed=plan.seed
    )
    (folder / "scratch").mkdir()
    splits = [prepared.split(name) for name in ("train", "validation")]
    result = fit(network, prepared.inputs, *splits, plan, scratch=folder / "scratch")
    return {
        name: [entry[name] for entry in result.curves] for name in ("train_loss", "validation_loss")
    }


PRETRAINED = {
    "train_loss": [0.51187, 0.33771, 0.19098],
    "validation_loss": [0.58632, 0.05579, 0.4158],
}
SCRATCH = {
    "train_loss": [0.66443, 0.31075, 0.00832],
    "validation_loss": [0.50838, 0.40039, 0.36554],
}


@pytest.mark.slow
@pytest.mark.parametrize(("pretrained", "golden"), [(True, PRETRAINED), (False, SCRATCH)])
def test_the_curve(
    pretrained: bool, golden: dict[str, list[float]], tiny_encoder: Path, tmp_path: Path
) -> None:
    encoder = str(tiny_encoder) if pretrained else "scratch"
    found = curve(tmp_path, encoder, plan(pretrained=pretrained))
    for name, losses in golden.items():
        np.testing.assert_allclose(found[name], losses, rtol=TOLERANCE, atol=1e-3, err_msg=name)


def test_the_plan() -> None:
    """What so few steps cannot show, such as weight decay and clipping."""
    shown = {"layer_decay", "head_start", "weight_decay", "clip", "warmup", "dropout", "memory"}
    for pretrained, special in ((True, (0.9, True)), (False, (1.0, False))):
        made = plan_training(TrainSpec(), num_rows=2000, pretrained=pretrained).as_dict()
        assert {name: made[name] for name in shown} == {
            "layer_decay": special[0],
            "head_start": special[1],
            "weight_decay": 0.01,
            "clip": 1.0,
            "warmup": 0.1,
            "dropout": 0.1,
            "memory": 0.1,
        }
