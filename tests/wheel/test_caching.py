"""What is run again after which change, and what is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from volano import Wheel
from volano.errors import SpecErrors, VolanoError, WheelError
from volano.store import Correction

Ran = Callable[[], list[str]]
AFTER_DATA = ["data", "prepare", "train", "evaluate", "compress", "deploy"]


def edit(root: Path, old: str, new: str) -> None:
    path = root / "volano.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def artifacts(root: Path) -> dict[str, str]:
    with Wheel(root) as wheel:
        return dict(wheel.history()[-1]["artifacts"])


def test_nothing_changed_runs_nothing_and_imports_nothing_heavy(root: Path) -> None:
    program = """
import json, sys
import volano
with volano.Wheel(sys.argv[1]) as wheel:
    turn = wheel.turn()
heavy = ("torch", "transformers", "sklearn", "pyarrow", "onnx", "scipy", "safetensors")
print(json.dumps({"unchanged": turn.unchanged, "number": turn.number, "record": turn.record,
                  "heavy": [name for name in heavy if name in sys.modules]}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(root)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["unchanged"]
    assert found["number"] == 1
    assert found["heavy"] == []
    assert found["record"]["unchanged"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: tiny", "name: another"),
        ("name: tiny", "name: tiny\nserve: {port: 9999}"),
        ("data: reviews.csv", "# a comment\ndata: [reviews.csv]"),
        ("gate: {min_rows: 10, alpha: 5%}", "gate:\n  alpha: 0.05\n  min_rows: 10"),
        ("target: {sentiment: category}", "target: {sentiment: {type: category}}"),
    ],
    ids=["name", "serve", "comment", "order", "form"],
)
def test_what_cannot_change_the_result_changes_nothing(
    root: Path, ran: Ran, old: str, new: str
) -> None:
    edit(root, old, new)
    assert ran() == ["unchanged"]


def test_a_touched_file_is_the_same_file(root: Path, ran: Ran) -> None:
    os.utime(root / "reviews.csv")
    assert ran() == ["unchanged"]


def test_a_file_that_changes_without_its_size_and_time_is_noticed(root: Path, ran: Ran) -> None:
    path = root / "reviews.csv"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"positive", b"Positive"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert "data" in ran()


def test_compress_retrains_nothing(root: Path, ran: Ran) -> None:
    edit(root, "compress: {margin: 5%}", "compress: off")
    assert ran() == ["compress", "deploy"]


def test_a_margin_under_which_the_same_graph_is_chosen_makes_no_turn(root: Path, ran: Ran) -> None:
    edit(root, "margin: 5%", "margin: 6%")
    assert ran() == ["unchanged"]


def test_another_margin_that_chooses_another_graph_is_another_turn(root: Path) -> None:
    with Wheel(root) as wheel:
        before = wheel.turn()
        assert [row["name"] for row in before.record["candidates"] if row["chosen"]] != ["fp32"]
    edit(root, "compress: {margin: 5%}", "compress: {passes: []}")
    with Wheel(root) as wheel:
        after = wheel.turn()
    assert [row["name"] for row in after.record["candidates"] if row["chosen"]] == ["fp32"]
    assert after.number == before.number + 1


def test_the_gate_only_deploys(root: Path, ran: Ran) -> None:
    edit(root, "alpha: 5%", "alpha: 20%")
    assert ran() == ["deploy"]
    assert ran() == ["unchanged"]


def test_the_same_question_spends_alpha_once(root: Path) -> None:
    with Wheel(root) as wheel:
        first = wheel.turn().record["gate"]["test_number"]
    edit(root, "alpha: 5%", "alpha: 20%")
    with Wheel(root) as wheel:
        assert wheel.turn().record["gate"]["test_number"] == first


def test_a_later_turn_measures_itself_beside_the_champion(root: Path) -> None:
    with Wheel(root) as wheel:
        first = wheel.turn().record
        assert (first["champions"], first["speed"]) == ([], None) or first["verdict"] == "promoted"
        if first["verdict"] != "promoted":
            wheel.promote(1)
    edit(root, "epochs: 1", "epochs: 3")
    with Wheel(root) as wheel:
        turn = wheel.turn()
        record = turn.record
        assert [item["turn"] for item in record["champions"]] == [1]
        assert set(record["speed"]) == {"rows", "candidate", "champion"}
        assert record["speed"]["champion"]["p50_ms"] > 0
        deploy = turn.bundle.parent
        changes = json.loads((deploy / "class_changes.json").read_text())
        assert {change["name"] for change in changes} == {"negative", "positive"}
        assert sum(change["support"] for change in changes) == record["gate"]["golden_rows"]
        for line in (deploy / "mistakes.jsonl").read_text().splitlines():
            assert json.loads(line)["place"].startswith("reviews.csv row ")
        # What is measured is in the record and not in the artifact, whose digest must not move.
        assert "speed" not in json.loads((deploy / "verdict.json").read_text())


def test_too_few_golden_rows_spend_no_alpha(root: Path) -> None:
    with Wheel(root) as wheel:
        asked = wheel.turn().record["gate"]["test_number"]
    assert asked == 1
    edit(root, "min_rows: 10", "min_rows: 1000")
    edit(root, "epochs: 1", "epochs: 2")
    with Wheel(root) as wheel:
        turn = wheel.turn()
        assert turn.verdict == "inconclusive"
        assert "golden rows are too few to judge on (at least 1000)" in turn.record["reason"]
        assert turn.record["gate"]["test_number"] is None
        assert turn.record["gate"]["level"] is None
        assert wheel.turn().unchanged
    # The very question, once there is a chance of an answer.
    edit(root, "min_rows: 1000", "min_rows: 10")
    with Wheel(root) as wheel:
        assert wheel.turn().record["gate"]["test_number"] == 2


def test_the_champion_is_not_compared_with_itself(root: Path) -> None:
    with Wheel(root) as wheel:
        wheel.promote(1)
    edit(root, "alpha: 5%", "alpha: 20%")
    with Wheel(root) as wheel:
        turn = wheel.turn()
        assert turn.verdict == "inconclusive"
        assert turn.record["reason"] == (
            "it is the champion of turn 1: there is nothing to compare"
        )
        assert turn.record["gate"]["test_number"] is None
        assert turn.report.exists()
        assert wheel.turn().unchanged


def test_an_added_row_runs_from_data_and_keeps_the_golden_rows(root: Path, ran: Ran) -> None:
    golden = artifacts(root)["golden"]
    with (root / "reviews.csv").open("a") as file:
        file.write("a splendid new kettle,positive\n")
    assert ran() == AFTER_DATA
    assert artifacts(root)["golden"] == golden
    assert ran() == ["unchanged"]


def test_going_back_is_found_in_the_cache(root: Path, ran: Ran) -> None:
    edit(root, "epochs: 1}", "epochs: 1, seed: 5}")
    assert ran() == ["train", "evaluate", "compress", "deploy"]
    edit(root, "epochs: 1, seed: 5}", "epochs: 1}")
    assert ran() == []


def test_feedback_runs_from_feedback(root: Path, ran: Ran) -> None:
    golden = artifacts(root)["golden"]
    with Wheel(root) as wheel:
        wheel.promote(1)
        answer = wheel.predict([{"text": "a kettle beyond words"}])[0]
        assert wheel.log.feedback([Correction(answer.id, "positive", "me")]) == []
    assert ran() == ["feedback", *AFTER_DATA]
    assert artifacts(root)["golden"] == golden
    with Wheel(root) as wheel:
        assert wheel.history()[-1]["data"]["feedback_rows"] == 1
    assert ran() == ["unchanged"]


def test_golden_rows_stay_frozen_and_the_user_is_told(root: Path) -> None:
    golden = artifacts(root)["golden"]
    edit(root, "train: {epochs: 1}", "train: {epochs: 1, seed: 3}\nsplit: {golden: 30%}")
    with Wheel(root) as wheel:
        turn = wheel.turn()
    assert turn.record["artifacts"]["golden"] == golden
    assert turn.record["notes"] == [
        "'split.golden' does not change the golden rows: 45 were frozen at the first turn, for good"
    ]


@pytest.mark.parametrize(
    ("old", "new", "piece"),
    [
        (
            "sentiment: category",
            "mood: category",
            "the target sentiment, and the spec now has mood",
        ),
        ("inputs: {text:", "inputs: {more: text, text:", "the inputs text, and the spec now has"),
    ],
)
def test_other_columns_than_those_of_the_golden_rows(
    root: Path, old: str, new: str, piece: str
) -> None:
    path = root / "reviews.csv"
    lines = path.read_text().splitlines()
    rows = [
        f"more,mood,{lines[0]}",
        *(f"m{n},{line.split(',')[-1]},{line}" for n, line in enumerate(lines[1:])),
    ]
    path.write_text("\n".join(rows) + "\n")
    edit(root, old, new)
    with Wheel(root) as wheel:
        for work in (wheel.turn, wheel.check):
            with pytest.raises(WheelError) as caught:
                work()
            assert caught.value.code == "WHEEL-033"
            assert piece in str(caught.value)


def folder_of(root: Path, stage: str) -> Path:
    return root / ".volano" / "artifacts" / artifacts(root)[stage][:40]


@pytest.mark.parametrize(
    "stage", ["feedback", "data", "golden", "prepare", "train", "evaluate", "compress"]
)
def test_a_lost_artifact_is_made_again(root: Path, ran: Ran, stage: str) -> None:
    before = artifacts(root)
    shutil.rmtree(folder_of(root, stage))
    assert ran() == ["unchanged"]
    assert folder_of(root, stage).is_dir()
    assert artifacts(root) == before


@pytest.mark.parametrize("stage", ["data", "prepare", "train", "compress"])
def test_a_cut_file_in_an_artifact_is_made_again(root: Path, ran: Ran, stage: str) -> None:
    largest = max(
        (path for path in folder_of(root, stage).rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = largest.read_bytes()
    largest.unlink()  # and not written through: a bundle's files are shared by two artifacts
    largest.write_bytes(content[: len(content) // 2])
    assert ran() == ["unchanged"]
    assert largest.read_bytes() == content
    assert not list((root / ".volano" / "artifacts").glob(".new-*"))


def test_a_lost_bundle_is_made_again(root: Path, ran: Ran) -> None:
    with Wheel(root) as wheel:
        wheel.promote(1)
        shutil.rmtree(folder_of(root, "deploy"))
        assert wheel.turn().unchanged
        assert wheel.predict([{"text": "good"}])[0].value in ("negative", "positive")


def test_golden_rows_that_cannot_be_made_again_are_an_error(root: Path) -> None:
    shutil.rmtree(folder_of(root, "golden"))
    shutil.rmtree(folder_of(root, "data"))
    with (root / "reviews.csv").open("a") as file:
        file.write("a splendid new kettle,positive\n")
    with Wheel(root) as wheel, pytest.raises(WheelError) as caught:
        wheel.turn()
    assert caught.value.code == "WHEEL-031"
    assert "golden rows" in str(caught.value)


def test_a_report_that_is_missing_is_written_again(root: Path, ran: Ran) -> None:
    report = root / ".volano" / "turns" / "0001" / "report.html"
    before = report.read_bytes()
    report.unlink()
    assert ran() == ["unchanged"]
    assert report.read_bytes()[:200] == before[:200]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("compress: {margin: 5%}", "compress: {passes: [int9]}", "SPEC-040"),
        ("data: reviews.csv", "data: gone.csv", "DATA"),
    ],
)
def test_look_ups_fail_before_any_work(
    tmp_path: Path, turned: Path, old: str, new: str, code: str
) -> None:
    shutil.copy(turned / "volano.yaml", tmp_path)
    shutil.copy(turned / "reviews.csv", tmp_path)
    edit(tmp_path, old, new)
    with pytest.raises(VolanoError) as caught, Wheel(tmp_path) as wheel:
        wheel.turn()
    assert caught.value.code.startswith(code)
    assert isinstance(caught.value, SpecErrors) == code.startswith("SPEC")


def test_an_encoder_that_is_not_there_is_said_before_data_is_read(
    tmp_path: Path, turned: Path
) -> None:
    shutil.copy(turned / "reviews.csv", tmp_path)
    (tmp_path / "volano.yaml").write_text(
        "name: a\ndata: reviews.csv\ninputs: {text: {type: text, encoder: minlm}}\n"
        "target: {sentiment: category}\n"
    )
    with Wheel(tmp_path) as wheel:
        with pytest.raises(VolanoError, match="Did you mean minilm") as caught:
            wheel.turn()
        assert caught.value.code == "ASSET-101"
        assert not list((tmp_path / ".volano" / "artifacts").iterdir())


def test_two_turns_at_once(root: Path) -> None:
    with Wheel(root) as one, Wheel(root) as other, one.store.turning():
        with pytest.raises(WheelError) as caught:
            other.turn()
        assert caught.value.code == "WHEEL-001"
        assert f"process {os.getpid()}" in str(caught.value)


def test_the_exported_bundle_has_the_wheels_name(root: Path, tmp_path: Path) -> None:
    edit(root, "name: tiny", "name: another")
    with Wheel(root) as wheel:
        wheel.promote(1)
        wheel.export(tmp_path / "x.volano")
        inside = wheel.model()
    from volano import load

    packed = load(tmp_path / "x.volano")
    assert packed.manifest["name"] == "another"
    assert packed.id == inside.id
