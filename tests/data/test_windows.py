"""Tables in time order: mended, cut by time, and nothing of the future in a training window."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.columns import Windows
from volano.data import (
    GoldenRows,
    GoldenWindows,
    OrderedTable,
    Prepared,
    Snapshot,
    Step,
    regular_dates,
    resolve,
    save_columns,
    take_snapshot,
    time_line,
    time_step,
    window_splits,
    write_rows,
)
from volano.errors import DataError

KINDS = {"date": "datetime", "b": "number", "y": "series"}
OPTIONS = {"horizon": 4, "window": 6, "season": "auto", "also": ["b"]}


def hours(num: int, start: str = "2026-01-01") -> list[str]:
    first = datetime.datetime.fromisoformat(start)
    return [str(first + datetime.timedelta(hours=at)) for at in range(num)]


def made(
    folder: Path, lines: list[str], kinds: dict[str, str] = KINDS, **options: Any
) -> tuple[Snapshot, OrderedTable, GoldenRows]:
    """A table as a wheel reads it, with its last fifth golden."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.csv").write_text("\n".join([",".join(kinds), *lines]) + "\n")
    inputs = [name for name in kinds if name != "y"]
    files = resolve(["log.csv"], root=folder)
    take_snapshot(files, inputs=inputs, target="y", kinds=kinds, out=folder / "snapshot")
    snapshot = Snapshot.open(folder / "snapshot")
    table = OrderedTable.of(kinds, "y", {**OPTIONS, **options})
    rows, order, _ = table.choose_golden(snapshot, share=0.2, most=1000)
    write_rows(snapshot, rows, folder / "golden.arrow", order=order)
    return snapshot, table, GoldenRows.open(folder / "golden.arrow")


def prepared(folder: Path, lines: list[str], **options: Any) -> tuple[Prepared, Any]:
    snapshot, table, golden = made(folder, lines, **options)
    out = folder / "prepared"
    rows = np.arange(snapshot.num_rows)
    splits = window_splits(out, table, snapshot, rows, golden, share=0.25)
    save_columns(out, splits.inputs, splits.target, {})
    return Prepared.open(out), splits


def table_lines(values: np.ndarray, dates: list[str] | None = None) -> list[str]:
    dates = dates or hours(len(values))
    return [f"{date},{b!r},{y!r}" for date, (y, b) in zip(dates, values.tolist(), strict=True)]


def everything(split: Any) -> list[np.ndarray]:
    columns = [np.asarray(c.arrays["values"]) for c in split.columns.values()]
    return [*columns, np.asarray(split.target)]


def test_parts_follow_each_other_in_time(tmp_path: Path) -> None:
    values = np.stack([np.arange(100.0), 1000 + np.arange(100.0)], axis=1)
    found, splits = prepared(tmp_path, table_lines(values))
    # 80 steps before the golden ones, of which the last 20 validate.
    assert splits.facts["train_steps"] == 60
    assert splits.facts["validation_steps"] == splits.facts["golden_steps"] == 20
    assert splits.rows == {"train": 60 - 6 - 4 + 1, "validation": 17, "golden": 17}
    target = found.target
    assert target.columns == ("y", "b")  # type: ignore[attr-defined]
    for name, first, last in (("train", 6, 59), ("validation", 60, 79), ("golden", 80, 99)):
        split = found.split(name)
        assert isinstance(split.target, Windows)
        came = target.unscaled(np.asarray(split.target))[:, :, 0]  # type: ignore[attr-defined]
        assert came.min() == pytest.approx(first, abs=1e-4)
        assert came.max() == pytest.approx(last, abs=1e-4)
        seen = np.asarray(split.columns["y"].arrays["values"])
        seen = found.inputs["y"].unscaled(seen[..., None])[..., 0]  # type: ignore[attr-defined]
        # What is looked at ends right before what is to come.
        np.testing.assert_allclose(seen[:, -1], came[:, 0] - 1, atol=1e-4)
        np.testing.assert_allclose(seen[:, 0], came[:, 0] - 6, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_future_changes_no_training_example(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Gaps, repeats and disorder included: only what came before the cut goes into training."""
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    values = random.normal(0, 1, (100, 2))
    lines = table_lines(values)
    gaps = set(data.draw(st.lists(st.integers(20, 98), max_size=12)))
    kept = [at for at in range(100) if at not in gaps]
    cut = 60
    other = values.copy()
    other[cut:] = random.normal(50, 9, (40, 2))
    changed = table_lines(other)
    order = random.permutation(len(kept))
    both = []
    for rows in (lines, changed):
        folder = tmp_path_factory.mktemp("log")
        both.append(prepared(folder, [rows[kept[at]] for at in order]))
    (one, _), (two, splits) = both
    assert splits.facts["train_steps"] == cut
    for mine, theirs in zip(
        everything(one.split("train")), everything(two.split("train")), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert one.inputs == two.inputs
    assert one.target == two.target
    # And validation knows nothing of golden steps.
    third = other.copy()
    third[80:] += 7
    folder = tmp_path_factory.mktemp("log")
    last, _ = prepared(folder, [table_lines(third)[kept[at]] for at in order])
    for mine, theirs in zip(
        everything(two.split("validation")), everything(last.split("validation")), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_golden_steps_stay_when_the_table_grows_and_later_ones_train(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (140, 2))
    snapshot, table, golden = made(tmp_path / "first", table_lines(values[:100]))
    assert golden.order == {
        "date": "date",
        "context": 6,
        "span": golden.order["span"],  # type: ignore[index]
    }
    grown, _, _ = made(tmp_path / "second", table_lines(values))
    out = tmp_path / "prepared"
    splits = window_splits(out, table, grown, np.arange(140), golden, share=0.25)
    assert splits.facts["golden_steps"] == 20
    assert splits.golden_steps == 20
    # 60 steps before validation, 40 after the golden ones; no window holds steps of both.
    assert splits.rows["train"] == (60 - 9) + (40 - 9)
    save_columns(out, splits.inputs, splits.target, {})
    came = Prepared.open(out).split("train").target
    unscaled = splits.target.unscaled(np.asarray(came))[:, :, 0]
    held = set(np.round(values[60:100, 0], 4).tolist())
    assert not held & set(np.round(unscaled, 4).ravel().tolist())
    del snapshot


def test_golden_windows_are_requests(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(5, 2, (100, 2))
    found, splits = prepared(tmp_path, table_lines(values))
    golden = GoldenWindows(GoldenRows.open(tmp_path / "golden.arrow"), splits.target)
    assert golden.num_rows == 17
    assert golden.inputs == ("y", "b")
    columns = {name: column.encode(golden.column(name)) for name, column in found.inputs.items()}
    split = found.split("golden")
    rows = np.arange(17)
    for name, column in found.inputs.items():
        mine = column.collate(columns[name], rows)[f"{name}.values"]
        theirs = column.collate(split.columns[name], rows)[f"{name}.values"]
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(
        splits.target.targets(golden.targets), np.asarray(split.target), atol=1e-6
    )
    assert golden.places[0] == "log.csv row 80"
    np.testing.assert_allclose(golden.targets[0]["y"], values[80:84, 0])


def test_windows_that_end_in_a_gap_are_left_out(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(0, 1, (100, 2))
    lines = table_lines(values)
    del lines[30]
    found, splits = prepared(tmp_path, lines)
    assert (splits.facts["gaps"], splits.facts["filled"]) == (1, 2)
    # One window ends in the gap, and the four in which it is to come lose a quarter of their steps.
    assert splits.facts["windows_left_out"] == 5
    assert np.isfinite(np.asarray(found.split("train").target)).all()


def test_rows_without_dates_are_steps_in_the_order_of_the_table(tmp_path: Path) -> None:
    lines = [f"{at},{at}.5" for at in range(80)]
    snapshot, table, golden = made(tmp_path, lines, {"b": "number", "y": "series"})
    assert table.date is None
    splits = window_splits(
        tmp_path / "prepared", table, snapshot, np.arange(80), golden, share=0.25
    )
    assert splits.rows["golden"] == 16 - 4 + 1
    assert splits.facts["step"] == ""


@pytest.mark.parametrize(
    ("kinds", "options", "code", "words"),
    [
        ({**KINDS, "t": "text"}, {}, "DATA-062", "the input 't' is a text"),
        ({**KINDS, "d2": "datetime"}, {}, "DATA-062", "the input 'd2' is another datetime"),
        (KINDS, {"also": ["c"]}, "DATA-063", "'c', which is no input of numbers"),
    ],
)
def test_columns_that_cannot_be(
    kinds: dict[str, str], options: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        OrderedTable.of(kinds, "y", {**OPTIONS, **options})
    assert caught.value.code == code


def test_a_table_shorter_than_its_window_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the table has 15 steps, which is too short") as caught:
        made(tmp_path, table_lines(np.arange(30.0).reshape(15, 2)))
    assert caught.value.code == "DATA-064"


def test_disorder_repeats_and_gaps_are_mended_and_counted() -> None:
    dates = ["2026-01-01 02:00", "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-01 01:00",
             "2026-01-01 05:00", "2026-01-01 06:20", "", "2026-01-01 07:00"]  # fmt: skip
    values = ["3", "1", "3", "x", "6", "", "9", "8"]
    line = time_line({"y": values}, dates)
    assert line.step == Step(3600.0)
    assert line.filled(8)[:, 0].tolist() == [2, 2.5, 3, 4, 5, 6, 7, 8]
    assert line.counts == {
        "out_of_order": 1,
        "repeated": 1,
        "moved": 1,
        "undated": 1,
        "gaps": 2,
        "missing": 1,
        "unreadable": 1,
    }


def test_filling_looks_at_nothing_after_the_stop() -> None:
    line = time_line({"y": ["1", "", "", "100"]}, None)
    assert line.filled(3)[:, 0].tolist() == [1, 1, 1]
    assert line.filled(4)[:, 0].tolist() == [1, 34, 67, 100]


def test_steps_of_months_and_their_season() -> None:
    dates = [f"{2020 + at // 12}-{at % 12 + 1:02}-31"[:7] + "-01" for at in range(30)]
    line = time_line({"y": list(range(30))}, dates)
    assert (line.step, line.step.season(), len(line)) == (Step(months=1), 12, 30)
    assert line.step.moment(line.first, 12) - line.first == 366 * 86_400
    assert Step.parse(str(line.step)) == line.step
    assert Step.parse(str(Step(0.1))) == Step(0.1)
    end = (datetime.datetime(2026, 1, 31) - datetime.datetime(1970, 1, 1)).total_seconds()
    moved = Step(months=1).moment(end, 1)
    assert datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=moved) == datetime.datetime(
        2026, 2, 28
    )


def test_dates_that_cannot_be_a_grid_are_refused() -> None:
    with pytest.raises(DataError, match="none of 2 rows has a date") as caught:
        time_line({"y": ["1", "2"]}, ["", "soon"])
    assert caught.value.code == "DATA-060"
    with pytest.raises(DataError, match="31 rows are spread over") as caught:
        time_line({"y": ["1"] * 31}, [*hours(30), "2999-01-01"])
    assert caught.value.code == "DATA-061"


def test_the_step_of_an_irregular_log_is_its_median() -> None:
    random = np.random.default_rng(0)
    moments = np.cumsum(random.uniform(50, 70, 500))
    assert time_step(moments).seconds == pytest.approx(60, abs=2)
    assert regular_dates(hours(30)) == Step(3600.0)
    assert regular_dates(hours(30)[::-1]) is None
    assert regular_dates(["2026-01-01"] * 30) is None
    assert regular_dates([*hours(29), None]) == Step(3600.0)
    assert regular_dates([*hours(29), *["soon"] * 10]) is None
