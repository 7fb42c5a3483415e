"""An API server for tests: store, app and HTTP server in this process, on 127.0.0.1, with a throw-away store.

```python
async with ApiServer() as api:                 # plain HTTP; ApiServer(tls=True) for TLS with client certificates
    status, body = await api.call("GET", "/api/v1/namespaces")      # in-process, as system:masters
    api.url, api.token                                              # for clients over the wire
    api.kubeconfig(path)                                            # for kubectl and clients that read one
```
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from switchboard.api import audit
from switchboard.api.answers import failure
from switchboard.api.app import App
from switchboard.api.identity import AUTHENTICATED, LOOPBACK, MASTERS, Identity
from switchboard.api.keyspace import index
from switchboard.api.settings import Settings
from switchboard.objects.errors import StatusError
from switchboard.store.store import Store
from switchboard.testing.certificates import Authority
from switchboard.transport.messages import Request, Response
from switchboard.transport.server import Server


class ApiServer:
    """A running API server; use as an async context manager.

    `token` belongs to a member of system:masters; more tokens can be given in `settings.tokens`. With `tls`, the server
    has a certificate for 127.0.0.1 and `client(user, *groups)` gives (certificate, key) files that it accepts.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        tls: bool = False,
        path: Path | None = None,
        port: int = 0,
        kubelet: Any = None,
    ) -> None:
        self.settings = settings or Settings()
        self.token = secrets.token_hex(16)
        self.settings.tokens[self.token] = Identity("admin", (MASTERS, AUTHENTICATED))
        self.port = port
        self._kubelet = kubelet
        self._tls = tls
        self._directory = tempfile.TemporaryDirectory(prefix="sbt-api-")
        self.directory = Path(self._directory.name)
        self._path = path or self.directory / "store.db"
        self.authority = Authority(self.directory) if tls else None
        self.app: App = None  # type: ignore[assignment]  # there once the server is entered
        self.store: Store = None  # type: ignore[assignment]  # likewise
        self._server: Server | None = None

    async def __aenter__(self) -> ApiServer:
        self.store = Store.open(self._path, index=index)
        self.app = App(self.store, self.settings, kubelet=self._kubelet)
        await self.app.start()
        self._server = Server(self.app.handle, self._context(), on_error=_refused, id_header=audit.HEADER)
        self.port = await self._server.listen("127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.app.stop()
        if self._server is not None:
            await self._server.close(1.0)
        await self.store.close()
        self._directory.cleanup()

    def _context(self) -> ssl.SSLContext | None:
        return self.authority.server_context() if self.authority is not None else None

    @property
    def url(self) -> str:
        """Base URL, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def client(self, user: str, *groups: str) -> tuple[Path, Path]:
        """A client certificate and key of a user (TLS only)."""
        assert self.authority is not None, "only with tls=True"
        return self.authority.client(user, groups)

    def kubeconfig(self, path: Path | None = None) -> Path:
        """A kubeconfig file that reaches this server with the admin token."""
        path = path or self.directory / "kubeconfig"
        cluster: dict[str, Any] = {"server": self.url}
        if self.authority is not None:
            cluster["certificate-authority"] = str(self.authority.certificate)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    async def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        identity: Identity = LOOPBACK,
    ) -> tuple[int, Any]:
        """One request without a socket; the body is JSON unless it is bytes. Returns (status, decoded body)."""
        response = await self.request(method, target, body, headers, identity)
        data = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        try:
            return response.status, json.loads(data)
        except ValueError:
            return response.status, data

    async def request(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        identity: Identity = LOOPBACK,
    ) -> Response:
        """As `call`, but the whole Response."""
        path, _, query = target.partition("?")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(method, path, query, {"user-agent": "test", **(headers or {})}, data)
        result = self.app.handle_as(identity, request)
        return result if isinstance(result, Response) else await result

    async def gone(self, target: str) -> None:
        """Wait until something is no longer there."""
        changes = self.store.watch("/", self.store.revision)
        async with asyncio.timeout(5):
            while (await self.call("GET", target))[0] != 404:
                await anext(changes)
        changes.close()


def _refused(status: int, message: str) -> Response:
    """The answer to what never was a request, as a Status."""
    reasons = {400: "BadRequest", 408: "Timeout", 413: "RequestEntityTooLarge", 431: "RequestEntityTooLarge"}
    return failure(StatusError(message, code=status, reason=reasons.get(status, "InternalError")))


async def serve(port: int = 6443, *, tls: bool = True) -> None:
    """Run until cancelled, printing how to reach the server: `python -m switchboard.testing.apiserver`."""
    async with ApiServer(tls=tls, port=port) as api:
        print(json.dumps({"url": api.url, "token": api.token, "kubeconfig": str(api.kubeconfig())}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    import sys

    import uvloop

    uvloop.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 6443))
