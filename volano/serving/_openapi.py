"""What the service takes and gives, as OpenAPI 3.1, with the columns and classes of its bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.runtime import Model
from volano.spec import ServeSpec

__all__ = ["describe"]

_TYPES: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "string"},
    "category": {"type": "string"},
    "number": {"type": "number"},
    "series": {"type": "array", "items": {"type": ["number", "null"]}},
}
"""Column type -> what a value of it is in JSON; others may be anything."""

_EXAMPLES: Mapping[str, Any] = {
    "string": "where is my parcel?",
    "number": 1.5,
    "array": [1.5, 1.7, 1.6],
}
_ID = "01932f6c2d0a70008f3c5a7e9b1d2c4f"


def describe(model: Model, name: str, serve: ServeSpec) -> dict[str, Any]:
    """The service's OpenAPI document.

    Args:
      model: The one that serves: its columns and classes are in the schemas.
      name: What the service is called.
      serve: Its limits.
    """
    classes = list(getattr(model.target, "names", ()))
    row = {name: dict(_TYPES.get(item.kind, {})) for name, item in model.inputs.items()}
    value: dict[str, Any] = dict(_TYPES.get(model.target.kind, {}))
    answer = {"enum": classes} if classes else value
    example = {
        key: _EXAMPLES.get(schema.get("type", "string"), "...") for key, schema in row.items()
    }
    chosen = classes[0] if classes else "..."
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": model.id[:16],
            "description": f"Predicts {model.target.name} from {', '.join(model.inputs)}.",
        },
        "paths": {
            "/v1/predict": {"post": _predict(example, chosen, model.id, serve)},
            "/v1/feedback": {"post": _feedback(chosen)},
            "/v1/queue": {"get": _queue()},
            "/v1/model": {"get": _get("What serves", "Model", "The bundle, its columns, metrics")},
            "/healthz": {"get": _get("Is the process up?", "Status", "It is")},
            "/readyz": {
                "get": _get("Can it answer and log?", "Status", "It can", ("503", "The log fails"))
            },
        },
        "components": {"schemas": _schemas(row, value, answer, serve)},
    }


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
    example: Mapping[str, Any], chosen: str, bundle: str, serve: ServeSpec
) -> dict[str, Any]:
    answer = {
        "id": _ID,
        "value": chosen,
        "probability": 0.97,
        "probabilities": {chosen: 0.97},
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


def _feedback(chosen: str) -> dict[str, Any]:
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
    row: Mapping[str, Any], value: Mapping[str, Any], answer: Mapping[str, Any], serve: ServeSpec
) -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "number"}
    maybe = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    seconds = {**number, "description": "Seconds since 1970, UTC"}
    named = _list(_object(["name", "type"], name=text, type=text))
    correction = _closed(
        ["prediction_id", "value"],
        prediction_id={**text, "minLength": 1, "maxLength": 64},
        value={**value, "description": "What is right"},
        who={"type": ["string", "null"], "maxLength": 200, "description": "Who says so"},
        new_class={
            "type": "boolean",
            "default": False,
            "description": "Take a class that the model does not know, for the next turn to learn",
        },
    )
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
            ["id", "value", "probability", "probabilities", "bundle", "notes"],
            id={**text, "description": "Joins feedback to this answer; sorts by time"},
            value=dict(answer),
            probability=maybe,
            probabilities={
                "type": "object",
                "additionalProperties": number,
                "description": "Highest first",
            },
            bundle=text,
            notes={**_list(text), "description": "What was lost on the way in, as text cut"},
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
            probability=maybe,
            gap=maybe,
            bundle=text,
            at=seconds,
        ),
        "Queue": _object(["queue"], queue=_list(_ref("Queued"))),
        "Model": _object(
            ["name", "bundle", "since", "inputs", "target", "classes", "metrics", "lineage"],
            name=text,
            bundle=text,
            since=seconds,
            inputs=named,
            target=named["items"],
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
