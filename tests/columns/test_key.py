"""Keys: which come back, which do not, and what is never learned by heart."""

from __future__ import annotations

import random

import pytest

from volano.columns import column_kind
from volano.columns.id import FittedId, IdColumn
from volano.errors import RequestError


def test_keys_of_few_rows_share_a_code() -> None:
    values = ["a"] * 9 + ["b"] * 5 + ["c"] * 4 + ["", "NA", "d"]
    column = IdColumn.fit("user", values, {"min_rows": 5, "buckets": 2})
    assert column.ids == ("a", "b")
    encoded = column.encode(["a", " b", "c", "d", "never seen", "", None])
    codes = encoded.arrays["codes"].tolist()  # type: ignore[union-attr]
    assert codes[:2] == [2, 3]
    assert set(codes[2:]) <= {0, 1}
    assert codes[5:] == [0, 0]
    assert encoded.counts == {"missing": 2, "unseen": 3}
    assert "has no code of its own" in encoded.notes[2]


def test_a_whole_number_is_a_key_and_a_list_is_none() -> None:
    column = FittedId("user", ("7",))
    assert column.check(7) == column.check(" 7 ") == "7"
    for wrong in (True, 1.5, [], {}, "x" * 1001):
        with pytest.raises(RequestError, match="REQUEST-018"):
            column.check(wrong)
    assert "7" not in str(column.facts()), "keys may be of people: a service names none"


def keys(number: int, *, of: int) -> list[str | None]:
    drawn = random.Random(0)
    return [f"U-{drawn.randrange(of):05d}" for _ in range(number)]


def test_keys_are_told_from_names_and_numbers() -> None:
    found = IdColumn.infer(keys(3000, of=300))
    assert found.score > column_kind("category").infer(keys(3000, of=300)).score
    assert "which come back" in found.reason
    numbers = [key[2:].lstrip("0") or "0" for key in keys(3000, of=300) if key]
    assert IdColumn.infer(numbers).score == 0, "by their values alone they are counts"
    for name in ("user_id", "userId", "Shop ID", "sku", "item.key"):
        named = IdColumn.infer_named(name, numbers)
        assert named.score > column_kind("number").infer(numbers).score, name
    for name in ("paid", "humid", "size", "monkey"):
        assert IdColumn.infer_named(name, numbers).score == 0, name
    assert IdColumn.infer(["red", "green"] * 50).score == 0
    assert IdColumn.infer([]).score == IdColumn.infer(["", None]).score == 0


def test_a_key_for_each_row_is_left_out_and_warned_of() -> None:
    single = [str(number * 7919 % 100_003) for number in range(1000)]
    why = IdColumn.left_out("order_id", single)
    assert why is not None
    assert "100% of the rows" in why
    assert IdColumn.left_out("price", single) is None
    assert IdColumn.left_out("user_id", keys(3000, of=300)) is None
    warned = IdColumn.warn("order_id", single)
    assert warned is not None
    assert "1,000 of 1,000 rows" in warned
    assert IdColumn.warn("user_id", keys(3000, of=300)) is None
