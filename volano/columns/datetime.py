"""Datetime: a moment, and what of it repeats: the month, the weekday, the hour."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.columns._missing import is_missing
from volano.errors import BundleError, RequestError, shorten

__all__ = ["DatetimeColumn", "DatetimeOptions", "FittedDatetime", "parse_moment"]

_TIME = r"(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([AaPp][Mm])?)?"
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})" + _TIME)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})" + _TIME)
_FORMATS = ("%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%Y")
_NAMED = re.compile(r"(?:\d{1,2}[ -])?[A-Za-z]{3,9}[ -]\d")
_MONTH = re.compile(r"(\d{4})[-/](\d{1,2})")
_DAY = 86_400.0
_PARTS = ("moment", "year", "month", "day", "weekday", "hour", "month_sin", "month_cos",
          "weekday_sin", "weekday_cos", "hour_sin", "hour_cos")  # fmt: skip


class DatetimeOptions(BaseModel):
    """A datetime has no options yet."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def parse_moment(value: object, *, day_first: bool = False) -> float | None:
    """Seconds since 1970; NaN for missing, None for what is no moment.

    Reads ISO 8601 in all its forms and the commonest others. The wall clock of the moment's own
    zone counts: people and shops live by it, and the hour that is written is the hour learned.

    Args:
      value: Raw.
      day_first: Whether 01/02/2026 is in February. Where only one reading is a date, that one
        counts; with dots the day always comes first.
    Example:
      >>> parse_moment("1970-01-02"), parse_moment("02.01.1970 12:00"), parse_moment("soon")
      (86400.0, 129600.0, None)
    """
    if is_missing(value):
        return math.nan
    if not isinstance(value, str):
        return None
    moment = _read(value.strip(), day_first)
    if moment is None:
        return None
    return (moment.replace(tzinfo=None) - datetime.datetime(1970, 1, 1)).total_seconds()


def _read(text: str, day_first: bool) -> datetime.datetime | None:
    if not (text[:1].isdigit() or text[:1].isalpha()) or len(text) < 6:
        return None
    try:
        if found := _YEAR_FIRST.fullmatch(text):
            return _moment(found[1], found[3], found[4], found.groups()[4:])
        if found := _YEAR_LAST.fullmatch(text):
            orders = [(found[3], found[1]), (found[1], found[3])]
            if not (day_first or found[2] == "."):
                orders.reverse()
            month, day = next((pair for pair in orders if int(pair[0]) <= 12), orders[0])
            return _moment(found[4], month, day, found.groups()[4:])
        if found := _MONTH.fullmatch(text):
            return _moment(found[1], found[2], "1", (None,) * 4)
        if _NAMED.match(text):
            for form in _FORMATS:
                with contextlib.suppress(ValueError):
                    return datetime.datetime.strptime(text, form)
            return None
        # Seven digits and fewer are counts and amounts.
        return datetime.datetime.fromisoformat(text) if len(text) > 7 else None
    except ValueError:
        return None


def _moment(year: str, month: str, day: str, clock: tuple[str | None, ...]) -> datetime.datetime:
    hour, minute, second = (int(part or 0) for part in clock[:3])
    if clock[3]:
        if not 1 <= hour <= 12:
            raise ValueError(hour)
        hour = hour % 12 + 12 * (clock[3].lower() == "pm")
    return datetime.datetime(int(year), int(month), int(day), hour, minute, second)


def _writes_day_first(values: Sequence[object]) -> bool:
    """Whether dates such as 13/02/2026 are commoner than such as 02/13/2026."""
    evidence = 0
    for value in values:
        found = _YEAR_LAST.fullmatch(value.strip()) if isinstance(value, str) else None
        if found:
            evidence += (int(found[1]) > 12) - (int(found[3]) > 12)
    return evidence > 0


@dataclass(frozen=True)
class FittedDatetime:
    """Which parts of a moment vary in the training rows, and the scale of the moment itself.

    Attributes:
      middle: Seconds since 1970 that become 0: the middle of the training rows.
      spread: Seconds that become 1.
      parts: Names of the values that `encode` makes of one moment.
      day_first: Whether the training rows write 13/02/2026, and so mean February by 01/02/2026.
    """

    kind: ClassVar[str] = "datetime"
    name: str
    middle: float
    spread: float
    parts: tuple[str, ...]
    day_first: bool = False

    def check(self, value: object) -> str | None:
        if value is None:
            return None
        if parse_moment(value) is None:
            raise RequestError(
                15,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected="a moment such as 2026-01-31 or 2026-01-31T12:00, or null for none",
            )
        return str(value)

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        days = min(max(self.middle // _DAY, 0.0), 40_000.0)
        example = datetime.datetime(1970, 1, 1) + datetime.timedelta(days=days)
        return {
            "type": ["string", "null"],
            "format": "date-time",
            "examples": [f"{example.isoformat()}Z"],
        }

    def encode(self, values: Sequence[Any]) -> Encoded:
        """The fitted parts, float32, shape (num_rows, len(parts)); NaN for missing moments."""
        parsed = [parse_moment(value, day_first=self.day_first) for value in values]
        unreadable = [row for row, found in enumerate(parsed) if found is None]
        seconds = np.array([math.nan if found is None else found for found in parsed], np.float64)
        table = _split(seconds)
        table["moment"] = (seconds - self.middle) / self.spread
        columns = [table[part] for part in self.parts]
        array = np.stack(columns, axis=1) if len(values) else np.zeros((0, len(self.parts)))
        counts = {
            "missing": int(np.isnan(seconds).sum()) - len(unreadable),
            "unreadable": len(unreadable),
        }
        notes = {
            row: f"{self.name}: {shorten(values[row])} is no moment" for row in unreadable[:1000]
        }
        return Encoded({"values": array.astype(np.float32)}, counts, notes)

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        values = encoded.arrays["values"]
        assert isinstance(values, np.ndarray)
        return {f"{self.name}.values": values[rows]}

    def save(self, folder: Path) -> None:
        state = {
            "middle": self.middle,
            "spread": self.spread,
            "parts": list(self.parts),
            "day_first": self.day_first,
        }
        (folder / "datetime.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["datetime.json"])
            middle, spread = float(state["middle"]), float(state["spread"])
            parts = tuple(str(part) for part in state["parts"])
            day_first = bool(state["day_first"])
            if not (math.isfinite(middle) and spread > 0 and parts and set(parts) <= set(_PARTS)):
                raise ValueError(f"its parts are {parts}")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, middle, spread, parts, day_first)


def _split(seconds: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The parts of moments; each about 0 to 1, or on a circle where its end meets its start."""
    known = np.where(np.isnan(seconds), 0.0, seconds)
    days = np.floor(known / _DAY)
    dates = days.astype("int64").astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    years = dates.astype("datetime64[Y]")
    month = (months - years).astype(np.float64)
    weekday = (days + 3) % 7  # 1 January 1970 was a Thursday
    hour = (known - days * _DAY) / 3600
    parts: dict[str, NDArray[np.float64]] = {
        "year": (years.astype(np.int64) + 1970 - 2000) / 50.0,
        "month": month / 12,
        "day": (dates - months).astype(np.float64) / 31,
        "weekday": weekday / 7,
        "hour": hour / 24,
    }
    for name, value, period in (("month", month, 12), ("weekday", weekday, 7), ("hour", hour, 24)):
        parts[f"{name}_sin"] = np.sin(2 * np.pi * value / period)
        parts[f"{name}_cos"] = np.cos(2 * np.pi * value / period)
    for value in parts.values():
        value[np.isnan(seconds)] = np.nan
    return parts


class DatetimeColumn:
    """Dates and moments such as ``2026-01-31`` or ``31.01.2026 12:00``."""

    kind: ClassVar[str] = "datetime"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = DatetimeOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedDatetime

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        present = [value for value in values if not is_missing(value)]
        if not present:
            return Inference(0.0, "no values")
        share = sum(parse_moment(value) is not None for value in present) / len(present)
        if share < 0.9:
            return Inference(0.0, f"{share:.0%} of the values are moments")
        return Inference(0.97 * share, f"moments such as {str(present[0]).strip()[:24]!r}")

    @staticmethod
    def refuse(value: str) -> str | None:
        return "is no moment" if parse_moment(value) is None else None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedDatetime:
        del options, use
        written = list(values)
        day_first = _writes_day_first(written)
        parsed = [parse_moment(value, day_first=day_first) for value in written]
        seconds = np.array([found for found in parsed if found is not None], np.float64)
        seconds = seconds[~np.isnan(seconds)]
        if not len(seconds):
            return FittedDatetime(name, 0.0, 1.0, ("moment",), day_first)
        table = _split(seconds)
        # A part that never changes says nothing: dates have no hours.
        varying = {part for part, found in table.items() if np.ptp(found) > 1e-9}
        parts = ("moment", *(part for part in _PARTS[1:] if part in varying))
        spread = float(seconds.std()) if np.ptp(seconds) else 1.0
        return FittedDatetime(name, float(np.median(seconds)), spread, parts, day_first)
