"""Reading tables, good ones and bad ones: a stated repair or one clear error, never a traceback."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.data import BrokenRow, ReadReport, Row, _encoding, read_rows, resolve, sample
from volano.errors import DataError

MB = 2**20


def read(
    folder: Path, name: str, data: bytes, columns: list[str] | None = None
) -> tuple[list[tuple[str | None, ...]], list[BrokenRow], ReadReport]:
    (folder / name).write_bytes(data)
    report = ReadReport()
    rows, broken = [], []
    numbers = []
    for row in read_rows(resolve([name], root=folder), columns=columns, report=report):
        numbers.append(row.number)
        if isinstance(row, Row):
            rows.append(tuple(row.values.values()))
        else:
            broken.append(row)
    assert numbers == list(range(1, len(numbers) + 1))
    assert (report.num_rows, report.num_broken) == (len(rows), len(broken))
    return rows, broken, report


def zh(text: str) -> bytes:
    return text.encode("gb18030")


# name, bytes, rows, broken (number, line, words), repaired rows, words of a note
CASES: dict[
    str, tuple[str, bytes, list[tuple[str | None, ...]], list[tuple[int, int, str]], int, str]
] = {
    "plain": ("a.csv", b"t,l\na,b\nc,d\n", [("a", "b"), ("c", "d")], [], 0, ""),
    "no end of line": ("a.csv", b"t,l\na,b", [("a", "b")], [], 0, ""),
    "BOM": ("a.csv", b"\xef\xbb\xbft,l\na,b\n", [("a", "b")], [], 0, ""),
    "mixed line ends": (
        "a.csv",
        b"t,l\r\na,b\nc,d\re,f\r\n",
        [("a", "b"), ("c", "d"), ("e", "f")],
        [],
        0,
        "",
    ),
    "old Mac": ("a.csv", b"t,l\ra,b\rc,d\r", [("a", "b"), ("c", "d")], [], 0, ""),
    "UTF-16 with BOM": ("a.csv", "t,l\ncafé,ü\n".encode("utf-16"), [("café", "ü")], [], 0, ""),
    "UTF-16 without": ("a.csv", "text,l\ncafé,ü\n".encode("utf-16-le"), [("café", "ü")], [], 0, ""),
    "UTF-16 big end": (
        "a.csv",
        b"\xfe\xff" + "t,l\nx,ü\n".encode("utf-16-be"),
        [("x", "ü")],
        [],
        0,
        "",
    ),
    "Latin-1": (
        "a.csv",
        "t,l\ncafé au lait,ü\nplain,x\n".encode("latin-1"),
        [("café au lait", "ü"), ("plain", "x")],
        [],
        1,
        "Windows-1252",
    ),
    "Windows-1252": ("a.csv", b"t,l\n\x93so\x94 \x80 5,x\n", [("“so” € 5", "x")], [], 1, "1252"),
    "mostly UTF-8": (
        "a.csv",
        "t,l\ncafé,x\nthé,x\n".encode() + b"caf\xe9,y\n",
        [("café", "x"), ("thé", "x"), ("café", "y")],
        [],
        1,
        "",
    ),
    "GB18030": (
        "a.csv",
        zh("text,label\n这家店的服务很好,好评\n东西太差了,差评\n"),
        [("这家店的服务很好", "好评"), ("东西太差了", "差评")],
        [],
        2,
        "GB18030",
    ),
    "NUL": ("a.csv", b"t,l\na\0b,c\nd,e\n", [("ab", "c"), ("d", "e")], [], 1, ""),
    "blank lines": (
        "a.csv",
        b"\n\nt,l\n\na,b\n   \n\nc,d\n\n",
        [("a", "b"), ("c", "d")],
        [],
        0,
        "",
    ),
    "empty fields": ("a.csv", b't,l\n,\n"",x\n', [("", ""), ("", "x")], [], 0, ""),
    "multi-line cell": (
        "a.csv",
        b't,l\n"one\r\ntwo, ""three""",x\na,b\n',
        [('one\r\ntwo, "three"', "x"), ("a", "b")],
        [],
        0,
        "",
    ),
    "too many fields": (
        "a.csv",
        b"t,l\na,b,c\nd,e\n",
        [("d", "e")],
        [(1, 2, "3 fields where the header has 2")],
        0,
        "",
    ),
    "too few": ("a.csv", b"t,l\na\nd,e\n", [("d", "e")], [(1, 2, "1 field where")], 0, ""),
    "empty fields at the end": ("a.csv", b"t,l\na,b,,\n", [("a", "b")], [], 1, ""),
    "quote never closed": (
        "a.csv",
        b't,l\na,b\n"oops,x\nc,d\n' + b"e,f\n" * 3000,
        [("a", "b"), ("c", "d"), *[("e", "f")] * 3000],
        [(2, 3, "a quote is opened")],
        0,
        "",
    ),
    "quote closed by a later row's": (
        "a.csv",
        b't,l\n"oops,x\nc,d\n"good, text",y\ne,f\n',
        [("c", "d"), ("good, text", "y"), ("e", "f")],
        [(1, 2, "a quote is opened")],
        0,
        "",
    ),
    "quote at the very end": (
        "a.csv",
        b't,l\na,b\n"oops',
        [("a", "b")],
        [(2, 3, "a quote is opened")],
        0,
        "",
    ),
    "sloppy quotes": (
        "a.csv",
        b't,l\n5" pipe,x\n"a" b,y\n',
        [('5" pipe', "x"), ("a b", "y")],
        [],
        0,
        "",
    ),
    "lone quote in TSV": (
        "a.tsv",
        b't\tl\n"oops\tx\nc\td\n',
        [('"oops', "x"), ("c", "d")],
        [],
        0,
        "",
    ),
    "semicolons": ("a.csv", b"t;l\na, b;c\n", [("a, b", "c")], [], 0, "semicolons"),
    "tabs in CSV": ("a.csv", b"t\tl\na\tc\n", [("a", "c")], [], 0, "tabs"),
    "commas in TSV": ("a.tsv", b"t,l\na,c\n", [("a", "c")], [], 0, "commas"),
    "Excel's sep": ("a.csv", b"sep=;\nt;l\na;c\n", [("a", "c")], [], 0, ""),
    "a single column": ("a.csv", b"t\na\n\nb\n", [("a",), ("b",)], [], 0, ""),
    "header only": ("a.csv", b"t,l\n", [], [], 0, "has no rows"),
    "reserved names": ("a.csv", b"file,row\na,b\n", [("a", "b")], [], 0, ""),
    "1 MB cell": ("a.csv", b't,l\n"' + b"x" * MB + b'",y\n', [("x" * MB, "y")], [], 0, ""),
    "17 MB cell": (
        "a.csv",
        b"t,l\na,b\n" + b"x" * 17 * MB + b",y\nc,d\n",
        [("a", "b"), ("c", "d")],
        [(2, 3, "a row longer than 16 MB")],
        0,
        "",
    ),
    "gzipped without .gz": ("a.csv", gzip.compress(b"t,l\na,b\n"), [("a", "b")], [], 0, "gzipped"),
    "gzipped": ("a.csv.gz", gzip.compress(b"t,l\na,b\n"), [("a", "b")], [], 0, ""),
    "JSON Lines": (
        "a.jsonl",
        b'{"t": "a", "l": 1}\n\n{"l": 0.5, "t": null}\n'
        b'{"t": [1, "\\u00e9"], "l": true}\n{"t": "z"}',
        [("a", "1"), (None, "0.5"), ('[1, "é"]', "true"), ("z", None)],
        [],
        0,
        "",
    ),
    "JSON that is not": (
        "a.ndjson",
        b'{"t": "a"}\n{"t": \n[1]\n"x"\n3\nnull\n' + b"[" * 100_000 + b"\n",
        [("a",)],
        [
            (2, 2, "not JSON"),
            (3, 3, "a list where an object"),
            (4, 4, "a text where"),
            (5, 5, "a number where"),
            (6, 6, "a null where"),
            (7, 7, "nested too deeply"),
        ],
        0,
        "",
    ),
    "half a surrogate": ("a.jsonl", b'{"t": "a\\ud800b\\u0000c"}\n', [("a?bc",)], [], 1, ""),
}


# Tiny blocks try every border between two of them; they cannot be used where the encoding has to
# be seen in the first one.
SMALL = [
    case
    for case, (_, data, _, _, repaired, _) in CASES.items()
    if len(data) < MB and not repaired and case not in ("UTF-16 without", "Excel's sep")
]


@pytest.mark.parametrize(
    ("case", "block_bytes"), [(case, MB) for case in CASES] + [(case, 7) for case in SMALL]
)
def test_table_of_inputs(
    case: str, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data, rows, broken, repaired, note = CASES[case]
    monkeypatch.setattr(_encoding, "BLOCK_BYTES", block_bytes)
    got, got_broken, report = read(tmp_path, name, data)
    assert got == rows
    assert [(row.number, row.line) for row in got_broken] == [(n, line) for n, line, _ in broken]
    for row, (_, _, words) in zip(got_broken, broken, strict=True):
        assert words in row.reason
    assert report.num_repaired == repaired
    assert note in " ".join(report.notes)
    assert bool(note) == bool(report.notes)


# name, bytes, columns, code, words
ERRORS: dict[str, tuple[str, bytes, list[str] | None, str, list[str]]] = {
    "empty": ("a.csv", b"", None, "DATA-007", ["a.csv: the file is empty"]),
    "only blank lines": ("a.csv", b"\n\n \n", None, "DATA-007", ["the file is empty"]),
    "empty gzip": ("a.csv.gz", gzip.compress(b""), None, "DATA-007", ["the file is empty"]),
    "column missing": (
        "a.csv",
        b"text,lable\na,b\n",
        ["text", "label"],
        "DATA-008",
        ["no column 'label'", "one of: text, lable", "Did you mean 'lable'?"],
    ),
    "key missing": ("a.jsonl", b'{"text": 1}\n', ["txt"], "DATA-008", ["Did you mean 'text'?"]),
    "column there twice": (
        "a.csv",
        b"t,l,t\na,b,c\n",
        ["t"],
        "DATA-009",
        ["2 columns are named 't'"],
    ),
    "gzip cut off": (
        "a.csv.gz",
        gzip.compress(b"t,l\n" + b"".join(b"%d,x\n" % n for n in range(500_000)))[:-2000],
        None,
        "DATA-010",
        ["is cut off after", "none of them is used", "gzip -t a.csv.gz"],
    ),
    "gzip damaged": (
        "a.csv.gz",
        gzip.compress(b"t,l\na,b\n")[:-8] + b"12345678",
        None,
        "DATA-010",
        ["is damaged"],
    ),
    "no gzip": ("a.csv.gz", b"t,l\na,b\n", None, "DATA-012", ["not gzipped", "mv a.csv.gz a.csv"]),
    "Excel": ("a.csv", b"PK\x03\x04....", None, "DATA-012", ["zip or Excel"]),
    "Parquet as CSV": ("a.csv", b"PAR1....", None, "DATA-012", ["this is a Parquet file"]),
    "CSV as Parquet": (
        "a.parquet",
        b"t,l\na,b\n",
        None,
        "DATA-011",
        ["Parquet file cannot be read"],
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_table_of_errors(case: str, tmp_path: Path) -> None:
    name, data, columns, code, words = ERRORS[case]
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, data, columns)
    assert caught.value.code == code
    message = str(caught.value)
    assert name in message
    assert "Fix: " in message
    for word in words:
        assert word in message


def test_an_empty_file_among_others_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "b.csv").write_bytes(b"t\nx\n")
    report = ReadReport()
    (row,) = read_rows(resolve(["."], root=tmp_path), report=report)
    assert (row.file, row.number) == (1, 1)
    assert report.notes == ["a.csv: is empty"]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "t": ["a", None, "c\0d"],
            "n": [1, 2, None],
            "f": [0.1, 1e300, 2.0],
            "b": [True, False, None],
            "raw": pa.array([b"ok", b"caf\xe9", None], pa.binary()),
            "nested": [{"x": [1]}, None, None],
            "d": pa.array(["u", "v", "u"]).dictionary_encode(),
        }
    )
    for name in ("a.parquet", "b.parquet.gz"):
        pq.write_table(table, tmp_path / "a.parquet")
        data = (tmp_path / "a.parquet").read_bytes()
        rows, broken, report = read(
            tmp_path, name, gzip.compress(data) if name.endswith("gz") else data
        )
        assert not broken
        assert rows == [
            ("a", "1", "0.1", "true", "ok", '{"x": [1]}', "u"),
            (None, "2", "1e+300", "false", "café", None, "v"),
            ("cd", None, "2.0", None, None, None, "u"),
        ]
        assert report.num_repaired == 2
    with pytest.raises(DataError, match=r"(?s)no column 'x'.*DATA-008"):
        read(tmp_path, "a.parquet", data, ["x"])
    cut = data[: len(data) // 2]
    with pytest.raises(DataError, match=r"(?s)none of its rows is used.*DATA-011"):
        read(tmp_path, "a.parquet", cut)


def test_base_install_reads_text_and_says_what_parquet_needs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t\nx\n")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    code = f"""
import sys
from pathlib import Path
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pyarrow", "torch", "polars", "pandas"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from volano.data import read_rows, resolve
from volano.errors import DataError
root = Path({str(tmp_path)!r})
print([row.values for row in read_rows(resolve(["a.csv"], root=root))])
try:
    list(read_rows(resolve(["a.parquet"], root=root)))
except DataError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[{'t': 'x'}]" in done.stdout
    assert 'Fix: pip install "volano[train]"' in done.stdout
    assert "DATA-006" in done.stdout


def test_sample(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t;l\n" + "x;y\n" * 5000)
    found = sample(resolve(["a.csv"], root=tmp_path), 10)
    assert found.columns == ("t", "l")
    assert found.rows == [{"t": "x", "l": "y"}] * 10
    assert "semicolons" in found.notes[0]
    (tmp_path / "a.csv").write_text("t;l\n")
    with pytest.raises(DataError, match=r"(?s)no row can be used.*DATA-020"):
        sample(resolve(["a.csv"], root=tmp_path))


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
TABLES = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20)


@settings(deadline=None)
@given(rows=TABLES, delimiter=st.sampled_from([",", "\t"]), ending=st.sampled_from(["\n", "\r\n"]))
def test_any_text_comes_through_csv(
    rows: list[tuple[str, str]],
    delimiter: str,
    ending: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerow(["first", "second"])
    writer.writerows(rows)
    folder = tmp_path_factory.mktemp("csv")
    name = "a.csv" if delimiter == "," else "a.tsv"
    got, broken, report = read(folder, name, stream.getvalue().encode(), ["first", "second"])
    assert not broken
    assert not report.num_repaired
    assert got == rows


@settings(deadline=None)
@given(rows=TABLES, ascii_only=st.booleans())
def test_any_text_comes_through_json_lines(
    rows: list[tuple[str, str]], ascii_only: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [json.dumps({"a": a, "b": b}, ensure_ascii=ascii_only) for a, b in rows]
    got, broken, _ = read(tmp_path_factory.mktemp("jsonl"), "a.jsonl", "\n".join(lines).encode())
    assert not broken
    assert got == rows


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=200), ending=st.sampled_from([".csv", ".tsv", ".jsonl", ".csv.gz"]))
def test_any_bytes_give_rows_or_a_data_error(
    data: bytes, ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with contextlib.suppress(DataError):
        rows, broken, _ = read(tmp_path_factory.mktemp("bytes"), "a" + ending, data)
        values: list[Any] = [value for row in rows for value in row if value]
        assert all("\0" not in value and value.encode() for value in values)
        assert all(row.reason for row in broken)
