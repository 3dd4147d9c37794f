"""A table with commas before its decimals: from init to answers and corrections."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from tiny import write_table
from typer.testing import CliRunner

from volano import Wheel
from volano.cli import app
from volano.wheel import init_wheel


def comma(number: float) -> str:
    """As German offices write it: 1.101,79."""
    return f"{number:,.2f}".translate(str.maketrans(",.", ".,"))


def test_prices_are_numbers_all_the_way(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sizes = random.uniform(0.2, 40, 300)
    prices = 100 * sizes + random.normal(0, 5, 300)
    rows = [(comma(size), comma(price)) for size, price in zip(sizes, prices, strict=True)]
    table = write_table(tmp_path / "rents.csv", ("size", "price"), rows)
    init_wheel(tmp_path, [str(table)], target="price")
    text = (tmp_path / "volano.yaml").read_text(encoding="utf-8")
    assert text.count('decimal: ","') == 2
    text += "compress: off\ntrain: {models: [linear]}\n"
    (tmp_path / "volano.yaml").write_text(text, encoding="utf-8")
    with Wheel(tmp_path) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(turn.number)
        assert turn.metrics["rmse"]["value"] < 10
        by_text, by_number = wheel.predict([{"size": "20,5"}, {"size": 20.5}])
    assert by_text.value == by_number.value == pytest.approx(2050, abs=20)
    run = CliRunner().invoke(
        app, ["-C", str(tmp_path), "predict", str(table), "-o", str(tmp_path / "answers.csv")]
    )
    assert run.exit_code == 0, run.output
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as file:
        answers = [float(row["price_predicted"]) for row in csv.DictReader(file)]
    assert np.abs(np.array(answers) - prices).mean() < 10
    # Corrections in the same writing: of rows that are new.
    said = write_table(tmp_path / "said.csv", ("size", "price"), [("50,25", "5.025,10")])
    run = CliRunner().invoke(app, ["-C", str(tmp_path), "feedback", "import", str(said)])
    assert run.exit_code == 0, run.output
    with Wheel(tmp_path) as wheel:
        kept = list(wheel.log.standing_feedback())
    assert [(dict(row.inputs), row.value) for row in kept] == [({"size": "50.25"}, 5025.1)]
