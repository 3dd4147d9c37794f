"""Datetime: a moment, and what of it repeats: the month, the weekday, the hour."""

from __future__ import annotations

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

_FORMATS = (
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d %b %Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%Y-%m",
)
"""Tried in this order on what is not ISO 8601: with slashes the month comes first if it can."""

_DATE = re.compile(
    r"\d{4}-?\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{4}|\d{4}/\d|[A-Za-z]{3,}\s+\d|\d+\s+[A-Za-z]{3}"
)
_DAY = 86_400.0
_PARTS = ("moment", "year", "month", "day", "weekday", "hour", "month_sin", "month_cos",
          "weekday_sin", "weekday_cos", "hour_sin", "hour_cos")  # fmt: skip


class DatetimeOptions(BaseModel):
    """A datetime has no options yet."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def parse_moment(value: object) -> float | None:
    """Seconds since 1970 in UTC; NaN for missing, None for what is no moment.

    Reads ISO 8601 in all its forms and the commonest others. A moment without a zone counts as
    UTC: the hour that is written is the hour that is learned.

    Example:
      >>> parse_moment("1970-01-02"), parse_moment("02.01.1970 12:00"), parse_moment("soon")
      (86400.0, 129600.0, None)
    """
    if is_missing(value):
        return math.nan
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not _DATE.match(text):
        return None
    moment = None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        for form in _FORMATS:
            try:
                moment = datetime.datetime.strptime(text, form)
            except ValueError:
                continue
            break
    if moment is None:
        return None
    # The wall clock of the moment's own zone: people and shops live by it.
    return (moment.replace(tzinfo=None) - datetime.datetime(1970, 1, 1)).total_seconds()


@dataclass(frozen=True)
class FittedDatetime:
    """Which parts of a moment vary in the training rows, and the scale of the moment itself.

    Attributes:
      middle: Seconds since 1970 that become 0: the middle of the training rows.
      spread: Seconds that become 1.
      parts: Names of the values that `encode` makes of one moment.
    """

    kind: ClassVar[str] = "datetime"
    name: str
    middle: float
    spread: float
    parts: tuple[str, ...]

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
        parsed = [parse_moment(value) for value in values]
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
        state = {"middle": self.middle, "spread": self.spread, "parts": list(self.parts)}
        (folder / "datetime.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["datetime.json"])
            middle, spread = float(state["middle"]), float(state["spread"])
            parts = tuple(str(part) for part in state["parts"])
            if not (math.isfinite(middle) and spread > 0 and parts and set(parts) <= set(_PARTS)):
                raise ValueError(f"its parts are {parts}")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, middle, spread, parts)


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
        parsed = [parse_moment(value) for value in values]
        seconds = np.array([found for found in parsed if found is not None], np.float64)
        seconds = seconds[~np.isnan(seconds)]
        if not len(seconds):
            return FittedDatetime(name, 0.0, 1.0, ("moment",))
        table = _split(seconds)
        # A part that never changes says nothing: dates have no hours.
        varying = {part for part, found in table.items() if np.ptp(found) > 1e-9}
        parts = ("moment", *(part for part in _PARTS[1:] if part in varying))
        return FittedDatetime(name, float(np.median(seconds)), float(seconds.std()) or 1.0, parts)
