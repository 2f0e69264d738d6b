"""Just enough of JSON Schema (2020-12) to judge an answer by its description."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_KNOWN = {
    *("$ref", "title", "description", "type", "properties", "required", "items", "enum"),
    *("anyOf", "format", "additionalProperties", "maxItems", "default"),
}


def faults(value: object, schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """What is wrong with ``value``; a property that the schema does not name is wrong, too."""
    return list(_faults(value, schema, document, "$"))


def _faults(
    value: object, schema: Mapping[str, Any], document: Mapping[str, Any], at: str
) -> Iterator[str]:
    assert set(schema) <= _KNOWN, f"{set(schema) - _KNOWN} is not read here"
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        yield from _faults(value, found, document, at)
        return
    if "anyOf" in schema:
        if all(faults(value, each, document) for each in schema["anyOf"]):
            yield f"{at}: {value!r} is nothing of what it may be"
        return
    if not _is_a(value, schema.get("type")):
        yield f"{at}: {value!r} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if schema.get("format") == "date-time" and not _is_utc(str(value)):
        yield f"{at}: {value!r} is not in UTC"
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{at}: too long"
        for index, item in enumerate(value):
            yield from _faults(item, schema.get("items", {}), document, f"{at}[{index}]")
    if isinstance(value, dict) and "properties" in schema:
        yield from _faults_in_object(value, schema, document, at)


def _faults_in_object(
    value: dict[str, object], schema: Mapping[str, Any], document: Mapping[str, Any], at: str
) -> Iterator[str]:
    for name in set(schema.get("required", ())) - set(value):
        yield f"{at}.{name}: missing"
    for name, item in value.items():
        if name in schema["properties"]:
            yield from _faults(item, schema["properties"][name], document, f"{at}.{name}")
        else:
            yield f"{at}.{name}: not described"


def _is_a(value: object, kind: str | None) -> bool:
    if kind is None:
        return True
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _is_utc(text: str) -> bool:
    return datetime.datetime.fromisoformat(text).utcoffset() == datetime.timedelta(0)
