"""Exported graphs answer as the network does, for every shape of batch."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from volano.columns.text import FittedText, train_tokenizer
from volano.export import graph_of
from volano.models import Network, TextEncoder


def bert(width: int = 32, layers: int = 2, heads: int = 4) -> TextEncoder:
    config = BertConfig(
        vocab_size=100,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=3 * width,
        max_position_embeddings=24,
    )
    return TextEncoder(BertModel(config, add_pooling_layer=False))


def distilbert() -> TextEncoder:
    config = DistilBertConfig(
        vocab_size=100, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=24
    )
    config.hidden_size = 32
    return TextEncoder(DistilBertModel(config))


@functools.cache
def column(name: str) -> FittedText:
    """A column of texts of at most 24 tokens."""
    return FittedText(name, train_tokenizer(["good tea", "bad tea"] * 9, 300), 24)


def columns_of(network: Network) -> dict[str, FittedText]:
    return {name: column(name) for name in network.columns}


def batch(rows: int, tokens: int, names: tuple[str, ...], seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    made = {}
    for name in names:
        lengths = random.integers(1, tokens + 1, rows)
        lengths[0] = tokens
        mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
        made[f"{name}.ids"] = random.integers(1, 100, (rows, tokens)) * mask
        made[f"{name}.mask"] = mask
    return made


def largest_difference(network: Network, shapes: list[tuple[int, int]]) -> float:
    network.eval()
    graph = graph_of(network, columns_of(network))
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    worst = 0.0
    for rows, tokens in shapes:
        feed = batch(rows, tokens, network.columns)
        with torch.no_grad():
            wanted = network({name: torch.from_numpy(value) for name, value in feed.items()})
        found = session.run(None, feed)[0]
        assert found.shape == wanted.shape
        worst = max(worst, float(np.abs(found - wanted.numpy()).max()))
    return worst


SHAPES = [(1, 2), (1, 24), (3, 7), (17, 13)]


@pytest.mark.parametrize(("width", "layers", "heads"), [(32, 1, 4), (32, 3, 2), (48, 2, 12)])
def test_our_graph_of_bert_is_bert(width, layers, heads):
    torch.manual_seed(0)
    network = Network(("text",), [bert(width, layers, heads)], 5)
    assert largest_difference(network, [(1, 1), *SHAPES]) < 2e-5


def test_several_columns_go_side_by_side():
    torch.manual_seed(0)
    network = Network(("a title", "body/text"), [bert(), bert(layers=1)], 3)
    assert largest_difference(network, SHAPES) < 2e-5


@pytest.mark.slow
def test_other_encoders_are_traced():
    torch.manual_seed(0)
    network = Network(("text",), [distilbert()], 4)
    assert largest_difference(network, SHAPES) < 2e-5


def test_the_graph_is_the_same_each_time():
    torch.manual_seed(0)
    network = Network(("text",), [bert()], 5).eval()
    first = graph_of(network, columns_of(network)).SerializeToString(deterministic=True)
    assert first == graph_of(network, columns_of(network)).SerializeToString(deterministic=True)


def test_an_exported_bundle_is_the_same_file_each_time(tmp_path: Path):
    from volano.columns.category import FittedCategory
    from volano.export import describe_bundle, export_bundle, write_bundle
    from volano.runtime import load
    from volano.tasks.classification import Classification

    tokenizer = train_tokenizer(["good tea", "bad tea", "a fine lamp"] * 20, 300)
    texts = FittedText("text", tokenizer, 16)
    target = FittedCategory("mood", ("bad", "good"))
    torch.manual_seed(0)
    encoder = bert()
    encoder.transformer.resize_token_embeddings(texts.num_tokens)
    network = Network(("text",), [encoder], 2).eval()
    bundle = tmp_path / "bundle"
    made = write_bundle(
        bundle,
        name="tea",
        inputs={"text": texts},
        target=target,
        task=Classification(target.names, 1.5),
        graph=graph_of(network, {"text": texts}).SerializeToString(),
        details={"precision": "fp32"},
    )
    assert describe_bundle(bundle, metrics={"golden": {}}) == made
    sizes = [export_bundle(bundle, tmp_path / name) for name in ("a.volano", "b.volano")]
    assert sizes[0] == sizes[1]
    assert (tmp_path / "a.volano").read_bytes() == (tmp_path / "b.volano").read_bytes()
    rows = [{"text": "good tea"}, {"text": ""}, {"text": "an unknown thing " * 30}]
    answers = [
        [(item.value, item.probabilities) for item in load(path).predict(rows)]
        for path in (bundle, tmp_path / "a.volano")
    ]
    assert answers[0] == answers[1]
    assert load(bundle).id == made
