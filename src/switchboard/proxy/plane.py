"""The data plane of one node: what is wanted, and the kernel made equal to it, one transaction at a time.

Knows neither API nor event loop. `service` and `pod` say what is wanted; `commit` sends the difference; `restore`
compares with the kernel itself and mends it, which is also how the proxy starts: whatever a predecessor left is taken
over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_network
from socket import AF_INET, AF_INET6

from switchboard.proxy import conntrack, netlink
from switchboard.proxy import messages as m
from switchboard.proxy.expressions import chain_message, rule_messages
from switchboard.proxy.maps import HAIRPIN, State, Tables
from switchboard.proxy.messages import Change
from switchboard.proxy.nft import Nft, build, mend, remove_chains
from switchboard.proxy.objects import EndpointSlice, Service
from switchboard.proxy.packing import intervals
from switchboard.proxy.rules import Family, Layout, counted
from switchboard.proxy.services import Node, PortPlan, pack, plan
from switchboard.proxy.settings import ProxySettings

log = logging.getLogger(__name__)


class Plane:
    """Desired state of both families and the socket that makes it real."""

    def __init__(self, settings: ProxySettings, nft: Nft, families: Sequence[Family] = (4, 6)) -> None:
        self.settings = settings
        self.nft = nft
        self.node = Node(settings.node_name, settings.zone, settings.faithful)
        self.layouts = {family: layout_of(settings, family) for family in families}
        self.states = {family: State(family) for family in families}
        self._pairs: dict[str, set[conntrack.Pair]] = {}
        self._stale: list[conntrack.Flows] = []
        self._chains: dict[Family, set[str] | None] = dict.fromkeys(
            families
        )  # chains for counts in the kernel; None: not known
        for family, state in self.states.items():
            state.networks(self.layouts[family])

    def service(self, key: str, service: Service | None, slices: Collection[EndpointSlice]) -> None:
        """What a Service should do from the next commit on; None for one that is gone."""
        self.owner(
            key,
            {family: plan(service, slices, family, self.node) for family in self.states} if service is not None else {},
        )

    def owner(self, key: str, plans: dict[Family, list[PortPlan]]) -> None:
        """The same for anything that has addresses (Services, pods with host ports)."""
        for family, state in self.states.items():
            state.replace(key, plans.get(family, []))
        after = conntrack.pairs(one for some in plans.values() for one in some)
        before = self._pairs.get(key, set())
        if after == before:
            return
        self._stale += conntrack.stale(before, after, _local_addresses)
        if after:
            self._pairs[key] = after
        else:
            del self._pairs[key]

    def leads_to(self, address: str) -> bool:
        """Whether any Service may lead to this address of a pod of this node."""
        return any(
            packed is not None and packed + packed in state.live[HAIRPIN]
            for family, state in self.states.items()
            for packed in (pack(address, family),)
        )

    def near(self, address: bytes) -> Callable[[bytes], bool]:
        """Tells of addresses of one family whether they are this node's or its pods'."""
        own = set(_local_addresses())
        layout = self.layouts.get(4 if len(address) == 4 else 6)
        nets = list(intervals(layout.pods, layout.family)) if layout else []
        return lambda one: one in own or any(first <= one and (not behind or one < behind) for first, behind in nets)

    def stale_flows(self) -> list[conntrack.Flows]:
        """Flows that must be forgotten now that the kernel has the last commit; told once."""
        out, self._stale = self._stale, []
        return out

    def forget_strays(self, table: conntrack.Conntrack) -> None:
        """What a predecessor left: flows to our addresses that are answered by something that is no endpoint there."""
        self._stale = []
        good: dict[tuple[int, bytes, int], set[bytes]] = {}
        for pairs in self._pairs.values():
            for protocol, address, port, goal in pairs:
                good.setdefault((protocol, address, port), set()).add(goal)
        own = set(_local_addresses()) if good else set()
        for protocol in {pair[0] for pair in good}:
            for family in (AF_INET, AF_INET6):
                for original, (_, address, port, source) in table.dump(protocol, family):
                    goals = good.get((protocol, address, port))
                    if goals is None and address in own:
                        goals = good.get((protocol, b"", port))
                    if goals and source not in goals:
                        table.remove([(family, original)])

    def networks(self, pod_cidrs: tuple[str, ...], service_cidrs: tuple[str, ...]) -> None:
        """What the API says about networks, besides the settings; rules that depend on it are written anew."""
        for family in self.layouts:
            layout = layout_of(self.settings, family, pod_cidrs, service_cidrs)
            if layout != self.layouts[family]:
                self.layouts[family] = layout
                self.states[family].networks(layout)
                self._chains[family] = None

    def commit(self) -> list[Change]:
        """Tell the kernel what changed since the last commit, in one transaction, and return it. A table that is not as
        we left it is restored whole.
        """
        if None in self._chains.values():
            return self.restore()
        done: list[Change] = []
        messages: list[bytes] = []
        for family, state in self.states.items():
            changes = state.changes()
            if changes:
                messages += self._difference(family, state, changes)
                done += changes
        if not messages:
            return done
        try:
            self.nft.transact(messages)
        except OSError as error:
            log.warning("the kernel's table is not as we left it (%s), restoring", error)
            self.restore()
        return done

    def _difference(self, family: Family, state: State, changes: list[Change]) -> list[bytes]:
        table, chains = self.settings.table, self._chains[family] or set()
        out: list[bytes] = []
        wanted = state.chains()
        for name in sorted(wanted - chains, reverse=True):  # s600 before the a3_600 that leads to it
            out += [
                chain_message(table, counted(name), family),
                *rule_messages(table, counted(name), family, flush=False),
            ]
        out += m.element_messages(table, changes, family)
        out += remove_chains(table, sorted(chains - wanted), family)
        self._chains[family] = wanted
        return out

    def prior(self) -> None:
        """Look at the kernel before anything is wanted, so that numbers and slots of a predecessor are kept."""
        for family, state in self.states.items():
            state.adopt(self.nft.read(family, self.settings.table))

    def restore(self) -> list[Change]:
        """Make the kernel equal to what is wanted whatever it has now, and return the elements that differed
        (none are told of a table that had to be made anew).
        """
        done: list[Change] = []
        for family, state in self.states.items():
            kernel = self.nft.read(family, self.settings.table)
            done += self._mend(family, state, kernel) if kernel is not None else self._build(family, state)
            self._chains[family] = state.chains()
            state.told()
            state.adopt(None)
        return done

    def _mend(self, family: Family, state: State, kernel: Tables) -> list[Change]:
        table = self.settings.table
        messages, changes = mend(self.layouts[family], table, state, kernel, self.nft.chains(family, table))
        try:
            self.nft.transact(messages)
        except OSError:
            log.warning("the table cannot be mended, making it anew", exc_info=True)
            return self._build(family, state)
        return changes

    def _build(self, family: Family, state: State) -> list[Change]:
        for messages in build(self.layouts[family], self.settings.table, state):
            self.nft.transact(messages)
        return []


def _local_addresses() -> list[bytes]:
    return [packed for packed, _ in netlink.addresses()]


def layout_of(
    settings: ProxySettings, family: Family, pod_cidrs: tuple[str, ...] = (), service_cidrs: tuple[str, ...] = ()
) -> Layout:
    """The part of the settings that one family's rules depend on."""

    def of_family(nets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(net for net in nets if ip_network(net, strict=False).version == family)

    return Layout(
        family,
        of_family(settings.pod_cidrs or pod_cidrs or settings.cluster_cidrs),
        of_family(settings.cluster_cidrs),
        of_family((*settings.service_cidrs, *service_cidrs)),
        settings.mark,
        settings.masquerade_egress and bool(of_family(settings.cluster_cidrs)),
        settings.localhost_node_ports,
        settings.faithful,
    )
