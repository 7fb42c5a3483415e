"""Tracer and kernel agree: for random Services, what the tracer says may happen to a packet is what happens."""

from __future__ import annotations

import random
import socket
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchboard.proxy.plane import Plane
from switchboard.proxy.trace import Packet, Tracer, explain
from switchboard.testing.netns import FAR4, NODE4, OUT4, PODS, World
from switchboard.testing.services import endpoint, service, slice_of

VIPS, LBS, NODE_PORTS = ("10.96.0.10", "10.96.0.11"), ("192.168.78.5", "192.168.78.6"), (30080, 30081)
GATEWAY = "10.244.0.1"
NAMES = {address: name for name, (address, _) in PODS.items()}


@st.composite
def services(draw: Any, at: int) -> Any:
    """A Service with its endpoints, or nothing."""
    if draw(st.integers(0, 9)) == 0:
        return None, []
    spec: dict[str, Any] = {
        "type": draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"])),
        "externalTrafficPolicy": draw(st.sampled_from(["Cluster", "Local"])),
        "internalTrafficPolicy": draw(st.sampled_from(["Cluster", "Cluster", "Local"])),
        "sessionAffinity": draw(st.sampled_from(["None", "None", "ClientIP"])),
        "externalIPs": draw(st.sampled_from([None, ["203.0.113.9"]])),
    }
    ports = [{"port": 80, "protocol": draw(st.sampled_from(["TCP", "UDP"]))}]
    if spec["type"] != "ClusterIP":
        ports[0]["nodePort"] = NODE_PORTS[at]
    if spec["type"] == "LoadBalancer":
        spec["ingress"] = [LBS[at]]
        spec["loadBalancerSourceRanges"] = draw(
            st.sampled_from([None, [f"{OUT4}/32"], ["10.244.0.0/28", f"{FAR4}/32"]])
        )
    # the pod that asks is truly on this node, and so it must be said, or it could not meet itself
    here, anywhere = st.sampled_from(["node-1", None]), st.sampled_from(["node-1", "node-1", "node-2", None])
    flags = st.sampled_from([True, True, False])
    endpoints = [
        endpoint(
            address,
            draw(here if address == PODS["a"][0] else anywhere),
            ready=draw(flags),
            serving=draw(flags),
            terminating=draw(st.booleans()),
        )
        for address, _ in draw(st.lists(st.sampled_from(sorted(PODS.values())), unique=True))
    ]
    return service(f"s{at}", VIPS[at], ports, **spec), [slice_of(f"s{at}", *endpoints, protocol=ports[0]["protocol"])]


def questions(world: World) -> list[tuple[Any, str, str, int]]:
    """(where from, source address, destination, port)."""
    out = []
    for destination, port in [
        *((vip, 80) for vip in VIPS),
        *((lb, 80) for lb in LBS),
        *((NODE4, port) for port in NODE_PORTS),
        ("203.0.113.9", 80),
        (VIPS[0], 81),
    ]:
        out.append((world.pods["a"], PODS["a"][0], destination, port))
        out.append((world.out, OUT4, destination, port))
        out.append((world.out, FAR4, destination, port))
        if destination != "203.0.113.9":  # the node has no route there
            out.append((world.node, NODE4, destination, port))
    out.extend((world.node, "127.0.0.1", "127.0.0.1", port) for port in NODE_PORTS)
    return out


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=services(0), second=services(1), seed=st.integers(0, 1 << 20))
def test_tracer_and_kernel_agree(world: World, plane: Plane, first: Any, second: Any, seed: int) -> None:
    def act() -> None:
        for name, (one, slices) in (("s0", first), ("s1", second)):
            plane.service(f"t/{name}", one, slices)
        plane.commit()

    world.node.run(act)
    local = [socket.inet_aton(ip) for ip in (NODE4, GATEWAY, "127.0.0.1")]
    for space, source, destination, port in random.Random(seed).sample(questions(world), 8):
        clients = world.node.run(lambda: plane.nft.clients(4, plane.settings.table))
        tracer = Tracer(plane.layouts[4], plane.states[4], local, clients)
        for protocol, ask in ((6, space.tcp), (17, space.udp)):
            packet = Packet(
                socket.inet_aton(source), socket.inet_aton(destination), protocol, port, from_node=space is world.node
            )
            said = tracer.outcomes(packet)
            expected = {_seen(one, source, space is world.node, protocol) for one in said}
            got = ask(destination, port, source=source, timeout=0.08)
            if got in ("Connection refused", "No route to host", "Network is unreachable"):
                got = "pass"
            if "pass" in expected:
                assert got in ("refused", "silent", "pass"), (packet, got, list(explain(said)))
            else:
                assert got in expected, (packet, got, list(explain(said)), clients)


def _seen(outcome: Any, source: str, from_node: bool, protocol: int) -> str:
    """What a client sees when that happens."""
    if outcome.verdict == "to":
        name = NAMES[outcome.endpoint.partition(":")[0]]
        return f"{name} {GATEWAY if outcome.masquerade else source}"
    if outcome.verdict == "refuse" and from_node and protocol == 17:
        return "Operation not permitted"
    # a process of the node learns of a dropped segment by the error of its own kernel, a datagram likewise
    if outcome.verdict == "drop" and from_node and protocol == 17:
        return "Operation not permitted"
    return {"refuse": "refused", "drop": "silent", "pass": "pass"}[outcome.verdict]


def test_explain_names_the_rules(world: World, plane: Plane) -> None:
    plane.service("t/web", service("web"), [slice_of("web", PODS["b"][0])])
    tracer = Tracer(plane.layouts[4], plane.states[4], [])
    outcomes = tracer.outcomes(Packet(socket.inet_aton(PODS["a"][0]), socket.inet_aton("10.96.0.10"), 6, 80))
    lines = list(explain(outcomes))
    assert lines[0] == f"to {PODS['b'][0]}:8080"
    assert any("dnat ip to" in line for line in lines[1:])
