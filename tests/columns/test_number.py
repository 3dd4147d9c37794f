"""Numbers: how they are read, what is counted, and the scales against numpy and scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from volano.columns import column_kind, column_uses
from volano.columns.number import (
    FittedNumber,
    NumberColumn,
    parse_number,
    parse_numbers,
)
from volano.errors import DataError, RequestError

finite = st.floats(allow_nan=False, allow_infinity=False)


def fit(numbers: object, scale: str = "auto") -> FittedNumber:
    values = [repr(float(number)) for number in numbers]  # type: ignore[attr-defined]
    return NumberColumn.fit("x", values, {"scale": scale})


def values_of(column: FittedNumber, values: list[object]) -> np.ndarray:
    array = column.encode(values).arrays["values"]
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    assert array.shape == (len(values), 1)
    return array[:, 0]


@given(finite)
def test_what_python_writes_is_read_back(number: float) -> None:
    assert parse_number(repr(number)) == number
    assert parse_number(f"  {number!r} ") == number


@given(st.integers(-(10**15), 10**15))
def test_thousands_may_be_parted_by_commas(number: int) -> None:
    assert parse_number(f"{number:,}") == number
    assert parse_number(f"{number:,}.25") == float(f"{number}.25")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$ 1,200", 1200.0),
        ("-$5", -5.0),
        ("€3.50", 3.5),
        ("12 %", 12.0),
        ("7 €", 7.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("+4", 4.0),
        (3, 3.0),
    ],
)
def test_how_people_write_numbers(text: object, wanted: float) -> None:
    assert parse_number(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("twelve", "1,2", "12,34,567", "1.2.3", "inf", "-Infinity", "1e999", "0x10", "2020_01"),
        *("12 kg", "--1", True, [1], 10**400),
    ],
)
def test_what_is_no_number(text: object) -> None:
    assert parse_number(text) is None
    found, unreadable = parse_numbers([text])
    assert unreadable.tolist() == [True]
    assert np.isnan(found).all()


@pytest.mark.parametrize("text", ["", "  ", "NA", "n/a", "NaN", "null", "?", "-", None])
def test_what_stands_for_nothing(text: object) -> None:
    found = parse_number(text)
    assert found is not None
    assert math.isnan(found)


raw = st.one_of(
    finite.map(repr),
    st.sampled_from(["", "NA", "1,234", "$3", "x", "inf", "1_0", "１２", "nan", " 7 "]),
    st.text(max_size=6),
)


@given(st.lists(raw))
def test_many_at_once_are_read_as_one_by_one(values: list[str]) -> None:
    found, unreadable = parse_numbers(values)
    alone = [parse_number(value) for value in values]
    assert unreadable.tolist() == [number is None for number in alone]
    wanted = np.array([math.nan if number is None else number for number in alone], float)
    np.testing.assert_array_equal(found, wanted)


def test_standard_is_scikit_learns() -> None:
    numbers = np.random.default_rng(0).normal(50, 9, 400)
    wanted = StandardScaler().fit_transform(numbers[:, None])[:, 0]
    found = values_of(fit(numbers, "standard"), numbers.tolist())
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert fit(numbers) == fit(numbers, "standard"), "auto is standard without outliers"


def test_quantile_is_scikit_learns() -> None:
    random = np.random.default_rng(1)
    numbers = np.concatenate([random.lognormal(0, 2, 300), np.zeros(90)])
    reference = QuantileTransformer(n_quantiles=129, subsample=None).fit(numbers[:, None])
    new = np.concatenate([numbers, [-1.0, 1e9], random.lognormal(0, 2, 100)])
    found = values_of(fit(numbers, "quantile"), new.tolist())
    wanted = reference.transform(new[:, None])[:, 0]
    # scikit-learn puts all that equals the smallest at 0; we leave ties there in their middle.
    inside = new > 0
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-6)
    share = float((numbers == 0).mean())
    np.testing.assert_allclose(found[new == 0], share / 2, atol=1 / 128)
    assert found[new < 0].tolist() == [0.0]


def test_robust_has_the_median_at_0_and_the_quartiles_where_a_normal_has_them() -> None:
    numbers = np.arange(101.0)
    column = fit(numbers, "robust")
    found = values_of(column, [50, 25, 75])
    np.testing.assert_allclose(found, [0, -0.6745, 0.6745], atol=1e-3)
    outliers = [*numbers, 1e6]
    assert fit(outliers).spread < 100, "auto is robust with outliers"
    assert fit(outliers, "standard").spread > 1000
    assert fit(outliers, "none") == fit(outliers, "none")
    assert values_of(fit(outliers, "none"), [7]).tolist() == [7.0]


@given(st.lists(finite, min_size=1, max_size=30))
def test_no_number_is_too_large(numbers: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("auto", "standard", "robust", "quantile", "none"):
            column = fit(numbers, kind)
            assert math.isfinite(column.centre)
            assert math.isfinite(column.spread)
            assert column.spread > 0
            found = values_of(column, [*numbers, 1.7e308, -1.7e308])
            assert np.isfinite(found).all()
            order = np.argsort(numbers, kind="stable")
            assert (np.diff(found[: len(numbers)][order]) >= 0).all(), "the order is kept"


@pytest.mark.parametrize("number", [0.1, 1e-300, 7.0, -1e300])
def test_a_column_of_one_value_is_0_and_others_stay_small(number: float) -> None:
    column = fit([number] * 3)
    assert values_of(column, [number]).tolist() == [0.0]
    assert column.spread == 1.0


def test_what_is_counted() -> None:
    column = fit([1, 2, 3])
    encoded = column.encode(["2", "", "NA", "many", "inf", "9", "-1", None])
    assert dict(encoded.counts) == {"missing": 3, "unreadable": 2, "outside": 2}
    assert encoded.notes == {
        3: "x: 'many' is no number",
        4: "x: 'inf' is no number",
        5: "x: 9 is outside the training rows, which go from 1 to 3",
        6: "x: -1 is outside the training rows, which go from 1 to 3",
    }
    array = encoded.arrays["values"]
    assert isinstance(array, np.ndarray)
    assert np.isnan(array[:, 0]).tolist() == [False, True, True, True, True, False, False, True]


def test_a_column_without_values() -> None:
    column = NumberColumn.fit("x", ["", "NA"], {})
    assert np.isnan(values_of(column, ["", "NA"])).all()
    assert values_of(column, ["5"]).tolist() == [5.0]


def test_what_a_client_may_send() -> None:
    column = fit([1, 2])
    assert column.check("1,000") == 1000.0
    assert column.check(None) is None
    assert column.check("") is None
    for value in ("x", float("inf"), True, {}, [1]):
        with pytest.raises(RequestError, match=r"(?s)x is .*a finite number.*REQUEST-013"):
            column.check(value)


@pytest.mark.parametrize(
    ("values", "use", "wins"),
    [
        ([str(number * 0.5) for number in range(50)], "input", True),
        (["1", "2", "3", "4", "5"] * 20, "input", True),
        (["1", "2", "3", "4", "5"] * 20, "target", False),
        ([str(number) for number in range(1, 60)], "input", False),
        (["red", "blue"] * 9, "input", False),
        (["", "NA"], "input", False),
    ],
)
def test_what_looks_like_numbers(values: list[str], use: str, wins: bool) -> None:
    found = NumberColumn.infer(values, use)  # type: ignore[arg-type]
    assert (found.score > 0.5) == wins
    assert found.reason


def test_a_target() -> None:
    column = NumberColumn.fit("price", ["1", "2.5"], {}, "target")
    assert column.targets(["1", "1,000.5"]).tolist() == [1.0, 1000.5]
    assert NumberColumn.refuse("a lot") == "is no number"
    assert NumberColumn.refuse("inf") == "is no number"
    assert NumberColumn.refuse("NA") == "no target"
    assert NumberColumn.refuse("7") is None


def test_a_target_of_too_few_digits_is_refused() -> None:
    moments = [str(1_700_000_000 + row) for row in range(100)]
    with pytest.raises(DataError, match=r"subtract 1700000049\.5 from every at"):
        NumberColumn.fit("at", moments, {}, "target")
    assert NumberColumn.fit("at", moments, {}).centre == pytest.approx(1_700_000_049.5)
    assert NumberColumn.refuse("1e31") == "is larger than a model can answer"


def test_two_numbers_with_a_point_are_numbers_and_without_one_yes_and_no() -> None:
    pointed, whole = ["0.0"] * 90 + ["1.0"] * 10, ["0"] * 90 + ["1"] * 10
    scores = [
        {kind: column_kind(kind).infer(values).score for kind in ("boolean", "category", "number")}
        for values in (pointed, whole, ["0.0"] * 100)
    ]
    assert [max(found, key=found.__getitem__) for found in scores] == [
        "number",
        "boolean",
        "number",
    ]


COMMAS = ["1.101,79", "3,5", "12", "", "-0,25", "1 000,5", "7,50 €", "1.101"]


def test_decimal_commas_are_inferred_and_read() -> None:
    for use in ("input", "target"):
        found = NumberColumn.infer(COMMAS * 5, use)  # type: ignore[arg-type]
        assert found.options == {"decimal": ","}
        assert "a comma before the decimals as in '1.101,79'" in found.reason
        others = {
            kind: column_kind(kind).infer(COMMAS * 5, use).score  # type: ignore[arg-type]
            for kind, able in column_uses().items()
            if kind != "number" and able in (use, "both")
        }
        assert found.score > max(others.values()), others
    plain = NumberColumn.plain(found.options)
    assert plain is not None
    read = [plain(value) for value in COMMAS]
    wanted = [1101.79, 3.5, 12, np.nan, -0.25, 1000.5, 7.5, 1101]
    np.testing.assert_array_equal(parse_numbers(read)[0], wanted)
    fitted = NumberColumn.fit("x", read, {"decimal": ","})
    assert [fitted.check(value) for value in ("1.101,79", 3.5, "1.101", "12.5", "1,234.50")] == [
        1101.79, 3.5, 1101, 12.5, 1234.5
    ]  # fmt: skip
    with pytest.raises(RequestError, match="REQUEST-013"):
        fitted.check("1,2,3")


def test_numbers_with_points_and_thousands_are_not_taken_for_commas() -> None:
    for values in (["1,234", "12,345", "1,234.50"], ["3.5", "1,234", "7"], ["1", "2,000", "3,5"]):
        assert NumberColumn.infer(values * 5).options == {}
    assert NumberColumn.plain({}) is None
