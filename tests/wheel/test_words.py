"""What a turn says to do next."""

from __future__ import annotations

from typing import Any

import pytest

from volano.wheel import next_steps
from volano.wheel.stages.prepare import _unknown_lines

JUDGED = {"num_rows": 280}


def record(verdict: str = "inconclusive", **gate: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "reference": "the best baseline, tfidf_svm",
        "judgement": JUDGED,
        "scores": {"candidate": 0.8, "reference": 0.7},
        "test_number": 1,
        "champion_turn": None,
    }
    return {"turn": 1, "verdict": verdict, "gate": found | gate}


def test_a_promoted_turn_and_one_that_serves_are_served() -> None:
    assert next_steps(record("promoted"), champion=1) == ["next: volano serve"]
    assert next_steps(record(), champion=1) == ["next: volano serve"]


def test_an_inconclusive_first_turn_can_be_promoted_or_taught_more() -> None:
    assert next_steps(record(), champion=None) == [
        "next: volano promote 1   (ships it all the same)",
        "  or: volano turn   (after more rows under data:, or volano feedback import FILE)",
    ]


@pytest.mark.parametrize("verdict", ["rejected", "inconclusive"])
def test_a_turn_that_looks_worse_needs_other_rows_first(verdict: str) -> None:
    worse = record(verdict, scores={"candidate": 0.7, "reference": 0.8})
    first, second, third = next_steps(worse, champion=None)
    assert first.startswith("next: volano turn   (after more rows")
    assert "volano check" in second
    assert third == "  or: volano promote 1   (ships it all the same)"


def test_too_few_golden_rows_need_a_new_wheel() -> None:
    few = record(judgement=None, scores=None, reference=None, test_number=None)
    steps = next_steps(few, champion=None)
    assert steps[0] == "next: volano promote 1   (ships it all the same)"
    assert "volano init DATA -C ANOTHER_FOLDER" in steps[-1]
    assert "split.golden" in steps[-1]


def test_the_champions_own_bundle_is_not_to_be_promoted() -> None:
    same = record(
        judgement=None,
        scores=None,
        test_number=None,
        champion_turn=2,
        reference="the champion of turn 2",
    )
    (step,) = next_steps(same, champion=2)
    assert "promote" not in step


def test_a_text_that_its_encoder_cannot_read_is_said() -> None:
    counts = {
        "title": {"tokens": 100, "unknown_tokens": 3},
        "body": {"tokens": 100, "unknown_tokens": 61},
        "none": {"tokens": 0, "unknown_tokens": 0},
        "age": {},
    }
    (line,) = _unknown_lines(counts)
    assert line.strip().startswith("body: 61% of its tokens say nothing to its encoder; 'body: {")
