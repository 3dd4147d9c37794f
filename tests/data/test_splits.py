"""Golden and validation rows: disjoint up to folding, each class by its share, always the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.data import (
    FeedbackRow,
    GoldenRows,
    choose_golden,
    clean,
    fold,
    golden_from_test,
    resolve,
    split_snapshot,
    split_validation,
    write_rows,
)
from volano.data._groups import mix
from volano.data._keys import folded_hashes, hash_inputs
from volano.errors import DataError
from volano.spec import CleanSpec

from .test_snapshot import everything, freeze


def table(sizes: dict[str, int]) -> str:
    lines = [f"text {label} {n},{label}\n" for label, size in sizes.items() for n in range(size)]
    return "text,label\n" + "".join(lines)


def test_golden_is_stratified_and_spares_small_classes(tmp_path: Path) -> None:
    sizes = {"big": 600, "middle": 300, "small": 100, "three": 3, "two": 2, "one": 1}
    _, snapshot = freeze(tmp_path, table(sizes))
    rows = choose_golden(snapshot, share=0.2, max_rows=2000, seed=0)
    counts = Counter(snapshot.column("label", rows))
    assert (counts["big"], counts["middle"], counts["small"]) == (120, 60, 20)
    assert counts["three"] <= 1
    assert counts["two"] == counts["one"] == 0
    assert len(choose_golden(snapshot, share=0.2, max_rows=50, seed=0)) == 50
    assert len(choose_golden(snapshot, share=0.0, max_rows=50, seed=0)) == 0
    assert (np.diff(rows) > 0).all()


def test_golden_depends_on_seed_and_rows_only(tmp_path: Path) -> None:
    lines = table({"x": 300, "y": 300}).splitlines(keepends=True)
    _, snapshot = freeze(tmp_path, "".join(lines), out="a")
    _, turned = freeze(tmp_path, "".join([lines[0], *reversed(lines[1:])]), out="b")

    def texts(which: int, seed: int, partition_rows: int) -> set[str]:
        source = (snapshot, turned)[which]
        rows = choose_golden(
            source, share=0.1, max_rows=99, seed=seed, partition_rows=partition_rows
        )
        return set(source.column("text", rows))

    assert texts(0, 1, 10**6) == texts(0, 1, 50) == texts(1, 1, 10**6)
    assert texts(0, 1, 10**6) != texts(0, 2, 10**6)


def test_rows_that_must_not_be_golden(tmp_path: Path) -> None:
    lines = [f"t{n},{'xy'[n % 2]}\n" for n in range(40)]
    lines += [f"T{n}!,{'yx'[n % 2]}\n" for n in range(10)]  # their likes have other labels
    lines += [f"T{n}?,{'xy'[n % 2]}\n" for n in range(10, 20)]  # repeats
    feedback = [FeedbackRow({"text": f"fb{n}"}, "x", "") for n in range(20)]
    feedback += [FeedbackRow({"text": "t39"}, "x", "")]  # corrects t39
    _, snapshot = freeze(tmp_path, "text,label\n" + "".join(lines), feedback=feedback)
    rows = choose_golden(snapshot, share=0.9, max_rows=1000, seed=0)
    texts = snapshot.column("text", rows)
    assert len({fold(text) for text in texts}) == len(texts) > 10
    assert not {f"t{n}" for n in (*range(10), 39)} & set(texts)
    assert not any("fb" in text or "T" in text for text in texts)


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(
        st.tuples(
            st.sampled_from(["a", "A", "a!", "b", "c", "d", "e", "f", "g"]), st.integers(0, 6)
        ),
        min_size=5,
        max_size=60,
    ),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 2**32),
)
def test_no_row_is_on_two_sides(
    words: list[tuple[str, int]],
    share: float,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("splits")
    lines = [f"{word} {n},{'xyz'[n % 3]}\n" for word, n in words]
    lines += [f"x{n} {label},{label}\n" for n in range(3) for label in "xy"]
    _, snapshot = freeze(folder, "text,label\n" + "".join(lines))
    golden_rows = choose_golden(snapshot, share=share, max_rows=100, seed=seed)
    write_rows(snapshot, golden_rows, folder / "golden.arrow")
    golden = GoldenRows.open(folder / "golden.arrow")
    kept = clean(snapshot, CleanSpec(), golden=golden).rows
    train, validation = split_snapshot(snapshot, kept, share=share, seed=seed)
    again = split_validation(
        kept, snapshot.codes(kept), folded_hashes(snapshot.keys[kept]), share=share, seed=seed
    )
    assert [part.tolist() for part in again] == [train.tolist(), validation.tolist()]
    assert sorted([*train, *validation]) == kept.tolist()
    sides = [
        {fold(text) for text in snapshot.column("text", rows)}
        for rows in (golden_rows, train, validation)
    ]
    assert len(set.union(*sides)) == sum(map(len, sides))
    rows = everything(snapshot)
    assert {rows[at][1] for at in train} == {rows[at][1] for at in kept}


def test_validation_is_stratified() -> None:
    num_rows = 4000
    texts = [f"row {n}" for n in range(num_rows)]
    labels = np.array([0] * 3000 + [1] * 980 + [2] * 19 + [3], np.int32)
    _, folded = hash_inputs([texts])
    rows = np.arange(num_rows) * 2
    train, validation = split_validation(rows, labels, folded, share=0.1, seed=0)
    assert np.bincount(labels[validation // 2], minlength=4).tolist() == [300, 98, 2, 0]
    assert len(train) + len(validation) == num_rows


def test_rows_stay_on_their_side_when_rows_are_added() -> None:
    texts = [f"row {n}" for n in range(6000)]
    labels = (np.arange(6000) % 3).astype(np.int32)
    _, folded = hash_inputs([texts])
    before = split_validation(np.arange(3000), labels[:3000], folded[:3000], share=0.1, seed=0)
    after = split_validation(np.arange(6000), labels, folded, share=0.1, seed=0)
    moved = set(before[1].tolist()) ^ {row for row in after[1].tolist() if row < 3000}
    assert len(moved) < 60  # of 3000; a new shuffle would move some 540


def test_partitions_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"row {n % 700}" for n in range(1000)]
    labels = (np.arange(1000) % 7).astype(np.int32)
    _, folded = hash_inputs([texts])
    once = split_validation(np.arange(1000), labels, folded, share=0.2, seed=0)
    monkeypatch.setattr("volano.data._splits.PARTITION_ROWS", 30)
    parted = split_validation(np.arange(1000), labels, folded, share=0.2, seed=0)
    assert [part.tolist() for part in parted] == [part.tolist() for part in once]


def test_empty_split() -> None:
    none = np.empty(0, np.int64)
    parts = split_validation(
        none, none.astype(np.int32), np.empty((0, 2), np.uint64), share=0.1, seed=0
    )
    assert [len(part) for part in parts] == [0, 0]


def test_scores_are_even() -> None:
    _, folded = hash_inputs([[f"row {n}" for n in range(20_000)]])
    score = mix(folded[:, 0], folded[:, 1], 3) / 2**64
    counts, _ = np.histogram(score, bins=20, range=(0, 1))
    # Chi-squared with 19 degrees of freedom: 43.8 is passed once in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8


def test_golden_file_stands_alone(tmp_path: Path) -> None:
    _, snapshot = freeze(tmp_path, table({"x": 5, "y": 5}))
    write_rows(snapshot, np.array([7, 2]), tmp_path / "golden.arrow")
    write_rows(snapshot, np.array([7, 2]), tmp_path / "again.arrow")
    assert (tmp_path / "golden.arrow").read_bytes() == (tmp_path / "again.arrow").read_bytes()
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    golden = GoldenRows.open(tmp_path / "golden.arrow")
    assert (golden.num_rows, golden.inputs, golden.target) == (2, ("text",), "label")
    assert golden.column("text") == ["text y 2", "text x 2"]
    assert golden.targets == ["y", "x"]
    assert golden.places == ["rows.csv row 8", "rows.csv row 3"]
    assert golden.held_out
    exact, folded = hash_inputs([golden.column("text")])
    assert (golden.exact == exact).all()
    assert (golden.folded == folded).all()
    assert not list(tmp_path.glob("*.partial"))


def test_golden_from_a_test_table(tmp_path: Path) -> None:
    data = "text,label\na,x\na,x\na,y\nb, z \n,x\nc,\nbroken\n"
    (tmp_path / "test.csv").write_text(data)
    files = resolve(["test.csv"], root=tmp_path)
    out = tmp_path / "golden.arrow"
    summary = golden_from_test(files, inputs=["text"], target="label", out=out)
    golden = GoldenRows.open(out)
    assert golden.column("text") == ["a", "a", "a", "b"]
    assert golden.targets == ["x", "x", "y", "z"]
    assert not golden.held_out
    assert (summary.read, summary.num_rows, summary.broken, summary.empty) == (7, 4, 1, 2)
    assert summary.repaired == 1
    assert summary.first == {
        "repaired": ["test.csv row 4"],
        "empty": ["test.csv row 5", "test.csv row 6"],
        "broken": ["test.csv row 7"],
    }
    (tmp_path / "test.csv").write_text("text,label\n,x\n")
    with pytest.raises(DataError, match=r"(?s)1 empty.*DATA-020"):
        golden_from_test(files, inputs=["text"], target="label", out=tmp_path / "none.arrow")
    assert not list(tmp_path.glob("none.arrow*"))
    out.write_bytes(out.read_bytes()[:100])
    with pytest.raises(DataError, match="DATA-027"):
        GoldenRows.open(out)
