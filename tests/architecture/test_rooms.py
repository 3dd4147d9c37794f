"""Which room may import which, what each shows, and how its files are named and sized."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import volano

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "volano").rglob("*.py"))
ROOMS = (
    "columns",
    "compression",
    "data",
    "errors",
    "evaluation",
    "export",
    "models",
    "runtime",
    "serving",
    "spec",
    "store",
    "tasks",
    "training",
    "wheel",
)

LONGEST_FILE = 600
FORBIDDEN_NAMES = {
    "base",
    "bases",
    "common",
    "helper",
    "helpers",
    "misc",
    "shared",
    "util",
    "utils",
}


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_import_contracts() -> None:
    # In a process of its own: the checker switches off every logger that exists in its process.
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports; import sys; "
        "sys.exit(lint_imports(no_cache=True))",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_sorted_and_there(room: str) -> None:
    module = importlib.import_module(f"volano.{room}")
    names = module.__all__
    # As ruff sorts them: CONSTANTS, then Classes, then functions.
    kinds = [(0 if name.isupper() else 1 if name[0].isupper() else 2, name) for name in names]
    assert kinds == sorted(kinds)
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(module, name) is not None


def test_every_room_is_listed() -> None:
    rooms = {path.parent.name for path in (ROOT / "volano").glob("*/__init__.py")}
    assert rooms - {"testing", "explain"} <= set(ROOMS)


def test_public_names_of_the_package() -> None:
    assert volano.__all__ == ["Model", "Prediction", "Turn", "Wheel", "__version__", "load"]
    assert all(getattr(volano, name) is not None for name in volano.__all__)


def test_what_programs_are_written_against() -> None:
    """A change here is a change for everybody who calls Volano from Python."""
    from volano import runtime, serving, wheel

    def shown(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    turning = {"check", "clean", "history", "promote", "rollback", "show", "turn"}
    using = {"champion", "champion_bundle", "close", "export", "model", "predict", "serve"}
    using |= {"remove_feedback"}
    assert shown(wheel.Wheel) == turning | using | {"log", "spec", "store"}
    fields = {"bundle", "number", "record", "report", "unchanged", "verdict"}
    assert set(wheel.Turn.__dataclass_fields__) == fields
    fields = {"bundle", "high", "id", "low", "notes", "probabilities", "probability", "value"}
    assert set(runtime.Prediction.__dataclass_fields__) == fields
    assert {"create_app", "open_model", "run"} <= set(serving.__all__)


@pytest.mark.parametrize("path", SOURCES, ids=_shown)
def test_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    num_lines = text.count("\n")
    assert num_lines <= LONGEST_FILE, f"{num_lines} lines: a file does one thing"
    assert path.stem.strip("_") not in FORBIDDEN_NAMES, "a helper lives beside its user"
    for name in path.relative_to(ROOT / "volano").parts[:-1]:
        assert name not in FORBIDDEN_NAMES
    if not text:
        return
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the file does not say what it is"
    declared = any(
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for node in tree.body
    )
    assert declared or path.name == "__main__.py", "the file has no __all__"


UNSAFE = {
    r"\bpickle\b(?!s? is)": "a pickle runs code when it is read",
    r"\bjoblib\b": "joblib reads pickles",
    r"\ballow_pickle\s*=\s*True": "a pickle runs code when it is read",
    r"\bmarshal\b": "no safe format",
    r"\byaml\.(load|unsafe_load|full_load)\(": "yaml.load runs code",
    r"\bshell\s*=\s*True": "a shell reads names as commands",
    r"\beval\(\s*[\"'(a-z]": "eval runs code",
    r"\bexec\(": "exec runs code",
    r"trust_remote_code\s*=\s*True": "runs code from a hub",
}


@pytest.mark.parametrize("path", SOURCES, ids=_shown)
def test_nothing_unsafe_is_called(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    _drop_docstrings(tree)
    # Without comments and docstrings, which may well say why something is not done.
    code = "\n".join(
        line
        for line in ast.unparse(tree).splitlines()
        if not re.search(r"\bself\._?\w*\.?eval\(|\.eval\(\)", line)
    )
    for pattern, why in UNSAFE.items():
        found = re.search(pattern, code)
        assert not found, f"{found[0] if found else ''}: {why}"
    # Weights alone of one package, checked by its sha256; see `convert` there.
    for call in _calls(tree, "torch", "load"):
        assert path.name == "_efficientnet.py"
        assert "weights_only=True" in map(ast.unparse, call.keywords), "a pickle can run code"


def test_a_pickle_that_may_run_code_is_seen() -> None:
    tree = ast.parse("torch.load(f)\ntorch.load(f, weights_only=True)\njson.load(f)\ntorch.save(f)")
    found = [list(map(ast.unparse, call.keywords)) for call in _calls(tree, "torch", "load")]
    assert found == [[], ["weights_only=True"]]


def _calls(tree: ast.AST, module: str, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"{module}.{name}"
    ]


def _drop_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                item
                for item in body
                if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
            ] or [ast.Pass()]


PLACES = re.compile(
    r"(?<![\w.~{}])/(home|root|work|opt|mnt|Users|tmp|var|usr|etc)/|[A-Z]:\\\\|\bmirrors?\.\w+\.\w+|"
    r"\b(?:10|192\.168|172\.1[6-9])\.\d+\.\d+"
)


def test_no_place_of_one_machine_is_named() -> None:
    names = [*SOURCES, *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "Makefile"]
    names += [ROOT / "constraints.txt", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    found = [
        f"{_shown(path)}:{number}: {line.strip()}"
        for path in names
        if path.exists()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PLACES.search(line) and not line.startswith("#!/usr/bin/env ")
    ]
    assert found == []
