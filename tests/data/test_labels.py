"""Labels that are likely one class: found, with counts and a fix, and never merged."""

from __future__ import annotations

import json

import pytest

from volano.data import like_labels


@pytest.mark.parametrize(
    "labels",
    [
        ("Positive", "positive"),
        ("very good", "very  good", "very_good", "very-good", "Very good!"),
        ("\u00c9t\u00e9", "e\u0301te\u0301", "\u00e9t\u00e9 "),
        ("stra\u00dfe", "STRASSE"),
        ("\u597d\u8bc4", "\u597d\u8bc4\u3002"),
    ],
)
def test_spellings_of_one_name_are_found(labels: tuple[str, ...]) -> None:
    (found,) = like_labels(dict.fromkeys((*labels, "other"), 1))
    assert set(found.rows) == set(labels)


@pytest.mark.parametrize(
    "labels",
    [
        ("C", "C++", "C#"),
        ("1", "-1", "+1", "1%"),
        ("1.5", "15", "1-2", "12"),
        ("<5", ">5", "5"),
        ("+", "-", "!", "?"),
        ("\U0001f642", "\U0001f641"),
        ("NA", "N"),
        ("caf\u00e9", "cafe"),
    ],
)
def test_marks_that_tell_classes_apart_are_left_alone(labels: tuple[str, ...]) -> None:
    assert like_labels(dict.fromkeys(labels, 1)) == []


def test_counts_come_first_and_the_fix_names_the_most_frequent() -> None:
    counts = {"a": 1, "A": 2, "good": 4, "Good": 30, "GOOD": 30, "bad": 9}
    first, second = like_labels(counts)
    assert list(first.rows.items()) == [("GOOD", 30), ("Good", 30), ("good", 4)]
    assert list(second.rows) == ["A", "a"]
    assert first.fix == "if they are one class, write 'GOOD' for all of them"
    assert str(second) == (
        "labels that differ only by case, space or punctuation: 'A' 2, 'a' 1; "
        "if they are one class, write 'A' for all of them"
    )
    assert json.loads(json.dumps(second.as_dict())) == second.as_dict()
