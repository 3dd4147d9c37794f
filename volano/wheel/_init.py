"""`volano init`: look at some rows, and write a spec with every default spelled out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volano.columns import Inference, column_kind, column_uses
from volano.data import check_labels, is_missing, resolve, sample
from volano.errors import DataError, WheelError, nearest, shorten
from volano.spec import is_reserved
from volano.wheel._init_order import log_of
from volano.wheel._new_spec import spec_text
from volano.wheel._wheel import SPEC_FILE

__all__ = ["InitResult", "init_wheel"]

SAMPLE_ROWS = 5000

FIX = "give the command the right path"

TARGET_NAMES = frozenset(
    {
        "answer",
        "category",
        "class",
        "intent",
        "label",
        "labels",
        "sentiment",
        "target",
        "topic",
        "y",
    }
)
"""What people call the column to predict."""

LEAST_TARGET_SCORE = 0.5

MOST_CANDIDATES = 10
"""Columns that are listed when none looks like the target."""

LEAST_SCORE = 0.2
"""Below this a column is like none of the types, and is left out as an input."""


@dataclass(frozen=True)
class InitResult:
    """What `init_wheel` wrote and why.

    Attributes:
      path: The spec.
      reasons: One line for each column.
      notes: What was noticed about the files.
    """

    path: Path
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def init_wheel(
    root: Path,
    data: Sequence[str],
    *,
    target: str | None = None,
    test: Sequence[str] = (),
    name: str | None = None,
    force: bool = False,
) -> InitResult:
    """Write ``volano.yaml`` for some data.

    Args:
      root: The wheel's folder; made when absent.
      data: Addresses of the labelled rows: from the present folder, as a shell gives them.
      target: The column to predict; None takes the one that looks like it.
      test: Addresses of rows to judge on, used as they are.
      name: The wheel's name; None takes it from the data's.
      force: Whether to replace a spec that is there.
    Raises:
      DataError: The target is not a column (DATA-510), or none looks like it (511), or no column is
        left to learn from (512), or the target's name is one that answers use (513).
      WheelError: There is a spec already (WHEEL-020), or the folder is a file (022).
    """
    if root.exists() and not root.is_dir():
        raise WheelError(
            22,
            "this is a file, and a wheel is a folder",
            where=str(root),
            expected="a folder, or a name that is free",
            fix="volano init ... -C ANOTHER_FOLDER",
        )
    path = root / SPEC_FILE
    if path.exists() and not force:
        raise WheelError(
            20,
            "there is a spec here already",
            where=str(path),
            expected="a folder without volano.yaml",
            fix="volano init --force ...   (replaces it), or -C ANOTHER_FOLDER",
        )
    here = Path.cwd()
    files = resolve(data, root=here, fix=FIX)
    if test:
        resolve(test, root=here, fix=FIX)
    found = sample(files, SAMPLE_ROWS)
    values = {name: [row.get(name) for row in found.rows] for name in found.columns}
    log, note = log_of(values, target, TARGET_NAMES)
    reasons: Sequence[str]
    options: dict[str, Mapping[str, Any]] = {}
    if log:
        target, target_kind, target_reason = log.target, log.kind, log.reason
        inputs, reasons = log.inputs, log.reasons
    else:
        target, target_kind, target_reason = _target(values, target)
        inputs, reasons, options = _inputs(values, target)
        options[target] = column_kind(target_kind).infer(values[target], "target").options
    root.mkdir(parents=True, exist_ok=True)
    spec = spec_text(
        name or _name(data[0]),
        [_from_root(address, here, root) for address in data],
        [_from_root(address, here, root) for address in test],
        inputs,
        target,
        target_kind,
        options,
    )
    path.write_text(spec, encoding="utf-8")
    return InitResult(
        path,
        (
            f"{_short(target)}: {'series' if log else target_kind} (target): {target_reason}",
            *reasons,
        ),
        (
            *found.notes,
            *([note] if note else []),
            *(() if log else _unlearnable(values[target], target, target_kind)),
        ),
    )


def _short(name: str) -> str:
    return name if len(name) <= 60 else shorten(name)


def _unlearnable(labels: list[str | None], target: str, kind: str) -> tuple[str, ...]:
    """What `check` will say of the target, if the other rows are like these."""
    if not column_kind(kind).names:
        return ()
    present = [label.strip() for label in labels if label]
    counts = Counter(label for label in present if not is_missing(label))
    if not counts:
        return (f"none of the first {len(labels):,} rows has a target: volano check will say so",)
    try:
        check_labels(target, counts)
    except DataError as error:
        return (
            f"of the first {len(labels):,} rows, {error.what}: if the others are like them, this "
            "target will be refused",
        )
    return ()


def _target_kind(values: list[str | None]) -> tuple[float, str, str]:
    """Score, type and reason of the type that a target of these values is most like."""
    able = [kind for kind, use in column_uses().items() if use in ("target", "both")]
    found = {kind: column_kind(kind).infer(values, "target") for kind in able}
    best = max(found, key=lambda kind: found[kind].score)
    return found[best].score, best, found[best].reason


def _target(values: dict[str, list[str | None]], target: str | None) -> tuple[str, str, str]:
    """The target's name, type and reason."""
    if target is not None:
        if target not in values:
            raise DataError(
                510,
                f"there is no column {target!r} to predict",
                expected="one of " + ", ".join(list(values)[:20]),
                nearest=nearest(target, values),
            )
        if is_reserved(target):
            raise DataError(
                513,
                f"the column name {target!r} is one that answers use themselves",
                expected="a target with another name",
                fix=f"rename the column {target!r} in the data",
            )
        return target, *_target_kind(values[target])[1:]
    for name in reversed(list(values)):
        # A name that says so; nobody calls an input "target".
        if name.lower() in TARGET_NAMES and not is_reserved(name):
            score, found, reason = _target_kind(values[name])
            if score >= LEAST_TARGET_SCORE:
                return name, found, f"{reason}; by its name, --target says otherwise"
    # Of the others only names are guessed: any number of a table may be what is to be predicted.
    kind = column_kind("category")
    scores = {
        name: kind.infer(column, "target")
        for name, column in values.items()
        if not is_reserved(name) and _target_kind(column)[1] == "category"
    }
    # Labels usually come last, so of equals the last one wins.
    best = max(reversed(list(scores)), key=lambda name: scores[name].score, default=None)
    if best is None or scores[best].score < LEAST_TARGET_SCORE:
        raise DataError(
            511,
            "no column looks like the one to predict",
            expected="a column with few different values, or the name of the column: "
            + _candidates(values),
            fix="volano init DATA --target " + (list(values)[-1] if values else "COLUMN"),
        )
    return best, "category", f"{scores[best].reason}; a guess, --target says otherwise"


def _candidates(values: dict[str, list[str | None]]) -> str:
    """Columns that could be the target, with the type that they would have, the last first."""
    found = []
    for name in reversed(list(values)):
        score, kind, reason = _target_kind(values[name])
        if score >= LEAST_SCORE and not is_reserved(name):
            found.append(f"{_short(name)} ({kind}: {reason})")
    more = f", and {len(found) - MOST_CANDIDATES} more" if len(found) > MOST_CANDIDATES else ""
    return "; ".join(found[:MOST_CANDIDATES]) + more if found else "there is none that could be"


def _inputs(
    values: dict[str, list[str | None]], target: str
) -> tuple[dict[str, str], tuple[str, ...], dict[str, Mapping[str, Any]]]:
    able = [kind for kind, use in column_uses().items() if use in ("input", "both")]
    inputs: dict[str, str] = {}
    options: dict[str, Mapping[str, Any]] = {}
    reasons = []
    best: tuple[float, str, str] | None = None
    for name, column in values.items():
        if name == target:
            continue
        if is_reserved(name) or name in (f"{target}_low", f"{target}_high"):
            reasons.append(f"{_short(name)}: left out: answers use this name themselves")
            continue
        if key := next(filter(None, (_left_out(kind, name, column) for kind in able)), None):
            reasons.append(f"{_short(name)}: left out: {key}")
            continue
        scored = {kind: _infer(kind, name, column) for kind in able}
        kind = max(scored, key=lambda kind: scored[kind].score)
        found = scored[kind]
        if best is None or found.score > best[0]:
            best = (found.score, name, kind)
        if found.score >= LEAST_SCORE:
            inputs[name], options[name] = kind, found.options
            reasons.append(f"{_short(name)}: {kind}: {found.reason}")
        else:
            like = " or ".join(able)
            reasons.append(f"{_short(name)}: left out: not like {like}: {found.reason}")
    if not inputs:
        if best is None or best[0] == 0:
            raise DataError(
                512,
                "no column is left to learn from",
                expected=f"a column of text beside the target {target!r}",
            )
        inputs[best[1]] = best[2]
        reasons.append(f"{best[1]}: {best[2]} all the same: nothing else is there to learn from")
    return inputs, tuple(reasons), options


def _infer(kind: str, name: str, column: list[str | None]) -> Inference:
    """How well a type fits a column, by its values and, where the type looks at it, its name."""
    named = getattr(column_kind(kind), "infer_named", None)
    found: Inference = named(name, column) if named else column_kind(kind).infer(column)
    return found


def _left_out(kind: str, name: str, column: list[str | None]) -> str | None:
    """Why a type says that no model may learn from a column, whatever others say."""
    left_out = getattr(column_kind(kind), "left_out", None)
    found: str | None = left_out(name, column) if left_out else None
    return found


def _name(address: str) -> str:
    stem = re.split(r"[/\\#]", address.rstrip("/"))[-1].split(".")[0]
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "wheel"


def _from_root(address: str, here: Path, root: Path) -> str:
    """An address as it is written in the spec: relative to the wheel's folder where possible."""
    if address.startswith("pypi:") or Path(address).is_absolute():
        return address
    full = (here / address).absolute()
    try:
        return full.relative_to(root.absolute()).as_posix()
    except ValueError:
        return str(full)
