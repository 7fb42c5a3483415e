"""hostPort with hostIP: one number, three pods, two addresses, two protocols (as [sig-network] HostPort asks)."""

from __future__ import annotations

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
PORT = 54323


def test_one_host_port_of_three_pods(space: Space) -> None:
    node = space.cluster.ip
    wanted = [("hp1", "127.0.0.1", "TCP", 8080), ("hp2", node, "TCP", 8080), ("hp3", node, "UDP", 8081)]
    for name, address, protocol, target in wanted:
        port = {"containerPort": target, "hostPort": PORT, "hostIP": address, "protocol": protocol}
        space.apply(space.pod(name, "http:8080", "udp:8081", ports=[port], nodeName=space.cluster.name))
    space.ready("hp1", "hp2", "hp3")
    for by in ("hosted", "node"):
        space.until_names(f"http://127.0.0.1:{PORT}/", {"hp1"}, by=by, more=f"--interface {node}")
        space.until_names(f"http://127.0.0.1:{PORT}/", {"hp1"}, by=by)
        space.until_names(f"http://{node}:{PORT}/", {"hp2"}, by=by)
        wait_for(lambda by=by: space.datagrams(node, PORT, by=by)[0].split()[0] == "hp3")  # type: ignore[misc]
    assert space.names(f"http://{node}:{PORT}/", by="host") == {"hp2"}
    assert space.names(f"http://{node}:{PORT}/", by="client") == {"hp2"}
    assert space.datagrams(node, PORT, by="client")[0].split()[0] == "hp3"
    space.delete("pod", "hp2")
    wait_for(lambda: space.fetch(f"http://{node}:{PORT}/", by="host") == ["curl:7"])
    assert space.names(f"http://127.0.0.1:{PORT}/", by="node") == {"hp1"}


def test_a_taken_host_port_waits(space: Space) -> None:
    """The scheduler does not put two pods on one address and port."""
    ports = [{"containerPort": 8080, "hostPort": 54400}]
    space.apply(space.pod("holds", "http:8080", ports=ports))
    space.ready("holds")
    space.apply(space.pod("waits", "http:8080", ports=ports))
    message = wait_for(
        lambda: next(
            (
                c["message"]
                for c in space.get("pod", "waits")["status"].get("conditions") or ()
                if c["type"] == "PodScheduled" and c["status"] == "False"
            ),
            "",
        )
    )
    assert "didn't have free ports for the requested pod ports" in message
    space.delete("pod", "holds")
    space.ready("waits")
    space.until_names(f"http://{space.cluster.ip}:54400/", {"waits"}, by="host")
