"""How long a pod that goes waits for those who send to it, when everything about it is slow."""

from __future__ import annotations

import time
from typing import Any

import pytest

from switchboard.cluster import wiring
from switchboard.proxy.sync import Way

POD = {"metadata": {"namespace": "t", "name": "p"}, "spec": {}, "status": {"podIPs": [{"ip": "10.244.0.5"}]}}
DUAL = POD | {"status": {"podIPs": [{"ip": "10.244.0.9"}, {"ip": "fd00::5"}]}}

BUSY = {"10.244.0.5", "fd00::5"}


class Slow:
    """A proxy that hears after some seconds that a pod goes, and knows an open connection for some more."""

    def __init__(self, way: Way, hears: float, talks: float = 0.0) -> None:
        self._way, self._hears, self._talks, self._began = way, hears, talks, time.monotonic()

    def _past(self) -> float:
        return time.monotonic() - self._began

    def way_to(self, namespace: str, address: str) -> Way:
        assert namespace == "t"
        return self._way if address in BUSY and self._past() < self._hears else Way.NONE

    def talks_to(self, address: str) -> bool:
        return address in BUSY and self._hears <= self._past() < self._hears + self._talks


@pytest.mark.parametrize(
    ("proxy", "least", "most"),
    [
        (lambda: Slow(Way.CLOSING, 0.0), 0.0, 0.5),
        (lambda: Slow(Way.CLOSING, 1.5, 0.2), 1.7, 3.0),  # controllers on a busy machine
        (lambda: Slow(Way.KEPT, 60.0), 1.0, 2.5),  # nobody will ever take it away
    ],
)
async def test_a_pod_is_told_to_end_when_nobody_sends_to_it(proxy: Any, least: float, most: float) -> None:
    began = time.monotonic()
    await wiring.drain_of(proxy())(POD)
    assert least <= time.monotonic() - began < most


async def test_every_address_of_a_pod_is_waited_for() -> None:
    began = time.monotonic()
    await wiring.drain_of(Slow(Way.CLOSING, 0.3, 0.2))(DUAL)  # type: ignore[arg-type]
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("spec", [{}, {"hostNetwork": True}])
async def test_proxies_of_other_nodes_are_given_time(spec: dict[str, Any]) -> None:
    began = time.monotonic()
    await wiring.drain_of(Slow(Way.CLOSING, 0.1), 0.4)(POD | {"spec": spec})  # type: ignore[arg-type]
    assert 0.4 <= time.monotonic() - began < 1.5
