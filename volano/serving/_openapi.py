"""What the service takes and gives, as OpenAPI 3.1, with the columns and classes of its bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.columns import schema_of
from volano.runtime import Model
from volano.spec import ServeSpec

__all__ = ["describe"]

_ID = "01932f6c2d0a70008f3c5a7e9b1d2c4f"


_MAYBE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_GAP = (
    "Small where a label teaches most: how far the best answer is ahead of the second; where "
    "answers have no probability, 1 / (1 + number of notes)"
)
_FIELDS: Mapping[str, tuple[Mapping[str, Any], Any]] = {
    "probability": (_MAYBE, 0.97),
    "low": (
        {
            "type": ["number", "null"],
            "description": "Lower end of the interval in which the right value is meant to lie",
        },
        0.5,
    ),
    "high": ({"type": ["number", "null"], "description": "Its upper end"}, 2.5),
}
"""What an answer may have beside its value: name -> its schema, and an example."""


def describe(model: Model, name: str, serve: ServeSpec) -> dict[str, Any]:
    """The service's OpenAPI document.

    Args:
      model: The one that serves: its columns and classes are in the schemas.
      name: What the service is called.
      serve: Its limits.
    """
    row = {name: schema_of(item) for name, item in model.inputs.items()}
    answer = _answer_schema(model)
    # Feedback may bring a name that is new.
    value = _open(answer)
    example = {name: _example(schema) for name, schema in row.items()}
    chosen = _example(answer)
    fields = [name for name in _FIELDS if name in model.task.fields]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": model.id[:16],
            "description": f"Predicts {model.target.name} from {', '.join(model.inputs)}.",
        },
        "paths": {
            "/v1/predict": {"post": _predict(example, chosen, fields, model.id, serve)},
            "/v1/feedback": {"post": _feedback(chosen)},
            "/v1/queue": {"get": _queue()},
            "/v1/model": {"get": _get("What serves", "Model", "The bundle, its columns, metrics")},
            "/healthz": {"get": _get("Is the process up?", "Status", "It is")},
            "/readyz": {
                "get": _get("Can it answer and log?", "Status", "It can", ("503", "The log fails"))
            },
        },
        "components": {"schemas": _schemas(row, value, answer, fields, serve)},
    }


def _open(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema that names are not listed in, of one name or of several."""
    if "enum" in answer:
        return {"type": "string"}
    if "enum" in answer.get("items", ()):
        return {**answer, "items": {"type": "string"}}
    return answer


def _names(schema: Mapping[str, Any]) -> bool:
    """Whether a value is one name or several."""
    return "enum" in schema or "enum" in schema.get("items", ())


def _answer_schema(model: Model) -> dict[str, Any]:
    """A value of the target; unlike an input, it is never null."""
    schema = schema_of(model.target)
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind != "null"]
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    return schema


def _example(schema: Mapping[str, Any]) -> Any:
    return next(iter(schema.get("examples", ())), "...")


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(name: str, **examples: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _ref(name)}
    if examples:
        content["examples"] = {key: {"value": value} for key, value in examples.items()}
    return {"application/json": content}


def _responses(name: str, about: str, *errors: tuple[str, str], **examples: Any) -> dict[str, Any]:
    found = {"200": {"description": about, "content": _content(name, **examples)}}
    for status, why in errors:
        found[status] = {"description": why, "content": _content("Error")}
    return found


_BAD_BODY = (
    ("400", "The body or the query cannot be read"),
    ("408", "The body came too slowly"),
    ("413", "Too many rows or bytes"),
    ("415", "The body is not declared as application/json"),
    ("422", "A row, a column or a value is wrong"),
    ("500", "A fault of the service; has the number of the incident"),
    ("503", "Overloaded, or the log cannot be written; try again after Retry-After seconds"),
)


def _predict(
    example: Mapping[str, Any], chosen: Any, fields: Sequence[str], bundle: str, serve: ServeSpec
) -> dict[str, Any]:
    answer = {
        "id": _ID,
        "value": chosen,
        **{name: _FIELDS[name][1] for name in fields},
        **({"probabilities": _likely(chosen)} if "probability" in fields else {}),
        "bundle": bundle,
        "notes": [],
    }
    return {
        "operationId": "predict",
        "summary": f"Answer one row, or up to {serve.max_request_rows}",
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "required": False,
                "description": "Give only the K highest probabilities of each answer.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": _content("Rows", one={"row": example}, many={"rows": [example, example]}),
        },
        "responses": _responses(
            "Predictions",
            "One answer per row, in order",
            *_BAD_BODY,
            answer={"predictions": [answer]},
        ),
    }


def _likely(chosen: Any) -> dict[str, float]:
    """Probabilities of an example."""
    names = chosen if isinstance(chosen, list) else [chosen]
    return dict.fromkeys(names, 0.97)


def _feedback(chosen: Any) -> dict[str, Any]:
    one = {"prediction_id": _ID, "value": chosen, "who": "ada"}
    return {
        "operationId": "feedback",
        "summary": "Say what the right answer was, once or often; the last word counts",
        "requestBody": {
            "required": True,
            "content": _content("Feedback", one=one, many={"items": [one]}),
        },
        "responses": _responses(
            "Recorded",
            "All were recorded",
            ("404", "A prediction is not known; nothing was recorded"),
            *_BAD_BODY,
            answer={"recorded": 1, "notes": []},
        ),
    }


def _queue() -> dict[str, Any]:
    return {
        "operationId": "queue",
        "summary": "The answers most worth a person's label, the best first",
        "parameters": [
            {
                "name": "limit",
                "in": "query",
                "required": False,
                "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20},
            }
        ],
        "responses": _responses(
            "Queue", "The queue", ("400", "The limit is wrong"), ("404", "There is no log")
        ),
    }


def _get(summary: str, name: str, about: str, *errors: tuple[str, str]) -> dict[str, Any]:
    return {"summary": summary, "responses": _responses(name, about, *errors)}


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _closed(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {**_object(required, **properties), "additionalProperties": False}


def _list(items: Any, **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


def _schemas(
    row: Mapping[str, Any],
    value: Mapping[str, Any],
    answer: Mapping[str, Any],
    fields: Sequence[str],
    serve: ServeSpec,
) -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "number"}
    seconds = {**number, "description": "Seconds since 1970, UTC"}
    about = _object(
        ["name", "type"],
        name=text,
        type=text,
        low={**number, "description": "The smallest number of the training rows"},
        high={**number, "description": "The largest"},
        names={**_list(text), "description": "Some names of a category"},
        num_names={"type": "integer"},
    )
    id_ = {**text, "minLength": 1, "maxLength": 64}
    correction = _closed(
        ["value"],
        prediction_id=id_,
        id={**id_, "description": "The same, by the name that it has in an answer"},
        value={**value, "description": "What is right"},
        who={"type": ["string", "null"], "maxLength": 200, "description": "Who says so"},
    )
    correction["anyOf"] = [{"required": ["prediction_id"]}, {"required": ["id"]}]
    # An interval is only there where validation rows were enough to say how wide it has to be.
    always = ("probability", "probabilities")
    beside: dict[str, Any] = {name: dict(_FIELDS[name][0]) for name in fields}
    if answer.get("type") == "object":
        # A forecast's interval has the form of its value: series -> one end for each step.
        beside = {name: {**answer, "description": beside[name]["description"]} for name in fields}
    if "probability" in fields:
        beside["probabilities"] = {
            "type": "object",
            "additionalProperties": number,
            "description": "Highest first",
        }
    new_class = {
        "type": "boolean",
        "default": False,
        "description": "Take a class that the model does not know, for the next turn to learn",
    }
    if _names(answer):
        correction["properties"]["new_class"] = new_class
    return {
        "Row": _closed(list(row), **row),
        "Rows": {
            "oneOf": [
                _closed(["row"], row=_ref("Row")),
                _closed(
                    ["rows"], rows=_list(_ref("Row"), minItems=1, maxItems=serve.max_request_rows)
                ),
            ]
        },
        "Prediction": _object(
            ["id", "value", *(name for name in beside if name in always), "bundle", "notes"],
            id={**text, "description": "Joins feedback to this answer; sorts by time"},
            value=dict(answer),
            **beside,
            bundle=text,
            notes={
                **_list(text),
                "description": "What was lost or unlike the training rows on the way in: text that "
                "was cut, a name that was not seen, a number beyond their range",
            },
        ),
        "Predictions": _object(["predictions"], predictions=_list(_ref("Prediction"))),
        "Correction": correction,
        "Feedback": {
            "oneOf": [
                _ref("Correction"),
                _closed(
                    ["items"],
                    items=_list(_ref("Correction"), minItems=1, maxItems=serve.max_request_rows),
                ),
            ]
        },
        "Recorded": _object(["recorded", "notes"], recorded={"type": "integer"}, notes=_list(text)),
        "Queued": _object(
            ["prediction_id", "inputs", "value", "probability", "gap", "bundle", "at"],
            prediction_id=text,
            inputs={"type": "object"},
            value={},
            probability=_MAYBE,
            gap={**_MAYBE, "description": _GAP},
            bundle=text,
            at=seconds,
        ),
        "Queue": _object(["queue"], queue=_list(_ref("Queued"))),
        "Model": _object(
            ["name", "bundle", "since", "inputs", "target", "classes", "metrics", "lineage"],
            name=text,
            bundle=text,
            since=seconds,
            inputs=_list(about),
            target=about,
            classes=_list(text),
            metrics={"type": "object"},
            lineage={"type": "object"},
            problem={**text, "description": "Why the newest champion does not serve"},
        ),
        "Status": _object(["status"], status=text),
        "Error": _object(
            ["error"],
            error=_object(
                ["code", "what"],
                code=text,
                what=text,
                where=text,
                expected=text,
                nearest=text,
                fix=text,
                incident=text,
            ),
        ),
    }
