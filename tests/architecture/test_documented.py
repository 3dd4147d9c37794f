"""What there is, is documented; what is documented, there is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from volano.columns import column_kinds
from volano.compression import pass_kinds
from volano.tasks import task_kinds

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    found = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_every_error_is_explained_and_every_explained_error_is_raised(generate: ModuleType) -> None:
    used, explained = set(generate.used_codes()), generate.explained_codes()
    assert sorted(used - set(explained)) == [], "run `make docs`, then explain them in errors.md"
    assert sorted(set(explained) - used) == [], "run `make docs`"
    assert [code for code, line in explained.items() if line in ("?", "")] == []


def test_generated_pages_are_in_step(generate: ModuleType) -> None:
    for path, text in (
        (generate.ERRORS, generate.errors_page()),
        (generate.SPEC, generate.spec_page()),
    ):
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make docs`"


def test_every_key_of_the_spec_is_explained(generate: ModuleType) -> None:
    assert "| ? |" not in generate.spec_page()


@pytest.mark.parametrize(
    ("folder", "kinds"),
    [("columns", column_kinds()), ("tasks", task_kinds()), ("passes", pass_kinds())],
)
def test_every_kind_has_a_page(folder: str, kinds: list[str]) -> None:
    assert sorted(path.stem for path in (DOCS / folder).glob("*.md")) == sorted(kinds)
    for kind in kinds:
        text = (DOCS / folder / f"{kind}.md").read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert len(text.splitlines()) >= 10, "a page says more than a name"
