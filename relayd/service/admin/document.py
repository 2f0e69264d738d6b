"""Writes ``docs/openapi.json`` from the table of routes and the shapes of their answers.

``python -m relayd.service.admin.document`` in a checkout rewrites the file; a test keeps it true.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

import relayd
from relayd.observe.metrics_text import TextFormat
from relayd.service.admin.routes import DESCRIBED, Operation, Parameter
from relayd.service.admin.shapes import ErrorAnswer, Shape

PATH: Final = Path(__file__).parents[3] / "docs" / "openapi.json"

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_REFERENCE: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = """\
What operators and their programs can ask of a running relayd, over `server.admin`. On a unix \
socket whoever may open the file may ask; over TCP every request carries \
`Authorization: Bearer` with `server.admin_token`, and its Host is the listener's own address or \
a loopback one. A request with an `Origin` header is refused: this is not for web pages. A GET \
answers HEAD too. Names are those of the log (docs/events.md); what is not known is null."""

_COMMON: Final = {
    HTTPStatus.BAD_REQUEST: "The request is malformed, or has a parameter that is not known.",
    HTTPStatus.UNAUTHORIZED: "Over TCP: the admin token is missing or wrong.",
    HTTPStatus.FORBIDDEN: "The request has an Origin; or, over TCP, the Host is another. Of a call"
    " of a tool: it is not allowed.",
}
_MEANINGS: Final = {
    HTTPStatus.NOT_FOUND: "There is no such session, account or device.",
    HTTPStatus.CONFLICT: "Not as things are.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The configuration has mistakes, and nothing was changed.",
    HTTPStatus.SERVICE_UNAVAILABLE: "relayd is not ready.",
    HTTPStatus.BAD_GATEWAY: "The device did not answer in a way that can be read.",
    HTTPStatus.GATEWAY_TIMEOUT: "The device did not answer in time, or went away.",
}


def document() -> dict[str, Json]:
    """The whole description, as OpenAPI 3.1 has it."""
    shapes: list[type[Shape]] = [ErrorAnswer]
    for each in DESCRIBED:
        said = (*each.answers.values(), each.body)
        shapes += (shape for shape in said if shape is not None)
    _, components = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    paths: dict[str, Json] = {}
    for each in DESCRIBED:
        path = paths.setdefault(each.pattern, {})
        assert isinstance(path, dict)
        path[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "relayd's admin API",
            "version": relayd.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost", "description": "over the unix socket"}],
        # Either: over TCP the token, on a unix socket nothing.
        "security": [{"admin_token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": {name: _numbers(components[name]) for name in sorted(components)},
            "securitySchemes": {"admin_token": {"type": "http", "scheme": "bearer"}},
        },
    }


def render() -> str:
    """The file's text."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _operation(operation: Operation) -> dict[str, Json]:
    names = [part[1:-1] for part in operation.pattern.split("/") if part.startswith("{")]
    in_path: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    answers = dict.fromkeys(map(int, _COMMON), ErrorAnswer) | dict(operation.answers)
    responses: dict[str, Json] = {
        str(status): _response(status, answers[status]) for status in sorted(answers)
    }
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*in_path, *map(_parameter, operation.parameters)],
        **_body(operation.body),
        "responses": responses,
    }


def _body(shape: type[Shape] | None) -> dict[str, Json]:
    if shape is None:
        return {}
    return {"requestBody": {"content": _content_of(shape)}}


def _parameter(parameter: Parameter) -> dict[str, Json]:
    flag: dict[str, Json] = {"allowEmptyValue": True} if parameter.is_flag else {}
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.meaning,
        **flag,
        "schema": {"type": parameter.kind},
    }


def _response(status: int, shape: type[Shape] | None) -> dict[str, Json]:
    if shape is None:
        text: Json = {"schema": {"type": "string"}}
        return {"description": "The metrics.", "content": {form.value: text for form in TextFormat}}
    code = HTTPStatus(status)
    said = _COMMON.get(code) or _MEANINGS.get(code) or (shape.__doc__ or "").partition("\n")[0]
    return {"description": said, "content": _content_of(shape)}


def _content_of(shape: type[Shape]) -> Json:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(name=shape.__name__)}}}


def _numbers(schema: object) -> Json:
    """A schema in which decimals are what the encoder makes of them: numbers."""
    match schema:
        case {"type": "string", "format": "decimal"}:
            return {"type": "number"}
        case dict():
            return {str(name): _numbers(value) for name, value in schema.items()}
        case list():
            return [_numbers(item) for item in schema]
        case str() | int() | float() | bool() | None:
            return schema
    raise AssertionError(f"a schema does not hold {type(schema).__name__}")


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
