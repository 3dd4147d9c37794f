"""A bundle, ready to answer: encode -> ONNX Runtime -> decode."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from volano.columns import Encoded, FittedColumn, Ragged, column_kind
from volano.errors import BundleError, RequestError, SpecError, nearest, shorten
from volano.runtime._files import BundleFiles
from volano.tasks import Answer, Task, task_kind

__all__ = ["EncodedRows", "Model", "Prediction", "available_cores", "load", "new_prediction_ids"]

BATCH_TOKENS = 2048
"""Padded cells per run of the graph: they fill the cores, and still fit their cache."""

RUN_TOKENS = 8
"""Padded cells that cost as much as starting the graph once more (measured with a small BERT)."""


@dataclass(frozen=True)
class Prediction:
    """One answer.

    Attributes:
      id: Joins feedback to this answer; sorts by time.
      value: What is predicted.
      probability: How sure the model is of `value`; None where the task has none.
      probabilities: Name -> probability, highest first.
      bundle: Id of the bundle that answered.
      notes: What was lost on the way in, such as text that was cut; empty when nothing was.
      low: Lower end of the interval in which the right value is meant to lie; None without one.
      high: Its upper end.
    """

    id: str
    value: Any
    probability: float | None
    probabilities: Mapping[str, float]
    bundle: str
    notes: tuple[str, ...] = ()
    low: Any = None
    high: Any = None

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON-able fields; what its task does not have is left out."""
        fields: dict[str, Any] = {"id": self.id, "value": self.value}
        if self.probability is not None:
            fields |= {
                "probability": self.probability,
                "probabilities": dict(self.probabilities),
            }
        if self.low is not None:
            fields |= {"low": self.low, "high": self.high}
        return {**fields, "bundle": self.bundle, "notes": list(self.notes)}


@dataclass(frozen=True)
class EncodedRows:
    """Rows after every input column has encoded its values; cheap to cut into batches."""

    columns: Mapping[str, Encoded]
    num_rows: int
    notes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @functools.cached_property
    def ragged(self) -> bool:
        """Whether there is an input whose rows differ in length, so that they differ in cost."""
        arrays = [array for each in self.columns.values() for array in each.arrays.values()]
        return any(isinstance(array, Ragged) for array in arrays)

    def widths(self, costs: Mapping[str, float] | None = None) -> NDArray[np.int64]:
        """What each row costs the graph: the dearest of its ragged inputs; shape (num_rows,).

        Args:
          costs: Column -> what a cell of it costs, as a share of a transformer's token; 1 without.
        """
        widths = np.ones(self.num_rows, np.int64)
        for name, encoded in self.columns.items():
            for array in encoded.arrays.values():
                if isinstance(array, Ragged):
                    cost = np.ceil(array.lengths * (costs or {}).get(name, 1.0)).astype(np.int64)
                    widths = np.maximum(widths, cost)
        return widths


def load(path: str | Path, *, threads: int | None = None) -> Model:
    """Open a bundle.

    Args:
      path: A bundle's folder, or a `.volano` file.
      threads: Threads of the graph; None takes every core that this process may use.
    Raises:
      BundleError: It is damaged, incomplete, newer than this version, or unsafe.
    """
    return Model(Path(path), threads=threads)


class Model:
    """Answers rows from one bundle. Safe to use from several threads.

    Attributes:
      id: Digest of all that decides an answer.
      manifest: The bundle's manifest, as read.
      inputs: Name -> fitted input column, in the order of the spec.
      target: The fitted target column.
      task: Decodes the graph's output.
      threads: Threads of one run of the graph.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        files = BundleFiles(path)
        try:
            self.path = path
            self.manifest = files.manifest
            self.id: str = self.manifest["id"]
            self.inputs = {
                column["name"]: _load_column(files, column) for column in self.manifest["inputs"]
            }
            self.target = _load_column(files, self.manifest["target"])
            self.task = _load_task(files, self.manifest["task"], self.target)
            self.threads = threads or available_cores()
            self._session = _session(files.read(self.manifest["graph"]["file"]), self.threads, path)
            files.verify()
        finally:
            files.close()
        self._costs = {
            name: float(getattr(column, "cell_cost", 1.0)) for name, column in self.inputs.items()
        }
        self._wanted = {item.name for item in self._session.get_inputs()}
        self._refuse_other_inputs()

    def __repr__(self) -> str:
        names = getattr(self.target, "names", None)
        classes = f" of {len(names)} classes" if names else ""
        return (
            f"<volano.Model {shorten(self.manifest['name'])}: {', '.join(self.inputs)} -> "
            f"{self.target.name}{classes}, id {self.id[:16]}>"
        )

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Answer rows, in order.

        Args:
          rows: Column name -> value, exactly the bundle's inputs.
        Raises:
          RequestError: A column is missing (REQUEST-021), unknown (022) or of the wrong type.
        Example:
          >>> volano.load("reviews.volano").predict([{"text": "fine"}])  # doctest: +SKIP
        """
        if not rows:
            return []
        encoded = self.encode(self.check(rows))
        answers = self.answers(encoded)
        ids = new_prediction_ids(len(rows))
        return [
            Prediction(
                ids[row],
                answer.value,
                answer.probability,
                answer.probabilities,
                self.id,
                encoded.notes.get(row, ()),
                answer.low,
                answer.high,
            )
            for row, answer in enumerate(answers)
        ]

    def _refuse_other_inputs(self) -> None:
        """A graph that wants what no column gives would fail at the first request."""
        none = np.zeros(0, np.int64)
        given = {
            key
            for column in self.inputs.values()
            for key in column.collate(column.encode([]), none)
        }
        if missing := sorted(self._wanted - given):
            raise BundleError(
                8,
                f"the graph wants {missing[0]!r}, which no column gives",
                where=str(self.path),
                expected="a graph over " + ", ".join(sorted(given)),
                fix="export the bundle again",
            )

    def check(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Rows as columns, after each value was checked by its column."""
        columns: dict[str, list[Any]] = {name: [] for name in self.inputs}
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise RequestError(
                    20,
                    f"row {number} is {shorten(row)}",
                    status=422,
                    expected="an object with the columns " + ", ".join(self.inputs),
                )
            for name in row:
                if name not in columns:
                    raise RequestError(
                        22,
                        f"row {number} has an unknown column {shorten(name)}",
                        status=422,
                        expected="only " + ", ".join(self.inputs),
                        nearest=nearest(name, self.inputs),
                    )
            for name, column in self.inputs.items():
                if name not in row:
                    raise RequestError(
                        21,
                        f"row {number} has no column {name!r}",
                        status=422,
                        expected="the columns " + ", ".join(self.inputs),
                    )
                try:
                    columns[name].append(column.check(row[name]))
                except RequestError as error:
                    error.where = error.where or f"row {number}"
                    error.args = (error._text(),)
                    raise
        return columns

    def cells(self, row: Mapping[str, Any], lost: dict[str, str] | None = None) -> dict[str, Any]:
        """A row of a table as `predict` takes it; columns that are no inputs are left out.

        A cell that cannot be read counts as missing where its column knows missing values, as it
        does in training: a typo must not cost a whole table its answers.

        Args:
          row: Column name -> cell.
          lost: Receives column -> reason for each cell that could not be read.
        Returns:
          Column -> checked value; None, which `predict` refuses, where a cell cannot be read and
          its column knows no missing values.
        """
        found = {}
        for name, column in self.inputs.items():
            cell = row.get(name)
            try:
                found[name] = column.check("" if cell is None else cell)
            except RequestError as error:
                try:
                    found[name] = column.check(None)
                except RequestError:
                    found[name] = None
                if lost is not None:
                    lost[name] = error.what
        return found

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> EncodedRows:
        """Checked columns as arrays, the same way as in training."""
        encoded = {name: column.encode(columns[name]) for name, column in self.inputs.items()}
        notes: dict[int, tuple[str, ...]] = {}
        for item in encoded.values():
            for row, note in item.notes.items():
                notes[row] = (*notes.get(row, ()), note)
        return EncodedRows(encoded, len(next(iter(encoded.values()))), notes)

    def outputs(
        self, encoded: EncodedRows, rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """The graph's output for each row, in order; shape (num_rows, ...).

        Args:
          encoded: The rows; at least one.
          rows: Those to answer, at least one; None for all.
        """
        if rows is None:
            rows = np.arange(encoded.num_rows, dtype=np.int64)
        if len(rows) <= BATCH_TOKENS and not encoded.ragged:
            return self.run(encoded, rows)  # a table's answers take no longer than sorting them
        parts: list[NDArray[np.float32]] = []
        order: list[NDArray[np.int64]] = []
        for places in _batches(encoded.widths(self._costs)[rows]):
            parts.append(self.run(encoded, rows[places]))
            order.append(places)
        stacked = np.concatenate(parts)
        result = np.empty_like(stacked)
        result[np.concatenate(order)] = stacked
        return result

    def run(self, encoded: EncodedRows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """One run of the graph over the chosen rows."""
        feed: dict[str, NDArray[Any]] = {}
        for name, column in self.inputs.items():
            feed.update(column.collate(encoded.columns[name], rows))
        output = self._session.run(None, {key: feed[key] for key in feed if key in self._wanted})[0]
        return np.asarray(output, np.float32)

    def answers(self, encoded: EncodedRows) -> Sequence[Answer]:
        """Decoded outputs, in the order of the rows."""
        return self.task.decode(self.outputs(encoded))


def _batches(widths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of like length together, so that little is padded; every row once."""
    order = np.argsort(widths, kind="stable").astype(np.int64)
    lengths = widths[order].tolist()
    start = 0
    while start < len(order):
        stop, padding = start + 1, 0
        while stop < len(order):
            # The next row makes all before it as long as it is itself.
            padding += (stop - start) * (lengths[stop] - lengths[stop - 1])
            if padding > RUN_TOKENS or (stop + 1 - start) * lengths[stop] > BATCH_TOKENS:
                break
            stop += 1
        yield order[start:stop]
        start = stop


def _load_column(files: BundleFiles, entry: Mapping[str, Any]) -> FittedColumn:
    try:
        kind = column_kind(entry["type"])
    except SpecError as error:
        raise BundleError(
            11,
            f"the column {entry['name']!r} is of a type that is not known here: {error.what}",
            where=str(files.path),
            expected=error.expected,
            fix="pip install --upgrade volano   (or the package that adds the type)",
        ) from error
    if entry["version"] > kind.version:
        raise BundleError(
            3,
            f"the column {entry['name']!r} is of type {entry['type']} version {entry['version']}",
            where=str(files.path),
            expected=f"version {kind.version} or older: a newer Volano wrote it",
            fix="pip install --upgrade volano",
        )
    return kind.Fitted.load(entry["name"], files.read_folder(entry["folder"]))


def _load_task(files: BundleFiles, entry: Mapping[str, Any], target: FittedColumn) -> Task:
    kind = task_kind(entry["type"])
    if entry["version"] > kind.version:
        raise BundleError(
            3,
            f"the task {entry['type']} has version {entry['version']}",
            where=str(files.path),
            expected=f"version {kind.version} or older: a newer Volano wrote it",
            fix="pip install --upgrade volano",
        )
    try:
        return kind.from_dict(entry["state"], target)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            9,
            f"the task's state cannot be read ({error!r})",
            where=str(files.path),
            fix="export the bundle again",
        ) from error


def _session(graph: bytes, threads: int, path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the core from the tokenizer and the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph,
            options,
            providers=["CPUExecutionProvider"],
            # On a CPU the fused operator takes longer than the addition and the norm by themselves.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
    # ONNX Runtime's exceptions have no tree of their own to name.
    except Exception as error:
        raise BundleError(
            8,
            f"the graph cannot be run here ({str(error).splitlines()[0][:200]})",
            where=str(path),
            fix="pip install --upgrade onnxruntime",
        ) from error


def available_cores() -> int:
    """Cores that this process may use, which a container may have made fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


_last_id_lock = threading.Lock()
_last_id_ms = 0


def new_prediction_ids(num_ids: int) -> list[str]:
    """Ids that sort by time: UUIDs of version 7 (RFC 9562), as 32 hexadecimal digits.

    48 bits of milliseconds, then a counter of 24 bits within the call, then 50 random bits. The
    milliseconds never go back within a process, so ids of later calls never sort before earlier.
    """
    global _last_id_ms
    with _last_id_lock:
        _last_id_ms = max(_last_id_ms, time.time_ns() // 1_000_000)
        milliseconds = _last_id_ms
    tails = np.frombuffer(os.urandom(8 * num_ids), ">u8") & np.uint64((1 << 50) - 1)
    ids = []
    for counter, tail in enumerate(tails.tolist()):
        high = (milliseconds << 16) | (0x7 << 12) | ((counter >> 12) & 0xFFF)
        low = (0b10 << 62) | ((counter & 0xFFF) << 50) | tail
        ids.append(f"{high:016x}{low:016x}")
    return ids
