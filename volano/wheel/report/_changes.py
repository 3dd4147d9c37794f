"""What changed class by class against the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volano.wheel.report._axes import change_bar
from volano.wheel.report._evidence import Evidence, Interval, number
from volano.wheel.report._format import count, percent, plural, points
from volano.wheel.report._markup import Child, Markup, data_text, el, raw
from volano.wheel.report._tables import Cell, Column, folded, table

__all__ = ["changes"]

SHOWN = 15
MOST = 60
LEVEL = 0.05


def changes(evidence: Evidence) -> Markup | None:
    """Recall of each class beside the champion's, the largest change first; None without one."""
    found = [item for item in evidence.changes if _effect(item)]
    if not found:
        return None
    moved = [item for item in found if item.get("effect")]
    turn = evidence.gate.get("champion_turn")
    champion = "the champion" if turn is None else f"the champion of turn {turn}"
    heading = el("h3", f"Recall of each class, against {champion}")
    if not moved:
        return raw(heading, el("p", "Not one class has another recall than it had."))
    reach = max(
        max(abs(effect.low), abs(effect.high)) for item in moved if (effect := _effect(item))
    )
    lines = [_line(item, min(reach, 1.0)) for item in moved[:MOST]]
    held = sum(_holds(item) for item in found)
    by_luck = max(1, round(LEVEL * len(found)))
    note = (
        f"Each interval is for its class alone, and {plural(len(found), 'class', 'classes')} were "
        f"looked at: about {by_luck} would seem to change by luck. Bold: still a change when all "
        f"classes are taken together (Holm, {percent(LEVEL, 0)}); that is "
        f"{count(held) if held else 'none'} of them. This decides nothing: the gate judges all "
        "rows at once. Given: rows of any class that were given this one, before and now; recall "
        "alone can be had by giving a class more often."
    )
    still = len(found) - len(moved)
    rest: list[Child] = []
    if len(lines) > SHOWN:
        more = table(_HEADS, lines[SHOWN:], caption="Smaller changes", stack=True)
        rest.append(folded(f"{len(lines) - SHOWN} smaller changes", more))
    if len(moved) > MOST:
        rest.append(el("p", f"{len(moved) - MOST} more are in class_changes.json.", class_="small"))
    if still:
        words = f"{plural(still, 'class', 'classes')} without any change: left out."
        rest.append(el("p", words, class_="small soft"))
    return raw(
        heading,
        table(_HEADS, lines[:SHOWN], caption="Changes of recall, largest first", stack=True),
        el("p", note, class_="small soft"),
        rest,
    )


_HEADS = [
    Column("Class", "name"),
    Column("golden rows", "n"),
    Column("before", "n"),
    Column("now", "n"),
    Column("change, points", "n"),
    Column("95% interval", "n"),
    Column("", "w"),
    Column("given", "n"),
]


def _effect(item: Mapping[str, object]) -> Interval | None:
    value, low, high = (number(item.get(key)) for key in ("effect", "low", "high"))
    return None if value is None or low is None or high is None else Interval(value, low, high)


def _holds(item: Mapping[str, object]) -> bool:
    p = number(item.get("adjusted_p"))
    return p is not None and p <= LEVEL


def _line(item: Mapping[str, object], reach: float) -> Sequence[Cell | Child]:
    effect = _effect(item)
    assert effect is not None
    before, after = (number(item.get(key)) or 0.0 for key in ("before", "after"))
    given = [count(number(item.get(key)) or 0) for key in ("given_before", "given")]
    kind = "ours" if effect.low > 0 else "bad" if effect.high < 0 else "theirs"
    shown: Child = points(effect.value, unit=False)
    return [
        data_text(item.get("name", ""), 60),
        count(number(item.get("support")) or 0),
        percent(before),
        percent(after),
        Cell(el("b", shown) if _holds(item) else shown, effect.value),
        f"{points(effect.low, unit=False)} to {points(effect.high, unit=False)}",
        change_bar(*effect, reach=reach, kind=kind),
        f"{given[0]} → {given[1]}",
    ]
