"""A teacher that is asked about rows as they became."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from volano.columns import Encoded, EncodedSplit
from volano.columns.image import FittedImage
from volano.models import Network
from volano.models.encoders.image import ImageEncoder
from volano.spec import TrainSpec
from volano.training import distil_objective, fit, plan_training
from volano.training._live import LiveTeacher


class Brightness(torch.nn.Module):
    """Says how bright a picture is."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = torch.nn.ModuleList()

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        bright = batch["photo.pixels"].float().mean((1, 2, 3))
        return torch.stack([bright, -bright], 1)


def test_answers_stand_in_the_place_of_those_before() -> None:
    batch = {"photo.pixels": torch.full((2, 1, 4, 4), 9, dtype=torch.uint8)}
    batch["photo.pixels"][1] = 3
    targets = torch.tensor([[1.0, 2.0, 0.0], [3.0, 4.0, -1.0]])
    made: Any = Brightness()
    found = LiveTeacher(made, {}, torch.float32).targets(batch, targets)
    torch.testing.assert_close(found, torch.tensor([[9.0, -9.0, 0.0], [3.0, -3.0, -1.0]]))


def test_tokens_are_given_to_it_by_its_own_numbers() -> None:
    class Sum(torch.nn.Module):
        encoders = torch.nn.ModuleList()

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return batch["text.ids"].sum(1, keepdim=True).float()

    made: Any = Sum()
    cut: Any = {"text": SimpleNamespace(used=np.array([0, 7, 40]))}
    found = LiveTeacher(made, cut, torch.float32).targets(
        {"text.ids": torch.tensor([[2, 1, 0]])}, torch.tensor([[0.0, 5.0]])
    )
    torch.testing.assert_close(found, torch.tensor([[47.0, 5.0]]))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_student_of_changed_pictures_hears_of_them_as_they_are(task: str, tmp_path: Path) -> None:
    """What was answered before is wrong on purpose: it must not be what is learned."""
    random = np.random.default_rng(0)
    column = FittedImage("photo", 8, 8, 1)
    bright = random.integers(0, 255, 240)
    pixels = np.repeat(bright, 64).reshape(240, 1, 8, 8).astype(np.uint8)
    encoded = Encoded({"pixels": pixels})
    num_outputs = 2 if task == "classification" else 1
    wrong = np.tile([[9.0, -9.0]], (240, 1))[:, :num_outputs]
    unknown = np.full((240, 1), -1.0 if task == "classification" else np.nan)
    split = EncodedSplit(
        {"photo": encoded}, np.concatenate([wrong, unknown], axis=1).astype(np.float32)
    )
    torch.manual_seed(0)
    made: Any = _teacher(num_outputs)
    student = Network(
        ("photo",), [ImageEncoder(1, widths=(8, 8), blocks=(0, 1), strides=(1,))], num_outputs
    )
    plan = plan_training(TrainSpec(epochs=4), num_rows=240, pretrained=False, convolution=True)
    fit(
        student,
        {"photo": column},
        split,
        EncodedSplit({"photo": Encoded({"pixels": pixels[:0]})}, split.target[:0]),
        plan,
        aim=distil_objective(task),
        teacher=made,
        scratch=tmp_path,
    )
    batch = {"photo.pixels": torch.from_numpy(pixels)}
    with torch.no_grad():
        found, wanted = student(batch)[:, 0], made(batch)[:, 0]
    assert np.corrcoef(found.numpy(), wanted.numpy())[0, 1] > 0.8


def _teacher(num_outputs: int) -> Any:
    class Bright(Brightness):
        columns = ()

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return (super().forward(batch)[:, :num_outputs] - 128) / 40

    return Bright()
