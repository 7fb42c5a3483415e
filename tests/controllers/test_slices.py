"""EndpointSlices: any sequence of changes of pods ends in the truth, with few writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.controllers import endpoints, mirroring
from switchboard.controllers.endpointslice import frame_of
from switchboard.controllers.slice_endpoints import desired, endpoint_of, families, port_number, ports_of
from switchboard.controllers.slice_packing import Writes, pack

Object = dict[str, Any]
NODE = {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}


def service(**spec: Any) -> Object:
    spec = {"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}], **spec}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "t", "uid": "svc", "labels": {"team": "a"}},
        "spec": spec,
    }


def pod(
    number: int, ready: bool = True, going: bool = False, phase: str = "Running", named: int = 0, ips: int = 1
) -> Object:
    meta: Object = {"name": f"p{number}", "namespace": "t", "uid": f"u{number}", "labels": {"app": "x"}}
    if going:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    container: Object = {"name": "c"}
    if named:
        container["ports"] = [{"name": "http", "containerPort": named}]
    addresses = [{"ip": f"10.0.{number // 250}.{number % 250 + 1}"}, {"ip": f"fd00::{number + 1:x}"}][:ips]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": phase, "podIP": addresses[0]["ip"], "podIPs": addresses, "conditions": conditions}
    return {"metadata": meta, "spec": {"nodeName": "n1", "containers": [container]}, "status": status}


class Slices:
    """What an API would hold after the writes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: dict[str, Object] = {}
        self.made = 0

    def sync(self, svc: Object, pods: list[Object]) -> Writes:
        wanted, _ = desired(svc, pods, lambda name: NODE)
        writes = pack(frame_of(svc, None, self.most), families(svc), self.held.values(), wanted)
        for piece in writes.update:
            assert piece["metadata"]["name"] in self.held
            self.held[piece["metadata"]["name"]] = piece
        for piece in writes.delete:
            del self.held[piece["metadata"]["name"]]
        for piece in writes.create:
            self.made += 1
            name = f"web-{self.made}"
            self.held[name] = {**piece, "metadata": {**piece["metadata"], "name": name}}
        return writes

    def addresses(self, family: str = "IPv4") -> list[str]:
        return sorted(
            e["addresses"][0] for s in self.held.values() if s["addressType"] == family for e in s["endpoints"]
        )


STATES = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([0, 8080, 9090])),
    max_size=30,
)


@given(st.lists(STATES, min_size=1, max_size=6), st.integers(1, 7), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_history_ends_in_the_truth(history: list[dict[int, Any]], most: int, named: bool) -> None:
    svc = service(ports=[{"port": 80, "targetPort": "http" if named else 8080}])
    slices = Slices(most)
    for state in history:
        pods = [pod(n, ready, going, named=port) for n, (ready, going, port) in state.items()]
        slices.sync(svc, pods)
        assert slices.addresses() == sorted(p["status"]["podIP"] for p in pods)
        assert all(len(s["endpoints"]) <= most for s in slices.held.values())
        assert slices.held, "a Service always has a slice"
        for piece in slices.held.values():
            for endpoint in piece["endpoints"]:
                own = next(p for p in pods if p["metadata"]["uid"] == endpoint["targetRef"]["uid"])
                numbers = [dict(entry)["port"] for entry in ports_of(svc, own)]
                assert [port["port"] for port in piece["ports"]] == numbers
                assert endpoint == endpoint_of(own, NODE, svc, "IPv4")
        assert not slices.sync(svc, pods).any, "what is true already needs no write"


def test_one_change_is_one_write() -> None:
    svc, slices = service(), Slices(100)
    pods = [pod(n) for n in range(250)]
    assert len(slices.sync(svc, pods).create) == 3
    pods[7] = pod(7, ready=False)
    writes = slices.sync(svc, pods)
    assert (len(writes.create), len(writes.update), len(writes.delete)) == (0, 1, 0)
    writes = slices.sync(svc, [*pods, pod(900)])
    assert (len(writes.create), len(writes.update), len(writes.delete)) == (0, 1, 0), "goes where there is room"
    writes = slices.sync(svc, [p for p in [*pods, pod(900)] if p["metadata"]["uid"] != "u3"])
    assert (len(writes.create), len(writes.update), len(writes.delete)) == (0, 1, 0)


def test_replacement_of_a_pod_is_one_write() -> None:
    svc, slices = service(), Slices(100)
    pods = [pod(n) for n in range(200)]
    slices.sync(svc, pods)
    writes = slices.sync(svc, [*pods[1:], pod(900)])
    assert (len(writes.create), len(writes.update), len(writes.delete)) == (0, 1, 0)


def test_what_a_slice_looks_like() -> None:
    slices = Slices(100)
    svc = service(clusterIP="None", publishNotReadyAddresses=True, trafficDistribution="PreferSameNode")
    p = pod(1, ready=False, going=True)
    p["spec"] |= {"hostname": "me", "subdomain": "web"}
    slices.sync(svc, [p])
    [piece] = slices.held.values()
    assert piece["metadata"]["labels"] == {
        "team": "a",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "web",
        "service.kubernetes.io/headless": "",
    }
    assert piece["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert piece["endpoints"] == [
        {
            "addresses": ["10.0.0.2"],
            "conditions": {"ready": True, "serving": False, "terminating": True},
            "nodeName": "n1",
            "zone": "z1",
            "hostname": "me",
            "targetRef": {"kind": "Pod", "namespace": "t", "name": "p1", "uid": "u1"},
            "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]},
        }
    ]


def test_both_families_and_a_change_of_them() -> None:
    slices = Slices(100)
    slices.sync(service(ipFamilies=["IPv4", "IPv6"]), [pod(1, ips=2), pod(2, ips=1)])
    assert slices.addresses("IPv6") == ["fd00::2"]
    assert len(slices.addresses("IPv4")) == 2
    slices.sync(service(ipFamilies=["IPv6"]), [pod(1, ips=2), pod(2, ips=1)])
    assert (slices.addresses("IPv4"), slices.addresses("IPv6")) == ([], ["fd00::2"])


def test_what_is_remembered_is_the_same() -> None:
    svc, memo, pods = service(), {}, [pod(n) for n in range(300)]
    node: Any = lambda name: NODE  # noqa: E731
    desired(svc, pods, node, memo)
    pods[5], pods[7] = pod(5, ready=False), pod(7)
    assert desired(svc, pods, node, memo) == desired(svc, pods, node)
    other = {**NODE, "metadata": {"name": "n1", "labels": {}}}
    assert desired(svc, pods, lambda name: other, memo) == desired(svc, pods, lambda name: other)


def test_pods_on_unknown_nodes_and_finished_ones_are_left_out() -> None:
    found, missing = desired(service(), [pod(1)], lambda name: None)
    assert (found, missing) == ({}, True)
    found, missing = desired(service(publishNotReadyAddresses=True), [pod(1)], lambda name: None)
    assert (len(found), missing) == (1, False)
    found, _ = desired(service(), [pod(1, phase="Succeeded"), pod(2, phase="Failed")], lambda name: NODE)
    assert not found


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"port": 80, "targetPort": 8080}, 8080),
        ({"port": 80}, 80),
        ({"port": 80, "targetPort": "http"}, 9090),
        ({"port": 80, "targetPort": "http", "protocol": "UDP"}, None),
        ({"port": 80, "targetPort": "nope"}, None),
    ],
)
def test_ports(port: Object, expected: int | None) -> None:
    assert port_number(pod(1, named=9090), port) == expected


class TestEndpoints:
    def test_subsets(self) -> None:
        svc = service(ports=[{"name": "h", "port": 80, "targetPort": "http"}])
        pods = [
            pod(1, named=8080),
            pod(2, named=8080, ready=False),
            pod(3, named=9090),
            pod(4),
            pod(5, named=8080, going=True),
        ]
        found, cut = endpoints.subsets(svc, pods)
        assert not cut
        assert [(s["ports"][0]["port"], [a["ip"] for a in s["addresses"]]) for s in found] == [
            (8080, ["10.0.0.2"]),
            (9090, ["10.0.0.4"]),
        ]
        assert [a["ip"] for a in found[0]["notReadyAddresses"]] == ["10.0.0.3"]

    def test_no_more_than_a_thousand(self) -> None:
        found, cut = endpoints.subsets(service(), [pod(n, ready=n % 2 == 0) for n in range(1500)])
        assert cut
        [subset] = found
        assert len(subset["addresses"]) == 750
        assert len(subset["notReadyAddresses"]) == 250

    def test_every_subset_loses_its_share(self) -> None:
        def backend(n: int, **more: Any) -> Object:
            made = pod(n, **more)
            made["spec"]["containers"] = [{"name": "c", "ports": [{"name": "web", "containerPort": 8080 + n % 2}]}]
            return made

        svc = service(ports=[{"port": 80, "targetPort": "web"}])
        found, cut = endpoints.subsets(svc, [backend(n) for n in range(1500)] + [backend(2000, ready=False)])
        assert cut and [(len(s["addresses"]), "notReadyAddresses" in s) for s in found] == [(500, False)] * 2
        found, cut = endpoints.subsets(svc, [backend(n, ready=n < 800) for n in range(1400)])
        assert cut
        assert [(len(s["addresses"]), len(s["notReadyAddresses"])) for s in found] == [(400, 100)] * 2

    def test_order_is_no_difference(self) -> None:
        found, _ = endpoints.subsets(service(), [pod(1), pod(2)])
        new = endpoints.wanted(service(), found, False, "2026-01-01T00:00:00Z", None)
        turned = {**new, "subsets": [{**found[0], "addresses": found[0]["addresses"][::-1]}]}
        assert not endpoints.differs(turned, new)
        assert endpoints.differs({**new, "subsets": []}, new)


def test_mirrors() -> None:
    made = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "ext", "namespace": "t", "uid": "e", "labels": {"a": "b"}},
        "subsets": [
            {
                "addresses": [{"ip": "1.2.3.4", "hostname": "h"}, {"ip": "fd00::1"}],
                "notReadyAddresses": [{"ip": "1.2.3.5"}],
                "ports": [{"port": 80}],
            }
        ],
    }
    writes = pack(mirroring.frame_of(made), ("IPv4", "IPv6"), [], mirroring.mirrored(made), placeholders=False)
    by_type = {s["addressType"]: s["endpoints"] for s in writes.create}
    assert by_type == {
        "IPv4": [
            {"addresses": ["1.2.3.4"], "conditions": {"ready": True}, "hostname": "h"},
            {"addresses": ["1.2.3.5"], "conditions": {"ready": False}},
        ],
        "IPv6": [{"addresses": ["fd00::1"], "conditions": {"ready": True}}],
    }
    assert mirroring.beyond(made) == 0
    made["metadata"]["annotations"] = {"a": "b", "c": "d"}
    first = pack(mirroring.frame_of(made), ("IPv4", "IPv6"), [], mirroring.mirrored(made), placeholders=False).create
    for n, piece in enumerate(first):
        piece["metadata"]["name"] = f"ext-{n}"
    assert not pack(mirroring.frame_of(made), ("IPv4", "IPv6"), first, mirroring.mirrored(made), placeholders=False).any
    made["metadata"]["annotations"] = {"a": "e"}
    writes = pack(mirroring.frame_of(made), ("IPv4", "IPv6"), first, mirroring.mirrored(made), placeholders=False)
    assert [s["metadata"]["annotations"] for s in writes.update] == [{"a": "e"}] * 2 and not writes.create
    assert not mirroring.wants_mirror(made, service())
    assert mirroring.wants_mirror(made, service(selector=None))
    many = [{"ip": f"10.0.{n // 250}.{n % 250}"} for n in range(1100)]
    made["subsets"] = [{"addresses": many[:700], "notReadyAddresses": many[700:], "ports": [{"port": 80}]}]
    writes = pack(mirroring.frame_of(made), ("IPv4", "IPv6"), [], mirroring.mirrored(made), placeholders=False)
    (mirror,) = writes.create  # one slice for a subset, and what does not fit into one is left out
    assert [e["conditions"]["ready"] for e in mirror["endpoints"]] == [True] * 700 + [False] * 300
    assert mirroring.beyond(made) == 100
    skipped = {**made, "metadata": {**made["metadata"], "labels": {mirroring.SKIP: "true"}}}
    assert not mirroring.wants_mirror(skipped, service(selector=None))


def test_the_first_pod_and_the_last_are_one_write_each() -> None:
    svc, slices = service(), Slices(100)
    slices.sync(svc, [])
    (placeholder,) = slices.held
    for pods, ports in (([pod(1)], [8080]), ([], [])):
        writes = slices.sync(svc, pods)
        assert (len(writes.update), writes.create, writes.delete) == (1, [], [])
        assert [port["port"] for port in slices.held[placeholder]["ports"]] == ports
