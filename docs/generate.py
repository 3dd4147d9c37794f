"""Writes those pages of docs/ that the code already knows: errors.md and spec.md.

    python docs/generate.py            # brings them in step
    python docs/generate.py --check    # exits with 1 when they are not

The one line that explains an error is written by hand, in errors.md itself, and is kept. A code
that is new gets a `?`, which a test refuses; one that no code raises any more goes.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from volano import errors, spec
from volano.columns import column_kind, column_kinds, column_uses

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "volano"
ERRORS = ROOT / "docs" / "errors.md"
SPEC = ROOT / "docs" / "spec.md"

CLASSES = {
    item.__name__: item.prefix
    for item in vars(errors).values()
    if isinstance(item, type) and issubclass(item, errors.VolanoError) and "prefix" in vars(item)
}
"""Name of an error class -> prefix of its codes."""


# Errors ----------------------------------------------------------------------------------------


def used_codes() -> dict[str, set[str]]:
    """Error code -> rooms that raise it, read from the source."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for code in _codes_in(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(code, set()).add(room)
    return found


def _codes_in(tree: ast.Module) -> Iterator[str]:
    computed: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
        if name not in CLASSES or name == "VolanoError" or not node.args:
            continue
        first = node.args[0]
        options = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
        for option in options:
            if isinstance(option, ast.Constant) and isinstance(option.value, int):
                yield f"{CLASSES[name]}-{option.value:03d}"
            elif isinstance(option, ast.Name):
                computed.add(CLASSES[name])
    for node in ast.walk(tree):
        bases = [getattr(base, "id", "") for base in getattr(node, "bases", [])]
        for base in (base for base in bases if base in CLASSES):
            for call in (item for item in ast.walk(node) if isinstance(item, ast.Call)):
                number = call.args[0] if ast.unparse(call.func) == "super().__init__" else None
                if isinstance(number, ast.Constant):
                    yield f"{CLASSES[base]}-{number.value:03d}"
    # A number that is computed is at least named in a docstring: `SPEC-001`, or `(002)` after it.
    for node in ast.walk(tree):
        if computed and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node) or ""
            prefix = ""
            for match in re.finditer(r"\b([A-Z]+)-(\d{3})\b|\((\d{3})\)", text):
                prefix = match[1] or prefix
                if prefix in computed:
                    yield f"{prefix}-{match[2] or match[3]}"


def explained_codes() -> dict[str, str]:
    """Error code -> the line in errors.md that explains it."""
    if not ERRORS.exists():
        return {}
    rows = re.findall(r"^\| ([A-Z]+-\d{3}) \| (.*?) \|", ERRORS.read_text(encoding="utf-8"), re.M)
    return dict(rows)


def errors_page() -> str:
    """errors.md as it should be."""
    used, explained = used_codes(), explained_codes()
    lines = [
        "# Errors",
        "",
        "Every error that is meant for you has a code, and a code keeps its meaning. A message has",
        "the same form everywhere: where, what happened with the value that was received, what was",
        "expected, and one line that repairs it. `--json` prints the same as",
        '`{"error": {"code": ..., "what": ..., "where": ..., "expected": ..., "fix": ...}}`,',
        "and so does the service. In Python all of them are `volano.errors.VolanoError`.",
        "",
        "The codes and rooms on this page are read from the source; `make docs` brings it in step.",
    ]
    for name, prefix in CLASSES.items():
        codes = sorted(code for code in used if code.startswith(f"{prefix}-"))
        if name == "VolanoError" or not codes:
            continue
        about = (getattr(errors, name).__doc__ or "").strip().splitlines()[0]
        lines += ["", f"## {prefix}: {name}", "", about, "", "| code | when | raised by |"]
        lines.append("|---|---|---|")
        for code in codes:
            rooms = ", ".join(sorted(used[code]))
            lines.append(f"| {code} | {explained.get(code, '?')} | {rooms} |")
    return "\n".join(lines) + "\n"


# Spec ------------------------------------------------------------------------------------------

TOP = {
    "version": "the form of the spec itself",
    "name": "what to call the wheel, in answers and reports",
    "data": "where the labelled rows are: a file, folder, glob or `pypi:` address, or a list of "
    "them ([data](data.md))",
    "test": "rows to judge on, used as they are; without it some of the data are set aside",
    "inputs": "columns to learn from: `NAME: TYPE`, or `NAME: {type: TYPE, ...}` with options",
    "target": "the one column to predict, in the same form",
    "budget": "time that training may take, such as `5m`: more models and settings are tried until "
    "it is over, and what the turn trained may be combined",
    "store": "where turns, predictions and feedback are kept: `postgresql://USER@HOST/DATABASE`; "
    "without it SQLite in `.volano/`",
}
"""The keys that are no sections. The sections describe themselves."""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(must be given)"
    value: Any = field.default
    if value is None or value == ():
        return "(none)"
    if isinstance(value, tuple):
        return "`[" + ", ".join(map(str, value)) + "]`"
    if isinstance(value, float) and 0 < value < 1:
        return f"`{value * 100:g}%`"
    return f"`{value}`"


def _kinds(annotation: Any) -> str:
    """The values that a key takes, in words."""
    if annotation is type(None):
        return "nothing"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    arguments = get_args(annotation)
    origin = str(getattr(annotation, "__origin__", ""))
    if "Literal" in origin:
        return ", ".join(f"`{item}`" for item in arguments)
    if "Annotated" in str(type(annotation)):
        return _kinds(arguments[0])
    if annotation is tuple or "tuple" in origin:
        return "list"
    return " or ".join(dict.fromkeys(_kinds(item) for item in arguments)) or "text"


def _limits(field: FieldInfo) -> str:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = {
        sign: f"{words} {getattr(item, sign):,}"
        for item in field.metadata
        for sign, words in signs.items()
        if hasattr(item, sign)
    }
    if "gt" in found:
        found.pop("ge", None)
    return ", ".join(found.values())


def _table(model: type[BaseModel], prefix: str, about: dict[str, str] | None = None) -> list[str]:
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        inner = _section(field.annotation) if about is None else None
        if inner is not None:
            lines += _table(inner, f"{prefix}{name}.")[2:]
            continue
        meaning = field.description or (about or {}).get(name, "?")
        limits = _limits(field)
        values = _kinds(field.annotation) + (f", {limits}" if limits else "")
        lines.append(f"| `{prefix}{name}` | {_default(field)} | {values} | {meaning} |")
    return lines


def _options_about(model: type[BaseModel]) -> dict[str, str]:
    """Option -> what its class's docstring says of it."""
    text = re.sub(r"\n {4,}", " ", inspect.cleandoc(model.__doc__ or ""))
    rows = re.findall(r"^ +(\w+): (.+)$", text, re.M)
    return {name: what.rstrip(".").replace("``", "`") for name, what in rows}


def spec_page() -> str:
    """spec.md as it should be."""
    lines = [
        "# The spec: volano.yaml",
        "",
        "A spec can be this short; everything else has a default.",
        "",
        "```yaml",
        "name: reviews",
        "data: reviews.csv",
        "inputs: {text: text}",
        "target: {sentiment: category}",
        "```",
        "",
        "`volano init` writes one, with all defaults spelled out as comments. A spec is strict:",
        "an unknown key, a wrong type and a combination that cannot be are all reported together,",
        "each with its line and the nearest known name. A share may be written `0.5%` or `0.005`,",
        "a size `1MB`, a time `5ms` or `2s`. Relative paths start in the wheel's folder.",
        "",
        "This page is written from the code; `make docs` brings it in step.",
        "",
        "## The whole",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    sections: dict[str, type[BaseModel]] = {}
    for name, field in spec.Spec.model_fields.items():
        model = _section(field.annotation)
        if model is not None and name not in TOP:
            sections[name] = model
            about = (model.__doc__ or "").strip().splitlines()[0].rstrip(".")
            lines.append(f"| `{name}` | see [below](#{name}) | {about} |")
        else:
            lines.append(f"| `{name}` | {_default(field)} | {TOP[name]} |")
    lines += ["", "## inputs and target", ""]
    lines += ["| type | may be | options |", "|---|---|---|"]
    for kind in column_kinds():
        use = {"input": "an input", "target": "the target", "both": "either"}[column_uses()[kind]]
        options = ", ".join(f"`{name}`" for name in column_kind(kind).Options.model_fields)
        lines.append(f"| [`{kind}`](columns/{kind}.md) | {use} | {options or 'none'} |")
    for kind in column_kinds():
        model = column_kind(kind).Options
        if model.model_fields:
            lines += ["", f"Options of `{kind}`:", ""]
            lines += _table(model, "", _options_about(model))
    for name, model in sections.items():
        lines += ["", f"## {name}", "", (model.__doc__ or "").strip().splitlines()[0], ""]
        if name == "compress":
            lines += ["`compress: off` ships the graph as it was trained, in fp32.", ""]
        lines += _table(model, f"{name}.")
    return "\n".join(lines) + "\n"


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section(item) for item in get_args(annotation))
    return next((item for item in found if item is not None), None)


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for path, text in ((ERRORS, errors_page()), (SPEC, spec_page())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(("out of step: " if "--check" in sys.argv else "wrote ") + ", ".join(stale))
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
