"""Number: a measurement, an amount, a count. As the target it asks for regression."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.columns._decimal_comma import SIGNS, has_decimal_commas, with_point
from volano.columns._missing import is_missing
from volano.errors import BundleError, DataError, RequestError, shorten

__all__ = [
    "LARGEST_SCALED",
    "FittedNumber",
    "NumberColumn",
    "NumberOptions",
    "are_numbers",
    "moments",
    "parse_number",
    "parse_numbers",
]

_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")

QUANTILES = 129
"""Knots of a quantile scale: the share below a value is known to less than one in a hundred."""

LARGEST_SCALED = 1e20
"""Where scaled values are cut: a value of 1e300 must not become infinite, nor a weight times it."""

LARGEST_TARGET = 1e30
"""Beyond it the squares of errors are no numbers any more."""

FEWEST_DIGITS = 1e-5
"""Least spread of a target as a share of its size: answers are float32 numbers of seven digits, and
those that differ only in the last two would all be the same."""

HEAVY_TAILS = 20.0
"""How many times the interquartile range the largest deviation may be before ``auto`` takes the
scale from the quartiles: beyond it a few values would squeeze all others together."""


class NumberOptions(BaseModel):
    """Options of a number column.

    Attributes:
      scale: ``standard``: mean 0 and deviation 1. ``robust``: median 0 and quartiles at about
        -0.67 and 0.67, as of a normal distribution. ``quantile``: the share of the training rows
        below, 0 to 1. ``auto``: standard, or robust where outliers would rule. Trees do not mind.
      decimal: What stands before the decimals in tables and in texts of requests: with ``,``,
        ``1.101,79`` is 1101.79, and ``1.101`` is 1101.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    scale: Literal["auto", "standard", "robust", "quantile", "none"] = "auto"
    decimal: Literal[".", ","] = "."


def parse_number(value: object) -> float | None:
    """A raw value as a number; None when it is none. Missing is NaN.

    Reads ``1,234.5``, ``$ 12``, ``12 %`` (as 12) and plain Python floats, but not infinity.

    Example:
      >>> parse_number("1,234.50"), parse_number("twelve"), parse_number("")
      (1234.5, None, nan)
    """
    if is_missing(value):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # Python reads 2020_01 as a number, and no table means it
    try:
        number = float(value)
    except OverflowError:
        return None
    except ValueError:
        text = SIGNS.sub(r"\1", str(value).strip())
        if _GROUPED.fullmatch(text):
            text = text.replace(",", "")
        try:
            number = float(text)
        except ValueError:
            return None
    return None if math.isinf(number) else number


def parse_numbers(values: Sequence[object]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Raw values as numbers, NaN where there is none, and which of them could not be read."""
    try:
        if any(isinstance(v, bool) or (isinstance(v, str) and "_" in v) for v in values):
            raise ValueError("slowly")
        found = np.array(values, np.float64)
        if found.ndim != 1:
            raise ValueError("lists")
        # "inf" and "1e999" parse, and are no measurements.
        unreadable = np.isinf(found)
    except (ValueError, TypeError, OverflowError):
        parsed = [parse_number(value) for value in values]
        unreadable = np.fromiter((item is None for item in parsed), np.bool_, len(parsed))
        found = np.fromiter(
            (math.nan if item is None else item for item in parsed), np.float64, len(parsed)
        )
    found[unreadable] = np.nan
    return found, unreadable


def are_numbers(present: Sequence[str]) -> bool:
    """Whether raw values are all numbers, with a point before their decimals or with a comma."""
    unreadable = parse_numbers(present)[1]
    if not unreadable.any():
        return True
    if not has_decimal_commas(present, unreadable.tolist()):
        return False
    return not parse_numbers([with_point(value) for value in present])[1].any()


@dataclass(frozen=True)
class FittedNumber:
    """A number and the scale on which models see it.

    Attributes:
      centre: What becomes 0.
      spread: What becomes 1; never 0.
      knots: Quantiles of the training rows for the quantile scale, ascending; else empty.
      low: The smallest training value.
      high: The largest.
      whole: Whether every training value is a whole number.
      decimal: What stands before the decimals in the texts of a request. What is encoded or
        learned has a point: tables are read by `NumberColumn.plain`.
    """

    kind: ClassVar[str] = "number"
    name: str
    centre: float
    spread: float
    knots: tuple[float, ...]
    low: float
    high: float
    whole: bool
    decimal: str = "."

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the values that `encode` makes of one value."""
        return (self.name,)

    def check(self, value: object) -> float | None:
        if value is None:
            return None
        comma = self.decimal == "," and isinstance(value, str)
        number = parse_number(with_point(value) if comma else value)  # type: ignore[arg-type]
        if number is None:
            raise RequestError(
                13,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected="a finite number, or null for none",
            )
        return None if math.isnan(number) else number

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        middle = min(max(self.centre, self.low), self.high)
        example = round(middle) if self.whole else float(f"{middle:.3g}")
        return {"type": ["number", "null"], "examples": [example]}

    def facts(self) -> dict[str, Any]:
        """The range of the training rows."""
        return {"low": self.low, "high": self.high, "whole": self.whole}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Numbers on the fitted scale, float32, shape (num_rows, 1); NaN for missing ones.

        Counts ``missing`` and ``unreadable`` values, and those ``outside`` the training rows.
        """
        numbers, unreadable = parse_numbers(values)
        outside = (numbers < self.low) | (numbers > self.high)
        counts = {
            "missing": int(np.isnan(numbers).sum() - unreadable.sum()),
            "unreadable": int(unreadable.sum()),
            "outside": int(outside.sum()),
        }
        notes = {
            int(row): f"{self.name}: {shorten(values[row])} is no number"
            for row in np.flatnonzero(unreadable)[:1000]
        }
        notes |= {
            int(row): f"{self.name}: {numbers[row]:.6g} is outside the training rows, which go "
            f"from {self.low:.6g} to {self.high:.6g}"
            for row in np.flatnonzero(outside)[:1000]
        }
        return Encoded({"values": self.scaled(numbers)[:, None]}, counts, notes)

    def scaled(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Numbers on the scale; reckoned in float64, since large numbers differ in few digits."""
        if self.knots:
            # The knots may repeat (many equal values): the middle of the run, as for ties.
            knots = np.asarray(self.knots)
            shares = np.linspace(0, 1, len(knots))
            below = np.interp(numbers, knots, shares)
            above = 1 - np.interp(-numbers, -knots[::-1], shares)
            scaled = (below + above) / 2
            scaled[np.isnan(numbers)] = np.nan
        else:
            with np.errstate(over="ignore"):
                scaled = (numbers - self.centre) / self.spread
        return np.asarray(np.clip(scaled, -LARGEST_SCALED, LARGEST_SCALED), np.float32)

    def numbers(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Target values as they are, float64, shape (num_rows,); NaN for missing ones."""
        return parse_numbers(values)[0]

    def targets(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """What a task learns: the numbers as they are."""
        return self.numbers(values)

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        values = encoded.arrays["values"]
        assert isinstance(values, np.ndarray)
        return {f"{self.name}.values": values[rows]}

    def save(self, folder: Path) -> None:
        state = {
            "centre": self.centre,
            "spread": self.spread,
            "knots": list(self.knots),
            "low": self.low,
            "high": self.high,
            "whole": self.whole,
        }
        if self.decimal != ".":
            state["decimal"] = self.decimal
        (folder / "number.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["number.json"])
            fields = [float(state[key]) for key in ("centre", "spread", "low", "high")]
            knots = tuple(float(knot) for knot in state["knots"])
            if not all(map(math.isfinite, (*fields, *knots))) or fields[1] <= 0:
                raise ValueError(f"its numbers are {fields}")
            whole, decimal = bool(state["whole"]), str(state.get("decimal", "."))
            return cls(name, fields[0], fields[1], knots, fields[2], fields[3], whole, decimal)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error


class NumberColumn:
    """Measurements such as ``12``, ``-0.5``, ``1,234.50``."""

    kind: ClassVar[str] = "number"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "both"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    hint: ClassVar[str] = "{type: number, scale: auto}   # scale: standard, robust, quantile, none"
    Options: ClassVar[type[BaseModel]] = NumberOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedNumber

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        present = [value for value in values if not is_missing(value)]
        if not present:
            return Inference(0.0, "no values")
        numbers, unreadable = parse_numbers(present)
        options: dict[str, Any] = {}
        written = ""
        texts = [str(value) for value in present]
        if has_decimal_commas(texts, unreadable.tolist()):
            one = next(text for text in texts if "," in text and with_point(text) != text)
            written = f", with a comma before the decimals as in {one.strip()[:24]!r}"
            options = {"decimal": ","}
            present = [with_point(text) for text in texts]
            numbers, unreadable = parse_numbers(present)
        share = 1 - float(unreadable.mean())
        if share < 0.9:
            return Inference(0.0, f"{share:.0%} of the values are numbers")
        numbers = numbers[~unreadable]
        distinct = len(np.unique(numbers))
        whole = bool((numbers == np.round(numbers)).all())
        reason = (
            f"{'whole ' if whole else ''}numbers from {numbers.min():g} to {numbers.max():g}, "
            f"{distinct} different{written}"
        )
        if distinct == 1:
            return Inference(0.1, reason, options)
        if whole and _numbers_rows(numbers):
            return Inference(0.0, "a number for each row, one after the other")
        # 0.0 and 1.0 are written as measurements are: the next row may have 2.0.
        pointed = any("." in str(value) for value in present)
        few = distinct <= 20 if use == "target" else distinct <= 2 and not pointed
        # Stars, grades and yes or no as 0 and 1 are names of classes when they are the target.
        return Inference(0.4 if whole and few else 0.95 * share, reason, options)

    @staticmethod
    def plain(options: Mapping[str, Any]) -> Callable[[str], str] | None:
        """What makes cells of a table such as all later steps read them; None for as they are."""
        return with_point if options.get("decimal", ".") == "," else None

    @staticmethod
    def refuse(value: str) -> str | None:
        number = parse_number(value)
        if number is None:
            return "is no number"
        if abs(number) > LARGEST_TARGET:
            return "is larger than a model can answer"
        return "no target" if math.isnan(number) else None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedNumber:
        numbers, _ = parse_numbers(list(values))
        decimal = options.get("decimal", ".")
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            return FittedNumber(name, 0.0, 1.0, (), 0.0, 0.0, False, decimal)
        low, high = float(numbers.min()), float(numbers.max())
        if use == "target" and low < high:
            _check_digits(name, numbers)
        whole = bool((numbers == np.round(numbers)).all())
        scale = options.get("scale", "auto")
        if low == high and scale != "none":
            # Rounding alone would give 0.1, 0.1, 0.1 a deviation of 1e-17, to be divided by.
            return FittedNumber(name, low, 1.0, (), low, high, whole, decimal)
        first, median, third = np.quantile(numbers, [0.25, 0.5, 0.75])
        if scale == "auto":
            # Halves, since the difference of two numbers may be too large for a number.
            width = third / 2 - first / 2
            longest = max(high / 2 - median / 2, median / 2 - low / 2)
            tails = width > 0 and longest / HEAVY_TAILS > width
            scale = "robust" if tails else "standard"
        knots: tuple[float, ...] = ()
        centre, spread = moments(numbers)
        if scale == "robust" and third > first:
            # The quartiles of a normal distribution are 1.349 deviations apart.
            centre, spread = float(median), float(third / 1.349 - first / 1.349)
        elif scale == "quantile":
            found = np.quantile(numbers, np.linspace(0, 1, QUANTILES))
            knots = tuple(float(knot) for knot in found)
        elif scale == "none":
            centre, spread = 0.0, 1.0
        if not (math.isfinite(spread) and spread > 0):
            spread = 1.0
        return FittedNumber(name, centre, spread, knots, low, high, whole, decimal)


def moments(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation, also of numbers whose sum or square is too large for a number."""
    # A power of two, so that dividing by it changes no digit.
    size = 2.0 ** max(0, math.frexp(float(np.abs(numbers).max()))[1] - 400)
    part = numbers / size
    return float(part.mean()) * size, min(float(part.std()) * size, sys.float_info.max)


def _check_digits(name: str, numbers: NDArray[np.float64]) -> None:
    """Refuse a target whose values agree in nearly all the digits that an answer has."""
    size, spread = float(np.abs(numbers).max()), float(numbers.std())
    if spread < FEWEST_DIGITS * size:
        raise DataError(
            505,
            f"the values differ by about {spread:.3g} and are about {size:.3g} large: answers have "
            "seven digits, and the first five of them would always be the same",
            where=name,
            expected="a target that varies by more than a hundred-thousandth of its size",
            fix=f"subtract {float(np.median(numbers)):.12g} from every {name}, and add it to the "
            "answers",
        )


def _numbers_rows(numbers: NDArray[np.float64]) -> bool:
    """Whether these are row numbers: one more each time."""
    return len(numbers) > 20 and bool((np.diff(numbers) == 1).all())
