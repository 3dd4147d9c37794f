"""`--json`: one JSON object on stdout, and everything else on stderr."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from volano.errors import shorten

MORE = "text,shop\nthe kettle is lovely,north\nmy kettle is awful,south\n"


@pytest.fixture
def answered(wheel: Path, run: Any) -> Path:
    """A wheel with two answers in answers.csv."""
    (wheel / "more.csv").write_text(MORE, encoding="utf-8")
    done = run("predict", "more.csv", "-o", "answers.csv", "--json", cwd=wheel)
    assert done.status == 0, done.err
    assert done.json["rows"] == done.json["answered"] == 2
    return wheel


def _ids(folder: Path) -> list[str]:
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        return [row["prediction_id"] for row in csv.DictReader(file)]


def test_init(tmp_path: Path, tiny_reviews: Path, run: Any) -> None:
    done = run("init", tiny_reviews, "-C", tmp_path / "new", "--json")
    assert done.status == 0
    assert Path(done.json["spec"]) == tmp_path / "new" / "volano.yaml"
    assert len(done.json["columns"]) == 2


def test_check(wheel: Path, run: Any) -> None:
    found = run("check", "-C", wheel, "--json").json
    assert found["labels"] == {"negative": 150, "positive": 150}
    assert found["cleaning"]["counts"]["read"]["rows"] == 300


def test_turn_with_nothing_changed(wheel: Path, run: Any) -> None:
    done = run("turn", "-C", wheel, "--json")
    assert done.status == 0
    found = done.json
    promised = {"turn", "verdict", "bundle", "metrics", "candidates", "data", "seconds"}
    assert promised <= set(found)
    assert found["turn"] == 1
    assert found["unchanged"] is True
    assert found["verdict"] in ("promoted", "rejected", "inconclusive")
    assert (Path(found["bundle"]) / "manifest.json").exists()
    assert Path(found["report"]).exists()
    assert {"value", "low", "high"} == set(found["metrics"]["accuracy"])
    assert {"rows", "dropped", "repaired", "truncated"} <= set(found["data"])


def test_predict(answered: Path) -> None:
    with (answered / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["shop"] for row in rows] == ["north", "south"]
    assert list(rows[0])[2:] == ["sentiment_predicted", "sentiment_probability", "prediction_id"]


def test_feedback_in_and_out(answered: Path, run: Any) -> None:
    first, second = _ids(answered)
    table = f"prediction_id,sentiment\n{first},positive\n{second},negative\nnobody,negative\n"
    (answered / "corrections.csv").write_text(table, encoding="utf-8")
    found = run("feedback", "import", "corrections.csv", "--who", "ada", "--json", cwd=answered)
    assert (found.json["joined"], found.json["unknown"]) == (2, ["nobody"])
    found = run("feedback", "export", "-o", "out.jsonl", "--json", cwd=answered)
    assert found.json == {"rows": 2, "output": "out.jsonl"}
    lines = (answered / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["who"] for line in lines} == {"ada"}


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    return found["new"], found["changed"], found["unchanged"]


def test_a_correction_is_removed(answered: Path, run: Any) -> None:
    first, second = _ids(answered)
    table = f"prediction_id,sentiment\n{first},positive\n{second},negative\n"
    (answered / "corrections.csv").write_text(table, encoding="utf-8")
    assert run("feedback", "import", "corrections.csv", cwd=answered).status == 0
    done = run("feedback", "remove", first, "nobody", "--json", cwd=answered)
    assert done.json["error"]["code"] == "WHEEL-016"
    assert "'nobody'" in done.err
    assert "nothing was removed" in done.err
    assert run("feedback", "export", cwd=answered).out.count(",ada,") == 0
    found = run("feedback", "remove", first, "--json", cwd=answered).json
    assert found == {"removed": [first], "without": []}
    found = run("feedback", "remove", first, "--json", cwd=answered).json
    assert found == {"removed": [], "without": [first]}
    assert "1 had none" in run("feedback", "remove", first, cwd=answered).out
    out = run("feedback", "export", cwd=answered).out
    assert second in out
    assert first not in out
    made = run("turn", "--json", cwd=answered).json
    assert made["data"]["feedback_rows"] == 1
    run("feedback", "remove", second, cwd=answered)
    made = run("turn", "--json", cwd=answered).json
    assert made["data"]["feedback_rows"] == 0


def test_the_same_file_twice_changes_nothing(answered: Path, run: Any) -> None:
    first, second = _ids(answered)
    table = f"prediction_id,text,sentiment\n{first},,positive\n,by hand,negative\n"
    (answered / "one.csv").write_text(table, encoding="utf-8")
    found = run("feedback", "import", "one.csv", "--json", cwd=answered).json
    assert counts(found) == (2, 0, 0)
    out = run("feedback", "export", cwd=answered).out
    found = run("feedback", "import", "one.csv", "--json", cwd=answered).json
    assert counts(found) == (0, 0, 2)
    assert (found["joined"], found["labelled"]) == (1, 1)
    assert run("feedback", "export", cwd=answered).out == out
    table = table.replace("positive", "negative") + f"{second},,positive\n"
    (answered / "one.csv").write_text(table, encoding="utf-8")
    done = run("feedback", "import", "one.csv", cwd=answered)
    assert "2 corrections taken in: 1 new, 1 changed; 1 unchanged" in done.out
    run("feedback", "remove", first, cwd=answered)
    found = run("feedback", "import", "one.csv", "--json", cwd=answered).json
    assert counts(found) == (1, 0, 2)


def test_a_word_that_another_has_overruled_is_said_again(answered: Path, run: Any) -> None:
    first = _ids(answered)[0]
    text = "the kettle is lovely"
    by_id = f"prediction_id,text,sentiment\n{first},,positive\n"
    by_text = f"prediction_id,text,sentiment\n,{text},negative\n"
    told = []
    for number, table in enumerate([by_id, by_text, by_id, by_id, by_text, by_text]):
        path = answered / f"{number}.csv"
        path.write_text(table, encoding="utf-8")
        found = run("feedback", "import", path, "--json", cwd=answered).json
        told.append(counts(found))
    new, changed, unchanged = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    assert told == [new, changed, changed, unchanged, changed, unchanged]


REFUSED = {
    "word for nothing": ("nan", "missing"),
    "null": (" null ", "missing"),
    "too long": ("a" * 201, "unfit"),
    "two lines": ("two\nlines", "unfit"),
    "slip": ("Positive", "refused"),
    "other": ("neutral", "refused"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_label_that_is_not_taken_in(case: str, answered: Path, run: Any) -> None:
    value, field = REFUSED[case]
    rows = [{"prediction_id": _ids(answered)[0], "sentiment": value}]
    rows += [{"prediction_id": _ids(answered)[1], "sentiment": " negative "}]
    lines = [json.dumps(row) for row in rows]
    (answered / "labels.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = run("feedback", "import", "labels.jsonl", "--json", cwd=answered).json
    assert found["joined"] == 1
    assert found[field] == ({value: 1} if field == "refused" else 1)
    assert found["first"] == [f"row 1: {shorten(value.strip())}"]
    assert found["new_names"] == []
    done = run("feedback", "import", "labels.jsonl", cwd=answered)
    assert "refused: " in done.out
    assert "a" * 100 not in done.out
    assert ("did you mean 'positive'?" in done.out) == (case == "slip")
    again = run("feedback", "import", "labels.jsonl", "--new-class", "--json", cwd=answered).json
    assert again["joined"] == (2 if field == "refused" else 1)
    assert again["new_names"] == ([value] if field == "refused" else [])


@pytest.mark.parametrize("words", [("predict",), ("feedback", "import")], ids=" ".join)
def test_what_is_given_on_the_line_is_not_of_the_spec(
    words: tuple[str, ...], wheel: Path, run: Any
) -> None:
    done = run(*words, "nothing.csv", cwd=wheel)
    assert "[DATA-001]" in done.err
    assert "volano.yaml" not in done.err
    (wheel / "head.csv").write_text("text,sentiment\n", encoding="utf-8")
    done = run(*words, "head.csv", cwd=wheel)
    assert "[DATA-020]" in done.err
    assert "target" not in done.err


def test_queue(answered: Path, run: Any) -> None:
    found = run("queue", "-C", answered, "--json").json["queue"]
    assert {row["id"] for row in found} == set(_ids(answered))


def test_history_and_show(wheel: Path, run: Any) -> None:
    found = run("history", "-C", wheel, "--json").json
    assert [row["turn"] for row in found["turns"]] == [1]
    assert found["turns"][0]["champion"] is True
    assert [item["turn"] for item in found["champions"]] == [1]
    assert run("show", 1, "-C", wheel, "--json").json["turn"] == 1


def test_bundle(wheel: Path, run: Any) -> None:
    target = wheel / "reviews.volano"
    found = run("bundle", "export", target, "-C", wheel, "--json").json
    assert found == {"file": str(target), "size_bytes": target.stat().st_size}
    found = run("bundle", "verify", target, "--json").json
    assert found["inputs"] == ["text"]


def test_answers_on_stdout_are_a_table(answered: Path, run: Any) -> None:
    done = run("predict", "more.csv", cwd=answered)
    assert len(list(csv.DictReader(done.out.splitlines()))) == 2
    assert "2 of 2 rows answered" in done.err
    done = run("feedback", "export", cwd=answered)
    assert done.out.splitlines() == ["text,sentiment,prediction_id,who,at"]


def test_clean(wheel: Path, run: Any) -> None:
    leftover = wheel / ".volano" / "artifacts" / ".new-1"
    leftover.mkdir()
    (leftover / "half").write_bytes(bytes(1000))
    promised = {
        "artifacts": 0, "leftovers": 1, "size_bytes": 1000, "kept": 8, "kept_turns": [1],
    }  # fmt: skip
    found = run("clean", "--dry-run", "-C", wheel, "--json").json
    assert found.items() >= {**promised, "dry_run": True}.items()
    assert (
        "0 artifacts and 1 left-over folders, 0.0 MB, would go"
        in run("clean", "--dry-run", "-C", wheel).out
    )
    assert leftover.exists()
    assert run("clean", "-C", wheel, "--json").json.items() >= promised.items()
    assert not leftover.exists()
    assert "removed 0 artifacts" in run("clean", "-C", wheel).out


# Errors ----------------------------------------------------------------------------------------

ERRORS: list[tuple[str, tuple[object, ...]]] = [
    ("WHEEL-010", ("show", 99)),
    ("WHEEL-010", ("promote", 99)),
    ("WHEEL-010", ("show", 10**20)),
    ("WHEEL-010", ("promote", 10**20)),
    ("WHEEL-010", ("show", 0)),
    ("WHEEL-016", ("feedback", "remove", "nobody")),
    ("WHEEL-015", ("clean", "--keep=-1")),
    ("WHEEL-011", ("promote", 1)),
    ("WHEEL-012", ("rollback",)),
    ("WHEEL-020", ("init", "reviews.csv")),
    ("WHEEL-030", ("predict", "reviews.csv")),
    ("WHEEL-030", ("feedback", "export")),
    ("DATA-001", ("predict", "nothing.csv", "-o", "out.csv")),
    ("DATA-001", ("feedback", "import", "nothing.csv")),
    ("DATA-001", ("init", "nothing.csv", "--force")),
    ("DATA-510", ("init", "reviews.csv", "--force", "--target", "sentimnet")),
    ("BUNDLE-001", ("bundle", "verify", "nothing.volano")),
    ("BUNDLE-002", ("bundle", "verify", "reviews.csv")),
]


@pytest.mark.parametrize(("code", "words"), ERRORS, ids=[" ".join(map(str, w)) for _, w in ERRORS])
def test_an_error(code: str, words: tuple[object, ...], wheel: Path, run: Any) -> None:
    done = run(*words, "--json", cwd=wheel)
    assert done.status == 1
    assert done.json["error"]["code"] == code
    assert f"[{code}]" in done.err
    assert "Traceback" not in done.err
    assert not list(wheel.glob("*.part"))
    plain = run(*words, cwd=wheel) if code != "WHEEL-030" else done
    assert plain.status == 1
    assert f"[{code}]" in plain.err
    assert plain.out == "" or plain is done


def test_a_table_without_the_input(wheel: Path, run: Any) -> None:
    (wheel / "other.csv").write_text("txet,x\na,b\n", encoding="utf-8")
    done = run("predict", "other.csv", "-o", "out.csv", "--json", cwd=wheel)
    assert done.json["error"]["code"] == "DATA-520"
    assert done.json["error"]["nearest"] == "txet"
    assert not (wheel / "out.csv").exists()


@pytest.mark.parametrize(
    "words",
    [("check",), ("turn",), ("history",), ("queue",), ("serve",), ("bundle", "export", "x.volano")],
    ids=" ".join,
)
def test_no_wheel_is_here(words: tuple[str, ...], tmp_path: Path, run: Any) -> None:
    done = run(*words, "-C", tmp_path / "nowhere", "--json")
    assert done.status == 1
    assert done.json["error"]["code"] == "SPEC-001"
    assert "volano init" in done.json["error"]["fix"]
    assert not (tmp_path / "nowhere").exists(), "an error made a folder"


def test_all_that_is_wrong_with_a_spec_is_in_the_error(wheel: Path, run: Any) -> None:
    spec = wheel / "volano.yaml"
    text = spec.read_text(encoding="utf-8").replace("epochs: 1", "epochs: none, lerning_rate: 1")
    spec.write_text(text, encoding="utf-8")
    found = run("turn", "-C", wheel, "--json").json["error"]
    assert "volano.yaml:5" in found["where"]
    assert "lerning_rate" in found["all"]
    assert "learning_rate" in found["all"]
    assert "train.epochs" in found["all"]


def test_nothing_serves_yet(tmp_path: Path, tiny_reviews: Path, run: Any) -> None:
    assert run("init", tiny_reviews, "-C", tmp_path).status == 0
    for words in (("predict", tiny_reviews, "-o", "x.csv"), ("serve",), ("rollback",)):
        done = run(*words, "-C", tmp_path, "--json")
        assert done.status == 1
        assert done.json["error"]["code"] in ("WHEEL-012", "WHEEL-013")


@pytest.mark.parametrize("words", [("show", "one"), ("turn", "--jsn"), ("trun",), ("init",)])
def test_wrong_usage_is_not_an_answer(words: tuple[str, ...], run: Any) -> None:
    done = run(*words, "--json")
    assert done.status == 2
    assert done.json["error"]["what"]
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "--port", 99999),
        ("serve", "--port", -1),
        ("serve", "--bundle", "x.volano", "--port", 99999),
        ("queue", "--limit", -1),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_a_number_that_cannot_be(words: tuple[object, ...], tmp_path: Path, run: Any) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.status == 2
    assert "Invalid value" in done.err
    assert done.out == ""


LONG = "a" * 5000
NO_FILES: list[tuple[str, str, tuple[object, ...]]] = [
    ("DATA-005", LONG, ("check",)),
    ("DATA-001", "rows.csv", ("init", "")),
    ("DATA-005", "rows.csv", ("init", LONG)),
    ("WHEEL-022", "rows.csv", ("init", "rows.csv", "-C", "rows.csv")),
    ("WHEEL-021", "rows.csv", ("check",)),
    ("WHEEL-021", "rows.csv", ("history",)),
]


@pytest.mark.parametrize(("code", "data", "words"), NO_FILES)
def test_paths_that_cannot_be(
    code: str, data: str, words: tuple[object, ...], tmp_path: Path, run: Any
) -> None:
    (tmp_path / "rows.csv").write_text("text,y\na,b\nc,d\n", encoding="utf-8")
    if words[0] != "init":
        spec = f"name: a\ndata: {data}\ninputs: {{text: text}}\ntarget: {{y: category}}\n"
        (tmp_path / "volano.yaml").write_text(spec, encoding="utf-8")
    if code == "WHEEL-021":
        (tmp_path / ".volano").write_text("mine", encoding="utf-8")
    done = run(*words, "--json", cwd=tmp_path)
    assert done.status == 1, done.err
    assert done.json["error"]["code"] == code
    assert "Traceback" not in done.err


def test_an_error_of_the_system_is_one_message(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "somewhere")

    monkeypatch.setattr("volano.wheel.init_wheel", broken)
    done = run("init", "rows.csv", "--json", cwd=tmp_path)
    assert (done.status, done.json["error"]["code"]) == (1, "WHEEL-099")
    assert "Input/output error" in done.err
    assert "somewhere" in done.err
