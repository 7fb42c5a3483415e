"""A webhook for tests: HTTPS on 127.0.0.1 with a certificate for itself and for any Service name, answering by a
function.

```python
async with FakeWebhook(lambda review: {"allowed": True}) as hook:
    hook.client_config                      # {"url": ..., "caBundle": ...}
    hook.service("validator", "default")    # the same server, reached through a Service
    hook.reviews                            # what it was asked
```
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from switchboard.testing.certificates import Authority
from switchboard.transport.messages import Request, Response
from switchboard.transport.server import Server

Object = dict[str, Any]
Answer = Callable[[Object], "Object | Awaitable[Object]"]


class FakeWebhook:
    """Answers AdmissionReviews and ConversionReviews with what `answer(request)` gives as response; uid filled in."""

    def __init__(self, answer: Answer, *, names: tuple[str, ...] = ()) -> None:
        self.answer = answer
        self.reviews: list[Object] = []
        self.paths: list[str] = []
        self.port = 0
        self._directory = tempfile.TemporaryDirectory(prefix="sbt-hook-")
        self._authority = Authority(Path(self._directory.name))
        self._names = names
        self._server: Server | None = None

    async def __aenter__(self) -> FakeWebhook:
        self._server = Server(self._handle, self._context())
        self.port = await self._server.listen("127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.close(0.5)
        self._directory.cleanup()

    def _context(self) -> ssl.SSLContext:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")])
        certificate, key = self._authority.issue("webhook", subject, server=True, names=self._names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    @property
    def bundle(self) -> str:
        """The caBundle that trusts this server."""
        return base64.b64encode(self._authority.certificate.read_bytes()).decode()

    @property
    def client_config(self) -> Object:
        """A clientConfig by URL."""
        return {"url": f"https://127.0.0.1:{self.port}/hook", "caBundle": self.bundle}

    def service(self, name: str, namespace: str, path: str = "/hook") -> Object:
        """A clientConfig by Service; the server needs `<name>.<namespace>.svc` among its names."""
        return {"service": {"name": name, "namespace": namespace, "path": path}, "caBundle": self.bundle}

    async def _handle(self, request: Request) -> Response:
        review: Object = json.loads(request.body)
        self.reviews.append(review["request"])
        self.paths.append(request.path)
        given = self.answer(review["request"])
        response = given if isinstance(given, dict) else await given
        status = response.pop("http", 200)
        response.setdefault("uid", review["request"]["uid"])
        body = {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
        return Response(status, [("content-type", "application/json")], json.dumps(body).encode())
