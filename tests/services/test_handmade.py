"""Services without a selector: EndpointSlices and Endpoints made by hand, mirrored, changed and deleted."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
SLICE = "discovery.k8s.io/v1"


def handmade(name: str, service: str, ports: list[dict[str, Any]], *addresses: str) -> dict[str, Any]:
    meta = {"name": name, "labels": {"kubernetes.io/service-name": service}}
    made = {"apiVersion": SLICE, "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4", "ports": ports}
    return made | {"endpoints": [{"addresses": [address]} for address in addresses]}


def test_two_ports_of_one_address_in_two_slices(space: Space) -> None:
    ip = space.service("own", {"port": 80, "name": "x"}, {"port": 81, "name": "y"})["spec"]["clusterIP"]
    assert space.items("endpointslices", "kubernetes.io/service-name=own") == []
    address = space.ip("a")
    space.apply(
        handmade("own-1", "own", [{"name": "x", "port": 8080}], address),
        handmade("own-2", "own", [{"name": "y", "port": 8082}], address),
    )
    space.until_names(f"http://{ip}:80/", {"a"})
    space.until_names(f"http://{ip}:81/", {"a"})
    space.kubectl("delete", "endpointslice", "own-2")
    wait_for(lambda: space.fetch(f"http://{ip}:81/") == ["curl:7"])
    assert space.names(f"http://{ip}:80/") == {"a"}


def test_two_ports_of_two_addresses_in_two_slices(space: Space) -> None:
    ip = space.service("two-ips", {"port": 80, "name": "x"}, {"port": 81, "name": "y"})["spec"]["clusterIP"]
    space.apply(
        handmade("two-1", "two-ips", [{"name": "x", "port": 8080}], space.ip("a")),
        handmade("two-2", "two-ips", [{"name": "y", "port": 8082}], space.ip("b")),
    )
    space.until_names(f"http://{ip}:80/", {"a"}, times=10)
    space.until_names(f"http://{ip}:81/", {"b"}, times=10)
    found = space.inside("client", "nslookup two-ips | grep -A9 Name: | grep ^Address", check=False).split()
    assert found[-1] == ip


def test_endpoints_by_hand_are_mirrored(space: Space) -> None:
    ip = space.service("mirrored", {"port": 80, "name": "x"})["spec"]["clusterIP"]
    subset = {"addresses": [{"ip": space.ip("a")}], "ports": [{"name": "x", "port": 8080}]}
    space.apply({"kind": "Endpoints", "metadata": {"name": "mirrored"}, "subsets": [subset]})
    space.until_names(f"http://{ip}/", {"a"})
    (mirror,) = space.items("endpointslices", "kubernetes.io/service-name=mirrored")
    assert mirror["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == (
        "endpointslicemirroring-controller.k8s.io"
    )
    space.patch("endpoints", "mirrored", {"subsets": [subset | {"addresses": [{"ip": space.ip("b")}]}]})
    space.until_names(f"http://{ip}/", {"b"})
    space.kubectl("delete", "endpoints", "mirrored")
    wait_for(lambda: space.items("endpointslices", "kubernetes.io/service-name=mirrored") == [])
    wait_for(lambda: space.fetch(f"http://{ip}/") == ["curl:7"])


def test_a_headless_service_by_hand_has_names(space: Space) -> None:
    space.service("byhand", {"port": 80, "name": "x"}, clusterIP="None")
    made = handmade("byhand-1", "byhand", [{"name": "x", "port": 8080}], space.ip("a"), space.ip("b"))
    made["endpoints"][0]["hostname"] = "first"
    space.apply(made)
    look = "nslookup {} | grep -A9 Name: | grep ^Address"

    def addresses(name: str) -> set[str]:
        said = space.inside("client", look.format(f"{name}.{space.name}.svc.cluster.local"), check=False)
        return {line.split()[-1] for line in said.splitlines()}

    wait_for(lambda: addresses("byhand") == {space.ip("a"), space.ip("b")})
    assert addresses("first.byhand") == {space.ip("a")}


def test_what_a_client_may_not_put_into_a_slice(space: Space) -> None:
    for address, why in (("127.0.0.1", "loopback"), ("nonsense", "must be a valid IP"), ("169.254.1.1", "link-local")):
        body = handmade("bad", "own", [{"port": 80}], address)
        assert why in space.refused("apply", "-f", "-", given=body)
