"""Kubernetes objects as protobuf: what `kubectl create` and generated clients send, as the JSON dicts we keep.

A body is the four bytes `k8s\\0`, then a `runtime.Unknown` whose `typeMeta` says which message `raw` is (source:
`apimachinery/pkg/runtime/serializer/protobuf/protobuf.go`). Messages are read by the table `objects/data/protobuf.json`
(the language of such tables, and the codec for any other service: `objects/wire.py`). Where Go's JSON of a message
differs from its fields (times, quantities, int-or-string, raw JSON ...) a pair of functions here stands in for it.

Go writes every field that is not a pointer, zero or not; those zeros are dropped, as `omitempty` does in Go's JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from switchboard.objects import types, wire
from switchboard.objects.durations import nanoseconds, shown
from switchboard.objects.wire import ABSENT, Codec, Special, malformed

MAGIC = b"k8s\0"
_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_RUNTIME = "k8s.io.apimachinery.pkg.runtime"
_EXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"

# API groups whose Go packages are not k8s.io/api/<first word of the group>
_PACKAGES = {
    "": "k8s.io.api.core",
    "apiextensions.k8s.io": "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
    "flowcontrol.apiserver.k8s.io": "k8s.io.api.flowcontrol",
    "internal.apiserver.k8s.io": "k8s.io.api.apiserverinternal",
}
# Registered in every group by metav1.AddToGroupVersion, so their package is always meta/v1.
_META_KINDS = frozenset(
    "CreateOptions DeleteOptions GetOptions ListOptions PatchOptions UpdateOptions Status WatchEvent "
    "PartialObjectMetadata PartialObjectMetadataList Table List".split()
)


def decode(message: str, data: bytes) -> dict[str, Any]:
    """One message (`k8s.io.api.core.v1.Pod`) as its JSON dict, without apiVersion and kind. Raises BadRequest."""
    if message not in codec():
        raise malformed(f"no message {message}")
    return codec().decode(message, data)


def decode_unknown(body: bytes) -> tuple[str, str, dict[str, Any]]:
    """A request body: `(apiVersion, kind, object)`, the object with its apiVersion and kind set. Raises BadRequest."""
    if not body.startswith(MAGIC):
        raise malformed("provided data does not appear to be a protobuf message, expected prefix 6b 38 73 00")
    unknown = wire.decode_fields(body[len(MAGIC) :], ("typeMeta", "raw", "contentEncoding", "contentType"))
    names = wire.decode_fields(unknown.get("typeMeta", b""), ("apiVersion", "kind"))
    api_version, kind = (names.get(key, b"").decode("utf-8", "replace") for key in ("apiVersion", "kind"))
    raw = unknown.get("raw", b"")
    if unknown.get("contentType", b"") == b"application/json":
        obj = _json(raw)
        if not isinstance(obj, dict):
            raise malformed("the embedded JSON is not an object")
        return str(obj.get("apiVersion", api_version)), str(obj.get("kind", kind)), obj
    message = message_of(api_version, kind)
    if message is None:
        raise malformed(f'no kind "{kind}" is registered for version "{api_version}"')
    return api_version, kind, {"apiVersion": api_version, "kind": kind, **codec().decode(message, raw)}


def encode_unknown(obj: dict[str, Any]) -> bytes:
    """An object as a protobuf body: the inverse of `decode_unknown`. Raises BadRequest when the kind has no message."""
    api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
    message = message_of(api_version, kind)
    if message is None:
        raise malformed(f'no kind "{kind}" is registered for version "{api_version}"')
    type_meta = Codec({"M": {1: ["apiVersion", "string"], 2: ["kind", "string"]}}).encode("M", obj)
    table = {"M": {1: ["typeMeta", "bytes"], 2: ["raw", "bytes"], 3: ["encoding", "string"], 4: ["type", "string"]}}
    fields = {"typeMeta": type_meta, "raw": codec().encode(message, obj), "encoding": "", "type": ""}
    return MAGIC + Codec(table, raw_bytes=True).encode("M", fields)


def encode_event(type_: bytes, body: bytes) -> bytes:
    """A `WatchEvent` whose object is a protobuf body."""
    return _EVENTS.encode("Event", {"type": type_, "object": {"raw": body}})


def encode(table: wire.Table, message: str, obj: dict[str, Any]) -> bytes:
    """A dict by a table of the caller's own; see `objects/wire.py`."""
    return Codec(table).encode(message, obj)


@cache
def message_of(api_version: str, kind: str) -> str | None:
    """The message name of a kind, or None when there is no such message (custom resources have none)."""
    group, _, version = api_version.rpartition("/")
    candidates = [f"{_PACKAGES.get(group, 'k8s.io.api.' + group.split('.')[0])}.{version}.{kind}"]
    if kind in _META_KINDS:
        candidates.insert(0, f"{_META}.{kind}")
    return next((name for name in candidates if name in codec()), None)


@cache
def codec() -> Codec:
    """The codec of all built-in kinds."""
    return Codec(types.table("protobuf"), special=_special(), drop_zero=True)


# --- messages whose JSON is not a dict of their fields --------------------------------------------------------------

_SCALARS = Codec(
    {
        "Text": {1: ["value", "string"]},
        "Raw": {1: ["value", "bytes"]},
        "Time": {1: ["seconds", "int64"], 2: ["nanos", "int32"]},
        "IntOrString": {1: ["type", "int64"], 2: ["intVal", "int32"], 3: ["strVal", "string"]},
        "Items": {1: ["items", "[]string"]},
        "Duration": {1: ["duration", "int64"]},
    },
    raw_bytes=True,
)
_EVENTS = Codec(
    {"Event": {1: ["type", "bytes"], 2: ["object", "Raw"]}, "Raw": {1: ["raw", "bytes"]}},
    raw_bytes=True,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(f"embedded JSON: {error}") from error


def _decode_raw(data: bytes) -> Any:
    raw = _SCALARS.decode("Raw", data).get("value", b"")
    if raw.startswith(MAGIC):  # an object in a RawExtension may be protobuf itself
        return decode_unknown(raw)[2]
    return _json(raw) if raw else ABSENT


def _encode_raw(value: Any) -> bytes:
    return _SCALARS.encode("Raw", {"value": msgspec.json.encode(value)})


def _decode_time(digits: int) -> Callable[[bytes], Any]:
    def convert(data: bytes) -> Any:
        fields = _SCALARS.decode("Time", data)
        if not fields:
            return ABSENT  # Go's zero time, `null` in JSON
        try:
            moment = _EPOCH + timedelta(seconds=fields.get("seconds", 0))
        except OverflowError as error:
            raise malformed("time out of range") from error
        text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        fraction = f".{fields.get('nanos', 0) % 1_000_000_000 // 10 ** (9 - digits):0{digits}d}" if digits else ""
        return f"{text}{fraction}Z"

    return convert


def _encode_time(value: Any) -> bytes:
    moment = datetime.fromisoformat(value.replace("Z", "+00:00")) - _EPOCH
    return _SCALARS.encode(
        "Time", {"seconds": moment.days * 86400 + moment.seconds, "nanos": moment.microseconds * 1000}
    )


def _decode_int_or_string(data: bytes) -> Any:
    fields = _SCALARS.decode("IntOrString", data)
    return fields.get("strVal", "") if fields.get("type", 0) == 1 else fields.get("intVal", 0)


def _encode_int_or_string(value: Any) -> bytes:
    text = isinstance(value, str)
    return _SCALARS.encode(
        "IntOrString", {"type": int(text), "intVal": 0 if text else value, "strVal": value if text else ""}
    )


def _decode_duration(data: bytes) -> Any:
    return shown(_SCALARS.decode("Duration", data).get("duration", 0))


def _either(plural: str) -> Special:
    """JSONSchemaPropsOr{Array,StringArray,Bool}: a schema, or else what stands in the other field."""

    def convert(data: bytes) -> Any:
        fields = wire.decode_fields(data, ("one", "two")) if plural != "bool" else None
        schema = f"{_EXTENSIONS}.JSONSchemaProps"
        if fields is None:
            both = Codec({"M": {1: ["allows", "bool"], 2: ["schema", "bytes"]}}, raw_bytes=True).decode("M", data)
            return codec().decode(schema, both["schema"]) if "schema" in both else both.get("allows", False)
        if "one" in fields:
            return codec().decode(schema, fields["one"])
        items = Codec({"M": {2: ["items", "[]bytes"]}}, raw_bytes=True).decode("M", data).get("items", [])
        return [i.decode("utf-8", "replace") if plural == "strings" else codec().decode(schema, i) for i in items]

    def back(value: Any) -> bytes:
        names = {"schemas": ["many", "[]bytes"], "strings": ["many", "[]string"], "bool": ["allows", "bool"]}[plural]
        one, many = (2, 1) if plural == "bool" else (1, 2)
        table = Codec({"M": {one: ["schema", "bytes"], many: names}}, raw_bytes=True)
        if isinstance(value, dict):
            body = codec().encode(f"{_EXTENSIONS}.JSONSchemaProps", value)
            return table.encode("M", {"schema": body} | ({"allows": True} if plural == "bool" else {}))
        if plural == "schemas":
            value = [codec().encode(f"{_EXTENSIONS}.JSONSchemaProps", item) for item in value]
        return table.encode("M", {names[0]: value})

    return convert, back


def _special() -> dict[str, Special]:
    def field(message: str, key: str) -> Special:
        def unwrap(data: bytes) -> Any:
            return _SCALARS.decode(message, data).get(key, [] if message == "Items" else "")

        return unwrap, lambda value: _SCALARS.encode(message, {key: value})

    raw: Special = (_decode_raw, _encode_raw)
    out: dict[str, Special] = {
        "k8s.io.apimachinery.pkg.api.resource.Quantity": field("Text", "value"),
        f"{_META}.Time": (_decode_time(0), _encode_time),
        f"{_META}.MicroTime": (_decode_time(6), _encode_time),
        f"{_META}.Duration": (
            _decode_duration,
            lambda value: _SCALARS.encode("Duration", {"duration": nanoseconds(value)}),
        ),
        f"{_META}.FieldsV1": raw,
        f"{_META}.Verbs": field("Items", "items"),
        f"{_RUNTIME}.RawExtension": raw,
        "k8s.io.apimachinery.pkg.util.intstr.IntOrString": (_decode_int_or_string, _encode_int_or_string),
        f"{_EXTENSIONS}.JSON": raw,
        f"{_EXTENSIONS}.JSONSchemaPropsOrArray": _either("schemas"),
        f"{_EXTENSIONS}.JSONSchemaPropsOrBool": _either("bool"),
        f"{_EXTENSIONS}.JSONSchemaPropsOrStringArray": _either("strings"),
    }
    for package in ("authentication.v1", "authorization.v1", "certificates.v1"):
        out[f"k8s.io.api.{package}.ExtraValue"] = field("Items", "items")
    return out
