"""How the API server reaches node agents: HTTPS to port 10250, with upgrades, and TCP through an agent into its pods.

`KubeletDialer` is what the handlers use; `Kubelets` is the real one, finding addresses in the stored Node objects.
"""

from __future__ import annotations

import ssl
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from switchboard.api.keyspace import decode
from switchboard.objects.errors import NotFound, ServiceUnavailable
from switchboard.store.store import Store
from switchboard.transport.http import HttpClient, HttpFailure, StreamResponse
from switchboard.transport.messages import Connection

Headers = list[tuple[str, str]]
_PREFERRED = ("InternalIP", "ExternalIP", "Hostname")
_PORT = 10250


class KubeletDialer(Protocol):
    """Ways to a node's agent. `target` is path and query, as the kubelet's API has them."""

    def stream(
        self, node: str, method: str, target: str, headers: Headers, body: bytes
    ) -> AbstractAsyncContextManager[StreamResponse]:
        """A request whose answer arrives piece by piece. Raises HttpFailure."""
        ...

    async def upgrade(
        self, node: str, method: str, target: str, headers: Headers
    ) -> tuple[int, dict[str, str], Connection | bytes]:
        """A request for another protocol: (101, headers, connection) or (status, headers, body)."""
        ...

    async def dial(self, node: str, host: str, port: int) -> Connection:
        """TCP from inside the node's network. Raises ServiceUnavailable."""
        ...


def kubelet_context(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """TLS toward agents: a client certificate they know, and the authority that signed theirs (file names)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context


class Kubelets:
    """The agents of the Nodes in a store."""

    def __init__(self, store: Store, context: ssl.SSLContext) -> None:
        self._store = store
        self._client = HttpClient(ssl=context)

    def _base(self, node: str) -> str:
        record = self._store.get(f"/core/nodes/{node}")
        if record is None:
            raise NotFound.of("nodes", "", node)
        status: dict[str, Any] = decode(record.value).get("status") or {}
        by_type = {a.get("type"): a.get("address") for a in reversed(status.get("addresses") or ())}
        host = next((by_type[t] for t in _PREFERRED if by_type.get(t)), None)
        if host is None:
            raise ServiceUnavailable(f"no preferred addresses found; known addresses: {sorted(map(str, by_type))}")
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        return f"https://{f'[{host}]' if ':' in host else host}:{endpoint.get('Port') or _PORT}"

    def stream(
        self, node: str, method: str, target: str, headers: Headers, body: bytes
    ) -> AbstractAsyncContextManager[StreamResponse]:
        """A request whose answer arrives piece by piece."""
        return self._client.stream(method, self._base(node) + target, headers, body, timeout=30.0)

    async def upgrade(
        self, node: str, method: str, target: str, headers: Headers
    ) -> tuple[int, dict[str, str], Connection | bytes]:
        """A request for another protocol."""
        return await self._client.upgrade(method, self._base(node) + target, headers, timeout=30.0)

    async def dial(self, node: str, host: str, port: int) -> Connection:
        """TCP through the agent's `/dial`."""
        try:
            status, _, answer = await self.upgrade(node, "POST", f"/dial/{host}/{port}", [("Upgrade", "tcp")])
        except HttpFailure as e:
            raise ServiceUnavailable(f"error trying to reach service: {e}") from None
        if status != 101 or isinstance(answer, bytes):
            text = answer.decode(errors="replace") if isinstance(answer, bytes) else ""
            raise ServiceUnavailable(f"error trying to reach service: {text.strip() or status}")
        return answer

    async def close(self) -> None:
        """Close kept connections."""
        await self._client.close()
