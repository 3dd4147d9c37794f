"""The commands on a table of numbers: what a person reads, and what `--json` holds."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volano import Wheel

HEAD = ["size", "rooms", "town", "garden", "built", "price"]


def write_houses(path: Path, num_rows: int = 240) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEAD)
        for row in range(num_rows):
            size, rooms = rng.uniform(40, 250), rng.integers(1, 9)
            town = ("Rome", "Milan", "Bari")[row % 3]
            price = 2100 * size + 9000 * rooms + 50000 * (town == "Milan") + rng.normal(0, 9000)
            # Every fiftieth size is missing, one is a word.
            shown = "" if row % 50 == 7 else "large" if row == 11 else f"{size:.1f}"
            built = f"19{rng.integers(10, 99)}-0{rng.integers(1, 10)}-11"
            table.writerow([shown, rooms, town, ("yes", "no")[row % 2], built, f"{price:.0f}"])
    return path


@pytest.fixture(scope="module")
def turned_houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that predicts a price, after its turn. Not to be changed."""
    root = tmp_path_factory.mktemp("houses") / "wheel"
    root.mkdir()
    write_houses(root / "houses.csv")
    (root / "volano.yaml").write_text(
        "name: houses\ndata: houses.csv\n"
        "inputs: {size: number, rooms: number, town: category, garden: boolean, built: datetime}\n"
        "target: {price: number}\ntrain: {models: [linear]}\n",
        encoding="utf-8",
    )
    with Wheel(root) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(turn.number)
    return root


@pytest.fixture
def houses(turned_houses: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(turned_houses, tmp_path / "houses"))


def test_init_says_the_type_and_reason_of_each_column(tmp_path: Path, run: Any) -> None:
    write_houses(tmp_path / "houses.csv")
    done = run("init", "houses.csv", "--target", "price", cwd=tmp_path)
    assert done.status == 0, done.err
    for words in (
        "price: number (target): whole numbers from",
        "size: number: numbers from",
        "town: category: 3 names in 240 rows",
        "garden: boolean: yes or no",
        "built: datetime: ",
    ):
        assert words in done.out, words
    text = (tmp_path / "volano.yaml").read_text(encoding="utf-8")
    asked = "category asks for classification, labels asks for multilabel, number asks for"
    assert f"  # {asked} regression" in text
    # The options of a type are shown once, whatever the number of its columns.
    assert text.count("type: number, scale: auto") == 1
    assert "# size: {type: number, scale: auto}   # scale: standard, robust" in text
    assert "[linear, boosted]" in text
    assert run("check", cwd=tmp_path).status == 0


def test_the_hint_of_each_type_can_be_used(tmp_path: Path, run: Any) -> None:
    write_houses(tmp_path / "houses.csv")
    assert run("init", "houses.csv", "--target", "price", cwd=tmp_path).status == 0
    path = tmp_path / "volano.yaml"
    text = path.read_text(encoding="utf-8")
    with Wheel(tmp_path) as wheel:
        plain = wheel.spec
    for name, kind in (("size", "number"), ("town", "category")):
        assert f"  {name}: {kind}\n  # {name}:" in text
        text = text.replace(f"  {name}: {kind}\n  # {name}:", f"  {name}:")
    path.write_text(text, encoding="utf-8")
    with Wheel(tmp_path) as wheel:
        assert wheel.spec == plain


def test_without_a_target_the_candidates_are_listed(tmp_path: Path, run: Any) -> None:
    lines = ["a,b,price", *(f"{n / 7},{n * 1.5},{n**2 + 0.5}" for n in range(60))]
    (tmp_path / "numbers.csv").write_text("\n".join(lines), encoding="utf-8")
    done = run("init", "numbers.csv", cwd=tmp_path)
    assert done.status == 1
    assert "DATA-511" in done.err
    assert "price (number: numbers from 0.5 to 3481.5, 60 different); b (number" in done.err
    assert "--target price" in done.err
    assert not (tmp_path / "volano.yaml").exists()


def test_a_number_called_target_is_taken_for_it(tmp_path: Path, run: Any) -> None:
    lines = ["target,b,town", *(f"{n / 7},{n * 1.5},{'ab'[n % 2]}" for n in range(60))]
    (tmp_path / "numbers.csv").write_text("\n".join(lines), encoding="utf-8")
    done = run("init", "numbers.csv", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "target: number (target)" in done.out
    assert "by its name, --target says otherwise" in done.out


def test_check_speaks_of_numbers(houses: Path, run: Any) -> None:
    done = run("check", cwd=houses)
    assert done.status == 0, done.err
    assert "classes" not in done.out
    assert "numbers from" in done.out
    assert "column size: " in done.out
    assert "1 unreadable" in done.out
    found = run("check", "--json", cwd=houses).json
    assert found["labels"] == {}
    assert found["columns"]["size"]["unreadable"] == 1
    assert found["target"]["low"] < found["target"]["middle"] < found["target"]["high"]


def test_a_turn_shows_its_headline_first(houses: Path, run: Any) -> None:
    done = run("show", 1, cwd=houses)
    shown = [line.split()[0] for line in done.out.splitlines() if line.endswith("golden rows")]
    assert shown[0] == "rmse"
    assert "accuracy" not in done.out
    assert "0.0 MB" not in done.out
    record = run("show", 1, "--json", cwd=houses).json
    assert (record["task"], record["headline"]) == ("regression", "rmse")


def test_history_has_the_headline(houses: Path, run: Any) -> None:
    done = run("history", cwd=houses)
    assert " rmse " in done.out
    (row,) = run("history", "--json", cwd=houses).json["turns"]
    assert row["metric"] == "rmse"
    assert row["rmse"]["value"] > 0


def test_history_and_rollback_name_a_candidate_picked_by_hand(houses: Path, run: Any) -> None:
    assert run("promote", 1, "--candidate", "fp32", cwd=houses).status == 0
    assert "<- serves (fp32, picked by hand)" in run("history", cwd=houses).out
    assert "serves now: fp32, picked by hand" in run("show", "1", cwd=houses).out
    (row,) = run("history", "--json", cwd=houses).json["turns"]
    assert row["picked"] == "fp32"
    assert "rolled back from turn 1, fp32" in run("rollback", cwd=houses).out
    assert "picked by hand" not in run("history", cwd=houses).out
    assert "picked by hand" not in run("show", "1", cwd=houses).out


def test_answers_corrections_and_the_queue(houses: Path, run: Any) -> None:
    rows = (
        "size,rooms,town,garden,built\n80,3,Rome,yes,1970-01-02\n9000,3,Oslo,,\n"
        "wide,3,Rome,yes,1970-01-02\n,,,,\n"
    )
    (houses / "more.csv").write_text(rows, encoding="utf-8")
    done = run("predict", "more.csv", "-o", "answers.csv", cwd=houses)
    assert done.status == 0, done.err
    assert "3 rows lost something or are unlike the training rows" in done.err
    assert "row 3: size is 'wide': it counts as missing" in done.err
    assert "row 4: it is empty" in done.err
    with (houses / "answers.csv").open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    assert float(answers[0]["price_low"]) < float(answers[0]["price_predicted"])
    ids = [answer["prediction_id"] for answer in answers]
    done = run("queue", cwd=houses)
    assert done.out.index(ids[1]) < done.out.index(ids[0])
    assert "town: Oslo" in done.out
    (houses / "right.csv").write_text(
        f'prediction_id,price\n{ids[0]},"201,500"\n{ids[1]},a lot\n', encoding="utf-8"
    )
    done = run("feedback", "import", "right.csv", cwd=houses)
    assert done.status == 0, done.err
    assert "1 new" in done.out
    assert "1 whose value is no number" in done.out
    renamed = (houses / "right.csv").read_text(encoding="utf-8").replace("prediction_id", "id")
    (houses / "by_id.csv").write_text(renamed, encoding="utf-8")
    same = run("feedback", "import", "by_id.csv", "--json", cwd=houses).json
    assert (same["joined"], same["unchanged"]) == (1, 1)
    again = run("feedback", "import", "right.csv", "--json", cwd=houses).json
    assert (again["unchanged"], again["unfit"], again["first"]) == (1, 1, ["row 2: 'a lot'"])
    done = run("feedback", "import", "right.csv", "--new-class", "--json", cwd=houses)
    assert done.status == 1
    assert done.json["error"]["code"] == "WHEEL-043"
    assert "it has no classes" in done.json["error"]["what"]
    assert run("feedback", "export", "-o", "out.jsonl", cwd=houses).status == 0
    (line,) = (houses / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["price"] == 201500.0


def test_a_missing_value_in_a_correction_stays_missing(houses: Path) -> None:
    """It is an empty cell for the next turn, and not the word None."""
    from volano.wheel.stages.data import _feedback

    with Wheel(houses) as wheel:
        row = {"size": None, "rooms": 3, "town": "Rome", "garden": None, "built": None}
        (made,) = wheel.predict([row])
        wheel.log.feedback([_correction(made.id, 1000.0)])
        turn = wheel.turn()
        assert turn.record["data"]["feedback_rows"] == 1

        class Asked:
            spec = wheel.spec

            @staticmethod
            def parent(name: str) -> Path:
                return wheel.store.artifact(turn.record["artifacts"][name]).path

        (found,) = _feedback(Asked())  # type: ignore[arg-type]
    assert dict(found.inputs) == {
        "size": "", "rooms": "3", "town": "Rome", "garden": "", "built": "",
    }  # fmt: skip


def test_a_correction_of_a_row_with_a_sparse_cell_can_be_read(tmp_path: Path, run: Any) -> None:
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["parts", "size", "price"])
        for row in range(120):
            table.writerow([json.dumps({str(row % 4): 1.5, "9": row}), row % 7, 10 * (row % 4)])
    (tmp_path / "volano.yaml").write_text(
        "name: parts\ndata: rows.csv\ninputs: {parts: sparse, size: number}\n"
        "target: {price: number}\n",
        encoding="utf-8",
    )
    with Wheel(tmp_path) as wheel:
        wheel.turn()
        if not wheel.store.champions():
            wheel.promote(1)
        (made,) = wheel.predict([{"parts": {"3": 1.5}, "size": 2}])
        wheel.log.feedback([_correction(made.id, 30.0)])
        found = wheel.check()
    assert found["columns"].get("parts", {}).get("unreadable", 0) == 0
    assert run("feedback", "export", "-o", "out.csv", cwd=tmp_path).status == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert json.loads(line["parts"]) == {"3": 1.5}


def _correction(id_: str, value: float) -> Any:
    from volano.store import Correction

    return Correction(id_, value, "ada")
