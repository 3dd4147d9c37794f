"""What of the `train` section is refused although each value is right by itself."""

from __future__ import annotations

from typing import Any

import pytest

from volano.columns import column_options, column_uses
from volano.errors import SpecError, SpecErrors
from volano.spec import Spec, parse_spec

TEXT = "{text: text}"
NUMBERS = "{size: number, town: category}"
MIXED = "{text: text, size: number}"
PHOTO = "{photo: {type: image, encoder: efficientnet-lite0}}"
SCRATCH = "{photo: image, text: {type: text, encoder: lstm}}"


def parse(inputs: str, train: str) -> Spec:
    text = f"name: a\ndata: a.csv\ninputs: {inputs}\ntarget: {{label: category}}\ntrain: {train}\n"
    return parse_spec(
        text, column_options=column_options, column_types=column_uses(), passes=["int8"]
    )


REFUSED = {
    "layers with lora": (TEXT, "{tune: lora, layers: 2}", "SPEC-060", "without tune: all"),
    "rank alone": (TEXT, "{lora_rank: 4}", "SPEC-060", "without tune: lora"),
    "alpha alone": (TEXT, "{tune: head, lora_alpha: 4.0}", "SPEC-060", "without tune: lora"),
    "quantile alone": (NUMBERS, "{quantile: 0.9}", "SPEC-060", "without loss: quantile"),
    "no network": (NUMBERS, "{models: [linear], hidden: [8]}", "SPEC-060", "a network among"),
    "nothing to tune": (NUMBERS, "{tune: head}", "SPEC-061", "no column has a pretrained"),
    "all from nothing": (SCRATCH, "{tune: gradual}", "SPEC-061", "no column has a pretrained"),
    "no layers to keep": (SCRATCH, "{layers: 0}", "SPEC-061", "train.layers is given"),
    "no linear layers": (PHOTO, "{tune: lora}", "SPEC-061", "no linear layers"),
    "hidden of texts": (TEXT, "{hidden: [8]}", "SPEC-062", "no column has numbers"),
    "one column": (TEXT, "{fusion: gated}", "SPEC-062", "one column"),
    "a table is one": (NUMBERS, "{fusion: gated}", "SPEC-062", "one column"),
    "pooling a table": (NUMBERS, "{pooling: max}", "SPEC-062", "one vector already"),
    "cls of a photo": (PHOTO, "{pooling: cls}", "SPEC-062", "no first token"),
    "cls of an lstm": (SCRATCH, "{pooling: cls}", "SPEC-062", "no first token"),
    "rnn": (
        "{text: {type: text, encoder: rnn}}",
        "{activation: gelu}",
        "SPEC-062",
        "takes tanh or relu",
    ),
    "nothing to bend": (
        "{text: {type: text, encoder: gru}}",
        "{activation: relu}",
        "SPEC-062",
        "gates in its place",
    ),
    "no width": (MIXED, "{hidden: [8, 0]}", "SPEC-012", "train.hidden"),
    "tune": (TEXT, "{tune: loar}", "SPEC-012", "Did you mean lora?"),
    "optimiser": (TEXT, "{optimiser: lbfgs}", "SPEC-012", "adamw"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_combinations_that_make_no_sense(name: str) -> None:
    inputs, train, code, words = REFUSED[name]
    with pytest.raises(SpecError) as caught:
        parse(inputs, train)
    found = caught.value
    errors = list(found.errors) if isinstance(found, SpecErrors) else [found]
    assert [error.code for error in errors] == [code]
    assert words in str(errors[0])
    assert str(errors[0].where).endswith(":5")


@pytest.mark.parametrize(
    ("inputs", "train"),
    [
        (TEXT, "{tune: lora, lora_rank: 4, lora_alpha: 8}"),
        (TEXT, "{tune: head, pooling: cls}"),
        (PHOTO, "{tune: gradual, optimiser: sgd, pooling: max}"),
        (MIXED, "{hidden: [64, 32], activation: tanh, fusion: gated, layers: 0}"),
        (NUMBERS, "{models: [network], hidden: [8], activation: sigmoid, loss: focal}"),
        (SCRATCH, "{activation: gelu, augment: [crop, mixup], patience: 2}"),
        ("{town: {type: category, buckets: 3}}", "{patience: auto}"),
    ],
)
def test_what_makes_sense_is_taken(inputs: str, train: str) -> None:
    assert parse(inputs, train).train is not None


def test_a_pinball_gate_asks_for_a_quantile() -> None:
    text = (
        "name: a\ndata: a.csv\ninputs: {x: number}\ntarget: {y: number}\ngate: {metric: pinball}\n"
    )
    types: dict[str, Any] = {"column_options": column_options, "column_types": column_uses()}
    for train in ("", "train: {loss: absolute}\n"):
        with pytest.raises((SpecError, SpecErrors), match=r"(?s)nothing learns one.*SPEC-048"):
            parse_spec(text + train, **types)
    assert parse_spec(text + "train: {loss: quantile, quantile: 0.9}\n", **types).gate.metric == (
        "pinball"
    )
