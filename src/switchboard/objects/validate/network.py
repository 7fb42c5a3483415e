"""Rules for networking.k8s.io (pkg/apis/networking/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate import addresses, labels, metadata
from switchboard.objects.validate.fields import IMMUTABLE, Errors

Object = dict[str, Any]
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def ingress(obj: Object, errs: Errors) -> None:
    """networking.k8s.io/v1 Ingress."""
    spec = obj.get("spec") or {}
    rules = spec.get("rules") or []
    if not rules and spec.get("defaultBackend") is None:
        errs.required("spec", "either `defaultBackend` or `rules` must be specified")
    for i, tls in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(tls.get("hosts") or ()):
            check = names.wildcard_subdomain if "*" in host else names.dns_subdomain
            errs.check(f"spec.tls[{i}].hosts[{j}]", host, check)
    for i, rule in enumerate(rules):
        _rule(rule, f"spec.rules[{i}]", errs)
    if spec.get("defaultBackend") is not None:
        _backend(spec["defaultBackend"], "spec.defaultBackend", errs)
    if spec.get("ingressClassName") is not None:
        errs.check("spec.ingressClassName", spec["ingressClassName"], names.dns_subdomain)
    old_class = ((obj.get("metadata") or {}).get("annotations") or {}).get("kubernetes.io/ingress.class")
    if old_class is not None and spec.get("ingressClassName") is not None and old_class != spec["ingressClassName"]:
        errs.invalid(
            "metadata.annotations[kubernetes.io/ingress.class]",
            old_class,
            "must match `ingressClassName` when both are specified",
        )


def _rule(rule: Object, path: str, errs: Errors) -> None:
    host = rule.get("host")
    if host:
        if names.parse_ip(host) is not None:
            errs.invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
        elif "*" in host:
            errs.check(f"{path}.host", host, names.wildcard_subdomain)
        else:
            errs.check(f"{path}.host", host, names.dns_subdomain)
    http = rule.get("http")
    if http is None:
        return
    if not http.get("paths"):
        errs.required(f"{path}.http.paths")
    for i, entry in enumerate(http.get("paths") or ()):
        _path(entry, f"{path}.http.paths[{i}]", errs)


def _path(entry: Object, path: str, errs: Errors) -> None:
    kind, where = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        errs.required(f"{path}.pathType", "pathType must be specified")
    elif kind not in _PATH_TYPES:
        errs.unsupported(f"{path}.pathType", kind, _PATH_TYPES)
    elif kind != "ImplementationSpecific":
        if not where.startswith("/"):
            errs.invalid(f"{path}.path", where, "must be an absolute path")
        for bad in ("//", "/./", "/../", "%2f", "%2F"):
            if bad in where:
                errs.invalid(f"{path}.path", where, f"must not contain '{bad}'")
        for bad in ("/..", "/."):
            if where.endswith(bad):
                errs.invalid(f"{path}.path", where, f"cannot end with '{bad}'")
    elif where and not where.startswith("/"):
        errs.invalid(f"{path}.path", where, "must be an absolute path")
    _backend(entry.get("backend") or {}, f"{path}.backend", errs)


def _backend(backend: Object, path: str, errs: Errors) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if resource is not None and service is not None:
        errs.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        for name in ("kind", "name"):
            if not resource.get(name):
                errs.required(f"{path}.resource.{name}")
    elif service is None:
        errs.required(path)
    else:
        if not service.get("name"):
            errs.required(f"{path}.service.name")
        else:
            errs.check(f"{path}.service.name", service["name"], names.dns_label)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            errs.invalid(path, "", "cannot set both port name & port number")
        elif port.get("name"):
            errs.check(f"{path}.service.port.name", port["name"], names.port_name)
        elif port.get("number"):
            errs.port(f"{path}.service.port.number", port["number"])
        else:
            errs.required(path, "port name or number is required")


def ingress_status(obj: Object, old: Object, errs: Errors) -> None:
    """Addresses of an Ingress."""
    for i, entry in enumerate(((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()):
        path = f"status.loadBalancer.ingress[{i}]"
        if entry.get("ip"):
            addresses.ip(f"{path}.ip", entry["ip"], errs)
        if entry.get("hostname"):
            errs.check(f"{path}.hostname", entry["hostname"], names.dns_subdomain)
            if names.parse_ip(entry["hostname"]) is not None:
                errs.invalid(f"{path}.hostname", entry["hostname"], "must be a DNS name, not an IP address")


def ingress_class(obj: Object, errs: Errors) -> None:
    """networking.k8s.io/v1 IngressClass."""
    spec = obj.get("spec") or {}
    controller = spec.get("controller") or ""
    if len(controller) > 250:
        errs.too_long("spec.controller", 250)
    if not controller:
        errs.required("spec.controller")
    else:
        errs.check("spec.controller", controller, names.domain_prefixed_path)
    parameters = spec.get("parameters")
    if parameters is None:
        return
    path, scope = "spec.parameters", parameters.get("scope")
    for name in ("kind", "name"):
        if not parameters.get(name):
            errs.required(f"{path}.{name}")
    if scope is None:
        errs.required(f"{path}.scope")
    elif scope not in ("Cluster", "Namespace"):
        errs.unsupported(f"{path}.scope", scope, ("Cluster", "Namespace"))
    elif scope == "Namespace" and not parameters.get("namespace"):
        errs.required(f"{path}.namespace", '`parameters.scope` is set to "Namespace"')
    elif scope == "Cluster" and parameters.get("namespace"):
        errs.forbidden(f"{path}.namespace", '`parameters.scope` is set to "Cluster"')


def ingress_class_update(obj: Object, old: Object, errs: Errors) -> None:
    """The controller of a class stays."""
    now, then = (obj.get("spec") or {}).get("controller"), (old.get("spec") or {}).get("controller")
    if now != then:
        errs.invalid("spec.controller", now, IMMUTABLE)


def network_policy(obj: Object, errs: Errors) -> None:
    """networking.k8s.io/v1 NetworkPolicy."""
    spec = obj.get("spec") or {}
    labels.selector(spec.get("podSelector"), "spec.podSelector", errs)
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                _policy_port(port, f"{path}.ports[{j}]", errs)
            for j, peer in enumerate(rule.get(peers) or ()):
                _peer(peer, f"{path}.{peers}[{j}]", errs)
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        errs.invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes")
        return
    for i, kind in enumerate(kinds):
        if kind not in ("Ingress", "Egress"):
            errs.unsupported(f"spec.policyTypes[{i}]", kind, ("Egress", "Ingress"))


def _policy_port(port: Object, path: str, errs: Errors) -> None:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in ("TCP", "UDP", "SCTP"):
        errs.unsupported(f"{path}.protocol", protocol, ("SCTP", "TCP", "UDP"))
    if number is None:
        if end is not None:
            errs.invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified")
        return
    if isinstance(number, int):
        errs.port(f"{path}.port", number)
        if end is not None:
            if end < number:
                errs.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")
            errs.port(f"{path}.endPort", end)
    else:
        if end is not None:
            errs.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
        errs.check(f"{path}.port", number, names.port_name)


def _peer(peer: Object, path: str, errs: Errors) -> None:
    kinds = 0
    for name in ("podSelector", "namespaceSelector"):
        if name in peer:
            kinds += 1
            labels.selector(peer[name], f"{path}.{name}", errs)
    block = peer.get("ipBlock")
    if block is not None:
        if not block.get("cidr"):
            errs.required(f"{path}.ipBlock.cidr")
        else:
            network = names.parse_cidr(block["cidr"])
            addresses.cidr(f"{path}.ipBlock.cidr", block["cidr"], errs)
            for i, text in enumerate(block.get("except") or ()):
                here = f"{path}.ipBlock.except[{i}]"
                inner = names.parse_cidr(text)
                addresses.cidr(here, text, errs)
                if inner is None or network is None:
                    continue
                inside = inner.version == network.version and inner.subnet_of(network) and inner != network  # type: ignore[arg-type]
                if not inside:
                    errs.invalid(here, text, "must be a strict subset of `cidr`")
        if kinds:
            errs.forbidden(path, "may not specify both ipBlock and another peer")
    elif not kinds:
        errs.required(path, "must specify a peer")


def service_cidr(obj: Object, errs: Errors) -> None:
    """networking.k8s.io/v1 ServiceCIDR."""
    networks = (obj.get("spec") or {}).get("cidrs") or []
    if not networks:
        errs.required("spec.cidrs", "at least one CIDR required")
        return
    if len(networks) > 2:
        errs.invalid("spec.cidrs", {"CIDRs": networks}, "may only hold up to 2 values")
        return
    parsed = [names.parse_cidr(text) for text in networks]
    if len(parsed) == 2 and {network and network.version for network in parsed} != {4, 6}:
        told = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errs.invalid("spec.cidrs", {"CIDRs": networks}, told)
        return
    for i, text in enumerate(networks):
        errs.check(f"spec.cidrs[{i}]", text, names.canonical_cidr)


def service_cidr_update(obj: Object, old: Object, errs: Errors) -> None:
    """A single-stack range may become dual-stack, nothing else changes."""
    now, then = (obj.get("spec") or {}).get("cidrs") or [], (old.get("spec") or {}).get("cidrs") or []
    if len(now) != len(then) and (len(then), len(now)) != (1, 2):
        errs.invalid("spec.cidrs", now, IMMUTABLE)
        return
    for i, (new, before) in enumerate(zip(now, then, strict=False)):
        if new != before:
            errs.invalid(f"spec.cidrs[{i}]", new, IMMUTABLE)


def ip_address(obj: Object, errs: Errors) -> None:
    """networking.k8s.io/v1 IPAddress."""
    parent = (obj.get("spec") or {}).get("parentRef")
    path = "spec.parentRef"
    if parent is None:
        errs.required(path)
        return
    if parent.get("group"):
        errs.check(f"{path}.group", parent["group"], names.dns_subdomain)
    for name in ("resource", "name", "namespace"):
        if parent.get(name):
            errs.check(f"{path}.{name}", parent[name], metadata.path_segment)
        elif name != "namespace":
            errs.required(f"{path}.{name}")


def ip_address_update(obj: Object, old: Object, errs: Errors) -> None:
    """The parent of an address stays."""
    now, then = (obj.get("spec") or {}).get("parentRef"), (old.get("spec") or {}).get("parentRef")
    if now != then:
        errs.invalid("spec.parentRef", now, IMMUTABLE)
