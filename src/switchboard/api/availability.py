"""Looks after APIServices: every group-version served here has one, and each says whether it is Available.

Local ones (built-in groups, custom resources) always are. Remote ones need a Service with the port, endpoints, and an
answer to discovery within five seconds; what they answer feeds this server's own discovery. Sources:
kube-aggregator/pkg/controllers/{autoregister,status/remote}, apiserver/handler_discovery.go.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from switchboard.api import bootstrap
from switchboard.api.aggregation import FAILURES, PREFIX, Remote, remote_headers
from switchboard.api.crd import PREFIX as DEFINITIONS
from switchboard.api.crd import condition, set_condition
from switchboard.api.identity import MASTERS, Identity
from switchboard.api.keyspace import decode, encode_any
from switchboard.api.webhookclient import CallFailed, endpoint_of
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Event

_log = logging.getLogger(__name__)
Object = dict[str, Any]
Verdict = tuple[str, str, str]  # status, reason, message

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
LOCAL: Verdict = ("True", "Local", "Local APIServices are always available")
_URL = "/apis/apiregistration.k8s.io/v1/apiservices"
_AGGREGATOR = Identity("system:kube-aggregator", (MASTERS,))
_AGAIN = 30.0
_RETRY = 1.0
_PATIENCE = 5.0
_PAUSE = 0.05  # several changes are one reason to look
# Priorities of groups (pkg/controlplane/apiserver/aggregator.go); higher is more important.
_PRIORITIES = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "resource.k8s.io": 15900,
}
_CUSTOM = (1000, 100)


async def run(app: App) -> None:
    """Keep APIServices as they should be, for ever."""
    changed = asyncio.Event()

    def on_events(_: list[Event]) -> None:
        changed.set()

    def on_backends(_: list[Event]) -> None:
        if app.aggregation.remotes:
            changed.set()

    revision = app.store.revision
    followed = [(PREFIX, on_events), (DEFINITIONS, on_events)]
    followed += [("/core/services/", on_backends), ("/discovery.k8s.io/endpointslices/", on_backends)]
    subscriptions = [app.store.subscribe(prefix, revision, sink) for prefix, sink in followed]
    try:
        while True:
            changed.clear()
            await _register(app)
            well = await look(app)
            pause = (_AGAIN if well else _RETRY) if app.aggregation.remotes else None
            try:
                async with asyncio.timeout(pause):
                    await changed.wait()
                    await asyncio.sleep(_PAUSE)
            except TimeoutError:
                continue
    finally:
        for subscription in subscriptions:
            subscription.close()


def local(app: App) -> dict[str, Object]:
    """The APIServices of what this server serves itself, by name."""
    custom = {(kind.group, kind.version) for kind in app.registry.kinds() if kind.custom}
    out = {}
    for backend in app.aggregation.own.values():
        out[backend.name] = _local(backend.name, "onstart", backend.spec)
    for group in app.registry.groups():
        versions = app.registry.versions(group)
        for rank, version in enumerate(reversed(versions)):
            name, own = f"{version}.{group}", (group, version) in custom
            priority = _CUSTOM if own else (_PRIORITIES.get(group, 15000), 15 + 15 * rank)
            spec = {"version": version, "groupPriorityMinimum": priority[0], "versionPriority": priority[1]}
            spec = {**({"group": group} if group else {}), **spec}
            out[name] = _local(name, "true" if own else "onstart", spec)
    return out


def _local(name: str, managed: str, spec: Object) -> Object:
    said: Object = {}
    set_condition(said, "Available", *LOCAL)
    return {
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": name, "labels": {MANAGED: managed}},
        "spec": dict(spec),
        "status": said,
    }


async def _register(app: App) -> None:
    """Make what is missing, remove what stood for custom resources that are gone."""
    wanted = local(app)
    kind = app.registry.resource("apiregistration.k8s.io", "v1", "apiservices")
    assert kind is not None
    waits = [
        w
        for obj in wanted.values()
        if app.store.head(PREFIX + obj["metadata"]["name"]) is None
        for w in bootstrap.write(app, kind, obj)
    ]
    await asyncio.gather(*waits)
    for record in app.store.scan(PREFIX):
        held = decode(record.value)
        name, labels = held["metadata"]["name"], held["metadata"].get("labels") or {}
        if labels.get(MANAGED) == "true" and name not in wanted and not held["spec"].get("service"):
            await _request(app, "DELETE", f"{_URL}/{name}", b"")


async def look(app: App) -> bool:
    """Check every APIService once; whether all are available."""
    well = True
    for record in app.store.scan(PREFIX):
        held = decode(record.value)
        remote = app.aggregation.remotes.get((held["spec"].get("group") or "", held["spec"]["version"]))
        verdict = LOCAL if remote is None else await _judge(app, remote)
        if remote is not None:
            well &= remote.available
        before = condition(held, "Available")
        if (before.get("status"), before.get("reason"), before.get("message", "")) != verdict:
            status: Object = dict(held.get("status") or {})
            set_condition(status, "Available", *verdict)
            body = encode_any({"status": {"conditions": status["conditions"]}})
            await _request(app, "PATCH", f"{_URL}/{held['metadata']['name']}/status", body)
    return well


async def _judge(app: App, remote: Remote) -> Verdict:
    found = _backend_problem(app, remote.service)
    verdict: Verdict = ("False", *found) if found else await _ask(remote)
    available = verdict[0] == "True"
    if available != remote.available:
        remote.available = available
        app.aggregation.changes += 1
    return verdict


def _backend_problem(app: App, service: Object) -> tuple[str, str] | None:
    """(reason, message) when the Service cannot lead anywhere."""
    name, namespace, number = service["name"], service["namespace"], service["port"]
    record = app.store.get(f"/core/services/{namespace}/{name}")
    if record is None:
        return "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
    spec = decode(record.value)["spec"]
    if spec.get("type") == "ExternalName":
        return None
    port = next((p for p in spec.get("ports") or () if p["port"] == number), None)
    if port is None:
        return "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {number}'
    slices = app.store.scan(f"/discovery.k8s.io/endpointslices/{namespace}/")
    if not any(r.meta.get("kubernetes.io/service-name") == name for r in slices):
        return "EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"'
    try:
        endpoint_of(app, namespace, name, number)
    except CallFailed:
        words = f'endpointslices for service/{name} in "{namespace}" have no addresses with port name'
        return "MissingEndpoints", f'{words} "{port.get("name", "")}"'
    return None


async def _ask(remote: Remote) -> Verdict:
    """Its discovery: the proof of life, and what is shown in ours."""
    url = f"{remote.base}{remote.path}"
    headers = [*remote_headers(_AGGREGATOR), ("accept", "application/json"), ("user-agent", "kube-aggregator")]
    try:
        answer = await remote.client().request("GET", url, headers, timeout=_PATIENCE, limit=1 << 22)
        if not 200 <= answer.status < 300:
            raise CallFailed(f"bad status from {url}: {answer.status}")
        resources = decode(answer.body).get("resources")
        remote.resources = [r for r in resources or () if isinstance(r, dict) and "name" in r]
    except FAILURES as error:
        why = "context deadline exceeded" if isinstance(error, TimeoutError) else str(error)
        return "False", "FailedDiscoveryCheck", f"failing or missing response from {url}: {why}"
    await _ask_openapi(remote, headers)
    return "True", "Passed", "all checks passed"


async def _ask_openapi(remote: Remote, headers: list[tuple[str, str]]) -> None:
    try:
        answer = await remote.client().request(
            "GET", f"{remote.base}/openapi/v3", headers, timeout=_PATIENCE, limit=1 << 22
        )
        paths = decode(answer.body)["paths"] if answer.status == 200 else {}
        remote.openapi = str(paths[remote.path.lstrip("/")]["serverRelativeURL"])
    except (*FAILURES, KeyError, TypeError):
        remote.openapi = ""


async def _request(app: App, method: str, path: str, body: bytes) -> None:
    agent = {"user-agent": "kube-aggregator", "content-type": "application/merge-patch+json"}
    result = app.handle_as(_AGGREGATOR, Request(method, path, "", agent, body))
    answer = result if isinstance(result, Response) else await result
    if answer.status >= 300 and answer.status not in (404, 409):
        _log.warning("%s %s was answered with %d", method, path, answer.status)
