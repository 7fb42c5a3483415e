"""Topology aware routing: which zone an endpoint serves, and when there can be no hints."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.controllers.slice_endpoints import ZONE_LABEL, asks_for_topology, endpoint_of
from switchboard.controllers.topology import allot, apply, shares

Object = dict[str, Any]
HALVES = {"a": 0.5, "b": 0.5}


def node(zone: str | None, cpu: Any = "2", ready: bool = True, **labels: str) -> Object:
    marks = labels | ({ZONE_LABEL: zone} if zone else {})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {"name": "n", "labels": marks},
        "status": {"conditions": conditions, "allocatable": {"cpu": cpu}},
    }


def endpoint(number: int, zone: str | None, ready: bool = True) -> Object:
    out: Object = {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": ready}}
    return out | ({"zone": zone} if zone else {})


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([node("a"), node("b")], {"a": 0.5, "b": 0.5}),
        ([node("a", "500m"), node("b", "1500m")], {"a": 0.25, "b": 0.75}),
        ([node("a"), node("b"), node("c", ready=False)], {"a": 0.5, "b": 0.5}),
        ([node("a"), node("b"), node(None, **{"node-role.kubernetes.io/control-plane": ""})], {"a": 0.5, "b": 0.5}),
        ([node("a"), node("a")], {}),
        ([node("a"), node("b"), node(None)], {}),
        ([node("a"), node("b", "0")], {}),
        ([], {}),
    ],
)
def test_the_zones_shares_of_the_cpu(nodes: list[Object], wanted: dict[str, float]) -> None:
    assert shares(nodes) == wanted


@pytest.mark.parametrize(
    ("zones", "known", "hints"),
    [
        ("ab", HALVES, "ab"),
        ("aaaa", HALVES, "bbaa"),
        ("aaab", HALVES, "baab"),
        ("aaaabbb", HALVES, "aaaabbb"),  # half an endpoint too many is nothing to move
        ("aaaaaaaaa", {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, "bcbcbcaaa"),
        ("", HALVES, "Insufficient number of endpoints (0 endpoints, 2 zones)"),
        ("aa", {"a": 0.3, "b": 0.3, "c": 0.4}, "Insufficient number of endpoints (2 endpoints, 3 zones)"),
        ("a-bb", HALVES, "One or more endpoints do not have a zone specified"),
        (
            "abc",
            {"a": 0.6, "b": 0.2, "c": 0.2},
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold "
            "(3 endpoints, 3 zones)",
        ),
        (
            "ab",
            {},
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
        ),
    ],
)
def test_which_zone_an_endpoint_serves(zones: str, known: dict[str, float], hints: str) -> None:
    ready = [endpoint(i, None if zone == "-" else zone) for i, zone in enumerate(zones)]
    found, reason = allot(ready, [None] * len(ready), known)
    assert (reason or "".join(found)) == hints


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.integers(1, 20), min_size=2, max_size=3))
def test_no_zone_has_much_less_than_its_share_and_nothing_moves_twice(zones: list[str], cpus: list[int]) -> None:
    known = {zone: cpu / sum(cpus) for zone, cpu in zip("abc", cpus, strict=False)}
    ready = [endpoint(i, zone) for i, zone in enumerate(zones)]
    found, reason = allot(ready, [None] * len(ready), known)
    if reason:
        assert found == []
        return
    counts = Counter(found)
    if set(found) <= set(known):  # an endpoint in a zone without nodes stays there
        assert all(counts[zone] >= math.floor(share * len(zones) / 1.2) for zone, share in known.items())
    assert allot(ready, list(found), known) == (found, "")


def test_hints_stay_where_they_are_and_go_home_when_they_can() -> None:
    four = [endpoint(i, "a") for i in range(4)]
    wanted = {("IPv4", ()): four}
    first, reasons = apply(wanted, [], HALVES)
    assert reasons == {}
    served = [e["hints"]["forZones"][0]["name"] for e in first["IPv4", ()]]
    assert served == ["b", "b", "a", "a"]
    wanted = {("IPv4", ()): [*four, endpoint(5, "b"), endpoint(6, "b"), endpoint(7, "b", ready=False)]}
    second, _ = apply(wanted, [{"endpoints": first["IPv4", ()]}], HALVES)
    served = [e["hints"]["forZones"][0]["name"] for e in second["IPv4", ()] if "hints" in e]
    assert served == ["a", "b", "a", "a", "b", "b"]
    third, reasons = apply(wanted, [{"endpoints": second["IPv4", ()]}], {})
    assert all("hints" not in e for e in third["IPv4", ()])
    assert reasons["IPv4"].endswith("on one or more nodes, addressType: IPv4")


@pytest.mark.parametrize(
    ("annotations", "asks"),
    [
        ({"service.kubernetes.io/topology-mode": "Auto"}, True),
        ({"service.kubernetes.io/topology-mode": "auto"}, True),
        ({"service.kubernetes.io/topology-mode": "Disabled"}, False),
        ({"service.kubernetes.io/topology-aware-hints": "auto"}, True),
        ({"service.kubernetes.io/topology-aware-hints": "", "service.kubernetes.io/topology-mode": "Auto"}, False),
        ({}, False),
    ],
)
def test_who_asks_and_that_the_field_gives_way(annotations: dict[str, str], asks: bool) -> None:
    meta = {"name": "web", "namespace": "t", "annotations": annotations}
    service = {"metadata": meta, "spec": {"trafficDistribution": "PreferSameZone"}}
    assert asks_for_topology(service) is asks
    status = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    pod = {"metadata": {"name": "p", "namespace": "t"}, "spec": {"nodeName": "n"}, "status": status}
    found = endpoint_of(pod, node("a"), service, "IPv4")
    assert found is not None and ("hints" in found) is not asks
