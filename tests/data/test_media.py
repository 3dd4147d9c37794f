"""Photos and recordings on their way through the data room."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import soundfile
from PIL import Image
from pyarrow import parquet

from volano.columns import FittedColumn, Ragged, column_kind
from volano.data import (
    FeedbackRow,
    GoldenRows,
    Prepared,
    Snapshot,
    clean,
    embedded,
    encode_rows,
    golden_from_test,
    resolve,
    sample,
    save_columns,
    take_snapshot,
    write_rows,
)
from volano.errors import DataError
from volano.spec import CleanSpec

KINDS = {"image": "image", "audio": "audio", "label": "category"}


def png(shade: int, size: int = 20) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (size, size), shade).save(stream, "PNG")
    return stream.getvalue()


def wav(level: float) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.full(80, level), 8000, format="WAV")
    return stream.getvalue()


def photos(root: Path, per_class: int = 4) -> Path:
    folder = root / "photos"
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for place in range(per_class):
            (folder / name / f"{place}.png").write_bytes(png(100 * number + place))
    return folder


def freeze(
    root: Path, address: str, inputs: Sequence[str] = ("image",), **more: object
) -> Snapshot:
    files = resolve([address], root=root)
    out = root / "frozen"
    take_snapshot(files, inputs=inputs, target="label", out=out, kinds=KINDS, **more)  # type: ignore[arg-type]
    return Snapshot.open(out)


def every(snapshot: Snapshot) -> np.ndarray:
    return np.arange(snapshot.num_rows, dtype=np.int64)


def test_a_folder_of_folders_is_a_table(tmp_path: Path) -> None:
    folder = photos(tmp_path)
    (folder / "cat" / "deeper").mkdir()
    (folder / "cat" / "deeper" / "x.PNG").write_bytes(png(50))
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "y.png").write_bytes(png(51))
    (folder / "cat" / "notes.txt").write_text("no photo")
    (source,) = resolve(["photos"], root=tmp_path)
    assert (source.format, source.is_folder) == ("image", True)
    found = sample([source])
    assert found.columns == ("image", "label")
    assert found.rows[0] == {"image": "cat/0.png", "label": "cat"}
    assert {"image": "cat/deeper/x.PNG", "label": "cat"} in found.rows
    snapshot = freeze(tmp_path, "photos")
    assert snapshot.num_rows == 9
    assert snapshot.labels == ("cat", "dog")
    # What was frozen stands alone.
    shutil.rmtree(folder)
    assert bytes(Snapshot.open(snapshot.path).values("image", np.array([0]))[0]) == png(0)


def test_a_few_rows_of_a_folder_are_of_all_classes(tmp_path: Path) -> None:
    photos(tmp_path, 30)
    found = sample(resolve(["photos"], root=tmp_path), 10)
    assert {row["label"] for row in found.rows} == {"cat", "dog"}


def test_a_folder_is_another_one_when_a_file_is(tmp_path: Path) -> None:
    folder = photos(tmp_path)
    (source,) = resolve(["photos"], root=tmp_path)
    before = source.digest()
    assert resolve(["photos"], root=tmp_path)[0].digest() == before
    os.utime(folder / "cat" / "0.png", ns=(1, 1))
    assert resolve(["photos"], root=tmp_path)[0].digest() != before


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    for number, name in enumerate(("yes", "no")):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for place in range(2):
            data = wav(0.1 * (2 * number + place + 1))
            (tmp_path / "sounds" / name / f"{place}.wav").write_bytes(data)
    snapshot = freeze(tmp_path, "sounds", ("audio",))
    assert sorted(snapshot.column("label", every(snapshot))) == ["no", "no", "yes", "yes"]
    assert bytes(snapshot.values("audio", every(snapshot))[0]) == wav(0.3)


def test_a_folder_of_both_says_what_it_leaves_out(tmp_path: Path) -> None:
    folder = photos(tmp_path)
    (folder / "cat" / "meow.wav").write_bytes(wav(0.1))
    found = sample(resolve(["photos"], root=tmp_path))
    assert found.columns == ("image", "label")
    assert any("holds 8 image files, and 1 audio files that are left out" in n for n in found.notes)
    snapshot = freeze(tmp_path, "photos", ("image",))
    assert snapshot.num_rows == 8


def table(root: Path, rows: Sequence[tuple[str, str]]) -> None:
    with (root / "table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "label"), *rows])


def test_paths_start_from_the_table_and_base64_stands_in_it(tmp_path: Path) -> None:
    photos(tmp_path)
    uri = "data:image/png;base64," + base64.b64encode(png(200)).decode()
    table(
        tmp_path, [("photos/cat/0.png", "a"), (uri, "b"), (str(tmp_path / "photos/dog/1.png"), "a")]
    )
    (tmp_path / "elsewhere").mkdir()
    files = resolve([str(tmp_path / "table.csv")], root=tmp_path / "elsewhere")
    take_snapshot(files, inputs=["image"], target="label", out=tmp_path / "s", kinds=KINDS)
    snapshot = Snapshot.open(tmp_path / "s")
    found = [bytes(value) for value in snapshot.values("image", every(snapshot))]
    assert found == [png(0), png(200), png(101)]


@pytest.mark.parametrize("nested", [False, True])
def test_bytes_in_parquet(tmp_path: Path, nested: bool) -> None:
    files = [png(1), png(2), None, png(3)]
    values = [{"bytes": data, "path": "x"} if nested and data else data for data in files]
    parquet.write_table(
        pyarrow.table({"image": values, "label": ["a", "b", "a", "b"]}), tmp_path / "t.parquet"
    )
    assert (
        column_kind("image")
        .infer([row["image"] for row in sample(resolve(["t.parquet"], root=tmp_path)).rows])
        .score
        == 1.0
    )
    snapshot = freeze(tmp_path, "t.parquet")
    # The row without a photo has no inputs at all.
    assert snapshot.summary.empty == 1
    assert [bytes(value) for value in snapshot.values("image", every(snapshot))] == [
        png(1),
        png(2),
        png(3),
    ]


def test_files_that_are_none_are_broken_rows(tmp_path: Path) -> None:
    folder = photos(tmp_path)
    (folder / "cat" / "letter.png").write_text("this is a letter")
    (folder / "dog" / "nothing.png").write_bytes(b"")
    table(
        tmp_path,
        [
            ("photos/cat/0.png", "a"),
            ("photos/cat/letter.png", "a"),
            ("photos/gone.png", "b"),
            ("photos/dog/nothing.png", "b"),
            ("photos/dog/0.png", "b"),
        ],
    )
    snapshot = freeze(tmp_path, "table.csv")
    assert (snapshot.num_rows, snapshot.summary.broken, snapshot.summary.read) == (2, 3, 5)
    assert snapshot.summary.first["broken"] == [f"table.csv row {row}" for row in (2, 3, 4)]
    lines = (snapshot.path / "findings.jsonl").read_text().splitlines()
    details = [json.loads(line)["detail"] for line in lines]
    assert "unreadable: image is of no kind that is read: photos/cat/letter.png" in details
    assert any("cannot be opened (No such file" in detail for detail in details)
    assert any("is an empty file" in detail for detail in details)
    assert snapshot.summary.files[0]["num_broken"] == 3
    with pytest.raises(DataError, match=r"row 2.*unreadable"):
        freeze(tmp_path, "table.csv", on_broken="fail")


def test_the_same_photo_under_two_names_is_one_photo(tmp_path: Path) -> None:
    folder = photos(tmp_path)
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    shutil.copy(folder / "cat" / "1.png", folder / "dog" / "wrong.png")
    snapshot = freeze(tmp_path, "photos")
    counts = clean(snapshot, CleanSpec()).counts
    assert counts["duplicates"].rows == 1
    assert counts["conflicts"].rows == 2
    # And its bytes are there once.
    size = sum(
        len(png(shade)) for number in range(2) for shade in range(100 * number, 100 * number + 4)
    )
    assert (snapshot.path / "media.pack").stat().st_size == size


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    photos(tmp_path)
    first = freeze(tmp_path, "photos").path.rename(tmp_path / "first")
    again = freeze(tmp_path, "photos").path
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_feedback_brings_base64_and_opens_nothing(tmp_path: Path) -> None:
    folder = photos(tmp_path)
    sent = base64.b64encode(png(222)).decode()
    feedback = [
        FeedbackRow({"image": sent}, "cat", "1"),
        FeedbackRow({"image": str(folder / "cat" / "0.png")}, "dog", "2"),
        FeedbackRow({"image": "photos/cat/0.png"}, "dog", "3"),
    ]
    snapshot = freeze(tmp_path, "photos", feedback=feedback)
    assert snapshot.summary.num_feedback_rows == 1
    assert snapshot.summary.first["broken"] == ["feedback row 2", "feedback row 3"]
    assert bytes(snapshot.values("image", np.array([8]))[0]) == png(222)


def test_golden_rows_have_a_pack_of_their_own(tmp_path: Path) -> None:
    photos(tmp_path)
    snapshot = freeze(tmp_path, "photos")
    write_rows(snapshot, np.array([1, 6]), tmp_path / "g" / "golden.arrow")
    shutil.rmtree(snapshot.path)
    golden = GoldenRows.open(tmp_path / "g" / "golden.arrow")
    assert [bytes(value) for value in golden.values("image")] == [png(1), png(102)]


def test_a_test_table_leaves_damaged_files_out(tmp_path: Path) -> None:
    folder = photos(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    (folder / "cat" / "0.png").write_bytes(stream.getvalue()[:700])
    files = resolve(["photos"], root=tmp_path)
    summary = golden_from_test(
        files, inputs=["image"], target="label", out=tmp_path / "golden.arrow", kinds=KINDS
    )
    assert (summary.num_rows, summary.broken) == (7, 1)
    assert len(GoldenRows.open(tmp_path / "golden.arrow").values("image")) == 7


def fitted(snapshot: Snapshot, folder: Path) -> tuple[dict[str, FittedColumn], FittedColumn]:
    rows = every(snapshot)
    inputs: dict[str, FittedColumn] = {}
    for name in snapshot.inputs:
        kind = column_kind(KINDS[name])
        inputs[name] = kind.fit(name, snapshot.values(name, rows), kind.Options().model_dump())
    kind = column_kind("category")
    target = kind.fit("label", snapshot.labels, kind.Options().model_dump(), "target")
    folder.mkdir()
    save_columns(folder, inputs, target, {})
    return inputs, target


def test_processes_write_what_one_would(tmp_path: Path) -> None:
    with (tmp_path / "t.jsonl").open("w") as stream:
        for number in range(11):
            data = png(number) if number != 4 else png(number)[:50]
            row = {
                "image": "data:;base64," + base64.b64encode(data).decode(),
                "audio": "data:;base64," + base64.b64encode(wav(number / 20)).decode(),
                "label": "ab"[number % 2],
            }
            stream.write(json.dumps(row) + "\n")
    snapshot = freeze(tmp_path, "t.jsonl", ("image", "audio"))
    prepared = tmp_path / "prepared"
    inputs, target = fitted(snapshot, prepared)
    done: list[int] = []
    rows = every(snapshot)
    one = encode_rows(prepared / "one", prepared, inputs, target, snapshot, rows, workers=1)
    two = encode_rows(
        prepared / "two", prepared, inputs, target, snapshot, rows, workers=2, progress=done.append
    )
    assert one.lost.tolist() == two.lost.tolist() == [4]
    assert one.counts == two.counts
    assert one.counts["image"]["unreadable"] == 1
    assert sum(done) == 11
    first, second = (Prepared.open(prepared).split(name) for name in ("one", "two"))
    assert first.num_rows == second.num_rows == 10
    assert np.array_equal(first.target, second.target)
    for name in inputs:
        for key, array in first.columns[name].arrays.items():
            twin = second.columns[name].arrays[key]
            if isinstance(array, Ragged):
                assert isinstance(twin, Ragged)
                assert np.array_equal(array.offsets, twin.offsets)
                array, twin = array.flat, twin.flat
            assert np.array_equal(array, twin)
    pixels = first.columns["image"].arrays["pixels"]
    assert [int(image.max()) for image in pixels] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]  # type: ignore[union-attr]
    assert sorted(path.name for path in (prepared / "two").iterdir()) == ["0", "1", "target.npy"]


def test_a_worker_that_fails_is_said(tmp_path: Path) -> None:
    photos(tmp_path)
    snapshot = freeze(tmp_path, "photos")
    inputs, target = fitted(snapshot, tmp_path / "prepared")
    with pytest.raises(DataError, match="a process that decodes files has ended") as error:
        encode_rows(
            tmp_path / "out", tmp_path, inputs, target, snapshot, every(snapshot), workers=2
        )
    assert error.value.code == "DATA-504"


def test_rows_of_a_table_stand_by_themselves(tmp_path: Path) -> None:
    photos(tmp_path)
    row = {"image": "photos/cat/0.png", "label": "photos/cat/0.png", "other": None}
    found = embedded(row, {"image": "image"}, tmp_path)
    assert base64.b64decode(found["image"] or "") == png(0)
    assert found["label"] == "photos/cat/0.png"
    missing = embedded({"image": "gone.png"}, {"image": "image"}, tmp_path)
    assert missing == {"image": "gone.png"}


def test_a_folder_without_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no tables, photos or recordings"):
        resolve(["empty"], root=tmp_path)
