"""A bundle's files, from a folder or from one `.volano` file, each checked before it is used."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from volano.errors import BundleError, shorten

__all__ = ["FORMAT", "MANIFEST", "BundleFiles", "answering_digest", "canonical", "seal"]

FORMAT = 1
"""The bundle format that this version writes, and the newest that it reads."""

MANIFEST = "manifest.json"

LARGEST_MANIFEST_BYTES = 16_000_000

_ANSWERING = ("format", "inputs", "target", "task", "graph", "files")
"""The keys of a manifest that decide what is answered. The rest describes."""


def canonical(value: object) -> bytes:
    """JSON in the one form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def answering_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of all that decides an answer: two bundles with the same one answer alike."""
    return hashlib.sha256(canonical({key: manifest.get(key) for key in _ANSWERING})).hexdigest()


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its ``id`` and with a ``seal`` over every other key."""
    body = {key: value for key, value in manifest.items() if key != "seal"}
    body["id"] = answering_digest(body)
    return {**body, "seal": hashlib.sha256(canonical(body)).hexdigest()}


class BundleFiles:
    """Reads a bundle's files and refuses what is damaged, missing, newer or unsafe.

    Args:
      path: A bundle's folder, or a `.volano` file.
    Raises:
      BundleError: There is no bundle (BUNDLE-001), it is not one (002), its format is newer (003),
        the manifest was changed (004), a path leaves the bundle (005), a file is missing (006) or
        was changed (007).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise BundleError(
                    2,
                    f"this is not a bundle ({error})",
                    where=str(path),
                    expected="a .volano file or a bundle's folder",
                ) from error
        elif not path.is_dir():
            raise BundleError(
                1,
                "there is no bundle here",
                where=str(path),
                expected="a .volano file or a bundle's folder",
                fix="volano bundle export FILE",
            )
        self.manifest = self._read_manifest()

    def close(self) -> None:
        """Let go of the `.volano` file."""
        if self._zip:
            self._zip.close()

    def read(self, name: str) -> bytes:
        """The content of one file that the manifest lists, compared with its digest."""
        entry = self.manifest["files"].get(name)
        if entry is None:
            raise BundleError(
                6, f"the bundle has no file {name!r}", where=str(self.path), fix="export it again"
            )
        content = self._content(name)
        if content is None:
            raise BundleError(
                6,
                f"the file {name!r} is missing",
                where=str(self.path),
                expected=f"{entry['size_bytes']} bytes",
                fix="export the bundle again",
            )
        found = hashlib.sha256(content).hexdigest()
        if found != entry["sha256"]:
            raise BundleError(
                7,
                f"the file {name!r} was changed: its sha256 is {found[:16]}...",
                where=str(self.path),
                expected=f"{entry['sha256'][:16]}...",
                fix="export the bundle again",
            )
        return content

    def read_folder(self, prefix: str) -> dict[str, bytes]:
        """All files below a folder: name within it -> content."""
        start = prefix + "/"
        names = [name for name in self.manifest["files"] if name.startswith(start)]
        return {name.removeprefix(start): self.read(name) for name in names}

    def verify(self) -> None:
        """Read every file of the bundle once."""
        for name in self.manifest["files"]:
            self.read(name)

    def _content(self, name: str) -> bytes | None:
        try:
            if self._zip:
                return self._zip.read(name)
            return (self.path / name).read_bytes()
        except (KeyError, FileNotFoundError, IsADirectoryError):
            return None
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise BundleError(
                7,
                f"the file {name!r} cannot be read ({error})",
                where=str(self.path),
                fix="export the bundle again",
            ) from error

    def _read_manifest(self) -> dict[str, Any]:
        where = str(self.path)
        content = self._content(MANIFEST)
        if content is None:
            raise BundleError(
                2, "this is not a bundle: it has no manifest.json", where=where, expected="a bundle"
            )
        try:
            if len(content) > LARGEST_MANIFEST_BYTES:
                raise ValueError(f"{len(content)} bytes")
            manifest = json.loads(content)
            if not isinstance(manifest, dict) or not isinstance(manifest["format"], int):
                raise ValueError("no format number")
        except (ValueError, KeyError, RecursionError) as error:
            raise BundleError(
                2, f"the manifest cannot be read ({error})", where=where, expected="a bundle"
            ) from error
        if manifest["format"] > FORMAT:
            raise BundleError(
                3,
                f"the bundle has format {manifest['format']}",
                where=where,
                expected=f"format {FORMAT} or older: a newer Volano wrote it",
                fix="pip install --upgrade volano",
            )
        if seal(manifest) != manifest:
            raise BundleError(
                4,
                "the manifest was changed after it was written",
                where=where,
                expected=f"the seal {str(manifest.get('seal'))[:16]}...",
                fix="export the bundle again",
            )
        for name in manifest["files"]:
            _refuse_outside(name, self.path)
        return manifest


def _refuse_outside(name: str, bundle: Path) -> None:
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    if not outside and bundle.is_dir():
        target = bundle / name
        outside = not target.resolve().is_relative_to(bundle.resolve())
    if outside:
        raise BundleError(
            5,
            f"the file name {shorten(name)} leads out of the bundle",
            where=str(bundle),
            expected="names inside the bundle's folder",
            fix="do not use this bundle: nobody writes such a name by accident",
        )
