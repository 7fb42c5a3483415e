"""The node's network on a private host: packets pass, a second start changes nothing, and taking away leaves
nothing.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from switchboard.cluster import command, network, wishes
from switchboard.cluster.config import ClusterConfig
from switchboard.cluster.errors import ClusterError
from switchboard.cluster.progress import Progress
from switchboard.testing.host import Host
from switchboard.testing.nodenetwork import CALL, call, described, network_of

# refused is an answer too: the packet went there and back
REACH = """
import socket, sys
s = socket.socket()
s.settimeout(3)
print(s.connect_ex((sys.argv[1], 9)) == 111)
"""
ACCEPT = """
import socket, sys
s = socket.create_server((sys.argv[1], 0))
print(s.getsockname()[1], flush=True)
print(s.accept()[1][0], flush=True)
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[2], int(sys.argv[3])), 3, (sys.argv[1], 0))"


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as private:
        yield private


@pytest.fixture
def config(host: Host, tmp_path: Path) -> Iterator[ClusterConfig]:
    with network_of(host, tmp_path, egress=False) as made:
        yield made


def reaches(host: Host, address: str) -> bool:
    return host.python(REACH, address).stdout.strip() == "True"


def footprint(host: Host) -> str:
    """What the network of a host has; namespaces are the machine's, where other clusters come and go."""
    commands = (["ip", "-br", "addr"], ["ip", "route"], ["nft", "list", "ruleset"])
    facts = [host.run(*command).stdout for command in commands]
    spaces = host.run("ip", "netns").stdout.splitlines()
    facts.append("\n".join(sorted(line for line in spaces if line.startswith(host.name.removesuffix("-host")))))
    return (
        "\n".join(fact.replace("(id: 0)", "") for fact in facts)
        + host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout
    )


def node(host: Host, config: ClusterConfig, *argv: str) -> str:
    return host.run("nsenter", f"--net={config.netns_path}", *argv).stdout


def test_host_and_node_reach_each_other_and_a_second_start_changes_nothing(host: Host, config: ClusterConfig) -> None:
    before = footprint(host)
    assert call(host, config, "exists", "create", "exists") == [False, True, True]
    assert reaches(host, config.node_ip)
    assert node(host, config, sys.executable, "-c", REACH, config.gateway).strip() == "True"
    assert f"192.168.49.128/25 via {config.node_ip}" in host.run("ip", "route").stdout
    assert node(host, config, "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
    made = footprint(host)
    assert call(host, config, "create") == [False]
    assert footprint(host) == made
    call(host, config, "remove")
    assert footprint(host) == before


def test_without_a_way_out_the_node_has_no_default_route(host: Host, config: ClusterConfig) -> None:
    call(host, config, "create", "switch")
    assert "default" not in node(host, config, "ip", "route")
    assert config.table not in host.run("nft", "list", "ruleset").stdout


def test_the_way_out_can_be_switched_and_leaves_the_host_as_it_was(host: Host, config: ClusterConfig) -> None:
    host.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
    call(host, config, "create", "switch")
    closed = footprint(host)
    call(host, replace(config, egress=True), "switch", "switch")
    assert f"default via {config.gateway}" in node(host, config, "ip", "route")
    assert "masquerade" in host.run("nft", "list", "table", "ip", config.table).stdout
    assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "1"
    call(host, config, "switch")
    assert footprint(host) == closed
    assert "default" not in node(host, config, "ip", "route")


def test_forwarding_stays_on_while_another_cluster_needs_it_and_goes_off_with_the_last(
    host: Host, config: ClusterConfig
) -> None:
    one = replace(config, egress=True)
    run = config.run.parent / "two"
    run.mkdir()
    two = replace(one, name=config.name + "-two", run=run, node_subnet="192.168.50.0/24")
    host.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
    try:
        for each in (one, two):
            call(host, each, "create", "switch")
        call(host, one, "remove")
        assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "1"
    finally:
        call(host, two, "remove")
    assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "0"


def test_host_access_is_routes_that_come_and_go(host: Host, config: ClusterConfig) -> None:
    call(host, config, "create", "switch")
    before = footprint(host)
    call(host, replace(config, host_access=True), "switch", "switch")
    routes = host.run("ip", "route").stdout
    assert all(f"{text} via {config.node_ip}" in routes for text in ("10.96.0.0/16", "10.244.0.0/16"))
    call(host, config, "switch")
    assert footprint(host) == before


@pytest.mark.parametrize("damage", ["link", "netns", "stamp"])
def test_a_half_made_network_is_made_anew(host: Host, config: ClusterConfig, damage: str) -> None:
    call(host, config, "create")
    if damage == "link":
        host.run("ip", "link", "del", config.host_link)
    elif damage == "netns":
        host.run("ip", "netns", "del", config.netns)
    else:
        (config.run / "network.json").unlink()
    assert call(host, config, "exists", "create", "exists") == [False, True, True]
    assert reaches(host, config.node_ip)


def test_a_pod_leaves_the_node_with_the_nodes_address(host: Host, config: ClusterConfig) -> None:
    call(host, config, "create")
    node(host, config, "ip", "addr", "add", "10.244.0.9/32", "dev", "lo")
    server = host.popen(sys.executable, "-c", ACCEPT, config.gateway, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    node(host, config, sys.executable, "-c", CONNECT, "10.244.0.9", config.gateway, port)
    assert server.stdout.readline().strip() == config.node_ip
    assert server.wait(5) == 0


STUB = """
import sys
from pathlib import Path
from switchboard.cluster import resolvers
resolv, behind = Path(sys.argv[1]), Path(sys.argv[2])
resolv.write_text("nameserver 127.0.0.53\\n")
behind.write_text(f"nameserver {sys.argv[3]}\\n")
resolvers._RESOLV_CONF, resolvers._BEHIND_STUBS = resolv, (behind,)
sys.argv[1:] = sys.argv[4:]
"""
ANSWER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 53))
print("open", flush=True)
asked, who = s.recvfrom(100)
s.sendto(asked + b" " + who[0].encode(), who)
"""
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b"who", (sys.argv[1], 53))
print(s.recv(100).decode())
"""


def test_both_families_on_a_host_that_has_switched_one_off(host: Host, config: ClusterConfig) -> None:
    for which in ("all", "default"):
        host.run("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{which}/disable_ipv6")
    both = replace(config, dual_stack=True)
    call(host, both, "create")
    assert f"inet6 {both.gateways[1]}/64" in host.run("ip", "addr", "show", both.host_link).stdout
    code = REACH.replace("socket.socket()", "socket.socket(socket.AF_INET6)")
    assert node(host, both, sys.executable, "-c", code, both.gateways[1]).strip() == "True"


def test_both_families_are_refused_where_the_kernel_knows_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_SIX", tmp_path / "none")
    with pytest.raises(ClusterError, match="needs IPv6, which this machine's kernel does not have"):
        wishes.decide(wishes.Wish("never-there", dual_stack=True), Progress())


def test_a_resolver_on_the_hosts_loopback_is_asked_where_it_asks_itself(
    host: Host, config: ClusterConfig, tmp_path: Path
) -> None:
    """What containerd does in the node's namespace with the host's resolv.conf, where systemd-resolved runs."""
    files = [str(tmp_path / name) for name in ("resolv.conf", "behind")]
    wished = described(replace(config, egress=True))
    host.python(STUB + CALL, *files, config.gateway, wished, "create", "switch")
    server = host.popen(sys.executable, "-c", ANSWER, config.gateway, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stdout.readline() == "open\n"
    assert node(host, config, sys.executable, "-c", ASK, "127.0.0.53").strip() == f"who {config.node_ip}"
    assert server.wait(5) == 0


def test_a_way_out_that_failed_half_way_is_finished_by_the_next_start(host: Host, config: ClusterConfig) -> None:
    wished = replace(config, egress=True)
    call(host, wished, "create", "switch")
    whole = footprint(host)
    node(host, config, "ip", "route", "del", "default")
    host.run("nft", "delete", "table", "ip", config.table)
    host.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
    assert call(host, wished, "is_switched", "switch", "is_switched") == [False, [], True]
    assert footprint(host) == whole and "default" in node(host, config, "ip", "route")


def test_the_mount_of_namespaces_goes_with_the_last_cluster_when_it_came_with_the_first(
    host: Host, config: ClusterConfig
) -> None:
    """As on a machine that has just started, which knows no named namespaces."""
    script = 'mount -t tmpfs none /run; "$@" && [ ! -e /run/netns ]'
    steps = ("create", "exists", "remove")
    done = host.run("unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", CALL, described(config), *steps)
    assert done.stdout.split() == ["true", "true", "null"]
    assert [path.name for path in config.run.parent.iterdir()] == [config.run.name]


def test_a_port_that_somebody_has_is_refused_in_words() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            ClusterError, match=f"cannot have port {port} of 127.0.0.1: Address already in use"
        ) as refused:
            network.check_port("127.0.0.1", port)
        assert f"sport = :{port}" in refused.value.advice
    network.check_port("127.0.0.1", port)


def test_a_range_that_this_machine_has_a_route_into_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [IPv4Network("0.0.0.0/0"), IPv4Network("10.7.1.0/24")]
    monkeypatch.setattr(network, "taken_networks", lambda: routes)
    for overlapping in ("10.7.1.0/24", "10.7.0.0/16", "10.7.1.128/25"):
        with pytest.raises(ClusterError, match=f"{overlapping} overlaps 10.7.1.0/24"):
            network.check_unused(overlapping)
    network.check_unused("10.7.2.0/24")


def test_missing_programs_are_named_all_at_once_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command.require(command.NEEDED)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="lacks containerd, ctr, docker-registry, ip, nft, nsenter, runc") as refused:
        command.require(command.NEEDED)
    wanted = "apt-get install containerd docker-registry iproute2 nftables runc util-linux"
    assert refused.value.advice == wanted


def test_a_full_disk_is_told_before_anything_starts(tmp_path: Path) -> None:
    command.require_space(tmp_path / "not" / "yet" / "there", 1)
    with pytest.raises(ClusterError, match=r"the disk of .*there is full: .* MB are left") as refused:
        command.require_space(tmp_path / "there", 1 << 62)
    assert "SWITCHBOARD_STATE_DIR" in refused.value.advice
