"""Weights that are pruned: against slow references, in graphs, and packed into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import text_graph
from onnx import TensorProto, helper, numpy_helper

import volano
from volano.columns.category import FittedCategory
from volano.columns.text import FittedText, train_tokenizer
from volano.compression import Calibration, Compact, compression_pass
from volano.compression._pruning import DAMPING, pruned
from volano.export import write_bundle
from volano.tasks.classification import Classification
from volano.testing import GraphWork

METHODS = ("magnitude", "wanda", "sparsegpt")
ZEROS: tuple[Any, ...] = ((2, 4), (4, 8), 0.5)


def product(num_inputs: int, num_outputs: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Inputs that go together, of unlike size, and weights."""
    random = np.random.default_rng(0)
    mixed = random.normal(0, 1, (400, num_inputs)) @ random.normal(0, 1, (num_inputs, num_inputs))
    rows = mixed * random.lognormal(0, 1, num_inputs)
    weight = random.normal(0, 1, (num_outputs, num_inputs)).astype(np.float32)
    return rows, weight


def surgeon(weight: np.ndarray, gram: np.ndarray, zeros: Any) -> np.ndarray:
    """SparseGPT one input at a time, each with an inverse of its own.

    W_i,k -= W_ij / inv(G)_jj inv(G)_jk      with G of the inputs from j on
    """
    left = weight.astype(np.float64)
    gram = gram + DAMPING * np.diag(gram).mean() * np.eye(len(gram))
    size = len(gram)
    inverses = [np.linalg.inv(gram[place:, place:]) for place in range(size)]
    spread = np.array([inverse[0, 0] for inverse in inverses])
    gone = np.zeros(left.shape, bool)
    if not isinstance(zeros, tuple):
        scores = left**2 / spread
        gone.flat[np.argsort(scores, axis=None)[: round(zeros * left.size)]] = True
    for j in range(size):
        for i in range(len(left)):
            if isinstance(zeros, tuple) and j % zeros[1] == 0:
                group = list(range(j, min(size, j + zeros[1])))
                stay = -(-len(group) * zeros[0] // zeros[1])
                order = sorted(group, key=lambda k: -(left[i, k] ** 2) / spread[k])
                gone[i, order[stay:]] = True
            if gone[i, j]:
                left[i, j:] -= left[i, j] / spread[j] * inverses[j][0]
                left[i, j] = 0
    return left


@pytest.mark.parametrize("zeros", ZEROS, ids=str)
@pytest.mark.parametrize("num_inputs", [24, 30])
def test_the_others_move_as_a_surgeon_moves_them(num_inputs: int, zeros: Any) -> None:
    rows, weight = product(num_inputs)
    gram = rows.T @ rows
    found = pruned(weight, gram, "sparsegpt", zeros)
    np.testing.assert_allclose(found, surgeon(weight, gram, zeros), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("zeros", ZEROS[:2], ids=str)
def test_blocks_change_nothing(zeros: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, weight = product(48)
    gram = rows.T @ rows
    whole = pruned(weight, gram, "sparsegpt", zeros)
    monkeypatch.setattr("volano.compression._pruning.BLOCK", 16)
    np.testing.assert_allclose(pruned(weight, gram, "sparsegpt", zeros), whole, rtol=1e-4)


@pytest.mark.parametrize("zeros", ZEROS, ids=str)
def test_what_is_seen_of_the_inputs_helps(zeros: Any) -> None:
    rows, weight = product(64, 40)
    gram = rows.T @ rows
    errors = []
    for method in METHODS:
        left = pruned(weight, gram, method, zeros)
        assert (left == 0).mean() == 0.5
        if isinstance(zeros, tuple):
            stay, of = zeros
            assert ((left.reshape(-1, of) != 0).sum(axis=1) == stay).all()
        errors.append(np.square(rows @ (left - weight).T).sum())
    magnitude, wanda, sparsegpt = errors
    assert sparsegpt < wanda < magnitude


def test_scores_by_hand() -> None:
    weight = np.array([[3.0, -1.0, 2.0, 0.5], [0.1, 0.2, -0.3, 0.4]], np.float32)
    gram = np.diag([1.0, 100.0, 1.0, 100.0])
    found = {
        (method, str(zeros)): (pruned(weight, gram, method, zeros) != 0).astype(int).tolist()
        for method in METHODS[:2]
        for zeros in ((2, 4), 0.5)
    }
    assert found == {
        ("magnitude", "(2, 4)"): [[1, 0, 1, 0], [0, 0, 1, 1]],
        ("magnitude", "0.5"): [[1, 1, 1, 1], [0, 0, 0, 0]],
        ("wanda", "(2, 4)"): [[0, 1, 0, 1], [0, 1, 0, 1]],
        ("wanda", "0.5"): [[0, 1, 0, 1], [0, 1, 0, 1]],
    }, "inputs that are ten times as large make small weights count"


def test_inputs_that_are_never_there_cost_nothing() -> None:
    _, weight = product(24)
    rows = np.random.default_rng(1).normal(0, 1, (400, 24))
    rows[:, ::2] = 0
    gram = rows.T @ rows
    left = pruned(weight, gram, "sparsegpt", (2, 4))
    lost = np.square(rows @ (left - weight).T).sum() / np.square(rows @ weight.T).sum()
    assert lost < 1e-3
    nothing = pruned(weight, np.zeros((24, 24)), "sparsegpt", (2, 4))
    np.testing.assert_allclose(nothing, pruned(weight, gram, "magnitude", (2, 4)), rtol=1e-6)


@pytest.fixture(scope="module")
def column() -> FittedText:
    return FittedText("text", train_tokenizer(["good tea", "bad tea"] * 9, 300), 24)


@pytest.fixture(scope="module")
def bert() -> onnx.ModelProto:
    return text_graph()


def feeds(number: int, seed: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [
        {"text.ids": random.integers(1, 60, (8, 9)), "text.mask": np.ones((8, 9), np.int64)}
        for _ in range(number)
    ]


def answers(graph: onnx.ModelProto, batches: list[dict[str, np.ndarray]]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run(None, batch)[0] for batch in batches])


def compressed(graph: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    work, model = GraphWork(Calibration(feeds(12, 0))), Compact({}, graph)
    for name in names:
        each = compression_pass(name)
        assert each.suits(model, work) is None
        model = each.apply(model, work, each.settings(model, work)[0])
    return model.graph


def test_all_large_products_of_a_transformer_are_pruned(bert: onnx.ModelProto) -> None:
    made = compressed(bert, "sparse")
    before = {item.name: item for item in bert.graph.initializer}
    shapes = []
    for item in made.graph.initializer:
        if item != before[item.name]:
            groups = numpy_helper.to_array(item).T.reshape(-1, 4)
            assert ((groups != 0).sum(axis=1) == 2).all(), "along the inputs"
            shapes.append(tuple(item.dims))
    assert sorted(set(shapes)) == [(64, 64), (64, 192), (64, 256), (256, 64)]
    assert len(shapes) == 8, "and no table of tokens"
    wanted, found = answers(bert, feeds(4, 1)), answers(made, feeds(4, 1))
    assert 0 < np.sqrt(np.mean((wanted - found) ** 2)) < 0.5 * wanted.std()


def test_what_flows_into_products_is_seen() -> None:
    """One matrix used twice, and one with a row for each output, against plain numpy."""
    random = np.random.default_rng(0)
    first, second = (random.normal(0, 1, (64, 64)).astype(np.float32) for _ in range(2))
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("MatMul", ["a", "first"], ["b"]),
        helper.make_node("Gemm", ["b", "second"], ["y"], transB=1),
    ]
    shape = ["rows", 64]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    x = random.normal(0, random.lognormal(0, 1, 64), (90, 64)).astype(np.float32)
    a = x @ first
    b = a @ first
    work = GraphWork(Calibration([{"x": x[:50]}, {"x": x[50:]}]))
    settings = {"method": "wanda", "share": 0.5}
    made = compression_pass("sparse").apply(Compact({}, model), work, settings).graph
    left = {item.name: numpy_helper.to_array(item) for item in made.graph.initializer}
    wanted = pruned(first.T, x.T @ x + a.T @ a, "wanda", 0.5).T
    np.testing.assert_array_equal(left["first"] != 0, wanted != 0)
    np.testing.assert_array_equal(left["second"], pruned(second, b.T @ b, "wanda", 0.5))


def test_reports_name_what_was_done() -> None:
    sparse = compression_pass("sparse")
    names = [sparse.label(each) for each in sparse.settings(Compact({}, None), None)]  # type: ignore[attr-defined, arg-type]
    assert names == ["sparse2of4", "sparse4of8", "sparse50", "sparse4of8-wanda"]


def test_without_products_or_rows_it_says_so(bert: onnx.ModelProto) -> None:
    sparse, pack = compression_pass("sparse"), compression_pass("pack")
    model, work = Compact({}, compressed(bert, "int8")), GraphWork(Calibration([]))
    assert "no large multiplication" in str(sparse.suits(model, work))
    assert "enough zeros" in str(pack.suits(Compact({}, bert), work))
    with pytest.raises(ValueError, match="no rows on which to see"):
        sparse.apply(Compact({}, bert), work, {"method": "wanda", "share": 0.5})


@pytest.mark.parametrize("before", [("sparse",), ("sparse", "int8")], ids="-".join)
def test_a_packed_graph_answers_the_same_bit_by_bit(
    bert: onnx.ModelProto, before: tuple[str, ...]
) -> None:
    dense = compressed(bert, *before)
    work, pack = GraphWork(Calibration([])), compression_pass("pack")
    made = pack.apply(Compact({}, dense), work, {}).graph
    onnx.checker.check_model(made, full_check=False)
    np.testing.assert_array_equal(answers(made, feeds(5, 2)), answers(dense, feeds(5, 2)))
    pruned_bytes = sum(
        len(item.raw_data)
        for item in dense.graph.initializer
        if len(item.dims) == 2 and (numpy_helper.to_array(item) == 0).mean() > 0.45
    )
    itemsize = 1 if "int8" in before else 4
    # Half of the numbers, and a bit for each.
    wanted = dense.ByteSize() - pruned_bytes * (1 / 2 - 1 / 8 / itemsize)
    assert made.ByteSize() < wanted + 16_000
    assert made.ByteSize() < dense.ByteSize()
    assert pack.suits(Compact({}, made), work) is not None, "once is enough"


def test_constants_are_put_together_when_the_graph_is_loaded(
    bert: onnx.ModelProto, tmp_path: Path
) -> None:
    made = compressed(bert, "sparse", "int8", "pack")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    loaded = onnx.load(tmp_path / "loaded.onnx")
    assert not {node.op_type for node in loaded.graph.node} & {"CumSum"}
    dense = compressed(bert, "sparse", "int8")
    wanted = {item.name: item for item in dense.graph.initializer if item.name.endswith(".i8")}
    there = {item.name: item for item in loaded.graph.initializer}
    for name, item in wanted.items():
        np.testing.assert_array_equal(
            numpy_helper.to_array(there[name]), numpy_helper.to_array(item)
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8])
@pytest.mark.parametrize("shape", [(8001,), (3, 5, 777)])
def test_any_constant_comes_back(dtype: Any, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    values = (random.normal(0, 50, shape) % 100).astype(dtype) * (random.random(shape) < 0.2)
    values = values.astype(dtype)
    if np.issubdtype(dtype, np.floating):
        values.flat[0] = -0.0
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", element, list(shape))],
        [numpy_helper.from_array(values, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    made = compression_pass("pack").apply(Compact({}, model), GraphWork(Calibration([])), {}).graph
    assert made.ByteSize() < model.ByteSize()
    found = answers(made, [{}])
    assert found.dtype == dtype
    assert found.tobytes() == values.tobytes()


def test_a_bundle_answers_through_the_runtime(
    bert: onnx.ModelProto, column: FittedText, tmp_path: Path
) -> None:
    names = FittedCategory("mood", tuple("abcdef"))
    found = {}
    for passes in (("sparse",), ("sparse", "pack")):
        folder = tmp_path / passes[-1]
        write_bundle(
            folder,
            name="mood",
            inputs={"text": column},
            target=names,
            task=Classification(names.names, 1.0),
            graph=compressed(bert, *passes).SerializeToString(),
            details={"precision": "-".join(passes)},
        )
        said = volano.load(folder).predict([{"text": "good tea"}, {"text": "bad"}])
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found[passes[-1]] = (size, [(each.value, each.probability) for each in said])
    assert found["pack"][1] == found["sparse"][1]
    assert found["pack"][0] < 0.7 * found["sparse"][0]
