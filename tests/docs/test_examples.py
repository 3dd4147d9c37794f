"""The examples of the pages run, as their readers would run them."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def _examples(page: Path) -> str:
    """A page's examples one after the other, each on the line where it stands."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        start = text.count("\n", 0, block.start(1))
        for place, line in enumerate(block[1].splitlines()):
            lines[start + place] = line
    return "\n".join(lines)


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if ">>> " in _examples(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page: Path) -> None:
    # Classes of an example belong to some module, and dataclasses look it up.
    test = doctest.DocTestParser().get_doctest(
        _examples(page), {"__name__": "__main__"}, page.name, str(page), 0
    )
    runner = doctest.DocTestRunner()
    said: list[str] = []
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    assert test.examples


def test_there_is_a_page_with_examples_for_those_who_add_a_kind() -> None:
    assert [page.name for page in PAGES] == ["extending.md"]
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    for name in ("check_column", "check_encoder", "check_pass", "check_task"):
        assert f"{name}(" in text
