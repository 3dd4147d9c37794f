"""int4 graphs: codes against numpy, answers against the weights that the codes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import answers, apart, constants, feeds, graph_from, kinds, product_graph, text_graph
from onnx import helper, numpy_helper

from volano.compression import Attempt, Calibration, Compact, Measured, compression_pass, search
from volano.compression.int4 import SHARES, blocks_of, packed
from volano.testing import GraphWork

WORK = GraphWork(Calibration([]))
"""Nothing is looked at but the weights."""


@pytest.fixture(scope="module")
def text() -> onnx.ModelProto:
    return text_graph()


def int4(graph: onnx.ModelProto, **settings: object) -> onnx.ModelProto:
    return compression_pass("int4").apply(Compact({}, graph), WORK, settings).graph


def said(weights: np.ndarray, block: int) -> np.ndarray:
    """The weights that the codes of `blocks_of` say, cut along the last axis."""
    codes, scales = blocks_of(weights, block)
    found = (codes.astype(np.float32) - 8) * scales.astype(np.float32)[..., None]
    return found.reshape(len(weights), -1)[:, : weights.shape[1]]


def slow(block: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes and scale of one block by trying all scales one after the other."""
    extreme = max(block.tolist(), key=abs)
    best = None
    for share in SHARES:
        scale = np.float32(np.float16(np.float32(extreme) * np.float32(-share / 8)))
        steps = [min(7, max(-8, round(float(value / scale)))) for value in block]
        error = sum((np.float64(steps) * float(scale) - block.astype(np.float64)) ** 2)
        if best is None or error < best[0] - 1e-9:
            best = (error, np.array(steps) + 8, float(scale))
    assert best is not None
    return best[1], best[2]


def test_codes_are_those_of_the_least_squared_error():
    weights = np.random.default_rng(0).normal(0, 0.1, (5, 96)).astype(np.float32)
    codes, scales = blocks_of(weights, 32)
    assert codes.shape == (5, 3, 32)
    assert scales.dtype == np.float16
    for row in range(5):
        for place in range(3):
            block = weights[row, 32 * place : 32 * (place + 1)]
            wanted, scale = slow(block)
            np.testing.assert_array_equal(codes[row, place], wanted)
            assert scales[row, place] == np.float16(scale)


def test_the_search_for_a_scale_loses_less_than_the_largest_weight_alone():
    weights = np.random.default_rng(1).normal(0, 1, (64, 256)).astype(np.float32)
    blocks = weights.reshape(64, 8, 32)
    place = np.abs(blocks).argmax(-1)[..., None]
    scale = np.take_along_axis(blocks, place, -1) / -8
    plain = (np.clip(np.round(blocks / scale), -8, 7) * scale).reshape(weights.shape)
    ours = np.square(said(weights, 32) - weights).mean()
    assert ours < 0.93 * np.square(plain - weights).mean()


def test_blocks_of_nothing_and_weights_beyond_16_bits():
    zeros = np.zeros((2, 40), np.float32)
    np.testing.assert_array_equal(said(zeros, 32), zeros)
    for size in (1e-9, 1e7):
        weights = np.random.default_rng(2).normal(0, size, (4, 64)).astype(np.float32)
        assert blocks_of(weights, 32)[1].dtype == np.float32
        assert apart(weights, said(weights, 32)) < 0.12


def test_two_codes_share_a_byte_the_first_in_its_lower_half():
    codes = np.array([[1, 2, 15, 0]], np.uint8)
    np.testing.assert_array_equal(packed(codes), [[0x21, 0x0F]])


@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("rows", [80, 256])
def test_a_product_is_that_with_the_weights_of_its_codes(rows: int, block: int):
    graph = product_graph(rows, 64)
    made = int4(graph, block=block, activations="fp32")
    assert kinds(made) == ["Cast", "MatMulNBits"], "the addition is part of the product"
    weights = constants(graph)
    block = block if rows % block == 0 else 32  # what is left over would be filled with zeros
    x = np.random.default_rng(3).normal(0, 1, (7, rows)).astype(np.float32)
    wanted = x @ said(np.ascontiguousarray(weights["w"].T), block).T + weights["b"]
    np.testing.assert_allclose(answers(made, [{"x": x}]), wanted, atol=1e-4)
    # Activations in 8 bits within the product move answers a little, and each row by itself.
    inside = int4(graph, block=block)
    found = answers(inside, [{"x": x}])
    assert apart(wanted, found) < 0.02
    alone = answers(inside, [{"x": x[row : row + 1]} for row in range(7)])
    np.testing.assert_allclose(found, alone, atol=1e-5)


@pytest.mark.parametrize(("width", "block"), [(64, 32), (48, 16), (20, None)])
def test_rows_of_a_table_are_those_of_its_codes(width: int, block: int | None):
    table = np.random.default_rng(4).normal(0, 1, (400, width)).astype(np.float32)
    ids = np.array([[0, 399, 7], [7, 20, 3]])
    nodes = [helper.make_node("Gather", ["t", "ids"], ["y"], name="rows")]
    shapes = {"ids": (np.int64, ["rows", 3])}
    graph = graph_from(nodes, {"t": table}, shapes, {"y": ["rows", 3, width]})
    if block is None:
        why = compression_pass("int4").suits(Compact({}, graph), WORK)
        assert why is not None
        assert "4 bits" in why
        return
    made = int4(graph)
    assert kinds(made) == ["Cast", "GatherBlockQuantized"]
    assert constants(made)["t.rows4"].nbytes == table.size / 2
    np.testing.assert_array_equal(answers(made, [{"ids": ids}]), said(table, block)[ids])


def with_said_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in fp32, with the weights that codes of 4 bits say."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    tables = {
        node.input[2] for node in graph.graph.node if node.op_type == "EmbedLayerNormalization"
    }
    products = {
        node.input[1] for node in graph.graph.node if node.op_type in ("MatMul", "Attention")
    }
    for item in changed.graph.initializer:
        values = numpy_helper.to_array(item)
        if item.name in tables:
            item.CopyFrom(numpy_helper.from_array(said(values, 32), item.name))
        elif item.name in products and values.size >= 4096:
            columns = said(np.ascontiguousarray(values.T), 32).T
            item.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(columns), item.name))
    return changed


def test_a_transformer_in_4_bits_is_that_with_the_weights_of_its_codes(text):
    before = text.SerializeToString(deterministic=True)
    exact = int4(text, activations="fp32")
    assert text.SerializeToString(deterministic=True) == before, "the given graph was changed"
    onnx.checker.check_model(exact, full_check=False)
    assert {"MatMulNBits", "GatherBlockQuantized", "MultiHeadAttention"} <= set(kinds(exact))
    assert not {"Attention", "EmbedLayerNormalization"} & set(kinds(exact))
    # Rows of unequal length, so that attention has something to leave out.
    batches = feeds(4, 1)
    for batch in batches:
        batch["text.mask"][::2, 2:] = 0
    wanted = answers(with_said_weights(text), batches)
    np.testing.assert_allclose(answers(exact, batches), wanted, atol=1e-4)


def test_a_transformer_in_4_bits_is_close_and_small(text):
    made = int4(text)
    assert made.SerializeToString(deterministic=True) == int4(text).SerializeToString(
        deterministic=True
    )
    assert made.ByteSize() < 0.2 * text.ByteSize()
    wanted, found = answers(text, feeds(10, 1)), answers(made, feeds(10, 1))
    assert apart(wanted, found) < 0.15
    batch = feeds(1, 3)[0]
    rows = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(8)]
    np.testing.assert_allclose(answers(made, [batch]), answers(made, rows), atol=1e-5)


def test_larger_blocks_take_fewer_bytes_and_lose_more(text):
    sizes = [int4(text, block=block).ByteSize() for block in (32, 64, 128)]
    assert sizes[0] > sizes[1] > sizes[2]
    weights = np.random.default_rng(5).normal(0, 1, (64, 256)).astype(np.float32)
    lost = [apart(weights, said(weights, block)) for block in (32, 64, 128)]
    assert lost[0] < lost[1] < lost[2]


def test_small_weights_stay_and_a_graph_of_them_is_refused(text):
    assert [item.dims for item in int4(text).graph.initializer if list(item.dims) == [64, 6]], (
        "the head is as it was"
    )
    pass_, small = compression_pass("int4"), Compact({}, product_graph(8, 8))
    why = pass_.suits(small, WORK)
    assert why is not None
    assert "no multiplication with weights" in why
    assert pass_.suits(Compact({}, int4(text)), WORK) is not None, "once is enough"


class Searched(GraphWork):
    """As a search asks for it."""

    deadline = float("inf")

    def at(self, name: str) -> None:
        del name


def test_a_bundle_in_4_bits_answers_as_its_graph(tmp_path: Path):
    import torch
    from transformers import BertConfig, BertModel

    from volano.columns.category import FittedCategory
    from volano.columns.text import FittedText, train_tokenizer
    from volano.export import graph_of, write_bundle
    from volano.models import Network, TextEncoder
    from volano.runtime import load
    from volano.tasks.classification import Classification

    column = FittedText("text", train_tokenizer(["good tea", "bad tea", "a lamp"] * 20, 300), 16)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=max(150, column.num_tokens),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=16,
    )
    encoder = TextEncoder(BertModel(config, add_pooling_layer=False))
    network = Network(("text",), [encoder], 2).eval()
    with torch.no_grad():
        network.head.weight.mul_(9)
    inputs = {"text": column}
    teacher = Compact(inputs, graph_of(network, inputs), network)
    target = FittedCategory("mood", ("bad", "good"))
    rows = [{"text": "good tea"}, {"text": ""}, {"text": "a bad lamp " * 9}]
    probabilities = {}

    def measure(attempt: Attempt) -> Measured:
        assert attempt.made is not None
        folder = tmp_path / (attempt.name or "fp32")
        write_bundle(
            folder,
            name="tea",
            inputs=inputs,
            target=target,
            task=Classification(target.names, 1.0),
            graph=attempt.made.graph.SerializeToString(),
            details={"precision": attempt.name},
        )
        found = load(folder).predict(rows)
        probabilities[attempt.name] = np.array(
            [[each.probabilities[name] for name in target.names] for each in found]
        )
        feed = column.collate(column.encode([row["text"] for row in rows]), np.arange(3))
        logits = answers(attempt.made.graph, [feed]).astype(np.float64)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        np.testing.assert_allclose(probabilities[attempt.name], shares, atol=1e-4)
        size = sum(path.stat().st_size for path in folder.rglob("graph.onnx"))
        return Measured(1.0, size, 1.0)

    work: Any = Searched(Calibration([]))
    found = list(search(teacher, work, ["int4", "fp16"], measure, long=False))
    names = [(each.name, each.error) for each in found]
    assert names == [("int4", None), ("int4-fp16", None), ("fp16", None)]
    sizes = [each.measured.size_bytes for each in found if each.measured is not None]
    assert sizes[1] < sizes[0] < 0.5 * teacher.graph.ByteSize()
    np.testing.assert_allclose(probabilities["int4"], probabilities["int4-fp16"], atol=0.01)
