"""A cluster of both families: nodes, pods and Services have IPv6 addresses too, which carry packets like the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.space import Object, Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
WEB = {"a", "b"}
PORT = {"port": 80, "targetPort": 8080, "name": "http"}
SELECTOR = {"app": "web"}


@pytest.fixture(scope="module")
def dual(stand_in_images: Path) -> Iterator[Space]:
    """Pods `a` and `b`, which answer on 8080 in both families, and `client`."""
    with PrivateCluster("--dual-stack") as cluster, Space(cluster, "dual") as made:
        serve = ("http:8080", "http6:8080")
        made.apply(*(made.pod(name, *serve, labels={"app": "web", "pod": name}) for name in WEB), made.pod("client"))
        made.ready(*WEB, "client")
        yield made


def at(address: str, port: int = 80) -> str:
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def ingress(space: Space, name: str) -> list[str]:
    status = space.get("service", name)["status"].get("loadBalancer") or {}
    return [entry["ip"] for entry in status.get("ingress") or ()]


def node_addresses(space: Space) -> list[str]:
    found: Object = space.cluster.get("node", space.cluster.name)
    return [one["address"] for one in found["status"]["addresses"] if one["type"] == "InternalIP"]


def test_nodes_and_pods_have_both(dual: Space) -> None:
    spec, addresses = dual.cluster.get("node", dual.cluster.name)["spec"], node_addresses(dual)
    assert [":" in text for text in spec["podCIDRs"]] == [False, True] == [":" in text for text in addresses]
    status = dual.get("pod", "a")["status"]
    assert [":" in one["ip"] for one in status["podIPs"]] == [False, True]
    assert [one["ip"] for one in status["hostIPs"]] == addresses
    for one in dual.get("pod", "b")["status"]["podIPs"]:
        assert dual.names(at(one["ip"], 8080)) == {"b"}


def test_datagrams_to_a_pod_in_the_nodes_network(dual: Space) -> None:
    """The answer comes from the address that was asked, in both families."""
    dual.apply(dual.pod("on-host", "http:18080", "udp:18081", "udp6:18081", hostNetwork=True))
    dual.ready("on-host")
    port = {"port": 53, "protocol": "UDP", "targetPort": 18081}
    made = dual.service("on-host", port, selector={"pod": "on-host"}, ipFamilyPolicy="RequireDualStack")["spec"]
    clients = [one["ip"] for one in dual.get("pod", "client")["status"]["podIPs"]]
    for ip, node, client in zip(made["clusterIPs"], node_addresses(dual), clients, strict=True):
        wait_for(lambda ip=ip, client=client: dual.datagrams(ip, 53) == [f"on-host {client}"])  # type: ignore[misc]
        assert dual.datagrams(node, 18081) == [f"on-host {client}"]
    dual.delete("pod", "on-host")


def test_both_addresses_of_a_service_answer_everywhere(dual: Space) -> None:
    made = dual.service("both", PORT, selector=SELECTOR, type="LoadBalancer", ipFamilyPolicy="RequireDualStack")["spec"]
    assert made["ipFamilies"] == ["IPv4", "IPv6"]
    for ip in made["clusterIPs"]:
        for by in ("client", "node", "a"):  # `a` reaches itself, too
            dual.until_names(at(ip), WEB, times=30, by=by)
    for ip in node_addresses(dual):
        for by in ("client", "node", "host"):
            dual.until_names(at(ip, made["ports"][0]["nodePort"]), WEB, times=30, by=by)
    balanced = wait_for(lambda: ingress(dual, "both"), what="addresses")
    assert [":" in ip for ip in balanced] == [False, True]
    for ip in balanced:
        for by in ("client", "node", "host"):
            dual.until_names(at(ip), WEB, times=30, by=by)
    ask = "import socket; print(*sorted({one[4][0] for one in socket.getaddrinfo('both', 80)}))"
    assert set(dual.inside("client", f'python3 -c "{ask}"').split()) == set(made["clusterIPs"])


def test_one_family_and_a_change_to_both_and_back(dual: Space) -> None:
    made = dual.service("six", PORT, selector=SELECTOR, ipFamilies=["IPv6"])["spec"]
    [six] = made["clusterIPs"]
    assert ":" in six and made["ipFamilyPolicy"] == "SingleStack"
    dual.until_names(at(six), WEB, times=30)
    dual.until_names("http://six/", WEB, times=30)  # by name: another process hears of it by itself
    after = dual.patch("service", "six", {"spec": {"ipFamilyPolicy": "PreferDualStack"}})["spec"]
    assert after["ipFamilies"] == ["IPv6", "IPv4"] and after["clusterIPs"][0] == six
    four = after["clusterIPs"][1]
    dual.until_names(at(four), WEB, times=30)
    single = {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"], "clusterIPs": [six]}
    back = dual.patch("service", "six", {"spec": single})["spec"]
    assert back["clusterIPs"] == [six]
    wait_for(lambda: dual.fetch(at(four)) == ["curl:7"], what="a refusal")
    assert dual.names(at(six), times=30) == WEB


def test_source_ranges_of_each_family(dual: Space) -> None:
    """Ranges of one family close the other one's address to everybody."""
    own = dual.get("pod", "client")["status"]["podIPs"][1]["ip"]
    spec = {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "loadBalancerSourceRanges": [f"{own}/128"]}
    dual.service("fenced", PORT, selector=SELECTOR, **spec)
    four, six = wait_for(lambda: ingress(dual, "fenced"), what="addresses")
    dual.until_names(at(six), WEB, times=30)
    for by, ip in (("node", six), ("host", six), ("client", four), ("host", four)):
        assert dual.fetch(at(ip), by=by)[0].startswith("curl:"), (by, ip)
    ranges = [f"{node_addresses(dual)[1][:-1]}0/112", "0.0.0.0/0"]
    dual.patch("service", "fenced", {"spec": {"loadBalancerSourceRanges": ranges}})
    for ip in (six, four):
        dual.until_names(at(ip), WEB, times=30, by="host")
    wait_for(lambda: dual.fetch(at(six))[0].startswith("curl:"), what="the pod to be kept out")
    dual.patch("service", "fenced", {"spec": {"loadBalancerSourceRanges": None}})
    dual.until_names(at(six), WEB, times=30)


def test_local_policy_and_nobody_there(dual: Space) -> None:
    """The client's IPv6 address is kept under Local; without endpoints the answer is no, at once."""
    made = dual.service(
        "near", PORT, selector=SELECTOR, type="NodePort", ipFamilies=["IPv6"], externalTrafficPolicy="Local"
    )["spec"]
    url = at(node_addresses(dual)[1], made["ports"][0]["nodePort"])
    dual.until_names(url, WEB, times=30, by="host")
    own = node_addresses(dual)[1][:-1] + "1"
    assert {line.split()[1] for line in dual.fetch(url, by="host", times=5)} == {own}
    dual.patch("service", "near", {"spec": {"selector": {"app": "nobody"}}})
    for by in ("host", "client", "node"):
        wait_for(lambda by=by: dual.fetch(url, by=by) == ["curl:7"], what=f"a refusal of {by}")  # type: ignore[misc]
    assert dual.fetch(at(made["clusterIP"])) == ["curl:7"]


def test_no_request_of_ipv6_is_lost(dual: Space) -> None:
    """A rolling restart under load: connections of a pod's second address are waited for as well."""
    names = {"app": "roll"}
    pod = dual.pod("roll", "http:8080", "http6:8080", "slow6:8090", labels=names)
    template = {"metadata": {"labels": names}, "spec": pod["spec"] | {"terminationGracePeriodSeconds": 30}}
    spec = {"replicas": 2, "selector": {"matchLabels": names}, "template": template}
    dual.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "roll"}, "spec": spec})
    ports = [{"port": 80, "targetPort": 8080, "name": "fast"}, {"port": 81, "targetPort": 8090, "name": "slow"}]
    ip = dual.service("roll", *ports, selector=names, ipFamilyPolicy="SingleStack", ipFamilies=["IPv6"])["spec"]
    dual.kubectl("rollout", "status", "deployment/roll", "--timeout=60s")
    dual.until_names(at(ip["clusterIP"]), {"roll"})

    def restart() -> None:
        dual.kubectl("rollout", "restart", "deployment/roll")
        dual.kubectl("rollout", "status", "deployment/roll", "--timeout=60s")
        wait_for(lambda: len(dual.items("pods", "app=roll")) == 2, what="the old ones to be gone")

    tally = dual.asked_while(restart, at(ip["clusterIP"]), "3", at(ip["clusterIP"], 81), "3")
    dual.kubectl("delete", "deployment", "roll", "--wait=false")
    assert tally.pop("ok") > 50 and tally == {}
