"""Groups, columns known ahead, and columns that stay the same, in tables in time order."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.columns.series import FittedSeries
from volano.data import (
    GoldenRows,
    GoldenWindows,
    OrderedTable,
    Prepared,
    Snapshot,
    flags,
    panel_of,
    resolve,
    save_columns,
    take_snapshot,
    window_splits,
    write_rows,
)
from volano.errors import DataError

KINDS = {
    "day": "datetime",
    "shop": "category",
    "price": "number",
    "holiday": "boolean",
    "town": "category",
    "y": "series",
}
OPTIONS = {
    "horizon": 3,
    "window": 5,
    "season": "auto",
    "ahead": ["price", "holiday", "day"],
    "static": ["town"],
    "group": "shop",
}
SHOPS = ("a", "b", "c")
NUM = 60


def table(values: np.ndarray, first: tuple[int, ...] = (0, 0, 10)) -> list[dict[str, str]]:
    """Rows of three shops, the last of which opens later; (NUM, 3 shops, y and price)."""
    start = datetime.date(2026, 1, 1)
    rows = []
    for at in range(NUM):
        for place, shop in enumerate(SHOPS):
            if at < first[place]:
                continue
            y, price = values[at, place].tolist()
            rows.append(
                {
                    "day": str(start + datetime.timedelta(days=at)),
                    "shop": shop,
                    "price": repr(price),
                    "holiday": "yes" if at % 9 == 0 else "no",
                    "town": "Rom" if shop == "a" else "Pisa",
                    "y": repr(y),
                }
            )
    return rows


def prepared(
    folder: Path, rows: list[dict[str, str]], **options: Any
) -> tuple[Prepared, Any, GoldenRows]:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(KINDS), *(",".join(row[name] for name in KINDS) for row in rows)]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    inputs = [name for name in KINDS if name != "y"]
    files = resolve(["log.csv"], root=folder)
    take_snapshot(files, inputs=inputs, target="y", kinds=KINDS, out=folder / "snapshot")
    snapshot = Snapshot.open(folder / "snapshot")
    found = OrderedTable.of(KINDS, "y", {**OPTIONS, **options})
    chosen, order, _ = found.choose_golden(snapshot, share=0.2, most=1000)
    write_rows(snapshot, chosen, folder / "golden.arrow", order=order)
    golden = GoldenRows.open(folder / "golden.arrow")
    out = folder / "prepared"
    splits = window_splits(out, found, snapshot, np.arange(snapshot.num_rows), golden, share=0.25)
    save_columns(out, splits.inputs, splits.target, {name: {} for name in splits.inputs})
    return Prepared.open(out), splits, golden


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (NUM, 3, 2))


def test_windows_never_cross_groups_and_all_are_cut_at_the_same_day(tmp_path: Path) -> None:
    # What each value is says where it comes from: 1000 x shop + day.
    values = np.arange(NUM)[:, None, None] + 1000.0 * np.arange(3)[None, :, None]
    found, splits, _ = prepared(tmp_path, table(np.repeat(values, 2, axis=2)))
    assert splits.facts["groups"] == 3
    assert (splits.facts["steps"], splits.facts["golden_steps"]) == (60, 12)
    bounds = {"train": (0, 36), "validation": (36, 48), "golden": (48, 60)}
    for name, (low, high) in bounds.items():
        split = found.split(name)
        assert split.num_rows
        came = splits.target.unscaled(np.asarray(split.target))[:, :, 0]
        column = splits.inputs["y"]
        seen = column.unscaled(np.asarray(split.columns["y"].arrays["values"])[..., None])[..., 0]
        price = splits.inputs["price"]
        given_ = price.unscaled(np.asarray(split.columns["price"].arrays["values"])[..., None])
        given_ = given_[..., 0]
        both = np.round(np.concatenate([seen, came], axis=1), 2)
        shop, day = both // 1000, both % 1000
        assert (shop == shop[:, :1]).all()
        # A golden history may be filled up at its start; all else are days that follow each other.
        assert np.isin(np.diff(day, axis=1), [0, 1] if name == "golden" else [1]).all()
        assert (np.diff(day[:, -4:], axis=1) == 1).all()
        assert day[:, -3:].min() >= low
        assert day.max() < high
        assert set(shop[:, 0].tolist()) == {0, 1, 2}
        # Known ahead: the same days, those to come with them.
        np.testing.assert_allclose(given_[:, -4:], both[:, -4:], atol=0.05)
        np.testing.assert_array_equal(found.times(name), np.sort(found.times(name)))
        codes = np.asarray(split.columns["shop"].arrays["codes"])
        names = found.inputs["shop"].names  # type: ignore[attr-defined]
        buckets = found.inputs["shop"].buckets  # type: ignore[attr-defined]
        assert [names[code - buckets] for code in codes.tolist()] == [
            SHOPS[int(place)] for place in shop[:, 0].tolist()
        ]
    assert len(set(found.times("golden").tolist())) == 12 - 3 + 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), gaps=st.sets(st.integers(5, 170), max_size=25))
def test_no_window_knows_of_what_comes_after_it_or_of_another_group(
    seed: int, gaps: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(seed)
    values = drawn(seed)
    changed = values.copy()
    cut = 30
    changed[cut:, 0] = random.normal(30, 5, (NUM - cut, 2))  # the future of the first shop
    changed[:, 1] = random.normal(-9, 3, (NUM, 2))  # all of the second
    both = []
    for rows in (table(values), table(changed)):
        kept = [row for at, row in enumerate(rows) if at not in gaps]
        both.append(prepared(tmp_path_factory.mktemp("log"), kept))
    (one, first, _), (two, second, _) = both
    for name in ("train", "validation"):
        for place, shop in enumerate(SHOPS):
            until = {0: cut, 1: 0, 2: NUM}[place]
            mine, theirs = (
                _windows(found, splits, name, shop)
                for found, splits in ((one, first), (two, second))
            )
            assert set(mine) == set(theirs)
            for time, window in mine.items():
                if time <= until - 3:
                    # All of it lies before the change, and what is known ahead as well.
                    for key, values_ in window.items():
                        np.testing.assert_allclose(values_, theirs[time][key], atol=1e-3)
                elif time <= until:
                    # What is looked back at does; what is known ahead is known.
                    np.testing.assert_allclose(window["y"], theirs[time]["y"], atol=1e-3)
                    np.testing.assert_allclose(
                        window["price"][:5], theirs[time]["price"][:5], atol=1e-3
                    )


def _windows(
    found: Prepared, splits: Any, name: str, shop: str
) -> dict[int, dict[str, np.ndarray]]:
    """Time -> what is looked back at and known ahead, in own units."""
    split = found.split(name)
    codes = np.asarray(split.columns["shop"].arrays["codes"])
    names = splits.inputs["shop"].names
    if shop not in names:
        return {}  # gaps left it no training window, so that its name was not learned
    own = names.index(shop) + splits.inputs["shop"].buckets
    result = {}
    for row in np.flatnonzero(codes == own).tolist():
        time = int(found.times(name)[row])  # type: ignore[index]
        result[time] = {
            key: splits.inputs[key].unscaled(
                np.asarray(split.columns[key].arrays["values"])[row][:, None]
            )[:, 0]
            for key in ("y", "price", "holiday")
        }
    return result


def test_golden_windows_are_requests(tmp_path: Path) -> None:
    found, splits, golden_rows = prepared(tmp_path, table(drawn(3)))
    golden = GoldenWindows(golden_rows, splits.target)
    assert golden.num_rows == 3 * 10
    split = found.split("golden")
    rows = np.arange(golden.num_rows)
    np.testing.assert_allclose(
        splits.target.targets(golden.targets), np.asarray(split.target), atol=1e-6
    )
    for name, column in found.inputs.items():
        raw = golden.values(name, column)
        checked = [column.check(v.tolist() if isinstance(v, np.ndarray) else v) for v in raw]
        mine = column.collate(column.encode(checked), rows)
        theirs = column.collate(split.columns[name], rows)
        for key, values in mine.items():
            np.testing.assert_allclose(values, theirs[key], atol=1e-5, err_msg=name)
    assert golden.values("day")[0] == "2026-02-17 00:00:00"
    assert golden.values("town")[:3] == ["Rom", "Pisa", "Pisa"]
    assert all(place.startswith("log.csv row") for place in golden.places)
    # The calendar of the date: parts that come again, not the moment itself.
    assert set(found.inputs["day"].parts) <= {  # type: ignore[attr-defined]
        *("month", "day", "weekday", "month_sin", "month_cos", "weekday_sin", "weekday_cos"),
    }


def test_steps_known_ahead_keep_what_was_said_last(tmp_path: Path) -> None:
    rows = table(drawn(4))
    for row in rows:
        if row["day"] > "2026-01-05":
            row["price"] = ""
    found, splits, _ = prepared(tmp_path, rows)
    price = splits.inputs["price"]
    assert isinstance(price, FittedSeries)
    assert (price.ahead, price.window) == (3, 8)
    values = np.asarray(found.split("validation").columns["price"].arrays["values"])
    assert (values == values[:, :1]).all()


def test_a_column_that_changes_is_counted(tmp_path: Path) -> None:
    rows = table(drawn(5))
    rows[-1]["town"] = "Bari"
    _, splits, _ = prepared(tmp_path, rows)
    assert splits.facts["changing"] == {"town": 1}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"ahead": ["town"]}, "DATA-063", "is to be known ahead, and is no input that can be"),
        ({"ahead": ["prise"]}, "DATA-063", "Did you mean price"),
        ({"static": ["day"]}, "DATA-063", "is to stay the same"),
        ({"group": "price"}, "DATA-063", "is to name groups"),
        ({"also": ["price"]}, "DATA-063", "under 'also' and under 'ahead'"),
        ({"group": None}, "DATA-062", "the input 'shop' is a category"),
    ],
)
def test_wrong_parts_are_refused(options: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        OrderedTable.of(KINDS, "y", {**OPTIONS, **options})
    assert caught.value.code == code
    assert words in str(caught.value)


def test_groups_without_names_or_dates_are_left_out() -> None:
    panel = panel_of(
        {"y": ["1", "2", "3", "4", "5"]},
        ["2026-01-02", "2026-01-01", "2026-01-01", "", "2026-01-03"],
        ["a", "a", "b", "b", ""],
    )
    assert [group.name for group in panel.groups] == ["a", "b"]
    assert panel.place.tolist() == [1, 0, 0, -1, -1]
    assert (panel.counts["undated"], panel.counts["ungrouped"]) == (1, 1)
    with pytest.raises(DataError, match="none of 1 rows has a group"):
        panel_of({"y": ["1"]}, None, [""])
    by_order = panel_of({"y": ["1", "2", "3"]}, None, ["a", "b", "a"])
    assert by_order.place.tolist() == [0, 0, 1]


def test_yes_and_no_are_numbers() -> None:
    found = flags(["yes", "No", None, "2"])
    assert (found[0], found[1], found[3]) == (1.0, 0.0, "2")
    assert np.isnan(found[2])
    assert flags(["1", "2"]) == ["1", "2"]
