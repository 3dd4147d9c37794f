"""What an endpoint that labels rows needs beside it."""

from __future__ import annotations

import pytest

from volano.columns import column_options, column_uses
from volano.errors import SpecError, SpecErrors
from volano.spec import Spec, parse_spec

WHOLE = "{url: 'http://localhost:1/v1', model: m, columns: [text]}"


def parse(endpoint: str, more: str = "unlabelled: a.csv, ", target: str = "category") -> Spec:
    text = (
        "name: a\ndata: a.csv\ninputs: {text: text}\n"
        f"target: {{label: {target}}}\ncompress: {{{more}endpoint: {endpoint}}}\n"
    )
    return parse_spec(
        text, column_options=column_options, column_types=column_uses(), passes=["int8"]
    )


def test_it_is_read() -> None:
    compress = parse(WHOLE).compress
    assert not isinstance(compress, str)
    assert compress.endpoint is not None
    assert compress.endpoint.columns == ("text",)
    assert compress.unlabelled == ("a.csv",)
    assert parse(WHOLE, "unlabelled: [a.csv, predictions], ").compress.unlabelled == (  # type: ignore[union-attr]
        "a.csv",
        "predictions",
    )


@pytest.mark.parametrize(
    ("endpoint", "more", "target", "wanted"),
    [
        (WHOLE, "", "category", r"no rows for it to label.*SPEC-050"),
        (WHOLE, "unlabelled: a.csv, ", "number", r"target is of type number.*SPEC-051"),
        (WHOLE.replace("text", "texts"), "unlabelled: a, ", "category", r"is no input.*SPEC-052"),
        ("{url: 'file:///etc', model: m, columns: [text]}", "unlabelled: a, ", "category", "url"),
        ("{url: 'http://x', model: m, columns: []}", "unlabelled: a, ", "category", "columns"),
        ("{url: 'http://x', columns: [text]}", "unlabelled: a, ", "category", "model"),
        (WHOLE.replace("model", "modle"), "unlabelled: a, ", "category", "modle"),
    ],
)
def test_what_cannot_be_is_refused(endpoint: str, more: str, target: str, wanted: str) -> None:
    with pytest.raises((SpecError, SpecErrors), match=f"(?s){wanted}"):
        parse(endpoint, more, target)
