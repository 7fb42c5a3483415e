"""What a probe or a lifecycle hook does once: run a command, ask over HTTP, open a connection, ask gRPC health.

Sources: pkg/probe/{exec,http,tcp,grpc}; pkg/kubelet/lifecycle/handlers.go.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

from switchboard.node.cri import codec
from switchboard.node.runtime import CriRuntime, Raw, RuntimeFailure

Object = dict[str, Any]
_BODY = 10 << 10  # bytes of an answer that are looked at


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it went well, and what was said."""

    ok: bool
    message: str = ""


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
        async with asyncio.timeout(seconds if seconds > 0 else None):
            if "exec" in handler:
                return await _exec(handler["exec"], ident, runtime, seconds)
            if "httpGet" in handler:
                return await _http(handler["httpGet"], container, ip, agent)
            if "tcpSocket" in handler:
                host = handler["tcpSocket"].get("host") or ip
                _, writer = await asyncio.open_connection(host, port_number(container, handler["tcpSocket"]["port"]))
                writer.close()
                return Outcome(True)
            if "grpc" in handler:
                return await _grpc(handler["grpc"], ip)
            if "sleep" in handler:
                await asyncio.sleep(handler["sleep"]["seconds"])
            return Outcome(True)
    except TimeoutError:
        return Outcome(False, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
    except RuntimeFailure as error:
        if error.code == "DEADLINE_EXCEEDED":
            return Outcome(False, f"command timed out after {seconds:g}s")
        return Outcome(False, str(error))
    except (OSError, EOFError, ValueError) as error:
        return Outcome(False, str(error))


async def _exec(handler: Object, ident: str, runtime: CriRuntime, seconds: float) -> Outcome:
    code, out, err = await runtime.exec(ident, list(handler.get("command") or ()), int(seconds))
    return Outcome(code == 0, (out + err)[:_BODY].decode("utf-8", "replace"))


async def _http(handler: Object, container: Object, ip: str, agent: str) -> Outcome:
    host = handler.get("host") or ip
    port = port_number(container, handler["port"])
    secure = handler.get("scheme", "HTTP").upper() == "HTTPS"
    context = ssl._create_unverified_context() if secure else None  # a probe asks about life, not identity
    path = handler.get("path") or "/"
    headers = {"host": f"{host}:{port}", "user-agent": agent, "accept": "*/*", "connection": "close"}
    headers |= {h["name"].lower(): h["value"] for h in handler.get("httpHeaders") or ()}
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        status = (await reader.readline()).split(None, 2)
        if len(status) < 2 or not status[1].isdigit():
            return Outcome(False, "malformed HTTP response")
        code = int(status[1])
        if 200 <= code < 400:
            return Outcome(True)
        return Outcome(False, f"HTTP probe failed with statuscode: {code}")
    finally:
        writer.close()


async def _grpc(handler: Object, ip: str) -> Outcome:
    from grpclib.client import Channel, UnaryUnaryMethod
    from grpclib.exceptions import GRPCError, StreamTerminatedError

    channel = Channel(host=ip, port=handler["port"], codec=Raw())
    try:
        method = UnaryUnaryMethod(channel, "/grpc.health.v1.Health/Check", bytes, bytes)
        asked = codec().encode("HealthCheckRequest", {"service": handler.get("service", "")})
        answer = codec().decode("HealthCheckResponse", await method(asked) or b"")
        ok = answer.get("status") == 1
        return Outcome(ok, "" if ok else f"service unhealthy (responded with {answer.get('status', 0)})")
    except (GRPCError, StreamTerminatedError) as error:
        return Outcome(False, f"error: health rpc failed: {error}")
    finally:
        channel.close()
