"""Freezing rows: what goes in, what is left out and counted, and what is refused."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.data import (
    FeedbackRow,
    Snapshot,
    SnapshotSummary,
    _row_writer,
    _snapshot,
    fold,
    resolve,
    take_snapshot,
)
from volano.data._keys import hash_inputs
from volano.errors import DataError


def freeze(
    folder: Path,
    data: str | dict[str, str],
    *,
    inputs: Sequence[str] = ("text",),
    target: str = "label",
    out: str = "out",
    **options: Any,
) -> tuple[SnapshotSummary, Snapshot]:
    texts = {"rows.csv": data} if isinstance(data, str) else data
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    files = resolve(list(texts), root=folder)
    summary = take_snapshot(files, inputs=inputs, target=target, out=folder / out, **options)
    return summary, Snapshot.open(folder / out)


def everything(snapshot: Snapshot) -> list[tuple[str, ...]]:
    rows = np.arange(snapshot.num_rows)
    names = (*snapshot.inputs, snapshot.target)
    return list(zip(*(snapshot.column(name, rows) for name in names), strict=True))


MESSY = (
    "text,label\n"
    "good, pos \n"  # repaired
    "bad,neg\n"
    ",pos\n"  # empty
    "  ,neg\n"  # empty
    "fine,\n"  # empty
    "fine,NaN\n"  # empty
    "fine,None\n"  # empty
    "a,b,c\n"  # broken
    "none is a name,none\n"
    '"oops,pos\n'  # broken
    "last,NA\n"
)


def test_messy_table(tmp_path: Path) -> None:
    summary, snapshot = freeze(tmp_path, MESSY)
    assert everything(snapshot) == [
        ("good", "pos"),
        ("bad", "neg"),
        ("none is a name", "none"),
        ("last", "NA"),
    ]
    assert (summary.read, summary.broken, summary.empty, summary.repaired) == (11, 2, 5, 1)
    assert summary.read == summary.num_rows + summary.broken + summary.empty
    assert summary.missing_targets == {"": 1, "NaN": 1, "None": 1}
    assert summary.labels == ("NA", "neg", "none", "pos")
    assert snapshot.codes(np.arange(4)).tolist() == [3, 1, 2, 0]
    assert snapshot.summary.as_dict() == summary.as_dict()
    findings = [
        json.loads(line) for line in (tmp_path / "out/findings.jsonl").read_text().splitlines()
    ]
    assert [(f["kind"], f["row"], f["line"]) for f in findings] == [
        ("broken", 8, 9),
        ("broken", 10, 11),
        ("empty", 3, 4),
        ("empty", 4, 5),
        ("empty", 5, 6),
        ("empty", 6, 7),
        ("empty", 7, 8),
        ("repaired", 1, 2),
    ]
    assert findings[0]["detail"] == "3 fields where the header has 2: a,b,c"
    assert findings[0]["file"] == "rows.csv"
    assert summary.first["broken"] == ["rows.csv row 8", "rows.csv row 10"]
    labels = json.loads((tmp_path / "out/labels.json").read_text())
    assert labels[3] == {"label": "pos", "rows": 1}


def test_several_files_and_inputs_with_reserved_names(tmp_path: Path) -> None:
    tables = {"a.csv": "row,file,target\nx,1,A\n", "b.jsonl": '{"file":2,"row":"y","target":"B"}'}
    summary, snapshot = freeze(tmp_path, tables, inputs=["file", "row"], target="target")
    assert everything(snapshot) == [("1", "x", "A"), ("2", "y", "B")]
    assert snapshot.places(np.array([1, 0])) == ["b.jsonl row 1", "a.csv row 1"]
    assert [file["num_rows"] for file in summary.files] == [1, 1]


def test_one_missing_input_is_an_empty_text(tmp_path: Path) -> None:
    tables = {"a.jsonl": '{"a":"x","b":null,"l":"A"}\n{"a":null,"b":"y","l":"B"}\n{"a":"","l":"A"}'}
    summary, snapshot = freeze(tmp_path, tables, inputs=["a", "b"], target="l")
    assert everything(snapshot) == [("x", "", "A"), ("", "y", "B")]
    assert summary.empty == 1


def test_feedback_comes_last(tmp_path: Path) -> None:
    feedback = [
        FeedbackRow({"text": "new\0\ud800"}, " pos ", "p1"),
        FeedbackRow({"text": ""}, "pos", "p2"),
        FeedbackRow({"text": "bad"}, "meh", "p3"),
    ]
    data = "text,label\ngood,pos\nbad,neg\n"
    summary, snapshot = freeze(tmp_path, data, feedback=feedback)
    assert everything(snapshot)[2:] == [("new?", "pos"), ("bad", "meh")]
    assert (summary.num_source_rows, summary.num_feedback_rows, summary.empty) == (2, 2, 1)
    assert snapshot.places(np.arange(4)) == [
        "rows.csv row 1",
        "rows.csv row 2",
        "feedback row 1",
        "feedback row 3",
    ]


def test_same_rows_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_row_writer, "_BATCH_ROWS", 7)
    rows = [(f"text {n % 40}", "abc"[n % 3]) for n in range(100)]
    as_csv = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    freeze(tmp_path, as_csv, out="first")
    freeze(tmp_path, as_csv, out="second")
    for name in _snapshot.FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    as_jsonl = "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)
    _, snapshot = freeze(tmp_path, {"rows.jsonl": as_jsonl}, out="third")
    for name in ("rows.arrow", "keys.npy", "labels.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "third" / name).read_bytes()
    order = np.random.default_rng(0).permutation(100)
    assert snapshot.column("text", order) == [rows[at][0] for at in order]
    batches = list(snapshot.batches(order, ["text", "label"], num_rows=9))
    assert [text for batch in batches for text in batch["text"]] == [rows[at][0] for at in order]
    assert [label for batch in batches for label in batch["label"]] == [rows[n][1] for n in order]


def test_huge_cells_bound_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_row_writer, "_BATCH_CHARACTERS", 100)
    monkeypatch.setattr("volano.data._encoding.BLOCK_BYTES", 64)
    _, snapshot = freeze(tmp_path, "text,label\n" + f"{'x' * 60},a\n{'y' * 60},b\n" * 5)
    assert snapshot.rows.num_batches > 3
    assert len(everything(snapshot)) == 10


FLOATS = "text,label\n" + "".join(f"t{n},{n / 7:.4f}\n" for n in range(1, 100))
ERRORS: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "empty": ("", {}, "DATA-007", ["the file is empty"]),
    "header only": ("text,label\n", {}, "DATA-020", ["no row can be used: there are none"]),
    "nothing usable": ("text,label\n,a\nx,\ny\n", {}, "DATA-020", ["1 broken and 2 empty"]),
    "target missing": ("text,labels\na,b\n", {}, "DATA-008", ["Did you mean 'labels'?"]),
    "one column": ("text\na\n", {}, "DATA-008", ["no column 'label'"]),
    "one class": ("text,label\na,x\nb,x\n", {}, "DATA-022", ["all 2 rows have the label 'x'"]),
    "100,000 classes": (
        "text,label\n" + "".join(f"t{n},id-{n}\n" for n in range(100_000)),
        {},
        "DATA-021",
        ["more than 10,000 different labels", "'id-0'", "ids or free text"],
    ),
    "floats": (
        FLOATS,
        {},
        "DATA-023",
        ["99 different ones in 99 rows", "target: {label: number}", "bins"],
    ),
    "many floats": (
        "text,label\n" + "".join(f"t{n},{n / 7}\n" for n in range(20_000)),
        {},
        "DATA-023",
        ["labels are numbers"],
    ),
    "broken fails": (
        MESSY,
        {"on_broken": "fail"},
        "DATA-024",
        ["row 8, line 9 is broken (3 fields", "'a,b,c'", "clean: {broken: drop}"],
    ),
    "empty fails": (
        MESSY,
        {"on_empty": "fail"},
        "DATA-025",
        ["row 3, line 4 is empty (no inputs)", "clean: {empty: drop}"],
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_leave_nothing_behind(case: str, tmp_path: Path) -> None:
    data, options, code, words = ERRORS[case]
    with pytest.raises(DataError) as caught:
        freeze(tmp_path, data, **options)
    assert caught.value.code == code
    for word in [*words, "Fix: "]:
        assert word in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "labels",
    [
        ["1", "2", "3", "4", "5"],
        ["0.5", "1.0", "1.5", "2.0", "2.5"] * 2,
        [str(n) for n in range(40)],
        [f"v{n}.5" for n in range(30)],
    ],
)
def test_numbers_that_are_names(labels: list[str], tmp_path: Path) -> None:
    data = "text,label\n" + "".join(f"t{n},{label}\n" for n, label in enumerate(labels))
    summary, _ = freeze(tmp_path, data)
    assert set(summary.labels) == set(labels)


def test_disk_that_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_row_writer.RowWriter, "add", full)
    with pytest.raises(DataError, match=r"(?s)the disk is full.*df -h.*DATA-013"):
        freeze(tmp_path, MESSY)
    assert not list((tmp_path / "out").glob("*"))


def test_progress_ends_at_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    freeze(tmp_path, MESSY, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(MESSY), len(MESSY))


@pytest.mark.parametrize("name", _snapshot.FILES)
def test_damaged_snapshot(name: str, tmp_path: Path) -> None:
    if name in ("findings.jsonl", "labels.json"):
        return  # for people; nothing reads them back
    freeze(tmp_path, MESSY)
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"(?s)incomplete or damaged.*volano turn.*DATA-027"):
        Snapshot.open(tmp_path / "out")
    path.unlink()
    with pytest.raises(DataError, match="DATA-027"):
        Snapshot.open(tmp_path / "out")


ALIKE = [
    ("Where is my card?", "where is my CARD"),
    ("it's", "Its"),
    ("ﬁne", "FINE"),
    ("Straße", "STRASSE"),
    ("你好,世界!", "你好世界"),
    ("Ünïcode", "ünïcode "),
    ("a b", "ab"),
    ("１２３", "123"),
    ("ok 👍🏽", "OK👍"),
]
DIFFERENT = [
    ("great 👍", "great 👎"),
    ("की", "कि"),
    ("cafe", "café"),
    ("你好", "您好"),
    ("?!", "..."),
]


@pytest.mark.parametrize(("a", "b"), ALIKE)
def test_alike(a: str, b: str) -> None:
    assert fold(a) == fold(b)
    exact, folded = hash_inputs([[a, b]])
    assert (folded[0] == folded[1]).all()
    assert (exact[0] != exact[1]).any()


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a: str, b: str) -> None:
    _, folded = hash_inputs([[a, b]])
    assert (folded[0] != folded[1]).any()


def test_inputs_do_not_run_together() -> None:
    exact, folded = hash_inputs([["ab", "a"], ["c", "bc"]])
    assert (exact[0] != exact[1]).any()
    assert (folded[0] != folded[1]).any()


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_fold_is_settled_after_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
