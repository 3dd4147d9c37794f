"""Texts beside numbers and names: models of tables, networks and both together."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import volano
from volano.columns import Ragged
from volano.export import graph_of
from volano.models import EnsembleModel, FlatModel, Member, load_model, save_model
from volano.spec import TrainSpec
from volano.training._ensemble import Judge
from volano.training._flat import word_table
from volano.training._stacking import stack

WORDS = ("bright", "cosy", "damp", "elegant", "faded", "grand", "humble", "quiet")
WORTH = dict(zip(WORDS, (20, 5, -25, 15, -10, 25, -5, 0), strict=True))


def flats(num_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Flats whose price goes by their size, their town and a little by what is said of them."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        size, town = random.uniform(20, 150), str(random.choice(["Ulm", "Bari"]))
        said = list(random.choice(WORDS, 3, replace=False))
        price = 3 * size + (60 if town == "Ulm" and size > 80 else 0)
        price += sum(WORTH[word] for word in said) + random.normal(0, 4)
        rows.append(
            {
                "about": f"a {said[0]}, {said[1]} and {said[2]} flat",
                "size": f"{size:.1f}",
                "town": town,
                "price": f"{price:.2f}",
                "class": "dear" if price > 270 else "cheap",
            }
        )
    return rows


def turned(folder: Path, target: str, rows: list[dict[str, Any]]) -> tuple[Any, Path]:
    with (folder / "flats.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["about", "size", "town", target], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    kind = "number" if target == "price" else "category"
    (folder / "volano.yaml").write_text(
        "name: flats\ndata: flats.csv\n"
        "inputs:\n  about: {type: text, encoder: scratch, vocabulary: 300}\n"
        f"  size: number\n  town: category\ntarget: {{{target}: {kind}}}\n"
        "train: {epochs: 2}\ngate: {min_rows: 10}\n",
        encoding="utf-8",
    )
    with volano.Wheel(folder) as wheel:
        turn = wheel.turn()
        trained = wheel.store.artifact(turn.record["artifacts"]["train"]).path
        return turn, trained


@pytest.mark.slow
@pytest.mark.parametrize("target", ["price", "class"])
def test_a_text_beside_strong_numbers_does_not_lose_to_trees(tmp_path: Path, target: str) -> None:
    rows = flats(600)
    turn, trained = turned(tmp_path, target, rows)
    models = {item["name"]: item for item in turn.record["training"]["models"]}
    assert {"linear", "boosted", "network"} <= set(models)
    assert models["boosted"]["words"]["about"] > 4
    # Two epochs from scratch are no match for trees that see the words as well.
    assert models["boosted"]["loss"] < models["network"]["loss"]
    chosen = next(item for item in turn.record["candidates"] if item["chosen"])
    assert chosen["model"] != "network"
    refused = [item for item in turn.record["candidates"] if "failed" in item.get("refused", "")]
    assert refused == []
    if target == "price":
        assert turn.record["metrics"]["r2"]["value"] > 0.95
    assert (trained / "models" / "boosted" / "flat.json").exists()
    assert json.loads(json.dumps(turn.record))["training"]["trials"]
    # The bundle answers with a text as with any other column, and without torch.
    model = volano.load(turn.bundle)
    sent = [{name: row[name] for name in ("about", "size", "town")} for row in flats(5, seed=1)]
    assert len(model.predict(sent)) == 5


def test_words_are_numbers_that_are_the_same_everywhere() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(0, 30, 80)
    flat = random.integers(0, 50, lengths.sum())
    ids = Ragged(flat, np.concatenate([[0], np.cumsum(lengths)]))
    table = word_table(ids, 60, 0)
    assert table is not None
    found = table.values(ids)
    assert found.shape == (80, 32)
    assert (found[lengths == 0] == 0).all()
    assert 0.4 < found.std() < 2.5
    # Any order of a row's tokens gives the same bits.
    mixed = flat.copy()
    for start, stop in zip(ids.offsets[:-1], ids.offsets[1:], strict=True):
        random.shuffle(mixed[start:stop])
    np.testing.assert_array_equal(table.values(Ragged(mixed, ids.offsets)), found)
    # Tokens that were never seen change nothing but are not counted either.
    one = Ragged(np.array([3, 59, 59]), np.array([0, 3]))
    np.testing.assert_array_equal(
        table.values(one), table.values(Ragged(np.array([3]), np.array([0, 1])))
    )


def test_texts_that_share_no_word_have_no_axes() -> None:
    assert word_table(Ragged(np.arange(10), np.arange(11)), 10, 0) is None


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_a_network_and_trees_are_one_graph(tmp_path: Path, stacked: bool) -> None:
    turn, trained = turned(tmp_path, "class", flats(200))
    from volano.data import Prepared
    from volano.training import network_logits

    with volano.Wheel(tmp_path) as wheel:
        prepared = Prepared.open(wheel.store.artifact(turn.record["artifacts"]["prepare"]).path)
    split = prepared.split("validation")
    members = []
    for name, weight, temperature in (("boosted", 0.7, 1.5), ("network", 0.4, 0.8)):
        model = load_model(trained / "models" / name, prepared.inputs)
        members.append(Member(name, model, weight, temperature))
    assert isinstance(members[0].model, FlatModel)
    model = EnsembleModel(tuple(members), True, (0.25, -0.5) if stacked else ())
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model", prepared.inputs)
    graph = graph_of(again, prepared.inputs)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = np.arange(split.num_rows)
    feed: dict[str, Any] = {}
    for name, column in prepared.inputs.items():
        feed |= column.collate(split.columns[name], rows)
    wanted = {item.name for item in session.get_inputs()}
    (found,) = session.run(None, {name: feed[name] for name in wanted})
    outputs = [
        members[0].model.outputs(split),
        network_logits(members[1].model, prepared.inputs, split),
    ]
    logs = []
    for output, member in zip(outputs, members, strict=True):
        scaled = output.astype(np.float64) / member.temperature
        logs.append(scaled - np.log(np.exp(scaled).sum(1, keepdims=True)))
    if stacked:
        right = 0.7 * logs[0] + 0.4 * logs[1] + [0.25, -0.5]
    else:
        right = np.log(0.7 * np.exp(logs[0]) + 0.4 * np.exp(logs[1]))
    np.testing.assert_allclose(found, right, atol=1e-4)


def test_a_stack_of_numbers_undoes_what_a_mean_cannot() -> None:
    random = np.random.default_rng(0)
    target = random.normal(100, 20, 400)
    # One model says too little of how far rows are apart, the other is off by ten.
    first = 100 + 0.5 * (target - 100) + random.normal(0, 3, 400)
    second = target + 10 + random.normal(0, 8, 400)
    outputs = [first[:, None].astype(np.float32), second[:, None].astype(np.float32)]
    judge = Judge(target, TrainSpec(), classes=False)
    found = stack(judge, target, outputs, TrainSpec())
    assert found is not None
    assert judge.loss(found.expected) < 0.7 * min(map(judge.loss, outputs))
    fitted = sum(w * o for w, o in zip(found.weights, outputs, strict=True)) + found.bias
    # What is said of a row comes from weights that were fitted without it.
    assert judge.loss(fitted) < judge.loss(found.expected)


def test_a_stack_of_classes_adds_what_two_models_know_apart() -> None:
    random = np.random.default_rng(1)
    codes = random.integers(0, 3, 600)
    sure = np.eye(3)[codes]
    good = 2 * sure + random.normal(0, 1, (600, 3))
    bad = sure + random.normal(0, 1, (600, 3))
    outputs = [bad.astype(np.float32), good.astype(np.float32)]
    judge = Judge(codes, TrainSpec(), classes=True)
    found = stack(judge, codes, outputs, TrainSpec())
    assert found is not None
    # Their errors are apart, so that their logarithms add up: each counts in full, and not half
    # as in a mean.
    assert found.weights == pytest.approx([1.0, 1.0], abs=0.2)
    assert judge.loss(found.expected) < 0.97 * judge.loss(outputs[1])
    assert stack(judge, codes, outputs[:1], TrainSpec()) is None
