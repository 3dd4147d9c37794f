"""Series: cells of numbers, histories in requests, targets of forecasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volano.columns import Windows, column_kind, column_options, column_uses
from volano.columns.series import (
    FittedSeries,
    SeriesColumn,
    fill_gaps,
    parse_channels,
    parse_series,
)
from volano.errors import RequestError
from volano.spec import parse_spec

HISTORY = FittedSeries("y", ("y",), (10.0,), (2.0,), 4)
TARGET = FittedSeries("y", ("y", "z"), (10.0, 0.0), (2.0, 1.0), 4, 3, 2, "3600.0 s", (1.0, 2.0))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[1, 2.5]", [1, 2.5]),
        ("1 2 3", [1, 2, 3]),
        ("1;2", [1, 2]),
        ((1, 2), [1, 2]),
        ("", []),
        (None, []),
        ("NaN", []),
        (np.array([1, 2]), [1, 2]),
    ],
)
def test_cells(cell: object, expected: list[float]) -> None:
    found = parse_series(cell)
    assert found is not None
    assert found.tolist() == expected


@pytest.mark.parametrize("cell", ["a b", [1, True], [[1]], 3, {"a": 1}, "1 inf", np.zeros((2, 2))])
def test_no_series(cell: object) -> None:
    assert parse_series(cell) is None


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("1,5;2,5", [1.5, 2.5]),
        ("1;;3", [1, np.nan, 3]),
        ("1, ,3", [1, np.nan, 3]),
        ("1;2;", [1, 2]),
        ("[1, 2.5]", [1, 2.5]),
        ("1 2,5", [1, 2, 5]),
    ],
)
def test_what_stands_between_numbers(cell: str, wanted: list[float]) -> None:
    np.testing.assert_array_equal(parse_series(cell), wanted)


def test_a_few_odd_cells_cost_no_column() -> None:
    cells = ["1 2 3 4", "2 3 4 5 6", "not measured"] + ["1 2 3 4 5"] * 17
    found = SeriesColumn.infer(cells)
    assert found.score > 0.9
    assert "1 cannot be read" in found.reason
    assert SeriesColumn.infer(["1 2 3 4", "a text"]).score == 0
    found = SeriesColumn.infer([*cells[:2], *["1 2 3 4 5"] * 17, "1 2 3 4 | 3 4 5 6"])
    assert found.score > 0.9
    assert "1 cannot be read" in found.reason
    assert "2 series" in SeriesColumn.infer(["1 2 3 4 | 3 4 5 6"] * 3).reason


@pytest.mark.parametrize("cell", ["[[1, 2], [3, null]]", "1 2 | 3 NaN", [[1, 2], [3, None]]])
def test_several_series_in_a_cell(cell: object) -> None:
    found = parse_channels(cell)
    assert found is not None
    np.testing.assert_array_equal(found, [[1, 2], [3, np.nan]])
    column = SeriesColumn.fit("x", [cell, "1 2 3 | 4 5 6"], {})  # type: ignore[list-item]
    assert (column.columns, column.window) == (("x[0]", "x[1]"), 3)
    assert column.parts[:2] == ("x[0][-3]", "x[0][-2]")
    encoded = column.encode([cell, "1 2 3"])
    values = encoded.arrays["values"]
    assert isinstance(values, np.ndarray)
    assert values.shape == (2, 6)
    assert values[0, 0] == values[0, 1]  # filled up at its start
    assert values[0, 4] == values[0, 5]  # and at the gap of its end
    assert encoded.counts == {"short": 1, "filled": 1, "missing": 0, "unreadable": 1}
    assert encoded.notes[1] == (
        "x: '1 2 3' is no 2 series of numbers; the mean of the training rows stands for it"
    )
    assert column.check([[1, 2], [3, None]]) == [[1, 2], [3, None]]
    assert column.schema()["minItems"] == 2
    with pytest.raises(RequestError, match=r"(?s)2 equally long lists of numbers"):
        column.check([1, 2, 3])


@pytest.mark.parametrize("cell", ["[[1, 2], [3]]", "1 2 | x", [[1], 2], np.zeros((1, 1, 1))])
def test_no_several_series(cell: object) -> None:
    assert parse_channels(cell) is None


def test_numbers_too_large_for_any_network_cannot_be_read() -> None:
    assert parse_series([1, 1e308]) is None
    assert parse_series("1 -1e31") is None
    column = SeriesColumn.fit("x", ["1 2 1e308", "1 2 3"], {})
    assert column.centres == (2.0,)
    assert SeriesColumn.refuse("1e308") == "is no number"


def test_what_is_known_ahead_needs_its_steps_to_come(tmp_path: Path) -> None:
    column = FittedSeries("price", ("price",), (0.0,), (1.0,), 6, ahead=2)
    assert column.check([1, 2, 3]) == [1, 2, 3]
    assert column.facts() == {"window": 4, "ahead": 2}
    with pytest.raises(RequestError, match="then the 2 to come, which are known ahead"):
        column.check([1, 2])
    column.save(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert FittedSeries.load("price", files) == column


def test_gaps_lie_on_the_line_between_their_neighbours() -> None:
    gaps = np.array([np.nan, 1.0, np.nan, np.nan, 4.0, np.nan])
    assert fill_gaps(gaps).tolist() == [1, 1, 2, 3, 4, 4]
    assert np.isnan(fill_gaps(np.array([np.nan]))).all()


def test_a_history_is_cut_filled_up_and_mended_and_says_so() -> None:
    encoded = HISTORY.encode([[0, 8, 10, 12, 14], [12, 14], [10, None, 14, 16], "x"])
    values = encoded.arrays["values"]
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.float32
    assert values.tolist() == [[-1, 0, 1, 2], [1, 1, 1, 2], [0, 1, 2, 3], [0, 0, 0, 0]]
    assert encoded.counts == {"short": 1, "filled": 1, "missing": 0, "unreadable": 1}
    assert encoded.notes == {
        1: "y: 2 values where 4 are looked at; the first was repeated",
        2: "y: 1 missing values were filled",
        3: "y: 'x' is no series of numbers; the mean of the training rows stands for it",
    }


@pytest.mark.parametrize("value", ["x", [], [None], 3, True, {"y": [1]}])
def test_a_history_without_numbers_is_refused(value: object) -> None:
    with pytest.raises(
        RequestError, match=r"(?s)y is .*a list of numbers, the latest last"
    ) as caught:
        HISTORY.check(value)
    assert caught.value.code == "REQUEST-025"
    assert caught.value.status == 422


def test_right_values_of_a_forecast_are_checked() -> None:
    assert TARGET.check({"y": [1, None], "z": [1, 2, 3]}) == {"y": [1, None], "z": [1, 2, 3]}
    for wrong in (3, {}, {"other": [1]}, {"y": [1, 2, 3, 4]}, {"y": "a"}):
        with pytest.raises(RequestError, match=r"(?s)up to 3 of them, of y, z"):
            TARGET.check(wrong)


def test_targets_are_scaled_and_padded_with_nan() -> None:
    found = TARGET.targets([{"y": [12, 14, 16, 99], "z": [5]}])
    np.testing.assert_array_equal(found, [[[1, 5], [2, np.nan], [3, np.nan]]])
    np.testing.assert_allclose(TARGET.unscaled(found)[0, :, 0], [12, 14, 16])


def test_inferred_as_cells_of_unequal_length_only() -> None:
    assert SeriesColumn.infer(["1 2 3 4", "1 2 3 4 5 6"]).score > 0.9
    vectors = ["1 2 3 4", "4 3 2 1"]
    assert SeriesColumn.infer(vectors).score < column_kind("vector").infer(vectors).score
    assert SeriesColumn.infer(["a", "b"]).score == 0
    assert SeriesColumn.infer(["1", "2"], "target").score == 0


def test_fitted_on_cells_of_an_input() -> None:
    fitted = SeriesColumn.fit("y", ["1 2 3", "", "2 x", "2"], {})
    assert (fitted.window, fitted.centres) == (3, (2.0,))
    assert fitted.spreads[0] == pytest.approx(np.std([1, 2, 3, 2]))


def test_windows_are_views_until_asked() -> None:
    flat = np.arange(20.0).reshape(10, 2)
    windows = Windows(flat, np.array([0, 3]), 4)
    assert (windows.shape, len(windows)) == ((2, 4, 2), 2)
    assert windows.flat is flat
    np.testing.assert_array_equal(windows[1], flat[3:7])
    np.testing.assert_array_equal(np.asarray(windows), np.stack([flat[0:4], flat[3:7]]))


def test_the_spec_takes_its_options() -> None:
    spec = parse_spec(
        "name: a\ndata: a.csv\ninputs: {date: datetime, b: number}\n"
        "target: {y: {type: series, horizon: 3, also: [b]}}\n",
        column_options=column_options,
        column_types=column_uses(),
    )
    options = dict(spec.target_column.options)
    assert options == {
        "horizon": 3,
        "window": "auto",
        "season": "auto",
        "also": ["b"],
        "ahead": [],
        "static": [],
        "group": None,
        "encoder": "auto",
    }
