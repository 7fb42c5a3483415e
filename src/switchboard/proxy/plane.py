"""The data plane of one node: what is wanted, and the kernel made equal to it, one transaction at a time.

Knows neither API nor event loop. `service` and `pod` say what is wanted; `commit` sends the difference; `restore` compares with the
kernel itself and mends it, which is also how the proxy starts: whatever a predecessor left is taken over.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from ipaddress import ip_network

from switchboard.proxy import messages as m
from switchboard.proxy.expressions import chain_message, rule_messages
from switchboard.proxy.maps import State
from switchboard.proxy.messages import Change
from switchboard.proxy.nft import Nft, full, remove_chains
from switchboard.proxy.rules import Family, Layout, counted
from switchboard.proxy.services import EndpointSlice, Node, PortPlan, Service, plan
from switchboard.proxy.settings import ProxySettings

log = logging.getLogger(__name__)
_AT_ONCE = 60_000  # elements in one transaction: bounds memory, and how long the kernel holds its lock, when very much comes


class Plane:
    """Desired state of both families and the socket that makes it real."""

    def __init__(self, settings: ProxySettings, nft: Nft, families: Sequence[Family] = (4, 6)) -> None:
        self.settings = settings
        self.nft = nft
        self.node = Node(settings.node_name, settings.zone, settings.faithful)
        self.layouts = {family: layout_of(settings, family, settings.pod_cidrs) for family in families}
        self.states = {family: State(family) for family in families}
        self._chains: dict[Family, set[str] | None] = dict.fromkeys(families)  # chains for counts in the kernel; None: not known
        for family, state in self.states.items():
            state.networks(self.layouts[family])

    def service(self, key: str, service: Service | None, slices: Sequence[EndpointSlice]) -> None:
        """What a Service should do from the next commit on; None for one that is gone."""
        for family, state in self.states.items():
            state.replace(key, plan(service, slices, family, self.node) if service is not None else [])

    def owner(self, key: str, plans: dict[Family, list[PortPlan]]) -> None:
        """The same for anything else that has addresses (pods with host ports)."""
        for family, state in self.states.items():
            state.replace(key, plans.get(family, []))

    def networks(self, pod_cidrs: tuple[str, ...]) -> None:
        """This node's pods live there from now on; rules that depend on it are written anew."""
        for family in self.layouts:
            layout = layout_of(self.settings, family, pod_cidrs)
            if layout != self.layouts[family]:
                self.layouts[family] = layout
                self.states[family].networks(layout)
                self._chains[family] = None

    def commit(self) -> list[Change]:
        """Tell the kernel what changed since the last commit, in one transaction, and return it. A table that is not as we left it
        is restored whole."""
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
        wanted = {name for name, count in state.chains.items() if count}
        for name in sorted(wanted - chains, reverse=True):  # s600 before the a3_600 that leads to it
            out += [chain_message(table, counted(name), family), *rule_messages(table, counted(name), family, flush=False)]
        out += m.element_messages(table, changes, family)
        out += remove_chains(table, sorted(chains - wanted), family)
        self._chains[family] = wanted
        for name in [name for name, count in state.chains.items() if not count]:
            del state.chains[name]
        return out

    def prior(self) -> None:
        """Look at what the kernel has before anything is wanted, so that numbers and slots of a predecessor are kept."""
        for family, state in self.states.items():
            state.prior = self.nft.read(family, self.settings.table)

    def restore(self) -> list[Change]:
        """Make the kernel equal to what is wanted whatever it has now, and return the elements that differed."""
        done: list[Change] = []
        for family, state in self.states.items():
            changes = self._restore(family, state, fresh=False)
            done += changes
            state.prior = None
        return done

    def _restore(self, family: Family, state: State, *, fresh: bool) -> list[Change]:
        table = self.settings.table
        kernel = None if fresh else self.nft.read(family, table)
        there = self.nft.chains(family, table) if kernel is not None else []
        messages, changes = full(self.layouts[family], table, state, kernel, there)
        try:
            self.nft.transact(messages)
        except OSError:
            if fresh:
                raise
            log.warning("the table cannot be mended, making it anew", exc_info=True)
            return self._restore(family, state, fresh=True)
        self._chains[family] = {name for name, count in state.chains.items() if count} 
        return changes


def layout_of(settings: ProxySettings, family: Family, pod_cidrs: tuple[str, ...]) -> Layout:
    """The part of the settings that one family's rules depend on."""

    def of_family(nets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(net for net in nets if ip_network(net, strict=False).version == family)

    return Layout(
        family,
        of_family(pod_cidrs or settings.cluster_cidrs),
        of_family(settings.cluster_cidrs),
        of_family(settings.service_cidrs),
        settings.mark,
        settings.masquerade_egress,
        settings.localhost_node_ports,
        settings.faithful,
    )

