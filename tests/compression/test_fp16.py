"""fp16: half the bytes, the same operators once loaded, and nothing that 16 bits cannot say."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graphs import (
    answers,
    apart,
    constants,
    feeds,
    graph_from,
    kinds,
    product_graph,
    text_graph,
)
from onnx import TensorProto, helper, numpy_helper

from volano.compression import Calibration, Compact, compression_pass
from volano.compression.fp16 import halved
from volano.testing import GraphWork

WORK = GraphWork(Calibration(feeds(6, 0)))


@pytest.fixture(scope="module")
def text() -> onnx.ModelProto:
    return text_graph()


def made_by(kind: str, graph: onnx.ModelProto, **settings: object) -> onnx.ModelProto:
    return compression_pass(kind).apply(Compact({}, graph), WORK, settings).graph


def loaded(graph: onnx.ModelProto, folder: Path) -> collections.Counter[str]:
    """The operators that are left once onnxruntime has opened a graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return collections.Counter(kinds(onnx.load(folder / "loaded.onnx")))


VALUES = np.concatenate(
    [
        np.random.default_rng(0).normal(0, 3, 500).astype(np.float32),
        # Half-way between two numbers of 16 bits: to the even one.
        np.array([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 0.0, -0.0], np.float32),
    ]
)


@pytest.mark.parametrize(
    ("form", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)], ids=["fp16", "bf16"]
)
def test_bits_are_those_of_torch(form: str, dtype: torch.dtype):
    found = halved(VALUES, form)
    assert found is not None
    wanted = torch.from_numpy(VALUES).to(dtype).view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("fp16", 65504.0, True),
        ("fp16", 70000.0, False),
        ("fp16", -70000.0, False),
        ("bf16", 70000.0, True),
        ("bf16", 3.4e38, False),
        ("fp16", 1e-4, True),
        ("fp16", 1.1e-7, False),
        ("bf16", 1.1e-7, True),
        ("fp16", np.nan, False),
        ("bf16", np.inf, False),
    ],
)
def test_what_16_bits_cannot_say_is_refused(form: str, value: float, said: bool):
    values = np.full(300, value, np.float32)
    assert (halved(values, form) is not None) == said


@pytest.mark.parametrize("form", ["fp16", "bf16"])
def test_half_the_bytes_and_the_same_operators_once_loaded(text, form: str, tmp_path: Path):
    settings = {} if form == "fp16" else {"format": form}
    before = text.SerializeToString(deterministic=True)
    made = made_by("fp16", text, **settings)
    assert text.SerializeToString(deterministic=True) == before, "the given graph was changed"
    onnx.checker.check_model(made, full_check=False)
    assert made.ByteSize() < 0.53 * text.ByteSize()
    assert loaded(made, tmp_path) == loaded(text, tmp_path), "Casts of constants are folded"
    # What it answers is what the graph answers with the weights that 16 bits say.
    dtype = torch.float16 if form == "fp16" else torch.bfloat16
    rounded = onnx.ModelProto()
    rounded.CopyFrom(text)
    for item in rounded.graph.initializer:
        values = numpy_helper.to_array(item)
        if item.data_type == TensorProto.FLOAT and values.size >= 256:
            said = torch.from_numpy(values.copy()).to(dtype).float().numpy()
            item.CopyFrom(numpy_helper.from_array(said, item.name))
    wanted = answers(rounded, feeds(5, 1))
    np.testing.assert_allclose(answers(made, feeds(5, 1)), wanted, atol=1e-5)
    assert apart(answers(text, feeds(5, 1)), wanted) < (0.002 if form == "fp16" else 0.02)


@pytest.mark.parametrize("before", ["int8", "int4"])
def test_what_other_passes_leave_in_32_bits(text, before: str, tmp_path: Path):
    small = made_by(before, text)
    made = made_by("fp16", small)
    saved = small.ByteSize() - made.ByteSize()
    left = sum(values.size for values in constants(small).values() if values.dtype == np.float32)
    assert saved > left, "two bytes of each, but for small ones and for the Casts"
    assert loaded(made, tmp_path) == loaded(small, tmp_path)
    wanted = answers(text, feeds(5, 1))
    lost = [apart(wanted, answers(graph, feeds(5, 1))) for graph in (small, made)]
    assert lost[1] < 1.1 * lost[0] + 0.001


def test_a_weight_beyond_the_range_stays_and_the_others_do_not():
    random = np.random.default_rng(1)
    weights = {name: random.normal(0, 1, (64, 64)).astype(np.float32) for name in ("u", "v")}
    weights["v"][3, 5] = 1e6
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="second"),
    ]
    shapes = {"x": (np.float32, ["rows", 64])}
    graph = graph_from(nodes, weights, shapes, {"y": ["rows", 64]})
    assert sorted(constants(made_by("fp16", graph))) == ["u.fp16", "v"]
    assert sorted(constants(made_by("fp16", graph, format="bf16"))) == ["u.bf16", "v.bf16"]


def test_a_weight_that_only_a_branch_reads_is_still_there():
    weight = np.random.default_rng(2).normal(0, 1, (1, 300)).astype(np.float32)

    def branch(name: str, operator: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 300])
        return helper.make_graph([helper.make_node(operator, ["w"], [name])], name, [], [out])

    branches = {"then_branch": branch("a", "Neg"), "else_branch": branch("b", "Abs")}
    nodes = [helper.make_node("If", ["which"], ["y"], name="if", **branches)]
    graph = graph_from(nodes, {"w": weight}, {"which": (np.bool_, [])}, {"y": [1, 300]})
    made = made_by("fp16", graph)
    for which in (True, False):
        feed = [{"which": np.array(which)}]
        np.testing.assert_allclose(answers(made, feed), answers(graph, feed), atol=0.003)


def test_graphs_that_it_can_do_nothing_for(text):
    half = compression_pass("fp16")
    why = half.suits(Compact({}, product_graph(8, 8)), WORK)
    assert why is not None
    assert "no weights in 32 bits" in why
    assert half.suits(Compact({}, made_by("fp16", text)), WORK) is not None, "once is enough"
    why = half.suits(Compact({}, product_graph(64, 64, spread=1e9)), WORK)
    assert why is not None
    assert "beyond the range" in why
