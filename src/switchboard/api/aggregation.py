"""API aggregation: group-versions that another server in the cluster serves, registered as APIServices.

A request for one of them is authenticated and authorised here like any other, then goes on to the Service, over TLS
with the front-proxy certificate and who asks in `X-Remote-*` headers. `Aggregation` follows the stored APIServices;
`availability.py` looks after them. Nothing runs while no APIService names a Service. What this process serves beside
its registry (`resourcemetrics.py`) is found here as well; an APIService that names a Service takes its place. Sources:
kube-aggregator/pkg/apiserver/{handler_proxy,handler_discovery}.go, pkg/controllers/autoregister.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from switchboard.api import answers, audit, resourcemetrics
from switchboard.api.identity import Identity
from switchboard.api.keyspace import decode
from switchboard.api.kubelets import Headers
from switchboard.api.piping import pipe
from switchboard.api.proxying import relay
from switchboard.api.webhookclient import CallFailed, context_of, dial_service
from switchboard.objects.errors import StatusError
from switchboard.transport.http import HttpClient, HttpFailure, StreamResponse
from switchboard.transport.messages import Connection, Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.objects.kinds import Registry
    from switchboard.store.record import Event

Object = dict[str, Any]

PREFIX = "/apiregistration.k8s.io/apiservices/"
_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    "upgrade content-length host authorization x-forwarded-for".split()
)
_TIMEOUT = 60.0
FAILURES = (HttpFailure, TimeoutError, OSError, CallFailed, StatusError, ValueError)


class Backend(Protocol):
    """Who serves a group-version that the registry does not hold; `resources` are as plain discovery has them.

    `openapi` is where its own OpenAPI v3 is; `kinds` what this server describes in its place."""

    name: str
    group: str
    version: str
    spec: Object
    available: bool
    resources: list[Object] | None
    openapi: str
    kinds: Registry | None

    async def answer(self, request: Request, identity: Identity) -> Response:
        """The answer to a request that is authorised."""
        ...


class Remote:
    """One registered group-version: its APIService, how to reach it, and what it said of itself."""

    kinds: Registry | None = None

    def __init__(self, app: App, service: Object) -> None:
        spec = service["spec"]
        self.name: str = service["metadata"]["name"]
        self.group: str = spec.get("group") or ""
        self.version: str = spec["version"]
        self.spec: Object = spec
        self.service: Object = {"port": 443, **spec["service"]}
        self.available = True  # until the first look says otherwise
        self.resources: list[Object] | None = None  # as plain discovery has them
        self.openapi = ""  # where its OpenAPI v3 is, "" when it has none
        self._app = app
        self._client: HttpClient | None = None

    @property
    def path(self) -> str:
        """The root of its resources."""
        return f"/apis/{self.group}/{self.version}"

    @property
    def base(self) -> str:
        """Scheme and host as they stand in messages."""
        return f"https://{self.service['name']}.{self.service['namespace']}.svc:{self.service['port']}"

    def client(self) -> HttpClient:
        """Connections to its Service, kept. Raises ValueError for a caBundle that is none."""
        if self._client is None:
            context = context_of(self.spec.get("caBundle") or "", verify=not self.spec.get("insecureSkipTLSVerify"))
            if self._app.settings.proxy_client is not None:
                context.load_cert_chain(*self._app.settings.proxy_client)
            name = f"{self.service['name']}.{self.service['namespace']}.svc"
            self._client = HttpClient(ssl=context, server_name=name, dial=dial_service(self._app, self.service))
        return self._client

    async def answer(self, request: Request, identity: Identity) -> Response:
        """What the server behind the Service says."""
        return await pass_on(self, request, identity)

    async def close(self) -> None:
        """Close kept connections."""
        if self._client is not None:
            await self._client.close()


class Aggregation:
    """The registered group-versions of one API server."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.remotes: dict[tuple[str, str], Remote] = {}
        self.own: dict[tuple[str, str], Backend] = {}
        self.served: dict[tuple[str, str], Backend] = {}  # both; whoever is registered first
        self.changes = 0  # counts what discovery has to show anew

    def load(self) -> None:
        """Take what is stored, and whatever is written from now on."""
        store = self._app.store
        if self._app.kubelet is not None:
            self.own[resourcemetrics.GROUP, resourcemetrics.VERSION] = resourcemetrics.ResourceMetrics(self._app)
            self._merge()
        for record in store.scan(PREFIX):
            self._take(decode(record.value))
        store.subscribe(PREFIX, store.revision, self._changed)

    def _changed(self, events: list[Event]) -> None:
        for event in events:
            service = decode(event.record.value)
            if event.deleted:
                self._drop(service)
            else:
                self._take(service)

    def _take(self, service: Object) -> None:
        spec = service["spec"]
        if not spec.get("service"):
            self._drop(service)
            return
        key = spec.get("group") or "", spec["version"]
        held = self.remotes.get(key)
        if held is None or held.spec != spec:
            self._drop(service)
            self.remotes[key] = Remote(self._app, service)
            self._merge()

    def _merge(self) -> None:
        self.served = {**self.own, **self.remotes}
        self.changes += 1

    def _drop(self, service: Object) -> None:
        spec = service["spec"]
        held = self.remotes.pop((spec.get("group") or "", spec["version"]), None)
        if held is not None:
            self._merge()
            self._app.background(held.close())

    def find(self, path: str) -> Backend | None:
        """Who serves a path, None when that is this server."""
        parts = path.split("/", 4)
        if len(parts) > 3 and parts[1] == "apis":
            return self.served.get((parts[2], parts[3]))
        if path.startswith("/openapi/v3/apis/"):
            parts = path.split("/")
            found = self.served.get((parts[4], parts[5])) if len(parts) == 6 else None
            return found if found is not None and found.openapi else None
        return None

    def versions(self) -> Iterator[tuple[str, list[Backend]]]:
        """Groups and their remote versions, the more important first."""

        def weight(remote: Backend) -> tuple[int, str, int, str]:
            spec = remote.spec
            return -spec.get("groupPriorityMinimum", 0), remote.group, -spec.get("versionPriority", 0), remote.version

        groups: dict[str, list[Backend]] = {}
        for remote in sorted(self.served.values(), key=weight):
            groups.setdefault(remote.group, []).append(remote)
        yield from groups.items()

    async def close(self) -> None:
        """Close every connection."""
        for remote in self.remotes.values():
            await remote.close()


async def pass_on(remote: Remote, request: Request, identity: Identity) -> Response:
    """The answer of the server that serves this; 503 when it is not available."""
    if not remote.available and request.path.startswith(remote.path):
        return answers.text("service unavailable\n", 503)
    target = request.path if not request.path.startswith("/openapi/") else remote.openapi.partition("?")[0]
    url = f"{remote.base}{target}" + (f"?{request.query}" if request.query else "")
    headers = _forwarded(request, identity)
    try:
        client = remote.client()
        if "upgrade" in request.headers:
            return await _upgraded(client, request, url, headers)
        return await _exchanged(client, request, url, headers)
    except FAILURES as error:
        return answers.text(f"error trying to reach service: {error}\n", 503)


def remote_headers(identity: Identity) -> Headers:
    """Who asks, as the servers behind this one read it."""
    headers = [("X-Remote-User", identity.user)]
    headers += [("X-Remote-Uid", identity.uid)] if identity.uid else []
    headers += [("X-Remote-Group", group) for group in identity.groups]
    for key, values in identity.extra:
        headers += [(f"X-Remote-Extra-{quote(key, safe='')}", value) for value in values]
    return headers


def _forwarded(request: Request, identity: Identity) -> Headers:
    headers = [
        (name, value)
        for name, value in request.headers.items()
        if name not in _HOP and name != audit.HEADER and not name.startswith(("x-remote-", "impersonate-"))
    ]
    headers.append((audit.HEADER, audit.id_of(request)))  # one request, under one name in both logs
    before = request.headers.get("x-forwarded-for")
    chain = f"{before}, {request.peer_address}" if before else request.peer_address
    if chain:
        headers.append(("x-forwarded-for", chain))
    return headers + remote_headers(identity)


async def _exchanged(client: HttpClient, request: Request, url: str, headers: Headers) -> Response:
    stack = AsyncExitStack()
    exchange = client.stream(request.method, url, headers, request.body, timeout=_TIMEOUT)
    try:
        answer: StreamResponse = await stack.enter_async_context(exchange)
    except BaseException:
        await stack.aclose()
        raise
    passed = [(n, v) for n, v in answer.headers.items() if n not in _HOP and n != audit.HEADER]
    if request.method == "HEAD" or answer.status in (204, 304):
        await stack.aclose()
        return Response(answer.status, passed, b"")
    length = answer.headers.get("content-length")
    if length is not None:
        passed.append(("content-length", length))
    return Response(answer.status, passed, stream=relay(answer, stack))


async def _upgraded(client: HttpClient, request: Request, url: str, headers: Headers) -> Response:
    protocol = request.headers["upgrade"]
    given = [*headers, ("Upgrade", protocol)]
    status, answered, answer = await client.upgrade(request.method, url, given, request.body, timeout=_TIMEOUT)
    passed = [(n, v) for n, v in answered.items() if n not in _HOP]
    if isinstance(answer, bytes):
        return Response(status, [(n, v) for n, v in passed if n != audit.HEADER], answer)
    backend = answer
    passed += [("Connection", "Upgrade"), ("Upgrade", answered.get("upgrade", protocol))]

    async def run(connection: Connection) -> None:
        await pipe(connection, backend)

    return Response(101, passed, upgrade=run)
