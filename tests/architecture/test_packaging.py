"""What the project says that it needs, and what it is tested with."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
REQUIRED = [
    Requirement(line)
    for line in [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    if not line.startswith("volano")
]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M
    )
}

IMPORTED_AS = {
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "psycopg": "psycopg",
}


@pytest.mark.parametrize("requirement", REQUIRED, ids=str)
def test_every_dependency_is_pinned_and_satisfied(requirement: Requirement) -> None:
    pin = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin, prereleases=True)


def test_pins_are_exact_and_portable() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert PINS["torch"] == "2.13.0"


def test_what_is_tested_is_what_is_pinned() -> None:
    """Nothing that the extras bring is unpinned, or tested in another version."""
    todo = [(item, frozenset(item.extras)) for item in REQUIRED]
    seen: set[tuple[str, frozenset[str]]] = set()
    wrong: dict[str, str] = {}
    while todo:
        item, extras = todo.pop()
        name = canonicalize_name(item.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            wrong[name] = "not installed"
            continue
        if PINS.get(name) != found.version.split("+")[0]:
            wrong[name] = f"tested with {found.version}, pinned {PINS.get(name)}"
        for line in found.requires or []:
            needed = Requirement(line)
            asked = [{"extra": extra} for extra in ("", *extras)]
            if needed.marker is None or any(needed.marker.evaluate(extra) for extra in asked):
                todo.append((needed, frozenset(needed.extras)))
    assert wrong == {}


def _imported(folder: str) -> dict[str, set[str]]:
    """Third-party module -> files that import it."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top != "volano":
                    found.setdefault(top, set()).add(path.relative_to(ROOT).as_posix())
    return found


def _modules(lines: list[str]) -> set[str]:
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}


def test_every_import_is_declared() -> None:
    declared = _modules([*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["postgresql"]])
    undeclared = {
        name: files for name, files in _imported("volano").items() if name not in declared
    }
    assert undeclared == {}


def test_every_declared_dependency_is_used() -> None:
    # uvicorn finds the first two by itself, SQLAlchemy psycopg, and torch's exporter onnxscript.
    found_by_others = {"httptools", "uvloop", "psycopg", "onnxscript"}
    used = set(_imported("volano")) | found_by_others
    assert _modules([*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["postgresql"]]) <= used


def test_the_version_is_said_once() -> None:
    import volano

    assert PROJECT["version"] == volano.__version__
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{volano.__version__}]" in text


def test_the_command_is_there() -> None:
    points = importlib.metadata.entry_points(group="console_scripts", name="volano")
    assert {point.value for point in points} == {"volano.cli:main"}
