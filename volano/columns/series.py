"""Series: numbers in time order. As the target it asks for a forecast of the table's next rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Use, Windows
from volano.columns._missing import is_missing
from volano.columns.number import parse_numbers
from volano.errors import BundleError, RequestError, shorten

__all__ = ["FittedSeries", "SeriesColumn", "SeriesOptions", "parse_series"]

LONGEST_WINDOW = 512
"""Values of a series in a cell that are read at the most, unless ``window`` says otherwise."""

_LARGEST = float(np.finfo(np.float32).max) / 4

Floats = NDArray[np.float64]


class SeriesOptions(BaseModel):
    """Options of a series.

    Attributes:
      horizon: As a target: how many steps to forecast.
      window: How many steps a model looks back. ``auto``: as an input the longest series of the
        training rows, 512 at the most; as a target 336, less in a short table.
      season: As a target: steps until the series repeats itself, such as 24 for hours of a day.
        ``auto`` goes by the distance of the rows, then by autocorrelation.
      also: As a target: other columns of numbers, among the inputs, to be forecast with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    horizon: int = Field(24, ge=1, le=10_000)
    window: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = "auto"
    season: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = "auto"
    also: list[str] = []


def parse_series(value: object) -> Floats | None:
    """Numbers of a cell or a request: a list, or numbers between spaces, commas or semicolons.

    Returns:
      Shape (length,), NaN for a missing value within; empty for nothing at all; None when
      something in it is no finite number.
    Example:
      >>> parse_series("1 2,5")
      array([1., 2., 5.])
      >>> parse_series([1, None]), parse_series("a b")
      (array([ 1., nan]), None)
    """
    if isinstance(value, np.ndarray):
        plain: Floats | None = None
        if value.ndim == 1 and value.dtype.kind in "fiu":
            plain = value.astype(np.float64, copy=False)
        return None if plain is None or np.isinf(plain).any() else plain
    if is_missing(value):
        return np.zeros(0)
    parts: Sequence[object]
    if isinstance(value, str):
        parts = value.strip().strip("[]()").replace(",", " ").replace(";", " ").split()
    elif isinstance(value, (list, tuple)):
        parts = value
    else:
        return None
    types = set(map(type, parts))
    if types & {bool, list, tuple, dict}:
        return None
    found, unreadable = parse_numbers(parts)
    return None if unreadable.any() else found


def fill_gaps(values: Floats) -> Floats:
    """Missing values on the straight line between their neighbours; at the ends the nearest one.

    Returns:
      The same shape, (num_steps,); as it was when nothing is known at all.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) in (0, len(values)):
        return values
    return np.interp(np.arange(len(values)), known, values[known])


@dataclass(frozen=True)
class FittedSeries:
    """The scale of one or several series, how far a model looks back, and how far ahead.

    Attributes:
      columns: The series, in the order of the model's outputs; of an input its own name alone.
      centres: What becomes 0, one for each series: the mean of the training rows.
      spreads: What becomes 1; none is 0.
      window: Steps that a model sees.
      horizon: Steps to forecast; 0 for an input.
      season: Steps until the series repeat themselves; 1 when they do not.
      step: Text such as ``3600 s`` or ``1 months``: the time between two steps; empty without
        dates.
      date: The column of moments in tables; empty where rows are steps by their order alone.
      naive_errors: For each series the mean absolute change over one season in the training rows,
        in its own unit: what MASE is measured in; none of an input.
      ahead: Of an input of a forecast that is known ahead: how many of the values of `window` are
        to come, the last ones. 0 for all others.
    """

    kind: ClassVar[str] = "series"
    name: str
    columns: tuple[str, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    window: int
    horizon: int = 0
    season: int = 1
    step: str = ""
    naive_errors: tuple[float, ...] = ()
    date: str = ""
    ahead: int = 0

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the values that `encode` makes of one series: ``name[-1]`` is the latest."""
        return tuple(f"{self.name}[{place - self.window}]" for place in range(self.window))

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        steps = {"type": "array", "items": {"type": ["number", "null"]}}
        if not self.horizon:
            return {**steps, "minItems": 1, "examples": [[1.5, 1.7, 1.6]]}
        return {
            "type": "object",
            "properties": {name: {**steps, "maxItems": self.horizon} for name in self.columns},
            "additionalProperties": False,
            "examples": [{self.columns[0]: [1.5, 1.7, 1.6]}],
        }

    def facts(self) -> dict[str, Any]:
        """What a client should know."""
        found: dict[str, Any] = {"window": self.window}
        if self.step:
            found["step"] = self.step
        if self.horizon:
            found |= {"series": list(self.columns), "horizon": self.horizon, "season": self.season}
        return found

    def check(self, value: object) -> Any:
        if self.horizon:
            return self._checked_target(value)
        found = parse_series(value)
        if found is None or not (~np.isnan(found)).any():
            raise RequestError(
                25,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected=f"a list of numbers, the latest last; the last {self.window} are used",
            )
        if not np.isnan(found).any():
            return found.tolist()
        return [None if math.isnan(item) else item for item in found.tolist()]

    def _checked_target(self, value: object) -> dict[str, list[float | None]]:
        found = {}
        if isinstance(value, Mapping) and value and set(value) <= set(self.columns):
            for name, steps in value.items():
                numbers = parse_series(steps)
                if numbers is not None and 0 < len(numbers) <= self.horizon:
                    found[str(name)] = [None if math.isnan(x) else x for x in numbers.tolist()]
        if not found or len(found) < len(value):  # type: ignore[arg-type]
            raise RequestError(
                25,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected=f"series -> its right values, up to {self.horizon} of them, of "
                + ", ".join(self.columns),
            )
        return found

    def encode(self, values: Sequence[Any]) -> Encoded:
        """The last ``window`` values of each on the fitted scale, float32, (num_rows, window).

        Gaps within are filled along a straight line, a series that is too short is filled up at
        its start with its first value; both are counted and noted.
        """
        array = np.zeros((len(values), self.window))
        counts = {"short": 0, "filled": 0, "unreadable": 0}
        notes: dict[int, str] = {}
        for row, value in enumerate(values):
            found = parse_series(value)
            if found is None or np.isnan(found).all():
                counts["unreadable"] += 1
                array[row] = self.centres[0]
                notes[row] = f"{self.name}: {shorten(value)} is no series of numbers"
                continue
            found = found[-self.window :]
            num_missing = int(np.isnan(found).sum())
            said = []
            if num_missing:
                counts["filled"] += num_missing
                found = fill_gaps(found)
                said.append(f"{num_missing} missing values were filled")
            short = self.window - len(found)
            if short:
                counts["short"] += 1
                said.append(
                    f"{len(found)} values where {self.window} are looked at; the first was repeated"
                )
            array[row, short:] = found
            array[row, :short] = found[0]
            if said:
                notes[row] = f"{self.name}: " + ", ".join(said)
        return Encoded({"values": self.scaled(array, 0)}, counts, notes)

    def scaled(self, values: Floats, place: int) -> NDArray[np.float32]:
        """Values of one of the series on its scale; reckoned in float64."""
        scaled = (values - self.centres[place]) / self.spreads[place]
        return np.asarray(np.clip(scaled, -_LARGEST, _LARGEST), np.float32)

    def unscaled(self, values: NDArray[Any]) -> Floats:
        """Values of all series, shape (..., num_series), in their own units."""
        scaled: Floats = np.asarray(values, np.float64)
        return np.asarray(scaled * np.array(self.spreads) + np.array(self.centres))

    def targets(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """What a task learns: steps to come on the fitted scale.

        Args:
          values: Of each row series -> its values, ``horizon`` of them; NaN stands for those that
            are not there.
        Returns:
          Shape (num_rows, horizon, num_series).
        """
        found = np.full((len(values), self.horizon, len(self.columns)), np.nan)
        for row, value in enumerate(values):
            for place, name in enumerate(self.columns):
                steps = parse_series(value.get(name))
                if steps is not None:
                    steps = steps[: self.horizon]
                    found[row, : len(steps), place] = steps
        return np.asarray((found - np.array(self.centres)) / np.array(self.spreads))

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        values = encoded.arrays["values"]
        assert isinstance(values, (np.ndarray, Windows))
        return {f"{self.name}.values": values[rows]}

    def save(self, folder: Path) -> None:
        state = {
            "columns": list(self.columns),
            "centres": list(self.centres),
            "spreads": list(self.spreads),
            "window": self.window,
            "horizon": self.horizon,
            "season": self.season,
            "step": self.step,
            "naive_errors": list(self.naive_errors),
            "date": self.date,
            **({"ahead": self.ahead} if self.ahead else {}),
        }
        text = json.dumps(state, ensure_ascii=False, indent=1)
        (folder / "series.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["series.json"])
            columns = tuple(str(item) for item in state["columns"])
            centres = tuple(float(item) for item in state["centres"])
            spreads = tuple(float(item) for item in state["spreads"])
            window, horizon, season = (int(state[key]) for key in ("window", "horizon", "season"))
            if not len(columns) == len(centres) == len(spreads) > 0:
                raise ValueError(f"{len(columns)} series, {len(centres)} centres")
            if not all(map(math.isfinite, (*centres, *spreads))) or min(spreads) <= 0:
                raise ValueError("a spread is not above 0")
            if window < 1 or horizon < 0 or season < 1:
                raise ValueError(f"window {window}, horizon {horizon}, season {season}")
            step, date = str(state["step"]), str(state["date"])
            naive_errors = tuple(float(item) for item in state["naive_errors"])
            ahead = int(state.get("ahead", 0))
            if not 0 <= ahead < window:
                raise ValueError(f"ahead {ahead} of {window}")
            if len(naive_errors) not in (0, len(columns)) or not all(e > 0 for e in naive_errors):
                raise ValueError(f"naive_errors {naive_errors}")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(
            name,
            columns,
            centres,
            spreads,
            window,
            horizon,
            season,
            step,
            naive_errors,
            date,
            ahead,
        )


class SeriesColumn:
    """Inputs: cells such as ``0.1 0.4 0.2``, of any length. The target: a table's next rows."""

    kind: ClassVar[str] = "series"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "both"
    content: ClassVar[bool] = True
    names: ClassVar[bool] = False
    hint: ClassVar[str] = "{type: series, window: auto}   # the latest values that are looked at"
    in_order: ClassVar[bool] = True
    """As a target: the rows are steps in time, and examples are windows of them."""
    Options: ClassVar[type[BaseModel]] = SeriesOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedSeries

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        if use == "target":
            # One column alone does not show it: `init` looks at the whole table.
            return Inference(0.0, "a forecast needs a table in time order")
        present = [value for value in values if not is_missing(value)][:500]
        if not present:
            return Inference(0.0, "no values")
        found = [parse_series(value) for value in present]
        lengths = sorted(len(item) for item in found if item is not None)
        if len(lengths) < len(found) or lengths[-1] < 4:
            return Inference(0.0, "not lists of numbers")
        # Of one length they are vectors, of which each place has a meaning of its own.
        score = 0.6 if lengths[0] == lengths[-1] else 0.97
        return Inference(score, f"{lengths[0]} to {lengths[-1]} numbers in each cell")

    @staticmethod
    def refuse(value: str) -> str | None:
        found = parse_numbers([value])
        return "is no number" if found[1][0] else None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedSeries:
        """An input of cells. A target is fitted by `volano.data`, which puts rows in time order."""
        del use
        count, total, squares, longest = 0, 0.0, 0.0, 1
        for value in values:
            found = parse_series(value)
            if found is None:
                continue
            known = found[~np.isnan(found)]
            count += len(known)
            total += float(known.sum())
            squares += float((known**2).sum())
            longest = max(longest, len(found))
        mean = total / max(count, 1)
        spread = math.sqrt(max(squares / max(count, 1) - mean**2, 0.0))
        window = options.get("window", "auto")
        if window == "auto":
            window = min(longest, LONGEST_WINDOW)
        return FittedSeries(name, (name,), (mean,), (spread or 1.0,), int(window))
