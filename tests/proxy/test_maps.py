"""Plans to elements: whatever happens in whatever order, the maps mean what a rebuild from scratch means."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.proxy.maps import State, empty_tables
from switchboard.proxy.packing import arrange
from switchboard.proxy.rules import INDEX, MAPS, MASK, Layout, counted, rule_text
from switchboard.proxy.services import Node, plan
from switchboard.testing.services import endpoint, service, slice_of

NODE = Node("node-1")
LAYOUT = Layout(4, ("10.244.0.0/24",), ("10.244.0.0/16",), ("10.96.0.0/16",))
FRONTS = "inside outside masked node_inside node_outside node_masked".split()


@st.composite
def change(draw: Any) -> Any:
    """(key, Service or None, slices)."""
    at = draw(st.integers(0, 3))
    name = f"s{at}"
    if draw(st.integers(0, 5)) == 0:
        return f"t/{name}", None, []
    ports = [{"port": port, "name": f"p{port}"} for port in draw(st.sampled_from([[80], [80, 81], [81]]))]
    if node_port := draw(st.sampled_from([0, 0, 30080, 30081])):
        ports[0]["nodePort"] = node_port  # two Services may claim it: the smaller name wins
    one = service(
        name,
        f"10.96.0.{10 + at}",
        ports,
        type=draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"])),
        externalTrafficPolicy=draw(st.sampled_from(["Cluster", "Local"])),
        sessionAffinity=draw(st.sampled_from(["None", "ClientIP"])),
        externalIPs=draw(st.sampled_from([None, ["9.9.9.9"], [f"9.9.9.{at}"]])),
        ingress=draw(st.sampled_from([None, ["8.8.8.8"]])),
        loadBalancerSourceRanges=draw(st.sampled_from([None, ["1.0.0.0/8"], ["1.0.0.0/8", "2.2.2.2"]])),
    )
    slices = []
    for port in ports:
        hosts = draw(st.lists(st.integers(1, 6), unique=True, max_size=5))
        nodes = draw(st.sampled_from(["node-1", "node-2"]))
        slices.append(slice_of(name, *(endpoint(f"10.244.0.{host}", nodes) for host in hosts), name=port["name"]))
    return f"t/{name}", one, slices


def meaning(state: State) -> dict[str, Any]:
    """What the elements say, without the numbers and slots that history chose."""
    tables = {item.name: table for item, table in zip(MAPS, state.live, strict=True)}
    out: dict[str, Any] = {
        name: set(tables[name].items()) for name in ("cluster_ips", "hairpin", "pods", "service_nets")
    }
    for name in FRONTS:
        for key, data in tables[name].items():
            out[f"{name} {key.hex()}"] = leads_to(tables, int.from_bytes(data, "little"))
    return out


def leads_to(tables: dict[str, Any], number: int) -> Any:
    chain = tables["kinds"][word_(number & ~MASK)].decode()
    base = word_(number & MASK)
    if chain == "gate":
        allowed = {(start[4:], end[4:]) for start, end in tables["allowed"].items() if start[:4] == base}
        return chain, frozenset(allowed), leads_to(tables, int.from_bytes(tables["gated"][base], "little"))
    n = int(chain[1:].partition("_")[0]) if chain[0] in "na" else 0
    if chain[0] == "n":
        return chain, frozenset(tables["endpoints"][base + word_(slot)] for slot in range(n)), False
    if chain[0] == "a":
        picks = [tables["picks"][base + word_(slot)] for slot in range(n)]
        assert all(tables["settled"][pick] == pick for pick in picks)
        assert len(set(picks)) == n
        return chain, frozenset(tables["targets"][pick] for pick in picks), False
    return chain


def word_(number: int) -> bytes:
    return number.to_bytes(4, "little")


def element_count(state: State) -> int:
    kinds = INDEX["kinds"], INDEX["open_kinds"]  # some are kept for a while after their last use
    return sum(len(table) for at, table in enumerate(state.live) if at not in kinds)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(change(), st.booleans()), max_size=12))
def test_any_history_means_what_a_rebuild_means(history: list[Any]) -> None:
    state, mirror = State(4), empty_tables()
    state.networks(LAYOUT)
    last: dict[str, Any] = {}
    for (key, one, slices), flush in history:
        state.replace(key, plan(one, slices, 4, NODE) if one else [])
        last[key] = (one, slices)
        if flush:
            apply(state.changes(), mirror)
            assert mirror == state.live
    apply(state.changes(), mirror)
    assert mirror == state.live
    fresh = State(4)
    fresh.networks(LAYOUT)
    for key, (one, slices) in last.items():
        fresh.replace(key, plan(one, slices, 4, NODE) if one else [])
    fresh.changes()
    assert meaning(state) == meaning(fresh)
    assert element_count(state) == element_count(fresh)  # nothing is left behind
    # a successor that reads this table keeps every number and slot
    heir = State(4)
    heir.adopt([dict(table) for table in state.live])
    heir.networks(LAYOUT)
    for key in sorted(last, reverse=True):
        one, slices = last[key]
        heir.replace(key, plan(one, slices, 4, NODE) if one else [])
    assert meaning(heir) == meaning(fresh)
    if not state.contested:  # who lost an address cannot be found by it
        assert heir.difference(state.live) == []
    for key in last:
        state.replace(key, [])
    state.changes()
    assert len(state.chains()) <= 2 * 24


def apply(changes: list[Any], tables: list[dict[bytes, bytes]]) -> None:
    """As the kernel does: what is deleted must be there, what is added must not."""
    for one in changes:
        if one.add:
            assert one.key not in tables[one.map]
            tables[one.map][one.key] = one.data
        else:
            assert tables[one.map].pop(one.key) == one.data


def test_one_endpoint_of_very_many_is_few_elements() -> None:
    hosts = [f"10.244.{i // 250}.{i % 250}" for i in range(5000)]
    state = State(4)
    state.replace("t/big", plan(service("big"), [slice_of("big", *(endpoint(h, "node-2") for h in hosts))], 4, NODE))
    state.changes()
    del hosts[2500]
    state.replace("t/big", plan(service("big"), [slice_of("big", *(endpoint(h, "node-2") for h in hosts))], 4, NODE))
    changes = state.changes()
    assert len([one for one in changes if one.map == INDEX["endpoints"]]) == 3  # the hole is filled with the last
    assert len(changes) < 12


def test_arrange_moves_as_few_as_possible() -> None:
    assert arrange([b"a", b"b", b"c"], [b"a", b"c"]) == [b"a", b"c"]
    assert arrange([b"a", b"b", b"c"], [b"c", b"a", b"d"]) == [b"a", b"d", b"c"]
    assert list(arrange([], [b"x", b"y"])) == [b"x", b"y"]
    assert arrange([b"a"], []) == []


def test_affinity_survives_in_the_numbers_of_those_who_stay() -> None:
    def picks(*hosts: str) -> dict[bytes, bytes]:
        one = service("web", sessionAffinity="ClientIP")
        state.replace("t/web", plan(one, [slice_of("web", *hosts)], 4, NODE))
        return {target: pick for pick, target in state.live[INDEX["targets"]].items()}

    state = State(4)
    before = picks("10.244.0.1", "10.244.0.2", "10.244.0.3")
    after = picks("10.244.0.3", "10.244.0.1", "10.244.0.4")
    assert {target: pick for target, pick in after.items() if target in before} == {
        target: pick for target, pick in before.items() if target in after
    }


def test_chains_of_counts_as_text() -> None:
    assert [rule_text(rule, 4) for rule in counted("n3").rules] == [
        "dnat ip to meta priority & 0xffffc000 . numgen random mod 3 map @endpoints",
        "dnat ip to meta priority & 0xffffc000 . numgen random mod 1 map @endpoints",
        "goto refuse",
    ]
    assert len(counted("a3_600").rules) == 6
