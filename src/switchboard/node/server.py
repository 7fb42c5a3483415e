"""The node's HTTPS API on port 10250, with the kubelet's paths: who may call, what the paths are, what they answer.

A caller shows a client certificate of the cluster's authority whose name or group the settings list. Streams (`exec`,
`attach`, `portForward`, `dial`) are in `streams.py`, numbers in `stats.py`. Source: pkg/kubelet/server/server.go.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

from switchboard.node import stats, systemlogs
from switchboard.node.logs import BadLogOptions, options_of, read
from switchboard.node.observed import Container, Observed
from switchboard.node.runtime import CriRuntime, RuntimeFailure
from switchboard.node.settings import NodeSettings
from switchboard.node.streams import Streams, asked_for
from switchboard.objects.healthchecks import Healthchecks
from switchboard.transport.messages import Request, Response
from switchboard.transport.server import Server

Object = dict[str, Any]

log = logging.getLogger(__name__)

_NO_STREAM = "you must specify at least 1 of stdin, stdout, stderr"
_HEALTH = ("ping", "log", "syncloop")
_PULL_REASONS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class Lookup(Protocol):
    """What the agent knows of its pods."""

    def pod(self, namespace: str, name: str) -> Object | None:
        """A pod of this node with its latest status."""
        ...

    def pods(self) -> list[Object]:
        """All of them."""
        ...

    def seen(self, uid: str) -> Observed | None:
        """What the runtime has of a pod."""
        ...


class Refused(Exception):
    """An answer other than 200, as plain text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def text(status: int, body: str) -> Response:
    """A plain-text answer."""
    return Response(status, [("Content-Type", "text/plain; charset=utf-8")], body.encode())


def as_json(value: Any) -> Response:
    """A JSON answer."""
    return Response(200, [("Content-Type", "application/json")], json.dumps(value).encode())


class NodeServer:
    """Serves one node; `run` for ever, `port` once it listens."""

    def __init__(self, runtime: CriRuntime, settings: NodeSettings, lookup: Lookup) -> None:
        self.port = 0
        self.listening = asyncio.Event()
        self._runtime, self._settings, self._lookup = runtime, settings, lookup
        self._streams = Streams(runtime)
        self._checks = Healthchecks()
        self._routes: dict[str, Callable[[Request, list[str], dict[str, str]], Awaitable[Response]]] = {
            "healthz": self._healthz,
            "pods": self._pods,
            "runningpods": self._running_pods,
            "containerLogs": self._logs,
            "logs": self._system_logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "run": self._run,
            "dial": self._dial,
            "stats": self._stats,
            "metrics": self._metrics,
            "configz": self._configz,
        }

    async def run(self) -> None:
        """Serve until cancelled; without a certificate there is nothing to serve."""
        settings = self._settings
        if settings.certificate is None or settings.key is None or settings.client_ca is None:
            return
        server = Server(self.handle, tls_context(settings))
        try:
            self.port = await server.listen(settings.ip, settings.port)
            self.listening.set()
            await asyncio.Event().wait()
        finally:
            await server.close(0.5)

    async def handle(self, request: Request) -> Response:
        """One request, whatever it is."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        route = self._routes.get(parts[0])
        if route is None:
            return text(404, "404 page not found\n")
        try:
            return await route(request, parts[1:], dict(parse_qsl(request.query, keep_blank_values=True)))
        except Refused as refused:
            return text(refused.status, str(refused))
        except BadLogOptions as error:
            return text(400, str(error))
        except RuntimeFailure as error:
            return text(404 if error.code == "NOT_FOUND" else 500, str(error))

    def _refusal(self, request: Request) -> Response | None:
        certificate = request.peer_certificate
        if not certificate:
            return text(401, "Unauthorized")
        user, groups = identity_of(certificate)
        if user in self._settings.allowed_users or set(groups) & set(self._settings.allowed_groups):
            return None
        return text(403, f"Forbidden (user={user}, verb={request.method.lower()}, resource=nodes, subresource=proxy)")

    # Paths

    async def _healthz(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        if len(parts) > 1 or not set(parts) <= set(_HEALTH):
            raise Refused(404, "404 page not found")
        for name in parts or _HEALTH:
            self._checks.count(name, "healthz", True)
        return text(200, "ok")

    async def _pods(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        items = [{k: v for k, v in pod.items() if k not in ("apiVersion", "kind")} for pod in self._lookup.pods()]
        return as_json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _running_pods(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        items = []
        for pod in self._lookup.pods():
            meta = {key: pod["metadata"].get(key) for key in ("name", "namespace", "uid")}
            seen = self._lookup.seen(meta["uid"]) or Observed()
            running = [{"name": c.name, "image": c.image, "resources": {}} for c in seen.running()]
            if running:
                items.append({"metadata": meta, "spec": {"containers": running}, "status": {}})
        return as_json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _configz(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        s = self._settings
        config = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "port": s.port,
            "clusterDNS": list(s.cluster_dns),
            "clusterDomain": s.cluster_domain,
            "maxPods": s.max_pods,
            "podCIDR": s.pod_cidr,
            "cgroupDriver": "cgroupfs",
            "containerLogMaxFiles": s.log_max_files,
            "nodeStatusUpdateFrequency": "10s",
            "nodeLeaseDurationSeconds": 40,
        }
        return as_json({"kubeletconfig": config})

    async def _logs(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        if len(parts) != 3:
            raise Refused(400, "Missing namespace, pod or container")
        namespace, name, container = parts
        options = options_of(query, time.time())
        pod = self._lookup.pod(namespace, name)
        if pod is None:
            raise Refused(404, f'pod "{name}" does not exist')
        ident = logged_container(pod, container, options.previous)
        uid = pod["metadata"]["uid"]
        found = self._by_id(uid, container, ident)
        if found is None:
            raise Refused(404, f"unable to retrieve container logs for containerd://{ident}")
        path = self._settings.pod_log_dir(namespace, name, uid) / container / f"{found.attempt}.log"
        pieces = read(path, options, lambda: self._alive(uid, container, ident))
        try:
            first = await anext(pieces, b"")
        except FileNotFoundError:
            raise Refused(404, f"failed to open log file {str(path)!r}: no such file or directory") from None
        headers = [("Content-Type", "text/plain")]
        return Response(200, headers, stream=_with_first(first, pieces))

    async def _system_logs(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, "Method Not Allowed")
        return systemlogs.answer(self._settings.system_logs, parts, slash=request.path.endswith("/"))

    def _by_id(self, uid: str, name: str, ident: str) -> Container | None:
        seen = self._lookup.seen(uid)
        tries = seen.containers.get(name, []) if seen is not None else []
        return next((c for c in tries if c.id == ident), None)

    def _alive(self, uid: str, name: str, ident: str) -> bool:
        found = self._by_id(uid, name, ident)
        return found is not None and not found.exited

    async def _exec(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        command = [value for key, value in parse_qsl(request.query, keep_blank_values=True) if key == "command"]
        if not command:
            raise Refused(400, "you must specify at least 1 command")
        if not asked_for(query):
            raise Refused(400, _NO_STREAM)
        missing = _not_found(parts)
        ident = self._running(parts, missing).id
        return await self._unless_ended(ident, missing, self._streams.exec(request, ident, command, query))

    async def _attach(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        if not asked_for(query):
            raise Refused(400, _NO_STREAM)
        namespace, pod, container = _names(parts)
        missing = f"container {container} not found in pod {pod}_{namespace}"
        ident = self._running(parts, missing).id
        return await self._unless_ended(ident, missing, self._streams.attach(request, ident, query))

    async def _unless_ended(self, ident: str, missing: str, work: Awaitable[Response]) -> Response:
        """A stream into a container, which may have ended since we last looked: upstream looks for each stream."""
        try:
            return await work
        except RuntimeFailure:
            if await self._runtime.is_running(ident):
                raise
            raise Refused(500, missing) from None

    async def _port_forward(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        pod = self._pod_of(parts)
        seen = self._lookup.seen(pod["metadata"]["uid"])
        sandbox = seen.sandbox if seen is not None else None
        if sandbox is None:
            raise Refused(400, f'pod "{pod["metadata"]["name"]}" is not running')
        ports = [int(p) for k, v in parse_qsl(request.query) if k == "ports" for p in v.split(",") if p.isdigit()]
        return await self._streams.port_forward(request, sandbox.id, ports)

    async def _run(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        command = query.get("cmd", "").split(" ")
        code, out, err = await self._runtime.exec(self._running(parts, _not_found(parts)).id, command, 0)
        if code:
            raise Refused(
                500, f"command '{' '.join(command)}' exited with {code}: {(out + err).decode('utf-8', 'replace')}"
            )
        return Response(200, [("Content-Type", "text/plain")], out + err)

    async def _dial(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        if request.method != "POST" or len(parts) != 2 or not parts[1].isdigit():
            raise Refused(400, "POST /dial/<host>/<port> with an Upgrade")
        return await self._streams.dial(parts[0], int(parts[1]))

    def _pod_of(self, parts: list[str]) -> Object:
        if len(parts) not in (2, 3, 4):
            raise Refused(400, "Missing namespace or pod")
        pod = self._lookup.pod(parts[0], parts[1])
        if pod is None:
            raise Refused(404, "pod does not exist")
        return pod

    def _running(self, parts: list[str], missing: str) -> Container:
        """`/<namespace>/<pod>[/<uid>]/<container>` -> the running container of that name; `missing` is what is said
        when there is none (kubelet_pods.go GetExec, GetAttach)."""
        pod = self._pod_of(parts)
        seen = self._lookup.seen(pod["metadata"]["uid"])
        latest = seen.latest(parts[-1]) if seen is not None else None
        if latest is None or not latest.running:
            raise Refused(500, missing)
        return latest

    async def _stats(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        if parts and parts[0] != "summary":
            raise Refused(404, "404 page not found")
        containers, pods = await self._runtime.container_stats(), self._lookup.pods()
        return as_json(stats.summary(self._settings.name, containers, stats.node(), pods, time.time()))

    async def _metrics(self, request: Request, parts: list[str], query: dict[str, str]) -> Response:
        kind = parts[0] if parts else ""
        if kind not in ("", "resource", "cadvisor", "probes", "slis"):
            raise Refused(404, "404 page not found")
        if kind == "slis":
            body = self._checks.render()
        else:
            containers, pods = await self._runtime.container_stats(), self._lookup.pods()
            body = stats.metrics(kind, self._settings.name, containers, stats.node(), pods)
        return Response(200, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")], body.encode())


def _names(parts: list[str]) -> tuple[str, str, str]:
    """Namespace, pod and container of `/<namespace>/<pod>[/<uid>]/<container>`."""
    if len(parts) not in (3, 4):
        raise Refused(400, "Missing namespace, pod or container")
    return parts[0], parts[1], parts[-1]


def _not_found(parts: list[str]) -> str:
    return f'container not found ("{_names(parts)[-1]}")'


def tls_context(settings: NodeSettings) -> ssl.SSLContext:
    """TLS as a server that asks for client certificates of the cluster. Raises OSError, ssl.SSLError."""
    assert settings.certificate is not None and settings.key is not None and settings.client_ca is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    context.load_verify_locations(settings.client_ca)
    context.verify_mode = ssl.CERT_OPTIONAL  # without one the answer is 401, not a broken handshake
    return context


def identity_of(certificate: dict[str, Any]) -> tuple[str, list[str]]:
    """(user, groups) of a verified client certificate: common name and organizations."""
    pairs = [pair for names in certificate.get("subject", ()) for pair in names]
    user = next((value for key, value in pairs if key == "commonName"), "")
    return user, [value for key, value in pairs if key == "organizationName"]


def logged_container(pod: Object, name: str, previous: bool) -> str:
    """Id of the container whose log is meant, from the pod's status. Raises Refused with kubelet's words
    (kubelet_pods.go validateContainerLogStatus).
    """
    status = pod.get("status") or {}
    where = f'container "{name}" in pod "{pod["metadata"]["name"]}"'
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    found = next((s for kind in kinds for s in status.get(kind) or () if s["name"] == name), None)
    if found is None:
        raise Refused(400, f"{where} is not available")
    state, last = found.get("state") or {}, ((found.get("lastState") or {}).get("terminated") or {})
    if previous:
        if not last.get("containerID"):
            raise Refused(
                400, f"previous terminated {where} not found".replace("terminated container", "terminated container")
            )
        return _bare(last["containerID"])
    if state.get("running"):
        return _bare(found["containerID"])
    ended = state.get("terminated")
    if ended:
        if ended.get("containerID"):
            return _bare(ended["containerID"])
        if last.get("containerID"):
            return _bare(last["containerID"])
        raise Refused(400, f"{where} is terminated")
    if last.get("containerID"):
        return _bare(last["containerID"])
    reason = (state.get("waiting") or {}).get("reason")
    if reason:
        raise Refused(400, f"{where} is waiting to start: {_PULL_REASONS.get(reason, reason)}")
    raise Refused(400, f"{where} is waiting to start - no logs yet")


def _bare(ident: str) -> str:
    return ident.rpartition("//")[2]


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece
