"""OpenAPI v3 per group-version (/openapi/v3), and the front of v2 (/openapi/v2).

kubectl explain, apply and diff read these. Documents are built when first asked for (but see `build_ahead` of
NonResource) and kept gzipped, so a server that is never asked holds next to none; hashes in the index come from what a
document is made of, so the index builds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from switchboard.api import openapi_discovery, openapi_v2
from switchboard.api.documents import Document
from switchboard.api.openapi_custom import custom_schemas
from switchboard.api.openapi_paths import META, base_path, paths, schema_name
from switchboard.api.openapi_texts import Texts
from switchboard.api.settings import KUBERNETES_VERSION
from switchboard.objects.errors import NotAcceptable
from switchboard.objects.kinds import Kind, Registry
from switchboard.objects.types import definitions

if TYPE_CHECKING:
    from switchboard.api.aggregation import Aggregation

Schema = dict[str, Any]

# Clients ask with `@`, which is no character of a media type: the answer has a dot there, and may be asked for so too.
_V2_ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_PROTOBUF = _V2_ASKED.replace("@", ".")
_REVISION = "5"  # counts changes of how documents are built, so that clients drop what they keep
INFO = {"title": "Kubernetes", "version": f"v{KUBERNETES_VERSION}"}
_ALWAYS = tuple(
    f"{META}.{name}"
    for name in ("DeleteOptions", "Patch", "Status", "ObjectMeta", "ListMeta", "WatchEvent", "APIResourceList")
)
_DISCOVERY = (f"{META}.APIGroup", f"{META}.APIGroupList", f"{META}.APIVersions", openapi_discovery.INFO)


class OpenApi:
    """The OpenAPI documents of a registry."""

    def __init__(self, registry: Registry, aggregation: Aggregation | None = None) -> None:
        self._registry, self._aggregation = registry, aggregation
        self._seen = (-1, -1)
        self._hashes: dict[str, str] = {}
        self._single: dict[str, tuple[str, Schema, str]] = {}  # documents of one operation
        self._documents: dict[str, Document] = {}

    def knows(self, path: str) -> bool:
        """Whether a path is one of ours, without building anything."""
        return self._key(path) is not None

    def find(self, path: str, accept: str | None) -> Document | None:
        """The document at a path; None when there is none. Building one takes up to some hundred milliseconds.

        Raises NotAcceptable for a media type that v2 does not have."""
        key = self._key(path)
        if key is None:
            return None
        if key == "index" and self._aggregation is not None and self._aggregation.remotes:
            return self._build(key)  # what others serve may change without a word
        if key == "v2":
            key = _v2_media(accept)
        document = self._documents.get(key)
        if document is None:
            document = self._documents[key] = self._build(key)
        return document

    def _key(self, path: str) -> str | None:
        self._refresh()
        path = path.strip("/")
        if path == "openapi/v2":
            return "v2"
        if path == "openapi/v3":
            return "index"
        group_version = path.removeprefix("openapi/v3/")
        return group_version if group_version != path and group_version in self._hashes else None

    def _refresh(self) -> None:
        """Forget documents of group-versions whose kinds changed; v2 and the index contain them all."""
        changes = self._registry.changes, self._aggregation.changes if self._aggregation is not None else 0
        if self._seen == changes:
            return
        self._seen = changes
        fresh: dict[str, str] = {}
        single = {key: openapi_discovery.alone(key) for key in openapi_discovery.ALONE}
        for registry in self._registries():
            for group in registry.groups():
                if group and not openapi_discovery.custom(registry, group):
                    single[f"apis/{group}"] = openapi_discovery.group(group)
                for version in registry.versions(group):
                    fresh[base_path(group, version).lstrip("/")] = _hash(registry.kinds(group, version))
        fresh |= dict.fromkeys(single, _hash(()))
        self._single = single
        same = {key for key, value in fresh.items() if self._hashes.get(key) == value}
        changed = fresh != self._hashes
        self._documents = {
            k: d for k, d in self._documents.items() if k in same or (k.startswith("v2") and not changed)
        }
        self._hashes = fresh

    def _registries(self) -> list[Registry]:
        """Where the kinds are that this server describes."""
        served = self._aggregation.served.values() if self._aggregation is not None else ()
        return [self._registry, *(backend.kinds for backend in served if backend.kinds is not None)]

    def _build(self, key: str) -> Document:
        if key == "index":
            return Document([msgspec.json.encode(self._index())])
        if key == "v2-json":
            return Document(openapi_v2.as_json(self._registries(), self._definitions()))
        if key == "v2-protobuf":
            return Document(openapi_v2.as_protobuf(self._registries(), self._definitions()), V2_PROTOBUF)
        return Document(self._v3(key), etag=self._hashes[key])

    def _index(self) -> dict[str, Any]:
        found = {
            key: {"serverRelativeURL": f"/openapi/v3/{key}?hash={value}"} for key, value in sorted(self._hashes.items())
        }
        for remote in self._aggregation.remotes.values() if self._aggregation is not None else ():
            if remote.openapi:
                found[remote.path.lstrip("/")] = {"serverRelativeURL": remote.openapi}
        return {"paths": found}

    def _v3(self, key: str) -> Iterator[bytes]:
        yield b'{"openapi":"3.0.0","info":' + msgspec.json.encode(INFO) + b',"paths":'
        if key in self._single:
            path, item, component = self._single[key]
            yield from _object([(path, item)])
            schemas = self._closed({component} if component else set(), {})
        else:
            group, _, version = key.removeprefix("apis/").removeprefix("api/").rpartition("/")
            registry = next(r for r in self._registries() if r.versions(group))
            ours = [] if openapi_discovery.custom(registry, group) else [openapi_discovery.version(group, version)[:2]]
            yield from _object(chain(ours, paths(registry, group, version)))
            schemas = self._schemas(registry.kinds(group, version))
        yield b',"components":{"schemas":'
        yield from _object((name, v3_schema(s)) for name, s in schemas)
        bearer = {
            "BearerToken": {"type": "apiKey", "description": "A bearer token", "name": "authorization", "in": "header"}
        }
        yield b',"securitySchemes":' + msgspec.json.encode(bearer) + b"}}\n"

    def _schemas(self, kinds: Iterable[Kind], *, v2: bool = False) -> Iterator[tuple[str, Schema]]:
        """The schemas that some kinds need: their own, their lists, and everything these refer to."""
        wanted = {*_ALWAYS, *(_DISCOVERY if v2 else ())}
        own: dict[str, Schema] = {}
        for kind in kinds:
            if kind.definition is None:
                own |= custom_schemas(kind, v2=v2)
                continue
            wanted |= {kind.definition, f"{kind.definition}List"}
            for sub in kind.subresources.values():
                wanted.add(schema_name(kind, sub.kind))
                wanted.add(f"io.k8s.api.{(sub.group or 'core').split('.')[0]}.{sub.version}.{sub.kind}")
        return self._closed(wanted | {name for schema in own.values() for name in references(schema)}, own)

    @staticmethod
    def _closed(wanted: set[str], own: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
        """Some schemas of the type table with all they refer to, and the given ones, by name."""
        table = definitions() | openapi_discovery.SCHEMAS
        todo, seen = [name for name in wanted if name in table], set()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += [r for r in references(table[name]) if r not in seen and r in table]
        texts = Texts()
        for name in sorted(seen | own.keys()):
            yield name, own[name] if name in own else texts.described(name, table[name])

    def _definitions(self) -> Iterator[tuple[str, Schema]]:
        kinds = (kind for registry in self._registries() for kind in registry.kinds())
        return self._schemas(kinds, v2=True)


def _hash(kinds: Iterable[Kind]) -> str:
    digest = hashlib.sha256(f"{KUBERNETES_VERSION} {_REVISION}".encode())
    for kind in kinds:
        digest.update(f"{kind.api_version} {kind.kind} {kind.plural} {kind.verbs} {sorted(kind.subresources)}".encode())
        if kind.custom:
            digest.update(msgspec.json.encode(kind.schema, order="sorted"))
    return digest.hexdigest().upper()


def _object(pairs: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    """A JSON object in pieces."""
    opening = b"{"
    for key, value in pairs:
        yield opening + msgspec.json.encode(key) + b":" + msgspec.json.encode(value)
        opening = b","
    yield b"{}" if opening == b"{" else b"}"


def _v2_media(accept: str | None) -> str:
    """Which form of v2 an Accept header wants: the first clause that can be served."""
    if not accept:
        return "v2-json"
    for clause in accept.split(","):
        media = clause.partition(";")[0].strip().lower()
        if media in (_V2_ASKED, V2_PROTOBUF):
            return "v2-protobuf"
        if media in ("application/json", "application/*", "*/*"):
            return "v2-json"
    raise NotAcceptable(f"only the following media types are accepted: application/json, {_V2_ASKED}")


def references(schema: Any) -> Iterator[str]:
    """Names that a schema refers to, at any depth."""
    if isinstance(schema, dict):
        found = schema.get("$ref")
        if isinstance(found, str):
            yield found
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def v3_schema(schema: Schema) -> Schema:
    """A schema of the type table as OpenAPI v3 has it: references in full, beside other keys in an `allOf`."""
    out: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {name: v3_schema(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            out[key] = v3_schema(value)
        elif key in ("oneOf", "anyOf", "allOf"):
            out[key] = [v3_schema(inner) for inner in value]
        elif key != "$ref":
            out[key] = value
    name = schema.get("$ref")
    if name is None:
        return out
    target = {"$ref": f"#/components/schemas/{name}"}
    return out | {"allOf": [target]} if out else target
