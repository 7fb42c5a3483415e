"""The proxy subresource of pods, Services and nodes: any request goes on to a pod's port, through its node's agent.

Names are `[scheme:]name[:port]`. Backends over https are not verified, as upstream does not. GET and HEAD without a
path are redirected to one that ends in a slash. Sources: `apimachinery/pkg/util/proxy`,
`pkg/registry/core/{pod,service,node}`.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NamedTuple

from switchboard.api import connecting
from switchboard.api.call import Call
from switchboard.api.keyspace import decode
from switchboard.api.kubelets import Headers
from switchboard.api.piping import pipe
from switchboard.api.rewriting import rewrite_html, rewrite_url, unpack
from switchboard.api.streams import agents
from switchboard.objects.errors import BadRequest, NotFound, ServiceUnavailable
from switchboard.transport.http import HttpClient, HttpFailure, StreamResponse
from switchboard.transport.messages import Connection, Request, Response

Object = dict[str, Any]

_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    "upgrade content-length host authorization".split()
)
_MAX_HTML = 8 * 1024 * 1024


class Backend(NamedTuple):
    """Where a proxied request goes: a port of an address, seen from inside a node's network."""

    node: str
    scheme: str
    host: str
    port: int


async def handle(call: Call) -> Response:
    """Pass a request on."""
    await connecting.admit(call)
    scheme, name, port = split_name(call.name)
    request, rest = call.request, call.target.rest
    if not rest and request.method in ("GET", "HEAD"):
        location = request.path + "/" + (f"?{request.query}" if request.query else "")
        _find(call, scheme, name, port)  # the target must exist before anybody is sent there
        return Response(301, [("location", location)], b"")
    backend = _find(call, scheme, name, port)
    target = (rest or "/") + (f"?{request.query}" if request.query else "")
    headers = _forwarded(request, backend)
    if isinstance(backend, str):
        return await _to_agent(call, backend, target, headers)
    client = _client(call, backend.node)
    host = f"[{backend.host}]" if ":" in backend.host else backend.host
    url = f"{backend.scheme}://{host}:{backend.port}{target}"
    if "upgrade" in request.headers:
        return await _upgrade(client, request, url, headers)
    return await _exchange(call, client.stream(request.method, url, headers, request.body), backend)


def split_name(text: str) -> tuple[str, str, str]:
    """`https:web:8443` -> (https, web, 8443); `web:http` -> ("", web, http); other shapes are 400."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("", "http", "https"):
        return parts[0], parts[1], parts[2]
    raise BadRequest(f'invalid service request "{text}"')


def _find(call: Call, scheme: str, name: str, port: str) -> Backend | str:
    """The backend, or the name of a node whose agent itself is meant."""
    plural = call.kind.plural
    if plural == "pods":
        return _pod(call, scheme, name, port)
    if plural == "services":
        return _service(call, scheme, name, port)
    if call.app.store.get(f"/core/nodes/{name}") is None:
        raise NotFound.of("nodes", "", name)
    if port in ("", "10250"):
        return name
    return Backend(name, scheme or "http", "127.0.0.1", _number(port))


def _number(port: str) -> int:
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadRequest(f'invalid port "{port}"')
    return int(port)


def _pod(call: Call, scheme: str, name: str, port: str) -> Backend:
    record = call.app.store.get(f"/core/pods/{call.namespace}/{name}")
    if record is None:
        raise NotFound.of("pods", "", name)
    pod = decode(record.value)
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    if not status.get("podIP") or not spec.get("nodeName"):
        raise BadRequest("address not allowed")
    scheme = scheme or "http"
    if not port:
        declared = [p["containerPort"] for c in spec.get("containers") or () for p in c.get("ports") or ()]
        port = str(declared[0]) if declared else "443" if scheme == "https" else "80"
    return Backend(spec["nodeName"], scheme, status["podIP"], _number(port))


def _service(call: Call, scheme: str, name: str, port: str) -> Backend:
    store, namespace = call.app.store, call.namespace
    record = store.get(f"/core/services/{namespace}/{name}")
    if record is None:
        raise NotFound.of("services", "", name)
    slices = [
        decode(r.value)
        for r in store.scan(f"/discovery.k8s.io/endpointslices/{namespace}/")
        if r.meta.get("kubernetes.io/service-name") == name
    ]
    if not slices:
        raise NotFound.of("services", "", name)
    if port.isdigit():
        service = decode(record.value)
        names = [p.get("name", "") for p in service["spec"].get("ports") or () if p.get("port") == int(port)]
        if not names:
            raise ServiceUnavailable(f'no service port {port} found for service "{name}"')
        port = names[0]
    random.shuffle(slices)
    for slice_ in slices:
        numbers = [p["port"] for p in slice_.get("ports") or () if p.get("name", "") == port and p.get("port")]
        found = _ready(call, slice_)
        if numbers and found:
            node, address = random.choice(found)
            return Backend(node, scheme or "http", address, numbers[0])
    raise ServiceUnavailable(f'no endpoints available for service "{call.name}"')


def _ready(call: Call, slice_: Object) -> list[tuple[str, str]]:
    """(node, address) of the ready endpoints that are pods."""
    found = []
    for endpoint in slice_.get("endpoints") or ():
        reference = endpoint.get("targetRef") or {}
        if (endpoint.get("conditions") or {}).get("ready") is False or reference.get("kind") != "Pod":
            continue
        node = endpoint.get("nodeName")
        if not node:
            record = call.app.store.get(f"/core/pods/{call.namespace}/{reference.get('name')}")
            node = (decode(record.value).get("spec") or {}).get("nodeName") if record is not None else None
        if node:
            found += [(node, address) for address in endpoint.get("addresses") or ()]
    return found


def _client(call: Call, node: str) -> HttpClient:
    """The HTTP client whose connections go through a node's agent (kept: they are reused)."""
    clients: dict[str, HttpClient] = call.app.proxy_clients
    client = clients.get(node)
    if client is None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = clients[node] = HttpClient(ssl=context, dial=partial(agents(call).dial, node))
    return client


def _forwarded(request: Request, backend: Backend | str) -> Headers:
    headers = [(name, value) for name, value in request.headers.items() if name not in _HOP]
    if isinstance(backend, str):
        return [(n, v) for n, v in headers if not n.startswith("impersonate-")]
    before = request.headers.get("x-forwarded-for")
    chain = f"{before}, {request.peer_address}" if before else request.peer_address
    headers = [(n, v) for n, v in headers if n != "x-forwarded-for" and not n.startswith("impersonate-")]
    if chain:
        headers.append(("x-forwarded-for", chain))
    headers.append(("x-forwarded-uri", _prefix(request)))
    headers.append(("x-forwarded-host", request.headers.get("host", "")))
    headers.append(("x-forwarded-proto", "https" if request.secure else "http"))
    return headers


def _prefix(request: Request) -> str:
    """The part of the request's path up to and with `/proxy`."""
    parts = request.path.split("/")
    # /api/v1/namespaces/<ns>/<plural>/<name>/proxy/... or /api/v1/nodes/<name>/proxy/...
    length = 8 if parts[3] == "namespaces" else 6
    return "/".join(parts[:length])


async def _to_agent(call: Call, node: str, target: str, headers: Headers) -> Response:
    request = call.request
    return await _exchange(call, agents(call).stream(node, request.method, target, headers, request.body), None)


async def _upgrade(client: HttpClient, request: Request, url: str, headers: Headers) -> Response:
    given = [*headers, ("Upgrade", request.headers["upgrade"])]
    try:
        status, answered, answer = await client.upgrade(request.method, url, given, request.body, timeout=30.0)
    except (HttpFailure, TimeoutError) as e:
        raise ServiceUnavailable(f"error trying to reach service: {e}") from None
    passed = [(n, v) for n, v in answered.items() if n not in _HOP]
    if isinstance(answer, bytes):
        return Response(status, passed, answer)
    backend = answer
    passed += [("Connection", "Upgrade"), ("Upgrade", answered.get("upgrade", request.headers["upgrade"]))]

    async def run(connection: Connection) -> None:
        await pipe(connection, backend)

    return Response(101, passed, upgrade=run)


async def _exchange(call: Call, exchange: Any, backend: Backend | None) -> Response:
    stack = AsyncExitStack()
    try:
        answer: StreamResponse = await stack.enter_async_context(exchange)
    except (HttpFailure, TimeoutError, OSError) as e:
        await stack.aclose()
        raise ServiceUnavailable(f"error trying to reach service: {e}") from None
    except BaseException:
        await stack.aclose()
        raise
    headers = [(n, v) for n, v in answer.headers.items() if n not in _HOP]
    prefix = _prefix(call.request)
    hosts = (call.request.headers.get("host", ""), f"{backend.host}:{backend.port}" if backend else "")
    headers = [(n, rewrite_url(v, prefix, hosts) if n == "location" else v) for n, v in headers]
    if backend is not None and answer.headers.get("content-type", "").startswith("text/html"):
        return await _rewritten(answer, stack, headers, prefix, hosts)
    if call.request.method == "HEAD":
        await stack.aclose()
        return Response(answer.status, headers, b"")
    length = answer.headers.get("content-length")
    if length is not None:
        headers.append(("content-length", length))
    return Response(answer.status, headers, stream=relay(answer, stack))


async def relay(answer: StreamResponse, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    """The body of an answer, piece by piece; at its end the exchange is over."""
    try:
        async for data in answer.body:
            yield data
    finally:
        await stack.aclose()


async def _rewritten(
    answer: StreamResponse, stack: AsyncExitStack, headers: Headers, prefix: str, hosts: tuple[str, ...]
) -> Response:
    """A whole HTML page with its links under the proxy's path (pages too large for that are passed on as they are)."""
    try:
        body = b""
        async for data in answer.body:
            body += data
            if len(body) > _MAX_HTML:
                raise ServiceUnavailable("the page is too large to be rewritten")
    except HttpFailure as e:
        raise ServiceUnavailable(f"error trying to reach service: {e}") from None
    finally:
        await stack.aclose()
    html = unpack(body, answer.headers.get("content-encoding", "").lower())
    if html is None:
        return Response(answer.status, headers, body)
    headers = [(n, v) for n, v in headers if n != "content-encoding"]
    return Response(answer.status, headers, rewrite_html(html, prefix, hosts))
