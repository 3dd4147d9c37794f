"""A bundle's files, from a folder or from one `.volano` file, each checked before it is used."""

from __future__ import annotations

import hashlib
import json
import stat
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

LARGEST_SMALL_BYTES, LARGEST_RATIO = 100_000_000, 100
"""A `.volano` file unpacks to at most this many bytes, and this many for each byte it has. Weights
hardly shrink when packed; only what was made to fill a memory shrinks a thousandfold."""

MOST_ENTRIES = 10_000

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
        the manifest was changed (004) or is not of the right shape (009), a path leaves the bundle
        or is a link (005), a file is missing (006) or was changed (007), it unpacks to far too much
        (010), or the `.volano` file holds what the manifest does not list (012).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            # A damaged archive makes zipfile fail in ways of many kinds.
            except Exception as error:
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
        try:
            self._refuse_bomb()
            self.manifest = self._read_manifest()
            self._refuse_unlisted()
        except BaseException:
            self.close()
            raise

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
        content = self._content(name, entry["size_bytes"])
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

    def _refuse_bomb(self) -> None:
        """A small file that says it unpacks to a huge one is an attack, or damage."""
        if not self._zip:
            return
        entries = self._zip.infolist()
        if len(entries) > MOST_ENTRIES:
            raise BundleError(
                10,
                f"the file unpacks to {len(entries)} files",
                where=str(self.path),
                expected=f"at most {MOST_ENTRIES}",
                fix="do not use this bundle: nobody writes such a file by accident",
            )
        for entry in entries:
            # As it was written: zipfile itself cuts a name at a zero byte.
            _refuse_outside(entry.orig_filename, self.path)
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise BundleError(
                    5,
                    f"{shorten(entry.filename)} is a link or a device, not a file",
                    where=str(self.path),
                    expected="files",
                    fix="do not use this bundle: nobody writes such a file by accident",
                )
        total = sum(entry.file_size for entry in entries)
        most = LARGEST_SMALL_BYTES + LARGEST_RATIO * self.path.stat().st_size
        if total > most:
            raise BundleError(
                10,
                f"the file unpacks to {total} bytes",
                where=str(self.path),
                expected=f"at most {most} bytes from a file of this size",
                fix="do not use this bundle: nobody writes such a file by accident",
            )

    def _refuse_unlisted(self) -> None:
        """What the manifest does not list is sealed by nothing, nor is a second file of a name."""
        if not self._zip:
            return
        unlisted = {MANIFEST: 1} | dict.fromkeys(self.manifest["files"], 1)
        for entry in self._zip.infolist():
            unlisted[entry.filename] = unlisted.get(entry.filename, 0) - 1
            if unlisted[entry.filename] < 0:
                raise BundleError(
                    12,
                    f"the file holds {shorten(entry.filename)}, which its manifest does not list "
                    "or lists once",
                    where=str(self.path),
                    expected="the files of the manifest, each once, and nothing else",
                    fix="export the bundle again",
                )

    def _content(self, name: str, most_bytes: int) -> bytes | None:
        """A file's bytes, and hardly more of them than it should have."""
        try:
            if self._zip:
                with self._zip.open(name) as stream:
                    return stream.read(most_bytes + 1)
            # A pipe or a device could be read for ever.
            if not (self.path / name).is_file():
                return None
            with (self.path / name).open("rb") as file:
                return file.read(most_bytes + 1)
        except (KeyError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        # zlib, lzma and zipfile each have errors of their own for damaged content.
        except Exception as error:
            raise BundleError(
                7,
                f"the file {name!r} cannot be read ({error})",
                where=str(self.path),
                fix="export the bundle again",
            ) from error

    def _read_manifest(self) -> dict[str, Any]:
        where = str(self.path)
        content = self._content(MANIFEST, LARGEST_MANIFEST_BYTES)
        if content is None:
            raise BundleError(
                2, "this is not a bundle: it has no manifest.json", where=where, expected="a bundle"
            )
        try:
            if len(content) > LARGEST_MANIFEST_BYTES:
                raise ValueError(f"more than {LARGEST_MANIFEST_BYTES} bytes")
            manifest = json.loads(content)
            if not isinstance(manifest, dict) or type(manifest["format"]) is not int:
                raise ValueError("no format number")
            sealed = seal(manifest)
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
        # Compared as bytes: to Python, 1, 1.0 and true are the same.
        if canonical(sealed) != canonical(manifest):
            raise BundleError(
                4,
                "the manifest was changed after it was written",
                where=where,
                expected=f"the seal {str(manifest.get('seal'))[:16]}...",
                fix="export the bundle again",
            )
        if wrong := _wrong_shape(manifest):
            raise BundleError(
                9,
                f"the manifest is not of the right shape: {wrong}",
                where=where,
                expected="a manifest as this version or an older one writes it",
                fix="export the bundle again",
            )
        for name in (MANIFEST, *manifest["files"]):
            _refuse_outside(name, self.path)
        return manifest


def _wrong_shape(manifest: Mapping[str, Any]) -> str | None:
    """What is wrong with the keys that decide an answer, in words; None when nothing is."""

    def entry(value: Any, kinds: Mapping[str, type], place: str) -> str | None:
        if not isinstance(value, dict):
            return f"{place} is {shorten(value)}"
        for key, kind in kinds.items():
            if type(value.get(key)) is not kind:
                return f"{place}.{key} is {shorten(value.get(key))}"
        return None

    inputs, files = manifest.get("inputs"), manifest.get("files")
    if not isinstance(inputs, list) or not inputs:
        return f"inputs is {shorten(inputs)}"
    if not isinstance(files, dict):
        return f"files is {shorten(files)}"
    column = {"name": str, "type": str, "version": int, "folder": str}
    found = [entry(item, column, f"inputs[{place}]") for place, item in enumerate(inputs)]
    found.append(entry(manifest.get("target"), column, "target"))
    found.append(entry(manifest.get("task"), {"type": str, "version": int, "state": dict}, "task"))
    found.append(entry(manifest.get("graph"), {"file": str}, "graph"))
    found += [
        entry(item, {"sha256": str, "size_bytes": int}, f"files[{shorten(name)}]")
        for name, item in files.items()
    ]
    if wrong := next((item for item in found if item), None):
        return wrong
    names = [item["name"] for item in inputs]
    # A forecast looks back at the very series that it forecasts.
    target = [] if manifest["target"]["type"] == "series" else [manifest["target"]["name"]]
    if len({*names, *target}) != len(names) + len(target):
        return "two columns have the same name"
    if any(item["size_bytes"] < 0 for item in files.values()):
        return "a file has a negative size"
    return None


def _refuse_outside(name: str, bundle: Path) -> None:
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0")
    if not outside and bundle.is_dir():
        try:
            outside = not (bundle / name).resolve().is_relative_to(bundle.resolve())
        except (OSError, ValueError, RuntimeError):
            outside = True
    if outside:
        raise BundleError(
            5,
            f"the file name {shorten(name)} leads out of the bundle",
            where=str(bundle),
            expected="names inside the bundle's folder",
            fix="do not use this bundle: nobody writes such a name by accident",
        )
