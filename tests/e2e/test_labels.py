"""Several names at once: from a CSV to answers and corrections; of a table, and of texts."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_rows, write_table

import volano
from volano import Wheel

NAMES = ("large", "new", "plain", "sea")


def write_homes(path: Path, num_rows: int = 400) -> Path:
    """Homes with tags that follow from their columns, but for a few."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(num_rows):
        size, age = rng.normal(80, 20), rng.normal(30, 10)
        town = str(rng.choice(["Ulm", "Bonn", "Kiel"]))
        tags = ["large"] * (size > 90) + ["new"] * (age < 25) + ["sea"] * (town == "Kiel")
        tags = tags or ["plain"]
        if number % 25 == 0:
            tags = [str(rng.choice(NAMES))]
        cell = "" if number == 9 else "; ".join(tags)
        rows.append((f"{size:.1f}", f"{age:.1f}", town, cell))
    return write_table(path, ("size", "age", "town", "tags"), rows)


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "volano", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table's wheel after init, check and one turn."""
    folder = tmp_path_factory.mktemp("homes")
    write_homes(folder / "homes.csv")
    said = run(folder, "init", "homes.csv", "--target", "tags")
    assert "tags: labels (target): names between ';': 4 different ones" in said
    spec = folder / "volano.yaml"
    text = spec.read_text(encoding="utf-8")
    assert '  tags: {type: labels, separator: ";"}' in text
    spec.write_text(text + "gate: {min_rows: 10}\n", encoding="utf-8")
    found = json.loads(run(folder, "check", "--json"))
    assert set(found["labels"]) == set(NAMES)
    assert found["cleaning"]["counts"]["empty"]["rows"] == 1
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
    with Wheel(folder) as wheel:
        if wheel.show(1).verdict != "promoted":
            wheel.promote(1)
    return folder


def test_a_good_model_ships_and_every_model_is_told(homes: Path) -> None:
    with Wheel(homes) as wheel:
        record = wheel.show(1).record
    assert record["metrics"]["jaccard"]["value"] > 0.85
    assert set(record["metrics"]) == {
        "jaccard", "f1_micro", "f1_macro", "subset_accuracy", "hamming_loss",
        "mean_average_precision", "log_loss",
    }  # fmt: skip
    models = {item["name"]: item for item in record["training"]["models"]}
    assert "several" in models["forest"]["refused"]
    assert {"linear", "boosted"} <= {name for name, item in models.items() if "loss" in item}
    assert set(record["baselines"]) == {"commonest", "small_tree"}
    report = (homes / ".volano" / "turns" / "0001" / "report.html").read_text(encoding="utf-8")
    for words in ("Jaccard index", "How labels are decided", "given from", "Exactly right"):
        assert words in report


def test_answers_in_tables_and_in_lines(homes: Path) -> None:
    run(homes, "predict", "homes.csv", "-o", "answers.csv")
    run(homes, "predict", "homes.csv", "-o", "answers.jsonl")
    with (homes / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    text = (homes / "answers.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == len(lines) == 400
    right = 0
    for row, line in zip(rows, lines, strict=True):
        assert isinstance(line["tags_predicted"], list)
        assert row["tags_predicted"] in (";".join(line["tags_predicted"]), "[]")
        assert 0 <= float(row["tags_probability"]) <= 1
        right += sorted(row["tags"].split("; ")) == line["tags_predicted"]
    assert right > 330


def test_corrections_of_several_labels_are_learned(homes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(homes, tmp_path / "wheel"))
    with Wheel(root) as wheel:
        rows = [{"size": 60 + n / 10, "age": 40, "town": "Bonn"} for n in range(40)]
        ids = [answer.id for answer in wheel.predict(rows)]
    values = ["large;garden"] * 30 + ["[]"] * 5 + ["large;lrge"] + [""] + ["nan"] + ['["new"]'] * 2
    table = [(id_, value) for id_, value in zip(ids, values, strict=True)]
    write_table(root / "right.csv", ("prediction_id", "tags"), table)
    found = json.loads(run(root, "feedback", "import", "right.csv", "--json"))
    assert (found["joined"], found["missing"], found["empty"]) == (7, 1, 1)
    assert found["refused"] == {"garden": 30, "lrge": 1}
    assert found["nearest"] == {"lrge": "large"}
    found = json.loads(run(root, "feedback", "import", "right.csv", "--new-class", "--json"))
    assert (found["new"], found["unchanged"]) == (31, 7)
    assert found["new_names"] == ["garden", "lrge"]
    run(root, "feedback", "export", "-o", "said.csv")
    with (root / "said.csv").open(encoding="utf-8", newline="") as file:
        said = {row["prediction_id"]: json.loads(row["tags"]) for row in csv.DictReader(file)}
    assert said[ids[0]] == ["garden", "large"]
    assert said[ids[30]] == []
    with Wheel(root) as wheel:
        turn = wheel.turn()
        assert turn.record["data"]["feedback_rows"] == 38
        model = volano.load(turn.bundle)
    assert "garden" in model.target.names  # type: ignore[attr-defined]
    (answer,) = model.predict([{"size": 61, "age": 40, "town": "Bonn"}])
    assert "garden" in answer.value


def test_rare_labels_may_be_left_out(homes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(homes, tmp_path / "wheel"))
    with (root / "homes.csv").open("a", encoding="utf-8") as file:
        file.write("70,30,Ulm,castle\n71,30,Ulm,castle\n")
    spec = root / "volano.yaml"
    more = "clean: {rare: drop}\ntrain: {models: [linear]}\n"
    spec.write_text(spec.read_text(encoding="utf-8") + more, encoding="utf-8")
    with Wheel(root) as wheel:
        assert wheel.check()["cleaning"]["rare_classes"] == {"castle": 2}
        model = volano.load(wheel.turn().bundle)
    assert model.target.names == NAMES  # type: ignore[attr-defined]


def test_a_search_mixes_models(homes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(homes, tmp_path / "wheel"))
    spec = root / "volano.yaml"
    more = "search: {trials: 1}\ntrain: {models: [linear, boosted], class_weights: balanced}\n"
    spec.write_text(spec.read_text(encoding="utf-8") + more, encoding="utf-8")
    with Wheel(root) as wheel:
        record = wheel.turn().record
    assert len(record["training"]["trials"]) >= 3
    assert record["metrics"]["jaccard"]["value"] > 0.8


def test_texts(tmp_path: Path, tiny_encoder: Path) -> None:
    """A network: fine-tuned, exported, compressed, judged; an empty set is an answer."""
    rows = []
    for text, mood in tiny_rows():
        names = [mood] * (mood == "negative") + [word for word in ("book", "tea") if word in text]
        rows.append((text, json.dumps(names)))
    write_table(tmp_path / "reviews.csv", ("text", "tags"), rows)
    (tmp_path / "volano.yaml").write_text(
        "name: tags\ndata: reviews.csv\n"
        f"inputs: {{text: {{type: text, encoder: {tiny_encoder}}}}}\n"
        "target: {tags: labels}\ntrain: {epochs: 2, learning_rate: 0.003}\n"
        "gate: {min_rows: 10, metric: subset_accuracy}\n",
        encoding="utf-8",
    )
    with Wheel(tmp_path) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(1)
        record = turn.record
        assert record["metrics"]["jaccard"]["value"] > 0.8
        assert set(record["baselines"]) == {"commonest", "tfidf_svm"}
        answers = wheel.predict([{"text": "this book is awful"}, {"text": "my lamp is lovely"}])
        assert wheel.turn().unchanged
    assert answers[0].value == ["book", "negative"]
    assert answers[1].value == []
    assert {item["name"] for item in record["candidates"]} == {"fp32", "int8"}
    assert record["training"]["head_start"] > 0.8, "a logistic regression for each name"
    assert "validation_jaccard" in record["training"]["epochs"][0]
    report = turn.report.read_text(encoding="utf-8")
    assert "Jaccard index on validation rows" in report
