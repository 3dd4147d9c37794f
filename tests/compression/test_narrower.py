"""Narrower students of convolutional nets, and kernels in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from classroom import network as text_network
from media import Pixels, Waves, picture_network, pictures, sound_network, sounds
from nets import TINY_LITE
from torch import nn

from volano.columns import EncodedSplit
from volano.compression import Compact, _narrower, _photo_nets, compression_pass
from volano.compression._lessons import student_plan
from volano.export import graph_of
from volano.models import Network
from volano.models.encoders._efficientnet import EfficientNetLite
from volano.models.encoders.image import PretrainedImageEncoder
from volano.spec import TrainSpec


class Classroom:
    """The least that students ask for."""

    task, seed, num_rows = "classification", 0, 1000

    def __init__(self) -> None:
        self.trained: list[int] = []

    def graph(self, model: Any, inputs: Any) -> Any:
        return graph_of(model, inputs)

    def train(self, model: Any, inputs: Any, *, epochs: int) -> None:
        self.trained.append(epochs)
        model.eval()

    def calibration(self, inputs: Any) -> Any:
        raise AssertionError("kernels need no rows to look at")


def compact(network: Network, column: Any) -> Compact:
    inputs = {column.name: column}
    network.eval()
    return Compact(inputs, graph_of(network, inputs), network)


def answers(made: Compact, split: Any) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        made.graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (column,) = made.inputs.values()
    feed = column.collate(split.columns[column.name], np.arange(split.num_rows))
    return np.asarray(session.run(None, feed)[0])


def alive(network: Network, share: float) -> None:
    """Let only some channels of each norm count, and give them something to say."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            dead = torch.randperm(len(module.weight))[round(len(module.weight) * share) :]
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data[dead] = 0
            module.bias.data[dead] = 0


KINDS = [(picture_network, Pixels(), pictures), (sound_network, Waves(), sounds)]


@pytest.mark.parametrize(("build", "column", "rows"), KINDS, ids=["image", "audio"])
def test_channels_that_say_nothing_are_left_out(build, column, rows, monkeypatch) -> None:
    monkeypatch.setattr("volano.compression._narrower.STEP", 1)
    network, split = build(), rows(12)
    for stage in network.encoders[0].net.stages:
        # Both ways into a sum have to leave out the same channels.
        assert not isinstance(stage.shortcut, nn.Identity)
    alive(network, 1.0)
    for stage in network.encoders[0].net.stages:
        half = len(stage.second.norm.weight) // 2
        for norm in (stage.second.norm, stage.shortcut.norm, stage.first.norm):
            norm.weight.data[half:] = 0
            norm.bias.data[half:] = 0
    for conv in network.encoders[0].net.stem:
        half = len(conv.norm.weight) // 2
        conv.norm.weight.data[half:] = 0
        conv.norm.bias.data[half:] = 0
    # What the last norm makes of a channel that is always 0, the head must not see.
    last = network.encoders[0].net.last
    last.bias.data[len(last.bias) // 2 :] = 0
    last.running_mean[len(last.bias) // 2 :] = 0
    teacher, work = compact(network, column), Classroom()
    distil = compression_pass("distil")
    assert distil.suits(teacher, work) is None
    settings = [each for each in distil.settings(teacher, work) if each["student"] == "narrow"]
    assert settings[0]["channels"] == 0.5
    made = distil.apply(teacher, work, settings[0])
    assert made.model.num_weights() < 0.4 * network.num_weights()
    np.testing.assert_allclose(answers(made, split), answers(teacher, split), atol=1e-4)
    assert work.trained == [settings[0]["epochs"]]


def test_some_look_at_every_other_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volano.compression._narrower.STEP", 1)
    network, split = picture_network(), pictures(12)
    teacher, work = compact(network, Pixels()), Classroom()
    found = [each for each in _narrower.settings(teacher, work) if each.get("stride") == 2]
    assert [_narrower.label(each) for each in found] == [
        "narrow67-s2",
        "narrow50-s2",
        "narrow33-s2",
    ]
    student, _ = _narrower.build(teacher, work, found[0])
    assert student.encoders[0].config()["strides"] == [2]
    assert network.encoders[0].config()["strides"] == [1]
    small = Compact(teacher.inputs, graph_of(student.eval(), teacher.inputs), student)
    assert answers(small, split).shape == (12, 2)
    coarse = compact(student, Pixels())
    assert not any("stride" in each for each in _narrower.settings(coarse, work))


@pytest.mark.parametrize(("build", "column", "rows"), KINDS, ids=["image", "audio"])
def test_kernels_are_kept_in_8_bits(build, column, rows, monkeypatch) -> None:
    monkeypatch.setattr("volano.compression.int8.SMALLEST_KERNEL", 64)
    network, split = build(), rows(12)
    alive(network, 1.0)
    teacher, work = compact(network, column), Classroom()
    small = compression_pass("int8")
    assert small.suits(teacher, work) is None
    before = teacher.graph.SerializeToString()
    monkeypatch.setattr(work, "calibration", lambda inputs: _NoRows())
    made = small.apply(teacher, work, {})
    assert teacher.graph.SerializeToString() == before
    weights = sum(np.prod(item.dims) for item in teacher.graph.graph.initializer)
    saved = teacher.graph.ByteSize() - made.graph.ByteSize()
    assert saved > 1.2 * weights, "most of the weights are kernels"
    wanted, found = answers(teacher, split), answers(made, split)
    assert np.sqrt(np.mean((wanted - found) ** 2)) < 0.05 * wanted.std()


class _NoRows:
    batches = ()


def test_a_net_that_cannot_be_narrower_says_so() -> None:
    why = compression_pass("distil").suits(compact(picture_network(), Pixels()), Classroom())
    assert why is not None
    assert "as narrow as it can be" in why


class Answering(Classroom):
    """With a teacher of numbers."""

    task = "regression"

    def lessons(self, inputs: Any) -> Any:
        split = pictures(40)
        bright = 1000 + 7.0 * split.target.astype(np.float32)
        return EncodedSplit(split.columns, np.stack([bright, bright], axis=1)), split


def pretrained(num_outputs: int = 2) -> Compact:
    encoder = PretrainedImageEncoder(EfficientNetLite(TINY_LITE), ([127.0] * 3, [64.0] * 3))
    network, column = Network(("photo",), [encoder], num_outputs), Pixels(channels=3)
    return Compact({"photo": column}, None, network)  # type: ignore[arg-type, dict-item]


def test_a_pretrained_net_of_photos_teaches_one_from_scratch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, work = pretrained(), Classroom()
    assert _photo_nets.suits(teacher) == "its net of photos is small already"
    monkeypatch.setattr(_photo_nets, "LEAST_GAIN", 1e-9)
    assert _photo_nets.suits(teacher) is None
    settings = _photo_nets.settings(teacher, work)
    assert [each["channels"] for each in settings] == [24, 16, 32]
    assert _photo_nets.label(settings[0]) == "net24"
    student, inputs = _photo_nets.build(teacher, work, settings[1])
    assert inputs == teacher.inputs
    assert student.encoders[0].config()["widths"] == [16, 32, 64]
    assert student.encoders[0].config()["channels"] == 3
    assert student.head.out_features == 2
    assert student_plan(student, 1000, epochs=3, train=TrainSpec(seed=0)).optimiser == "sgd"


def test_it_answers_with_numbers_in_the_teachers_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_photo_nets, "LEAST_GAIN", 1e-9)
    student, _ = _photo_nets.build(pretrained(1), Answering(), {"channels": 16})
    assert 1000 < float(student.shift) < 1007
    assert 0 < float(student.scale) < 7


def test_other_inputs_have_no_such_student() -> None:
    assert _photo_nets.suits(compact(picture_network(), Pixels())) == (
        "its net of photos is none that was trained before"
    )
    assert _photo_nets.suits(compact(sound_network(), Waves())) == "photos are not all there is"


def test_beside_a_transformer_a_narrow_net_learns_at_careful_rates() -> None:
    both = Network(("photo", "text"), [*picture_network().encoders, *text_network()[0].encoders], 2)
    plan = student_plan(both, 1000, epochs=3, train=TrainSpec(seed=0))
    assert plan.optimiser == "adamw"
    assert plan.learning_rate < 1e-3
