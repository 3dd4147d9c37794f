"""A sensor log, from `init` to answers: the same commands, and a verdict that knows of overlaps."""

from __future__ import annotations

import csv
import datetime
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import volano
from volano.errors import DataError, WheelError
from volano.wheel import Wheel, answer_table, check_lines, init_wheel


def log(path: Path, num: int, *, start: int = 0, seed: int = 0, gap: int | None = None) -> None:
    """Hours of two series that turn with the day, one of them drifting."""
    time = np.arange(start, start + num)
    random = np.random.default_rng(seed)
    # Noise that remembers: what repeats a season or smooths cannot know it all.
    noise = np.zeros((start + num, 2))
    for at in range(1, start + num):
        noise[at] = 0.8 * noise[at - 1] + np.random.default_rng([seed, at]).normal(0, 0.1, 2)
    noise = noise[start:]
    values = np.stack(
        [
            10 + 3 * np.sin(time / 24 * 2 * np.pi) + time / 500,
            50 + 5 * np.cos(time / 24 * 2 * np.pi) + 2 * np.sin(time / 7),
        ],
        axis=1,
    )
    values = values + noise
    first = datetime.datetime(2026, 1, 1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["at", "load", "heat"])
        for at, row in zip(time.tolist(), values.round(4).tolist(), strict=True):
            if at != gap:
                writer.writerow([first + datetime.timedelta(hours=at), *row])
    del random


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("log")
    log(root / "log.csv", 900, gap=100)
    found = init_wheel(root, [str(root / "log.csv")])
    assert found.reasons[0].startswith("heat: series (target): rows in time order")
    assert "horizon: 24, window: auto, also: [load]" in found.path.read_text()
    text = found.path.read_text().replace("horizon: 24, window: auto", "horizon: 6, window: 48")
    found.path.write_text(text)
    return root


def test_a_log_turns_into_a_forecaster(wheel_folder: Path) -> None:
    with Wheel(wheel_folder) as wheel:
        checked = wheel.check()
        assert (checked["target"]["steps"], checked["target"]["step"]) == (900, "3600.0 s")
        assert "  target                 900 steps of 3600.0 s (mended: 1 gaps)" in check_lines(
            checked
        )
        turn = wheel.turn()
        record = turn.record
        assert turn.verdict == "promoted", record["reason"]
        assert record["task"] == "forecasting"
        assert record["headline"] == "mse"
        judged = record["gate"]["judgement"]
        # 135 golden steps: 130 forecasts, of which 22 share no step.
        assert judged["num_rows"] == 22
        assert "22 golden forecasts that share no step" in record["reason"]
        assert set(record["baselines"]) == {"seasonal_naive", "exponential_smoothing"}
        assert 0.8 < record["metrics"]["interval_coverage"]["value"] <= 1
        page = turn.report.read_text(encoding="utf-8")
        for words in ("Forecasts and what came", "Step by step", "Series by series", "MASE"):
            assert words in page
        assert wheel.turn().unchanged


def test_a_request_gives_histories_and_gets_steps_with_intervals(wheel_folder: Path) -> None:
    with Wheel(wheel_folder) as wheel:
        model = wheel.model()
        long = {"heat": [50.0 + at % 24 for at in range(48)], "load": [10.0] * 48}
        short = {"heat": [50.0, None, 52.0], "load": [10.0] * 48}
        one, two = wheel.predict([long, short], model=model)
        assert set(one.value) == {"heat", "load"}
        assert len(one.value["heat"]) == 6
        assert all(
            low < value < high
            for low, value, high in zip(
                one.low["heat"], one.value["heat"], one.high["heat"], strict=True
            )
        )
        np.testing.assert_allclose(one.value["load"], 10, atol=0.5)
        assert one.notes == ()
        assert two.notes == (
            "heat: 1 missing values were filled, "
            "3 values where 48 are looked at; the first was repeated",
        )
        json.dumps(one.as_dict())
        # Nothing but the latest values counts.
        more = {name: [999.0, *values] for name, values in long.items()}
        assert model.predict([more])[0].value == one.value


def test_predict_writes_the_rows_that_follow(wheel_folder: Path, tmp_path: Path) -> None:
    from volano.data import resolve

    log(tmp_path / "now.csv", 200, start=900)
    files = resolve(["now.csv"], root=tmp_path)
    with Wheel(wheel_folder) as wheel:
        model = wheel.model()
        found = answer_table(files, tmp_path / "next.csv", model=model, predict=model.predict)
    assert (found.rows, found.answered) == (6, 6)
    assert (
        "the 6 steps that follow 200 of now.csv, the last at 2026-02-15 19:00:00" in found.notes[0]
    )
    with (tmp_path / "next.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["at"] for row in rows][::5] == ["2026-02-15 20:00:00", "2026-02-16 01:00:00"]
    log(tmp_path / "then.csv", 6, start=1100)
    with (tmp_path / "then.csv").open(encoding="utf-8", newline="") as file:
        came = list(csv.DictReader(file))
    for row, right in zip(rows, came, strict=True):
        assert float(row["heat_predicted"]) == pytest.approx(float(right["heat"]), abs=1.0)
        assert float(row["heat_low"]) < float(row["heat_predicted"]) < float(row["heat_high"])


def test_later_rows_teach_and_corrections_of_forecasts_do_no_harm(wheel_folder: Path) -> None:
    with Wheel(wheel_folder) as wheel:
        before = wheel.history()[0]
        model = wheel.model()
        [answer] = wheel.predict([{"heat": [50.0] * 48, "load": [10.0] * 48}], model=model)
        value = model.target.check({"heat": [50.0]})
        from volano.store import Correction

        wheel.log.feedback([Correction(answer.id, value, "me")])
        log(wheel_folder / "log.csv", 1300, gap=100)
        turn = wheel.turn()
        assert turn.number == 2
        assert turn.record["gate"]["reference"] == "the champion of turn 1"
        assert turn.record["gate"]["judgement"]["num_rows"] == 22
        assert turn.record["training"]["rows"] > before["training"]["rows"] + 300
        assert turn.record["artifacts"]["golden"] == before["artifacts"]["golden"]


def test_the_bundle_needs_no_torch(wheel_folder: Path) -> None:
    with Wheel(wheel_folder) as wheel:
        bundle = wheel.champion_bundle
    code = (
        "import sys, volano\n"
        f"model = volano.load({str(bundle)!r})\n"
        "answer = model.predict([{'heat': [50.0] * 48, 'load': [10.0] * 48}])[0]\n"
        "assert len(answer.value['heat']) == 6\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'pyarrow', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert volano.load(bundle).inputs.keys() == {"heat", "load"}


def _spec(root: Path, **target: object) -> None:
    options = ", ".join(f"{name}: {value}" for name, value in target.items())
    (root / "volano.yaml").write_text(
        "name: log\ndata: log.csv\ninputs: {at: datetime, load: number}\n"
        f"target: {{heat: {{type: series, {options}}}}}\n"
    )


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"horizon": 90, "window": 48}, "DATA-064"),
        ({"horizon": 6, "window": 250}, "DATA-064"),
        ({"horizon": 6, "window": 48, "season": 240}, "DATA-067"),
    ],
)
def test_check_refuses_what_the_turn_would(
    target: dict[str, object], code: str, tmp_path: Path
) -> None:
    log(tmp_path / "log.csv", 300)
    _spec(tmp_path, **target)
    with Wheel(tmp_path) as wheel:
        for command in (wheel.check, wheel.turn):
            with pytest.raises(DataError) as caught:
                command()
            assert caught.value.code == code


def test_rows_of_the_same_dates_are_refused_with_a_hint_at_groups(tmp_path: Path) -> None:
    log(tmp_path / "log.csv", 200)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    (tmp_path / "log.csv").write_text("\n".join([*lines, *lines[1:], *lines[1:]]) + "\n")
    _spec(tmp_path, horizon=6, window=24)
    (tmp_path / "volano.yaml").write_text(
        (tmp_path / "volano.yaml").read_text() + "clean: {duplicates: keep}\n"
    )
    with Wheel(tmp_path) as wheel:
        for command in (wheel.check, wheel.turn):
            with pytest.raises(DataError, match="400 of 600 rows have the date of another row"):
                command()


def test_check_says_that_the_gate_would_have_too_few_forecasts(tmp_path: Path) -> None:
    log(tmp_path / "log.csv", 400)
    _spec(tmp_path, horizon=24, window=48)
    with Wheel(tmp_path) as wheel:
        said = "\n".join(check_lines(wheel.check()))
        assert "warning: 60 golden steps hold 2 forecasts of 24 steps that share none" in said
        turn = wheel.turn()
        assert turn.verdict == "inconclusive"
        assert turn.record["reason"].startswith("2 golden forecasts that share no step are too few")
        assert turn.record["gate"]["independent_rows"] == 2
        page = turn.report.read_text(encoding="utf-8")
        assert "There are too few golden forecasts that share no step to judge on: 2" in page


def test_a_number_that_is_too_large_is_a_gap(tmp_path: Path) -> None:
    log(tmp_path / "log.csv", 300)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    for at, value in ((50, "1e308"), (60, "-1e300"), (290, "1e308")):
        date, _, heat = lines[at].split(",")
        lines[at] = f"{date},{value},{heat}"
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    _spec(tmp_path, horizon=6, window=24, also="[load]")
    with Wheel(tmp_path) as wheel:
        assert wheel.check()["target"]["mended"]["unreadable"] == 3
        turn = wheel.turn()
        assert turn.record["metrics"]["mse"]["value"] < 10


def test_answers_of_a_forecast_are_no_corrections(tmp_path: Path) -> None:
    from volano.data import resolve
    from volano.store import PredictionLog
    from volano.wheel import import_feedback

    (tmp_path / "answers.csv").write_text("at,heat,prediction_id\n2026-01-01,1,a\n2026-01-02,2,a\n")
    files = resolve(["answers.csv"], root=tmp_path)
    log_: PredictionLog = None  # type: ignore[assignment]
    with pytest.raises(WheelError, match="append the rows, with heat as it came") as caught:
        import_feedback(
            log_, files, inputs=["load"], target="heat", known=(), who="me", kind="series"
        )
    assert caught.value.code == "WHEEL-044"
