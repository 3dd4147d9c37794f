"""Layers that learn with their rounding: as int8 rounds, and to bear it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from classroom import TEXTS, Classroom, network, run
from onnx import TensorProto, helper

from volano.columns import EncodedSplit
from volano.compression import Compact, compression_pass
from volano.compression._rewrite import SMALLEST_WEIGHT
from volano.compression._search import Measured, search
from volano.compression.int8 import WEIGHT_LEVELS, smoothing_factors
from volano.compression.qat import QatPass, _limits
from volano.export import graph_of
from volano.models import Network
from volano.spec import TrainSpec
from volano.training import Rounding, distil_objective, fit, plan_training
from volano.training._rounding import rounded, rounded_weight


def through_onnx(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Into 8 bits and back by ONNX's own operators."""
    scale = (high - low) / 255
    zero = round(-low / scale)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "both",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
            helper.make_tensor("zero", TensorProto.UINT8, [], [zero]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": values})[0])


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, 3.0), (-0.5, 0.0)])
def test_activations_are_rounded_as_onnx_rounds_them(low: float, high: float) -> None:
    values = np.random.default_rng(0).normal(0, 1.5, 1000).astype(np.float32)
    given = torch.from_numpy(values).requires_grad_()
    made = rounded(given, low, high)
    np.testing.assert_allclose(made.detach().numpy(), through_onnx(values, low, high), atol=1e-6)
    made.sum().backward()
    inside = (values > low + 0.01) & (values < high - 0.01)
    outside = (values < low - 0.01) | (values > high + 0.01)
    assert given.grad is not None
    np.testing.assert_allclose(given.grad.numpy()[inside], 1.0, rtol=1e-5)
    assert (given.grad.numpy()[outside] == 0).all(), "what lies beyond the range learns nothing"


def test_weights_are_rounded_row_by_row() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.26], [10.0, 3.0, 0.0]], requires_grad=True)
    made = rounded_weight(weight, 2)
    torch.testing.assert_close(made, torch.tensor([[1.0, -0.5, 0.5], [10.0, 5.0, 0.0]]))
    made.sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones(2, 3))


def sharp() -> tuple[Network, Any]:
    """A network with some large channels, which rounding hurts."""
    model, column = network(layers=2, width=64)
    with torch.no_grad():
        for layer in model.encoders[0].transformer.encoder.layer:
            for part in (layer.intermediate.dense, layer.output.dense):
                part.weight *= 20
        model.head.weight *= 10
    return model, column


def answers(model: Network, batch: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        found = model.eval()({name: torch.from_numpy(values) for name, values in batch.items()})
    return np.asarray(found.numpy())


def test_a_rounding_network_answers_as_its_graph_in_8_bits() -> None:
    model, column = sharp()
    inputs, work = {"text": column}, Classroom(TEXTS)
    plain = Compact(inputs, graph_of(model, inputs), model)
    small = run(compression_pass("int8").apply(plain, work, {}), TEXTS)
    batches = work.calibration(inputs).batches
    before = answers(model, batches[0])
    rounding = Rounding(
        model,
        batches,
        levels=WEIGHT_LEVELS,
        smallest=SMALLEST_WEIGHT,
        factors=smoothing_factors,
        limits=_limits,
    )
    with rounding:
        during = answers(model, batches[0])
    lost = np.abs(small - before).max()
    assert lost > 1e-3
    assert np.abs(small - during).max() < 0.5 * lost
    np.testing.assert_array_equal(answers(model, batches[0]), before)
    assert all(
        type(part) is not type(model.head) or not hasattr(part, "low") for part in model.modules()
    )


def test_what_is_lost_by_rounding_is_learned_again(tmp_path: Path) -> None:
    model, column = sharp()
    inputs = {"text": column}
    encoded = column.encode(TEXTS * 40)
    batches = Classroom(TEXTS).calibration(inputs).batches
    wanted = np.tile(answers(model, batches[0]), (40, 1))
    target = np.concatenate([wanted, np.full((len(wanted), 1), -1)], axis=1).astype(np.float32)
    split = EncodedSplit({"text": encoded}, target)
    # Few levels: a small network of six rows bears 8 bits as it is.
    rounding = Rounding(model, batches, levels=2, factors=smoothing_factors, limits=_limits)
    names = {name: value.clone() for name, value in model.state_dict().items()}
    with rounding:
        lost = np.abs(answers(model, batches[0]) - wanted[: len(TEXTS)]).mean()
        plan = plan_training(TrainSpec(epochs=8), num_rows=len(wanted), pretrained=True)
        fit(
            model,
            inputs,
            split,
            split,
            plan,
            aim=distil_objective("classification"),
            scratch=tmp_path,
        )
        left = np.abs(answers(model, batches[0]) - wanted[: len(TEXTS)]).mean()
    assert left < 0.5 * lost
    assert model.state_dict().keys() == names.keys()


def test_the_pass_teaches_a_copy_its_own_answers() -> None:
    model, column = sharp()
    inputs, work = {"text": column}, Classroom(TEXTS)
    teacher = Compact(inputs, graph_of(model, inputs), model)
    qat = QatPass()
    assert qat.suits(teacher, work) is None
    seen: list[Any] = []

    class Watching(Classroom):
        def train(
            self, model: Any, inputs: Any, *, epochs: int, teacher: Any = None, match: str = ""
        ) -> None:
            layer = model.encoders[0].transformer.encoder.layer[0]
            seen.append((model, teacher, type(layer.output.dense).__name__))

    made = qat.apply(teacher, Watching(TEXTS), qat.settings(teacher, work)[0])
    ((learned, known, kind),) = seen
    assert learned is not model
    assert known is model
    assert kind == "_RoundedLinear", "it rounds while it learns"
    layer = made.model.encoders[0].transformer.encoder.layer[0]
    assert type(layer.output.dense) is torch.nn.Linear
    np.testing.assert_allclose(run(made, TEXTS), run(teacher, TEXTS), atol=1e-5)


class Costly:
    """Changes a graph, and stands for a pass that loses something."""

    name, version, makes = "costly", 1, "graph"

    def suits(self, model: Any, work: Any) -> None:
        return None

    def settings(self, model: Any, work: Any) -> tuple[dict[str, Any], ...]:
        return ({},)

    def apply(self, model: Compact, work: Any, settings: Any) -> Compact:
        return Compact(model.inputs, model.graph)


class Mending(Costly):
    name, makes = "mending", "recovery"

    def apply(self, model: Compact, work: Any, settings: Any) -> Compact:
        return model


@pytest.mark.parametrize("lost", [0.001, 0.01])
def test_a_recovery_is_tried_where_something_was_lost(
    lost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = {"mending": Mending(), "costly": Costly()}
    monkeypatch.setattr("volano.compression._search.compression_pass", passes.__getitem__)
    model, column = network()
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)

    def measure(attempt: Any) -> Measured:
        return Measured(0.9 - (lost if attempt.name == "costly" else 0), 1, 1.0)

    known = Measured(0.9, 2, 1.0)
    found = search(
        teacher, Classroom(TEXTS), ["mending", "costly"], measure, known=known, long=False
    )
    names = {each.name: each.error for each in found}
    if lost < 0.002:
        assert list(names) == ["costly", "mending"]
        assert "not needed" in str(names["mending"])
    else:
        assert list(names) == ["costly", "mending", "mending-costly"]
        assert names["mending"] is None
