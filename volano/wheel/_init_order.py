"""Whether a table is a log, for `volano init`: rows in time order, of one group or of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from volano.columns.datetime import parse_moment
from volano.columns.number import parse_numbers
from volano.data import Step, flags, regular_dates
from volano.errors import shorten
from volano.spec import is_reserved
from volano.wheel._new_spec import quoted

__all__ = ["Log", "log_of"]

Values = Mapping[str, Sequence[str | None]]

FORECAST_STEPS = 24
"""Rows to forecast, unless the spec is changed."""

MOST_NUMBERS = 0.9
"""Share of the values that must be numbers in a column of numbers."""

MOST_GROUPED = 0.9
"""Share of the rows whose group has even steps."""

LEAST_ECHO = 0.2
"""Correlation of a number with the one before it from which rows are steps of one thing."""

MOST_NAMES = 200
"""Different names up to which a column may name groups or stay the same in them."""

_AHEAD = re.compile(
    r"holiday|promo|discount|tariff|planned|schedule|weekend|school|vacation|campaign|feiertag"
    r"|festiv|ferien|vacanz",
    re.IGNORECASE,
)
"""What people call columns of which they know the days to come."""


@dataclass
class Log:
    """What a table in time order would be as a spec.

    Attributes:
      target: The column to forecast.
      kind: The target's type with its options, as the spec has it.
      reason: Why.
      inputs: Column -> type.
      reasons: One line for each other column.
    """

    target: str
    kind: str
    reason: str
    inputs: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def log_of(
    values: Values, target: str | None, labels: frozenset[str]
) -> tuple[Log | None, str | None]:
    """A log that can be forecast, or what is worth a note about one that cannot.

    Without a target the last column of numbers is it; all other numbers are forecast with it.

    Args:
      values: Some rows, by column.
      target: The column to predict; None leaves the choice.
      labels: Names, in lower case, that say that a column is the target.
    Returns:
      The log, or None; and a note, where rows are in time order and yet no log is made of them.
    """
    date, group, step = _dates(values)
    if step is None:
        return None, None
    rest = [name for name in values if name not in (date, group) and not is_reserved(name)]
    numbers = [name for name in rest if _is_number(values[name])]
    flagged = [name for name in rest if name not in numbers and _is_number(flags(values[name]))]
    others = [name for name in rest if name not in numbers and name not in flagged]
    steady = [name for name in others if group and _stays(values[name], values[group])]
    texts = [name for name in others if name not in steady]
    each = f"rows in time order by {shorten(date)}, one each {step}"
    wrong = [name for name in texts if len({*values[name]}) > MOST_NAMES]
    said = [name for name in rest if name.lower() in labels and name not in numbers]
    if not numbers or (target is not None and target not in numbers) or said:
        return None, None
    left = [*texts, *(name for name in flagged if not _AHEAD.search(name))]
    if (target is None and (left or (group and len(numbers) > 1))) or wrong:
        what = f"; {shorten((wrong or left)[0])} is no number" if wrong or left else ""
        return None, (
            f"{each}{what}: each row is answered by its own columns; for a forecast of the next "
            f"rows: volano init ... --target {numbers[-1] if wrong or target is None else target}"
            if not wrong
            else f"{each}{what}: each row is answered by its own columns, without a forecast"
        )
    if left and target is not None and not group and not _goes_on(values[target]):
        # Sold on even days, but no price says anything of the next: rows by themselves.
        return None, None
    chosen = target or numbers[-1]
    return _log(values, chosen, date, group, step, numbers, flagged, steady, texts), None


def _goes_on(values: Sequence[str | None]) -> bool:
    """Whether a number resembles the one before it: their correlation is at least `LEAST_ECHO`."""
    numbers, _ = parse_numbers(values)
    before, after = numbers[:-1], numbers[1:]
    known = ~np.isnan(before) & ~np.isnan(after)
    if known.sum() < 3 or before[known].std() == 0 or after[known].std() == 0:
        return True
    return bool(abs(np.corrcoef(before[known], after[known])[0, 1]) >= LEAST_ECHO)


def _log(
    values: Values,
    target: str,
    date: str,
    group: str,
    step: Step,
    numbers: Sequence[str],
    flagged: Sequence[str],
    steady: Sequence[str],
    texts: Sequence[str],
) -> Log:
    ahead = [name for name in (*numbers, *flagged) if _AHEAD.search(name) and name != target]
    fixed = [name for name in numbers if group and _stays(values[name], values[group])]
    fixed = [name for name in fixed if name not in (*ahead, target)]
    also = [name for name in numbers if name not in (target, *ahead, *fixed)]
    static = [*steady, *fixed]
    parts = [f"type: series, horizon: {FORECAST_STEPS}, window: auto"]
    if group:
        parts.append(f"group: {quoted(group)}")
    for role, names in (("also", also), ("ahead", ahead), ("static", static)):
        if names:
            parts.append(f"{role}: [{', '.join(map(quoted, names))}]")
    of = f", of each {shorten(group)}" if group else ""
    log = Log(
        target,
        "{" + ", ".join(parts) + "}",
        f"rows in time order, one each {step}{of}: a forecast of the next {FORECAST_STEPS} rows; "
        "'number' instead predicts it from the others in the same row",
    )
    log.inputs[date] = "datetime"
    log.reasons.append(f"{_short(date)}: datetime: even steps of {step}")
    if group:
        log.inputs[group] = "category"
        num = len({name for name in values[group] if name})
        log.reasons.append(
            f"{_short(group)}: category: names the group of each row, {num} of them; no window "
            "crosses groups"
        )
    for name in also:
        log.inputs[name] = "number"
        log.reasons.append(f"{_short(name)}: number: looked back at, and forecast as well")
    for name in ahead:
        kind = "number" if name in numbers else "boolean"
        log.inputs[name] = kind
        log.reasons.append(
            f"{_short(name)}: {kind}: taken as known ahead, by its name: each forecast needs its "
            "values to come; else remove it from ahead"
        )
    for name in static:
        kind = "number" if name in fixed else "category"
        log.inputs[name] = kind
        log.reasons.append(f"{_short(name)}: {kind}: stays the same in each group")
    for name in flagged:
        if name not in ahead:
            log.reasons.append(
                f"{_short(name)}: left out: yes or no; if it is known of the steps to come, make "
                "it an input of type boolean and name it under ahead"
            )
    for name in texts:
        log.reasons.append(
            f"{_short(name)}: left out: it changes from row to row and is no number, which a "
            "forecast cannot look back at"
        )
    return log


def _dates(values: Values) -> tuple[str, str, Step | None]:
    """Column of moments, column of groups (or empty), and the step; None when rows are no log."""
    moments = [name for name, column in values.items() if _is_moment(column)]
    for name in moments:
        step = regular_dates(values[name])
        if step is not None:
            return name, "", step
    for name in moments:
        for group, column in values.items():
            if group == name or is_reserved(group):
                continue
            step = _grouped(values[name], column)
            if step is not None:
                return name, group, step
    return "", "", None


def _grouped(dates: Sequence[str | None], names: Sequence[str | None]) -> Step | None:
    """The step that nearly all rows have within their groups; None where they have none."""
    groups: dict[str, list[str | None]] = {}
    for date, name in zip(dates, names, strict=True):
        if name and name.strip():
            groups.setdefault(str(name), []).append(date)
    if not 1 < len(groups) <= MOST_NAMES:
        return None
    found = {name: regular_dates(own) for name, own in groups.items()}
    regular = [name for name, step in found.items() if step is not None]
    rows = sum(len(groups[name]) for name in regular)
    steps = {str(found[name]) for name in regular}
    if rows < MOST_GROUPED * len(dates) or len(steps) != 1:
        return None
    return found[regular[0]]


def _is_moment(column: Sequence[str | None]) -> bool:
    present = [value for value in column[:200] if value and value.strip()]
    read = sum(parse_moment(value) is not None for value in present)
    return bool(present) and read >= MOST_NUMBERS * len(present)


def _is_number(column: Sequence[object]) -> bool:
    numbers, unreadable = parse_numbers(column)
    known = int((~np.isnan(numbers)).sum())
    return known > 0 and int(unreadable.sum()) <= (1 - MOST_NUMBERS) * (known + unreadable.sum())


def _stays(column: Sequence[str | None], groups: Sequence[str | None]) -> bool:
    """Whether each group has one value, and not all the same."""
    found: dict[str | None, str | None] = {}
    for name, value in zip(groups, column, strict=True):
        if found.setdefault(name, value) != value:
            return False
    return len(set(found.values())) > 1


def _short(name: str) -> str:
    return name if len(name) <= 60 else shorten(name)
