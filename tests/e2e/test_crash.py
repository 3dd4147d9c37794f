"""A turn that is killed at any moment loses nothing that was finished, and changes no weight."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STAGES = ["feedback", "data", "golden", "prepare", "train", "evaluate", "compress", "deploy"]

SPEC = """\
name: tiny
data: reviews.csv
inputs: {text: {type: text, encoder: ENCODER}}
target: {sentiment: category}
train: {epochs: 3, batch_rows: 32, patience: 1}
gate: {min_rows: 10}
"""

ASKED = {
    "before rename": 2,
    "after rename": 5,
    "after replace": 2,
    "after write": 2,
    "after rmtree": 2,
    "before commit": 3,
    "after commit": 6,
    "after step": 3,
    "before checkpoint": 1,
    "after checkpoint": 1,
    "before epoch": 2,
    "after epoch": 2,
    "time": 2,
}
"""Boundary -> how many of its crossings to die at, spread over the turn."""


@pytest.fixture(scope="module")
def crashes(
    tiny_encoder: Path, tiny_reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("crash")
    base = folder / "base"
    base.mkdir()
    (base / "reviews.csv").write_bytes(tiny_reviews.read_bytes())
    (base / "volano.yaml").write_text(SPEC.replace("ENCODER", str(tiny_encoder)))
    program = Path(__file__).with_name("crashing.py")
    found = subprocess.run(
        [sys.executable, str(program), str(base), str(folder), json.dumps(ASKED)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    report: dict[str, Any] = json.loads(found.stdout)
    return report


def where(crash: dict[str, Any]) -> str:
    return f"killed {crash['kind']} {crash['at']}"


def of(report: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    found = [item for item in report["crashes"] if item["kind"].endswith(kinds)]
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [
        ("rename", "replace", "write", "rmtree"),
        ("commit",),
        ("step", "checkpoint", "epoch"),
        ("time",),
    ],
    ids=["files", "database", "training", "any time"],
)
class TestKilled:
    def test_the_next_turn_completes(self, crashes: dict[str, Any], kinds: tuple[str, ...]) -> None:
        for crash in of(crashes, *kinds):
            assert "failed" not in crash["next"], f"{where(crash)}:\n{crash['next']['failed']}"
            assert crash["next"]["turns"] == 1, where(crash)
            assert crash["next"]["report"], where(crash)
            assert crash["next"]["verdict"] == crashes["reference"]["verdict"]

    def test_every_artifact_is_that_of_an_uninterrupted_run(
        self, crashes: dict[str, Any], kinds: tuple[str, ...]
    ) -> None:
        reference = crashes["reference"]
        for crash in of(crashes, *kinds):
            assert crash["next"]["weights"] == reference["weights"], where(crash)
            assert crash["next"]["artifacts"] == reference["artifacts"], where(crash)
            assert crash["next"]["train_loss"] == reference["train_loss"], where(crash)

    def test_what_was_finished_is_not_run_again(
        self, crashes: dict[str, Any], kinds: tuple[str, ...]
    ) -> None:
        for crash in of(crashes, *kinds):
            if crash["next"]["unchanged"]:
                continue  # killed after the turn was written: nothing was left to do
            expected = [stage for stage in STAGES if stage not in crash["finished"]]
            assert sorted(crash["next"]["ran"]) == sorted(expected), where(crash)

    def test_nothing_half_written_stays(
        self, crashes: dict[str, Any], kinds: tuple[str, ...]
    ) -> None:
        for crash in of(crashes, *kinds):
            assert crash["again"]["unchanged"], where(crash)
            assert crash["again"]["left"] == [], where(crash)


@pytest.mark.slow
def test_the_crashes_were_crashes(crashes: dict[str, Any]) -> None:
    for crash in crashes["crashes"]:
        assert crash["died"] or crash["kind"] == "time", where(crash)
    died = {stage for crash in crashes["crashes"] for stage in crash["finished"]}
    assert died == set(STAGES)
    assert crashes["reference"]["ran"] == STAGES
