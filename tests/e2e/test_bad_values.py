"""Bad input of each type, from `check` over `turn` to `predict`: counted, repaired or refused."""

from __future__ import annotations

import base64
import csv
import datetime
import io
import struct
import wave
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import write_table

import volano
from volano.columns.category import CategoryColumn
from volano.errors import VolanoError

RANDOM = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    Attributes:
      make: Writes the data and ``volano.yaml`` into a folder.
      check: Column -> what `check` counts in it; "" -> rows by what became of them.
      turn: The same of the turn, in the report's columns.
      asked: Value -> a piece of the refusal, or of the note that the answer comes with; "" for an
        answer without a note.
      error: Code of the one error that a turn ends with; "" where it works.
    """

    make: Callable[[Path], None]
    check: dict[str, dict[str, int]] = field(default_factory=dict)
    turn: dict[str, dict[str, int]] = field(default_factory=dict)
    asked: Sequence[tuple[Any, str]] = ()
    error: str = ""


def table(kind: str, values: Sequence[str]) -> Callable[[Path], None]:
    """A table in which x is of some type, and y goes by z."""

    def make(folder: Path) -> None:
        random = np.random.default_rng(0)
        with (folder / "d.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["x", "z", "y"])
            for value in values:
                z = random.normal()
                writer.writerow([value, f"{z:.3f}", f"{2 * z + 0.1 * random.normal():.4f}"])
        (folder / "volano.yaml").write_text(
            f"name: t\ndata: d.csv\ninputs: {{x: {kind}, z: number}}\ntarget: {{y: number}}\n"
            "train: {models: linear}\ngate: {min_rows: 5}\n",
            encoding="utf-8",
        )

    return make


def dates(number: int) -> str:
    month, day = 1 + number % 12, 1 + number % 28
    return (
        f"2024-{month:02d}-{day:02d}",
        f"{day:02d}.{month:02d}.2024",
        f"{month:02d}/{day:02d}/2024",
    )[number % 3]


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    Image.fromarray(pixels // 2 + 100 * (seed % 2)).save(stream, "PNG")
    return stream.getvalue()


def vast(side: int) -> bytes:
    """A PNG of some bytes that says that it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        summed = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + summed

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def wav(samples: int, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    time = np.arange(samples) / 2000
    sound = 9000 * np.sin(2 * np.pi * (200 + 300 * (seed % 2)) * time)
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(2000)
        file.writeframes(sound.astype("<i2").tobytes())
    return stream.getvalue()


def files(kind: str, ending: str, good: Callable[[int], bytes], bad: dict[str, bytes]) -> Any:
    """A folder for each of two classes, with some bad files in the first."""

    def make(folder: Path) -> None:
        for name in ("even", "odd"):
            (folder / "media" / name).mkdir(parents=True)
        for number in range(60):
            place = folder / "media" / ("odd" if number % 2 else "even") / f"{number}{ending}"
            place.write_bytes(good(number))
        for name, data in bad.items():
            (folder / "media" / "even" / name).write_bytes(data)
        (folder / "volano.yaml").write_text(
            f"name: t\ndata: media\ninputs: {{{kind}: {kind}}}\ntarget: {{label: category}}\n"
            "train: {epochs: 1}\ncompress: off\ngate: {min_rows: 5}\n",
            encoding="utf-8",
        )

    return make


def short_log(folder: Path) -> None:
    first = datetime.datetime(2026, 1, 1)
    with (folder / "d.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["at", "load"])
        for hour in range(30):
            writer.writerow([first + datetime.timedelta(hours=hour), f"{hour % 7}.5"])
    (folder / "volano.yaml").write_text(
        "name: t\ndata: d.csv\ninputs: {at: datetime}\n"
        "target: {load: {type: series, horizon: 6, window: 48}}\n",
        encoding="utf-8",
    )


BAD_IMAGES = {
    "corrupt.png": png(1)[: len(png(1)) // 2],
    "text.png": b"this is a letter and no picture",
    "vast.png": vast(30_000),
}

CASES = {
    "a column of one value": Case(
        table("number", ["7"] * 80),
        turn={"x": {"missing": 0, "unreadable": 0}},
        asked=[("7", ""), ("8", "outside the training rows"), ("", "")],
    ),
    "infinities": Case(
        table("number", [f"{v:.2f}" for v in RANDOM.normal(size=77)] + ["inf", "-Inf", "1e999"]),
        check={"x": {"unreadable": 3}},
        asked=[("inf", "a finite number"), (float("-inf"), "a finite number"), ("1.5", "")],
    ),
    "dates in three formats": Case(
        table("datetime", [dates(number) for number in range(90)]),
        turn={"x": {"missing": 0, "unreadable": 0}},
        asked=[("2024-03-05", ""), ("05.03.2024", ""), ("soon", "a moment such as")],
    ),
    "a category with a name for each row": Case(
        table("category", [f"user {number}" for number in range(4000)]),
        asked=[("user 1", ""), ("nobody", "no code of its own")],
    ),
    "a vector of the wrong length": Case(
        table("vector", ["[1, 2, 3]"] * 70 + ["[1, 2]", "[1, 2, 3, 4]", "[1, x, 3]"]),
        check={"x": {"unreadable": 3}},
        asked=[("[1, 2]", "a list of 3 finite numbers"), ([1.0, 2.0, 3.0], "")],
    ),
    "bad images": Case(
        files("image", ".png", png, BAD_IMAGES),
        check={"": {"broken": 1}, "image": {"unreadable": 2}},
        turn={"": {"broken": 1}},
        asked=[(data, "image") for data in BAD_IMAGES.values()],
    ),
    "a recording without samples": Case(
        files("audio", ".wav", lambda seed: wav(400, seed), {"none.wav": wav(0)}),
        check={"audio": {"unreadable": 1}},
        asked=[(wav(0), "audio")],
    ),
    "a series shorter than its window": Case(short_log, error="DATA-"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_bad_values(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    case.make(tmp_path)
    with volano.Wheel(tmp_path) as wheel:
        if case.error:
            with pytest.raises(VolanoError) as caught:
                wheel.turn()
            assert case.error in str(caught.value)
            assert len(str(caught.value).splitlines()) <= 3
            return
        found = wheel.check()
        _counted(case.check, found["columns"], found["cleaning"]["counts"])
        turn = wheel.turn()
    data = turn.record["data"]
    _counted(case.turn, data["columns"], data["cleaning"]["counts"])
    model = volano.load(turn.bundle)
    for value, words in case.asked:
        # The column in question is the only one, or it is x beside z.
        row = {name: 0.5 if name == "z" else _sent(value) for name in model.inputs}
        said = _said(model, row)
        assert words in said
        assert bool(words) == bool(said), (value, said)
        assert len(said.splitlines()) <= 2


def _said(model: volano.Model, row: dict[str, Any]) -> str:
    """The refusal of a row, or the notes of its answer."""
    try:
        (answer,) = model.predict([row])
    except VolanoError as error:
        return str(error)
    return " ".join(answer.notes)


def _sent(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _counted(wanted: dict[str, dict[str, int]], columns: Any, rows: Any) -> None:
    for name, counts in wanted.items():
        for kind, count in counts.items():
            found = columns.get(name, {}).get(kind, 0) if name else rows[kind]["rows"]
            assert found == count, (name, kind, found)


def test_a_category_with_a_million_values() -> None:
    values = [f"user {number}" for number in range(1_000_000)] + ["often"] * 100
    column = CategoryColumn.fit("user", values, CategoryColumn.Options().model_dump())
    assert column.num_codes < 10_000
    codes = np.asarray(column.encode(["often", "user 17", "nobody"]).arrays["codes"])
    assert codes.min() >= 0
    assert codes.max() < column.num_codes


def test_corrections_with_photos_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    from volano.data import resolve
    from volano.wheel import import_feedback

    (tmp_path / "volano.yaml").write_text(
        "name: t\ndata: d.csv\ninputs: {image: image}\ntarget: {label: category}\n",
        encoding="utf-8",
    )
    for name, data in {"good.png": png(0), **BAD_IMAGES}.items():
        (tmp_path / name).write_bytes(data)
    names = ["good.png", *BAD_IMAGES, "absent.png"]
    (tmp_path / "right.csv").write_text(
        "image,label\n" + "".join(f"{name},cat\n" for name in names), encoding="utf-8"
    )
    with volano.Wheel(tmp_path) as wheel:
        found = import_feedback(
            wheel.log,
            resolve(["right.csv"], root=tmp_path),
            inputs=["image"],
            target="label",
            kinds=wheel.spec.kinds,
            known=(),
            who="ada",
        )
    assert (found.labelled, found.unreadable) == (1, 4)
    assert found.first[0] == "row 2: 'corrupt.png'"
    assert "  refused: 4 rows whose files cannot be read" in found.lines(10)


def test_a_first_row_that_no_service_would_take_costs_no_turn(tmp_path: Path) -> None:
    """A bundle is started once more to answer a row; the first may be one that it refuses."""
    rows = [("abc" if row < 40 else f"{row / 9:.2f}", f"{row % 7}") for row in range(160)]
    table = [(a, b, "up" if int(b) > 3 else "down") for a, b in rows]
    write_table(tmp_path / "rows.csv", ("a", "b", "way"), table)
    (tmp_path / "volano.yaml").write_text(
        "name: rows\ndata: rows.csv\ninputs: {a: number, b: number}\ntarget: {way: category}\n"
        "train: {models: [linear]}\ngate: {min_rows: 10}\n",
        encoding="utf-8",
    )
    with volano.Wheel(tmp_path) as wheel:
        chosen = next(row for row in wheel.turn().record["candidates"] if row["chosen"])
    assert chosen["start_s"] > 0
