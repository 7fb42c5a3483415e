"""Probes and hooks against servers on the loopback: gRPC health in kubelet's words, HTTP answers of every kind."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import cast

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from switchboard.node.actions import Outcome, act
from switchboard.node.cri import RUNNING, codec
from switchboard.node.observed import Container
from switchboard.node.probes import Probes
from switchboard.node.runtime import CriRuntime, Raw

NO_RUNTIME = cast(CriRuntime, None)


class Health:
    """grpc.health.v1 with an answer for each service name."""

    async def check(self, stream: Stream[bytes, bytes]) -> None:
        service = codec().decode("HealthCheckRequest", await stream.recv_message() or b"").get("service", "")
        if service == "broken":
            raise GRPCError(Status.NOT_FOUND, "unknown service")
        if service == "none":
            raise GRPCError(Status.UNIMPLEMENTED, "unknown service grpc.health.v1.Health")
        status = {"": 1, "sick": 2}.get(service, 0)
        await stream.send_message(codec().encode("HealthCheckResponse", {"status": status}))

    def __mapping__(self) -> dict[str, Handler]:
        return {"/grpc.health.v1.Health/Check": Handler(self.check, Cardinality.UNARY_UNARY, bytes, bytes)}


async def grpc(service: str) -> Outcome:
    server = Server([Health()], codec=Raw())
    await server.start("127.0.0.1", 0)
    assert server._server is not None
    port = server._server.sockets[0].getsockname()[1]
    try:
        probe = {"grpc": {"port": port, "service": service}}
        return await act(probe, {"name": "c"}, "id", "127.0.0.1", NO_RUNTIME, 5, "test")
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("", ""),
        ("sick", 'service unhealthy (responded with "NOT_SERVING")'),
        ("other", 'service unhealthy (responded with "UNKNOWN")'),
        (
            "broken",
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        ),
        (
            "none",
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
            "unknown service grpc.health.v1.Health",
        ),
    ],
)
async def test_grpc_health(service: str, message: str) -> None:
    outcome = await grpc(service)
    assert (outcome.ok, outcome.message) == (not message, message)


@pytest.mark.parametrize(("status", "ok"), [(200, True), (399, True), (404, False), (503, False)])
async def test_a_probe_looks_at_the_status_and_a_hook_does_not(status: int, ok: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} Some\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        handler = {"httpGet": {"port": server.sockets[0].getsockname()[1]}}
        outcome = await act(handler, {"name": "c"}, "id", "127.0.0.1", NO_RUNTIME, 5, "test")
    assert (outcome.ok, outcome.reached) == (ok, True)
    gone = await act(handler, {"name": "c"}, "id", "127.0.0.1", NO_RUNTIME, 5, "test")
    assert not gone.reached and gone.refused


async def test_initial_delays_count_from_the_start_of_the_container() -> None:
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))  # and nobody listens
        probe = {"tcpSocket": {"port": kept.getsockname()[1]}, "initialDelaySeconds": 100, "failureThreshold": 1}
        changed = asyncio.Event()
        probes = Probes(NO_RUNTIME, changed.set, lambda *words: None)
        probes.follow({"name": "c", "livenessProbe": probe}, _running(100.0), "127.0.0.1")
        await asyncio.wait_for(changed.wait(), 5)
        assert list(probes.doomed) == ["c1"]
        probes.close()


def _running(seconds: float) -> Container:
    return Container("c1", "c", 0, RUNNING, "s", started=time.time() - seconds)


ELSEWHERE = b"location: http://192.0.2.1/\r\n"


@pytest.mark.parametrize(
    ("answer", "warning"),
    [
        (b"302 Found\r\n" + ELSEWHERE + b"content-length: 5\r\n\r\nthere", "there"),
        (b"302 Found\r\n" + ELSEWHERE + b"transfer-encoding: chunked\r\n\r\n3\r\nthe\r\n2\r\nre\r\n0\r\n\r\n", "there"),
        (b"302 Found\r\n" + ELSEWHERE + b"content-length: 0\r\n\r\n", ""),
        (b"304 Not Modified\r\n\r\n", ""),
        (b"200 OK\r\ncontent-length: 5\r\n\r\nthere", None),
        (b"302 Found\r\nlocation: /ok\r\n\r\nno end", None),
    ],
)
async def test_a_redirect_elsewhere_is_a_success_with_a_warning(answer: bytes, warning: str | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + (b"200 OK\r\ncontent-length: 0\r\n\r\n" if b" /ok " in asked else answer))
        await reader.read()  # the connection stays open until the client has enough
        writer.close()

    said: list[tuple[str, str]] = []
    told = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    probe = {"httpGet": {"port": port, "path": "/moved"}, "periodSeconds": 1, "timeoutSeconds": 5}
    probes = Probes(NO_RUNTIME, told.set, lambda spec, kind, reason, message: said.append((reason, message)))
    try:
        box = Container("c0", "c", 0, RUNNING, "s", started=time.time())
        probes.follow({"name": "c", "readinessProbe": probe}, box, "127.0.0.1")
        await asyncio.wait_for(told.wait(), 10)
        assert probes.ready["c0"]
    finally:
        probes.close()
        server.close()
    words = f"Readiness probe warning: Probe terminated redirects, Response body: {warning}"
    assert said == ([] if warning is None else [("ProbeWarning", words)])
