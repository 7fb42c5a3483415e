"""Which zone each endpoint should serve, for Services that ask for topology aware routing (pure).

Source: staging/src/k8s.io/endpointslice/topologycache/topologycache.go. Endpoints serve their own zone as far as zones
have endpoints by their share of the nodes' CPU; what a zone has too many of goes to those that have too few. When no
zone may carry a fifth more than its share and still every zone gets some, there are no hints, and a reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from switchboard.controllers.conditions import is_true
from switchboard.controllers.slice_endpoints import ZONE_LABEL
from switchboard.controllers.slice_packing import identity
from switchboard.objects import quantity

Object = dict[str, Any]
Wanted = Mapping[tuple[str, Any], list[Object]]  # (address type, ports) -> endpoints

ENABLED: Final = "Topology Aware Hints has been enabled"
DISABLED: Final = "Topology Aware Hints has been disabled"
_NODES: Final = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
_TOO_FEW: Final = "Insufficient number of endpoints"
_OVERLOAD: Final = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
_NO_ZONE: Final = "One or more endpoints do not have a zone specified"
_ASIDE: Final = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_THRESHOLD: Final = 0.2  # the most by which an endpoint may have to do more than its share


def capacity(node: Object) -> tuple[str | None, int] | None:
    """The zone (None without one) and allocatable CPU (thousandths) that a node counts with; None if it does not."""
    labels, status = node["metadata"].get("labels") or {}, node.get("status") or {}
    if any(label in labels for label in _ASIDE) or not is_true(status.get("conditions"), "Ready"):
        return None
    try:
        cpu = quantity.of((status.get("allocatable") or {}).get("cpu", "0")).nano // 1_000_000
    except quantity.QuantityError:
        cpu = 0
    return labels.get(ZONE_LABEL) or None, cpu


def shares(nodes: Iterable[Object]) -> dict[str, float]:
    """Each zone's share of the CPU; empty when a node does not say enough, or there is one zone only."""
    by_zone: Counter[str] = Counter()
    for node in nodes:
        known = capacity(node)
        if known is None:
            continue
        zone, cpu = known
        if zone is None or not cpu:
            return {}
        by_zone[zone] += cpu
    whole = by_zone.total()
    return {zone: cpu / whole for zone, cpu in sorted(by_zone.items())} if len(by_zone) > 1 else {}


def apply(wanted: Wanted, existing: Iterable[Object], known: Mapping[str, float]) -> tuple[Wanted, dict[str, str]]:
    """The endpoints with their hints, and for each address type without hints the reason."""
    held = {identity(e): e for piece in existing for e in piece.get("endpoints") or ()}
    out: dict[tuple[str, Any], list[Object]] = {}
    reasons: dict[str, str] = {}
    for family in dict.fromkeys(family for family, _ in wanted):
        groups = {group: endpoints for group, endpoints in wanted.items() if group[0] == family}
        ready = [e for endpoints in groups.values() for e in endpoints if e["conditions"].get("ready")]
        zones, reason = allot(ready, [_hint(held.get(identity(e))) for e in ready], known)
        if reason:
            reasons[family] = f"{reason}, addressType: {family}"
        hints = {id(e): {"forZones": [{"name": zone}]} for e, zone in zip(ready, zones, strict=False)}
        for group, endpoints in groups.items():
            out[group] = [{**e, "hints": hints[id(e)]} if id(e) in hints else e for e in endpoints]
    return out, reasons


def allot(ready: list[Object], held: list[str | None], known: Mapping[str, float]) -> tuple[list[str], str]:
    """A zone for each ready endpoint; or none at all and the reason. `held` are the zones they serve now."""
    number = len(ready)
    if not known:
        return [], _NODES
    counts = f"({number} endpoints, {len(known)} zones)"
    if len(known) > number:
        return [], f"{_TOO_FEW} {counts}"
    least = {zone: math.ceil(share * number * (1 / (1 + _THRESHOLD))) for zone, share in known.items()}
    if sum(least.values()) > number:
        return [], f"{_OVERLOAD} {counts}"
    own: list[str] = [e.get("zone") or "" for e in ready]
    if not all(own):
        return [], _NO_ZONE
    zones = [now if now is not None and now in known else zone for now, zone in zip(held, own, strict=True)]
    wanted = {zone: max(share * number, float(least[zone])) for zone, share in known.items()}
    for giver, taker in _moves(Counter(zones), wanted):
        at = [i for i, zone in enumerate(zones) if zone == giver]
        # back home first; else one that is at home, rather than one that was moved before
        zones[min(at, key=lambda i: (own[i] != taker, own[i] != giver, i))] = taker
    return zones, ""


def _moves(have: Mapping[str, int], wanted: Mapping[str, float]) -> list[tuple[str, str]]:
    """From which zone to which, one endpoint each; not for less than half an endpoint."""
    left = {zone: have.get(zone, 0) - target for zone, target in wanted.items()}
    found: list[tuple[str, str]] = []
    while True:
        giver, taker = max(left, key=lambda z: left[z]), min(left, key=lambda z: left[z])
        much, little = left[giver], -left[taker]
        if min(much, little) < 0.5 or max(much, little) < 1.0:
            return found
        found.append((giver, taker))
        left[giver] -= 1
        left[taker] += 1


def _hint(endpoint: Object | None) -> str | None:
    zones: list[Object] = ((endpoint or {}).get("hints") or {}).get("forZones") or []
    return zones[0].get("name") if len(zones) == 1 else None
