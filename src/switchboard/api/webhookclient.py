"""How the API server reaches webhooks: by URL, or a Service through the tunnel of a node's agent.

One keep-alive client per webhook configuration; certificates are checked against its caBundle (the system's
authorities without one) and, for a Service, against `<service>.<namespace>.svc`. Source:
`apiserver/pkg/util/webhook/client.go`.
"""

from __future__ import annotations

import base64
import binascii
import random
import ssl
from typing import TYPE_CHECKING, Any

from switchboard.api.keyspace import decode, encode_any
from switchboard.objects.errors import StatusError
from switchboard.transport.http import Dial, HttpClient, HttpFailure
from switchboard.transport.messages import Connection
from switchboard.transport.raw import connect

if TYPE_CHECKING:
    from switchboard.api.app import App

Object = dict[str, Any]
_KEPT = 256
_MAX_ANSWER = 32 * 1024 * 1024


class CallFailed(Exception):
    """A webhook could not be reached, or did not answer as it must; says why."""


class Webhooks:
    """The clients of one API server."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._clients: dict[tuple[str, str], HttpClient] = {}

    async def call(self, config: Object, review: Object, seconds: float) -> Any:
        """POST a review to the webhook of a clientConfig; the decoded answer. Raises CallFailed."""
        url, name = address(config)
        url = f"{url}{'&' if '?' in url else '?'}timeout={seconds:g}s"
        shown = f'Post "{url}"'
        try:
            client = self._client(config, name)
            answer = await client.request(
                "POST",
                url,
                [
                    ("content-type", "application/json"),
                    ("accept", "application/json"),
                    ("user-agent", "kube-apiserver"),
                ],
                encode_any(review),
                timeout=seconds,
                limit=_MAX_ANSWER,
            )
        except TimeoutError:
            raise CallFailed(f"{shown}: context deadline exceeded") from None
        except StatusError as e:
            raise CallFailed(f"{shown}: {e.message}") from None
        except (CallFailed, HttpFailure, OSError, ValueError) as e:
            raise CallFailed(f"{shown}: {e}") from None
        if not 200 <= answer.status < 300:
            text = answer.body[:1000].decode(errors="replace").strip()
            raise CallFailed(f'{shown}: the server answered {answer.status} ("{text}")')
        try:
            return decode(answer.body)
        except (ValueError, RecursionError) as e:
            raise CallFailed(f"{shown}: the answer is not JSON: {e}") from None

    def _client(self, config: Object, name: str) -> HttpClient:
        key = (name, config.get("caBundle") or "")
        client = self._clients.get(key)
        if client is None:
            if len(self._clients) >= _KEPT:
                self._clients.clear()  # connections of the dropped ones close when they are collected
            service = config.get("service")
            if service is None:
                client = HttpClient(ssl=context_of(key[1]))
            else:
                client = HttpClient(ssl=context_of(key[1]), server_name=name, dial=dial_service(self._app, service))
            self._clients[key] = client
        return client

    async def close(self) -> None:
        """Close every client."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()


def dial_service(app: App, service: Object) -> Dial:
    """Opens connections to a ready endpoint of a Service, through its node's agent."""

    async def dial(_: str, port: int) -> Connection:
        node, host, target = endpoint_of(app, service["namespace"], service["name"], port)
        if node and app.kubelet is not None:
            return await app.kubelet.dial(node, host, target)
        return await connect(host, target)

    return dial


def context_of(bundle: str, *, verify: bool = True) -> ssl.SSLContext:
    """TLS that trusts a base64 caBundle alone, or the system's authorities. ValueError for a broken one."""
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    if not bundle:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cadata=base64.b64decode(bundle, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError):
        raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from None
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT  # Go does not ask for key identifiers either
    return context


def address(config: Object) -> tuple[str, str]:
    """(URL, a name that stands for the server) of a clientConfig."""
    service = config.get("service")
    if service is None:
        return config.get("url") or "", config.get("url") or ""
    name = f"{service['name']}.{service['namespace']}.svc"
    path = service.get("path") or "/"
    return f"https://{name}:{service.get('port') or 443}{path}", name


def endpoint_of(app: App, namespace: str, name: str, port: int) -> tuple[str, str, int]:
    """(node or "", address, port) of a ready endpoint of a Service's port. CallFailed where there is none."""
    record = app.store.get(f"/core/services/{namespace}/{name}")
    if record is None:
        raise CallFailed(f'service "{name}" not found')
    spec = decode(record.value)["spec"]
    ports = [p for p in spec.get("ports") or () if p["port"] == port]
    if not ports:
        raise CallFailed(f'no service port {port} found for service "{name}"')
    if spec.get("type") == "ExternalName":
        return "", spec["externalName"], port
    wanted = ports[0].get("name") or ""
    found: list[tuple[str, str, int]] = []
    for each in app.store.scan(f"/discovery.k8s.io/endpointslices/{namespace}/"):
        if each.meta.get("kubernetes.io/service-name") == name:
            found += _endpoints(app, namespace, decode(each.value), wanted)
    if not found:
        raise CallFailed(f'no endpoints available for service "{name}"')
    return random.choice(found)


def _endpoints(app: App, namespace: str, slice_: Object, wanted: str) -> list[tuple[str, str, int]]:
    numbers = [p["port"] for p in slice_.get("ports") or () if (p.get("name") or "") == wanted and p.get("port")]
    found: list[tuple[str, str, int]] = []
    for endpoint in slice_.get("endpoints") or ():
        if not numbers or (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        node = endpoint.get("nodeName") or ""
        reference = endpoint.get("targetRef") or {}
        if not node and reference.get("kind") == "Pod":
            record = app.store.get(f"/core/pods/{namespace}/{reference.get('name')}")
            node = decode(record.value)["spec"].get("nodeName") or "" if record is not None else ""
        found += [(node, each, numbers[0]) for each in endpoint.get("addresses") or ()]
    return found
