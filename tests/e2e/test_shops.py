"""Sales of several shops, with prices known ahead: one model, from `init` to answers."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np
import pytest

from volano.data import resolve
from volano.errors import DataError, RequestError
from volano.wheel import Wheel, answer_table, check_lines, init_wheel

SHOPS = ("north", "south", "west")
SPEC = """\
name: shops
data: sales.csv
inputs:
  day: datetime
  shop: category
  price: number
  holiday: boolean
  town: category
target:
  sold:
    type: series
    horizon: 4
    window: 21
    group: shop
    ahead: [price, holiday, day]
    static: [town]
train: {models: [linear, dlinear], epochs: 6, learning_rate: 0.01}
"""


def rows(num: int, *, start: int = 0) -> list[list[object]]:
    """A price that falls at random halves again what is sold: nobody can know it from the past."""
    found: list[list[object]] = []
    for place, shop in enumerate(SHOPS):
        level = 20 * (place + 1)
        for at in range(start, start + num):
            random = np.random.default_rng([place, at])
            price = 1.0 if random.random() < 0.5 else 2.0
            sold = level * (1 + 0.1 * np.sin(at * 2 * np.pi / 7)) - 6 * (price - 1.5)
            sold += random.normal(0, 0.5)
            day = datetime.date(2026, 1, 1) + datetime.timedelta(days=at)
            town = "Pisa" if place else "Rom"
            found.append([day, shop, price, at % 30 == 0, town, round(float(sold), 3)])
    return found


def write(path: Path, found: list[list[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "shop", "price", "holiday", "town", "sold"])
        writer.writerows(found)


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shops")
    write(root / "sales.csv", rows(300))
    (root / "volano.yaml").write_text(SPEC)
    with Wheel(root) as wheel:
        turn = wheel.turn()
        assert turn.verdict == "promoted", turn.record["reason"]
    return root


def test_the_price_that_is_known_ahead_beats_what_knows_the_past_alone(wheel_folder: Path) -> None:
    with Wheel(wheel_folder) as wheel:
        checked = wheel.check()
        assert "300 steps of 86400.0 s in 3 groups" in "\n".join(check_lines(checked))
        record = wheel.history()[0]
        models = {row["name"]: row for row in record["training"]["models"]}
        assert models["linear"]["beside"] is True
        assert set(models) == {"linear", "dlinear"}
        # 45 golden days, of which each fourth counts, for all shops together.
        assert record["gate"]["judgement"]["num_rows"] == 11
        assert record["gate"]["golden_rows"] == 3 * 42
        scores = record["gate"]["scores"]
        assert -scores["candidate"] < -0.6 * scores["reference"]


def test_predict_answers_each_shop(wheel_folder: Path, tmp_path: Path) -> None:
    now = rows(304)
    last = datetime.date(2026, 1, 1) + datetime.timedelta(days=300)
    came = {(row[1], str(row[0])): row[5] for row in now if row[0] >= last}  # type: ignore[operator]
    for row in now:
        if row[0] >= last:  # type: ignore[operator]
            row[5] = ""
    write(tmp_path / "now.csv", now)
    files = resolve(["now.csv"], root=tmp_path)
    with Wheel(wheel_folder) as wheel:
        model = wheel.model()
        found = answer_table(files, tmp_path / "next.csv", model=model, predict=model.predict)
        assert found.rows == 12
        assert "the 4 steps that follow 300 of now.csv" in found.notes[0]
        assert "for each of 3 groups" in found.notes[0]
        with (tmp_path / "next.csv").open(encoding="utf-8", newline="") as file:
            answers = list(csv.DictReader(file))
        assert [row["shop"] for row in answers] == [shop for shop in SHOPS for _ in range(4)]
        errors = [
            float(row["sold_predicted"]) - float(came[row["shop"], row["day"]])  # type: ignore[arg-type]
            for row in answers
        ]
        assert np.abs(errors).mean() < 2.0, errors
        write(tmp_path / "short.csv", [row for row in now if row[0] <= last])  # type: ignore[operator]
        files = resolve(["short.csv"], root=tmp_path)
        with pytest.raises(DataError, match="1 of the 4 steps to come of north") as caught:
            answer_table(files, tmp_path / "no.csv", model=model, predict=model.predict)
        assert caught.value.code == "DATA-066"


def test_a_request_gives_what_is_known_ahead(wheel_folder: Path) -> None:
    with Wheel(wheel_folder) as wheel:
        model = wheel.model()
        request = {
            "sold": [60.0 + at % 7 for at in range(21)],
            "price": [1.5] * 21 + [1.0] * 4,
            "holiday": [False] * 25,
            "shop": "west",
            "town": "Pisa",
            "day": "2026-10-27",
        }
        cheap = wheel.predict([request])[0].value["sold"]
        dear = wheel.predict([{**request, "price": [1.5] * 21 + [2.0] * 4}])[0].value["sold"]
        assert np.mean(cheap) > np.mean(dear)
        new = wheel.predict([{**request, "shop": "opened today"}])[0]
        assert len(new.value["sold"]) == 4
        with pytest.raises(RequestError, match="then the 4 to come"):
            model.predict([{**request, "price": [1.0, 2.0, 3.0]}])


def test_init_sees_shops(tmp_path: Path) -> None:
    write(tmp_path / "sales.csv", rows(60))
    found = init_wheel(tmp_path, [str(tmp_path / "sales.csv")], target="sold")
    said = "\n".join(found.reasons)
    assert "shop: category: names the group of each row" in said
    assert "town: category: stays the same in each group" in said
    assert "holiday: boolean: taken as known ahead" in said
    text = found.path.read_text()
    assert "group: shop" in text
    found.path.write_text(text.replace("horizon: 24", "horizon: 4"))
    with Wheel(tmp_path) as wheel:
        assert wheel.check()["target"]["groups"] == 3
