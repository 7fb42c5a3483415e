"""Paths that are not resources: discovery, OpenAPI, version, health, metrics, and 404 for the rest.

Each part gives a dict of path -> function; `prefixes` are parts that answer whole trees of paths.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switchboard.api import answers, flowdumps, health, oidc, query
from switchboard.api.authz import Attributes, Decision
from switchboard.api.checkout import checkout
from switchboard.api.discovery import Discovery
from switchboard.api.documents import Document
from switchboard.api.identity import Identity
from switchboard.api.keyspace import encode_any
from switchboard.api.negotiate import accept
from switchboard.api.openapi import V2_PROTOBUF, OpenApi
from switchboard.api.settings import KUBERNETES_VERSION
from switchboard.objects.errors import MethodNotAllowed, NotFound
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App

Answer = Callable[[Request], "Response | Awaitable[Response]"]
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # as Go names them
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_NO_METHOD = "the server does not allow this method on the requested resource"


@cache
def version() -> dict[str, Any]:
    """/version: clients parse gitVersion as a semantic version and compare minors. The commit is that of the checkout
    this runs from, the date when that came to be there or, without one, this file's."""
    commit, built = checkout(Path(__file__))
    machine = os.uname().machine
    major, minor, _ = KUBERNETES_VERSION.split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"v{KUBERNETES_VERSION}+switchboard",
        "gitCommit": commit,
        "gitTreeState": "clean" if commit else "archive",
        "buildDate": built.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "goVersion": "",
        "compiler": sys.implementation.name,
        "platform": f"linux/{_MACHINES.get(machine, machine)}",
    }


@cache
def _build_info() -> str:
    """What `/version` says, as dashboards look for it among the metrics."""
    said = {key: value for key, value in version().items() if not key.startswith(("emulation", "minCompatibility"))}
    labels = {re.sub("([A-Z])", r"_\1", key).lower(): value for key, value in said.items()}
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    kind = "# TYPE kubernetes_build_info gauge\n"
    return f"# HELP kubernetes_build_info Which version runs.\n{kind}kubernetes_build_info{{{inside}}} 1\n"


class NonResource:
    """The table of everything that is not a resource."""

    def __init__(self, app: App) -> None:
        self._app = app
        issuer = oidc.Oidc(app.tokens, app.settings)
        self.exact: dict[str, Answer] = {
            "/version": self._version,
            "/version/": self._version,
            "/metrics": self._metrics,
            "/metrics/slis": self._slis,
            "/": self._root,
            "/index.html": self._root,
            oidc.CONFIGURATION: issuer.configuration,
            oidc.KEYS: issuer.keys,
            **dict.fromkeys(flowdumps.DUMPS, self._flows),
        }
        self.prefixes: list[tuple[str, Answer]] = [
            *((name, self._health) for name in ("/healthz", "/livez", "/readyz")),
        ]
        settings = app.settings
        address = f"{settings.advertise_address}:{settings.advertise_port}" if settings.advertise_address else ""
        self.discovery = Discovery(app.registry, address, app.aggregation)
        self.documents = OpenApi(app.registry, app.aggregation)
        self._building = asyncio.Lock()
        self._any_method = ("/healthz", "/livez", "/readyz")

    def handle(self, request: Request, identity: Identity) -> Response | Awaitable[Response]:
        """Answer, or 404 as plain text (an API path that names nothing: a Status)."""
        path = request.path
        found = self.exact.get(path)
        if found is None and path.startswith("/api"):
            document = self.discovery.find(path, request.headers.get("accept"))
            if document is not None:
                found = document.respond
        elif found is None and path.startswith("/openapi/") and self.documents.knows(path):
            found = self._openapi
        if found is None:
            for prefix, answer in self.prefixes:
                if path == prefix or path.startswith(prefix + "/"):
                    found = answer
                    break
        if found is None:
            if path.startswith(("/api/", "/apis/")) and len(path.strip("/").split("/")) > (2 if path[4] == "s" else 1):
                raise NotFound("the server could not find the requested resource", details={})
            return answers.text("404 page not found\n", 404)
        if request.method not in ("GET", "HEAD") and not path.startswith(self._any_method):
            raise MethodNotAllowed(_NO_METHOD, details={})
        return found(request)

    async def build_ahead(self) -> None:
        """Build the document that the first `kubectl apply` asks for: nearly all that this costs the server."""
        await self._document("/openapi/v2", V2_PROTOBUF)

    async def _document(self, path: str, accepted: str | None) -> Document | None:
        """Building one of these takes a while: in a thread, one at a time, so that nobody else waits."""
        async with self._building:
            return await asyncio.to_thread(self.documents.find, path, accepted)

    async def _openapi(self, request: Request) -> Response:
        document = await self._document(request.path, request.headers.get("accept"))
        if document is None:
            raise NotFound("the server could not find the requested resource", details={})
        return document.respond(request)

    def _version(self, request: Request) -> Response:
        body = encode_any(version())
        return answers.encoded(request, [body, b"\n"], accepted=accept(request.headers.get("accept")), pretty=True)

    def _metrics(self, request: Request) -> Response:
        return answers.text(_build_info() + self._app.metrics.render(self._app), content_type=_METRICS)

    def _slis(self, request: Request) -> Response:
        return answers.text(self._app.metrics.checks.render(), content_type=_METRICS)

    def _flows(self, request: Request) -> Response:
        details = bool(query.parse(request.query).get("includeRequestDetails"))
        return answers.text(flowdumps.DUMPS[request.path](self._app.flows, details))

    def _health(self, request: Request) -> Response:
        params = query.parse(request.query)
        return health.answer(self._app, request.path, verbose="verbose" in params, excluded=params.get("exclude", []))

    def _root(self, request: Request) -> Response:
        paths = {
            "/.well-known/openid-configuration",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/",
            "/openapi/v2",
            "/openapi/v3",
        }
        paths |= {
            "/openid/v1/jwks",
            "/version",
            "/metrics",
            "/metrics/slis",
            "/healthz",
            "/livez",
            "/readyz",
            *flowdumps.DUMPS,
        }
        registry = self._app.registry
        for group in registry.groups():
            if group:
                paths.add(f"/apis/{group}")
                paths |= {f"/apis/{group}/{v}" for v in registry.versions(group)}
        for name in ("/healthz", "/livez", "/readyz"):
            paths |= {f"{name}/{check}" for check in health.names(self._app)}
        body = encode_any({"paths": sorted(paths)})
        return answers.encoded(request, [body, b"\n"], pretty=True)

    def may(self, identity: Identity, path: str, verb: str = "get") -> bool:
        """Whether an identity may use a path."""
        decision, _ = self._app.authorizer.authorize(Attributes(identity, verb, path=path))
        return decision is Decision.ALLOW
