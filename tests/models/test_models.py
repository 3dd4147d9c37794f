"""Encoders that are found or refused, pooling against a plain reference, a network saved."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from volano.columns import column_kind
from volano.errors import AssetError
from volano.models import Network, load_weights, locate, save_weights
from volano.models.encoders.text import TextEncoder, build_encoder


@pytest.fixture
def folder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder, to spoil."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


def encoder(folder: Path) -> TextEncoder:
    options = {
        "encoder": str(folder),
        "max_tokens": 32,
        "vocabulary": 400,
        "tokenizer_json": locate(str(folder), Path()).tokenizer_json(),
        "longest": 64,
    }
    column = column_kind("text").fit("text", ["the book is good"], options)
    return build_encoder(column, {"encoder": str(folder)}, Path(), 10).eval()  # type: ignore[arg-type]


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"(?s)no encoder 'nowhere'.*ASSET-101"):
        locate("nowhere", tmp_path)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(AssetError, match=r"(?s)no usable tokenizer.*ASSET-105"):
        locate(str(folder), Path()).tokenizer_json()
    (folder / "config.json").write_text("{")
    with pytest.raises(AssetError, match="ASSET-106"):
        locate(str(folder), Path())
    (folder / "config.json").unlink()
    with pytest.raises(AssetError, match=r"(?s)no config\.json.*ASSET-103"):
        locate(str(folder), Path())


def test_weights_that_can_run_code_are_refused_unread(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(AssetError, match=r"(?s)only pytorch_model\.bin.*ASSET-104"):
        locate(str(folder), Path())


def test_an_unknown_architecture_and_weights_that_lack_something(folder: Path) -> None:
    change_config(folder, model_type="no-such-thing")
    with pytest.raises(AssetError, match="ASSET-107"):
        encoder(folder)
    change_config(folder, model_type="bert")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AssetError, match=r"(?s)lack 1 tensors.*ASSET-107"):
        encoder(folder)


def test_a_tokenizer_with_more_tokens_than_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    weights[name] = weights[name][:20].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change_config(folder, vocab_size=20)
    with pytest.raises(AssetError, match="ASSET-108"):
        encoder(folder)


def test_pooling_is_the_mean_over_the_tokens_that_are_there(tiny_encoder: Path) -> None:
    made = encoder(tiny_encoder)
    hidden_BTH = torch.randn(3, 5, made.width, generator=torch.Generator().manual_seed(0))
    lengths = (5, 2, 1)
    mask_BT = torch.tensor([[1] * size + [0] * (5 - size) for size in lengths])
    pooled_BH = made.pool(hidden_BTH, mask_BT)
    for row, size in enumerate(lengths):
        mean_H = sum(hidden_BTH[row, place] for place in range(size)) / size
        wanted_H = mean_H / mean_H.square().sum().sqrt() * math.sqrt(made.width)
        torch.testing.assert_close(pooled_BH[row], wanted_H)
    torch.testing.assert_close(made.pool(hidden_BTH[:1], None), pooled_BH[:1])
    # A row without any token is no reason for a NaN.
    assert torch.isfinite(made.pool(hidden_BTH, mask_BT * 0)).all()


def test_padding_changes_no_vector(tiny_encoder: Path) -> None:
    made = encoder(tiny_encoder)
    ids_BT = torch.tensor([[5, 9, 7]])
    padded_BT = torch.tensor([[5, 9, 7, 0, 0]])
    with torch.no_grad():
        alone = made(ids_BT, None)
        padded = made(padded_BT, torch.tensor([[1, 1, 1, 0, 0]]))
    torch.testing.assert_close(alone, padded, rtol=1e-4, atol=1e-5)


def test_a_network_puts_columns_side_by_side_and_comes_back_as_saved(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = Network(("a", "b"), [encoder(tiny_encoder), encoder(tiny_encoder)], 3).eval()
    batch = {"a.ids": torch.tensor([[5, 9]]), "b.ids": torch.tensor([[7, 7, 8]])}
    with torch.no_grad():
        features = network.features(batch)
        parts = [
            network.encoders[place](batch[f"{name}.ids"], None) for place, name in enumerate("ab")
        ]
        torch.testing.assert_close(features, torch.cat(parts, dim=1))
        wanted = features @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network(batch), wanted)
        save_weights(network, tmp_path)
        assert torch.equal(load_weights(tmp_path)(batch), network(batch))
