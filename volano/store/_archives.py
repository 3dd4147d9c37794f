"""One member out of a wheel or a source archive, and nothing else of it."""

from __future__ import annotations

import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from volano.errors import AssetError, nearest

__all__ = ["copy_link", "copy_member"]

_COPY_BYTES = 2**20
_SYMLINK = 0o120000


class _Archive:
    """The plain files of an archive by name; a source archive's names without its top folder."""

    def __init__(self, opened: zipfile.ZipFile | tarfile.TarFile, strip_top: bool) -> None:
        self._opened = opened
        self._files: dict[str, zipfile.ZipInfo | tarfile.TarInfo] = {}
        self.links: set[str] = set()
        entries: list[tuple[str, zipfile.ZipInfo | tarfile.TarInfo, bool, bool]]
        if isinstance(opened, zipfile.ZipFile):
            entries = [
                (info.filename, info, not info.is_dir(), info.external_attr >> 28 == _SYMLINK >> 12)
                for info in opened.infolist()
            ]
        else:
            entries = [
                (info.name, info, info.isfile(), info.issym() or info.islnk())
                for info in opened.getmembers()
            ]
        for name, info, is_file, is_link in entries:
            if strip_top:
                name = name.split("/", 1)[-1]
            if is_link:
                self.links.add(name)
            elif is_file:
                self._files[name] = info

    @property
    def names(self) -> list[str]:
        return sorted(self._files)

    def open(self, name: str) -> IO[bytes]:
        info = self._files[name]
        if isinstance(self._opened, zipfile.ZipFile):
            assert isinstance(info, zipfile.ZipInfo)
            return self._opened.open(info)
        assert isinstance(info, tarfile.TarInfo)
        stream = self._opened.extractfile(info)
        assert stream
        return stream


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    if path.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(path) as wheel:
            yield _Archive(wheel, strip_top=path.suffix == ".zip")
    else:
        with tarfile.open(path) as source:
            yield _Archive(source, strip_top=True)


def copy_member(archive: Path, member: str, out: Path, *, shown: str) -> list[Path]:
    """Copy one file, or one folder with all that is in it, to ``out / last part of its name``.

    Args:
      archive: A wheel, zip or tar file.
      member: Path inside it, with slashes.
      out: An existing folder.
      shown: What to call the archive in messages.
    Returns:
      The files that were written.
    Raises:
      AssetError: There is no such member (ASSET-007); it is a link or has a path that climbs, or
        the archive is damaged (ASSET-008).
    """
    base = out / member.rsplit("/", 1)[-1]
    try:
        with _opened(archive) as opened:
            below = member + "/"
            names = [name for name in opened.names if name == member or name.startswith(below)]
            links = [name for name in opened.links if name == member or name.startswith(below)]
            if links:
                raise _unsafe(shown, f"{links[0]!r} is a link")
            if not names:
                raise _no_member(shown, member, opened.names)
            written = []
            for name in names:
                parts = PurePosixPath(name[len(member) :].lstrip("/")).parts
                if ".." in parts or "\\" in name or name.startswith("/"):
                    raise _unsafe(shown, f"{name!r} climbs out of its folder")
                path = base.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(name) as source, path.open("xb") as copy:
                    shutil.copyfileobj(source, copy, _COPY_BYTES)
                written.append(path)
            return written
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, FileExistsError) as error:
        raise _unsafe(shown, str(error)) from None


def _unsafe(shown: str, why: str) -> AssetError:
    return AssetError(
        8,
        f"the archive of {shown} is damaged or unsafe: {why}",
        where=shown,
        expected="plain files, with paths below the archive's own folder",
        fix="use another package; nothing of this one was kept",
    )


def _no_member(shown: str, member: str, names: list[str]) -> AssetError:
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    known = [*names, *(folders - {"."})]
    close = nearest(member, known)
    top = ", ".join(sorted({name.split("/", 1)[0] for name in names})[:8])
    return AssetError(
        7,
        f"there is no {member!r} in it",
        where=shown,
        expected=f"a path inside the archive, which holds {top}",
        nearest=close,
        fix=f"write pypi:{shown}/{close or '...'}",
    )


def copy_link(link: str, folder: Path, *, shown: str) -> Path:
    """Read a file that pip found, without pip's running anything of it.

    Raises:
      AssetError: It cannot be had (ASSET-005).
    """
    name = urllib.parse.unquote(urllib.parse.urlsplit(link).path.rsplit("/", 1)[-1])
    path = folder / name
    try:
        if urllib.parse.urlsplit(link).scheme not in ("https", "http", "file"):
            raise urllib.error.URLError(f"{link} is neither on the web nor a file")
        reading = urllib.request.urlopen(link, timeout=180)  # noqa: S310 - scheme checked above
        with reading as source, path.open("xb") as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
    except (urllib.error.URLError, TimeoutError) as error:
        raise AssetError(
            5,
            f"the source archive of {shown} cannot be fetched ({error})",
            where=link,
            expected="a server that answers",
            fix=f"curl -O {link}  # shows why",
        ) from None
    return path
