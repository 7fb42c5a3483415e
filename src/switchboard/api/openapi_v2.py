"""OpenAPI v2 (Swagger 2.0), as JSON and as the protobuf of gnostic that kubectl before 1.25 validates with.

The same paths and schemas as v3, turned into the older form and encoded piece by piece: the whole document never stands
in memory. The protobuf's messages are in `objects/data/openapi_v2_protobuf.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from switchboard.api import openapi_discovery
from switchboard.api.openapi_paths import paths
from switchboard.api.settings import KUBERNETES_VERSION
from switchboard.objects import types
from switchboard.objects.kinds import Registry
from switchboard.objects.wire import BYTES, Codec, Special, write_varint

Schema = dict[str, Any]
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_INFO = {"title": "Kubernetes", "version": f"v{KUBERNETES_VERSION}"}
_SECURITY = {
    "BearerToken": {"type": "apiKey", "description": "A bearer token", "name": "authorization", "in": "header"}
}


def as_json(registries: Sequence[Registry], definitions: Iterable[tuple[str, Schema]]) -> Iterator[bytes]:
    """The document in pieces of JSON."""
    encode = msgspec.json.encode
    yield b'{"swagger":"2.0","info":' + encode(_INFO) + b',"paths":{'
    comma = b""
    for path, item in _paths(registries):
        yield comma + encode(path) + b":" + encode(item)
        comma = b","
    yield b'},"definitions":{'
    comma = b""
    for name, schema in definitions:
        yield comma + encode(name) + b":" + encode(v2_schema(schema))
        comma = b","
    yield b'},"securityDefinitions":' + encode(_SECURITY) + b',"security":[{"BearerToken":[]}]}\n'


def _paths(registries: Sequence[Registry]) -> Iterator[tuple[str, Schema]]:
    for path, item in openapi_discovery.alone_paths():
        yield path, _path_item(item)
    for registry in registries:
        for group in registry.groups():
            yield from ((path, _path_item(item)) for path, item in _discovery_paths(registry, group))
            for version in registry.versions(group):
                for path, item in paths(registry, group, version):
                    yield path, _path_item(item)


def _discovery_paths(registry: Registry, group: str) -> Iterator[tuple[str, Schema]]:
    if openapi_discovery.custom(registry, group):
        return
    if group:
        yield openapi_discovery.group(group)[:2]
    for version in registry.versions(group):
        yield openapi_discovery.version(group, version)[:2]


# --- v3 -> v2 ---

_DROPPED = frozenset({"nullable", "oneOf", "anyOf", "not", "$ref", "allOf"})
_KEPT = frozenset({"enum", "required", "example"})


def v2_schema(schema: Schema) -> Schema:
    """A schema of the type table (or of a custom kind) without what v2 does not have."""
    reference = schema.get("$ref")
    out: Schema = {"$ref": f"#/definitions/{reference}"} if isinstance(reference, str) else {}
    for key, value in schema.items():
        if key in _DROPPED or (key == "default" and value == {}):
            continue
        if key == "properties":
            out[key] = {name: v2_schema(inner) for name, inner in value.items()}
        elif key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
            out[key] = v2_schema(value)
        else:
            out[key] = value
    if "oneOf" in schema and "type" not in schema:
        out["type"] = "string"  # quantities and int-or-string, which v2 calls strings
    return out


def _parameter(parameter: Schema) -> Schema:
    flat = {key: value for key, value in parameter.items() if key != "schema"}
    schema: Schema = parameter["schema"]
    return flat | schema


def _body(body: Schema) -> Schema:
    schema = next(iter(body["content"].values()))["schema"]
    return {"name": "body", "in": "body", "schema": _short_ref(schema)} | (
        {"required": True} if "required" in body else {}
    )


def _short_ref(schema: Schema) -> Schema:
    reference = schema.get("$ref")
    return {"$ref": reference.replace("#/components/schemas/", "#/definitions/")} if reference else schema


def _operation(operation: Schema) -> Schema:
    out = {key: value for key, value in operation.items() if key not in ("requestBody", "parameters", "responses")}
    parameters = [_parameter(p) for p in operation["parameters"]]
    body = operation.get("requestBody")
    if body is not None:
        parameters.insert(0, _body(body))
        out["consumes"] = list(body["content"])
    out["parameters"] = parameters
    out["produces"] = ["application/json", "application/yaml"]
    out["responses"] = {}
    for code, answer in operation["responses"].items():
        shown = {"description": answer["description"]}
        if "content" in answer:
            shown["schema"] = _short_ref(next(iter(answer["content"].values()))["schema"])
        out["responses"][code] = shown
    out["schemes"] = ["https"]
    return out


def _path_item(item: Schema) -> Schema:
    out: Schema = {method: _operation(item[method]) for method in _METHODS if method in item}
    return out | {"parameters": [_parameter(p) for p in item.get("parameters", ())]}


# --- v2 -> the messages of gnostic ---


@cache
def _codec() -> Codec:
    return Codec(types.table("openapi_v2_protobuf"))


def _once(message: str, message_of: Callable[[Any], dict[str, Any]]) -> Special:
    """Encodes a message that stands in the document again and again as often as it differs."""
    known: dict[bytes, bytes] = {}

    def encode(value: Any) -> bytes:
        key = msgspec.json.encode(value)
        if (body := known.get(key)) is None:
            body = known[key] = _codec().encode(message, message_of(value))
        return body

    return (lambda body: _codec().decode(message, body)), encode


def _chunk(number: int, body: bytes) -> bytes:
    return write_varint(number << 3 | BYTES) + write_varint(len(body)) + body


def as_protobuf(registries: Sequence[Registry], definitions: Iterable[tuple[str, Schema]]) -> Iterator[bytes]:
    """The document as an `openapi.v2.Document` message, in pieces."""
    # parameters and answers are nine tenths of it, and mostly the same
    special = {
        "ParametersItem": _once("ParametersItem", _message_of_parameter),
        "NamedResponseValue": _once("NamedResponseValue", _message_of_response),
    }
    table = types.table("openapi_v2_protobuf")
    codec = Codec(table, special=special)
    yield codec.encode("Document", {"swagger": "2.0", "info": _INFO})
    number = {entry[0]: int(n) for n, entry in table["Document"]["fields"].items()}
    path_number = next(int(n) for n, entry in table["Paths"]["fields"].items() if entry[0] == "path")
    pieces = [
        _chunk(path_number, codec.encode("NamedPathItem", {"name": path, "value": _message_of_item(item)}))
        for path, item in _paths(registries)
    ]
    yield _chunk(number["paths"], b"".join(pieces))
    schemas = [
        _chunk(1, codec.encode("NamedSchema", {"name": name, "value": _message_of_schema(v2_schema(schema))}))
        for name, schema in definitions
    ]
    yield _chunk(number["definitions"], b"".join(schemas))


def _any(value: Any) -> dict[str, str]:
    """gnostic keeps values of any type as YAML text, of which JSON is a part."""
    return {"yaml": msgspec.json.encode(value).decode() + "\n"}


def _extensions(fields: Schema) -> list[dict[str, Any]]:
    return [{"name": key, "value": _any(value)} for key, value in fields.items() if key.startswith("x-")]


# key in the document -> field of the message, where only the spelling differs
_PLAIN = {
    "$ref": "_ref",
    "format": "format",
    "title": "title",
    "description": "description",
    "multipleOf": "multiple_of",
    "maximum": "maximum",
    "exclusiveMaximum": "exclusive_maximum",
    "minimum": "minimum",
    "exclusiveMinimum": "exclusive_minimum",
    "maxLength": "max_length",
    "minLength": "min_length",
    "pattern": "pattern",
    "maxItems": "max_items",
    "minItems": "min_items",
    "uniqueItems": "unique_items",
    "maxProperties": "max_properties",
    "minProperties": "min_properties",
    "required": "required",
    "name": "name",
    "in": "in",
}


def _message_of_schema(schema: Schema) -> dict[str, Any]:
    out: dict[str, Any] = {_PLAIN[key]: value for key, value in schema.items() if key in _PLAIN}
    for key in ("default", "example"):
        if key in schema:
            out[key] = _any(schema[key])
    if "enum" in schema:
        out["enum"] = [_any(value) for value in schema["enum"]]
    if "type" in schema:
        out["type"] = {"value": [schema["type"]]}
    if "items" in schema:
        out["items"] = {"schema": [_message_of_schema(schema["items"])]}
    if "properties" in schema:
        pairs = [{"name": name, "value": _message_of_schema(inner)} for name, inner in schema["properties"].items()]
        out["properties"] = {"additional_properties": pairs}
    more = schema.get("additionalProperties")
    if isinstance(more, bool):
        out["additional_properties"] = {"boolean": more}
    elif more is not None:
        out["additional_properties"] = {"schema": _message_of_schema(more)}
    extensions = _extensions(schema)
    if extensions:
        out["vendor_extension"] = extensions
    return out


def _message_of_parameter(parameter: Schema) -> dict[str, Any]:
    fields = {_PLAIN[key]: value for key, value in parameter.items() if key in _PLAIN}
    if parameter["in"] == "body":
        body = {key: value for key, value in parameter.items() if key in ("name", "in", "required", "description")}
        return {"parameter": {"body_parameter": body | {"schema": _message_of_schema(parameter["schema"])}}}
    sub = "path_parameter_sub_schema" if parameter["in"] == "path" else "query_parameter_sub_schema"
    return {"parameter": {"non_body_parameter": {sub: fields | {"type": parameter["type"]}}}}


def _message_of_response(response: tuple[str, Schema]) -> dict[str, Any]:
    code, answer = response
    value: dict[str, Any] = {"description": answer["description"]}
    if "schema" in answer:
        value["schema"] = {"schema": _message_of_schema(answer["schema"])}
    return {"name": code, "value": {"response": value}}


def _message_of_operation(operation: Schema) -> dict[str, Any]:
    out = {key: operation[key] for key in ("tags", "consumes", "produces", "schemes") if key in operation}
    return out | {
        "operation_id": operation["operationId"],
        "parameters": operation["parameters"],
        "responses": {"response_code": list(operation["responses"].items())},
        "vendor_extension": _extensions(operation),
    }


def _message_of_item(item: Schema) -> dict[str, Any]:
    out: dict[str, Any] = {m: _message_of_operation(item[m]) for m in _METHODS if m in item}
    return out | {"parameters": item["parameters"]}
