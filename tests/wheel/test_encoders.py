"""Weights that move under the name by which a spec knows them are noticed. All offline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from volano import Wheel
from volano.errors import AssetError
from volano.models import choose_encoder, encoder_identity, fetch_encoder, locate

Ran = Callable[[], list[str]]
FIRST, SECOND = "1" * 40, "2" * 40
NAME = "hf:acme/tiny"
OPTIONS = {"encoder": NAME}
AFTER_PREPARE = ["train", "evaluate", "compress", "deploy"]


def other_weights(folder: Path) -> None:
    """The same encoder with other weights; its tokenizer stays."""
    path = folder / "model.safetensors"
    weights = {name: array * np.float32(1.5) for name, array in load_file(path).items()}
    path.unlink()
    save_file(weights, path, metadata={"format": "pt"})


class Hub:
    """A folder in the layout of the hub's cache; the network refuses, and counts."""

    def __init__(self, folder: Path, encoder: Path) -> None:
        self.home = folder / "models--acme--tiny"
        self.encoder = encoder
        self.fetched: list[str] = []
        self.answer: Callable[[], str] | None = None

    def commit(self, commit: str) -> Path:
        place = self.home / "snapshots" / commit
        shutil.copytree(self.encoder, place)
        return place

    def move(self, commit: str) -> None:
        (self.home / "refs").mkdir(exist_ok=True)
        (self.home / "refs" / "main").write_text(commit)


@pytest.fixture
def hub(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub

    hub = Hub(tmp_path / "hub", tiny_encoder)
    real = huggingface_hub.snapshot_download

    def download(repository: str, *, local_files_only: bool = False, **more: Any) -> str:
        if local_files_only:
            return str(real(repository, local_files_only=True, **more))
        hub.fetched.append(repository)
        if hub.answer is None:
            raise ConnectionError("no network here")
        return hub.answer()

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    hub.commit(FIRST)
    hub.move(FIRST)
    return hub


def test_the_commit_is_in_the_key_and_in_what_is_chosen(hub: Hub, tmp_path: Path) -> None:
    def key() -> dict[str, Any]:
        return encoder_identity("text", OPTIONS, tmp_path)

    assert key()["commit"] == FIRST
    chosen = choose_encoder("text", OPTIONS, ["a good kettle"], tmp_path)
    assert chosen["encoder"] == f"{NAME}@{FIRST}"
    hub.commit(SECOND)
    assert key()["commit"] == FIRST
    hub.move(SECOND)
    assert key()["commit"] == SECOND
    # What was chosen before the model moved still means the weights of then.
    assert locate(chosen["encoder"], tmp_path).folder.name == FIRST
    pinned = {"encoder": f"{NAME}@{FIRST}"}
    assert encoder_identity("text", pinned, tmp_path)["commit"] == FIRST
    assert hub.fetched == []


def test_a_model_that_is_not_here_has_no_commit_yet(hub: Hub, tmp_path: Path) -> None:
    shutil.rmtree(hub.home)
    assert encoder_identity("text", OPTIONS, tmp_path) == {"auto": False, "address": NAME}
    assert hub.fetched == []
    with pytest.raises(AssetError, match="could not be fetched") as caught:
        fetch_encoder("text", OPTIONS, tmp_path)
    assert caught.value.code == "ASSET-102"

    def answer() -> str:
        hub.move(SECOND)
        return str(hub.commit(SECOND))

    hub.home.mkdir()
    hub.answer = answer
    fetch_encoder("text", OPTIONS, tmp_path)
    assert encoder_identity("text", OPTIONS, tmp_path)["commit"] == SECOND


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "shard"])
def test_a_fetch_that_was_killed_half_way_is_done_again(
    hub: Hub, tmp_path: Path, lost: str
) -> None:
    place = hub.home / "snapshots" / FIRST
    if lost == "shard":
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        (place / lost).unlink()

    def answer() -> str:
        shutil.rmtree(place)
        return str(hub.commit(FIRST))

    if lost != "shard":
        with pytest.raises(AssetError, match=lost.split(".")[0][:5]) as caught:
            locate(NAME, tmp_path)
        assert caught.value.code in ("ASSET-103", "ASSET-104")
    hub.answer = answer
    assert locate(NAME, tmp_path).folder == place
    assert hub.fetched[-1] == "acme/tiny"


def turn_of(root: Path, encoder: str) -> None:
    spec = root / "volano.yaml"
    text = spec.read_text()
    start = text.index("encoder: ") + len("encoder: ")
    spec.write_text(text[:start] + encoder + text[text.index("}", start) :])


def test_a_model_that_moved_is_trained_anew(hub: Hub, root: Path, ran: Ran) -> None:
    turn_of(root, NAME)
    first = ran()
    assert first[0] == "prepare"
    assert ran() == ["unchanged"]
    other_weights(hub.commit(SECOND))
    assert ran() == ["unchanged"]
    hub.move(SECOND)
    assert ran() == ["prepare", *AFTER_PREPARE]
    with Wheel(root) as wheel:
        lineage = wheel.history()[-1]["lineage"]
    assert lineage["prepare"]["ingredients"]["columns"]["text"][3]["commit"] == SECOND
    hub.move(FIRST)
    assert set(ran()) <= {"deploy"}
    assert hub.fetched == []


def test_other_weights_in_a_folder_are_trained_anew(
    root: Path, ran: Ran, tmp_path: Path, tiny_encoder: Path
) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "own")
    turn_of(root, str(tmp_path / "own"))
    ran()
    assert ran() == ["unchanged"]
    other_weights(tmp_path / "own")
    # Their tokenizer is the same, so prepare comes out the same.
    assert ran() == ["prepare", *AFTER_PREPARE]
