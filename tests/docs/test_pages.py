"""Pages that point somewhere, and two READMEs that say the same."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README, README_ZH = ROOT / "README.md", ROOT / "README.zh.md"


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def _headings(text: str) -> list[tuple[int, str]]:
    found = re.findall(r"^(#+) (.+)$", _without_code(text), re.M)
    return [(len(marks), title) for marks, title in found]


def _anchor(title: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", title.lower())
    return kept.replace(" ", "-")


def _links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", _without_code(text))


def _code(text: str) -> list[str]:
    return re.findall(r"^```.*?^```$", text, re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=_shown)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in _links(text):
        if link.startswith(("https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert path.is_relative_to(ROOT), link
        if anchor:
            anchors = [_anchor(title) for _, title in _headings(path.read_text(encoding="utf-8"))]
            assert anchor in anchors, link


@pytest.mark.parametrize("page", PAGES, ids=_shown)
def test_a_page_has_one_title_and_no_level_is_skipped(page: Path) -> None:
    levels = [level for level, _ in _headings(page.read_text(encoding="utf-8"))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    todo = [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in _links(page.read_text(encoding="utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists():
                todo.append(target)
    assert [_shown(page) for page in PAGES if page.parent != ROOT and page not in seen] == []


def test_the_two_readmes_are_in_step() -> None:
    english, chinese = (path.read_text(encoding="utf-8") for path in (README, README_ZH))
    ours, theirs = _headings(english), _headings(chinese)
    assert [level for level, _ in ours] == [level for level, _ in theirs]
    assert _code(english) == _code(chinese)
    assert _links(english)[1:] == _links(chinese)[1:]
    assert (_links(english)[0], _links(chinese)[0]) == ("README.zh.md", "README.md")
    for pattern in (r"^\d+\. ", r"^- "):
        count = len(re.findall(pattern, english, re.M))
        assert len(re.findall(pattern, chinese, re.M)) == count
    assert _inline(english) == _inline(chinese)


def _inline(text: str) -> list[str]:
    """What stands in backticks: names and commands are not translated."""
    return sorted(set(re.findall(r"`([^`\n]+)`", _without_code(text))))


def test_every_heading_and_paragraph_of_the_chinese_readme_is_chinese() -> None:
    text = _without_code(README_ZH.read_text(encoding="utf-8"))
    for line in text.splitlines():
        if line and line not in ("# Volano", "[English](README.md)"):
            assert re.search(r"[\u4e00-\u9fff]", line), line


def test_the_readme_has_the_two_commands() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert 'pip install -c constraints.txt -e ".[train]" && volano demo' in lines
    assert 'pip install -c constraints.txt -e ".[dev]" && make test' in lines


def test_the_commands_that_pages_name_exist() -> None:
    from typer.main import get_command

    from volano.cli import app

    command = get_command(app)
    known = {f"volano {name}" for name in command.commands}  # type: ignore[attr-defined]
    for group in ("feedback", "bundle"):
        below = command.commands[group].commands  # type: ignore[attr-defined]
        known |= {f"volano {group} {name}" for name in below}
        known.discard(f"volano {group}")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"^(?: {4})?(volano [^\n]*)$", text, re.M):
            words = line.split()
            if words[1].startswith("-"):
                continue
            name = " ".join(words[: 3 if words[1] in ("feedback", "bundle") else 2])
            assert name in known, f"{_shown(page)}: {line}"
