"""What a probe or a lifecycle hook does once: run a command, ask over HTTP, open a connection, ask gRPC health.

Sources: pkg/probe/{exec,http,tcp,grpc}; pkg/kubelet/lifecycle/handlers.go.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import httptools

from switchboard.node.cri import codec
from switchboard.node.runtime import CriRuntime, Raw, RuntimeFailure

Object = dict[str, Any]
_REDIRECTS = 10
_BODY = 10 << 10  # bytes of an answer that are looked at
_HEALTH = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")  # grpc.health.v1 HealthCheckResponse.ServingStatus


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it went well, and what was said; `refused`: nobody listens there (yet), so nobody was disturbed;
    `answered`: over HTTP, whatever the answer was; `warning`: what somebody should know although it went well.
    """

    ok: bool
    message: str = ""
    refused: bool = False
    answered: bool = False
    warning: str = ""

    @property
    def reached(self) -> bool:
        """Whether a hook has done its work: unlike a probe it does not look at an answer's status."""
        return self.ok or self.answered


def port_number(container: Object, port: int | str) -> int:
    """A port given by number or by the name of a container port. Raises ValueError."""
    if isinstance(port, int):
        return port
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known["containerPort"])
    return int(port)


async def act(
    handler: Object, container: Object, ident: str, ip: str, runtime: CriRuntime, seconds: float, agent: str
) -> Outcome:
    """Carry out one handler (exec, httpGet, tcpSocket, grpc, sleep) within `seconds`. Never raises but on cancel."""
    try:
        # The runtime ends a command itself when its time is over; we are only there in case it does not.
        limit = seconds + 2 if "exec" in handler else seconds
        async with asyncio.timeout(limit if seconds > 0 else None):
            if "exec" in handler:
                return await _exec(handler["exec"], ident, runtime, seconds)
            if "httpGet" in handler:
                return await _http(handler["httpGet"], container, ip, agent)
            if "tcpSocket" in handler:
                return await _tcp(handler["tcpSocket"], container, ip)
            if "grpc" in handler:
                return await _grpc(handler["grpc"], ip)
            if "sleep" in handler:
                await asyncio.sleep(handler["sleep"]["seconds"])
            return Outcome(True)
    except TimeoutError:
        return Outcome(False, _late(handler, container, ip, seconds))
    except RuntimeFailure as error:
        late = error.code == "DEADLINE_EXCEEDED"
        return Outcome(False, _late(handler, container, ip, seconds) if late else str(error))
    except (OSError, EOFError, ValueError) as error:
        return Outcome(False, str(error))


def _late(handler: Object, container: Object, ip: str, seconds: float) -> str:
    """What is said of a handler that took too long."""
    if "exec" in handler:
        command = " ".join(handler["exec"].get("command") or ())
        return f'command timed out: "{command}" timed out after {seconds:g}s'
    if "httpGet" in handler:
        try:
            url = _url(handler["httpGet"], container, ip)
        except ValueError as error:
            return str(error)
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    if "tcpSocket" in handler:
        where = f"{handler['tcpSocket'].get('host') or ip}:{handler['tcpSocket']['port']}"
        return f"dial tcp {where}: i/o timeout"
    if "grpc" in handler:
        where = f"{ip}:{handler['grpc']['port']}"
        return f'timeout: failed to connect service "{where}" within {seconds:g}s: context deadline exceeded'
    return "context deadline exceeded"


def _why(error: OSError, host: str, port: int) -> str:
    """A failed connection in Go's words."""
    words = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return f"dial tcp {host}:{port}: connect: {words}"


async def _tcp(handler: Object, container: Object, ip: str) -> Outcome:
    host, port = handler.get("host") or ip, port_number(container, handler["port"])
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome(False, _why(error, host, port), isinstance(error, ConnectionRefusedError))
    writer.close()
    return Outcome(True)


async def _exec(handler: Object, ident: str, runtime: CriRuntime, seconds: float) -> Outcome:
    code, out, err = await runtime.exec(ident, list(handler.get("command") or ()), int(seconds))
    return Outcome(code == 0, (out + err)[:_BODY].decode("utf-8", "replace"))


def _url(handler: Object, container: Object, ip: str) -> str:
    """The URL of an httpGet. Raises ValueError."""
    path = str(handler.get("path") or "/")
    scheme = str(handler.get("scheme") or "HTTP").lower()
    host = str(handler.get("host") or ip)
    address = f"{f'[{host}]' if ':' in host else host}:{port_number(container, handler['port'])}"
    return f"{scheme}://{address}{path if path.startswith('/') else '/' + path}"


async def _http(handler: Object, container: Object, ip: str, agent: str) -> Outcome:
    url = _url(handler, container, ip)
    headers = {"user-agent": agent, "accept": "*/*"}
    headers |= {h["name"].lower(): h["value"] for h in handler.get("httpHeaders") or ()}
    for _ in range(_REDIRECTS):
        outcome, moved = await _get(url, headers)
        if moved is None:
            return outcome
        url = moved
    return Outcome(False, f'Get "{url}": stopped after {_REDIRECTS} redirects')


async def _get(url: str, headers: dict[str, str]) -> tuple[Outcome, str | None]:
    """One GET: its outcome, and where on the same host it was redirected to."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {target} HTTP/1.1"]
    lines += [f"{name}: {text}" for name, text in ({"host": parts.netloc} | headers | {"connection": "close"}).items()]
    context = ssl._create_unverified_context() if secure else None  # a probe asks about life, not identity
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    except OSError as error:
        why = f'Get "{url}": {_why(error, parts.hostname or "", port)}'
        return Outcome(False, why, isinstance(error, ConnectionRefusedError)), None
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return await _judge(url, await reader.readuntil(b"\r\n\r\n"), reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return Outcome(False, f'Get "{url}": EOF'), None
    finally:
        writer.close()


async def _judge(url: str, answer: bytes, reader: asyncio.StreamReader) -> tuple[Outcome, str | None]:
    """What an answer's head says, as `_get`; its body is read only to be shown."""
    head = answer.decode("latin-1").split("\r\n")
    status = head[0].split(None, 2)
    if len(status) < 2 or not status[0].startswith("HTTP/") or not status[1].isdigit():
        return Outcome(False, f'Get "{url}": net/http: malformed HTTP response'), None
    code = int(status[1])
    if not 200 <= code < 400:
        return Outcome(False, f"HTTP probe failed with statuscode: {code}", answered=True), None
    if code < 300:
        return Outcome(True), None
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if code in (301, 302, 303, 307, 308) and fields.get("location"):
        moved = urljoin(url, fields["location"])
        if urlsplit(moved).hostname == urlsplit(url).hostname:
            return Outcome(True), moved
    # it answers; where it sends people to is not asked
    return Outcome(True, warning=f"Probe terminated redirects, Response body: {await _body(answer, reader)}"), None


class _Body:
    """Callbacks of httptools: the body of one answer, and whether all of it is there."""

    def __init__(self) -> None:
        self.text, self.whole = b"", False

    def on_body(self, data: bytes) -> None:
        """A part of it."""
        self.text += data

    def on_message_complete(self) -> None:
        """That was the last."""
        self.whole = True


async def _body(head: bytes, reader: asyncio.StreamReader) -> str:
    """The body behind a head, or the first of it."""
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    data = head
    try:
        while data and not body.whole and len(body.text) < _BODY:
            parser.feed_data(data)
            data = b"" if body.whole else await reader.read(_BODY)
    except httptools.HttpParserError:
        pass  # the answer counts, not what is wrong behind it
    return body.text[:_BODY].decode(errors="replace")


async def _grpc(handler: Object, ip: str) -> Outcome:
    from grpclib.client import Channel, UnaryUnaryMethod
    from grpclib.const import Status
    from grpclib.exceptions import GRPCError, StreamTerminatedError

    channel = Channel(host=ip, port=handler["port"], codec=Raw())
    try:
        method = UnaryUnaryMethod(channel, "/grpc.health.v1.Health/Check", bytes, bytes)
        asked = codec().encode("HealthCheckRequest", {"service": handler.get("service", "")})
        answer = codec().decode("HealthCheckResponse", await method(asked) or b"")
        status = answer.get("status", 0)
        ok = status == 1
        said = _HEALTH[status] if 0 <= status < len(_HEALTH) else str(status)
        return Outcome(ok, "" if ok else f'service unhealthy (responded with "{said}")')
    except ConnectionRefusedError as error:
        return Outcome(False, _why(error, ip, handler["port"]), refused=True)
    except GRPCError as error:
        if error.status is Status.UNIMPLEMENTED:
            lacks = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
            return Outcome(False, f"error: {lacks}: {error.message or ''}")
        code = error.status.name.title().replace("_", "")
        why = f"rpc error: code = {code} desc = {error.message or ''}"
        return Outcome(False, f"error: health rpc probe failed: {why}")
    except StreamTerminatedError as error:
        return Outcome(False, f"error: health rpc probe failed: {error}")
    finally:
        channel.close()
