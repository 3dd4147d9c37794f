"""Which models a turn trains when nobody names them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from volano.columns import column_kind
from volano.columns.category import FittedCategory
from volano.columns.text import FittedPieces
from volano.training import portfolio

NUMBER = column_kind("number").fit(
    "size", ["1", "2", "3"], column_kind("number").Options().model_dump()
)
TEXT = FittedPieces.of("text", ["a lamp", "a tea"], 256)


def rows(inputs: list[Any], num_names: int, num_rows: int = 9000) -> Any:
    names = tuple(f"class {place}" for place in range(num_names))
    return SimpleNamespace(
        inputs={column.name: column for column in inputs},
        target=FittedCategory("label", names),
        split=lambda name: SimpleNamespace(num_rows=num_rows),
    )


@pytest.mark.parametrize(
    ("prepared", "wanted"),
    [
        (rows([NUMBER], 77), ("linear", "boosted")),
        (rows([NUMBER], 2, 300), ("linear", "forest", "boosted")),
        (rows([TEXT], 77), ("network",)),
        (rows([TEXT, NUMBER], 2), ("linear", "boosted", "network")),
        # For each of many names trees over all that stands for a text take longer than the network.
        (rows([TEXT, NUMBER], 77), ("linear", "network")),
    ],
)
def test_what_the_columns_and_names_ask_for(prepared: Any, wanted: tuple[str, ...]) -> None:
    assert portfolio(prepared) == wanted


def test_a_budget_tries_them_all() -> None:
    assert "boosted" in portfolio(rows([TEXT, NUMBER], 77), long=True)
