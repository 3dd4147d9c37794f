"""What students learn from: training rows and variants of them, with the teacher's answers."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from volano.columns import Encoded, EncodedSplit, FittedColumn, column_kind
from volano.compression._contract import Calibration
from volano.compression._variants import exchanged, varied
from volano.data import Prepared, Snapshot
from volano.runtime import EncodedRows, Model, available_cores
from volano.spec import TrainSpec

if TYPE_CHECKING:
    from volano.training import TrainPlan

__all__ = ["Lessons", "OutOfTime", "student_plan"]

MOST_ROWS = 200_000
"""Training rows that students learn from, at the most."""

VARIANT_ROWS = 40_000
"""Variants that the teacher is asked about, at the most."""

STUDENT_RATE = 2e-4
"""Highest rate of a student that starts from its teacher's layers."""

TOLD_SHARE = 0.9
"""How sure the answer of an endpoint counts as: it says one name and nothing of the others."""

ANSWER_ROWS = 1024
CALIBRATION_ROWS = 512
CALIBRATION_BATCH = 16

Step = Callable[[str, float, float], None]

Given = tuple[Mapping[str, Sequence[Any]], Sequence[int]]
"""Raw values by column, and of the first rows the class's code that someone else gave them, -1 for
none."""


class OutOfTime(Exception):
    """The budget is spent; what was being tried is given up."""


def student_plan(model: Any, num_rows: int, *, epochs: int, train: TrainSpec) -> TrainPlan:
    """How a student is fitted.

    Args:
      model: The network: what it is made of decides.
      num_rows: Rows that it learns from.
      epochs: How often.
      train: How its teacher was trained: the seed, the precision, and what is done to rows hold
        for a student too.
    """
    from volano.training import plan_training

    recipes = {getattr(each, "recipe", "") for each in model.encoders}
    # Beside a transformer a convolutional net keeps to the careful rates of the other.
    table, convolves = not recipes, recipes == {"convolution"}
    light = not table and recipes <= {"pieces", "words"}
    known = not (table or convolves or light)
    plan = plan_training(
        TrainSpec(epochs=epochs, seed=train.seed, precision=train.precision, augment=train.augment),
        num_rows=num_rows,
        pretrained=known,
        table=table,
        convolution=convolves,
        pieces=light,
    )
    # A student has a head that answers already, or is quick to learn one; and the teacher's
    # own doubts do what dropout and smoothing are for.
    plan = replace(plan, head_start=False, patience=0, dropout=0.0, label_smoothing=0.0)
    return replace(plan, learning_rate=STUDENT_RATE) if known else plan


@final
class Lessons:
    """`Work` over the rows of a turn. The teacher is asked about a row once.

    Args:
      prepared: The turn's rows, as the teacher's columns encode them.
      snapshot: The same as raw values.
      task: The task's kind.
      teacher: The model whose answers are taught, as a bundle on one thread.
      scratch: Where answers and checkpoints are kept and looked for.
      train: The spec's section: how the teacher was trained.
      step: Told how far something is.
      say: Told what is worth a line.
      deadline: When to stop, by `time.monotonic`.
      variants: The most of each training row.
      graph_of: Makes a graph of a trained model.
      unlabelled: Gives rows that nobody has labelled; asked for when a student needs them.
    """

    def __init__(
        self,
        prepared: Prepared,
        snapshot: Snapshot,
        task: str,
        teacher: Model,
        scratch: Path,
        *,
        train: TrainSpec,
        step: Step = lambda label, done, total: None,
        say: Callable[[str], None] = lambda text: None,
        deadline: float = math.inf,
        variants: int = 4,
        graph_of: Callable[[Any, Mapping[str, FittedColumn]], Any],
        unlabelled: Callable[[], Given] = lambda: ({}, ()),
    ) -> None:
        self.task, self.seed, self.deadline = task, train.seed, deadline
        self._spec = train
        self._prepared, self._snapshot, self._teacher = prepared, snapshot, teacher
        self._scratch, self._step, self._say = scratch, step, say
        self._raw: dict[str, dict[str, list[Any]]] = {}
        self._answers: dict[str, NDArray[np.float32]] = {}
        self._encoded: dict[tuple[str, str, int], tuple[FittedColumn, Encoded]] = {}
        self._graph_of = graph_of
        self._place, self._most_variants = scratch, variants
        self._unlabelled = unlabelled

    def at(self, name: str) -> None:
        """Name what is trained next, for its checkpoints."""
        self._place = self._scratch / name

    @property
    def num_rows(self) -> int:
        return self._num_texts() * (1 + self._variants())

    @functools.cached_property
    def _given(self) -> Given:
        return self._unlabelled()

    @property
    def _more(self) -> Mapping[str, Sequence[Any]]:
        return self._given[0]

    def _num_texts(self) -> int:
        """Rows that are no variants."""
        return len(self._rows("train")) + len(next(iter(self._more.values()), ()))

    def calibration(self, inputs: Mapping[str, FittedColumn]) -> Calibration:
        """Training rows at even distances, in batches of like length."""
        num_rows = len(self._rows("train"))
        some = np.unique(np.linspace(0, num_rows - 1, CALIBRATION_ROWS).astype(np.int64))
        columns = {name: self._column(column, "train") for name, column in inputs.items()}
        split = EncodedSplit(columns, np.zeros(num_rows))
        some = some[np.argsort(split.widths()[some], kind="stable")]
        batches = []
        for start in range(0, len(some), CALIBRATION_BATCH):
            rows = some[start : start + CALIBRATION_BATCH]
            batch: dict[str, Any] = {}
            for name, column in inputs.items():
                batch |= column.collate(columns[name], rows)
            batches.append(batch)
        return Calibration(batches)

    def lessons(self, inputs: Mapping[str, FittedColumn]) -> tuple[EncodedSplit, EncodedSplit]:
        """See `Work`."""
        train = self._lesson(inputs, "lesson" if self._variants() or self._more else "train")
        return train, self._lesson(inputs, "validation")

    def texts(self, column: str) -> Sequence[str]:
        """See `Work`."""
        return [*self._values("train")[column], *self._more.get(column, ())]

    def graph(self, model: Any, inputs: Mapping[str, FittedColumn]) -> Any:
        """See `Work`."""
        return self._graph_of(model, inputs)

    def train(
        self,
        model: Any,
        inputs: Mapping[str, FittedColumn],
        *,
        epochs: int,
        teacher: Any = None,
        match: str = "hidden",
    ) -> None:
        """See `Work`."""
        from volano.training import distil_objective, fit

        train, validation = self.lessons(inputs)
        plan = student_plan(model, train.num_rows, epochs=epochs, train=self._spec)
        self._place.mkdir(parents=True, exist_ok=True)
        fit(
            model,
            inputs,
            train,
            validation,
            plan,
            aim=distil_objective(self.task),
            teacher=teacher,
            match=match,
            scratch=self._place,
            step=self.watch,
            say=self._say,
        )

    def watch(self, label: str, done: float, total: float) -> None:
        """See `Work`."""
        self._step(label, done, total)
        if time.monotonic() > self.deadline:
            raise OutOfTime

    def _rows(self, split: str) -> NDArray[np.int64]:
        return np.asarray(self._prepared.rows(split))[self._some(split)]

    def _some(self, split: str) -> slice:
        """Which rows of a split, at even distances where there are too many."""
        num_rows = len(self._prepared.rows(split))
        return slice(None, None, max(1, -(-num_rows // MOST_ROWS)) if split == "train" else None)

    def _variants(self) -> int:
        """Variants of each training row; none where something is hard to vary."""
        kinds = [column.kind for column in self._prepared.inputs.values()]
        if any(column_kind(kind).content and kind != "text" for kind in kinds):
            return 0
        return min(self._most_variants, VARIANT_ROWS // max(1, self._num_texts()))

    def _values(self, split: str) -> dict[str, list[Any]]:
        """Raw values by column; ``lesson`` is the training rows, then those without a label, then
        variants of all of them.
        """
        if split not in self._raw:
            if split == "lesson":
                rounds = range(1 + self._variants())
                whole = {
                    name: [*values, *self._more.get(name, ())]
                    for name, values in self._values("train").items()
                }
                self._raw[split] = {
                    name: [
                        value
                        for turn in rounds
                        for value in (self._varied(name, values, turn) if turn else values)
                    ]
                    for name, values in whole.items()
                }
            else:
                rows = self._rows(split)
                self._raw[split] = {
                    name: self._snapshot.values(name, rows) for name in self._prepared.inputs
                }
        return self._raw[split]

    def _varied(self, name: str, values: list[Any], turn: int) -> list[Any]:
        if self._prepared.inputs[name].kind == "text":
            return varied(values, self.seed + turn)
        # By name too: columns that changed together would be rows of their own again.
        return exchanged(values, self.seed + turn, name)

    def _column(self, column: FittedColumn, split: str) -> Encoded:
        """A split's rows as a column encodes them."""
        key = (column.name, split, id(column))
        if key not in self._encoded:
            whole = split != "lesson" and len(self._rows(split)) == len(self._prepared.rows(split))
            if whole and column is self._prepared.inputs[column.name]:
                found = self._prepared.split(split).columns[column.name]
            else:
                found = column.encode(self._values(split)[column.name])
            # The column stays alive with its entry, so that no other can have its id.
            self._encoded[key] = (column, found)
        return self._encoded[key][1]

    def _lesson(self, inputs: Mapping[str, FittedColumn], split: str) -> EncodedSplit:
        columns = {name: self._column(column, split) for name, column in inputs.items()}
        outputs = self._asked(split)
        right = self._right("train" if split == "lesson" else split)
        more = len(outputs) - len(right)
        unknown = -1.0 if self.task == "classification" else np.nan
        learned = len(right)
        right = np.concatenate([right, np.full((more, right.shape[1]), unknown)])
        told = np.asarray(self._given[1], np.int64)
        if split == "lesson" and len(told):
            known = np.flatnonzero(told >= 0)
            codes, rows = told[known], learned + known
            outputs = outputs.copy()
            # Who was asked beside the teacher stands in its place.
            outputs[rows] = np.log((1 - TOLD_SHARE) / max(1, outputs.shape[1] - 1))
            outputs[rows, codes] = np.log(TOLD_SHARE)
            right[rows, 0] = codes
        return EncodedSplit(columns, np.concatenate([outputs, right], axis=1).astype(np.float32))

    def _right(self, split: str) -> NDArray[np.float64]:
        target = np.asarray(self._prepared.split(split).target)[self._some(split)]
        return target.reshape(len(target), -1).astype(np.float64)

    def _teaching(self, split: str) -> tuple[Callable[[int, int], NDArray[np.float32]], int]:
        """What answers rows from one place to another, and how many rows there are."""
        if split != "lesson":
            # They lie encoded already: a photo need not be decoded once more.
            found = self._prepared.split(split)
            encoded = EncodedRows(found.columns, found.num_rows)
            places = np.arange(found.num_rows)[self._some(split)]

            def known(start: int, stop: int) -> NDArray[np.float32]:
                return self._teacher.outputs(encoded, places[start:stop])

            return known, len(places)
        values = self._values(split)

        def new(start: int, stop: int) -> NDArray[np.float32]:
            some = {name: column[start:stop] for name, column in values.items()}
            return self._teacher.outputs(self._teacher.encode(some))

        return new, len(next(iter(values.values())))

    def _asked(self, split: str) -> NDArray[np.float32]:
        """What the teacher answers, in parts that outlive a killed process."""
        if split in self._answers:
            return self._answers[split]
        folder = self._scratch / "answers" / split
        folder.mkdir(parents=True, exist_ok=True)
        answer, num_rows = self._teaching(split)
        files = {start: folder / f"{start:09}.npy" for start in range(0, num_rows, ANSWER_ROWS)}

        def ask(start: int) -> None:
            self.watch("asking the teacher", start, num_rows)
            outputs = answer(start, min(num_rows, start + ANSWER_ROWS))
            half = files[start].with_suffix(".half")
            with half.open("wb") as stream:
                np.save(stream, outputs.reshape(len(outputs), -1))
            half.replace(files[start])

        # Parts side by side, each on one core: how several cores share a sum decides its last
        # digits, and the same turn must teach the same student.
        with ThreadPoolExecutor(available_cores()) as pool:
            asked = [pool.submit(ask, start) for start in files if not files[start].exists()]
            try:
                for each in asked:
                    each.result()
            finally:
                pool.shutdown(cancel_futures=True)
        parts = [np.load(file, mmap_mode="r") for file in files.values()]
        self._answers[split] = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
        return self._answers[split]
