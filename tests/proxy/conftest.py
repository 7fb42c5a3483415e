"""The world that packets are sent in, made once, and a data plane on its node for each test."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from switchboard.proxy import netlink
from switchboard.proxy.nft import Nft, cleanup
from switchboard.proxy.plane import Plane
from switchboard.testing.netns import NODE4, World
from switchboard.testing.services import settings


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def plane(world: World) -> Iterator[Plane]:
    """The data plane on the node, empty at the start and gone after."""

    def make() -> Plane:
        cleanup()
        netlink.set_sysctls(localhost=True)
        netlink.reach_services(settings().service_cidrs, [socket.inet_aton(NODE4)])
        return Plane(settings(), Nft())

    made = world.node.run(make)
    world.node.run(made.commit)
    yield made
    world.node.run(cleanup)
    made.nft.close()
