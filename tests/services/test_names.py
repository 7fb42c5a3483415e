"""Cluster names as pods see them: `dig`, the C library and the resolv.conf of real pods, over the whole way.

It goes through what the conformance tests of cluster DNS ask: every name over UDP and TCP, by the search path.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from switchboard.testing.cluster import ROOT, PrivateCluster
from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
ZONE = "cluster.local"
WEB = f"web.names.svc.{ZONE}."
# The machine's own programs run in pods by the machine's own loader: the images have no dig.
LOADER = next(Path("/usr/lib").glob("*/ld-linux-*.so.*")).resolve()
MACHINE = "/machine"
RESOLVE = r"""
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        char text[64];
        struct addrinfo hints, *found = NULL;
        memset(&hints, 0, sizeof hints);
        hints.ai_socktype = SOCK_STREAM;
        int code = getaddrinfo(words[i], NULL, &hints, &found);
        printf("%s", words[i]);
        if (code) printf(" %s", code == EAI_NONAME ? "absent" : "failed");
        for (; !code && found; found = found->ai_next) {
            getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
            printf(" %s", text);
        }
        printf("\n");
    }
    return 0;
}
"""  # both families are asked for, by musl from one socket at once
HTTP = {"name": "http", "port": 80, "targetPort": 8080}


def program(name: str) -> str:
    """The command that runs a program of the machine in a pod made by `asker`."""
    return f"{MACHINE}{LOADER} --library-path {MACHINE}{LOADER.parent} {MACHINE}/usr/bin/{name}"


def asker(space: Space, name: str, **spec: Any) -> dict[str, Any]:
    """A pod that sleeps and sees the machine's files."""
    pod = space.pod(name, **spec)
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "machine", "mountPath": MACHINE, "readOnly": True})
    pod["spec"]["volumes"].append({"name": "machine", "hostPath": {"path": "/"}})
    return pod


@pytest.fixture(scope="module")
def names(cluster: PrivateCluster) -> Iterator[Space]:
    """Pods that ask (`first`; `member` of the subdomain `group`; two with resolvers of their own) and one, `web`, that
    answers behind a Service and a headless one."""
    ours = {
        "nameservers": ["192.0.2.1"],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    with Space(cluster, "names") as made:
        made.apply(
            asker(made, "first"),
            asker(made, "member", hostname="querier", subdomain="group", labels={"in": "group"}),
            asker(made, "hosted", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
            asker(made, "own", dnsPolicy="None", dnsConfig=ours),
            made.pod("web", "http:8080"),
        )
        made.service("web", HTTP, selector={"pod": "web"})
        made.service("bare", HTTP, selector={"pod": "web"}, clusterIP="None")
        made.ready("first", "member", "hosted", "own", "web")
        yield made


def dig(space: Space, name: str, kind: str = "A", *, by: str = "first", more: str = "+notcp") -> list[str]:
    """What `dig +search` in a pod finds: the data of records of this type."""
    out = space.inside(by, f"{program('dig')} +noall +answer +search +tries=1 +time=3 {more} {name} {kind} || true")
    records = [line.split(maxsplit=4) for line in out.splitlines() if not line.startswith(";")]
    return sorted(r[4] for r in records if r[3] == kind)


def shows(space: Space, wanted: list[str], name: str, kind: str = "A", *, by: str = "first") -> None:
    """Wait until exactly this is found over UDP; TCP must then say the same."""
    wait_for(lambda: dig(space, name, kind, by=by) == sorted(wanted), 10, what=f"{wanted} at {name} {kind}")
    assert dig(space, name, kind, by=by, more="+tcp") == sorted(wanted), name


def getent(space: Space, name: str, *, by: str = "first") -> list[str]:
    """The addresses that the C library finds in a pod (`getent ahostsv4`)."""
    out = space.inside(by, f"{program('getent')} ahostsv4 {name} || true")
    return list(dict.fromkeys(line.split()[0] for line in out.splitlines()))


@pytest.fixture(scope="module")
def musl(names: Space) -> Callable[..., dict[str, str]]:
    """What musl's resolver finds of each name, in a pod."""
    source, built = names.cluster.folder / "resolve.c", names.cluster.folder / "resolve"
    source.write_text(RESOLVE)
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", built, source], check=True)

    def resolve(*asked: str, by: str = "first") -> dict[str, str]:
        lines = names.inside(by, f"{MACHINE}{built} {' '.join(asked)}").splitlines()
        return {name: found for name, _, found in (line.partition(" ") for line in lines)}

    return resolve


def reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa."


def resolv_conf(space: Space, pod: str) -> dict[str, list[str]]:
    """Each keyword of a pod's resolv.conf with the words behind it."""
    found: dict[str, list[str]] = {}
    for line in space.inside(pod, "cat /etc/resolv.conf").splitlines():
        key, *words = line.split()
        found.setdefault(key, []).extend(words)
    return found


def test_the_cluster_itself(names: Space) -> None:
    ip = names.cluster.get("-n", "default", "service", "kubernetes")["spec"]["clusterIP"]
    for name in (f"kubernetes.default.svc.{ZONE}.", f"kubernetes.default.svc.{ZONE}", "kubernetes.default"):
        shows(names, [ip], name)
        assert getent(names, name) == [ip]
    shows(names, ['"1.1.0"'], f"dns-version.{ZONE}", "TXT")


def test_a_pod_in_the_nodes_network_has_the_nodes_name(names: Space) -> None:
    node = names.cluster.get("nodes")["items"][0]["metadata"]["labels"]["kubernetes.io/hostname"]
    assert names.inside("hosted", "hostname; cat /etc/hostname").split() == [node, node]


def test_names_of_services(names: Space) -> None:
    ip, pod = names.get("service", "web")["spec"]["clusterIP"], names.ip("web")
    for name in ("web", "web.names", "web.names.svc", f"web.names.svc.{ZONE}", WEB):
        shows(names, [ip], name)
        assert getent(names, name) == [ip], name
        assert getent(names, name, by="hosted") == [ip], name
    for name in ("bare", "bare.names", "bare.names.svc", f"bare.names.svc.{ZONE}."):
        shows(names, [pod], name)
    endpoint = f"{pod.replace('.', '-')}.bare.names.svc.{ZONE}."
    shows(names, [f"0 100 80 {WEB}"], "_http._tcp.web.names.svc", "SRV")
    shows(names, [f"0 100 8080 {endpoint}"], "_http._tcp.bare.names.svc", "SRV")
    shows(names, [WEB], reverse(ip), "PTR")
    shows(names, [endpoint, endpoint.replace("bare", "web")], reverse(pod), "PTR")
    shows(names, [pod], endpoint)
    assert dig(names, "nothing.names.svc") == getent(names, "nothing.names.svc") == []


def test_the_search_path_is_walked_for_the_pod_that_asks(names: Space) -> None:
    """Its first question is answered with what its later ones would find. Whoever is no pod, or has a path of its own
    making, hears what the name itself is: nothing."""
    ip = names.get("service", "web")["spec"]["clusterIP"]
    for name, wanted in (("web.names", ip), ("kubernetes.default", "10.96.0.1"), (f"web.names.svc.{ZONE}", ip)):
        once = f"{name}.names.svc.{ZONE}."
        shows(names, [wanted], once)
        assert dig(names, once, "AAAA") == []
        assert dig(names, once, by="hosted") == dig(names, once, by="own", more="@10.96.0.10") == []
    assert dig(names, f"web.names.default.svc.{ZONE}.") == []  # no path of this pod


def test_hostname_and_subdomain(names: Space) -> None:
    """In /etc/hosts before there is a Service; as names of the cluster when there is one."""
    ip, full = names.ip("member"), f"querier.group.names.svc.{ZONE}"
    lines = [line.split() for line in names.inside("member", "cat /etc/hosts").splitlines()]
    assert [ip, full, "querier"] in lines
    assert names.inside("member", "hostname").strip() == "querier"
    assert getent(names, full, by="member") == getent(names, "querier", by="member") == [ip]
    assert dig(names, full) == dig(names, f"group.names.svc.{ZONE}") == []  # asked for before it is there

    names.service("group", HTTP, selector={"in": "group"}, clusterIP="None")
    for by in ("first", "member"):
        for name in (full, "querier.group", "querier.group.names", f"group.names.svc.{ZONE}", "group"):
            shows(names, [ip], name, by=by)
    assert getent(names, "querier.group") == [ip]
    shows(names, [f"{full}."], reverse(ip), "PTR")
    shows(names, [f"0 100 8080 {full}."], "_http._tcp.group.names.svc", "SRV")


def test_external_names(names: Space) -> None:
    def short(kind: str) -> str:
        return names.inside("first", f"{program('dig')} +short out.names.svc.{ZONE} {kind}").strip()

    names.service("out", type="ExternalName", externalName="foo.example.com")
    for target in ("foo.example.com", "bar.example.com"):
        names.patch("service", "out", {"spec": {"externalName": target}})
        wait_for(lambda target=target: short("CNAME") == f"{target}.", 10, what=target)  # type: ignore[misc]
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    made = names.patch("service", "out", {"spec": {"type": "ClusterIP", "ports": ports}})
    wait_for(lambda: short("A") == made["spec"]["clusterIP"], 10, what="a ClusterIP")
    assert short("CNAME") == ""

    names.service("alias", type="ExternalName", externalName=WEB)
    ip = names.get("service", "web")["spec"]["clusterIP"]
    wait_for(lambda: getent(names, "alias") == [ip], 10, what="an alias of a Service")


OUTSIDE = """
import asyncio
from switchboard.testing.upstream import FakeUpstream

async def main():
    async with FakeUpstream({"www.example.test": ["192.0.2.80"]}) as outside:
        print(outside.port, flush=True)
        while True:
            await asyncio.sleep(0.1)
            while outside.asked:
                print(outside.asked.pop(0), flush=True)

asyncio.run(main())
"""  # the world outside, which nothing leads to but the node's own loopback


@pytest.fixture
def outward(names: Space) -> Iterator[tuple[list[str], str]]:
    """What a name server outside is asked, and the options that have `dig` ask a DNS of the node that leads there."""
    cluster, asked = names.cluster, list[str]()
    node = ("nsenter", f"--net=/run/netns/{cluster.name}", "--")
    gateway = cluster.ip[: cluster.ip.rindex(".")] + ".1"
    reachable = cluster.folder / "from-node"
    reachable.write_text(cluster.kubeconfig.read_text().replace("127.0.0.1", gateway))
    outside = cluster.popen(*node, sys.executable, "-c", OUTSIDE, stdout=subprocess.PIPE, text=True)
    assert outside.stdout
    upstream = f"127.0.0.1:{int(outside.stdout.readline())}"
    reader = threading.Thread(target=lambda: asked.extend(map(str.strip, outside.stdout or ())))
    reader.start()
    words = ("dns", "--kubeconfig", str(reachable), "--listen", cluster.ip, "--port", "5399", "--upstream", upstream)
    server = cluster.popen(*node, str(ROOT / "switchboard"), *words)
    try:
        yield asked, f"-p 5399 @{cluster.ip}"
    finally:
        for process in (server, outside):
            process.terminate()
            process.wait()
        reader.join()


def test_search_paths_lead_outside(names: Space, outward: tuple[list[str], str]) -> None:
    """A pod's first question about a name outside has the answer already; absence is told after one look outside."""
    asked, where = outward
    first = f"www.example.test.names.svc.{ZONE}."
    wait_for(lambda: dig(names, first, more=where) == ["192.0.2.80"], 10, what="an alias that leads outside")
    out = names.inside("first", f"{program('dig')} {where} +noall +answer {first} A")
    assert [line.split()[3:] for line in out.splitlines()] == [["CNAME", "www.example.test."], ["A", "192.0.2.80"]]
    assert dig(names, first, "AAAA", more=where) == []
    assert dig(names, f"nothing.test.names.svc.{ZONE}.", more=where) == []
    assert dig(names, first, more=where, by="hosted") == []  # no pod of its own address: nobody walks for it
    wait_for(lambda: "udp nothing.test. 1" in asked)
    assert asked.count("udp www.example.test. 1") == 1 == asked.count("udp nothing.test. 1")
    assert not [line for line in asked if ZONE in line], "cluster names stay inside"


def test_resolvers_of_pods(names: Space) -> None:
    own = resolv_conf(names, "own")
    assert own == {"nameserver": ["192.0.2.1"], "search": ["resolv.conf.local"], "options": ["ndots:2"]}
    searches = [f"names.svc.{ZONE}", f"svc.{ZONE}", ZONE]
    for pod in ("first", "hosted"):
        found = resolv_conf(names, pod)
        assert found["nameserver"] == ["10.96.0.10"] and found["search"][:3] == searches
        assert found["options"] == ["ndots:5"]


def test_the_resolver_of_musl(names: Space, musl: Callable[..., dict[str, str]]) -> None:
    ip, pod = names.get("service", "web")["spec"]["clusterIP"], names.ip("web")
    names.service("musl", type="ExternalName", externalName=WEB)
    shows(names, [ip], "musl")
    wanted = dict.fromkeys(("web", "web.names", "web.names.svc", WEB.rstrip("."), WEB, "musl"), ip)
    wanted |= {"bare": pod, "kubernetes.default": "10.96.0.1", f"nothing.names.svc.{ZONE}.": "absent"}
    assert musl(*wanted) == wanted
    assert musl(*wanted, by="hosted") == wanted


def test_drill(names: Space) -> None:
    def drill(words: str, by: str = "first") -> list[str]:
        out = names.inside(by, f"{program('drill')} {words}")
        assert "rcode: NOERROR" in out, out
        answer = out.split(";; ANSWER SECTION:")[1].split(";;")[0]
        return sorted(line.split(maxsplit=4)[4] for line in answer.splitlines() if line.strip())

    ip, pod = names.get("service", "web")["spec"]["clusterIP"], names.ip("web")
    for way in ("-u", "-t", "-D", "-b 512", "-t -D"):
        assert drill(f"{way} {WEB} A") == [ip]
        assert drill(f"{way} {WEB} A @10.96.0.10", by="hosted") == [ip]
        assert drill(f"{way} bare.names.svc.{ZONE} A") == [pod]
        assert drill(f"{way} _http._tcp.{WEB} SRV") == [f"0 100 80 {WEB}"]
        assert drill(f"{way} -x {ip}") == [WEB]
        assert drill(f"{way} {ZONE} NS") == [f"ns.dns.{ZONE}."]
    out = names.inside("first", f"{program('drill')} nothing.{WEB} A")
    assert "rcode: NXDOMAIN" in out and "SOA" in out
