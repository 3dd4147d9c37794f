"""Writing a bundle: fitted columns, graph, task and a sealed manifest in one folder."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from volano.columns import FittedColumn, column_kind
from volano.export._output import output_place, written
from volano.runtime import FORMAT, MANIFEST, BundleFiles, seal
from volano.store import file_digest
from volano.tasks import Task

__all__ = ["describe_bundle", "export_bundle", "write_bundle"]

GRAPH = "graph.onnx"

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The same bundle gives the same file, byte by byte, whenever it is exported."""


def write_bundle(
    folder: Path,
    *,
    name: str,
    inputs: Mapping[str, FittedColumn],
    target: FittedColumn,
    task: Task,
    graph: bytes,
    details: Mapping[str, Any],
) -> str:
    """Write a bundle.

    Args:
      folder: Where to; made here, must not exist.
      name: What to call the bundle; no answer depends on it.
      inputs: Fitted input columns, in order.
      target: The fitted target column.
      task: How the graph's output becomes an answer.
      graph: The ONNX graph.
      details: What describes the bundle without changing an answer: metrics, lineage, precision.
    Returns:
      The bundle's id.
    """
    folder.mkdir(parents=True)

    def save(column: FittedColumn, place: str) -> dict[str, Any]:
        (folder / place).mkdir(parents=True)
        column.save(folder / place)
        version = column_kind(column.kind).version
        return {"name": column.name, "type": column.kind, "version": version, "folder": place}

    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "inputs": [
            save(column, f"columns/{place}") for place, column in enumerate(inputs.values())
        ],
        "target": save(target, "columns/target"),
        "task": {"type": task.kind, "version": task.version, "state": task.as_dict()},
        "graph": {"file": GRAPH},
        **details,
    }
    (folder / GRAPH).write_bytes(graph)
    manifest["files"] = {
        path.relative_to(folder).as_posix(): {
            "sha256": file_digest(path),
            "size_bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return _write_manifest(folder, manifest)


def describe_bundle(folder: Path, **details: Any) -> str:
    """Add to what describes a bundle; its id, and so its answers, stay as they are."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    before = manifest["id"]
    after = _write_manifest(folder, {**manifest, **details})
    assert before == after, "a description changed what the bundle answers"
    return after


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> str:
    text = _manifest_text(manifest)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return str(json.loads(text)["id"])


def _manifest_text(manifest: Mapping[str, Any]) -> str:
    # Through JSON once, so that what is sealed is what will be read: tuples become lists.
    sealed = seal(json.loads(json.dumps(manifest)))
    return json.dumps(sealed, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def export_bundle(folder: Path, target: Path, *, name: str | None = None) -> int:
    """Pack a bundle into one `.volano` file: a zip, which `volano.load` reads as it is.

    Args:
      folder: The bundle.
      target: The file; one that is there is replaced at the end, in one step. A link is followed,
        a device or pipe written as it is.
      name: What to call it from now on; None keeps its name.
    Returns:
      The file's size in bytes; 0 for a device or pipe.
    Raises:
      WheelError: No file can be written there (WHEEL-040).
    """
    output_place(target)
    files = BundleFiles(folder)
    files.verify()
    named = {**files.manifest, "name": name} if name else files.manifest
    manifest = _manifest_text(named).encode()
    with written(target) as place, place.open("wb") as stream:
        # /dev/null says that it can seek and always stands at 0.
        archived: Any = stream if place.is_file() else _Forwards(stream)
        with zipfile.ZipFile(archived, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for member in [MANIFEST, *sorted(files.manifest["files"])]:
                entry = zipfile.ZipInfo(member, _ZIP_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                with archive.open(entry, "w") as sink:
                    if member == MANIFEST:
                        sink.write(manifest)
                        continue
                    with (folder / member).open("rb") as source:
                        shutil.copyfileobj(source, sink, 1 << 20)
    return target.stat().st_size


class _Forwards:
    """A stream that only goes on, which zipfile then writes without looking back."""

    def __init__(self, stream: BinaryIO) -> None:
        self.write, self.flush = stream.write, stream.flush
