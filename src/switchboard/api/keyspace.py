"""How objects lie in the store: their keys, their bytes, and what the index keeps of each (labels and selectable
fields).

An object is stored as compact JSON that always begins with `{"kind":...,"apiVersion":...,` so that a list can leave
both
out of its items by slicing (typed lists of Kubernetes do), and an answer to GET is the stored bytes as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import msgspec

from switchboard.objects.kinds import Kind

Object = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def key_of(kind: Kind, namespace: str, name: str) -> str:
    """Store key of one object."""
    return f"{kind.storage_prefix}{namespace}/{name}" if kind.namespaced else kind.storage_prefix + name


def prefix_of(kind: Kind, namespace: str = "") -> str:
    """Store prefix of a kind's objects, of one namespace where given."""
    return f"{kind.storage_prefix}{namespace}/" if namespace and kind.namespaced else kind.storage_prefix


def split_key(key: str) -> tuple[str, str, str, str]:
    """A store key -> (group as in the key, plural, namespace or "", name)."""
    parts = key.split("/")
    if len(parts) == 5:
        return parts[1], parts[2], parts[3], parts[4]
    return parts[1], parts[2], "", parts[3]


def encode(obj: Object) -> bytes:
    """The stored bytes of an object: kind, apiVersion, metadata first."""
    ordered = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": obj["metadata"]}
    ordered.update(obj)
    return _escaped(_encode(ordered)) if obj["kind"] == "ControllerRevision" else _encode(ordered)


def _escaped(text: bytes) -> bytes:
    """JSON with the escapes of Go's encoding/json: `kubectl rollout undo` compares a revision's data as bytes."""
    return text.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")


def decode(value: bytes) -> Object:
    """Stored bytes back to an object (a fresh one, free to change)."""
    return cast("Object", _decode(value))


def encode_any(value: Any) -> bytes:
    """Any JSON value, compact."""
    return _encode(value)


@lru_cache(maxsize=2048)
def head_length(kind: str, api_version: str) -> int:
    """Length of `{"kind":"Pod","apiVersion":"v1",` at the start of stored bytes."""
    return len(f'{{"kind":"{kind}","apiVersion":"{api_version}",')


class _Meta(msgspec.Struct, gc=False):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct, gc=False):
    metadata: _Meta


class _MetaOnly(msgspec.Struct, gc=False):
    metadata: msgspec.Raw


_labelled = msgspec.json.Decoder(_Labelled).decode
_meta_only = msgspec.json.Decoder(_MetaOnly).decode
_NO_LABELS: dict[str, str] = {}


def index(key: str, value: bytes) -> dict[str, str]:
    """The store's index function: `Record.meta` is the object's labels."""
    try:
        return _labelled(value).metadata.labels or _NO_LABELS
    except msgspec.ValidationError:
        return _NO_LABELS


def metadata_bytes(value: bytes) -> bytes:
    """The `metadata` object of stored bytes, as bytes."""
    return bytes(_meta_only(value).metadata)
