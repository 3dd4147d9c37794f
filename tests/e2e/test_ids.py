"""Rows of customers that come back: held out together, and never learned by heart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import write_table

import volano
from volano import Wheel
from volano.data import GoldenRows, Snapshot
from volano.wheel import check_lines, init_wheel

CUSTOMERS = 60


def write_orders(path: Path, num_rows: int = 900) -> Path:
    """What a customer pays is mostly their own level; one order number for each row."""
    rng = np.random.default_rng(0)
    level = rng.normal(0, 10, CUSTOMERS)
    rows = []
    for row in range(num_rows):
        customer = int(rng.integers(CUSTOMERS))
        size = rng.normal(0, 2)
        paid = level[customer] + size + rng.normal(0, 0.5)
        order = str(row * 7919 % 100_003)
        rows.append((order, f"C{customer:04d}", f"{size:.3f}", f"{paid:.3f}"))
    return write_table(path, ("order_id", "customer_id", "size", "paid"), rows)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was turned with the ids that `init` found."""
    folder = tmp_path_factory.mktemp("orders")
    write_orders(folder / "orders.csv")
    made = init_wheel(folder, [str(folder / "orders.csv")], target="paid")
    reasons = "\n".join(made.reasons)
    assert "customer_id: id: 60 keys" in reasons
    assert "order_id: left out: a key of its own for 100% of the rows" in reasons
    text = made.path.read_text(encoding="utf-8")
    assert "group: true" in text, "the option is in a comment"
    more = "gate: {min_rows: 10}\ntrain: {models: [linear, boosted]}\n"
    made.path.write_text(text + more, encoding="utf-8")
    with Wheel(folder) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(1)
    return folder


def test_known_customers_are_told_apart(orders: Path) -> None:
    with Wheel(orders) as wheel:
        assert wheel.show(1).record["metrics"]["rmse"]["value"] < 3, "levels deviate by 10"
        answers = wheel.predict(
            [{"customer_id": key, "size": 0.0} for key in ("C0001", "C0002", "C9999", None, 5)]
        )
    assert abs(answers[0].value - answers[1].value) > 1
    assert answers[2].value == answers[3].value == answers[4].value, "nobody knows these"
    assert "C9999" in answers[2].notes[0]


def grouped(orders: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "grouped"
    folder.mkdir()
    shutil.copy(orders / "orders.csv", folder / "orders.csv")
    (folder / "volano.yaml").write_text(
        "name: orders\ndata: orders.csv\ntarget: {paid: number}\n"
        "inputs: {customer_id: {type: id, group: true}, size: number}\n"
        "gate: {min_rows: 10}\ntrain: {models: [linear, boosted]}\n",
        encoding="utf-8",
    )
    return folder


def test_a_group_is_on_one_side(orders: Path, tmp_path: Path) -> None:
    folder = grouped(orders, tmp_path)
    with Wheel(folder) as wheel:
        turn = wheel.turn()
        record = turn.record
        place = wheel.store.place
        golden = GoldenRows.open(place(record["artifacts"]["golden"]) / "golden.arrow")
        snapshot = Snapshot.open(place(record["artifacts"]["data"]))
        prepare = place(record["artifacts"]["prepare"])
        sides = {
            name: set(snapshot.column("customer_id", np.load(prepare / name / "rows.npy")))
            for name in ("train", "validation")
        }
        sides["golden"] = set(golden.column("customer_id"))
    assert all(sides.values())
    assert not sides["golden"] & (sides["train"] | sides["validation"])
    assert not sides["train"] & sides["validation"]
    assert 90 <= golden.num_rows <= 135, "about 15% of 900, in whole groups"
    assert record["data"]["rows"] == 900
    # Customers whose level no training row tells: the error is that of their levels.
    assert record["metrics"]["rmse"]["value"] > 5
    # The cross-fitted loss, by which models are chosen, knows as much.
    assert min(row["loss"] for row in record["training"]["models"] if "loss" in row) > 25


def test_corrections_of_a_golden_customer_are_not_learned(orders: Path, tmp_path: Path) -> None:
    folder = grouped(orders, tmp_path)
    with Wheel(folder) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(1)
        place = wheel.store.place(turn.record["artifacts"]["golden"])
        mine = GoldenRows.open(place / "golden.arrow").column("customer_id")[0]
        wheel.log.add_labelled([({"customer_id": mine, "size": "1.25"}, 3.0)], "ada")
        wheel.log.add_labelled([({"customer_id": "C7777", "size": "1.25"}, 3.0)], "ada")
        found = wheel.check()["cleaning"]["counts"]
        assert found["golden_groups"]["rows"] == 1
        assert found["golden_groups"]["first"] == ["feedback row 1"]


def test_a_key_for_each_row_is_warned_of(orders: Path, tmp_path: Path) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    shutil.copy(orders / "orders.csv", folder / "orders.csv")
    (folder / "volano.yaml").write_text(
        "name: orders\ndata: orders.csv\ntarget: {paid: number}\n"
        "inputs: {order_id: id, size: number}\ntrain: {models: [linear]}\n",
        encoding="utf-8",
    )
    with Wheel(folder) as wheel:
        found = wheel.check()
        assert any("hardly come back" in line for line in check_lines(found))
        model = volano.load(wheel.turn().bundle)
    assert model.inputs["order_id"].ids == (), "nothing is learned by heart"  # type: ignore[attr-defined]
    json.dumps(found)
