"""int8 graphs: close to fp32, smaller, independent of their neighbours; and how one is chosen."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import answers, apart, feeds, text_graph

from volano.compression import (
    Calibration,
    Candidate,
    Compact,
    Goal,
    choose,
    compression_pass,
    pass_kinds,
    pass_version,
)
from volano.errors import SpecError
from volano.testing import GraphWork


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return text_graph()


def int8(graph: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    return compression_pass("int8").apply(Compact({}, graph), GraphWork(calibration), {}).graph


def test_int8_is_close_smaller_and_the_same_each_time(graph):
    calibration = Calibration(feeds(16, 0))
    before = graph.SerializeToString(deterministic=True)
    small = int8(graph, calibration)
    assert graph.SerializeToString(deterministic=True) == before, "the given graph was changed"
    again = int8(graph, calibration)
    assert small.SerializeToString(deterministic=True) == again.SerializeToString(
        deterministic=True
    )
    assert small.ByteSize() < 0.4 * graph.ByteSize()
    onnx.checker.check_model(graph, full_check=False)
    wanted, found = answers(graph, feeds(10, 1)), answers(small, feeds(10, 1))
    assert apart(wanted, found) < 0.15
    kinds = {node.op_type for node in small.graph.node}
    assert {"QAttention", "MatMulIntegerToFloat"} <= kinds


def test_an_answer_does_not_depend_on_the_rows_beside_it(graph):
    small = int8(graph, Calibration(feeds(16, 0)))
    batch = feeds(1, 3)[0]
    rows = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(8)]
    np.testing.assert_allclose(answers(small, [batch]), answers(small, rows), atol=1e-5)


def test_a_graph_without_products_is_refused():
    from volano.export._graph import GraphWriter

    writer = GraphWriter()
    value = writer.input("x", np.float32, ["rows", 2])
    model = writer.model({"y": (writer.node("Relu", [value]), np.float32, ["rows", 2])})
    why = compression_pass("int8").suits(Compact({}, model), GraphWork(Calibration([])))
    assert why is not None
    assert "no multiplication with weights" in why


def test_unknown_passes_name_the_nearest():
    assert pass_kinds() == [
        "distil", "fp16", "fuse", "int4", "int8", "low_rank", "pack", "qat", "sparse", "vocabulary",
    ]  # fmt: skip
    assert all(pass_version(kind) == compression_pass(kind).version for kind in pass_kinds())
    with pytest.raises(SpecError, match=r"(?s)no compression pass 'int9'.*Did you mean int8"):
        compression_pass("int9")


def candidate(name: str, size: int, scores: list[float] | None) -> Candidate:
    return Candidate(name, size, None if scores is None else np.array(scores))


def test_the_smallest_that_is_not_worse_ships():
    good = [1.0] * 400 + [0.0] * 100
    chosen, table = choose(
        [candidate("fp32", 90, good), candidate("int8", 23, good), candidate("tiny", 50, good)],
        Goal(0.005),
    )
    assert chosen == 1
    assert [row["chosen"] for row in table] == [False, True, False]


def test_an_int8_graph_that_loses_too_much_is_refused():
    good = [1.0] * 450 + [0.0] * 50
    bad = [1.0] * 425 + [0.0] * 75
    chosen, table = choose([candidate("fp32", 90, good), candidate("int8", 23, bad)], Goal(0.005))
    assert chosen == 0
    assert not table[1]["passed"]
    assert "loses 5.00%" in table[1]["refused"]


def test_a_pass_that_failed_or_cannot_be_compared_does_not_ship():
    failed = Candidate("int8", 0, None, {"refused": "failed: an operator is missing"})
    chosen, table = choose([candidate("fp32", 90, [1.0, 0.0]), failed], Goal(0.5))
    assert chosen == 0
    assert table[1]["refused"].startswith("failed")
    chosen, table = choose([candidate("fp32", 90, []), candidate("int8", 23, [])], Goal(0.5))
    assert chosen == 0
    assert "no validation rows" in table[1]["refused"]
