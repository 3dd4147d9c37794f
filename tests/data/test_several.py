"""Targets that are several names: read, counted, held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from volano.data import (
    FeedbackRow,
    Snapshot,
    choose_golden,
    clean,
    golden_from_test,
    resolve,
    split_snapshot,
    take_snapshot,
)
from volano.data._golden import GoldenRows
from volano.errors import DataError
from volano.spec import CleanSpec

KINDS = {"text": "text", "tags": "labels"}


def frozen(
    folder: Path, table: str, feedback: tuple[FeedbackRow, ...] = (), **options: str
) -> Snapshot:
    path = folder / "rows.csv"
    path.write_text(table, encoding="utf-8")
    out = folder / "snapshot"
    take_snapshot(
        resolve([str(path)], root=folder),
        inputs=["text"],
        target="tags",
        out=out,
        kinds=KINDS,
        options={"separator": "|", "empty": "missing"} | options,
        feedback=feedback,
    )
    return Snapshot.open(out)


def test_rows_are_read_and_names_counted(tmp_path: Path) -> None:
    table = 'text,tags\na,x|y\nb, y |x\nc,\nd,[]\ne,"[""x""]"\nf,null\n'
    feedback = (FeedbackRow({"text": "g"}, '["z", "x"]', "1"),)
    snapshot = frozen(tmp_path, table, feedback)
    rows = np.arange(snapshot.num_rows)
    assert snapshot.column("tags", rows) == [
        '["x", "y"]', '["x", "y"]', "[]", '["x"]', '["x", "z"]',
    ]  # fmt: skip
    assert snapshot.label_rows() == {"x": 4, "y": 2, "z": 1}
    assert snapshot.summary.missing_targets == {"": 1, "null": 1}
    assert snapshot.summary.repaired == 0
    codes = snapshot.keys["label"]
    assert codes[0] == codes[1] != codes[2]
    # Each row by its rarest: y, y, none, x, z.
    assert snapshot.strata(rows).tolist() == [1, 1, 3, 0, 2]


def test_an_empty_cell_may_say_that_there_is_none(tmp_path: Path) -> None:
    snapshot = frozen(tmp_path, "text,tags\na,x\nb,\n", empty="none")
    assert snapshot.column("tags", np.arange(2)) == ['["x"]', "[]"]


def test_golden_and_validation_rows_have_their_part_of_rare_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for number in range(1000):
        names = ["common"] * (rng.random() < 0.8) + ["middle"] * (rng.random() < 0.3)
        names += ["rare"] * (number < 20)
        lines.append(f"text number {number},{'|'.join(names) or '[]'}\n")
    snapshot = frozen(tmp_path, "text,tags\n" + "".join(lines))
    golden = choose_golden(snapshot, share=0.2, max_rows=2000, seed=0)
    assert len(golden) == 200
    held = [set(json.loads(value)) for value in snapshot.column("tags", golden)]
    shares = {name: sum(name in names for names in held) for name in ("common", "middle", "rare")}
    assert shares["rare"] == 4, "a fifth of 20, not about a fifth"
    assert abs(shares["common"] - 160) < 15
    assert abs(shares["middle"] - 60) < 12
    rest = np.setdiff1d(np.arange(1000), golden)
    train, validation = split_snapshot(snapshot, rest, share=0.25, seed=0)
    assert not set(train) & set(validation)
    rare = sum("rare" in value for value in snapshot.column("tags", validation))
    assert rare == 4


def test_rows_with_other_labels_are_in_conflict_and_not_golden(tmp_path: Path) -> None:
    table = "text,tags\n" + "".join(f"row {n},x|y\n" for n in range(20)) + "Row 3!,y\nrow 4,y|x\n"
    snapshot = frozen(tmp_path, table)
    found = clean(snapshot, CleanSpec())
    assert found.counts["duplicates"].rows == 1, "y|x is x|y again"
    golden = choose_golden(snapshot, share=0.9, max_rows=50, seed=0)
    assert 3 not in golden


def test_rare_names_are_listed(tmp_path: Path) -> None:
    snapshot = frozen(tmp_path, "text,tags\n" + "".join(f"r {n},x\n" for n in range(9)) + "b,x|y\n")
    assert clean(snapshot, CleanSpec()).rare_classes == {"y": 1}


def test_another_separator_is_suspected(tmp_path: Path) -> None:
    table = "text,tags\n" + "".join(f"r {n},x;y\nq {n},y\n" for n in range(5))
    (note,) = frozen(tmp_path, table).summary.notes
    assert 'separator: ";"' in note
    assert frozen(tmp_path, table, separator=";").summary.notes == []


def test_too_many_names_and_one_set_are_refused(tmp_path: Path) -> None:
    table = "text,tags\n" + "".join(f"r {n},tag {n}\n" for n in range(1001))
    with pytest.raises(DataError, match="DATA-028"):
        frozen(tmp_path, table)
    assert not list((tmp_path / "snapshot").iterdir()), "nothing is left behind"
    with pytest.raises(DataError, match="DATA-022"):
        frozen(tmp_path, "text,tags\na,x|y\nb,y|x\n")


def test_a_test_table_is_read_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "golden.csv"
    path.write_text("text,tags\na,y;x\nb,\n", encoding="utf-8")
    out = tmp_path / "golden.arrow"
    options = {"separator": ";", "empty": "none"}
    files = resolve([str(path)], root=tmp_path)
    golden_from_test(files, inputs=["text"], target="tags", out=out, kinds=KINDS, options=options)
    assert GoldenRows.open(out).targets == ['["x", "y"]', "[]"]
