"""Cells with several names, however they are written."""

from __future__ import annotations

import numpy as np
import pytest

from volano.columns.labels import FittedLabels, LabelsColumn, parse_labels
from volano.errors import RequestError

ODD = ("|a||b|", " b | a ", '["a", "b"]', "['b', 'a']", "('a',)", "b|a|b")


def test_one_set_has_one_form_however_it_is_written() -> None:
    forms = {LabelsColumn.canonical(cell, {"separator": "|"}) for cell in ODD if cell[0] != "("}
    assert forms == {'["a", "b"]'}
    assert parse_labels("('a',)") == ("('a',)",), "a tuple is no list, and a name like any other"
    assert parse_labels("[draft]|news") == ("[draft]", "news")
    assert parse_labels("[1, 2.5, true]") == ("1", "2.5", "true")
    assert parse_labels('[["a"]]') is None
    assert parse_labels('[{"a": 1}]') is None
    assert parse_labels("[" * 5000 + "]" * 5000) is not None, "a name, not a crash"


def test_what_an_empty_cell_means_is_the_specs_to_say() -> None:
    assert LabelsColumn.canonical("", {"empty": "missing"}) is None
    assert LabelsColumn.canonical(" ", {"empty": "none"}) == "[]"
    assert LabelsColumn.canonical("[]", {"empty": "missing"}) == "[]", "somebody wrote that down"


def test_targets_count_what_is_not_known() -> None:
    column = LabelsColumn.fit("tags", ["a|b", "c", "a"], {}, "target")
    assert column.names == ("a", "b", "c")
    found = column.targets(["b|c", "[]", "a|x|y", '["a", "c"]'])
    assert found.tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 2], [1, 0, 1, 0]]
    assert column.encode(["a", "x"]).counts == {"unknown": 1}
    rare = LabelsColumn.fit("tags", ["a|b", "c", "a"], {"min_rows": 2}, "target")
    assert rare.names == ("a",)


def test_an_answer_as_a_cell_is_read_again() -> None:
    column = FittedLabels("tags", ("a", "a;b", "[x"), ";")
    for value in (["a"], ["a", "[x"], ["a;b"], [], ["[x"]):
        assert column.check(column.cell(value)) == sorted(value)
    assert column.cell(["[x", "a"]) != "[x;a", "it would begin as a list does"
    assert column.cell(["a", "a"]) == "a;a"


@pytest.mark.parametrize(("value", "code"), [({}, "017"), (None, "017"), (["a", ["b"]], "017"),
                                             (["a", "z"], "012"), ("a;z", "012")])  # fmt: skip
def test_what_is_refused(value: object, code: str) -> None:
    with pytest.raises(RequestError, match=f"REQUEST-{code}"):
        FittedLabels("tags", ("a", "b"), ";").check(value)


def inferred(cells: list[str]) -> tuple[float, dict[str, object]]:
    found = LabelsColumn.infer(cells * 20, "target")
    return found.score, dict(found.options)


def test_a_separator_is_found_where_it_is_clear() -> None:
    for separator in ("|", ";", ","):
        cells = [
            cell.replace("|", separator) for cell in ("red|round", "red", "blue|round", "blue")
        ]
        score, options = inferred(cells)
        assert score > 0.98
        assert options == {"separator": separator}
    assert inferred(['["red"]', "[]", '["blue", "red"]']) == (0.985, {})
    for cells in (
        ["Ulm, DE", "Bonn, DE", "Paris, FR"],
        ["Doe, John", "Roe, Jane"],
        ["1,234", "5,678"],
        ["[1, 2]", "[3, 4]"],
        ["It is good, and red.", "It is bad; and blue.", "So, so"],
        [""],
    ):
        assert inferred(cells)[0] < 0.2, cells


def test_free_text_with_commas_is_no_list_of_labels() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(900)]
    cells = [", ".join(rng.choice(words, rng.integers(1, 5))) for _ in range(200)]
    assert LabelsColumn.infer(cells, "target").score == 0
