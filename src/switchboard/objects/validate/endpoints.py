"""Rules for Endpoints and EndpointSlices (pkg/apis/core/validation, pkg/apis/discovery/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate import addresses
from switchboard.objects.validate.fields import IMMUTABLE, Errors

Object = dict[str, Any]
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MAX_ENDPOINTS, _MAX_PORTS, _MAX_ADDRESSES, _MAX_ZONE_HINTS = 1000, 20000, 100, 8


def endpoints(obj: Object, old: Object | None, errs: Errors) -> None:
    """v1 Endpoints; what was stored before is not checked again."""
    if old is not None and obj.get("subsets") == old.get("subsets"):
        return
    for i, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{i}]"
        ready, others = subset.get("addresses") or [], subset.get("notReadyAddresses") or []
        if not ready and not others:
            errs.required(path, "must specify `addresses` or `notReadyAddresses`")
        for name, entries in (("addresses", ready), ("notReadyAddresses", others)):
            for j, entry in enumerate(entries):
                _address(entry, f"{path}.{name}[{j}]", errs)
        ports = subset.get("ports") or []
        for j, port in enumerate(ports):
            _port(port, len(ports) > 1, f"{path}.ports[{j}]", errs)


def _address(entry: Object, path: str, errs: Errors) -> None:
    ip = entry.get("ip") or ""
    addresses.ip(f"{path}.ip", ip, errs)
    if entry.get("hostname"):
        errs.check(f"{path}.hostname", entry["hostname"], names.dns_label)
    if entry.get("nodeName") is not None:
        errs.check(f"{path}.nodeName", entry["nodeName"], names.dns_subdomain)
    addresses.not_special(f"{path}.ip", ip, errs)


def _port(port: Object, named: bool, path: str, errs: Errors) -> None:
    name = port.get("name") or ""
    if named and not name:
        errs.required(f"{path}.name")
    elif name:
        errs.check(f"{path}.name", name, names.dns_label)
    errs.port(f"{path}.port", port.get("port") or 0)
    errs.one_of(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
    if port.get("appProtocol") is not None:
        errs.check(f"{path}.appProtocol", port["appProtocol"], names.qualified_name)


def endpoint_slice(obj: Object, old: Object | None, errs: Errors) -> None:
    """discovery.k8s.io/v1 EndpointSlice."""
    kind = obj.get("addressType") or ""
    entries, ports = obj.get("endpoints") or [], obj.get("ports") or []
    if not kind:
        errs.required("addressType")
    elif kind not in ("FQDN", "IPv4", "IPv6"):
        errs.unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    if len(entries) > _MAX_ENDPOINTS:
        errs.too_many("endpoints", len(entries), _MAX_ENDPOINTS)
    else:
        known = {a for e in (old or {}).get("endpoints") or () for a in e.get("addresses") or ()} if old else set()
        for i, entry in enumerate(entries):
            _endpoint(entry, kind, f"endpoints[{i}]", known, errs)
    _slice_ports(ports, errs)


def _endpoint(entry: Object, kind: str, path: str, known: set[str], errs: Errors) -> None:
    own = entry.get("addresses") or []
    if not own:
        errs.required(f"{path}.addresses", "must contain at least 1 address")
    elif len(own) > _MAX_ADDRESSES:
        errs.too_many(f"{path}.addresses", len(own), _MAX_ADDRESSES)
    else:
        for i, address in enumerate(own):
            if kind == "FQDN":
                errs.check(f"{path}.addresses[{i}]", address, names.dns_subdomain)
            elif kind in ("IPv4", "IPv6") and address not in known:
                _slice_address(address, kind, path, i, errs)
    if entry.get("nodeName") is not None:
        errs.check(f"{path}.nodeName", entry["nodeName"], names.dns_subdomain)
    for key, value in (entry.get("deprecatedTopology") or {}).items():
        for message in names.qualified_name(key):
            errs.invalid(f"{path}.deprecatedTopology", key, message)
        for message in names.label_value(value):
            errs.invalid(f"{path}.deprecatedTopology", value, message)
    if entry.get("hostname") is not None:
        errs.check(f"{path}.hostname", entry["hostname"], names.dns_label)
    for name, of in (("forZones", names.label_value), ("forNodes", names.dns_subdomain)):
        _hints((entry.get("hints") or {}).get(name) or [], f"{path}.hints.{name}", of, errs)


def _slice_address(address: str, kind: str, path: str, i: int, errs: Errors) -> None:
    here = f"{path}.addresses[{i}]"
    wrong = names.ip(address)
    parsed = names.parse_ip(address)
    for message in wrong:
        errs.invalid(here, address, message)
    if parsed is None:
        return
    if f"IPv{parsed.version}" != kind and not wrong:
        errs.invalid(f"{path}.addresses", address, f"must be an {kind} address")
    if not wrong:
        addresses.not_special(here, address, errs)


def _hints(hints: list[Object], path: str, check: names.Check, errs: Errors) -> None:
    if len(hints) > _MAX_ZONE_HINTS:
        errs.too_many(path, len(hints), _MAX_ZONE_HINTS)
        return
    seen: set[str] = set()
    for i, hint in enumerate(hints):
        name = hint.get("name") or ""
        if name in seen:
            errs.duplicate(f"{path}[{i}].name", name)
        seen.add(name)
        errs.check(f"{path}[{i}].name", name, check)


def _slice_ports(ports: list[Object], errs: Errors) -> None:
    if len(ports) > _MAX_PORTS:
        errs.too_many("ports", len(ports), _MAX_PORTS)
        return
    seen: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"ports[{i}]", port.get("name") or ""
        if name:
            errs.check(f"{path}.name", name, names.dns_label)
        if name in seen:
            errs.duplicate(f"{path}.name", name)
        seen.add(name)
        errs.one_of(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
        if port.get("appProtocol") is not None:
            errs.check(f"{path}.appProtocol", port["appProtocol"], names.qualified_name)


def endpoint_slice_update(obj: Object, old: Object, errs: Errors) -> None:
    """The address type stays."""
    if obj.get("addressType") != old.get("addressType"):
        errs.invalid("addressType", obj.get("addressType"), IMMUTABLE)
