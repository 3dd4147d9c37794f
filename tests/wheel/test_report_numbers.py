"""The report where numbers are predicted, and where several models were trained."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import SCRIPT, drawn, metric, record

from volano import Wheel
from volano.evaluation import judge
from volano.evaluation.regression import conformal_half_width, regression_report

NUM_ROWS = 400


def houses(turn: int = 1, **changes: Any) -> dict[str, Any]:
    """The record of a turn that predicts prices, from several models."""
    errors = np.random.default_rng(0).normal(0, 100, NUM_ROWS)
    ours, theirs = -(errors**2), -((1.5 * errors) ** 2)
    models = [
        {"name": "linear", "family": "linear", "num_weights": 12, "loss": 10500.0, "seconds": 0.2},
        {"name": "boosted", "family": "trees", "num_weights": 3400, "loss": 9800.0, "seconds": 3.1},
        {"name": "network", "refused": f"torch is not installed {SCRIPT}", "seconds": 0.0},
    ]
    whole = record(
        turn,
        task="regression",
        headline="rmse",
        metrics={
            "rmse": metric(101.5, 4.0),
            "mae": metric(80.25, 3.0),
            "r2": metric(0.934, 0.01),
            "bias": metric(-2.5, 8.0),
            "interval_coverage": metric(0.9, 0.03),
            "my_own": metric(3.25, 0.5),
        },
        validation={"rmse": metric(99.0, 9.0), "r2": metric(0.94, 0.01)},
        baselines={"mean": {"squared_error": -160000.0}, "small_tree": {"squared_error": -22500.0}},
        temperature=None,
        candidates=[
            {"name": "boosted", "model": "boosted", "size_bytes": 190_000, "p50_ms": 0.08,
             "p99_ms": 0.2, "rows_per_s": 90000.0, "passed": True, "loss": 0.0, "score": -1.0,
             "mean_score": -9800.0, "chosen": False},
            {"name": "linear", "model": "linear", "size_bytes": 3_000, "p50_ms": 0.02,
             "p99_ms": 0.1, "rows_per_s": 190000.0, "passed": True, "loss": 0.004, "upper": 0.012,
             "score": -1.004, "mean_score": -9839.2, "chosen": True},
        ],
    )  # fmt: skip
    whole["gate"] |= {
        "reference": "the best baseline, small_tree",
        "metric": "squared_error",
        "judgement": judge(ours, theirs, alpha=0.0038).as_dict(),
        "scores": {"candidate": float(ours.mean()), "reference": float(theirs.mean())},
        "golden_rows": NUM_ROWS,
    }
    whole["training"] |= {
        "models": models,
        "best": "boosted",
        "order": ["boosted", "linear"],
        "epochs": None,
        "classes": 0,
        "trees": 80,
        "rounds": 80,
        "losses": [20000 / (1 + tree) + 9800 for tree in range(100)],
        "losses_every": 2,
    }
    whole["data"]["columns"] = {
        "size": {"missing": 0, "unreadable": 2, "outside": 1},
        "town": {"unseen": 40},
    }
    whole["lineage"] |= {
        "data": {"ingredients": {"inputs": {"size": "number", "town": "category"}}},
        "compress": {"ingredients": {"metric": "auto", "compress": {"margin": 0.005}}},
    }
    return whole | changes


def answers(folder: Path) -> dict[str, Path]:
    """The artifacts of deploy, for errors whose size is that of the record's."""
    rng = np.random.default_rng(0)
    right = rng.uniform(500, 2000, NUM_ROWS)
    predicted = right + rng.normal(0, 100, NUM_ROWS)
    half = conformal_half_width(predicted - right, 0.9)
    report = regression_report(predicted, right, half_width=half, num_resamples=50)
    mistake = {
        "row": 3,
        "place": "houses.csv row 17",
        "inputs": {"size": "81.5", "town": SCRIPT, "rooms": "3", "year": "1970"},
        "right": "1500",
        "predicted": "1100.5",
        "error": -399.5,
    }
    texts = {
        "golden_report.json": json.dumps(report),
        "mistakes.jsonl": "\n".join([json.dumps(mistake)] * 15),
        "bundle/manifest.json": json.dumps({"task": {"state": {"half_width": half}}}),
    }
    for name, text in texts.items():
        path = folder / "deploy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {"deploy": folder / "deploy"}


def test_the_sections_are_those_of_numbers(tmp_path: Path) -> None:
    text, page = drawn(tmp_path, houses(), answers(tmp_path / "a"))
    assert [name for name in page.ids if not name.endswith("-title") and name != "why"] == [
        *("verdict", "ships", "metrics", "data", "models", "training", "fit", "residuals"),
        *("intervals", "candidates", "mistakes", "history", "making"),
    ]
    for words in ("accuracy", "Confusion", "Reliability", "F1", "class", "temperature"):
        assert not re.search(rf"\b{words}\b", page.text), words
    assert SCRIPT not in text


def test_the_verdict_speaks_of_errors(tmp_path: Path) -> None:
    _, page = drawn(tmp_path, houses(), answers(tmp_path / "a"))
    assert "better than the best simple baseline, small_tree" in page.text
    assert "its RMSE is 9" in page.text
    assert "that of a tree of three questions is 1" in page.text
    # 1 - 1 / 1.5: the baseline's errors are half as large again.
    assert "Effect+33.3 %" in page.text
    assert "Typical error (RMSE) on golden rows" in page.text
    assert "small_tree 150" in page.text
    assert "mean 400" in page.text
    assert "R²" in page.text
    assert "My own" in page.text


def test_the_largest_errors_are_listed(tmp_path: Path) -> None:
    _, page = drawn(tmp_path, houses(), answers(tmp_path / "a"))
    part = page.text.partition("Worst mistakes")[2]
    for words in ("houses.csv row 17", "size: 81.5", "1100.5", "−399.5", "Error"):
        assert words in part, words
    assert "How sure" not in part


def test_intervals_are_held_against_their_promise(tmp_path: Path) -> None:
    turn, folders = houses(), answers(tmp_path / "a")
    _, page = drawn(tmp_path, turn, folders)
    assert "As often as promised" in page.text
    assert "Each answer ±" in page.text
    turn["metrics"]["interval_coverage"] = metric(0.7, 0.03)
    assert "Less often than promised" in drawn(tmp_path, turn, folders)[1].text
    turn["metrics"]["interval_coverage"] = metric(0.99, 0.005)
    assert "More often than promised" in drawn(tmp_path, turn, folders)[1].text
    del turn["metrics"]["interval_coverage"]
    assert "Its answers come without an interval" in drawn(tmp_path, turn, folders)[1].text


def test_all_models_are_shown_and_why_one_ships(tmp_path: Path) -> None:
    turn = houses()
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    part = page.text.partition("What was trained")[2]
    assert part.index("boosted") < part.index("linear")
    assert "linear ships although boosted did better on validation rows" in page.text
    assert "left out: torch is not installed" in page.text
    turn["candidates"][0]["chosen"] = True
    turn["candidates"][1] |= {"chosen": False, "passed": False, "refused": "loses 7.00% of it"}
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    assert "boosted ships: none of the others is as good" in page.text
    assert "loses 7.00% of it" in page.text
    assert "small" not in page.text.partition("What ships")[0].partition("Verdict")[2]
    turn["training"]["models"] = turn["training"]["models"][:1]
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    assert "models" not in page.ids


def test_every_trial_and_every_member_of_an_ensemble_is_shown(tmp_path: Path) -> None:
    turn = houses()
    losses = (12100.0, None, 10000.0, 10404.0)
    turn["training"]["trials"] = [
        {
            "number": place,
            "model": "boosted",
            "settings": {"learning_rate": 0.0312345, "num_leaves": 10 + place},
            "loss": loss,
            "spread": 400.0 if loss else None,
            "state": "complete" if loss else "pruned",
            "seconds": 2.5,
        }
        for place, loss in enumerate(losses)
    ]
    turn["training"]["models"].append(
        {
            "name": "ensemble",
            "family": "ensemble",
            "num_weights": 1,
            "loss": 9700.0,
            "seconds": 1.0,
            "members": [["linear-0", 0.25], [f"boosted-2{SCRIPT}", 0.75]],
        }
    )
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    part = page.text.partition("What was tried")[2].partition("What was tried")[2]
    part = part.partition("How it learned")[0]
    assert "4 trials, 1 trial stopped early" in part
    assert "learning rate 0.0312, num leaves 12" in part
    # RMSE 100, and how far it strays where the mean square strays by 400.
    assert "100 ± 2" in part
    assert part.count("stopped early") == 2
    assert "the best" in part
    found = page.text.partition("What the ensemble is made of")[2]
    assert found.index("boosted-2") < found.index("linear-0")
    assert "0.750" in found
    del turn["training"]["trials"][1:]
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    assert "trials" not in page.ids


def test_what_trees_and_linear_models_learned(tmp_path: Path) -> None:
    turn = houses()
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    assert "Validation loss per tree" in page.text
    assert "Here: boosted." in page.text
    assert "Loss per epoch" not in page.text
    turn["training"] |= {
        "losses": None,
        "penalty": 0.1,
        "penalties": [{"penalty": p, "validation_loss": 5 + p} for p in (0.1, 1.0)],
    }
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    assert "Penalty on large weights" in page.text
    assert "0.1" in page.text


def test_candidates_have_their_own_unit(tmp_path: Path) -> None:
    _, page = drawn(tmp_path, houses(), answers(tmp_path / "a"))
    part = page.text.partition("Candidates")[2].partition("Candidates")[2]
    assert "RMSE 98.99" in part
    assert "0.40 % (at most 1.20 %)" in part


def test_what_columns_lost(tmp_path: Path) -> None:
    turn = houses()
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    part = page.text.partition("Lost on the way into the model")[2]
    assert "size number" in part
    assert "40 (5.1 %)" in part
    for counts in turn["data"]["columns"].values():
        counts.update(dict.fromkeys(counts, 0))
    _, page = drawn(tmp_path, turn, answers(tmp_path / "a"))
    assert "Every value of every column could be read as it was." in page.text


def test_later_turns_and_their_history(tmp_path: Path) -> None:
    first, second = houses(1), houses(2)
    first["metrics"]["rmse"] = metric(140.0, 5.0)
    second["gate"] |= {"champion_turn": 1, "reference": "the champion of turn 1"}
    _, page = drawn(tmp_path, second, answers(tmp_path / "a"), [first, second])
    assert "RMSE of every turn on the golden rows" in page.text
    assert "140 135 to 145" in page.text
    assert "smaller than the champion’s" in page.text


@pytest.mark.parametrize("part", sorted(houses()))
def test_any_part_may_be_missing(tmp_path: Path, part: str) -> None:
    turn = houses()
    del turn[part]
    drawn(tmp_path, turn, answers(tmp_path / "a"), [turn])


@pytest.mark.parametrize("values", [[], [1.0], [5.0] * 20, [1e300, -1e300], [1e-12, 2e-12]])
def test_odd_numbers_can_be_drawn(tmp_path: Path, values: list[float]) -> None:
    folders = answers(tmp_path / "a")
    found = {"residuals": {"predicted": values, "target": values[::-1]}, "num_rows": len(values)}
    (folders["deploy"] / "golden_report.json").write_text(json.dumps(found))
    drawn(tmp_path, houses(), folders)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with one number in and one out, after its turn."""
    root = tmp_path_factory.mktemp("line")
    rng = np.random.default_rng(0)
    with (root / "houses.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["size", "price"])
        for size in rng.uniform(40, 250, 160):
            table.writerow([f"{size:.1f}", f"{30000 + 2100 * size + rng.normal(0, 9000):.0f}"])
    (root / "volano.yaml").write_text(
        "name: line\ndata: houses.csv\ninputs: {size: number}\ntarget: {price: number}\n"
        "train: {models: [linear]}\ngate: {min_rows: 10}\n",
        encoding="utf-8",
    )
    with Wheel(root) as wheel:
        made = wheel.turn()
        assert repr(made).startswith(f"<volano.Turn 1 {made.verdict} rmse=")
    return root


def test_one_number_in_and_one_out_is_drawn_with_its_line(line: Path) -> None:
    text = (line / ".volano" / "turns" / "0001" / "report.html").read_text(encoding="utf-8")
    assert "price against size, with the fitted line" in text
    assert "The band is meant to hold nine of ten." in text
    (path,) = re.findall(r'class="curve bad" d="M([^"]+)"', text)
    places = np.array([part.split() for part in path.split("L")], float)
    # A straight line, drawn to a tenth of a unit.
    slope = np.diff(places[:, 1]) / np.diff(places[:, 0])
    assert len(places) == 200
    assert np.polyfit(places[:, 0], places[:, 1], 1, full=True)[1][0] < 1
    assert (slope <= 0).all()


def test_the_line_is_left_out_when_its_rows_are_gone(line: Path) -> None:
    from volano.wheel.report import write_report

    with Wheel(line) as wheel:
        turn = wheel.show(1)
        folders = {
            name: wheel.store.artifact(digest).path
            for name, digest in turn.record["artifacts"].items()
            if name != "data"
        }
        write_report(line / "again.html", turn.record, folders, [turn.record])
    text = (line / "again.html").read_text(encoding="utf-8")
    assert "with the fitted line" not in text
    assert "Predicted numbers against the right ones" in text


def test_names_of_many_candidates_do_not_lie_on_each_other() -> None:
    from volano.wheel.report._charts import Point, scatter

    rng = np.random.default_rng(0)
    points = [
        Point(f"model {place}", "RMSE 1", 0.1 + x, 0.3 + 0.01 * y, "theirs")
        for place, (x, y) in enumerate((rng.uniform(size=(7, 2)) * [0.2, 1]).tolist())
    ]
    points.append(Point("large", "ships", 9.0, 0.9, "ours"))
    drawing = str(
        scatter(points, x_name="MB", y_name="ms", write_x=lambda x: f"{x:g}", write_y=str)
    )
    found = re.findall(r"<text[^>]*>model [0-9]", drawing)
    heights = [float(re.findall(r' y="([0-9.]+)"', text)[0]) for text in found]
    assert len(heights) == 7
    assert min(np.diff(sorted(heights))) >= 26
    assert max(heights) <= 240
    assert min(heights) >= 12


def test_an_error_cannot_be_more_than_gone() -> None:
    from volano.wheel.report._evidence import Interval
    from volano.wheel.report._measures import JUDGED

    # Half of the squared error is gone, give or take six tenths.
    shown = JUDGED["squared_error"].shown(Interval(0.5, -0.1, 1.1), -1.0)
    assert shown.value == pytest.approx(1 - 0.5**0.5)
    assert shown.low == pytest.approx(1 - 1.1**0.5)
    assert shown.value < shown.high < 1
    assert shown.high == pytest.approx(1 - (0.5 * np.exp(-1.2)) ** 0.5)
    usual = JUDGED["squared_error"].shown(Interval(0.2, 0.1, 0.3), -1.0)
    assert usual.high == pytest.approx(1 - 0.7**0.5)
    whole = JUDGED["absolute_error"].shown(Interval(1.0, 0.9, 1.1), -1.0)
    assert whole.high <= 1
