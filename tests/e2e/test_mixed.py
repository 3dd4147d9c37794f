"""Rows of text, number, name and picture: turned, shipped, asked over HTTP, corrected."""

from __future__ import annotations

import base64
import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from nets import write_tiny_lite
from PIL import Image
from tiny import tiny_rows, write_table

import volano
from volano import Wheel

SPEC = """\
name: goods
data: goods.csv
inputs:
  text: {{type: text, encoder: gru, max_tokens: 16, vocabulary: 400}}
  photo: {{type: image, encoder: {lite}, size: 24}}
  size: number
  town: category
target: {{mood: category}}
train: {{models: network, tune: head, fusion: gated, hidden: [16, 8], activation: tanh,
         pooling: max, loss: focal, optimiser: adam, epochs: 8, seed: 1, precision: fp32}}
compress: off
gate: {{min_rows: 10}}
"""


def picture(bright: bool, random: np.random.Generator) -> bytes:
    shades = random.integers(120 if bright else 0, 256 if bright else 130, (20, 24, 3))
    stream = io.BytesIO()
    Image.fromarray(shades.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_goods(folder: Path, lite: Path) -> list[dict[str, str]]:
    """A table of 150 rows in which text and picture both give the mood away."""
    random = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    rows = []
    for place, (text, mood) in enumerate(tiny_rows()[:150]):
        name = f"photos/{place}.png"
        (folder / name).write_bytes(picture(mood == "positive", random))
        size = f"{random.normal(5 if mood == 'positive' else 3, 2):.2f}"
        rows.append((text, name, size, ("Ulm", "Bari")[place % 2], mood))
    columns = ("text", "photo", "size", "town", "mood")
    write_table(folder / "goods.csv", columns, rows)
    (folder / "volano.yaml").write_text(SPEC.format(lite=lite), encoding="utf-8")
    return [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """A wheel after its turn, promoted."""
    folder = tmp_path_factory.mktemp("goods")
    rows = write_goods(folder / "wheel", write_tiny_lite(folder / "lite"))
    with Wheel(folder / "wheel") as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(turn.number)
    return folder / "wheel", rows


def asked(folder: Path, row: dict[str, str]) -> dict[str, object]:
    """A row of the table as a request has it."""
    photo = base64.b64encode((folder / row["photo"]).read_bytes()).decode()
    return {"text": row["text"], "photo": photo, "size": float(row["size"]), "town": row["town"]}


def test_the_turn_learned_and_says_from_what(goods: tuple[Path, list[dict[str, str]]]) -> None:
    folder, _ = goods
    with Wheel(folder) as wheel:
        record = wheel.show(1).record
    assert record["metrics"]["accuracy"]["value"] > 0.85
    plan = record["training"]["plan"]
    assert (plan["tune"], plan["optimiser"], plan["loss"]) == ("head", "adam", "focal")
    assert record["training"]["precision"] == "fp32"
    assert (folder / ".volano" / "turns" / "0001" / "report.html").exists()


def test_the_bundle_answers_alone_and_alike(
    goods: tuple[Path, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder, rows = goods
    with Wheel(folder) as wheel:
        wheel.export(tmp_path / "goods.volano")
    words = ["predict", "goods.csv", "-o", str(tmp_path / "answers.csv")]
    subprocess.run([sys.executable, "-m", "volano", *words], cwd=folder, check=True)
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    right = [
        answer["mood_predicted"] == row["mood"] for answer, row in zip(answers, rows, strict=True)
    ]
    assert np.mean(right) > 0.85
    (tmp_path / "asked.json").write_text(json.dumps([asked(folder, row) for row in rows[:5]]))
    code = (
        "import json, sys, volano\n"
        "model = volano.load('goods.volano')\n"
        "found = model.predict(json.load(open('asked.json')))\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps([max(answer.as_dict()['probabilities'].values()) for answer in found]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for found, answer in zip(json.loads(done.stdout), answers, strict=False):
        assert found == pytest.approx(float(answer["mood_probability"]), abs=1e-4)
    # A row may lack any of its parts.
    (answer,) = volano.load(tmp_path / "goods.volano").predict(
        [{"text": "it is lovely", "photo": None, "size": None, "town": "Nowhere"}]
    )
    assert any("there is no image" in note for note in answer.notes)


def test_it_is_served_and_a_correction_comes_back(
    goods: tuple[Path, list[dict[str, str]]],
) -> None:
    folder, rows = goods
    process = subprocess.Popen(
        [sys.executable, "-m", "volano", "serve", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http"))
        with httpx.Client(base_url=address.rstrip(".,"), timeout=60, trust_env=False) as client:
            row = {**asked(folder, rows[0]), "text": "a parcel that nobody has seen"}
            answer = client.post("/v1/predict", json={"row": row})
            assert answer.status_code == 200, answer.text
            (found,) = answer.json()["predictions"]
            other = "negative" if found["value"] == "positive" else "positive"
            told = client.post("/v1/feedback", json={"prediction_id": found["id"], "value": other})
            assert told.status_code == 200, told.text
            broken = client.post("/v1/predict", json={"row": {**row, "photo": "no picture"}})
            assert broken.status_code == 422
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    with Wheel(folder) as wheel:
        turn = wheel.turn()
        assert turn.record["data"]["feedback_rows"] == 1


def test_numbers_from_texts_by_a_robust_loss(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [
        (
            text,
            f"{random.normal():.2f}",
            f"{(5 if mood == 'positive' else -5) + random.normal():.3f}",
        )
        for text, mood in tiny_rows()[:150]
    ]
    write_table(tmp_path / "stars.csv", ("text", "age", "stars"), rows)
    (tmp_path / "volano.yaml").write_text(
        "name: stars\ndata: stars.csv\n"
        "inputs: {text: {type: text, encoder: conv, vocabulary: 400}, age: number}\n"
        "target: {stars: number}\n"
        "train: {models: network, loss: huber, epochs: 10, patience: 0, learning_rate: 0.002}\n"
        "compress: off\ngate: {min_rows: 10}\n",
        encoding="utf-8",
    )
    with Wheel(tmp_path) as wheel:
        record = wheel.turn().record
    assert record["metrics"]["mae"]["value"] < 2.5
    assert record["training"]["plan"]["loss"] == "huber"
