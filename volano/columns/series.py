"""Series: numbers in time order. As the target it asks for a forecast of the table's next rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Use, Windows
from volano.columns._missing import is_missing
from volano.columns._series_cells import (
    carry_on,
    fill_gaps,
    parse_channels,
    parse_series,
    series_numbers,
)
from volano.errors import BundleError, RequestError, shorten

__all__ = [
    "FittedSeries",
    "SeriesColumn",
    "SeriesOptions",
    "carry_on",
    "fill_gaps",
    "parse_channels",
    "parse_series",
    "series_numbers",
]

LONGEST_WINDOW = 512
"""Values of a series in a cell that are read at the most, unless ``window`` says otherwise."""

READABLE = 0.9
"""Share of a sample's cells that have to be lists of numbers."""

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
      ahead: As a target: inputs that are known of the steps to come, numbers or flags; the column
        of moments among them has the calendar of the date itself looked at.
      static: As a target: inputs that stay the same, in one table or in one group of it.
      group: As a target: the input that names the group of each row, such as a shop or a sensor.
      encoder: As an input: what a network reads it with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    horizon: int = Field(24, ge=1, le=10_000)
    window: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = "auto"
    season: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = "auto"
    also: list[str] = []
    ahead: list[str] = []
    static: list[str] = []
    group: str | None = None
    encoder: Literal["auto", "conv", "gru", "lstm", "rnn"] = "auto"


@dataclass(frozen=True)
class FittedSeries:
    """The scale of one or several series, how far a model looks back, and how far ahead.

    Attributes:
      columns: The series, in the order of the model's outputs; of an input its own name alone, or
        ``name[0]``, ``name[1]``, ... where each cell holds several.
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
      encoder: Of an input of cells: what a network reads it with.
      group: The column of a table that names the group of each row; empty where all are one.
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
    encoder: str = "auto"
    group: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the values that `encode` makes of one value: ``name[-1]`` is the latest."""
        return tuple(
            f"{column}[{place - self.window}]"
            for column in self.columns
            for place in range(self.window)
        )

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        steps = {"type": "array", "items": {"type": ["number", "null"]}}
        if not self.horizon:
            one = {**steps, "minItems": 1 + self.ahead, "examples": [[1.5, 1.7, 1.6]]}
            if self.ahead:
                one["examples"] = [[1.0] * (1 + self.ahead)]
            if len(self.columns) == 1:
                return one
            num = len(self.columns)
            several = {"type": "array", "items": steps, "minItems": num, "maxItems": num}
            return {**several, "examples": [[[1.5, 1.7, 1.6]] * num]}
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
        elif len(self.columns) > 1:
            found["series"] = list(self.columns)
        if self.ahead:
            found = {"window": self.window - self.ahead, "ahead": self.ahead}
        return found

    def check(self, value: object) -> Any:
        if self.horizon:
            return self._checked_target(value)
        if self.ahead and isinstance(value, (list, tuple)):
            # A holiday is yes or no.
            value = [int(item) if isinstance(item, bool) else item for item in value]
        found = parse_channels(value)
        num = len(self.columns)
        if (
            found is None
            or len(found) != num
            or not (~np.isnan(found)).any()
            or found.shape[1] <= self.ahead
        ):
            raise RequestError(
                25,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected=self._expected(),
            )
        plain = [[None if math.isnan(item) else item for item in row] for row in found.tolist()]
        return plain[0] if num == 1 else plain

    def _expected(self) -> str:
        if self.ahead:
            past = self.window - self.ahead
            return (
                f"a list of numbers: up to {past} that were, then the {self.ahead} to come, which "
                "are known ahead"
            )
        latest = f"the latest last; the last {self.window} are used"
        if len(self.columns) == 1:
            return f"a list of numbers, {latest}"
        return f"{len(self.columns)} equally long lists of numbers, {latest}"

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
        """The last ``window`` values of each on the fitted scale, float32.

        Gaps within are filled along a straight line, a series that is too short is filled up at
        its start with its first value; both are counted and noted.

        Returns:
          ``values``, shape (num_rows, window); of several series (num_rows, series x window).
        """
        num = len(self.columns)
        array = np.zeros((len(values), num, self.window))
        counts = {"short": 0, "filled": 0, "missing": 0, "unreadable": 0}
        notes: dict[int, str] = {}
        for row, value in enumerate(values):
            found = parse_channels(value)
            if found is None or len(found) != num or np.isnan(found).all():
                absent = is_missing(value) or (found is not None and np.isnan(found).all())
                counts["missing" if absent else "unreadable"] += 1
                array[row] = np.array(self.centres)[:, None]
                what = "series of numbers" if num == 1 else f"{num} series of numbers"
                why = "holds no number" if absent else f"{shorten(value)} is no {what}"
                notes[row] = f"{self.name}: {why}; the mean of the training rows stands for it"
                continue
            found = found[:, -self.window :]
            num_missing = int(np.isnan(found).sum())
            said = []
            if num_missing:
                counts["filled"] += num_missing
                said.append(f"{num_missing} missing values were filled")
            short = self.window - found.shape[1]
            if short:
                counts["short"] += 1
                said.append(
                    f"{found.shape[1]} values where {self.window} are looked at; "
                    "the first was repeated"
                )
            for place, one in enumerate(found):
                fill = carry_on if self.ahead else fill_gaps
                filled = fill(one) if num_missing else one
                # One of several may hold nothing at all.
                filled = np.where(np.isnan(filled), self.centres[place], filled)
                array[row, place, short:] = filled
                array[row, place, :short] = filled[0]
            if said:
                notes[row] = f"{self.name}: " + ", ".join(said)
        scaled = [self.scaled(array[:, place], place) for place in range(num)]
        return Encoded({"values": np.concatenate(scaled, axis=1)}, counts, notes)

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
            **({"encoder": self.encoder} if self.encoder != "auto" else {}),
            **({"group": self.group} if self.group else {}),
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
            str(state.get("encoder", "auto")),
            str(state.get("group", "")),
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
        found = [parse_channels(value) for value in present]
        counts = Counter(len(item) for item in found if item is not None)
        if counts:
            # As many series as most cells have; what has others cannot be read.
            usual = counts.most_common(1)[0][0]
            found = [None if item is None or len(item) != usual else item for item in found]
        lengths = sorted(item.shape[1] for item in found if item is not None)
        share = len(lengths) / len(found)
        if share < READABLE or lengths[-1] < 4:
            return Inference(0.0, f"{share:.0%} of the cells are lists of numbers")
        odd = "" if share == 1 else f"; {len(found) - len(lengths)} cannot be read"
        if usual != 1:
            shown = (
                f"{lengths[0]} to {lengths[-1]} numbers"
                if lengths[0] < lengths[-1]
                else (f"{lengths[0]} numbers")
            )
            return Inference(share, f"{usual} series of {shown} in each cell{odd}")
        # Of one length they are vectors, of which each place has a meaning of its own.
        score = 0.6 if lengths[0] == lengths[-1] else 1.0
        reason = f"{lengths[0]} to {lengths[-1]} numbers in each cell{odd}"
        return Inference(score * share, reason)

    @staticmethod
    def refuse(value: str) -> str | None:
        found = series_numbers([value])
        return "is no number" if found[1][0] else None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedSeries:
        """An input of cells. A target is fitted by `volano.data`, which puts rows in time order."""
        del use
        # One pass, as a stream: cells with more or fewer series than the first count for nothing.
        count = total = squares = np.zeros(0)
        longest = 1
        for value in values:
            found = parse_channels(value)
            if found is None or not found.shape[1]:
                continue
            if not len(count):
                count, total, squares = (np.zeros(len(found)) for _ in range(3))
            if len(found) != len(count):
                continue
            known = np.nan_to_num(found)
            count += (~np.isnan(found)).sum(axis=1)
            total += known.sum(axis=1)
            squares += (known**2).sum(axis=1)
            longest = max(longest, found.shape[1])
        if not len(count):
            count, total, squares = (np.zeros(1) for _ in range(3))
        mean = total / np.maximum(count, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0))
        spread[spread == 0] = 1.0
        window = options.get("window", "auto")
        if window == "auto":
            window = min(longest, LONGEST_WINDOW)
        num = len(mean)
        columns = (name,) if num == 1 else tuple(f"{name}[{place}]" for place in range(num))
        return FittedSeries(
            name,
            columns,
            tuple(mean.tolist()),
            tuple(spread.tolist()),
            int(window),
            encoder=options.get("encoder", "auto"),
        )
