"""Readiness of containers without a probe: from the moment they listen where they say they will."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any

import pytest

from switchboard.node import cri, listening
from switchboard.node.observed import Container
from switchboard.node.probes import Probes


class Runtime:
    """Every container is this very process."""

    async def pid(self, ident: str) -> int:
        return os.getpid()


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([], set()),
        ([{"containerPort": 80}, {"containerPort": 81, "protocol": "TCP"}], {80, 81}),
        ([{"containerPort": 53, "protocol": "UDP"}], set()),
    ],
)
def test_declared_ports(ports: list[dict[str, Any]], expected: set[int]) -> None:
    assert listening.declared({"ports": ports}) == expected


def container(began: float) -> Container:
    return Container("id", "c", 0, cri.RUNNING, "sandbox", started=began)


async def ready_after(spec: dict[str, Any], began: float, listen: float = 5.0, *, seconds: float = 5.0) -> bool:
    changed = asyncio.Event()
    probes = Probes(Runtime(), changed.set, lambda *words: None, listen)  # type: ignore[arg-type]
    probes.follow(spec, container(began), "127.0.0.1")
    try:
        if not probes.ready["id"]:
            async with asyncio.timeout(seconds):
                await changed.wait()
        return probes.ready["id"]
    except TimeoutError:
        return False
    finally:
        probes.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_ready_when_it_listens(family: socket.AddressFamily) -> None:
    with socket.socket(family) as s:
        s.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        spec = {"ports": [{"containerPort": s.getsockname()[1]}]}
        waiting = asyncio.ensure_future(ready_after(spec, time.time()))
        await asyncio.wait({waiting}, timeout=0.1)
        assert not waiting.done()
        s.listen()
        assert await waiting


async def test_a_declaration_binds_nobody() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        spec = {"ports": [{"containerPort": s.getsockname()[1]}]}
        assert await ready_after(spec, time.time(), 0.2)
        assert not await ready_after(spec, time.time(), 5.0, seconds=0.1)
        # nothing to wait for: nobody asked, a probe speaks, it had its time before we came
        for its, began, listen in ((spec, time.time(), 0.0), ({}, time.time(), 5.0), (spec, time.time() - 9, 5.0)):
            assert await ready_after(its, began, listen, seconds=0.0)
