"""Booleans, datetimes and vectors: how they are read, and what is made of them."""

from __future__ import annotations

import datetime
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.columns import Encoded
from volano.columns.boolean import BooleanColumn, FittedBoolean, parse_boolean
from volano.columns.datetime import DatetimeColumn, FittedDatetime, parse_moment
from volano.columns.number import NumberColumn
from volano.columns.vector import VectorColumn, parse_vector
from volano.errors import RequestError


def table(encoded: Encoded) -> np.ndarray:
    array = encoded.arrays["values"]
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    return array


def seconds(*parts: int) -> float:
    return (datetime.datetime(*parts) - datetime.datetime(1970, 1, 1)).total_seconds()  # type: ignore[arg-type]


# Booleans --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("Yes", 1.0), (" TRUE ", 1.0), ("t", 1.0), (1, 1.0), ("off", 0.0), (False, 0.0), ("否", 0.0)],
)
def test_yes_and_no(value: object, wanted: float) -> None:
    assert parse_boolean(value) == wanted


def test_what_booleans_count() -> None:
    encoded = FittedBoolean("member").encode(["yes", "", "perhaps", "0", None])
    np.testing.assert_array_equal(table(encoded)[:, 0], np.float32([1, np.nan, np.nan, 0, np.nan]))
    assert dict(encoded.counts) == {"missing": 2, "unreadable": 1}
    assert encoded.notes == {2: "member: 'perhaps' is neither yes nor no"}
    with pytest.raises(RequestError, match=r"(?s)member is 'perhaps'.*REQUEST-014"):
        FittedBoolean("member").check("perhaps")
    assert [FittedBoolean("m").check(value) for value in ("1", "no", None)] == [True, False, None]


def test_what_looks_like_booleans() -> None:
    assert BooleanColumn.infer(["yes", "no", "", "yes"]).score > 0.9
    assert BooleanColumn.infer(["0", "1"] * 5).score > NumberColumn.infer(["0", "1"] * 5).score
    assert BooleanColumn.infer(["yes", "no", "maybe"]).score == 0
    assert BooleanColumn.infer(["yes", "yes"]).score < 0.9


# Datetimes -------------------------------------------------------------------------------------

moments = st.datetimes(datetime.datetime(1000, 1, 1), datetime.datetime(9998, 12, 31)).map(
    lambda moment: moment.replace(microsecond=0)
)


@given(moments)
def test_one_moment_in_many_forms(moment: datetime.datetime) -> None:
    wanted = (moment - datetime.datetime(1970, 1, 1)).total_seconds()
    forms = ["%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S",
             "%m/%d/%Y %I:%M:%S %p"]  # fmt: skip
    texts = [moment.isoformat(), *(moment.strftime(form) for form in forms)]
    texts.append(f"{moment.day}.{moment.month}.{moment:%Y %H:%M:%S}")
    for text in texts:
        if len(text.split("-")[0].split("/")[0]) == 4 or moment.year >= 1000:
            assert parse_moment(text) == wanted, text
    assert parse_moment(moment.isoformat() + "Z") == wanted
    assert parse_moment(moment.isoformat() + "+05:30") == wanted, "the wall clock counts"
    day = wanted - wanted % 86_400
    for form in ("%Y-%m-%d", "%Y%m%d", "%d %b %Y", "%b %d, %Y", "%B %d, %Y"):
        assert parse_moment(moment.strftime(form)) == day, form
    assert parse_moment(moment.strftime("%d/%m/%Y"), day_first=True) == day


@pytest.mark.parametrize(
    "value",
    [
        *("soon", "2026-02-30", "31.13.2026", "25:00", "12", "12345", "1234567", "2026", "1.5", 5),
        *("01/02/03", "12:30", "May be", "monday 3", "2026-01-01 25:00", "1/1/2026 13:00 PM"),
    ],
)
def test_what_is_no_moment(value: object) -> None:
    assert parse_moment(value) is None


def test_one_day_above_twelve_says_which_comes_first_in_the_whole_column() -> None:
    european = DatetimeColumn.fit("d", ["01/02/2026", "13/02/2026", "03/04/2026"], {})
    american = DatetimeColumn.fit("d", ["01/02/2026", "02/13/2026", "03/04/2026"], {})
    assert (european.day_first, american.day_first) == (True, False)
    value = european.parts.index("moment")
    apart = table(european.encode(["01/02/2026", "2026-02-01", "2026-01-02"]))[:, value]
    assert apart[0] == apart[1] != apart[2]
    apart = table(american.encode(["01/02/2026", "2026-02-01", "2026-01-02"]))[:, value]
    assert apart[0] == apart[2] != apart[1]


@given(moments)
def test_parts_are_those_of_the_calendar(moment: datetime.datetime) -> None:
    names = ("moment", "year", "month", "day", "weekday", "hour", "month_sin", "weekday_cos",
             "hour_sin")  # fmt: skip
    column = FittedDatetime("d", seconds(2000, 1, 1), 86_400.0, names)
    found = dict(zip(names, table(column.encode([moment.isoformat()]))[0].tolist(), strict=True))
    hour = moment.hour + moment.minute / 60 + moment.second / 3600
    wanted = {
        "moment": (moment - datetime.datetime(2000, 1, 1)).total_seconds() / 86_400,
        "year": (moment.year - 2000) / 50,
        "month": (moment.month - 1) / 12,
        "day": (moment.day - 1) / 31,
        "weekday": moment.weekday() / 7,
        "hour": hour / 24,
        "month_sin": math.sin(2 * math.pi * (moment.month - 1) / 12),
        "weekday_cos": math.cos(2 * math.pi * moment.weekday() / 7),
        "hour_sin": math.sin(2 * math.pi * hour / 24),
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_parts_that_never_change_are_left_out() -> None:
    days = [f"2026-03-{day:02d}" for day in range(1, 15)]
    column = DatetimeColumn.fit("d", days, {})
    assert "moment" in column.parts
    assert "weekday" in column.parts
    assert not {"hour", "month", "year"} & set(column.parts)
    once = DatetimeColumn.fit("d", ["2026-03-01"] * 3, {})
    assert once.parts == ("moment",)
    assert table(once.encode(["2026-03-01"])).tolist() == [[0.0]]
    nothing = DatetimeColumn.fit("d", ["", "NA"], {})
    assert np.isnan(table(nothing.encode([""]))).all()


def test_what_datetimes_count() -> None:
    column = DatetimeColumn.fit("d", ["2026-01-01", "2026-05-01"], {})
    encoded = column.encode(["2026-01-01", "", "soon", None])
    assert dict(encoded.counts) == {"missing": 2, "unreadable": 1}
    assert encoded.notes == {2: "d: 'soon' is no moment"}
    with pytest.raises(RequestError, match=r"(?s)d is 'soon'.*REQUEST-015"):
        column.check("soon")


def test_what_looks_like_datetimes() -> None:
    assert DatetimeColumn.infer(["2026-01-01", "02.01.2026", "1/3/2026", ""]).score > 0.9
    assert DatetimeColumn.infer(["1200", "1305", "999"]).score == 0
    assert DatetimeColumn.infer(["123456", "654321"]).score == 0


# Vectors ---------------------------------------------------------------------------------------


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_a_vector_in_many_forms(numbers: list[float]) -> None:
    texts = [repr(numbers), " ".join(map(repr, numbers)), ";".join(map(repr, numbers))]
    for value in (*texts, numbers, tuple(numbers), np.array(numbers)):
        found = parse_vector(value)
        assert found is not None
        assert found.tolist() == numbers
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        column = VectorColumn.fit("v", [repr(numbers), repr([0.0] * len(numbers))], {})
        assert np.isfinite(table(column.encode([numbers]))).all()


@pytest.mark.parametrize("value", ["a b", "[1, nan]", "1 inf", [[1, 2]], {"a": 1}, True, [1, "x"]])
def test_what_is_no_vector(value: object) -> None:
    assert parse_vector(value) is None


def test_places_are_scaled_one_by_one() -> None:
    random = np.random.default_rng(0)
    numbers = random.normal([1, 50, 7], [2, 9, 0], (200, 3))
    values = [" ".join(map(repr, row)) for row in numbers.tolist()]
    column = VectorColumn.fit("v", values, {})
    found = table(column.encode(values))
    wanted = (numbers - numbers.mean(0)) / [*numbers.std(0)[:2], 1]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert column.parts == ("v[0]", "v[1]", "v[2]")


def test_a_vector_of_another_length_is_refused_or_counted() -> None:
    column = VectorColumn.fit("v", ["1", "1 2", "3 4", "5 6 7", "", "x y"], {})
    assert len(column.centres) == 2, "the commonest length"
    encoded = column.encode(["1 2", "1 2 3", "", "x"])
    assert dict(encoded.counts) == {"missing": 1, "unreadable": 2}
    assert encoded.notes[1] == "v: '1 2 3' is no vector of 2 numbers"
    for value in ([1, 2, 3], "x", [float("nan"), 1]):
        with pytest.raises(RequestError, match=r"(?s)v is .*a list of 2 finite.*REQUEST-016"):
            column.check(value)
    assert column.check([1, 2]) == [1.0, 2.0]
    assert column.check(None) is None


def test_what_looks_like_vectors() -> None:
    assert VectorColumn.infer(["[1, 2]", "3 4", ""]).score > 0.9
    assert VectorColumn.infer(["1,234", "5,678"]).score == 0, "these are numbers"
    assert VectorColumn.infer(["1 2", "1 2 3"]).score == 0
    assert VectorColumn.infer(["1", "2"]).score == 0
