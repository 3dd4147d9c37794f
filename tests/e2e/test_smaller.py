"""A turn that looks for smaller models: what it tries, what ships, and what a person picks."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from endpoint_server import Server, said, user
from PIL import Image
from tiny import tiny_rows, write_table

import volano
from volano.errors import DataError, SpecError, WheelError
from volano.wheel import picked_by_hand, progress_for


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path):
    root = tmp_path_factory.mktemp("smaller")
    write_table(root / "reviews.csv", ("text", "sentiment"), tiny_rows()[:120])
    (root / "volano.yaml").write_text(
        "name: reviews\ndata: reviews.csv\n"
        f"inputs: {{text: {{type: text, encoder: {tiny_encoder}}}}}\n"
        "target: {sentiment: category}\n"
        "split: {golden: 0.2}\n"
        "train: {epochs: 2}\n"
        "compress: {margin: 5%, budget: 20m, size: 10MB}\n",
        encoding="utf-8",
    )
    with volano.Wheel(root) as made:
        made.turn()
        yield made


def test_the_smallest_that_is_as_good_ships(wheel: volano.Wheel) -> None:
    rows = wheel.show(1).record["candidates"]
    names = [row["name"] for row in rows]
    assert names[0] == "fp32"
    assert {"int8", "layers1-int8"} <= set(names)
    assert any(name.startswith("pieces") for name in names)
    assert any("-look" in name for name in names), "students are looked at before they are trained"
    mended = next(row for row in rows if row["name"] == "qat")
    assert mended["size_bytes"] or "not needed" in mended["refused"]
    chosen = next(row for row in rows if row["chosen"])
    passing = [row["size_bytes"] for row in rows if row["passed"]]
    assert chosen["size_bytes"] == min(passing) < rows[0]["size_bytes"]
    assert chosen["front"]
    assert chosen["steps"][-1]["pass"] == "int8"
    assert chosen["start_s"] > 0
    assert chosen["peak_mb"] > 10
    for row in rows:
        beaten = [
            other["name"]
            for other in rows
            if other.get("score") is not None
            and row.get("score") is not None
            and other["score"] > row["score"]
            and other["size_bytes"] < row["size_bytes"]
            and other["p50_ms"] < row["p50_ms"]
        ]
        assert not (row["front"] and beaten)


def test_the_report_says_what_was_tried(wheel: volano.Wheel) -> None:
    page = wheel.show(1).report.read_text(encoding="utf-8")
    assert "Made smaller" in page
    assert "distil student pieces" in page


def test_a_person_picks_another_of_the_front(wheel: volano.Wheel) -> None:
    rows = wheel.show(1).record["candidates"]
    chosen = next(row["name"] for row in rows if row["chosen"])
    wheel.promote(1)
    wheel.promote(1, "fp32")
    assert wheel.champion().why == "fp32, picked by hand"
    assert picked_by_hand(wheel.store, wheel.store.champion()) == "fp32"
    model = volano.load(wheel.store.champion().artifact.path / "bundle")
    assert model.manifest["precision"] == "fp32"
    assert model.predict([{"text": "the tea is good"}])[0].value in ("positive", "negative")
    assert model.manifest["metrics"]["golden"], "it is judged on golden rows as the chosen one was"
    mine = next(row["metrics"] for row in rows if row["name"] == "fp32")
    assert model.manifest["metrics"]["validation"] == mine
    assert wheel.rollback().why == "rolled back from turn 1, fp32"
    assert picked_by_hand(wheel.store, wheel.store.champion()) is None
    model = volano.load(wheel.store.champion().artifact.path / "bundle")
    assert model.manifest["precision"] == chosen
    with pytest.raises(WheelError, match=r"(?s)no candidate 'fp23'.*Did you mean fp32.*WHEEL-017"):
        wheel.promote(1, "fp23")


def test_another_goal_finds_the_students_again(
    wheel: volano.Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taught(*args: object) -> None:
        raise AssertionError("a student learns what it has learned before")

    spec = wheel.root / "volano.yaml"
    before = spec.read_text(encoding="utf-8")
    spec.write_text(before.replace("margin: 5%", "margin: 6%"), encoding="utf-8")
    try:
        with volano.Wheel(wheel.root) as other, monkeypatch.context() as patched:
            patched.setattr("volano.training._loop._Run._step", taught)
            again = {row["name"]: row for row in other.turn().record["candidates"]}
        # Which are worth training to the end goes by speed as well, and so differs.
        both = [row for row in wheel.show(1).record["candidates"] if row["name"] in again]
        assert any(row["name"].startswith("pieces") for row in both)
        for row in both:
            assert (again[row["name"]]["size_bytes"] > 0) == (row["size_bytes"] > 0), row["name"]
    finally:
        spec.write_text(before, encoding="utf-8")


def test_a_bundle_of_pieces_needs_no_torch_and_no_tokenizer(
    wheel: volano.Wheel, tmp_path: Path
) -> None:
    rows = wheel.show(1).record["candidates"]
    sums = [row for row in rows if row["name"].startswith("pieces") and row["kept"]]
    name = max(sums, key=lambda row: row["score"])["name"]
    wheel.promote(1, name)
    wheel.export(tmp_path / "small.volano")
    code = (
        "import json, sys, volano\n"
        f"model = volano.load({str(tmp_path / 'small.volano')!r})\n"
        "texts = ['the lamp is great', '', 'x' * 9999]\n"
        "found = model.predict([{'text': text} for text in texts])\n"
        "print(json.dumps([[p.value for p in found], found[2].notes, 'torch' in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    values, notes, torch = json.loads(done.stdout)
    assert values[0] == "positive"
    assert len(values) == 3
    assert "were cut" in notes[0]
    assert not torch


def test_the_next_report_knows_what_was_picked(wheel: volano.Wheel) -> None:
    from volano.wheel.report._evidence import Evidence

    rows = wheel.show(1).record["candidates"]
    other = next(row["name"] for row in rows if row["kept"] and not row["chosen"])
    wheel.promote(1, other)
    facts = {"name": other, "metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    first = wheel.show(1).record
    second = {**first, "turn": 2, "gate": {**first["gate"], "champion_turn": 1}}
    seen = Evidence({**second, "picked_champion": facts}, [first], {}, {}, {}, {}, [], [], [], [])
    assert [row["name"] for row in seen.champion["candidates"] if row["chosen"]] == [other]
    assert seen.champion["metrics"] == facts["metrics"]


def test_rows_without_a_label_are_learned_from_and_golden_ones_are_not(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    rows, said = tiny_rows(), io.StringIO()
    write_table(tmp_path / "reviews.csv", ("text", "sentiment"), rows[:100])
    write_table(tmp_path / "golden.csv", ("text", "sentiment"), rows[200:260])
    write_table(tmp_path / "more.csv", ("text",), [(text,) for text, _ in rows[80:240]])
    (tmp_path / "volano.yaml").write_text(
        "name: reviews\ndata: reviews.csv\ntest: golden.csv\n"
        f"inputs: {{text: {{type: text, encoder: {tiny_encoder}}}}}\n"
        "target: {sentiment: category}\n"
        "train: {epochs: 1}\n"
        "compress: {passes: [distil], unlabelled: [more.csv, predictions]}\n",
        encoding="utf-8",
    )
    with volano.Wheel(tmp_path, progress=progress_for(said)) as wheel:
        wheel.turn()
        assert "100 rows without a label, of 160: 60 repeat others" in said.getvalue()
        assert any(row["name"].startswith("pieces") for row in wheel.show(1).record["candidates"])
        assert wheel.turn().unchanged
        wheel.promote(1)
        wheel.predict([{"text": "nobody has said this before"}])
        wheel.turn()
        assert "101 rows without a label, of 161" in said.getvalue(), "what was asked counts too"


def test_a_language_model_labels_rows(tmp_path: Path, tiny_encoder: Path) -> None:
    rows, out, server = tiny_rows(), io.StringIO(), Server()
    right = dict(rows)
    server.answer = lambda messages: (200, {}, said(right[json.loads(user(messages))["text"]]))
    write_table(tmp_path / "reviews.csv", ("text", "sentiment"), rows[:100])
    write_table(tmp_path / "more.csv", ("text",), [(text,) for text, _ in rows[100:200]])
    (tmp_path / "volano.yaml").write_text(
        "name: reviews\ndata: reviews.csv\n"
        f"inputs: {{text: {{type: text, encoder: {tiny_encoder}}}}}\n"
        "target: {sentiment: category}\n"
        "train: {epochs: 1}\n"
        "compress:\n  passes: [distil]\n  unlabelled: more.csv\n"
        f"  endpoint: {{url: {server.url}, model: m, columns: [text], rows: 60}}\n",
        encoding="utf-8",
    )
    try:
        with volano.Wheel(tmp_path, progress=progress_for(out)) as wheel:
            wheel.turn()
            assert "m at http" in out.getvalue()
            assert "labelled 60 of 60 rows, 0 of them before; 60 requests" in out.getvalue()
            assert wheel.turn().unchanged
            spec = wheel.root / "volano.yaml"
            spec.write_text(
                spec.read_text(encoding="utf-8").replace("passes:", "margin: 3%\n  passes:"),
                encoding="utf-8",
            )
        with volano.Wheel(tmp_path, progress=progress_for(out)) as wheel:
            wheel.turn()
        assert "60 of them before; 0 requests" in out.getvalue()
        assert len(server.requests) == 60
    finally:
        server.close()


def test_a_table_is_taught_to_a_few_trees(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    size, age = random.normal(0, 1, 6000), random.uniform(0, 1, 6000)
    noise = random.logistic(0, 0.3, 6000)
    grade = np.where(2 * size * (age > 0.5) + np.sin(5 * age) + noise > 0, "good", "bad")
    rows = [(f"{a:.3f}", f"{b:.3f}", name) for a, b, name in zip(size, age, grade, strict=True)]
    write_table(tmp_path / "things.csv", ("size", "age", "grade"), rows)
    (tmp_path / "volano.yaml").write_text(
        "name: things\ndata: things.csv\n"
        "inputs: {size: number, age: number}\n"
        "target: {grade: category}\n"
        "train: {models: [forest]}\n"
        "compress: {margin: 2%}\n",
        encoding="utf-8",
    )
    with volano.Wheel(tmp_path) as wheel:
        rows_of = {row["name"]: row for row in wheel.turn().record["candidates"]}
        student = next(row for name, row in rows_of.items() if name.startswith("trees"))
        assert student["passed"], student.get("refused")
        assert student["size_bytes"] < rows_of["fp32"]["size_bytes"]
        assert not any("int8" in name for name in rows_of), "trees have nothing to do in 8 bits"
        model = volano.load(wheel.show(1).bundle)
        answers = model.predict([{"size": 2.0, "age": 0.9}, {"size": -2.0, "age": 0.9}])
        assert [answer.value for answer in answers] == ["good", "bad"]
        assert student["chosen"]


def table_of(root: Path, compress: str, models: str = "[forest]") -> Path:
    random = np.random.default_rng(0)
    size, age = random.normal(0, 1, 1500), random.uniform(0, 1, 1500)
    grade = np.where(size * age + random.normal(0, 0.1, 1500) > 0, "good", "bad")
    rows = [(f"{a:.3f}", f"{b:.3f}", name) for a, b, name in zip(size, age, grade, strict=True)]
    write_table(root / "things.csv", ("size", "age", "grade"), rows)
    (root / "volano.yaml").write_text(
        "name: things\ndata: things.csv\ninputs: {size: number, age: number}\n"
        f"target: {{grade: category}}\ntrain: {{models: {models}}}\n"
        f"split: {{validation: 0.3}}\ncompress: {compress}\n",
        encoding="utf-8",
    )
    return root


def test_the_rows_of_a_table_are_no_new_ones(tmp_path: Path) -> None:
    out = io.StringIO()
    table_of(tmp_path, "{unlabelled: [things.csv, more.csv], size: 1kB}")
    write_table(tmp_path / "more.csv", ("size", "age"), [("9.0", "9.0"), ("9.0", "9.0")])
    with volano.Wheel(tmp_path, progress=progress_for(out)) as wheel:
        wheel.turn()
        record = wheel.show(1).record
        chosen = next(row for row in record["candidates"] if row["chosen"])
        assert "of at most 1.0 kB" in chosen["missed"][0]
    said = out.getvalue()
    if "not tried: distil" not in said:
        assert "1 rows without a label, of 1,502: 1,501 repeat others" in said
    assert "misses the goal" in said


def test_what_compress_cannot_use_is_refused_before_training(tmp_path: Path) -> None:
    table_of(tmp_path, "{unlabelled: nowhere.csv}")
    with volano.Wheel(tmp_path) as wheel, pytest.raises(DataError, match=r"nowhere\.csv"):
        wheel.check()
    write_table(tmp_path / "nowhere.csv", ("size", "x"), [("1", "2")])
    with volano.Wheel(tmp_path) as wheel, pytest.raises(DataError, match=r"no column .age"):
        wheel.check()
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "photos.csv").write_text("photo,kind\na.png,x\n", encoding="utf-8")
    (tmp_path / "volano.yaml").write_text(
        "name: p\ndata: photos.csv\ninputs: {photo: image}\ntarget: {kind: category}\n"
        "compress: {unlabelled: photos.csv}\n",
        encoding="utf-8",
    )
    with volano.Wheel(tmp_path) as wheel, pytest.raises(SpecError, match=r"SPEC-049"):
        wheel.check()
