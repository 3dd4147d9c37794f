"""Reading YAML with the line of every key, so that each complaint can point at its place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from volano.errors import SpecError, shorten

__all__ = ["Document", "Key", "read_document"]

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML file as plain values, and where each of them stands.

    Attributes:
      source: The name to show: a path, or ``<spec>`` for text.
      values: Mappings, lists and scalars as YAML means them.
      lines: Path of keys -> line number, from 1.
      errors: What was wrong with the file itself, such as a key given twice.
    """

    source: str
    values: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)
    errors: tuple[SpecError, ...] = ()

    def where(self, key: Key) -> str:
        """``file:line`` of a key, or of the nearest key above it that is in the file."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.lines:
                return f"{self.source}:{self.lines[key[:length]]}"
        return self.source


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
      SpecError: The file is not there (SPEC-001), is not UTF-8 or not YAML (SPEC-002), or holds
        something other than a mapping (SPEC-003).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError(
            1,
            "there is no spec here",
            where=str(path),
            expected="a volano.yaml",
            fix="volano init DATA --target COLUMN",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            2, f"the spec cannot be read ({error})", where=str(path), expected="UTF-8 text"
        ) from error
    return parse_document(text, source=path.name)


def parse_document(text: str, *, source: str = "<spec>") -> Document:
    """As `read_document`, from text."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SpecError(2, f"not YAML ({problem})", where=place, expected="YAML") from error
    except RecursionError:
        raise _too_deep(source) from None
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(
            3,
            "the spec is empty" if node is None else "the spec is not a mapping",
            where=source,
            expected="lines such as 'data: reviews.csv'",
            fix="volano init DATA --target COLUMN",
        )
    lines: dict[Key, int] = {}
    errors: list[SpecError] = []
    try:
        values = _convert(node, (), lines, errors, source)
    except RecursionError:
        raise _too_deep(source) from None
    return Document(source, values, lines, tuple(errors))


MOST_VALUES = 100_000
"""Values of a spec at the most: aliases of aliases can stand for more than memory holds."""


def _too_deep(source: str) -> SpecError:
    return SpecError(
        2,
        "the spec is nested too deeply, refers to itself, or stands for too many values",
        where=source,
        expected="a few levels of keys",
    )


_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")


def _is_text(value: str) -> bool:
    # An escape such as "\ud800" is half a character: no file, store or hash can hold it.
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _no_text(where: str, value: str) -> SpecError:
    return SpecError(
        2,
        f"a value cannot be read ({shorten(value)} holds half a character)",
        where=where,
        expected="plain text",
    )


def _convert(
    node: yaml.Node, path: Key, lines: dict[Key, int], errors: list[SpecError], source: str
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if len(lines) > MOST_VALUES:
        raise _too_deep(source)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # Keys are names: `on: text` means a column called "on", not the value true.
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            line = key_node.start_mark.line + 1
            if not _is_text(key):
                errors.append(_no_text(f"{source}:{line}", key))
                continue
            if key in mapping:
                errors.append(
                    SpecError(
                        4,
                        f"the key {key!r} is given twice, first on line {lines[(*path, key)]}",
                        where=f"{source}:{line}",
                        expected="each key once",
                    )
                )
                continue
            lines[(*path, key)] = line
            mapping[key] = _convert(value_node, (*path, key), lines, errors, source)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [
            _convert(child, (*path, index), lines, errors, source)
            for index, child in enumerate(node.value)
        ]
    if not _is_text(node.value):
        errors.append(_no_text(f"{source}:{node.start_mark.line + 1}", node.value))
        return None
    # YAML 1.2 reads 1e-4 as a number, PyYAML (1.1) as text; dates are text where nothing asks
    # for a date.
    if node.tag.endswith(":timestamp"):
        return str(node.value)
    if isinstance(node, yaml.ScalarNode) and node.style is None and _EXPONENT.fullmatch(node.value):
        number = float(node.value)
        return int(number) if number.is_integer() else number
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    # Explicit tags, as in `!!bool perhaps`, make PyYAML fail in ways of every kind.
    except Exception as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
        errors.append(
            SpecError(
                2,
                f"a value cannot be read ({problem})",
                where=f"{source}:{node.start_mark.line + 1}",
                expected="plain text, a number, true or false",
            )
        )
        return None
