"""Tables of mixed columns, from a CSV to answers, with no torch on the way."""

from __future__ import annotations

import csv
import datetime
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mixed_tables import mixed_rows
from tiny import write_table

import volano
from volano import Wheel

FEW = "train: {seed: 1}\ngate: {min_rows: 10}\n"


def write(folder: Path, *, names: bool, num_rows: int = 400) -> Path:
    """A table with gaps, a row without its target, and one with a date that is none."""
    rows, right = mixed_rows(num_rows, 3)
    start = datetime.date(2024, 1, 1)
    sold = [(start + datetime.timedelta(days=3 * row)).isoformat() for row in range(num_rows)]
    sold[7] = "soon"
    worth = np.median(right)
    price = [("dear" if value > worth else "cheap") if names else f"{value:.2f}" for value in right]
    price[9] = ""
    columns = [*rows.values(), sold, price]
    table = [tuple(str(value) for value in row) for row in zip(*columns, strict=True)]
    return write_table(folder / "houses.csv", (*rows, "sold", "price"), table)


def volano_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "volano", *words, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module", params=["numbers", "names"])
def turned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel after init, check and one turn, all in processes of their own."""
    folder = tmp_path_factory.mktemp(request.param)
    write(folder, names=request.param == "names")
    volano_command(folder, "init", "houses.csv", "--target", "price")
    with Wheel(folder) as wheel:
        columns = {**wheel.spec.inputs, **wheel.spec.target}
    assert {name: column.type for name, column in columns.items()} == {
        "price": "category" if request.param == "names" else "number",
        "size": "number",
        "age": "number",
        "town": "category",
        "garden": "boolean",
        "sold": "datetime",
    }
    spec = folder / "volano.yaml"
    spec.write_text(spec.read_text(encoding="utf-8") + FEW, encoding="utf-8")
    found = json.loads(volano_command(folder, "check").stdout)
    counts = {name: entry["rows"] for name, entry in found["cleaning"]["counts"].items()}
    assert (counts["read"], counts["empty"], counts["kept"]) == (400, 1, 399)
    # torch would be seen among the modules that Python says it imports.
    code = (
        "import sys; from volano import Wheel\n"
        "with Wheel('.') as wheel: wheel.turn()\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]", "a turn of a table imports no torch"
    return folder


@pytest.fixture
def root(turned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(turned, tmp_path / "wheel"))


def test_a_good_model_ships(turned: Path) -> None:
    with Wheel(turned) as wheel:
        metrics = wheel.show(1).record["metrics"]
    names = "cheap" in (turned / "houses.csv").read_text(encoding="utf-8")
    if names:
        assert metrics["accuracy"]["value"] > 0.85
    else:
        assert metrics["rmse"]["value"] < 10, "noise of 5, and gaps"
        assert metrics["r2"]["value"] > 0.9
        assert metrics["interval_coverage"]["value"] > 0.7
    report = (turned / ".volano" / "turns" / "0001" / "report.html").read_text(encoding="utf-8")
    assert "linear" in report
    assert "boosted" in report


def test_nothing_changed_nothing_runs(root: Path) -> None:
    with Wheel(root) as wheel:
        again = wheel.turn()
    assert again.unchanged
    assert again.number == 1


def test_only_what_depends_on_a_change_runs(root: Path) -> None:
    spec = root / "volano.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("seed: 1", "seed: 2"), "utf-8")
    with Wheel(root) as wheel:
        stages = wheel.turn().record["stages"]
    ran = [item["name"] for item in stages if not item["cached"]]
    assert "train" in ran
    assert not {"data", "golden", "prepare"} & set(ran)


def test_a_killed_turn_goes_on_and_ends_in_the_same_bundle(root: Path) -> None:
    """The second stage of models dies; what was done before is kept."""
    with Wheel(root) as wheel:
        wanted = wheel.show(1).record["bundle_id"]
    code = (
        "import os\n"
        "from volano import Wheel\n"
        "from volano.training.boosted import BoostedLearner\n"
        "BoostedLearner.fit = staticmethod(lambda job: os._exit(9))\n"
        "with Wheel('.') as wheel: wheel.turn()\n"
    )
    shutil.rmtree(root / ".volano")
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, capture_output=True)
    assert done.returncode == 9
    with Wheel(root) as wheel:
        turn = wheel.turn()
        assert turn.record["bundle_id"] == wanted
        kept = {item["name"] for item in turn.record["stages"] if item["cached"]}
    assert {"data", "golden", "prepare"} <= kept


def test_answers(root: Path) -> None:
    names = "cheap" in (root / "houses.csv").read_text(encoding="utf-8")
    with Wheel(root) as wheel:
        if wheel.show(1).verdict != "promoted":
            wheel.promote(1)
    volano_command(root, "predict", "houses.csv", "-o", "answers.csv")
    with (root / "answers.csv").open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == 400
    if names:
        assert {row["price_predicted"] for row in answers} == {"cheap", "dear"}
        assert "price_low" not in answers[0]
    else:
        assert "price_probability" not in answers[0]
        inside = [
            float(row["price_low"]) <= float(row["price"]) <= float(row["price_high"])
            for row in answers
            if row["price"]
        ]
        assert 0.8 < np.mean(inside) <= 1.0
    volano_command(root, "bundle", "export", "houses.volano")
    model = volano.load(root / "houses.volano")
    row = {"size": 80, "age": None, "town": "Nowhere", "garden": True, "sold": "01.02.2024"}
    (answer,) = model.predict([row])
    fields = answer.as_dict()
    json.dumps(fields, allow_nan=False)
    assert any("'Nowhere' has no code of its own" in note for note in answer.notes)
    if names:
        assert fields["probability"] == max(fields["probabilities"].values())
        assert "low" not in fields
    else:
        assert not {"probability", "probabilities"} & set(fields)
        assert fields["low"] < fields["value"] < fields["high"]
    (far,) = model.predict([{**row, "size": 1e300}])
    json.dumps(far.as_dict(), allow_nan=False)
    assert names or math.isfinite(far.value)
    wrong = [("size", "big", "REQUEST-013"), ("garden", "maybe", "REQUEST-014"),
             ("sold", "soon", "REQUEST-015"), ("town", ["Ulm"], "REQUEST-011")]  # fmt: skip
    for column, value, code in wrong:
        with pytest.raises(volano.errors.RequestError, match=code):
            model.predict([{**row, column: value}])
