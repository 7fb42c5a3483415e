"""Ways through the firewall that a host may have, whoever made it: ufw, firewalld, docker, or a ruleset of one's own.

A packet that one chain of a hook accepts still meets the next one, so a table of our own cannot let anything through:
each chain that may refuse gets our rules at its head. They let pods ask the API and the image mirror, and, with a way
out, leave through the host. Chains of iptables get theirs from iptables, which does not read what `nft` writes there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .command import attempt, run
from .config import ClusterConfig
from .errors import ClusterError

_IPTABLES = {"ip": "iptables", "ip6": "ip6tables"}


@dataclass(frozen=True, slots=True)
class Way:
    """One rule, of the chains at `hook`: what comes from the link, or goes to it, is accepted."""

    hook: str
    link: str
    out: bool = False
    port: int = 0  # only TCP to this one
    answers: bool = False  # only packets of connections that were let through before

    def nft(self) -> str:
        """As `nft` has it."""
        port = f" tcp dport {self.port}" if self.port else ""
        known = " ct state established,related" if self.answers else ""
        return f'{"oifname" if self.out else "iifname"} "{self.link}"{port}{known} accept'

    def iptables(self) -> list[str]:
        """As `iptables` has it."""
        words = ["-o" if self.out else "-i", self.link]
        words += ["-p", "tcp", "--dport", str(self.port)] if self.port else []
        words += ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"] if self.answers else []
        return [*words, "-j", "ACCEPT"]


@dataclass(slots=True)
class Chain:
    """A chain of somebody else that packets of a hook pass; `ours` are the handles of our rules in it."""

    family: str
    table: str
    name: str
    hook: str
    drops: bool  # what no rule decides is dropped
    rules: int = 0
    ours: list[int] = field(default_factory=list)

    @property
    def of_iptables(self) -> bool:
        """Whether iptables reads it, and made it, most probably."""
        return self.family in _IPTABLES and self.table == "filter" and self.name == self.hook.upper()

    def refuses(self) -> bool:
        """Whether a packet may end here: by policy, or by rules that we do not judge."""
        return self.drops or self.rules > len(self.ours)

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def ways(config: ClusterConfig) -> list[Way]:
    """Everything the cluster needs of the host. Pure."""
    link = config.host_link
    found = [Way("input", link, port=port) for port in (config.api_port, config.registry_port)]
    found += [Way("output", link, out=True), Way("input", link, answers=True)]
    if config.egress:
        found += [Way("forward", link), Way("forward", link, out=True, answers=True)]
    return found


def chains(ruleset: Any, link: str, mark: str) -> list[Chain]:
    """The filtering chains in what `nft -j list ruleset` said, with our rules in them. Pure."""
    found: dict[tuple[str, str, str], Chain] = {}
    for entry in ruleset["nftables"]:
        chain, rule = entry.get("chain"), entry.get("rule")
        if chain and _filters(chain):
            key = (chain["family"], chain["table"], chain["name"])
            found[key] = Chain(*key, chain["hook"], chain.get("policy") == "drop")
        elif rule and (there := found.get((rule["family"], rule["table"], rule["chain"]))):
            there.rules += 1
            if rule.get("comment") == mark or (there.of_iptables and _names(rule, link)):
                there.ours.append(rule["handle"])
    return list(found.values())


def _filters(chain: dict[str, Any]) -> bool:
    # before priority 0 packets are changed rather than judged, and an `accept` would skip such changes
    return (
        chain.get("type") == "filter"
        and chain["family"] in ("ip", "ip6", "inet")
        and chain.get("hook") in ("input", "forward", "output")
        and chain.get("prio", 0) >= 0
        and not chain["table"].startswith("switchboard-")
    )


def _names(rule: dict[str, Any], link: str) -> bool:
    sides = [part["match"].get("right") for part in rule["expr"] if "match" in part]
    return link in sides


def stands(config: ClusterConfig) -> bool:
    """Whether every chain has the rules it is to have."""
    return not _different(config, ways(config))


def settle(config: ClusterConfig) -> list[str]:
    """Put our rules into the chains that need them. Returns, in words, where that was refused."""
    return _change(config, ways(config))


def close(config: ClusterConfig) -> None:
    """Take our rules out of every chain."""
    _change(config, [])


def forwarders(config: ClusterConfig) -> list[str]:
    """Tables of others with rules about what the host forwards."""
    return sorted({f"{c.family} {c.table}" for c in _chains(config) if c.hook == "forward" and c.rules > len(c.ours)})


def _chains(config: ClusterConfig) -> list[Chain]:
    try:
        ruleset = json.loads(run(["nft", "-j", "list", "ruleset"], why="looking at this machine's firewall"))
    except (ClusterError, ValueError):
        return []  # no nftables in this kernel, or more than nft can tell: nothing can be done here
    return chains(ruleset, config.host_link, config.table)


def _different(config: ClusterConfig, wanted: Sequence[Way]) -> list[tuple[Chain, list[Way]]]:
    found = []
    for chain in _chains(config):
        due = [way for way in wanted if way.hook == chain.hook] if chain.refuses() else []
        if len(due) != len(chain.ours):
            found.append((chain, due))
    return found


def _change(config: ClusterConfig, wanted: Sequence[Way]) -> list[str]:
    refused = []
    for chain, due in _different(config, wanted):
        change = _change_iptables if chain.of_iptables else _change_nft
        if not change(config, chain, due):
            refused.append(f"chain {chain} of this machine's firewall does not take rules: it may stop what pods send")
    return refused


def _change_nft(config: ClusterConfig, chain: Chain, due: Sequence[Way]) -> bool:
    lines = [f"delete rule {chain} handle {handle}" for handle in chain.ours]
    lines += [f'insert rule {chain} {way.nft()} comment "{config.table}"' for way in due]
    return attempt(["nft", "-f", "-"], given="\n".join(lines) + "\n")


def _change_iptables(config: ClusterConfig, chain: Chain, due: Sequence[Way]) -> bool:
    mark = ["-m", "comment", "--comment", config.table]
    program = [_IPTABLES[chain.family], "-w"]
    if chain.ours:
        for way in ways(replace(config, egress=True)):  # all there may be
            if way.hook == chain.hook:
                attempt([*program, "-D", chain.name, *mark, *way.iptables()])
    return all(attempt([*program, "-I", chain.name, *mark, *way.iptables()]) for way in due)
