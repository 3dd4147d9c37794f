"""Two thin matrices in the place of one: the best ones, still to be trained, written and put in 8
bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from classroom import TEXTS, Classroom, network, run
from transformers import BertConfig, BertModel

from volano.columns.text import FittedText
from volano.compression import Calibration, Compact, compression_pass
from volano.compression._factors import directions, factor_layers, factor_words, rank_of
from volano.export import graph_of
from volano.models import FactoredEmbedding, FactoredLinear, Network, TextEncoder
from volano.testing import GraphWork


def compact(model: Network, column: FittedText) -> Compact:
    inputs = {"text": column}
    return Compact(inputs, graph_of(model, inputs), model)


def answers(made: Compact, texts: list[str]) -> np.ndarray:
    """What the network says, without its graph."""
    column = made.inputs["text"]
    feed = column.collate(column.encode(texts), np.arange(len(texts)))
    with torch.no_grad():
        outputs = made.model({name: torch.from_numpy(values) for name, values in feed.items()})
    return np.asarray(outputs.numpy())


def nearest(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The best of a rank, by the textbook."""
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray((left[:, :rank] * sizes[:rank]) @ right[:rank])


def test_directions_lose_what_the_singular_value_decomposition_loses() -> None:
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (200, 12)) @ random.normal(0, 1, (12, 12))
    w = random.normal(0, 1, (12, 9))
    vectors, sizes = directions((x @ w).T @ (x @ w) / len(x), 4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(x @ w @ vectors @ vectors.T, nearest(x @ w, 4), atol=1e-8)
    wanted = np.linalg.svd(x @ w, compute_uv=False)[:4] / np.sqrt(len(x))
    np.testing.assert_allclose(sizes, wanted, rtol=1e-8)
    plain = nearest(w, 4)
    assert np.square(x @ w - nearest(x @ w, 4)).sum() < np.square(x @ w - x @ plain).sum()


def test_embeddings_are_the_weighted_svd() -> None:
    model, column = network()
    encoder = model.encoders[0]
    random = np.random.default_rng(1)
    counts = random.integers(0, 50, column.num_tokens) ** 2
    table = encoder.token_embedding().weight.detach().double().numpy()
    factor_words(encoder, counts, 0.33)
    made = encoder.transformer.get_input_embeddings()
    assert isinstance(made, FactoredEmbedding)
    assert made.table.embedding_dim == 16
    assert encoder.token_embedding() is made.table
    roots = np.sqrt(counts + 1.0)[:, None]
    found = (made.table.weight @ made.outer.weight.T).detach().numpy()
    np.testing.assert_allclose(found, nearest(roots * table, 16) / roots, atol=1e-6)
    assert made.table.padding_idx == column.pad_id


def test_linear_layers_are_best_in_what_they_give() -> None:
    model, column = network(layers=1)
    encoder = model.encoders[0]
    layer = encoder.transformer.encoder.layer[0]
    feed = column.collate(column.encode(TEXTS), np.arange(len(TEXTS)))
    batch = {key: feed[f"text.{key}"] for key in ("ids", "mask")}
    given: list[Any] = []
    hook = layer.output.dense.register_forward_pre_hook(lambda _, x: given.append(x[0]))
    with torch.no_grad():
        encoder.hidden(torch.from_numpy(batch["ids"]), torch.from_numpy(batch["mask"]))
    hook.remove()
    x = given[0].numpy()[batch["mask"] > 0]
    old = layer.output.dense
    factor_layers(encoder, [batch], 0.6)
    made = layer.output.dense
    assert isinstance(made, FactoredLinear)
    assert made.inner.out_features == rank_of(0.6, 64, 32) == 16
    w, bias = old.weight.detach().numpy().T, old.bias.detach().numpy()
    with torch.no_grad():
        found = made(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, nearest(x.astype(np.float64) @ w, 16) + bias, atol=1e-5)


@pytest.mark.parametrize("layers", [None, 0.6])
def test_graph_and_network_say_the_same(layers: float | None) -> None:
    model, column = network()
    teacher, work = compact(model, column), Classroom(TEXTS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    thin = compression_pass("low_rank")
    assert thin.suits(teacher, work) is None
    settings = thin.settings(teacher, work)
    assert settings[0] == {"embeddings": 0.33}
    assert settings[-1]["layers"] < 1
    made = thin.apply(teacher, work, {"embeddings": 0.33, **({"layers": layers} if layers else {})})
    np.testing.assert_allclose(
        run(made, [*TEXTS, "", "tea"]), answers(made, [*TEXTS, "", "tea"]), atol=1e-4
    )
    assert made.graph.ByteSize() < teacher.graph.ByteSize()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "the given stays"


def test_nothing_is_lost_where_there_was_nothing() -> None:
    model, column = network()
    table = model.encoders[0].token_embedding().weight.data
    torch.manual_seed(3)
    table.copy_(torch.randn(len(table), 8) @ torch.randn(8, 32))
    teacher, work = compact(model, column), Classroom(TEXTS)
    made = compression_pass("low_rank").apply(teacher, work, {"embeddings": 0.33})
    np.testing.assert_allclose(run(made, TEXTS), run(teacher, TEXTS), atol=1e-4)


def test_short_embeddings_learn_and_lose_tokens() -> None:
    model, column = network()
    work = Classroom(TEXTS)
    made = compression_pass("low_rank").apply(compact(model, column), work, {"embeddings": 0.33})
    cut = compression_pass("vocabulary")
    assert cut.suits(made, work) is None
    fewer = cut.apply(made, work, {"least": 1})
    assert fewer.inputs["text"].num_tokens < column.num_tokens
    np.testing.assert_allclose(run(fewer, TEXTS), run(made, TEXTS), atol=1e-4)
    feed = column.collate(column.encode(TEXTS), np.arange(len(TEXTS)))
    made.model.train()
    made.model({name: torch.from_numpy(values) for name, values in feed.items()}).sum().backward()
    words = made.model.encoders[0].transformer.get_input_embeddings()
    assert words.table.weight.grad.abs().sum() > 0
    assert words.outer.weight.grad.abs().sum() > 0


def wide() -> tuple[Compact, Calibration]:
    """A network whose factors are large enough for 8 bits, and batches of it."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=600,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=24,
    )
    model = Network(("text",), [TextEncoder(BertModel(config, add_pooling_layer=False))], 6).eval()
    _, column = network()
    with torch.no_grad():
        model.head.weight.mul_(4)
        model.encoders[0].token_embedding().weight.mul_(20)
    factor_words(model.encoders[0], np.ones(600, np.int64), 0.33)
    random = np.random.default_rng(0)
    batches = [
        {
            "text.ids": random.integers(1, 600, (8, tokens)),
            "text.mask": np.ones((8, tokens), np.int64),
        }
        for tokens in random.integers(3, 20, 12)
    ]
    factor_layers(
        model.encoders[0],
        [{key: batch[f"text.{key}"] for key in ("ids", "mask")} for batch in batches],
        0.8,
    )
    return compact(model, column), Calibration(batches)


def test_both_factors_end_in_8_bits() -> None:
    made, calibration = wide()
    small = compression_pass("int8").apply(made, GraphWork(calibration), {})
    large = [
        item.name
        for item in small.graph.graph.initializer
        if np.prod(item.dims) >= 4096 and item.data_type != onnx.TensorProto.INT8
    ]
    assert large == []
    assert small.graph.ByteSize() < 0.35 * made.graph.ByteSize()
    sessions = [onnx_session(graph.graph.SerializeToString()) for graph in (made, small)]
    for batch in calibration.batches:
        wanted, found = (session.run(None, batch)[0] for session in sessions)
        assert np.sqrt(np.mean((wanted - found) ** 2)) < 0.2 * wanted.std()


def onnx_session(content: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def test_what_it_cannot_do_it_says() -> None:
    thin, work = compression_pass("low_rank"), Classroom(TEXTS)
    model, column = network()
    made = thin.apply(compact(model, column), work, {"embeddings": 0.33})
    assert thin.suits(made, work) == "its token embeddings are two factors already"
    assert thin.suits(Compact({}, made.graph), work) == "there is no transformer of text"
    few = TextEncoder(
        BertModel(
            BertConfig(vocab_size=9, hidden_size=32, num_hidden_layers=1, num_attention_heads=2),
            add_pooling_layer=False,
        )
    )
    found = Compact({"text": column}, made.graph, Network(("text",), [few], 2))
    assert thin.suits(found, work) == "its token embeddings are too few to gain anything"
