"""The fixed table: maps, chains and rules as a literal value, which `expressions` encodes for the kernel and `trace`
executes.

Nothing here depends on how many Services there are. A packet of a new connection finds a number by its address: high
bits say which balancer, low bits which kind of chain continues (one per distinct *count* of endpoints). That chain
finds the endpoint by balancer and a drawn slot. The number travels in `meta priority`, a field of the packet inside
this machine that routing does not look at and that `post` clears again. A lookup that does not find its key ends the
rule (NFT_BREAK), so a statement behind it is never reached.

Verdicts stand only in the small map `kinds`: the kernel walks every verdict of every map when one of them changes
(measured: 0.4 us each, 4 ms at 10,000), so a map with a verdict per Service would make each change as slow as there are
Services.

All base chains are of type nat: the kernel asks them for the first packet of a connection only, so established traffic
pays for nothing but conntrack. Rejecting from there is allowed (nft_reject checks the hook, not the chain's type).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Family = Literal[4, 6]
LOW_BITS = 14  # of a number: the kind of chain, or the endpoint of a Service with affinity
MASK = 0xFFFFFFFF ^ ((1 << LOW_BITS) - 1)
REMEMBERED = 262144  # clients with affinity at one time, all Services together

# Fields of the packet that keys are made of, as nft writes them; {ip} is `ip` or `ip6`.
FIELDS = {
    "saddr": "{ip} saddr",
    "daddr": "{ip} daddr",
    "protocol": "meta l4proto",
    "port": "th dport",
    "number": "meta priority",
    "base": f"meta priority & {MASK:#x}",
    "kind": f"meta priority & {0xFFFFFFFF ^ MASK:#x}",
    "slot": "numgen random mod {n}",
}
Key = tuple[str, ...]
FRONT: Key = ("daddr", "protocol", "port")
PORT: Key = ("protocol", "port")
NUMBER: Key = ("number",)
BALANCER: Key = ("base",)
KIND: Key = ("kind",)
SLOT: Key = ("base", "slot")
CLIENT: Key = ("base", "saddr")
TARGET: Key = ("daddr", "port")
VERDICT: Key = ("verdict",)


class Map(NamedTuple):
    """A map, or a set where `data` is empty. `kind`: hash, interval (networks), ranges (number and network), packets
    (filled by them).
    """

    name: str
    key: Key
    data: Key = ()
    kind: Literal["hash", "interval", "ranges", "packets"] = "hash"


MAPS: tuple[Map, ...] = (
    Map("inside", FRONT, NUMBER),  # addresses as local pods and the node itself see them
    Map("outside", FRONT, NUMBER),  # as everybody else sees them, the client's address kept
    Map("masked", FRONT, NUMBER),  # the same, masqueraded
    Map("node_inside", PORT, NUMBER),  # ports of every address of the node
    Map("node_outside", PORT, NUMBER),
    Map("node_masked", PORT, NUMBER),
    Map("kinds", KIND, VERDICT),  # low bits of a number -> chain for a count of endpoints, or refuse
    Map("open_kinds", KIND, VERDICT),  # the same without `gate`, for what is behind a gate: the kernel forbids loops
    Map("endpoints", SLOT, TARGET),  # without affinity: balancer and slot -> endpoint
    Map("picks", SLOT, NUMBER),  # with affinity: balancer and slot -> number of an endpoint
    Map("settled", NUMBER, NUMBER),  # numbers of endpoints that still exist, each to itself
    Map("targets", NUMBER, TARGET),  # number of an endpoint -> endpoint
    Map("gated", BALANCER, NUMBER),  # a guarded address's gate -> what is behind it
    Map("allowed", CLIENT, (), "ranges"),  # who may pass a gate
    Map("cluster_ips", ("daddr",)),
    Map("hairpin", ("saddr", "daddr")),  # endpoints that may meet themselves
    Map("pods", ("saddr",), (), "interval"),  # networks of this node's pods
    Map("cluster_nets", ("daddr",), (), "interval"),  # networks that are reached without masquerade
    Map("service_nets", ("daddr",), (), "interval"),
    Map("clients", CLIENT, NUMBER, "packets"),  # balancer and client -> number of the endpoint it sticks to
)
INDEX = {item.name: at for at, item in enumerate(MAPS)}


class Op(NamedTuple):
    """One match or statement: `do` selects its encoding and its effect in `trace`; `text` is how nft would write it."""

    do: str
    text: str
    name: str = ""
    key: Key = ()
    value: int = 0


def words(key: Key, n: int = 0) -> str:
    """A key as nft writes it, still with {ip}."""
    return " . ".join(FIELDS[field].replace("{n}", str(n)) for field in key)


def take(name: str, key: Key, n: int = 0) -> Op:
    """The number found becomes the packet's; not found ends the rule. `n` is the modulus of a slot."""
    return Op("take", f"meta priority set {words(key, n)} map @{name}", name, key, n)


def member(name: str, key: Key, *, absent: bool = False) -> Op:
    """Only packets whose key is (not) in the set."""
    return Op("member", f"{words(key)} {'!= ' if absent else ''}@{name}", name, key, int(absent))


def dnat(name: str, key: Key, n: int = 0) -> Op:
    """Send the connection to the endpoint found."""
    return Op("dnat", f"dnat {{ip}} to {words(key, n)} map @{name}", name, key, n)


def goto(chain: str) -> Op:
    """Continue there and do not come back."""
    return Op("goto", f"goto {chain}", chain)


def jump(chain: str) -> Op:
    """Continue there, then with the next rule."""
    return Op("jump", f"jump {chain}", chain)


def remember(seconds: int) -> Op:
    """Keep where this client goes, or its time fresh."""
    return Op(
        "remember",
        f"update @clients {{{{ {words(CLIENT)} timeout {seconds}s : meta priority }}}}",
        "clients",
        CLIENT,
        seconds,
    )


DISPATCH = Op("dispatch", f"{words(KIND)} vmap @kinds", "kinds", KIND)
BEHIND_GATE = Op("dispatch", f"{words(KIND)} vmap @open_kinds", "open_kinds", KIND)
LOCAL = Op("local", "fib daddr type local")
NOT_FROM_LO = Op("not_from_lo", 'iifname != "lo"')
TO_LO = Op("to_lo", 'oifname "lo"')
TO_LOOPBACK = Op("loopback", "ip daddr 127.0.0.0/8", "daddr")
FROM_LOOPBACK = Op("loopback", "ip saddr 127.0.0.0/8", "saddr")
RETURN = Op("return", "return")
DROP = Op("drop", "drop")
TCP = Op("protocol", "meta l4proto tcp", value=6)
RESET = Op("reset", "reject with tcp reset")
UNREACHABLE = Op("unreachable", "reject")
BASE = Op("base", f"meta priority set meta priority & {MASK:#x}")
MASQUERADE = Op("masquerade", "masquerade fully-random")
TRANSLATED = Op("translated", "ct status dnat")
CLEAR = Op("clear", "meta priority set none")
FORGET = Op("forget", f"delete @clients {{{{ {words(CLIENT)} : meta priority }}}}", "clients", CLIENT)

Rule = tuple[Op, ...]


class Chain(NamedTuple):
    """A chain; `hook` is (netfilter hook number, priority) of a nat base chain, None for a plain one."""

    name: str
    rules: tuple[Rule, ...]
    hook: tuple[int, int] | None = None


PREROUTING, OUTPUT, POSTROUTING = (0, -100), (3, -100), (4, 100)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the rules depend on besides the Services: switches, and networks of the family (which are set elements)."""

    family: Family
    pods: tuple[str, ...] = ()  # of this node
    cluster: tuple[str, ...] = ()  # of all nodes
    services: tuple[str, ...] = ()
    mark: int = 0x4000
    egress: bool = True
    localhost: bool = True
    faithful: bool = False


def fixed(layout: Layout) -> tuple[Chain, ...]:
    """Every chain that is there whatever the Services are."""
    mark = Op("mark", f"meta mark set meta mark | {layout.mark:#010x}", value=layout.mark)
    marked = Op("marked", f"meta mark & {layout.mark:#010x} != 0x00000000", value=layout.mark)
    unmark = Op("unmark", f"meta mark set meta mark & {0xFFFFFFFF ^ layout.mark:#010x}", value=layout.mark)
    outside_node = (
        (take("node_outside", PORT), DISPATCH),
        (take("node_masked", PORT), mark, DISPATCH),
    )
    gate = ((member("allowed", CLIENT), take("gated", BALANCER), BEHIND_GATE), (DROP,))
    return (
        Chain("deny", ((DROP,),)),
        Chain("refuse", ((TCP, RESET), (UNREACHABLE,))),
        Chain("gate", gate),
        Chain("outside_node", outside_node),
        Chain("from_inside", _inside(layout)),
        Chain("pre", _pre(layout, mark), PREROUTING),
        Chain("out", ((goto("from_inside"),),), OUTPUT),
        Chain("post", _post(layout, marked, unmark), POSTROUTING),
    )


def _pre(layout: Layout, mark: Op) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    if layout.family == 4 and layout.localhost:
        # route_localnet lets packets to 127/8 in from other machines; nobody may start a connection that way
        # (CVE-2020-8558)
        rules.append((NOT_FROM_LO, TO_LOOPBACK, DROP))
    rules.append((member("pods", ("saddr",)), goto("from_inside")))
    # first, lest another Service takes it by naming it among its externalIPs; without knowing the pods' networks nobody
    # can be told from a pod, and a pod's address is worth keeping
    rules.append((member("cluster_ips", ("daddr",)), *((mark,) if layout.pods else ()), goto("from_inside")))
    rules.append((take("outside", FRONT), DISPATCH))
    rules.append((take("masked", FRONT), mark, DISPATCH))
    rules.append((LOCAL, jump("outside_node")))
    rules.append(_unknown(layout))
    return tuple(rules)


def _inside(layout: Layout) -> tuple[Rule, ...]:
    return (
        (take("inside", FRONT), DISPATCH),
        (LOCAL, take("node_inside", PORT), DISPATCH),
        (member("cluster_ips", ("daddr",)), goto("refuse")),
        _unknown(layout),
    )


def _unknown(layout: Layout) -> Rule:
    """A ClusterIP that nobody has: upstream drops (KEP-3866), we say no at once."""
    return (member("service_nets", ("daddr",)), goto("deny" if layout.faithful else "refuse"))


def _post(layout: Layout, marked: Op, unmark: Op) -> tuple[Rule, ...]:
    rules: list[Rule] = [(TRANSLATED, CLEAR), (TO_LO, RETURN), (member("hairpin", ("saddr", "daddr")), MASQUERADE)]
    if layout.family == 4 and layout.localhost:
        rules.append((FROM_LOOPBACK, MASQUERADE))
    rules.append((marked, unmark, MASQUERADE))
    if layout.egress:
        rules.append((member("pods", ("saddr",)), member("cluster_nets", ("daddr",), absent=True), MASQUERADE))
    return tuple(rules)


def counted(name: str) -> Chain:
    """The chain of one verdict: `n3` draws from 3 endpoints, `a3_600` the same for clients remembered 600 s, `s600`
    settles one.
    """
    kind, _, seconds = name[1:].partition("_")
    gone = (goto("refuse"),)
    if name[0] == "n":
        # a packet that came here just before there were fewer: the first endpoint, if there is one
        return Chain(name, ((dnat("endpoints", SLOT, int(kind)),), (dnat("endpoints", SLOT, 1),), gone))
    if name[0] == "s":
        settled = ((remember(int(kind)),), (dnat("targets", NUMBER),))
        # a packet whose endpoint went while it came here: the first of those there are
        return Chain(name, (*settled, (take("picks", SLOT, 1),), *settled, gone))
    first, pick, settle = take("picks", SLOT, 1), take("picks", SLOT, int(kind)), goto(f"s{seconds}")
    return Chain(
        name,
        ((take("clients", CLIENT), take("settled", NUMBER), settle), (BASE,), (FORGET,), (first,), (pick,), (settle,)),
    )


def rule_text(rule: Rule, family: Family) -> str:
    """One rule as nft would list it."""
    return " ".join(op.text for op in rule).format(ip="ip" if family == 4 else "ip6")
