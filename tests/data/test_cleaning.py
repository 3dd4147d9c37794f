"""Cleaning, against a plain reading of its rules with dictionaries."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.data import FeedbackRow, GoldenRows, Snapshot, clean, fold, write_rows
from volano.errors import DataError
from volano.spec import CleanSpec

from .test_snapshot import everything, freeze

DATA = (
    "text,label\n"
    "a,x\n"  # 0
    "a,x\n"  # 1 duplicate
    "b,x\n"  # 2 conflict
    "b,y\n"  # 3 conflict
    "b,y\n"  # 4 duplicate
    "c,y\n"  # 5 superseded
    "d,z\n"  # 6 rare
    "e,x\n"  # 7 golden
    "E!,x\n"  # 8 golden repeat
    "e,x\n"  # 9 golden repeat
    "f,y\n"  # 10
)
FEEDBACK = [
    FeedbackRow({"text": "c"}, "x", "1"),  # 11 superseded by 13
    FeedbackRow({"text": "g"}, "y", "2"),  # 12
    FeedbackRow({"text": "c"}, "y", "3"),  # 13
    FeedbackRow({"text": "e"}, "y", "4"),  # 14 golden repeat
]


def test_every_kind(tmp_path: Path) -> None:
    _, snapshot = freeze(tmp_path, DATA, feedback=FEEDBACK)
    write_rows(snapshot, np.array([7]), tmp_path / "golden.arrow")
    golden = GoldenRows.open(tmp_path / "golden.arrow")
    spec = CleanSpec(rare_below=2)
    selection = clean(snapshot, spec, golden=golden, findings=tmp_path / "found.jsonl")
    assert selection.rows.tolist() == [0, 2, 3, 6, 10, 12, 13]
    counts = {kind: (count.rows, count.action) for kind, count in selection.counts.items()}
    assert counts == {
        "read": (15, "counted"),
        "broken": (0, "dropped"),
        "empty": (0, "dropped"),
        "repaired": (0, "kept"),
        "duplicates": (2, "dropped"),
        "conflicts": (2, "kept"),
        "superseded": (2, "dropped"),
        "golden": (1, "dropped"),
        "golden_repeats": (3, "dropped"),
        "rare": (1, "kept"),
        "kept": (7, "kept"),
    }
    assert selection.counts["superseded"].first == ["rows.csv row 6", "feedback row 1"]
    assert selection.counts["golden_repeats"].first == [
        "rows.csv row 9",
        "rows.csv row 10",
        "feedback row 4",
    ]
    assert selection.rare_classes == {"z": 1}
    found = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert len(found) == 11
    b = [f for f in found if f["kind"] == "conflicts"]
    assert [(f["file"], f["row"], f["label"], f["action"]) for f in b] == [
        ("rows.csv", 3, "x", "kept"),
        ("rows.csv", 4, "y", "kept"),
    ]
    assert b[0]["key"] == b[1]["key"]
    assert json.dumps(selection.as_dict())

    strict = CleanSpec(rare_below=2, conflicts="drop", rare="drop", duplicates="keep")
    assert clean(snapshot, strict, golden=golden).rows.tolist() == [0, 1, 10, 12, 13]


def test_test_table_rows_are_never_trained_on(tmp_path: Path) -> None:
    _, snapshot = freeze(tmp_path, DATA)
    write_rows(snapshot, np.array([7]), tmp_path / "golden.arrow", held_out=False)
    selection = clean(snapshot, CleanSpec(), golden=GoldenRows.open(tmp_path / "golden.arrow"))
    assert selection.counts["golden"].rows == 0
    assert selection.counts["golden_repeats"].rows == 3


def test_nothing_left(tmp_path: Path) -> None:
    _, snapshot = freeze(tmp_path, "text,label\na,x\na,y\nb,x\n")
    with pytest.raises(DataError) as caught:
        clean(snapshot, CleanSpec(conflicts="drop"))
    for word in ("of 3 rows", "those of 1 classes", "2 conflicts", "Fix: ", "DATA-026"):
        assert word in str(caught.value)


def reference(
    snapshot: Snapshot, spec: CleanSpec, golden_texts: list[str]
) -> tuple[list[int], Counter[str]]:
    rows = everything(snapshot)
    kinds: Counter[str] = Counter()
    folded = {fold(text) or text for text in golden_texts}
    left = [at for at, (text, _) in enumerate(rows) if (fold(text) or text) not in folded]
    groups: dict[str, list[int]] = defaultdict(list)
    for at in left:
        groups[rows[at][0]].append(at)
    kept = []
    for members in groups.values():
        if members[-1] >= snapshot.num_source_rows and len(members) > 1:
            kinds["superseded"] += len(members) - 1
            members = members[-1:]
        labels = {rows[at][1] for at in members}
        seen: set[str] = set()
        for at in members:
            again = rows[at][1] in seen
            seen.add(rows[at][1])
            clash = len(labels) > 1
            if again and not (clash and spec.duplicates == "keep"):
                kinds["duplicates"] += 1
            elif clash:
                kinds["conflicts"] += 1
            if (again and spec.duplicates == "drop") or (clash and spec.conflicts == "drop"):
                continue
            kept.append(at)
    counts = Counter(rows[at][1] for at in kept)
    if spec.rare == "drop":
        kept = [at for at in kept if counts[rows[at][1]] >= spec.rare_below]
    return sorted(kept), kinds


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "A", "a.", "b", "c", "?", "!", "d e"]), st.sampled_from("xyz")),
    min_size=2,
    max_size=40,
)
CHOICES = st.sampled_from(["keep", "drop"])


@settings(deadline=None, max_examples=150)
@given(
    rows=ROWS,
    num_feedback=st.integers(0, 10),
    duplicates=CHOICES,
    conflicts=CHOICES,
    rare=CHOICES,
    partition_rows=st.sampled_from([1, 3, 10**6]),
    golden_rows=st.sets(st.integers(0, 39), max_size=3),
)
def test_partitions_agree_with_dictionaries(
    rows: list[tuple[str, str]],
    num_feedback: int,
    duplicates: Literal["keep", "drop"],
    conflicts: Literal["keep", "drop"],
    rare: Literal["keep", "drop"],
    partition_rows: int,
    golden_rows: set[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("clean")
    rows = [*rows, ("only", "x"), ("other", "y")]
    border = max(2, len(rows) - num_feedback)
    data = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows[:border])
    feedback = [FeedbackRow({"text": text}, label, "") for text, label in rows[border:]]
    _, snapshot = freeze(folder, data, feedback=feedback)
    chosen = np.array(sorted(at for at in golden_rows if at < border), np.int64)
    write_rows(snapshot, chosen, folder / "golden.arrow")
    spec = CleanSpec(duplicates=duplicates, conflicts=conflicts, rare=rare, rare_below=2)
    kept, kinds = reference(snapshot, spec, [rows[at][0] for at in chosen])
    golden = GoldenRows.open(folder / "golden.arrow")
    if len({rows[at][1] for at in kept}) < 2:
        with pytest.raises(DataError, match="DATA-026"):
            clean(snapshot, spec, golden=golden, partition_rows=partition_rows)
        return
    found = clean(snapshot, spec, golden=golden, partition_rows=partition_rows)
    assert found.rows.tolist() == kept
    if rare == "keep":
        assert {kind: found.counts[kind].rows for kind in kinds} == dict(kinds)
    total = sum(found.counts[kind].rows for kind in ("golden", "golden_repeats"))
    assert total == len(rows) - len([1 for at in range(len(rows)) if at in left_of(rows, chosen)])


def left_of(rows: list[tuple[str, str]], golden: np.ndarray) -> set[int]:
    texts = {fold(rows[at][0]) or rows[at][0] for at in golden}
    return {at for at, (text, _) in enumerate(rows) if (fold(text) or text) not in texts}
