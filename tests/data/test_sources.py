"""What a person may write as data:, and what is said when it cannot be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from volano.data import resolve
from volano.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.csv", "deep/er/b.tsv.gz", "deep/c.jsonl", "deep/.hidden/d.csv", "notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"text,label\n")
    (tmp_path / "nothing here").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["a.csv"], ["a.csv"]),
        (["."], ["a.csv", "deep/c.jsonl", "deep/er/b.tsv.gz"]),
        (["deep"], ["deep/c.jsonl", "deep/er/b.tsv.gz"]),
        (["*.csv"], ["a.csv"]),
        (["**/*.tsv.gz"], ["deep/er/b.tsv.gz"]),
        (["a.csv", "*.csv", "."], ["a.csv", "deep/c.jsonl", "deep/er/b.tsv.gz"]),
        (["d*"], ["deep/c.jsonl", "deep/er/b.tsv.gz"]),
    ],
)
def test_addresses(root: Path, addresses: list[str], expected: list[str]) -> None:
    assert [file.name for file in resolve(addresses, root=root)] == expected


def test_formats_follow_the_name(root: Path) -> None:
    found = {file.name: (file.format, file.gzipped) for file in resolve(["."], root=root)}
    assert found == {
        "a.csv": ("csv", False),
        "deep/c.jsonl": ("jsonl", False),
        "deep/er/b.tsv.gz": ("tsv", True),
    }


def test_absolute_path_outside_the_root(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "[odd] name.csv"
    other.write_text("text\n")
    (source,) = resolve([str(other)], root=root)
    assert source.name == other.as_posix()
    assert source.digest() == hashlib.sha256(b"text\n").hexdigest()


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("b.csv", "DATA-001", ["b.csv: there is nothing here", "Did you mean a.csv?"]),
        ("deep/d.jsonl", "DATA-001", ["Did you mean deep/c.jsonl?"]),
        ("https://example.org/x.csv", "DATA-001", ["on the net", "curl -LO"]),
        ("nothing here", "DATA-002", ["holds no tables", ".parquet", ".gz"]),
        ("*.parquet", "DATA-003", ["no file matches '*.parquet'"]),
        ("notes.md", "DATA-004", ["'.md'", ".csv, .jsonl"]),
        ("*.md", "DATA-004", ["'.md'"]),
    ],
)
def test_errors(root: Path, address: str, code: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        resolve([address], root=root)
    message = str(caught.value)
    assert caught.value.code == code
    assert "Fix: " in message
    for word in words:
        assert word in message


def test_near_extension_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.parque").write_bytes(b"x")
    with pytest.raises(DataError, match=r"Did you mean \.parquet\?"):
        resolve(["rows.parque"], root=tmp_path)


def test_unreadable_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.open

    def refuse(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == "a.csv":
            raise PermissionError(13, "Permission denied")
        return plain(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.csv: the file cannot be read \(Permission denied\)"):
        resolve(["a.csv"], root=root)
