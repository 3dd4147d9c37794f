"""Golden curves of pictures and sound; see `test_text` for what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media import Pixels, Waves, picture_network, pictures, sound_network, sounds

from volano.spec import TrainSpec
from volano.training import fit, plan_training

TOLERANCE = 0.02

GOLDEN = {
    "image": [0.402575, 0.277855, 0.23141, 0.234069],
    "audio": [0.445731, 0.303023, 0.250694, 0.241375],
}


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_the_curve(kind: str, tmp_path: Path) -> None:
    plan = plan_training(TrainSpec(epochs=4), num_rows=300, pretrained=False, convolution=True)
    if kind == "image":
        parts = (picture_network(), {"photo": Pixels()}, pictures(300), pictures(60, seed=1))
    else:
        parts = (sound_network(), {"clip": Waves()}, sounds(300), sounds(60, seed=1))
    result = fit(*parts, plan, scratch=tmp_path)  # type: ignore[arg-type]
    found = [entry["train_loss"] for entry in result.curves]
    np.testing.assert_allclose(found, GOLDEN[kind], rtol=TOLERANCE, err_msg=kind)


def test_the_plan() -> None:
    plan = plan_training(TrainSpec(), num_rows=54_000, pretrained=False, convolution=True)
    assert (
        plan.as_dict()
        | {
            "optimiser": "sgd",
            "batch_rows": 64,
            "epochs": 13,
            "label_smoothing": 0.1,
            "precision": "fp32",
            "patience": 0,
        }
        == plan.as_dict()
    )
