"""Rules for Services (pkg/apis/core/validation: ValidateService, ValidateServiceUpdate).

Addresses and node ports that are taken or out of range are the allocator's to refuse, not ours.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from switchboard.objects import names
from switchboard.objects.validate import addresses
from switchboard.objects.validate import metadata as meta_rules
from switchboard.objects.validate.fields import Errors, go_struct

Object = dict[str, Any]
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_KUBELET = 10250
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")


def external(spec: Object) -> bool:
    """Whether traffic from outside can reach the Service."""
    return spec.get("type") in ("NodePort", "LoadBalancer") or bool(
        spec.get("type") == "ClusterIP" and spec.get("externalIPs")
    )


def service(obj: Object, old: Object | None, errs: Errors) -> None:
    """A Service but its metadata."""
    spec: Object = obj.get("spec") or {}
    kind = spec.get("type")
    headless = spec.get("clusterIP") == "None"
    _topology((obj.get("metadata") or {}).get("annotations") or {}, errs)
    _ports_given(spec, headless, errs)
    if kind == "LoadBalancer":
        for i, port in enumerate(spec.get("ports") or ()):
            if port.get("port") == _KUBELET:
                told = f"may not expose port {_KUBELET} externally since it is used by kubelet"
                errs.invalid(f"spec.ports[{i}]", _KUBELET, told)
            if port.get("protocol") not in ("TCP", "UDP", "SCTP", None):
                errs.invalid(
                    f"spec.ports[{i}].protocol",
                    port["protocol"],
                    "cannot create an external load balancer with this protocol",
                )
    if kind in ("NodePort", "LoadBalancer") and headless:
        errs.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        _external_name(spec, errs)
    _ports(spec, headless, errs)
    if spec.get("selector"):
        meta_rules.check_labels(spec["selector"], "spec.selector", errs)
    _affinity(spec, errs)
    _families(spec, errs)
    before = {} if old is None else old.get("spec") or {}
    known = before.get("externalIPs") or []
    for i, ip in enumerate(spec.get("externalIPs") or ()):
        if ip not in known:
            addresses.ip(f"spec.externalIPs[{i}]", ip, errs)
            if names.parse_ip(ip) is not None:
                addresses.not_special(f"spec.externalIPs[{i}]", ip, errs)
    _type(kind, errs)
    _duplicates(spec, errs)
    _load_balancer(obj, spec, before, errs)
    _policies(spec, errs)
    if "trafficDistribution" in spec and spec["trafficDistribution"] not in _DISTRIBUTIONS:
        errs.unsupported("spec.trafficDistribution", spec["trafficDistribution"], _DISTRIBUTIONS)


def _topology(notes: dict[str, str], errs: Errors) -> None:
    """The old and the new name of one annotation may not say different things."""
    if _HINTS in notes and _MODE in notes and notes[_HINTS] != notes[_MODE]:
        told = f"must match annotations[{_HINTS}] when both are specified"
        errs.invalid(f"metadata.annotations[{_MODE}]", notes[_MODE], told)


def _type(kind: str | None, errs: Errors) -> None:
    if not kind:
        errs.required("spec.type")
    elif kind not in _TYPES:
        errs.unsupported("spec.type", kind, _TYPES)


def _ports_given(spec: Object, headless: bool, errs: Errors) -> None:
    if not spec.get("ports") and not headless and spec.get("type") != "ExternalName":
        errs.required("spec.ports")


def _external_name(spec: Object, errs: Errors) -> None:
    if spec.get("clusterIPs"):
        errs.forbidden("spec.clusterIPs", "may not be set for ExternalName services")
    name = spec.get("externalName") or ""
    if name:
        for message in names.dns_subdomain(name.removesuffix(".")):
            errs.invalid("spec.externalName", name, message)
    else:
        errs.required("spec.externalName")


def _ports(spec: Object, headless: bool, errs: Errors) -> None:
    ports = spec.get("ports") or []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        _port(port, f"spec.ports[{i}]", len(ports) > 1, headless, seen, errs)


def _port(port: Object, path: str, named: bool, headless: bool, seen: set[str], errs: Errors) -> None:
    name = port.get("name")
    if named and not name:
        errs.required(f"{path}.name")
    elif name:
        errs.check(f"{path}.name", name, names.dns_label)
        if name in seen:
            errs.duplicate(f"{path}.name", name)
        seen.add(name)
    errs.port(f"{path}.port", port.get("port") or 0)
    if not port.get("protocol"):
        errs.required(f"{path}.protocol")
    elif port["protocol"] not in _PROTOCOLS:
        errs.unsupported(f"{path}.protocol", port["protocol"], _PROTOCOLS)
    target = port.get("targetPort", 0)
    addresses.port_or_name(f"{path}.targetPort", target, errs)
    if port.get("appProtocol") is not None:
        errs.check(f"{path}.appProtocol", port["appProtocol"], names.qualified_name)


def _duplicates(spec: Object, errs: Errors) -> None:
    kind = spec.get("type")
    ports = spec.get("ports") or []
    if kind == "ClusterIP":
        for i, port in enumerate(ports):
            if port.get("nodePort"):
                errs.forbidden(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'")
    taken: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        node_port = port.get("nodePort") or 0
        if node_port:
            key = (port.get("protocol", ""), node_port)
            if key in taken:
                errs.duplicate(f"spec.ports[{i}].nodePort", node_port)
            taken.add(key)
    taken = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port") or 0)
        if key in taken:
            shape = {
                "Name": "",
                "Protocol": key[0],
                "AppProtocol": None,
                "Port": key[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            errs.duplicate(f"spec.ports[{i}]", go_struct(shape))
        taken.add(key)


def _affinity(spec: Object, errs: Errors) -> None:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    if not affinity:
        errs.required("spec.sessionAffinity")
    elif affinity not in ("ClientIP", "None"):
        errs.unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    path = "spec.sessionAffinityConfig"
    if affinity == "ClientIP":
        client = (config or {}).get("clientIP")
        if config is None or client is None or client.get("timeoutSeconds") is None:
            return errs.required(path, "when session affinity type is ClientIP")
        seconds = client["timeoutSeconds"]
        if not 0 < seconds <= 86400:
            errs.invalid(f"{path}.clientIP.timeoutSeconds", seconds, "must be greater than 0 and less than 86400")
    elif affinity == "None" and config is not None:
        errs.forbidden(path, "must not be set when session affinity is None")
    return None


def _families(spec: Object, errs: Errors) -> None:
    if spec.get("type") == "ExternalName":
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(name):
                errs.forbidden(f"spec.{name}", "may not be set for ExternalName services")
        return
    address_fields(spec, errs)


def address_fields(spec: Object, errs: Errors) -> None:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy must fit each other
    (ValidateServiceClusterIPsRelatedFields)."""
    one, many = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    path = "spec.clusterIPs"
    if one and not many:
        errs.required(path)
    elif one and many[0] != one:
        errs.invalid(path, many, "first value must match `clusterIP`")
    elif many and not one:
        errs.invalid(path, many, "must be empty when `clusterIP` is not specified")
    for i, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            errs.unsupported(f"spec.ipFamilies[{i}]", family, ("IPv4", "IPv6"))
        if family in families[:i]:
            errs.duplicate(f"spec.ipFamilies[{i}]", family)
    if policy is not None and policy not in _FAMILY_POLICIES:
        errs.unsupported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    parsed = _cluster_ips(many, errs)
    if parsed is None:
        return
    if len(many) > 1 and len({address.version for address in parsed}) != 2:
        errs.invalid(path, many, "may specify no more than one IP for each IP family")
    for i, (address, family) in enumerate(zip(parsed, families, strict=False)):
        if family in ("IPv4", "IPv6") and family != f"IPv{address.version}":
            errs.invalid(f"{path}[{i}]", many[i], f"expected an {family} value as indicated by `ipFamilies[{i}]`")


def _cluster_ips(many: list[str], errs: Errors) -> list[IPv4Address | IPv6Address] | None:
    """The addresses (none of a headless Service); None if one of them is no address."""
    path, known = "spec.clusterIPs", len(errs)
    parsed: list[IPv4Address | IPv6Address] = []
    for i, text in enumerate(many):
        if i == 0 and text == "None":
            if len(many) > 1:
                errs.invalid(path, many, "'None' must be the first and only value")
            continue
        addresses.ip(f"{path}[{i}]", text, errs)
        if (address := names.parse_ip(text)) is not None:
            parsed.append(address)
    wrong = len(errs) > known
    if len(many) > 2:
        errs.invalid(path, many, "may only hold up to 2 values")
    return None if wrong else parsed


def _load_balancer(obj: Object, spec: Object, before: Object, errs: Errors) -> None:
    kind = spec.get("type")
    ranges = spec.get("loadBalancerSourceRanges")
    notes = (obj.get("metadata") or {}).get("annotations") or {}
    path = "spec.LoadBalancerSourceRanges"
    if ranges:
        if kind != "LoadBalancer":
            errs.forbidden(path, "may only be used when `type` is 'LoadBalancer'")
        for i, text in enumerate(ranges):
            if text not in (before.get("loadBalancerSourceRanges") or ()):
                addresses.cidr(f"{path}[{i}]", text.strip(), errs)
    elif _RANGES in notes:
        where = f"metadata.annotations[{_RANGES}]"
        if kind != "LoadBalancer":
            errs.forbidden(where, "may only be used when `type` is 'LoadBalancer'")
        for text in notes[_RANGES].strip().split(","):
            if notes[_RANGES].strip() and names.parse_cidr(text.strip()) is None:
                errs.invalid(where, notes[_RANGES], names.BAD_CIDR)
    if "allocateLoadBalancerNodePorts" in spec and kind != "LoadBalancer":
        errs.forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'")
    if kind == "LoadBalancer" and "allocateLoadBalancerNodePorts" not in spec:
        errs.required("spec.allocateLoadBalancerNodePorts")
    if "loadBalancerClass" in spec:
        if kind != "LoadBalancer":
            errs.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
        else:
            errs.check("spec.loadBalancerClass", spec["loadBalancerClass"], names.qualified_name)


def _policies(spec: Object, errs: Errors) -> None:
    policy = spec.get("externalTrafficPolicy")
    if external(spec):
        if not policy:
            errs.required("spec.externalTrafficPolicy")
        elif policy not in ("Cluster", "Local"):
            errs.unsupported("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    elif policy:
        errs.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    health = spec.get("healthCheckNodePort") or 0
    if spec.get("type") == "LoadBalancer" and policy == "Local":
        if health < 0:
            errs.invalid("spec.healthCheckNodePort", health, "must be between 1 and 65535, inclusive")
    elif health:
        errs.invalid(
            "spec.healthCheckNodePort",
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
            errs.required("spec.internalTrafficPolicy")
    elif internal not in ("Cluster", "Local"):
        errs.unsupported("spec.internalTrafficPolicy", internal, ("Cluster", "Local"))


def service_update(obj: Object, old: Object, errs: Errors) -> None:
    """Rules of an update; runs before `service` on the new object."""
    spec: Object = obj.get("spec") or {}
    before: Object = old.get("spec") or {}
    if spec.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        _kept_addresses(spec, before, errs)
    health = before.get("healthCheckNodePort") or 0
    if _needs_health(spec) and _needs_health(before) and (spec.get("healthCheckNodePort") or 0) != health:
        errs.forbidden("spec.healthCheckNodePort", "field is immutable")
    now, then = spec.get("loadBalancerClass"), before.get("loadBalancerClass")
    both = spec.get("type") == "LoadBalancer" and before.get("type") == "LoadBalancer"
    if both and now != then:
        errs.invalid("spec.loadBalancerClass", now, "may not change once set")


def _needs_health(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _kept_addresses(spec: Object, before: Object, errs: Errors) -> None:
    """The primary address and family stay; a second one may come, and go with the policy. Headless stays headless."""
    now, then = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    if now == then == ["None"]:
        return
    if len(now) < len(then) and not now:
        errs.invalid("spec.clusterIPs[0]", now, "primary clusterIP can not be unset")
    _kept("clusterIP", now, then, spec, errs)
    if "None" not in (*now[:1], *then[:1]):
        _kept("ipFamily", spec.get("ipFamilies") or [], before.get("ipFamilies") or [], spec, errs)


def _kept(word: str, now: list[str], then: list[str], spec: Object, errs: Errors) -> None:
    path = "spec.clusterIPs" if word == "clusterIP" else "spec.ipFamilies"
    for i, (new, old) in enumerate(zip(now, then, strict=False)):
        if new != old and (i == 0 or len(now) == len(then)):
            errs.invalid(f"{path}[{i if word == 'clusterIP' else 0}]", now, "may not change once set")
    if len(now) == 1 < len(then) and spec.get("ipFamilyPolicy") != "SingleStack":
        told = f"must be set to 'SingleStack' when releasing the secondary {word}"
        errs.invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), told)


def load_balancer_status(obj: Object, old: Object, errs: Errors) -> None:
    """The status subresource (ValidateLoadBalancerStatus)."""
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    ingress = balancer.get("ingress") or []
    before = ((old.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    path = "status.loadBalancer.ingress"
    if ingress and (obj.get("spec") or {}).get("type") != "LoadBalancer" and ingress != before:
        errs.forbidden(path, "may only be used when `spec.type` is LoadBalancer")
        return
    for i, entry in enumerate(ingress):
        _ingress(entry, f"{path}[{i}]", before, errs)


def _ingress(entry: Object, path: str, before: list[Object], errs: Errors) -> None:
    address, mode, host = entry.get("ip"), entry.get("ipMode"), entry.get("hostname")
    if address and address not in [each.get("ip") for each in before]:
        addresses.ip(f"{path}.ip", address, errs)
    if address and mode is None:
        errs.required(f"{path}.ipMode", "must be specified when `ip` is set")
    elif not address and mode is not None:
        errs.forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set")
    elif mode is not None and mode not in ("VIP", "Proxy"):
        errs.unsupported(f"{path}.ipMode", mode, ("Proxy", "VIP"))
    if host:
        errs.check(f"{path}.hostname", host, names.dns_subdomain)
        if names.parse_ip(host) is not None:
            errs.invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address")
