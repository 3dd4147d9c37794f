"""The report of forecasts: one measure throughout, forecasts and not rows, and plain words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from drawn import drawn, metric, record

from volano.evaluation import judge
from volano.evaluation.forecasting import forecast_report


def log(baseline: float, **changes: Any) -> dict[str, Any]:
    """The record of a turn whose forecasts have a squared error of 0.5."""
    ours, theirs = -np.full(20, 0.5), -np.full(20, -baseline)
    whole = record(
        1,
        task="forecasting",
        headline="mse",
        metrics={"mse": metric(0.5, 0.05), "mae": metric(0.4, 0.05)},
        validation={"mse": metric(0.45, 0.05)},
        baselines={
            "seasonal_naive": {"squared_error": baseline - 0.1},
            "exponential_smoothing": {"squared_error": baseline},
        },
        temperature=None,
    )
    whole["gate"] |= {
        "reference": "the best baseline, exponential_smoothing",
        "metric": "squared_error",
        "judgement": judge(ours, theirs, alpha=0.0038).as_dict(),
        "scores": {"candidate": -0.5, "reference": baseline},
        "golden_rows": 100,
    }
    whole["training"] |= {"epochs": None, "classes": 0, "models": []}
    return whole | changes


def answers(folder: Path) -> dict[str, Path]:
    right = np.random.default_rng(0).normal(size=(30, 3, 1))
    report = forecast_report(
        right + 0.5,
        right,
        series=("load",),
        centres=np.zeros(1),
        spreads=np.ones(1),
        naive_errors=np.ones(1),
        half_widths=None,
    )
    mistake = {
        "row": 3,
        "place": "log.csv row 17",
        "inputs": {"load": [1.5, 2.5]},
        "right": "1, 2, 3",
        "predicted": "4, 5, 6",
        "error": 9.25,
    }
    for name, text in {
        "golden_report.json": json.dumps(report),
        "mistakes.jsonl": json.dumps(mistake),
    }.items():
        path = folder / "deploy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {"deploy": folder / "deploy"}


def test_one_measure_throughout(tmp_path: Path) -> None:
    _, page = drawn(tmp_path, log(-1.0), answers(tmp_path / "a"))
    assert "its mean squared error is 0.5" in page.text
    assert "20 golden forecasts of which no two share a step" in page.text
    assert "RMSE" not in page.text
    assert "does not beat" not in page.text
    part = page.text.partition("Worst mistakes")[2]
    for words in ("Mean squared error", "9.25", "log.csv row 17", "no two of which share a step"):
        assert words in part, words
    for words in ("How sure", "925", "wrong answers"):
        assert words not in part, words


def test_it_says_plainly_that_a_baseline_is_as_good(tmp_path: Path) -> None:
    _, page = drawn(tmp_path, log(-0.45), answers(tmp_path / "a"))
    assert "This model does not beat exponential smoothing on the golden rows" in page.text
    _, page = drawn(tmp_path, log(-0.5), answers(tmp_path / "b"))
    assert "This model does not beat exponential smoothing" in page.text


def test_too_few_are_forecasts_that_share_no_step(tmp_path: Path) -> None:
    turn = log(-1.0, verdict="inconclusive", reason="2 golden forecasts that share no step")
    turn["gate"] |= {"judgement": None, "independent_rows": 2, "golden_rows": 100}
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    assert "There are too few golden forecasts that share no step to judge on: 2" in page.text
