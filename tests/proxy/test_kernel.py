"""The encoder against the kernel: what is written is read back, and nft lists the rules as `rules` spells them."""

from __future__ import annotations

import re
import subprocess

import pytest

from switchboard.proxy import messages as m
from switchboard.proxy.cleanup import clean_up
from switchboard.proxy.nft import Monitor, Nft, NftError, cleanup
from switchboard.proxy.plane import Plane
from switchboard.proxy.rules import INDEX, counted, fixed, rule_text
from switchboard.testing.netns import World
from switchboard.testing.services import endpoint, service, settings, slice_of


def fill(plane: Plane, n: int = 20, *, without: int = 0) -> None:
    for i in range(n):
        if without and i % without == 0:
            continue
        one = service(
            f"s{i}",
            [f"10.96.1.{i}", f"fd00:96::{i + 1:x}"],
            [{"port": 80, "nodePort": 31000 + i, "name": "a"}, {"port": 53, "protocol": "UDP", "name": "b"}],
            type="LoadBalancer",
            ingress=[f"192.168.78.{i + 1}"],
            sessionAffinity="ClientIP" if i % 3 == 0 else "None",
            externalTrafficPolicy="Local" if i % 4 == 0 else "Cluster",
            loadBalancerSourceRanges=["10.0.0.0/8"] if i % 5 == 0 else None,
        )
        hosts = [f"10.244.0.{j + 1}" for j in range(i % 7)]
        slices = [slice_of(f"s{i}", *(endpoint(host) for host in hosts), name="a")]
        slices.append(slice_of(f"s{i}", *(f"fd00:244::{j + 1:x}" for j in range(i % 3)), name="a"))
        plane.service(f"t/s{i}", one, slices)


def equal(plane: Plane) -> bool:
    """Whether the kernel, read back, is what is wanted, element for element and chain for chain."""
    nft = Nft()
    try:
        for family, state in plane.states.items():
            if nft.read(family, plane.settings.table) != state.live:
                return False
            names = {chain.name for chain in fixed(plane.layouts[family])} | state.chains()
            if set(nft.chains(family, plane.settings.table)) != names:
                return False
        return True
    finally:
        nft.close()


def test_written_is_read_back(world: World, plane: Plane) -> None:
    def act() -> None:
        fill(plane)
        plane.commit()
        assert equal(plane)
        for i in range(0, 20, 2):
            plane.service(f"t/s{i}", None, [])
        plane.commit()
        assert equal(plane)
        assert plane.restore() == []

    world.node.run(act)


def test_nft_lists_the_rules_as_they_are_spelled(world: World, plane: Plane) -> None:
    def act() -> None:
        fill(plane)
        plane.commit()

    world.node.run(act)
    for family in (4, 6):
        listing = world.node.nft("list", "table", "ip" if family == 4 else "ip6", "switchboard")
        found = re.findall(r"chain (\w+) \{\n(.*?)\n\t\}", listing, re.S)
        listed = {name: [line.strip() for line in body.split("\n") if "policy" not in line] for name, body in found}
        chains = [*fixed(plane.layouts[family]), *(counted(name) for name in plane.states[family].chains())]
        spelled = {chain.name: [_as_listed(rule_text(rule, family)) for rule in chain.rules] for chain in chains}
        assert listed == spelled


def _as_listed(text: str) -> str:
    """nft's own way to print: `meta priority` as tc handles, times in units, without what a verdict implies."""
    text = text.replace("0xffffc000", "ffff:c000").replace("0x3fff", "0:3fff")
    return text.replace("10800s", "3h").replace("meta l4proto tcp reject", "reject")


def test_a_refused_transaction_changes_nothing(world: World, plane: Plane) -> None:
    def act() -> None:
        fill(plane, 3)
        plane.commit()
        good = m.Change(True, INDEX["cluster_ips"], b"\7\7\7\7", b"")
        bad = m.Change(False, INDEX["cluster_ips"], b"\7\7\7\10", b"")
        with pytest.raises(NftError) as caught:
            plane.nft.transact(m.element_messages("switchboard", [good, bad], 4))
        assert caught.value.message == 1
        assert equal(plane)

    world.node.run(act)


def test_a_big_transaction(world: World, plane: Plane) -> None:
    def act() -> None:
        hosts = [f"10.244.{i // 250}.{i % 250 + 1}" for i in range(5000)]
        plane.service("t/big", service("big"), [slice_of("big", *hosts)])
        plane.commit()
        assert equal(plane)
        plane.service("t/big", service("big"), [slice_of("big", *hosts[1:])])
        plane.commit()
        assert equal(plane)

    world.node.run(act)


def test_flushed_from_outside_is_heard_and_mended(world: World, plane: Plane) -> None:
    monitor = world.node.run(lambda: Monitor("switchboard", plane.nft.port))
    world.node.run(lambda: fill(plane, 5))
    world.node.run(plane.commit)
    assert not world.node.run(monitor.touched)  # our own changes are not news
    for words in (
        ["flush", "ruleset"],
        ["delete", "table", "ip6", "switchboard"],
        ["flush", "chain", "ip", "switchboard", "pre"],
        ["flush", "map", "ip", "switchboard", "inside"],
        ["add", "element", "ip", "switchboard", "cluster_ips", "{ 4.4.4.4 }"],
    ):
        world.node.nft(*words)
        assert world.node.run(monitor.touched), words
        world.node.run(plane.restore)
        assert world.node.run(lambda: equal(plane)), words
        assert "goto from_inside" in world.node.nft("list", "chain", "ip", "switchboard", "pre")
        assert not world.node.run(monitor.touched)
    world.node.nft("add", "table", "ip", "other")
    assert not world.node.run(monitor.touched)
    world.node.nft("delete", "table", "ip", "other")
    monitor.close()


def test_commit_on_a_table_that_is_gone_restores_it(world: World, plane: Plane) -> None:
    world.node.run(lambda: fill(plane, 5))
    world.node.run(plane.commit)
    world.node.nft("flush", "ruleset")
    plane.service("t/s1", service("s1"), [slice_of("s1", "10.244.0.1")])
    world.node.run(plane.commit)
    assert world.node.run(lambda: equal(plane))


def test_a_successor_takes_everything_over(world: World, plane: Plane) -> None:
    def act() -> None:
        fill(plane)
        plane.commit()
        for i in range(0, 20, 3):  # a history, so that slots are not in the order of a fresh start
            plane.service(f"t/s{i}", service(f"s{i}", f"10.96.1.{i}"), [slice_of(f"s{i}", "10.244.0.9", "10.244.0.2")])
            plane.service(f"t/s{i}", service(f"s{i}", f"10.96.1.{i}"), [slice_of(f"s{i}", "10.244.0.2")])
        plane.commit()
        heir = Plane(settings(), Nft())
        heir.prior()
        fill(heir, without=3)
        for i in range(0, 20, 3):
            heir.service(f"t/s{i}", service(f"s{i}", f"10.96.1.{i}"), [slice_of(f"s{i}", "10.244.0.2")])
        assert heir.commit() == []
        assert equal(heir)
        heir.nft.close()

    world.node.run(act)


def test_an_older_shape_of_the_table_is_replaced(world: World, plane: Plane) -> None:
    world.node.run(cleanup)
    world.node.nft("add table ip switchboard; add map ip switchboard inside { type ipv4_addr : verdict; }")
    world.node.nft("add chain ip switchboard old; add chain ip switchboard n9")
    heir = world.node.run(lambda: Plane(settings(), Nft()))
    world.node.run(lambda: (heir.prior(), fill(heir), heir.commit()))
    assert world.node.run(lambda: equal(heir))
    heir.nft.close()


def test_cleanup_leaves_nothing_of_ours_and_everything_else(world: World, plane: Plane) -> None:
    def routes() -> str:
        command = ["ip", "-n", world.node.name, "route"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    world.node.nft("add", "table", "ip", "other")
    assert "10.96.0.0/16" in routes()
    world.node.run(clean_up)
    world.node.run(clean_up)
    assert "10.96.0.0/16" not in routes()
    assert "192.168.78.0/24" in routes()
    assert world.node.nft("list", "ruleset").strip() == "table ip other {\n}"
    world.node.nft("delete", "table", "ip", "other")
