"""What `volano init` writes: a short spec, and every default in its comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from volano.columns import column_kind, column_uses
from volano.spec import (
    CleanSpec,
    CompressSpec,
    GateSpec,
    SearchSpec,
    ServeSpec,
    SplitSpec,
    TrainSpec,
)
from volano.tasks import task_for_target

__all__ = ["quoted", "spec_text"]


def quoted(text: str) -> str:
    """A name as YAML: plain where that is safe, which `yes`, `null` and `on` are not."""
    plain = re.fullmatch(r"[A-Za-z_][\w ./-]*", text) and text.strip() == text
    if plain and yaml.safe_load(text) == text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t") + '"'


def _addresses(addresses: Sequence[str]) -> str:
    if len(addresses) == 1:
        return quoted(addresses[0])
    return "[" + ", ".join(quoted(address) for address in addresses) + "]"


def _typed(kind: str, options: Mapping[str, Any] | None) -> str:
    """A column's type, with its options where it has any that are not the defaults."""
    if not options:
        return kind
    named = ", ".join(f"{name}: {json.dumps(value)}" for name, value in options.items())
    return f"{{type: {kind}, {named}}}"


_SECTIONS: dict[str, tuple[type[BaseModel], str]] = {
    "clean": (CleanSpec, "rows that teach nothing or the wrong thing; all are counted"),
    "split": (SplitSpec, "golden rows judge every bundle and never train one"),
    "train": (TrainSpec, "how the model is fitted"),
    "search": (SearchSpec, "settings to try beside the good defaults"),
    "compress": (CompressSpec, "how small the bundle may become; 'compress: off' ships fp32"),
    "gate": (GateSpec, "when a candidate becomes the champion"),
    "serve": (ServeSpec, "the service"),
}


def spec_text(
    name: str,
    data: Sequence[str],
    test: Sequence[str],
    inputs: dict[str, str],
    target: str,
    target_kind: str,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """A spec with every default in a comment.

    Args:
      name: The wheel's.
      data: Addresses of the labelled rows.
      test: Addresses of golden rows; empty when some of the data are to be set aside.
      inputs: Column -> type.
      target: The column to predict.
      target_kind: Its type.
      options: Column -> options without which its values would be read otherwise.
    """
    options = options or {}
    lines = [
        "# What this wheel learns from, and what it predicts. `volano turn` does the rest.",
        "# Lines that start with '#' show the defaults; remove the '#' to change one.",
        "",
        f"name: {quoted(name)}",
        f"data: {_addresses(data)}",
        f"test: {_addresses(test)}"
        if test
        else "# test: golden.csv      # rows to judge on, "
        "used as they are; without it some are set aside",
        "",
        "inputs:",
    ]
    hinted: set[str] = set()
    for column, kind in inputs.items():
        lines.append(f"  {quoted(column)}: {_typed(kind, options.get(column))}")
        # Once for each type: a table may have a hundred numbers.
        hint = getattr(column_kind(kind), "hint", "")
        if hint and kind not in hinted:
            lines.append(f"  # {quoted(column)}: {hint}")
        hinted.add(kind)
    able = [kind for kind, use in column_uses().items() if use in ("target", "both")]
    asked = ", ".join(f"{kind} asks for {task_for_target(kind).kind}" for kind in able)
    written = _typed(target_kind, options.get(target))
    lines += ["target:", f"  {quoted(target)}: {written}", f"  # {asked}", ""]
    for section, (model, comment) in _SECTIONS.items():
        if section == "split" and test:
            continue
        lines.append(f"# {section}:   # {comment}")
        for field, info in model.model_fields.items():
            value = info.default
            if value is None:
                value = "null"
            elif isinstance(value, tuple):
                value = "[" + ", ".join(value) + "]"
            elif isinstance(value, float) and 0 < value < 1 and field != "learning_rate":
                value = f"{value * 100:g}%"
            lines.append(f"#   {f'{field}: {value}':<28} # {info.description}")
        lines.append("")
    lines.append(
        "# budget: 5m   # time for training: more models and settings are tried until then"
    )
    lines.append("# store: postgresql://USER@HOST/DATABASE   # default: SQLite in .volano/")
    return "\n".join(lines) + "\n"
