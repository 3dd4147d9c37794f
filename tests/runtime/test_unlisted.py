"""Packed bundles with more in them than a bundle has, and folders with what is no file."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from volano.columns.category import FittedCategory
from volano.columns.text import FittedText, train_tokenizer
from volano.errors import BundleError
from volano.export import export_bundle, write_bundle
from volano.runtime import MANIFEST, BundleFiles, _files
from volano.tasks.classification import Classification


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    target = FittedCategory("label", ("bad", "good"))
    write_bundle(
        tmp_path / "bundle",
        name="tiny",
        inputs={"text": FittedText("text", train_tokenizer(["good tea"] * 3, 300), 16)},
        target=target,
        task=Classification(target.names, 2.0),
        graph=b"never run here",
        details={"precision": "fp32"},
    )
    return tmp_path / "bundle"


@pytest.fixture
def packed(bundle: Path, tmp_path: Path) -> Path:
    export_bundle(bundle, tmp_path / "tiny.volano")
    return tmp_path / "tiny.volano"


def code(path: Path) -> str:
    def read() -> None:
        BundleFiles(path).verify()

    with pytest.raises(BundleError) as caught:
        read()
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("more.txt", "BUNDLE-012"),
        ("columns/more/", "BUNDLE-012"),
        ("columns/text/text.json", "BUNDLE-012"),
        (MANIFEST, "BUNDLE-002"),
        ("../outside", "BUNDLE-005"),
        ("columns/../../outside", "BUNDLE-005"),
        ("/etc/passwd", "BUNDLE-005"),
        ("columns\\outside", "BUNDLE-005"),
        ("C:/outside", "BUNDLE-005"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_not_listed(packed: Path, name: str, expected: str) -> None:
    BundleFiles(packed).close()
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, "x")
    assert code(packed) == expected


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_an_entry_that_is_no_file(packed: Path, kind: int) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        entry = zipfile.ZipInfo("more")
        entry.external_attr = (kind | 0o644) << 16
        archive.writestr(entry, "/etc/passwd")
    assert code(packed) == "BUNDLE-005"


def test_far_too_many_entries(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "MOST_ENTRIES", 100)
    with zipfile.ZipFile(packed, "a") as archive:
        for number in range(100):
            archive.writestr(str(number), "")
    assert code(packed) == "BUNDLE-010"


@pytest.mark.parametrize("name", ["*.onnx", MANIFEST])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_a_listed_file_that_is_none(bundle: Path, name: str, kind: str) -> None:
    path = next(bundle.rglob(name))
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    if name == MANIFEST:
        assert code(bundle) == "BUNDLE-002"
    else:
        # A link that leads out of the bundle is found first.
        assert code(bundle) == ("BUNDLE-005" if kind == "device" else "BUNDLE-006")
