"""Which tables `init` takes for logs, and what it says of those that it does not."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from volano.wheel._init_order import log_of

LABELS = frozenset({"label"})
DAYS = [str(datetime.date(2026, 1, 1) + datetime.timedelta(days=at)) for at in range(60)]
HEAT = [str(20 + at % 7) for at in range(60)]
STATE = ["on" if at % 11 else "broken" for at in range(60)]


def test_a_column_that_is_no_number_is_left_out_and_said() -> None:
    log, note = log_of({"day": DAYS, "state": STATE, "heat": HEAT}, "heat", LABELS)
    assert log is not None
    assert note is None
    assert log.inputs == {"day": "datetime"}
    assert any(
        line.startswith("state: left out: it changes from row to row") for line in log.reasons
    )


def test_without_a_target_it_says_how_to_get_a_forecast() -> None:
    log, note = log_of({"day": DAYS, "state": STATE, "heat": HEAT}, None, LABELS)
    assert log is None
    assert note is not None
    assert "rows in time order by 'day'" in note
    assert "state" in note
    assert note.endswith("--target heat")


def test_texts_in_time_order_are_no_log() -> None:
    texts = [f"what was said on day {at}, at some length" for at in range(300)]
    days = [str(datetime.date(2026, 1, 1) + datetime.timedelta(days=at)) for at in range(300)]
    stars = [str(at % 5) for at in range(300)]
    log, note = log_of({"day": days, "text": texts, "stars": stars}, "stars", LABELS)
    assert log is None
    assert note is not None
    assert "without a forecast" in note
    assert log_of({"day": days, "text": texts, "label": ["a", "b"] * 150}, None, LABELS) == (
        None,
        None,
    )


@pytest.mark.parametrize("flag", ["holiday", "pump_on"])
def test_flags_are_known_ahead_by_their_names(flag: str) -> None:
    yes = ["yes" if at % 9 == 0 else "no" for at in range(60)]
    log, _ = log_of({"day": DAYS, flag: yes, "heat": HEAT}, "heat", LABELS)
    assert log is not None
    assert (flag in log.inputs) == (flag == "holiday")
    assert ("ahead: [holiday]" in log.kind) == (flag == "holiday")
    assert any(line.startswith(f"{flag}: ") for line in log.reasons)


def test_groups_of_even_steps_are_found() -> None:
    values: dict[str, Any] = {"day": DAYS * 2, "sensor": ["a"] * 60 + ["b"] * 60}
    values |= {"heat": HEAT * 2, "height": ["1"] * 60 + ["2"] * 60}
    log, _ = log_of(values, "heat", LABELS)
    assert log is not None
    assert "group: sensor, static: [height]" in log.kind
    assert log.inputs == {"day": "datetime", "sensor": "category", "height": "number"}
    # Dates that come at random are of no log.
    values["day"] = values["day"][::-1][::2] + values["day"][::3] + values["day"][:20]
    assert log_of(values, "heat", LABELS) == (None, None)
