"""Nets from scratch: what padding changes (nothing), and that a bundle's graph answers the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from media import Pixels, Waves, sounds, with_used_norms
from tiny import tiny_rows
from torch.nn import functional as F

from volano.columns import FittedColumn, column_kind
from volano.export import graph_of
from volano.models import build_network, choose_encoder, load_weights, save_weights
from volano.models._network import Network
from volano.models._shapes import SEQUENCES
from volano.models.encoders._pooling import pooled
from volano.models.encoders._residual import ResidualNet
from volano.models.encoders.table import TableEncoder
from volano.models.fusion import GatedFusion

TEXTS = ["the parcel is good", "this book", "that old phone is terrible as I said", "my tea is"]


@pytest.fixture(scope="module")
def column() -> Any:
    texts = [text for text, _ in tiny_rows()]
    return column_kind("text").fit("text", texts, {"max_tokens": 16, "vocabulary": 400})


def network_of(column: Any, encoder: str, **more: Any) -> Network:
    details = {"text": {"encoder": encoder, **more}}
    made = build_network({"text": column}, details, 3, root=Path(), num_rows=100, seed=0)
    return made.eval()


def batch_of(column: Any, texts: list[str]) -> dict[str, torch.Tensor]:
    arrays = column.collate(column.encode(texts), np.arange(len(texts)))
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def session_of(network: Network, inputs: dict[str, Any]) -> onnxruntime.InferenceSession:
    graph = graph_of(network, inputs)
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )


MADE = [
    *[(net, {}) for net in SEQUENCES],
    ("rnn", {"activation": "relu", "pooling": "max"}),
    ("conv", {"activation": "gelu", "pooling": "max"}),
    ("scratch", {"activation": "tanh", "pooling": "cls"}),
]


@pytest.mark.parametrize(("net", "more"), MADE)
def test_texts_are_read_whatever_they_are_padded_with(
    net: str, more: dict[str, Any], column: Any, tmp_path: Path
) -> None:
    network = network_of(column, net, **more)
    together = batch_of(column, TEXTS)
    with torch.no_grad():
        wanted = network(together)
        for row, text in enumerate(TEXTS):
            alone = batch_of(column, [text])
            torch.testing.assert_close(network(alone)[0], wanted[row], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                network({"text.ids": alone["text.ids"]})[0], wanted[row], rtol=1e-4, atol=1e-5
            )
        save_weights(network, tmp_path)
        assert torch.equal(load_weights(tmp_path)(together), wanted)
    session = session_of(network, {"text": column})
    for texts in (TEXTS, TEXTS[1:2], TEXTS[2:]):
        feed = {name: value.numpy() for name, value in batch_of(column, texts).items()}
        with torch.no_grad():
            expected = network({name: torch.from_numpy(value) for name, value in feed.items()})
        np.testing.assert_allclose(session.run(None, feed)[0], expected.numpy(), atol=1e-4)


def test_the_names_of_nets_need_nothing_fetched(tmp_path: Path) -> None:
    for net in SEQUENCES:
        chosen = choose_encoder("text", {"encoder": net}, ["a"], tmp_path)
        assert chosen == {"encoder": net, "reason": "the spec says so"}


def test_a_vector_of_tokens_that_are_there() -> None:
    hidden = torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    for way, wanted in (
        ("average", hidden[0, :2].mean(0)),
        ("max", hidden[0, :2].amax(0)),
        ("cls", hidden[0, 0]),
    ):
        found = pooled(hidden, mask, way)
        torch.testing.assert_close(found[0], 2 * F.normalize(wanted, dim=0))
        torch.testing.assert_close(pooled(hidden, None, way)[1], found[1])


@pytest.mark.parametrize("act", ["gelu", "relu", "sigmoid", "tanh"])
def test_convolutional_nets_with_any_activation(act: str) -> None:
    for pooling in ("average", "max"):
        net = with_used_norms(ResidualNet(1, (3, 4), (0, 1), (1,), act, pooling))  # type: ignore[arg-type]
        x = torch.randn(2, 1, 6, 9)
        lengths = torch.tensor([9, 5])
        x[1, :, :, 5:] = 0
        with torch.no_grad():
            found = net(x, lengths)
            torch.testing.assert_close(net(x[1:, :, :, :5], lengths[1:])[0], found[1])
            torch.testing.assert_close(net(F.pad(x, (0, 3)), lengths), found)
            torch.testing.assert_close(net(x[:1]), found[:1])


def test_hidden_layers_of_a_table_have_the_widths_and_the_bend_that_are_asked_for() -> None:
    from volano.models import TableFeature

    features = [TableFeature("a", 2, 0), TableFeature("b", 0, 5)]
    table = TableEncoder(features, hidden=(8, 3), activation="tanh", waves=2)
    assert [layer.out_features for layer in table.layers if hasattr(layer, "out_features")] == [
        8,
        3,
    ]
    assert table.width == 3
    network = Network((), (), 2, table).eval()
    batch = {
        "a.values": torch.tensor([[1.0, float("nan")], [0.3, -40]]),
        "b.codes": torch.arange(2),
    }
    with torch.no_grad():
        wanted = network(batch)
        assert (table(batch).abs() <= 1).all()

    class Numbers:
        kind, name, num_codes = "vector", "a", 0

        def encode(self, values: Any) -> Any:
            from volano.columns import Encoded

            return Encoded({"values": np.zeros((len(values), 2), np.float32)})

    class Names(Numbers):
        name, num_codes = "b", 5

        def encode(self, values: Any) -> Any:
            from volano.columns import Encoded

            return Encoded({"codes": np.zeros(len(values), np.int64)})

    inputs: dict[str, FittedColumn] = {"a": Numbers(), "b": Names()}  # type: ignore[dict-item]
    session = session_of(network, inputs)
    found = session.run(None, {name: value.numpy() for name, value in batch.items()})[0]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_gates_are_a_weighted_sum_that_differs_from_row_to_row() -> None:
    torch.manual_seed(0)
    fusion = GatedFusion((3, 5))
    vectors = [torch.randn(4, 3), torch.randn(4, 5)]
    gates = fusion.gates(vectors)
    torch.testing.assert_close(gates.sum(1), torch.ones(4))
    assert gates.std(0).max() > 0.01
    wanted = sum(
        2 * gates[:, place, None] * torch.tanh(part(vector))
        for place, (part, vector) in enumerate(zip(fusion.parts, vectors, strict=True))
    )
    torch.testing.assert_close(fusion(vectors), wanted)
    assert fusion(vectors).shape == (4, fusion.width)


def test_texts_pictures_and_sounds_through_gates(column: Any, tmp_path: Path) -> None:
    inputs = {"text": column, "photo": Pixels(), "clip": Waves()}
    details: dict[str, dict[str, Any]] = {
        "text": {"encoder": "gru", "pooling": "max"},
        "photo": {"encoder": "scratch", "activation": "gelu", "pooling": "max"},
        "clip": {"encoder": "scratch", "activation": "tanh"},
    }
    network = build_network(
        inputs,  # type: ignore[arg-type]
        details,
        3,
        root=Path(),
        num_rows=10,
        seed=0,
        fusion="gated",
    )
    with_used_norms(network)
    clips = Waves().collate(sounds(2).columns["clip"], np.arange(2))
    feed = {name: value.numpy() for name, value in batch_of(column, TEXTS[:2]).items()}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 12, 10)).astype(np.uint8)
    feed |= {"photo.pixels": pixels, **clips}
    batch = {name: torch.from_numpy(value) for name, value in feed.items()}
    with torch.no_grad():
        wanted = network(batch)
        save_weights(network, tmp_path)
        torch.testing.assert_close(load_weights(tmp_path)(batch), wanted)
    found = session_of(network, inputs).run(None, feed)[0]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
