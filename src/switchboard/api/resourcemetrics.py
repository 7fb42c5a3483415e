"""metrics.k8s.io/v1beta1 as metrics-server serves it (`kubectl top`, HorizontalPodAutoscalers), by this server itself
unless an APIService names another.

Source: kubernetes-sigs/metrics-server pkg/api/{node,pod}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from switchboard.api import answers
from switchboard.api.identity import Identity
from switchboard.api.keyspace import decode, encode_any
from switchboard.api.negotiate import accept
from switchboard.api.openapi_paths import META
from switchboard.api.paths import Target, parse
from switchboard.api.query import first
from switchboard.api.query import parse as parse_query
from switchboard.api.usage import NODE, Usage, Use
from switchboard.objects import selectors
from switchboard.objects.errors import BadRequest, MethodNotAllowed, NotFound
from switchboard.objects.kinds import Kind, Registry
from switchboard.objects.quantity import NANO, Quantity
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App

Object = dict[str, Any]

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_API: Final = f"{GROUP}/{VERSION}"
_KINDS: Final = {"nodes": "NodeMetrics", "pods": "PodMetrics"}
_VERBS: Final = ["get", "list"]


def _described() -> Iterator[Kind]:
    """The two kinds as OpenAPI shows them."""
    quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity"
    text = {"type": "string"}
    usage = {"type": "object", "additionalProperties": {"$ref": quantity}}
    container = {"type": "object", "required": ["name", "usage"], "properties": {"name": text, "usage": usage}}
    own = {"nodes": {"usage": usage}, "pods": {"containers": {"type": "array", "items": container}}}
    for plural, kind in _KINDS.items():
        shared = {"timestamp": {"$ref": f"{META}.Time"}, "window": text}
        names = ["timestamp", "window", *own[plural]]
        schema = {"type": "object", "required": names, "properties": {**shared, **own[plural]}}
        yield Kind(
            GROUP, VERSION, kind, plural, "", plural == "pods", tuple(_VERBS), list_kind=f"{kind}List", schema=schema
        )


class ResourceMetrics:
    """The group-version, in the shape of `aggregation.Remote`."""

    group, version = GROUP, VERSION
    name = f"{VERSION}.{GROUP}"
    path = f"/apis/{_API}"
    available = True
    openapi = ""
    kinds: Registry | None = Registry(_described())

    def __init__(self, app: App) -> None:
        assert app.kubelet is not None
        self.spec: Object = {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100}
        self.resources: list[Object] | None = [
            {"name": plural, "singularName": "", "namespaced": plural == "pods", "kind": kind, "verbs": _VERBS}
            for plural, kind in _KINDS.items()
        ]
        self._app = app
        self._usage = Usage(app.kubelet)

    async def answer(self, request: Request, identity: Identity) -> Response:
        """Answer one request, authorised before."""
        target = parse(request.path)
        if not target.is_resource:
            listing = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _API}
            return answers.encoded(request, [encode_any({**listing, "resources": self.resources}), b"\n"])
        if target.plural not in _KINDS or target.subresource:
            raise NotFound("the server could not find the requested resource", details={})
        query = parse_query(request.query)
        if request.method != "GET" or target.watch or first(query, "watch") in ("1", "true"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource", details={})
        found = await self._metrics(target, first(query, "labelSelector"), first(query, "fieldSelector"))
        if not target.name:
            kind = f"{_KINDS[target.plural]}List"
            body: Object = {"kind": kind, "apiVersion": _API, "metadata": {}, "items": found}
        elif found:
            body = {"kind": _KINDS[target.plural], "apiVersion": _API, **found[0]}
        else:
            name = f"{target.namespace}/{target.name}" if target.namespace else target.name
            raise NotFound.of(f"{target.plural[:-1]}metrics", GROUP, name)
        accepted = accept(request.headers.get("accept"))
        return answers.encoded(request, [encode_any(body), b"\n"], accepted=accepted)

    async def _metrics(self, target: Target, labels: str, fields: str) -> list[Object]:
        wanted = list(self._wanted(target, labels, fields))
        if target.plural == "nodes":
            uses = await self._usage.of([node["metadata"]["name"] for node in wanted])
            if not (target.name or labels or fields):
                self._usage.forget(set(uses))
            return [m for node in wanted if (m := node_metrics(node, uses.get(node["metadata"]["name"])))]
        names = {pod["spec"].get("nodeName") for pod in wanted} - {None, ""}
        uses = await self._usage.of(sorted(names))
        return [m for pod in wanted if (m := pod_metrics(pod, uses.get(pod["spec"].get("nodeName", ""))))]

    def _wanted(self, target: Target, labels: str, fields: str) -> Iterable[Object]:
        """The nodes or running pods that are asked for."""
        prefix = f"/core/{target.plural}/" + (f"{target.namespace}/" if target.namespace else "")
        try:
            selector = selectors.parse(labels)
        except selectors.SelectorError as error:
            raise BadRequest(str(error)) from error
        exact = _exact(fields)
        if target.name:
            exact["metadata.name"] = target.name
        for record in self._app.store.scan(prefix):
            obj = decode(record.value)
            meta = obj["metadata"]
            if any(meta.get(field.removeprefix("metadata.")) != value for field, value in exact.items()):
                continue
            running = target.plural == "nodes" or (obj.get("status") or {}).get("phase") == "Running"
            if running and selector.matches(meta.get("labels")):
                yield obj

    async def close(self) -> None:
        """Nothing is open."""


def _exact(text: str) -> dict[str, str]:
    """The terms of a field selector; only equality of name and namespace is known."""
    out: dict[str, str] = {}
    for term in filter(None, text.split(",")):
        field, _, value = term.replace("==", "=").partition("=")
        if field not in ("metadata.name", "metadata.namespace"):
            raise BadRequest(f"field label not supported: {field.removesuffix('!')}")
        out[field] = value
    return out


def node_metrics(node: Object, use: Use | None) -> Object | None:
    """NodeMetrics without its type; None when nothing is known."""
    if use is None or NODE not in use.values:
        return None
    return {**_head(node, use), "usage": _usage(use.values[NODE])}


def pod_metrics(pod: Object, use: Use | None) -> Object | None:
    """PodMetrics without its type; None unless all its running containers are known."""
    if use is None:
        return None
    uid = pod["metadata"]["uid"]
    status = pod.get("status") or {}
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    names = [s["name"] for s in states if "running" in (s.get("state") or {})]
    if not names or any((uid, name) not in use.values for name in names):
        return None
    containers = [{"name": name, "usage": _usage(use.values[uid, name])} for name in names]
    return {**_head(pod, use), "containers": containers}


def _head(obj: Object, use: Use) -> Object:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in ("name", "namespace", "labels") if meta.get(key)}
    at = datetime.fromtimestamp(use.wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {**kept, "creationTimestamp": at}, "timestamp": at, "window": go_duration(use.window)}


def _usage(value: tuple[int, int]) -> Object:
    cpu, memory = value
    return {"cpu": str(Quantity(cpu)), "memory": str(Quantity(memory // 1024 * 1024 * NANO, "BinarySI"))}


def go_duration(seconds: float) -> str:
    """Milliseconds exactly, as Go prints a duration: `1m0.5s`, `15.013s`."""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text
