"""Corrections as clients send them: checked by the target's column before they are logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volano.columns import FittedColumn
from volano.errors import RequestError, nearest, shorten
from volano.serving._body import keys
from volano.store._log import Correction

__all__ = ["FIELDS", "corrections"]

FIELDS = ("prediction_id", "id", "value", "who", "new_class")
"""``id`` is what answers call it: a correction may be made of an answer."""

LONGEST_NAME = 200
"""Characters of a class name or of who gives feedback."""


def corrections(
    body: Any, target: FittedColumn, max_items: int
) -> tuple[list[Correction], list[str]]:
    """The corrections in a request's body, and what should be said about them.

    Raises:
      RequestError: Something in it is wrong; the first wrong thing is named.
    """
    many = isinstance(body, dict) and "items" in body
    items = keys(body, ("items",))["items"] if many else [body]
    if not isinstance(items, list) or not items:
        raise RequestError(
            55,
            f"items is {shorten(items)}",
            status=422,
            expected="a list with at least one correction",
        )
    if len(items) > max_items:
        raise RequestError(
            53, f"there are {len(items)} items", status=413, expected=f"at most {max_items}"
        )
    notes: dict[str, None] = {}
    found: list[Correction] = []
    for number, item in enumerate(items):
        where = f"item {number}" if many else None
        try:
            correction, note = _correction(item, target, where)
        except RequestError as error:
            if error.where is None and where:
                error.where = where
            raise
        found.append(correction)
        if note:
            notes[note] = None
    return found, list(notes)


def _correction(
    item: Any, target: FittedColumn, where: str | None
) -> tuple[Correction, str | None]:
    fields = dict(keys(item, FIELDS, where))
    if "id" in fields and fields.setdefault("prediction_id", fields["id"]) != fields["id"]:
        raise RequestError(
            56,
            "prediction_id and id are not the same",
            status=422,
            expected="one of them: the id of an answer",
        )
    for name in ("prediction_id", "value"):
        if name not in fields:
            raise RequestError(
                56, f"there is no {name}", status=422, expected="prediction_id and value"
            )
    id_ = _text(fields, "prediction_id", 64)
    who = _text(fields, "who", LONGEST_NAME) if fields.get("who") is not None else ""
    new_class = fields.get("new_class", False)
    if not isinstance(new_class, bool):
        raise RequestError(
            56, f"new_class is {shorten(new_class)}", status=422, expected="true or false"
        )
    names: tuple[str, ...] | None = getattr(target, "names", None)
    if new_class and names is None:
        raise RequestError(
            59,
            f"new_class is true, and {target.name} is a {target.kind}: it has no classes",
            status=422,
            expected=f"a correction without new_class: the value is a {target.kind}",
            fix="leave new_class out",
        )
    if not new_class or names is None:
        try:
            checked = target.check(fields["value"])
            if checked is None:
                # An input may lack a value; a right answer that is none teaches nothing.
                raise RequestError(
                    56,
                    f"value is {shorten(fields['value'])}",
                    status=422,
                    expected=f"the right value of {target.name}, a {target.kind}",
                )
            return Correction(id_, checked, who), None
        except RequestError as error:
            if error.code == "REQUEST-012" and str(fields["value"]).strip():
                error.fix = 'send "new_class": true with it if it is a class that is to be learned'
            raise
    split = getattr(target, "split", None)
    if split is None:
        value: Any = _text(fields, "value", LONGEST_NAME).strip()
        listed = [value]
    else:
        found = split(fields["value"])
        if found is None:
            target.check(fields["value"])  # which says what is wrong with it
        value = [_text({"value": name}, "value", LONGEST_NAME) for name in found]
        listed = value
    new = [name for name in listed if name not in names]
    if not new:
        return Correction(id_, value, who), None
    close = nearest(new[0], names)
    return Correction(id_, value, who), (
        f"{shorten(new[0])} is a class that this model does not know: it cannot answer so before a "
        "turn has learned it" + (f". Did you mean {close}?" if close else "")
    )


def _text(fields: Mapping[str, Any], name: str, longest: int) -> str:
    value = fields[name]
    if (
        isinstance(value, str)
        and len(value) <= longest
        # PostgreSQL cannot hold NUL, and the others only make reports hard to read.
        and value.isprintable()
        and (value.strip() or name == "who")
    ):
        return value
    raise RequestError(
        56,
        f"{name} is {shorten(value)}",
        status=422,
        expected=f"text on one line of at most {longest} characters",
    )
