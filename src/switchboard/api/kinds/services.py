"""Services: families, cluster IPs, node ports, and what a change of type clears.

The order and the words are upstream's: `pkg/registry/core/service/storage/{alloc,storage}.go` and `strategy.go`
(patchAllocatedValues, normalizeClusterIPs, dropTypeDependentFields).
"""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import TYPE_CHECKING, Any

from switchboard.api.claims import Claims
from switchboard.api.kinds.base import Object, Strategy
from switchboard.api.kinds.pools import NODE_PORT_TYPES, PoolError, Pools, addresses_of, drop, node_ports_of, ports_of
from switchboard.objects.errors import FieldError, InternalError, Invalid
from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.service import address_fields

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.api.call import Call

ENDPOINTS = "/core/endpoints/"
_SINGLE, _PREFER, _REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}


class ServiceStrategy(Strategy):
    """Strategy of core/v1 Services."""

    create_on_update = True
    returns_deleted = True

    def claim(self, call: Call, obj: Object, old: Object | None, claims: Claims) -> None:
        """Families, addresses, ports for a create or an update."""
        pools, spec = call.app.pools, obj["spec"]
        before = old.get("spec", {}) if old is not None else None
        if before is not None:
            keep_allocated(spec, before)
        normalise_ips(spec, before)
        if spec.get("type", "ClusterIP") not in ("ClusterIP", "ExternalName", *NODE_PORT_TYPES):
            return  # validation will say what is wrong
        errors = Errors()
        if _needs_ip(spec):
            address_fields(spec, errors)  # what is said here is all that is said: the rest would not make sense
        found = errors or init_families(spec, before, pools.families)
        if found:
            raise Invalid.of("Service", "", obj["metadata"].get("name") or "", found)
        _claim_addresses(pools, obj, before, claims)
        _claim_ports(pools, obj, before, claims)

    def prepare_create(self, call: Call, obj: Object) -> None:
        """An ExternalName has no internal traffic."""
        super().prepare_create(call, obj)
        if obj["spec"].get("type") == "ExternalName":
            obj["spec"].pop("internalTrafficPolicy", None)

    def prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        """Status stays, except that leaving LoadBalancer clears it; fields that belong to the old type go."""
        super().prepare_update(call, obj, old)
        drop_type_fields(obj["spec"], old.get("spec", {}))
        if obj["spec"].get("type") != "LoadBalancer" and old.get("spec", {}).get("type") == "LoadBalancer":
            obj["status"] = {**(obj.get("status") or {}), "loadBalancer": {}}

    def deleting(self, app: App, obj: Object) -> None:
        """The addresses go with the Service, in the same commit; so do its Endpoints, as upstream does."""
        for address in addresses_of(obj):
            app.pools.drop_address(address)
        meta = obj["metadata"]
        drop(app, f"{ENDPOINTS}{meta['namespace']}/{meta['name']}")

    def deleted(self, app: App, obj: Object) -> None:
        """Ports are free again."""
        app.pools.free_ports(ports_of(obj))


def _needs_ip(spec: Object) -> bool:
    return spec.get("type") != "ExternalName"


def _needs_node_port(spec: Object) -> bool:
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def _needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _holds_health_port(spec: Object) -> bool:
    return _needs_health_port(spec) and bool(spec.get("healthCheckNodePort"))


def keep_allocated(spec: Object, old: Object) -> None:
    """What was allocated and the client left out stays (so that a PUT of a manifest is idempotent)."""
    if _needs_ip(old) and _needs_ip(spec):
        if not spec.get("clusterIP") and old.get("clusterIP"):
            spec["clusterIP"] = old["clusterIP"]
        if not spec.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP") and old.get("clusterIPs"):
            spec["clusterIPs"] = list(old["clusterIPs"])
    if old.get("type") in NODE_PORT_TYPES and _needs_node_port(spec):
        _keep_node_ports(spec, old)
    if _holds_health_port(old) and _needs_health_port(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old["healthCheckNodePort"]


def _keep_node_ports(spec: Object, old: Object) -> None:
    before, after = old.get("ports") or (), spec.get("ports") or ()
    used = {p.get("nodePort") for p in before} & {p.get("nodePort") for p in after}
    by_name = {p.get("name", ""): p.get("nodePort") for p in before}
    for port in after:
        if not port.get("nodePort"):
            known = by_name.get(port.get("name", ""))
            if known and known not in used:
                port["nodePort"] = known  # as may another that shared it: TCP and UDP of one port


def normalise_ips(spec: Object, old: Object | None) -> None:
    """clusterIP and clusterIPs agree again after a client changed only one of them."""
    ip, ips = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if old is None:
        if ip and not ips:
            spec["clusterIPs"] = [ip]
        return
    old_ip, old_ips = old.get("clusterIP", ""), old.get("clusterIPs") or []
    if ip != old_ip and ips == old_ips:
        if ip:
            spec["clusterIPs"] = [ip]
        else:
            spec.pop("clusterIPs", None)
    elif ip == old_ip and ips != old_ips:
        if not ips:
            spec.pop("clusterIP", None)
        elif len(ips) == 1 and ips[0] != old_ip and not old_ips:
            spec["clusterIP"] = ips[0]


def _invalid(field: str, value: str, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, f"Invalid value: {value}: {why}")


def _quote(value: Any) -> str:
    return f'"{value}"'


def _same_dual_stack(spec: Object, old: Object | None) -> bool:
    """A PreferDualStack Service is not up- or downgraded behind its back."""
    if old is None or spec.get("ipFamilyPolicy") != _PREFER or old.get("ipFamilyPolicy") != _PREFER:
        return False
    if spec.get("type") != old.get("type"):
        return False
    return spec.get("clusterIPs") == old.get("clusterIPs") and spec.get("ipFamilies") == old.get("ipFamilies")


def init_families(spec: Object, old: Object | None, configured: list[str]) -> list[FieldError]:
    """Fill in ipFamilyPolicy and ipFamilies; the errors in upstream's order and words."""
    if not _needs_ip(spec) or _same_dual_stack(spec, old):
        return []
    headless = spec.get("clusterIP") == "None"
    selectorless = not spec.get("selector")
    if spec.get("ipFamilyPolicy") is None:
        inherited = (old or {}).get("ipFamilyPolicy")
        spec["ipFamilyPolicy"] = inherited or (_REQUIRE if headless and selectorless else _SINGLE)
    errors = _match_policy(spec, old)
    families: list[str] = list(spec.get("ipFamilies") or ())
    ips = spec.get("clusterIPs") or []
    for i, ip in enumerate(ips):
        if ip == "None":
            break
        family = f"IPv{ipaddress.ip_address(ip).version}"
        if i >= len(families):
            if family not in configured:
                listed = "[" + ",".join(_quote(x) for x in ips) + "]"
                errors.append(_invalid(f"spec.clusterIPs[{i}]", listed, f"{family} is not configured on this cluster"))
            else:
                families.append(family)
    if errors:
        return errors
    single = spec["ipFamilyPolicy"] == _SINGLE
    if headless and selectorless:
        families = families or [configured[0]]
        if len(families) < 2 and not single:
            families.append(_OTHER[families[0]])
        spec["ipFamilies"] = families
        return []
    if spec["ipFamilyPolicy"] == _REQUIRE and len(configured) < 2:
        why = "this cluster is not configured for dual-stack services"
        errors.append(_invalid("spec.ipFamilyPolicy", _quote(_REQUIRE), why))
    for i, family in enumerate(families):
        if family not in configured:
            errors.append(_invalid(f"spec.ipFamilies[{i}]", _quote(family), "not configured on this cluster"))
    families = families or [configured[0]]
    if not single and len(families) == 1 and len(configured) == 2:
        families.append(_OTHER[families[0]])
    spec["ipFamilies"] = families
    return errors


def _match_policy(spec: Object, old: Object | None) -> list[FieldError]:
    """The policy against the number of addresses and families."""
    errors: list[FieldError] = []
    policy = spec["ipFamilyPolicy"]
    if old is not None:
        _shrink(spec, old, policy, errors)
    if policy == _SINGLE:
        for name, word in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
            if len(spec.get(name) or ()) == 2:
                why = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {word} are specified"
                errors.append(_invalid("spec.ipFamilyPolicy", _quote(policy), why))
    return errors


def _shrink(spec: Object, old: Object, policy: str, errors: list[FieldError]) -> None:
    for name, word in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        mine, before = spec.get(name) or [], old.get(name) or []
        if policy == _SINGLE:
            if mine == before and len(mine) > 1:
                spec[name] = mine[:1]
        elif mine and len(before) == 2 and len(mine) == 1:
            why = f"must be 'SingleStack' to release the secondary {word}"
            errors.append(_invalid("spec.ipFamilyPolicy", _quote(policy), why))


def _claim_addresses(pools: Pools, obj: Object, old: Object | None, claims: Claims) -> None:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        if old is not None and _needs_ip(old):
            _release_later(pools, addresses_of({"spec": old}), claims)
        return
    held = addresses_of({"spec": old}) if old is not None and _needs_ip(old) else []
    if (spec.get("clusterIPs") or [""])[0] == "None" or (old and (old.get("clusterIPs") or [""])[0] == "None"):
        return
    if old is not None and _needs_ip(old) and _same_dual_stack(spec, old):
        return
    families = spec.get("ipFamilies") or []
    ips = list(spec.get("clusterIPs") or ())[: len(families)]
    ips += [""] * (len(families) - len(ips))
    wanted = list(ips)
    for i, family in enumerate(families):
        if ips[i] and ips[i] in held:
            continue
        if held and i == 0:
            continue  # the first address may not change: validation says so
        try:
            ips[i] = pools.take_address(family, ips[i], obj, claims)
        except PoolError as e:
            listed = "[" + ",".join(_quote(x) for x in wanted) + "]"
            error = _invalid("spec.clusterIPs", listed, f"failed to allocate IP {wanted[i]}: {e}")
            raise Invalid.of("Service", "", obj["metadata"].get("name") or "", [error]) from None
    if ips:
        spec["clusterIPs"], spec["clusterIP"] = ips, ips[0]
    _release_later(pools, [ip for ip in held[1:] if ip not in ips], claims)


def _release_later(pools: Pools, addresses: list[str], claims: Claims) -> None:
    for address in addresses:
        claims.before_store(partial(pools.drop_address, address))


def _claim_ports(pools: Pools, obj: Object, old: Object | None, claims: Claims) -> None:
    spec = obj["spec"]
    held = ports_of({"spec": old}) if old is not None else set()
    if spec.get("type") in NODE_PORT_TYPES:
        if old is None:
            _first_node_ports(pools, obj, claims)
        else:
            _next_node_ports(pools, obj, old, claims)
    if _needs_health_port(spec) and not (old and _holds_health_port(old)):
        _claim_health_port(pools, spec, claims)
    if old is not None and _holds_health_port(old) and not _needs_health_port(spec):
        _drop_same(spec, old, "healthCheckNodePort")
    if held:
        claims.on_success(lambda: pools.free_ports(held - ports_of(obj)))


def _claim_health_port(pools: Pools, spec: Object, claims: Claims) -> None:
    wanted = spec.get("healthCheckNodePort") or 0
    try:
        spec["healthCheckNodePort"] = pools.take_port(wanted, claims)
    except PoolError as e:
        what = f"requested HealthCheck NodePort {wanted}" if wanted else "a HealthCheck NodePort 0"
        raise InternalError(f"Internal error occurred: failed to allocate {what}: {e}") from None


def _first_node_ports(pools: Pools, obj: Object, claims: Claims) -> None:
    """Node ports of a new Service: one number serves all protocols of a service port, and no other service port."""
    ports, allocate = obj["spec"].get("ports") or (), _needs_node_port(obj["spec"])
    asked: dict[int, int] = {}
    for port in ports:
        if port.get("nodePort"):
            asked.setdefault(port.get("port", 0), port["nodePort"])
    had: dict[int, int] = {}
    for i, port in enumerate(ports):
        wanted, number = port.get("nodePort") or 0, port.get("port", 0)
        if not wanted and not allocate:
            continue
        if number not in had:
            port["nodePort"] = had[number] = _take(pools, obj, i, asked.get(number, 0), claims)
        elif not wanted:
            port["nodePort"] = had[number]
        elif wanted != had[number]:
            _take(pools, obj, i, wanted, claims)


def _next_node_ports(pools: Pools, obj: Object, old: Object, claims: Claims) -> None:
    """Node ports of a changed Service: those it had, those it asks for, and a new one for each port without."""
    allocate = _needs_node_port(obj["spec"])
    mine = node_ports_of(old)
    for i, port in enumerate(obj["spec"].get("ports") or ()):
        wanted = port.get("nodePort") or 0
        if wanted in mine or not (wanted or allocate):
            continue
        port["nodePort"] = _take(pools, obj, i, wanted, claims)
        mine.add(port["nodePort"])


def _take(pools: Pools, obj: Object, i: int, number: int, claims: Claims) -> int:
    try:
        return pools.take_port(number, claims)
    except PoolError as e:
        if not number:
            raise InternalError(f"Internal error occurred: failed to allocate a nodePort: {e}") from None
        error = _invalid(f"spec.ports[{i}].nodePort", str(number), str(e))
        raise Invalid.of("Service", "", obj["metadata"].get("name") or "", [error]) from None


def _drop_same(spec: Object, old: Object, *names: str) -> None:
    for name in names:
        if name in spec and spec[name] == old.get(name):
            del spec[name]


def drop_type_fields(spec: Object, old: Object) -> None:
    """A change of type drops the fields that only the old type has, where the client left them as they were."""
    if _needs_ip(old) and not _needs_ip(spec):
        _drop_same(spec, old, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if old.get("type") in NODE_PORT_TYPES and spec.get("type") not in NODE_PORT_TYPES:
        before = {p.get("nodePort") for p in old.get("ports") or ()}
        after = {p.get("nodePort") for p in spec.get("ports") or () if p.get("nodePort")}
        if after and after <= before:
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
    if _needs_health_port(old) and not _needs_health_port(spec):
        _drop_same(spec, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _drop_same(spec, old, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    external = spec.get("type") in NODE_PORT_TYPES or spec.get("externalIPs")
    if (old.get("type") in NODE_PORT_TYPES or old.get("externalIPs")) and not external:
        _drop_same(spec, old, "externalTrafficPolicy")
    if old.get("sessionAffinity") == "ClientIP" and spec.get("sessionAffinity") != "ClientIP":
        _drop_same(spec, old, "sessionAffinityConfig")
