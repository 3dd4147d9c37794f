"""Names as inputs: codes for the common ones, buckets for all others."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.columns.category import CategoryColumn, FittedCategory
from volano.errors import RequestError


def codes(column: FittedCategory, values: list[object]) -> list[int]:
    array = column.encode(values).arrays["codes"]
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.int64
    return array.tolist()


def fit(values: list[str], **options: object) -> FittedCategory:
    return CategoryColumn.fit("colour", values, options)


def test_the_commonest_names_come_first_and_an_empty_cell_is_a_name() -> None:
    column = fit(["red", "blue", "red ", "", "blue", "red"])
    assert column.names == ("red", "blue", "")
    assert codes(column, ["red", " blue", "", None]) == [1, 2, 3, 3]
    assert column.num_codes == 4


def test_names_that_were_not_seen_share_a_code_and_are_counted() -> None:
    column = fit(["red", "blue"] * 3)
    encoded = column.encode(["red", "green", "mauve"])
    assert codes(column, ["green", "mauve"]) == [0, 0]
    assert dict(encoded.counts)["unseen"] == 2
    assert encoded.notes == {
        1: "colour: 'green' has no code of its own",
        2: "colour: 'mauve' has no code of its own",
    }


def test_rare_names_share_codes() -> None:
    column = fit(["a"] * 5 + ["b"] * 4 + ["c", "d"], min_rows=2, buckets=3)
    assert column.names == ("a", "b")
    assert codes(column, ["a", "b"]) == [3, 4]
    assert set(codes(column, ["c", "d", "e", "f", "g"])) <= {0, 1, 2}


def test_a_million_names_are_hashed_into_few_codes() -> None:
    values = [f"user {number}" for number in range(30_000)] + ["often"] * 10
    column = fit(values)
    assert len(column.names) == 1000
    assert column.names[0] == "often"
    assert column.buckets == 4096
    found = np.bincount(codes(column, values[:-10]), minlength=column.num_codes)[: column.buckets]
    expected = (len(values) - 10 - 999) / 4096
    # A hash that spreads at least as evenly as chance would.
    assert found.sum() == 30_000 - 999
    assert found.var() / expected < 1.25
    assert found.max() < 5 * expected


def test_codes_do_not_depend_on_the_process() -> None:
    """Python salts its own hash of texts anew in each process."""
    column = FittedCategory("x", ("a",), 1000)
    wanted = codes(column, ["some name", "另一个"])
    text = (
        "from volano.columns.category import FittedCategory as F;"
        "print(F('x', ('a',), 1000).encode(['some name', '另一个']).arrays['codes'].tolist())"
    )
    found = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == str(wanted)


@given(st.lists(st.text(max_size=4), min_size=1), st.lists(st.text(max_size=4)))
def test_every_name_has_a_code_in_range(train: list[str], new: list[str]) -> None:
    column = fit(train)
    found = codes(column, [*train, *new])
    assert all(0 <= code < column.num_codes for code in found)
    assert min(found[: len(train)]) >= column.buckets, "a training name has a code of its own"
    order = sorted(train)
    assert fit(order) == column, "the order of the rows does not matter"


def test_what_a_client_may_send() -> None:
    column = fit(["1", "True", "x"])
    assert [column.check(value) for value in (1, True, " x ", None, "new")] == [
        *("1", "True", "x", "", "new")
    ]
    for value in ({}, ["x"]):
        with pytest.raises(RequestError, match="REQUEST-011"):
            column.check(value)
    target = CategoryColumn.fit("mood", ["good", "bad"], {}, "target")
    with pytest.raises(RequestError, match=r"(?s)no class 'god'.*Did you mean good.*REQUEST-012"):
        target.check("god")


def test_a_target_knows_only_its_names() -> None:
    target = CategoryColumn.fit("mood", ["good", "bad", "good"], {"buckets": 9}, "target")
    assert target.names == ("bad", "good")
    assert target.buckets == 0
    assert target.targets(["good", "bad", "odd"]).tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("values", "use", "wins"),
    [
        (["red", "blue", "green"] * 20, "input", True),
        ([f"name {number}" for number in range(60)], "input", False),
        (["1", "2", "3"] * 20, "target", True),
        ([str(number % 30) for number in range(300)], "target", False),
    ],
)
def test_what_looks_like_names(values: list[str], use: str, wins: bool) -> None:
    assert (CategoryColumn.infer(values, use).score > 0.5) == wins  # type: ignore[arg-type]
