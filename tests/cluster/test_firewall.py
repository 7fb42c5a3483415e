"""A host with a firewall: the node reaches what it needs, whoever made the rules, which are as before afterwards."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from switchboard.cluster import firewall
from switchboard.cluster.config import ClusterConfig
from switchboard.testing.host import Host
from switchboard.testing.nodenetwork import call, network_of

LISTEN = """
import socket, sys
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("open", flush=True)
while True:
    s.accept()[0].close()
"""
CONNECT = """
import socket, sys
s = socket.socket()
s.settimeout(float(sys.argv[3]))
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    print("reached")
except TimeoutError:
    print("lost")
"""
# as ufw and docker have it; as firewalld has it, which ends its chains with a refusal; as people write it
FIREWALLS = {
    "iptables": "iptables -P INPUT DROP; iptables -P FORWARD DROP; iptables -A INPUT -i lo -j ACCEPT",
    "rules at the end": (
        "nft 'table inet fw { chain incoming { type filter hook input priority filter + 10; iifname lo accept; drop; };"
        " chain passing { type filter hook forward priority filter + 10; ct state established accept; drop; }; }'"
    ),
    "policies": (
        "nft 'table inet filter { chain input { type filter hook input priority 0; policy drop; };"
        " chain forward { type filter hook forward priority 0; policy drop; };"
        " chain output { type filter hook output priority 0; policy drop; }; }';"
        " iptables -P FORWARD DROP"
    ),
}


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as private:
        yield private


@pytest.fixture
def config(host: Host, tmp_path: Path) -> Iterator[ClusterConfig]:
    with network_of(host, tmp_path, egress=True) as made:
        yield made


@pytest.fixture
def world(host: Host) -> Iterator[str]:
    """An address outside of the host, with a listener at port 80."""
    with Host() as outside:
        host.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", outside.name)
        host.run("ip", "addr", "add", "203.0.113.2/24", "dev", "up0")
        host.run("ip", "link", "set", "up0", "up")
        outside.run("ip", "addr", "add", "203.0.113.1/24", "dev", "up0")
        outside.run("ip", "link", "set", "up0", "up")
        listen(outside, "203.0.113.1", 80)
        yield "203.0.113.1"


def listen(host: Host, address: str, port: int) -> None:
    server = host.popen(sys.executable, "-c", LISTEN, address, str(port), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stdout.readline() == "open\n"


def reaches(host: Host, config: ClusterConfig, address: str, port: int, *, patience: float = 5.0) -> bool:
    argv = (sys.executable, "-c", CONNECT, address, str(port), str(patience))
    return host.run("nsenter", f"--net={config.netns_path}", *argv).stdout.strip() == "reached"


def rules(host: Host) -> str:
    return re.sub(r"packets \d+ bytes \d+", "", host.run("nft", "list", "ruleset").stdout)


@pytest.mark.parametrize("kind", FIREWALLS)
def test_the_node_gets_through_and_the_firewall_is_as_before_afterwards(
    host: Host, config: ClusterConfig, world: str, kind: str
) -> None:
    host.run("sh", "-ec", FIREWALLS[kind])
    before = rules(host)
    assert call(host, config, "create", "switch", "is_switched") == [True, [], True]
    for port in (config.api_port, 9000):
        listen(host, config.gateway, port)
    assert reaches(host, config, config.gateway, config.api_port)
    assert reaches(host, config, world, 80)
    host.run("iptables", "-S")  # still understands its own chains
    assert not reaches(host, config, config.gateway, 9000, patience=0.3), "nobody asked for that one"
    assert call(host, replace(config, egress=False), "switch", "is_switched") == [[], True]
    assert reaches(host, config, config.gateway, config.api_port)
    assert "forward" not in {way.hook for way in firewall.ways(replace(config, egress=False))}
    call(host, config, "remove")
    assert rules(host) == before


def test_a_firewall_that_came_later_or_was_loaded_anew_is_noticed_by_the_next_start(
    host: Host, config: ClusterConfig, world: str
) -> None:
    call(host, config, "create", "switch")
    assert reaches(host, config, world, 80)
    host.run("sh", "-ec", FIREWALLS["iptables"])
    assert not reaches(host, config, world, 80, patience=0.3)
    assert call(host, config, "is_switched", "switch", "is_switched") == [False, [], True]
    assert reaches(host, config, world, 80)
    host.run("iptables", "-F")
    assert call(host, config, "is_switched", "switch", "switch", "is_switched") == [False, [], [], True]
    assert reaches(host, config, world, 80)


def test_forwarding_stays_on_for_whom_came_meanwhile(host: Host, config: ClusterConfig) -> None:
    """docker, say, finds forwarding on and relies on it from then on."""
    host.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
    host.run("nft", "table inet own { chain passing { type filter hook forward priority 0; counter; }; }")
    for arrives, forwarding in ((None, "0"), ("iptables -A FORWARD -i docker0 -j ACCEPT", "1")):
        call(host, config, "create", "switch")
        if arrives:
            host.run(*arrives.split())
        call(host, config, "remove")
        assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == forwarding


def test_chains_that_change_packets_or_refuse_nothing_are_left_alone(host: Host, config: ClusterConfig) -> None:
    host.run("iptables", "-t", "mangle", "-A", "FORWARD", "-j", "TTL", "--ttl-set", "9")
    host.run("nft", "table inet idle { chain input { type filter hook input priority 0; }; }")
    before = rules(host)
    call(host, config, "create", "switch")
    assert f'"{config.host_link}" accept' not in rules(host)
    call(host, config, "remove")
    assert rules(host) == before


def test_a_firewall_that_takes_no_rules_is_told_of(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"family": "inet", "name": "owned", "handle": 1}
    chain = {"family": "inet", "table": "owned", "name": "in", "type": "filter", "hook": "input", "prio": 0}
    listed = {"nftables": [{"table": table}, {"chain": chain | {"policy": "drop"}}]}
    monkeypatch.setattr(firewall, "run", lambda *_, **__: json.dumps(listed))
    monkeypatch.setattr(firewall, "attempt", lambda *_, **__: False)
    assert [words.partition(" does")[0] for words in firewall.settle(config)] == [
        "chain inet owned in of this machine's firewall"
    ]
