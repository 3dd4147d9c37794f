"""From a YAML document to a `Spec`, with all that is wrong reported at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from volano.errors import SpecError, SpecErrors, nearest, shorten
from volano.spec._document import Document, Key, parse_document, read_document
from volano.spec._hints import FORMS, meant
from volano.spec._model import CompressSpec, ServeSpec, Spec
from volano.spec._networks import network_combinations

__all__ = ["ColumnOptions", "changed_serve", "digest", "is_reserved", "load_spec", "parse_spec"]

ColumnOptions = Callable[[str], type[BaseModel] | None]
"""Column type -> the model of its options, or None when there is no such type."""

RESERVED_NAMES = frozenset({"prediction_id", "row_number", "bundle_id", "who", "value"})
"""Names that answers and feedback use themselves."""


def is_reserved(name: str) -> bool:
    """Whether a column may not have this name, since answers or feedback use it."""
    return name in RESERVED_NAMES or name.endswith(("_predicted", "_probability"))


def load_spec(
    path: Path,
    *,
    column_options: ColumnOptions,
    column_types: Mapping[str, str],
    passes: Sequence[str] | None = None,
) -> Spec:
    """Read and check a spec file.

    Args:
      path: The YAML file.
      column_options: Looks up the options model of a column type.
      column_types: Known column types -> ``input``, ``target`` or ``both``.
      passes: Known compression passes; None does not look at their names.
    Raises:
      SpecErrors: All that is wrong, in the order of the file.
    """
    return _build(read_document(path), column_options, column_types, passes)


def parse_spec(
    text: str,
    *,
    column_options: ColumnOptions,
    column_types: Mapping[str, str],
    passes: Sequence[str] | None = None,
    source: str = "<spec>",
) -> Spec:
    """As `load_spec`, from text."""
    return _build(parse_document(text, source=source), column_options, column_types, passes)


def digest(value: object) -> str:
    """SHA-256 of a JSON-able value or model, independent of the order of keys.

    Example:
      >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
      True
    """

    def plain(item: object) -> object:
        if isinstance(item, BaseModel):
            return item.model_dump(mode="json")
        if isinstance(item, Mapping):
            return dict(item)
        raise TypeError(type(item))

    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=plain
    )
    return hashlib.sha256(text.encode()).hexdigest()


def changed_serve(serve: ServeSpec, **changes: Any) -> ServeSpec:
    """A ``serve`` section with some of its values replaced, checked as the spec's are.

    Raises:
      SpecErrors: A change is not one that the spec could hold.
    """
    try:
        return ServeSpec.model_validate({**serve.model_dump(), **changes})
    except ValidationError as error:
        document = Document("serve", {})
        raise SpecErrors(list(_translate(document, error, ServeSpec, ("serve",)))) from None


def _build(
    document: Document,
    column_options: ColumnOptions,
    column_types: Mapping[str, str],
    known_passes: Sequence[str] | None,
) -> Spec:
    errors = list(document.errors)
    raw = dict(document.values)
    for name in ("data", "test"):
        if isinstance(raw.get(name), str):
            raw[name] = (raw[name],)
        elif isinstance(raw.get(name), list):
            raw[name] = tuple(raw[name])
        elif name == "test" and raw.get(name) is None:
            raw.pop(name, None)
        errors.extend(_empty_paths(document, name))
    for section in ("inputs", "target"):
        columns = raw.get(section)
        if isinstance(columns, dict):
            wanted = "input" if section == "inputs" else "target"
            raw[section] = {
                name: _column(
                    document, (section, name), value, wanted, column_options, column_types, errors
                )
                # By name: two specs that differ only in the order of their keys are the same.
                for name, value in sorted(columns.items())
            }
    compress = raw.get("compress")
    if isinstance(compress, dict):
        if isinstance(compress.get("passes"), list):
            errors.extend(_passes(document, compress["passes"], known_passes))
        if isinstance(compress.get("unlabelled"), str):
            compress = {**compress, "unlabelled": (compress["unlabelled"],)}
        raw["compress"] = _listed(compress)
        if isinstance(compress.get("endpoint"), dict):
            raw["compress"]["endpoint"] = _listed(compress["endpoint"])
    train = raw.get("train")
    if isinstance(train, dict):
        if isinstance(train.get("models"), str) and train["models"] != "auto":
            # `models: linear` can only mean one thing.
            train = {**train, "models": (train["models"],)}
        raw["train"] = _listed(train)
    errors.extend(_combinations(document))
    errors.extend(network_combinations(document))
    spec = None
    try:
        spec = Spec.model_validate(raw)
    except ValidationError as error:
        errors.extend(_translate(document, error, Spec, ()))
    if errors:
        raise SpecErrors(sorted(_unique(errors), key=_line))
    assert spec is not None
    return spec


def _listed(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section whose lists are such as frozen values have them."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in section.items()
    }


def _column(
    document: Document,
    key: Key,
    value: object,
    wanted: str,
    column_options: ColumnOptions,
    column_types: Mapping[str, str],
    errors: list[SpecError],
) -> dict[str, Any]:
    """``text`` and ``{type: text, max_tokens: 64}`` both become {type, options}."""
    name = key[-1]
    fallback = {"type": "?", "options": {}}
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        errors.append(
            SpecError(
                14,
                f"the column {name!r} has no type: it is {_shown(value)}",
                where=document.where(key),
                expected="a column type: " + ", ".join(sorted(column_types)),
                fix=f"{name}: {{type: text}}",
            )
        )
        return fallback
    kind = value["type"]
    options = {option: item for option, item in value.items() if option != "type"}
    if kind not in column_types:
        errors.append(
            SpecError(
                15,
                f"there is no column type {kind!r}",
                where=document.where(key),
                expected="one of " + ", ".join(sorted(column_types)),
                nearest=nearest(kind, column_types),
            )
        )
        return fallback
    if column_types[kind] not in (wanted, "both"):
        able = sorted(name for name, use in column_types.items() if use in (wanted, "both"))
        errors.append(
            SpecError(
                16,
                f"a column of type {kind!r} cannot be "
                + ("an input" if wanted == "input" else "the target"),
                where=document.where(key),
                expected="one of " + ", ".join(able),
            )
        )
        return fallback
    model = column_options(kind)
    if model is None:
        return {"type": kind, "options": options}
    try:
        checked = model.model_validate(options)
    except ValidationError as error:
        errors.extend(_translate(document, error, model, key))
        return {"type": kind, "options": {}}
    return {"type": kind, "options": checked.model_dump(mode="json")}


def _empty_paths(document: Document, name: str) -> Iterator[SpecError]:
    """An empty path would stand for the whole folder of the wheel."""
    value = document.values.get(name)
    items = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
    for place, item in items:
        if isinstance(item, str) and not item.strip():
            yield SpecError(
                12,
                f"{name if place is None else f'{name}.{place}'} is {shorten(item)}",
                where=document.where((name,) if place is None else (name, place)),
                expected="a path, or a list of paths",
                fix=f"{name}: reviews.csv",
            )


def _passes(
    document: Document, names: Sequence[Any], known: Sequence[str] | None
) -> Iterator[SpecError]:
    for place, name in enumerate(names):
        where = document.where(("compress", "passes", place))
        if name in names[:place]:
            yield SpecError(
                41, f"the pass {shorten(name)} is given twice", where=where, expected="each once"
            )
        elif known is not None and isinstance(name, str) and name not in known:
            yield SpecError(
                40,
                f"there is no compression pass {shorten(name)}",
                where=where,
                expected="one of " + ", ".join(sorted(known)),
                nearest=nearest(name, known),
            )


def _combinations(document: Document) -> Iterator[SpecError]:
    """What is wrong although each value is right by itself. Reads raw values, trusting none."""
    raw = document.values

    def section(name: str) -> dict[str, Any]:
        value = raw.get(name)
        return value if isinstance(value, dict) else {}

    inputs, target, split = section("inputs"), section("target"), section("split")
    for name in sorted(set(inputs) & set(target)):
        yield SpecError(
            30,
            f"the column {name!r} is both an input and the target",
            where=document.where(("inputs", name)),
            expected="a target that is not among the inputs, or the answer is given away",
            fix=f"remove {name!r} from inputs",
        )
    for part in ("inputs", "target"):
        for name in section(part):
            if is_reserved(name):
                yield SpecError(
                    31,
                    f"the column name {name!r} is one that answers use themselves",
                    where=document.where((part, name)),
                    expected="another name",
                    fix=f"rename the column {name!r} in the data",
                )
    # Answers of numbers come with the ends of an interval, in columns named after the target.
    ends = {f"{name}_{end}" for name in target for end in ("low", "high")}
    for name in sorted(ends & set(inputs)):
        yield SpecError(
            31,
            f"the column name {name!r} is one that answers use themselves",
            where=document.where(("inputs", name)),
            expected="another name",
            fix=f"rename the column {name!r} in the data",
        )
    if raw.get("test") and "golden" in split:
        yield SpecError(
            32,
            "both 'test' and 'split.golden' are given",
            where=document.where(("split", "golden")),
            expected="one of them: a test table is used as the golden rows, as it is",
            fix="remove split.golden",
        )
    yield from _labelling(document, section("compress"), inputs, target)
    yield from _training(document, section("train"), target)
    store = raw.get("store")
    if isinstance(store, str) and not store.startswith(
        ("sqlite:///", "postgresql://", "postgresql+psycopg://")
    ):
        yield SpecError(
            33,
            f"the store's address is {shorten(store)}",
            where=document.where(("store",)),
            expected="sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        )


_LOSSES = {
    "number": ("squared", "absolute", "huber", "quantile"),
    "category": ("cross_entropy", "focal"),
}
"""Type of the target -> losses that it takes; other types choose their own."""


def _labelling(
    document: Document, compress: Mapping[str, Any], inputs: Any, target: Any
) -> Iterator[SpecError]:
    """What an endpoint needs: rows to label, columns that are there, and names."""
    endpoint = compress.get("endpoint")
    if not isinstance(endpoint, dict):
        return
    where = ("compress", "endpoint")
    if not compress.get("unlabelled"):
        yield SpecError(
            50,
            "compress.endpoint is given, and there are no rows for it to label",
            where=document.where(where),
            expected="compress.unlabelled beside it",
            fix="unlabelled: more.csv",
        )
    kinds = [value.get("type") if isinstance(value, dict) else value for value in target.values()]
    if kinds not in ([], ["category"]):
        yield SpecError(
            51,
            f"compress.endpoint is given, and the target is of type {kinds[0]}",
            where=document.where(where),
            expected="a target of type category: an endpoint chooses one of its names",
            fix="remove compress.endpoint",
        )
    columns = endpoint.get("columns")
    for name in columns if isinstance(columns, (list, tuple)) else ():
        if name not in inputs:
            yield SpecError(
                52,
                f"compress.endpoint sends {shorten(name)}, which is no input",
                where=document.where((*where, "columns")),
                expected="some of " + ", ".join(map(str, inputs)),
                nearest=nearest(str(name), list(map(str, inputs))),
            )


def _training(
    document: Document, train: Mapping[str, Any], target: Mapping[str, Any]
) -> Iterator[SpecError]:
    """Settings of training that contradict each other, the target, or what judges them."""
    gate = document.values.get("gate")
    judged = isinstance(gate, dict) and gate.get("metric") == "pinball"
    if judged and train.get("loss") != "quantile":
        yield SpecError(
            48,
            "gate.metric is pinball, which judges a quantile, and nothing learns one",
            where=document.where(("gate", "metric")),
            expected="pinball together with train: {loss: quantile}",
            fix="gate: {metric: absolute_error}",
        )
    kind = next(iter(target.values()), None)
    kind = kind.get("type") if isinstance(kind, dict) else kind
    loss, penalty = train.get("loss", "auto"), train.get("penalty", "auto")
    known = _LOSSES.get(kind) if isinstance(kind, str) else None
    every = [name for names in _LOSSES.values() for name in names]
    if known and loss in every and loss not in known:
        yield SpecError(
            45,
            f"the loss {loss} is none of a target of type {kind}",
            where=document.where(("train", "loss")),
            expected=", ".join(("auto", *known)),
            fix="train: {loss: auto}",
        )
    elif train.get("solver") == "exact":
        reason = ""
        if kind == "category":
            reason = "names have no exact solution"
        elif loss in every and loss != "squared":
            reason = f"the loss {loss} has no exact solution"
        elif penalty in ("l1", "elastic"):
            reason = f"the penalty {penalty} has no exact solution"
        if reason:
            yield SpecError(
                46,
                f"train.solver is exact, and {reason}",
                where=document.where(("train", "solver")),
                expected="exact with the squared loss of numbers, and penalty l2 or none",
                fix="train: {solver: auto}",
            )


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping, as in {name: value}",
    "mapping_type": "a mapping, as in {name: value}",
    "tuple_type": "a list",
    "model_type": "a mapping, as in {name: value}",
    "model_attributes_type": "a mapping, as in {name: value}",
}


def _translate(
    document: Document, error: ValidationError, model: type[BaseModel], prefix: Key
) -> Iterator[SpecError]:
    """Pydantic's findings in our words. A union's several complaints become one."""
    grouped: dict[Key, list[Any]] = {}
    for item in error.errors():
        key = _real_key(item["loc"], model)
        grouped.setdefault(key, []).append(item)
    for key, items in grouped.items():
        if any(len(other) > len(key) and other[: len(key)] == key for other in grouped):
            continue  # the other branch of a union; what is inside says it better
        place = document.where((*prefix, *key))
        name = ".".join(str(part) for part in (*prefix, *key))
        first = items[0]
        if first["type"] == "missing":
            yield SpecError(
                13,
                f"the key {name!r} is missing",
                where=document.where((*prefix, *key[:-1])),
                expected=_describe(model, key) or "a value",
            )
        elif first["type"] == "extra_forbidden":
            known = _known(model, key[:-1])
            yield SpecError(
                10,
                f"unknown key {name!r}",
                where=place,
                expected="one of " + ", ".join(sorted(known)) if known else None,
                nearest=nearest(key[-1], known),
            )
        else:
            wanted = []
            for item in items:
                if item["type"] == "literal_error":
                    wanted.append(item["ctx"]["expected"].replace("'", ""))
                else:
                    wanted.append(_expected(item, key))
            wrong_type = all(item["type"].endswith(("_type", "from_float")) for item in items)
            choices = [
                choice.strip()
                for item in items
                if item["type"] == "literal_error"
                for choice in item["ctx"]["expected"]
                .replace("'", "")
                .replace(" or ", ", ")
                .split(",")
            ]
            yield SpecError(
                11 if wrong_type else 12,
                f"{name} is {_shown(first['input'])}",
                where=place,
                expected=" or ".join(dict.fromkeys(wanted)),
                nearest=nearest(first["input"], choices)
                if isinstance(first["input"], str)
                else None,
                fix=meant(key, first["input"]),
            )


def _expected(item: Any, key: Key) -> str:
    """What pydantic wanted, in the words of the file."""
    if key in (("data",), ("test",), ("compress", "unlabelled")):
        return "a path, or a list of paths"
    if key in FORMS:
        return FORMS[key]
    if item["type"] in ("too_short", "too_long"):
        if key == ("target",):
            return "one column"
        context = item["ctx"]
        if item["type"] == "too_short":
            return f"at least {context['min_length']} of them"
        return f"at most {context['max_length']} of them"
    if item["type"] == "string_too_short":
        return "text that is not empty"
    message = str(item["msg"]).removeprefix("Input should be ")
    return _EXPECTED.get(item["type"], message)


def _shown(value: object) -> str:
    """A value as the file has it, where Python would show something else."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return shorten(list(value) if isinstance(value, tuple) else value)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not None:
        for argument in get_args(annotation):
            yield from _models(argument)


def _real_key(location: tuple[str | int, ...], model: type[BaseModel]) -> Key:
    """The location without the names that pydantic adds for the branches of a union."""
    key: list[str | int] = []
    current: type[BaseModel] | None = model
    inside_mapping = False
    for part in location:
        if current is not None and part in current.model_fields:
            key.append(part)
            annotation = current.model_fields[str(part)].annotation
            nested = list(_models(annotation))
            inside_mapping = (
                get_origin(annotation) is not None and bool(nested) and not _is_union(annotation)
            )
            current = nested[0] if nested and not inside_mapping else None
            pending = nested[0] if nested else None
        elif inside_mapping:
            key.append(part)
            current, inside_mapping = pending, False
        elif (
            part == CompressSpec.__name__
            or "literal[" in str(part)
            or str(part).startswith("constrained")
        ) or part in ("int", "float", "str", "tuple"):
            continue
        else:
            key.append(part)
    return tuple(key)


def _is_union(annotation: Any) -> bool:
    import types
    import typing

    return get_origin(annotation) in (typing.Union, types.UnionType)


def _walk(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in key:
        if current is None or part not in current.model_fields:
            return None
        current = next(_models(current.model_fields[str(part)].annotation), None)
    return current


def _known(model: type[BaseModel], key: Key) -> list[str]:
    found = _walk(model, key)
    return list(found.model_fields) if found else []


def _describe(model: type[BaseModel], key: Key) -> str | None:
    found = _walk(model, key[:-1])
    if found is None or key[-1] not in found.model_fields:
        return None
    examples = {
        "data": "where the rows are, as in 'data: reviews.csv'",
        "inputs": "the columns to learn from, as in 'inputs: {text: text}'",
        "target": "the column to predict, as in 'target: {sentiment: category}'",
        "name": "a name for the wheel, as in 'name: reviews'",
    }
    return examples.get(str(key[-1])) or found.model_fields[str(key[-1])].description


def _unique(errors: list[SpecError]) -> list[SpecError]:
    return list({str(error): error for error in errors}.values())


def _line(error: SpecError) -> int:
    _, _, line = (error.where or "").rpartition(":")
    return int(line) if line.isdigit() else 0
