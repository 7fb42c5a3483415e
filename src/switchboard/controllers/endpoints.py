"""The Endpoints controller: the v1 object that older clients read, one for each Service with a selector.

Source: pkg/controller/endpoint/endpoints_controller.go, pkg/api/v1/endpoints/util.go. Pods that terminate are
not in it (unless publishNotReadyAddresses); more than 1000 addresses are cut off and an annotation says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from switchboard.client import key_of, split_key
from switchboard.client.resources import ENDPOINTS, PODS, SERVICES
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.endpointslice import trigger_time
from switchboard.controllers.pods import is_ready
from switchboard.controllers.slice_endpoints import belongs, families, family_of, pod_addresses, ports_of
from switchboard.controllers.slice_packing import HEADLESS, TRIGGER
from switchboard.objects.errors import AlreadyExists, NotFound

Object = dict[str, Any]

MANAGED_BY: Final = "endpoints.kubernetes.io/managed-by"
MANAGER: Final = "endpoint-controller"
OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"
CAPACITY: Final = 1000
_LAG: Final = 0.02  # seconds: no packet waits for this object, so slices of the same change are written first


def subsets(service: Object, pods: Iterable[Object]) -> tuple[list[Object], bool]:
    """The subsets of a Service's Endpoints, addresses grouped by the ports they have; and whether some were cut off."""
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    family = families(service)[0]
    groups: dict[Any, tuple[list[Object], list[Object]]] = {}
    for pod in pods:
        if not belongs(pod, terminating=publish):
            continue
        ip = next((ip for ip in pod_addresses(pod) if family_of(ip) == family), None)
        ports = ports_of(service, pod)
        if ip is None or (service["spec"].get("ports") and not ports):
            continue
        groups.setdefault(ports, ([], []))[0 if publish or is_ready(pod) else 1].append(_address(service, pod, ip))
    cut = _truncate(groups)
    return [_subset(ports, *groups[ports]) for ports in sorted(groups) if any(groups[ports])], cut


def _address(service: Object, pod: Object, ip: str) -> Object:
    meta, spec = pod["metadata"], pod["spec"]
    out: Object = {"ip": ip}
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        out["hostname"] = spec["hostname"]
    if spec.get("nodeName"):
        out["nodeName"] = spec["nodeName"]
    ref = {"kind": "Pod", "namespace": meta.get("namespace"), "name": meta["name"], "uid": meta.get("uid")}
    return out | {"targetRef": ref}


def _truncate(groups: dict[Any, tuple[list[Object], list[Object]]]) -> bool:
    """Keep 1000 addresses, ready ones first; of what does not all fit, the same share of every subset."""
    for group in groups.values():
        for addresses in group:
            addresses.sort(key=lambda address: (address["ip"], address["targetRef"].get("uid") or ""))
    ready, others = (sum(len(group[which]) for group in groups.values()) for which in (0, 1))
    if ready + others <= CAPACITY:
        return False
    which, total, room = (0, ready, CAPACITY) if ready > CAPACITY else (1, others, CAPACITY - ready)
    left = room
    for ports in sorted(groups):
        group = groups[ports]
        share = min(math.ceil(len(group[which]) / total * room), left)
        del group[which][share:]
        left -= len(group[which])
        if which == 0:
            group[1].clear()
    return True


def _subset(ports: Any, ready: list[Object], not_ready: list[Object]) -> Object:
    out: Object = {}
    if ready:
        out["addresses"] = ready
    if not_ready:
        out["notReadyAddresses"] = not_ready
    if ports:
        out["ports"] = [{key: value for key, value in port if (key, value) != ("name", "")} for port in ports]
    return out


def wanted(service: Object, found: list[Object], cut: bool, trigger: str | None, current: Object | None) -> Object:
    """The Endpoints object that there should be; what others put on it stays."""
    meta = dict(current["metadata"]) if current else {"name": service["metadata"]["name"]}
    meta["namespace"] = service["metadata"].get("namespace")
    labels = dict(service["metadata"].get("labels") or {})
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    meta["labels"] = labels | {MANAGED_BY: MANAGER}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in (OVER_CAPACITY, TRIGGER)}
    if cut:
        annotations[OVER_CAPACITY] = "truncated"
    if trigger:
        annotations[TRIGGER] = trigger
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    out = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta}
    return out | ({"subsets": found} if found else {})


def differs(current: Object, new: Object) -> bool:
    """Whether a write is worth it: anything but the trigger time."""

    def essence(obj: Object) -> tuple[Any, Any]:
        meta = obj["metadata"]
        return meta.get("labels") or {}, {k: v for k, v in (meta.get("annotations") or {}).items() if k != TRIGGER}

    if essence(current) != essence(new):
        return True
    if current.get("subsets") == new.get("subsets"):
        return False  # the ordinary case and the cheap one: what we wrote comes back in the same order
    return bool(_canonical(current.get("subsets")) != _canonical(new.get("subsets")))


def _canonical(found: Iterable[Object] | None) -> Any:
    """Subsets without regard to order or to what the API fills in."""
    return sorted(
        (
            sorted(_flat(p) for p in subset.get("ports") or ()),
            sorted(_flat(a) for a in subset.get("addresses") or ()),
            sorted(_flat(a) for a in subset.get("notReadyAddresses") or ()),
        )
        for subset in found or ()
    )


def _flat(entry: Object) -> tuple[tuple[str, str], ...]:
    out = []
    for key, value in entry.items():
        if value is None:
            continue
        out.append((key, str(_flat(value)) if isinstance(value, dict) else str(value)))
    return tuple(sorted(out))


class EndpointsController(Controller):
    """Keys are Services."""

    name = "endpoint"
    main = SERVICES
    needs = (PODS, ENDPOINTS)
    workers: ClassVar[int] = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._selection = context.selection
        self.of(PODS).on_change(self._pod_changed, late=True)
        self.of(ENDPOINTS).on_change(self._endpoints_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        for key in self._selection.concerned(old, new):
            self.loop.add_after(key, _LAG)

    def _endpoints_changed(self, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {})["metadata"]
        self.loop.add(key_of(meta.get("namespace"), meta["name"]))

    async def run(self) -> None:
        """As every controller, and first look at what a deleted Service left behind while nobody watched."""
        await self.cache.synced(SERVICES, ENDPOINTS)
        for key in list(self.of(ENDPOINTS).keys()):
            self.loop.add(key)
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        """The Endpoints of one Service."""
        service, current = self.of(SERVICES).get_key(key), self.of(ENDPOINTS).get_key(key)
        if service is None:
            await self._remove(key, current)
            return None
        spec = service["spec"]
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            return None
        pods = list(self._selection.pods(service))
        found, cut = subsets(service, pods)
        trigger = trigger_time(service, pods, [current] if current else [])
        new = wanted(service, found, cut, trigger, current)
        if current is None:
            try:
                await self.cache.create(ENDPOINTS, new)
            except AlreadyExists:
                return 0.1  # the copy has yet to see it
        elif differs(current, new):
            await self.cache.update(ENDPOINTS, new)
        return None

    async def _remove(self, key: str, current: Object | None) -> None:
        """The Service is gone: so are its Endpoints, if they are ours (hand-made ones belong to whoever made them)."""
        if current is None or (current["metadata"].get("labels") or {}).get(MANAGED_BY) != MANAGER:
            return
        space, name = split_key(key)
        uid = current["metadata"].get("uid")
        try:
            await self.cache.delete(ENDPOINTS, name, space, options={"preconditions": {"uid": uid}} if uid else None)
        except NotFound:
            pass
