"""Rows of numbers and names are observations: equal ones are kept, and told apart."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.data import (
    FeedbackRow,
    GoldenRows,
    Snapshot,
    choose_golden,
    clean,
    golden_from_test,
    resolve,
    split_snapshot,
    write_rows,
)
from volano.data._form import TableForm
from volano.errors import DataError
from volano.spec import CleanSpec

from .test_snapshot import everything, freeze

KINDS = {"a": "number", "b": "category", "y": "number"}
NAMED = {"a": "number", "b": "category", "y": "category"}


def observed(folder: Path, rows: list[tuple[object, ...]], kinds: dict[str, str]) -> Snapshot:
    text = "a,b,y\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    return freeze(folder, text, inputs=("a", "b"), target="y", kinds=kinds)[1]


def test_what_the_types_say_of_the_rows() -> None:
    numbers = TableForm.of(("a", "b"), "y", KINDS)
    assert numbers.observations
    assert not numbers.counted
    assert numbers.folds == (False, False)
    texts = TableForm.of(("a", "t"), "y", {**NAMED, "t": "text"})
    assert not texts.observations
    assert texts.counted
    assert texts.folds == (False, True)


def test_a_number_is_not_folded() -> None:
    """-1.5 and 15 are the same text without punctuation."""
    form = TableForm.of(("t", "a"), "y", {"t": "text", "a": "number", "y": "category"})
    _, folded = form.hashes([["Hi!", "hi", "hi"], ["-1.5", "-1.5", "15"]], ["x"] * 3, 0, [1, 2, 3])
    assert (folded[0] == folded[1]).all()
    assert (folded[1] != folded[2]).any()


def test_equal_observations_are_kept_unless_the_spec_says_otherwise(tmp_path: Path) -> None:
    rows = [(1, "x", 5), (1, "x", 5), (1, "x", 6), (2, "z", 7)]
    snapshot = observed(tmp_path, rows, KINDS)
    assert snapshot.summary.observations
    kept = clean(snapshot, CleanSpec())
    assert kept.rows.tolist() == [0, 1, 2, 3]
    assert (kept.counts["duplicates"].rows, kept.counts["duplicates"].action) == (1, "kept")
    assert kept.counts["conflicts"].rows == 0, "two observations may well differ"
    dropped = clean(snapshot, CleanSpec(duplicates="drop"))
    assert dropped.rows.tolist() == [0, 2, 3]
    assert dropped.counts["duplicates"].action == "dropped"


def test_a_correction_is_one_more_observation(tmp_path: Path) -> None:
    text = "a,b,y\n1,x,5\n1,x,5\n2,z,7\n"
    feedback = [FeedbackRow({"a": "1", "b": "x"}, target, "1") for target in ("5", "6")]
    options = {"inputs": ("a", "b"), "target": "y", "kinds": KINDS, "feedback": feedback}
    _, snapshot = freeze(tmp_path, text, **options)
    kept = clean(snapshot, CleanSpec())
    assert kept.rows.tolist() == [0, 1, 2, 3, 4]
    assert kept.counts["superseded"].rows == 0


def test_a_corrected_golden_row_does_not_train(tmp_path: Path) -> None:
    """People predict on the very table they learned from, and correct the answers."""
    text = "a,b,y\n1,x,5\n2,yes,6\n3,z,7\n4,,8\n"
    options = {"inputs": ("a", "b"), "target": "y", "kinds": KINDS}
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    _, before = freeze(tmp_path / "before", text, **options)
    write_rows(before, np.array([1, 3]), tmp_path / "golden.arrow")
    feedback = [
        FeedbackRow({"a": a, "b": b}, "9", "1")
        for a, b in (("2.0", "True"), ("4", ""), ("2.0", "no"))
    ]
    _, after = freeze(tmp_path / "after", text, feedback=feedback, **options)
    kept = clean(after, CleanSpec(), golden=GoldenRows.open(tmp_path / "golden.arrow"))
    assert kept.rows.tolist() == [0, 2, 6]
    assert kept.counts["golden"].rows == 2
    assert kept.counts["golden_repeats"].rows == 2


def test_texts_are_still_dropped_by_default(tmp_path: Path) -> None:
    _, snapshot = freeze(tmp_path, "text,label\na,x\na,x\nb,y\n")
    assert clean(snapshot, CleanSpec()).rows.tolist() == [0, 2]
    assert clean(snapshot, CleanSpec(duplicates="keep")).rows.tolist() == [0, 1, 2]


tables = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("xz"), st.integers(0, 2)), min_size=8, max_size=60
)


@settings(max_examples=25, deadline=None)
@given(tables, st.sampled_from([KINDS, NAMED]), st.integers(0, 99))
def test_golden_rows_are_left_out_one_for_one(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[object, ...]],
    kinds: dict[str, str],
    seed: int,
) -> None:
    # Two classes that cleaning cannot lose.
    rows = [*rows, *[(9, "x", 0)] * 4, *[(9, "x", 1)] * 4]
    folder = tmp_path_factory.mktemp("golden")
    snapshot = observed(folder, rows, kinds)
    chosen = choose_golden(snapshot, share=0.25, max_rows=1000, seed=seed)
    assert len(set(chosen.tolist())) == len(chosen)
    if kinds is KINDS:
        assert len(chosen) == min(round(0.25 * len(rows)), len(rows) - 2)
    write_rows(snapshot, chosen, folder / "golden.arrow")
    golden = GoldenRows.open(folder / "golden.arrow")
    selection = clean(snapshot, CleanSpec(), golden=golden)
    counts = selection.counts
    assert counts["golden"].rows == len(chosen)
    assert counts["golden_repeats"].rows == 0
    assert len(selection.rows) == len(rows) - len(chosen)
    every = everything(snapshot)
    left = Counter(every)
    left.subtract(every[row] for row in chosen.tolist())
    assert Counter(every[row] for row in selection.rows.tolist()) == +left
    # The same when rows are added at the end.
    grown = observed(folder, [*rows, (1, "x", 0), (8, "z", 1)], kinds)
    assert clean(grown, CleanSpec(), golden=golden).counts["golden"].rows == len(chosen)


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 200), st.integers(0, 5))
def test_equal_rows_are_split_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, num_rows: int, seed: int
) -> None:
    """They may stand on both sides: nothing says that they are one."""
    folder = tmp_path_factory.mktemp("split")
    rows = [(1, "x", 2)] * (num_rows - 1) + [(1, "x", 3)]
    snapshot = observed(folder, rows, KINDS)
    train, validation = split_snapshot(snapshot, np.arange(num_rows), share=0.2, seed=seed)
    assert len(validation) == round(0.2 * num_rows)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(num_rows))


def test_a_target_that_is_no_number_is_counted_with_its_reason(tmp_path: Path) -> None:
    rows = [(1, "x", 5), (2, "x", "many"), (3, "x", ""), (4, "x", "NA"), (5, "x", "inf"),
            (6, "z", "1 200"), (7, "z", "$7")]  # fmt: skip
    snapshot = observed(tmp_path, rows, KINDS)
    assert [row[-1] for row in everything(snapshot)] == ["5", "$7"]
    summary = snapshot.summary
    assert summary.empty == 5
    assert summary.missing_targets == {"many": 1, "": 1, "NA": 1, "inf": 1, "1 200": 1}
    text = (tmp_path / "out" / "findings.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    details = {row["row"]: row["detail"] for row in found if row["kind"] == "empty"}
    assert details[2] == "the target 'many' is no number"
    assert details[3].startswith("no target")
    assert details[5] == "the target 'inf' is no number"


def test_a_target_of_one_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)all 3 rows have the label '5'.*DATA-022"):
        observed(tmp_path, [(1, "x", 5), (2, "x", 5), (3, "z", 5)], KINDS)


def test_numbers_as_a_target_are_not_listed(tmp_path: Path) -> None:
    snapshot = observed(tmp_path, [(row, "x", row / 7) for row in range(3000)], KINDS)
    assert not snapshot.labels
    assert not snapshot.summary.counted
    selection = clean(snapshot, CleanSpec(rare_below=5))
    assert len(selection.rows) == 3000
    assert selection.rare_classes == {}


def test_a_test_table_of_observations(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("a,b,y\n1,x,5\n1,x,5\n2,z,oops\n")
    summary = golden_from_test(
        resolve(["test.csv"], root=tmp_path),
        inputs=("a", "b"),
        target="y",
        out=tmp_path / "golden.arrow",
        kinds=KINDS,
    )
    assert (summary.num_rows, summary.empty) == (2, 1)
    golden = GoldenRows.open(tmp_path / "golden.arrow")
    snapshot = observed(tmp_path, [(1, "x", 5), (2, "z", 6)], KINDS)
    # Another table's observations: an equal one is another one.
    assert clean(snapshot, CleanSpec(), golden=golden).rows.tolist() == [0, 1]
