"""The HTTP operations of every kind, once, in OpenAPI v3 form: paths, parameters, bodies, answers, Kubernetes' marks.

`openapi.py` serves them as they are; `openapi_v2.py` turns them into Swagger. kubectl reads from them which kinds take
`dryRun` and `fieldValidation` (the PATCH operation with the kind's x-kubernetes-group-version-kind).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.api.paths import CONNECTIONS
from switchboard.objects.kinds import Kind, Registry, Subresource

Operation = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"

_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_JSON = "application/json"


def _query(name: str, type_: str, description: str) -> dict[str, Any]:
    schema = {"type": type_, "uniqueItems": True}
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _path(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "uniqueItems": True}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


_PRETTY = _query("pretty", "string", "Indent the answer for people when true.")
_DRY_RUN = _query("dryRun", "string", "With the value All nothing is stored; the answer is what it would be.")
_MANAGER = _query("fieldManager", "string", "Name under which the written fields are recorded.")
_VALIDATION = _query("fieldValidation", "string", "What becomes of unknown fields: Ignore, Warn or Strict.")
_FORCE = _query("force", "boolean", "Take fields over from their owners; for apply only.")
_SELECT = [
    _query("allowWatchBookmarks", "boolean", "Let the watch send BOOKMARK events."),
    _query("continue", "string", "Token of the previous page."),
    _query("fieldSelector", "string", "Only objects whose fields match."),
    _query("labelSelector", "string", "Only objects whose labels match."),
    _query("limit", "integer", "At most so many objects in one answer."),
    _query("resourceVersion", "string", "The state that the answer is to be from."),
    _query("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    _query("sendInitialEvents", "boolean", "Begin the watch with the objects that are there."),
    _query("timeoutSeconds", "integer", "End the call after so many seconds."),
    _query("watch", "boolean", "Stream changes in place of a list."),
]
_DELETE = [
    _DRY_RUN,
    _query("gracePeriodSeconds", "integer", "Seconds before the object is removed."),
    _query("orphanDependents", "boolean", "Superseded by propagationPolicy."),
    _query("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
]
_NAMESPACE = _path("namespace", "Namespace of the objects.")
_REST_OF_PATH = _path("path", "Path below the proxied resource.")

# verb -> (method, action, on the collection?)
_VERBS = {
    "list": ("get", "list", True),
    "create": ("post", "post", True),
    "deletecollection": ("delete", "deletecollection", True),
    "get": ("get", "get", False),
    "update": ("put", "put", False),
    "patch": ("patch", "patch", False),
    "delete": ("delete", "delete", False),
}


def schema_name(kind: Kind, name: str = "") -> str:
    """Component name of a kind, or of another kind of its group-version: `io.k8s.api.apps.v1.Deployment`."""
    if kind.definition:
        return f"{kind.definition.rpartition('.')[0]}.{name or kind.kind}"
    reversed_group = ".".join(reversed(kind.group.split(".")))
    return f"{reversed_group}.{kind.version}.{name or kind.kind}"


def ref(name: str) -> dict[str, Any]:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def base_path(group: str, version: str) -> str:
    """`/api/v1` or `/apis/apps/v1`."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def paths(registry: Registry, group: str, version: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every path of a group-version with its path item."""
    for kind in registry.kinds(group, version):
        yield from _kind_paths(registry, kind)


def _kind_paths(registry: Registry, kind: Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    base = base_path(kind.group, kind.version)
    root = f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
    collection: dict[str, Any] = {}
    single: dict[str, Any] = {}
    for verb in kind.verbs:
        if verb in _VERBS:
            method, action, on_collection = _VERBS[verb]
            operation = _operation(kind, verb, action, None, schema_name(kind))
            (collection if on_collection else single)[method] = operation
    if kind.namespaced and "list" in kind.verbs:
        every = _operation(kind, "list", "list", None, schema_name(kind), everywhere=True)
        yield f"{base}/{kind.plural}", {"get": every, "parameters": [_PRETTY]}
    shared = [_NAMESPACE] if kind.namespaced else []
    name = _path("name", f"Name of the {kind.kind}.")
    if collection:
        yield root, collection | {"parameters": [*shared, _PRETTY]}
    if single:
        yield f"{root}/{{name}}", single | {"parameters": [name, *shared, _PRETTY]}
    if "watch" in kind.verbs and not kind.custom:
        yield from _watch_paths(kind)
    for sub in kind.subresources.values():
        item = dict(_subresource_operations(registry, kind, sub))
        yield f"{root}/{{name}}/{sub.name}", item | {"parameters": [name, *shared, _PRETTY]}
        if sub.name == "proxy":
            below = dict(_subresource_operations(registry, kind, sub, "WithPath"))
            yield f"{root}/{{name}}/proxy/{{path}}", below | {"parameters": [name, *shared, _REST_OF_PATH]}


def _watch_paths(kind: Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    """The older form of a watch, with `watch` in its path."""
    base, name = f"{base_path(kind.group, kind.version)}/watch", _path("name", f"Name of the {kind.kind}.")
    root, shared = f"{base}/{kind.plural}", [*_SELECT, _PRETTY]
    if kind.namespaced:
        yield root, {"get": _watch(kind, "watchlist", "ListForAllNamespaces"), "parameters": shared}
        root, shared = f"{base}/namespaces/{{namespace}}/{kind.plural}", [_NAMESPACE, *shared]
    yield root, {"get": _watch(kind, "watchlist", "List"), "parameters": shared}
    yield f"{root}/{{name}}", {"get": _watch(kind, "watch", ""), "parameters": [name, *shared]}


def _watch(kind: Kind, action: str, suffix: str) -> Operation:
    everywhere = suffix == "ListForAllNamespaces"
    name = _operation_id(kind, "watch", None, everywhere=everywhere).removesuffix("ForAllNamespaces")
    return {
        "description": "Deprecated: list with the parameter watch.",
        "tags": [tag(kind.group, kind.version)],
        "operationId": name + suffix,
        "parameters": [],
        "responses": {"200": _answer("OK", f"{META}.WatchEvent"), "401": {"description": "Unauthorized"}},
    } | _marks(kind, action, None)


def _subresource_operations(
    registry: Registry, kind: Kind, sub: Subresource, suffix: str = ""
) -> Iterator[tuple[str, Operation]]:
    of = registry.gvk(sub.group, sub.version, sub.kind)
    name = schema_name(of) if of is not None else _borrowed_name(kind, sub)
    for verb in sub.verbs:
        if sub.name in CONNECTIONS:
            method = {"create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}.get(verb)
            if method:
                yield method, _connect(kind, sub, method, suffix)
        elif verb in _VERBS:
            method, action, _ = _VERBS[verb]
            yield method, _operation(kind, verb, action, sub, name)


def _borrowed_name(kind: Kind, sub: Subresource) -> str:
    """Component name of a subresource's body that is no resource of its own (Scale, Eviction, TokenRequest)."""
    if kind.custom and sub.group == kind.group:
        return schema_name(kind, sub.kind)
    return f"io.k8s.api.{(sub.group or 'core').split('.')[0]}.{sub.version}.{sub.kind}"


def short_group(group: str) -> str:
    """A group as names of operations have it: `rbac.authorization`, `core`."""
    return group.removesuffix(".k8s.io") or "core"


def camel(*words: str) -> str:
    """Words with dots and hyphens, run together: `readNamespacedPod`."""
    pieces = [piece for word in words for piece in word.replace("-", ".").split(".") if piece]
    joined = "".join(piece[:1].upper() + piece[1:] for piece in pieces)
    return joined[:1].lower() + joined[1:]


def _operation_id(
    kind: Kind, action: str, sub: Subresource | None, *, everywhere: bool = False, suffix: str = ""
) -> str:
    verb = {"get": "read", "post": "create", "put": "replace", "deletecollection": "delete.collection"}.get(
        action, action
    )
    group = short_group(kind.group)
    words = [verb, group, kind.version]
    if action == "deletecollection":
        words = ["delete", group, kind.version, "collection"]
    if kind.namespaced and not everywhere:
        words.append("namespaced")
    words.append(kind.kind)
    if sub is not None:
        words.append(sub.name)
    if everywhere:
        words.append("ForAllNamespaces")
    return camel(*words) + suffix


def _marks(kind: Kind, action: str, sub: Subresource | None) -> dict[str, Any]:
    whose = (sub.group, sub.version, sub.kind) if sub is not None else (kind.group, kind.version, kind.kind)
    return {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": dict(zip(("group", "version", "kind"), whose, strict=True)),
    }


def content(name: str, media: tuple[str, ...] = (_JSON, "application/yaml")) -> dict[str, Any]:
    """The body of an answer or a request, in each of its media types."""
    return {"content": {m: {"schema": ref(name)} for m in media}}


def _answer(description: str, name: str) -> dict[str, Any]:
    return {"description": description} | content(name)


def _operation(
    kind: Kind, verb: str, action: str, sub: Subresource | None, name: str, *, everywhere: bool = False
) -> Operation:
    parameters: list[dict[str, Any]] = []
    body: dict[str, Any] | None = None
    codes = {"200": "OK"}
    answer = name
    if verb == "list":
        parameters, answer = _SELECT, f"{name}List" if not kind.custom else schema_name(kind, kind.list_kind)
    elif verb in ("create", "update", "patch"):
        parameters = [_DRY_RUN, _MANAGER, _VALIDATION]
        codes["201"] = "Created"
        body = content(name) | {"required": True}
        if verb == "create":
            codes["202"] = "Accepted"
        elif verb == "patch":
            parameters = [*parameters, _FORCE]
            media = tuple(m for m in _PATCHES if not (kind.custom and "strategic" in m))
            body = content(f"{META}.Patch", media) | {"required": True}
    elif verb in ("delete", "deletecollection"):
        parameters = _DELETE if verb == "delete" else [*_DELETE, *_SELECT[1:-1]]
        body = content(f"{META}.DeleteOptions")
        answer = f"{META}.Status"
        codes |= {"202": "Accepted"} if verb == "delete" else {}
    out: Operation = {
        "tags": [tag(kind.group, kind.version)],
        "operationId": _operation_id(kind, action, sub, everywhere=everywhere),
        "parameters": parameters,
        "responses": {code: _answer(text, answer) for code, text in codes.items()}
        | {"401": {"description": "Unauthorized"}},
    }
    if body is not None:
        out["requestBody"] = body
    return out | _marks(kind, action, sub)


def tag(group: str, version: str) -> str:
    """What the operations of a group-version are gathered under: `rbacAuthorization_v1`."""
    return f"{camel(short_group(group))}_{version}"


def _connect(kind: Kind, sub: Subresource, method: str, suffix: str) -> Operation:
    options = "path" if sub.name == "proxy" else "command" if sub.name == "exec" else ""
    text = {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}
    return {
        "tags": [tag(kind.group, kind.version)],
        "operationId": _operation_id(kind, f"connect.{method}", sub, suffix=suffix),
        "parameters": [_query(options, "string", f"The {options} to {sub.name}.")] if options and not suffix else [],
        "responses": {"200": text, "401": {"description": "Unauthorized"}},
    } | _marks(kind, "connect", sub)
