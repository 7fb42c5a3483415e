"""EndpointSlice mirroring: hand-made Endpoints of a Service without selector, as the slices that proxies read.

Source: kubernetes/pkg/controller/endpointslicemirroring. Not mirrored: Endpoints with the skip-mirror label or of a
leader election, and those of Services that have a selector (or do not exist).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from switchboard.client import key_of
from switchboard.client.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.slice_endpoints import family_of, ports_key
from switchboard.controllers.slice_packing import MANAGED_BY, SERVICE_NAME, TRIGGER, Frame, Group, pack
from switchboard.objects.errors import NotFound

Object = dict[str, Any]

MANAGER: Final = "endpointslicemirroring-controller.k8s.io"
SKIP: Final = "endpointslice.kubernetes.io/skip-mirror"
_LEADER: Final = "control-plane.alpha.kubernetes.io/leader"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
MOST: Final = 1000  # addresses of a subset that are mirrored, into one slice


def wants_mirror(endpoints: Object | None, service: Object | None) -> bool:
    """Whether these Endpoints are to be mirrored."""
    if endpoints is None or service is None or (service.get("spec") or {}).get("selector"):
        return False
    meta = endpoints["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    return not meta.get("deletionTimestamp") and labels.get(SKIP) != "true" and _LEADER not in annotations


def mirrored(endpoints: Object) -> dict[Group, list[Object]]:
    """Endpoints' subsets as slice endpoints by (address type, ports)."""
    out: dict[Group, list[Object]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = ports_key([{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()])
        sources = (("addresses", True), ("notReadyAddresses", False))
        for entry, ready in [(entry, ready) for part, ready in sources for entry in subset.get(part) or ()][:MOST]:
            family = family_of(entry.get("ip", ""))
            if family is not None:
                out.setdefault((family, ports), []).append(_endpoint(entry, ready))
    return out


def _endpoint(entry: Object, ready: bool) -> Object:
    out: Object = {"addresses": [entry["ip"]], "conditions": {"ready": ready}}
    for part in ("hostname", "nodeName", "targetRef"):
        if entry.get(part):
            out[part] = entry[part]
    return out


def beyond(endpoints: Object) -> int:
    """How many addresses are not mirrored because their subset has too many."""
    subsets = endpoints.get("subsets") or ()
    counts = (len(subset.get("addresses") or ()) + len(subset.get("notReadyAddresses") or ()) for subset in subsets)
    return sum(max(count - MOST, 0) for count in counts)


def frame_of(endpoints: Object) -> Frame:
    """What the mirror's slices share: labels and annotations of the Endpoints."""
    meta = endpoints["metadata"]
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k not in (MANAGED_BY, SERVICE_NAME)}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in (_LAST_APPLIED, TRIGGER)}
    labels |= {MANAGED_BY: MANAGER, SERVICE_NAME: meta["name"]}
    return Frame(endpoints, f"{meta['name']}-", labels, annotations, MOST, exact=True)


def _mirrors_of(piece: Object) -> list[str]:
    meta = piece["metadata"]
    labels = meta.get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_NAME):
        return []
    return [key_of(meta.get("namespace"), labels[SERVICE_NAME])]


class MirroringController(Controller):
    """Keys are Endpoints."""

    name = "endpointslicemirroring"
    component = "endpoint-slice-mirroring-controller"
    main = ENDPOINTS
    needs = (SERVICES, ENDPOINTSLICES)
    workers: ClassVar[int] = 4

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        slices = self.of(ENDPOINTSLICES)
        slices.index("mirrors", _mirrors_of)
        slices.on_change(self._slice_changed)
        self.of(SERVICES).on_change(self._service_changed)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for piece in (old, new):
            if piece is not None:
                for key in _mirrors_of(piece):
                    self.loop.add(key)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None:
            if old["spec"].get("selector") == new["spec"].get("selector"):
                return
        elif (new or old or {})["spec"].get("selector"):
            return  # the ordinary Service is never mirrored
        meta = (new or old or {})["metadata"]
        self.loop.add(key_of(meta.get("namespace"), meta["name"]))

    async def reconcile(self, key: str) -> float | None:
        """The mirror of one Endpoints object."""
        endpoints, service = self.of(ENDPOINTS).get_key(key), self.of(SERVICES).get_key(key)
        existing = list(self.of(ENDPOINTSLICES).by("mirrors", key))
        if endpoints is None or not wants_mirror(endpoints, service):
            for piece in existing:
                await self._delete(piece)
            return None
        if over := beyond(endpoints):
            limit = f"A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset"
            self.say(endpoints, "Warning", "TooManyAddressesToMirror", f"{limit}. {over} addresses were skipped")
        writes = pack(frame_of(endpoints), ("IPv4", "IPv6"), existing, mirrored(endpoints), placeholders=False)
        for piece in writes.update:
            await self.cache.update(ENDPOINTSLICES, piece)
        for piece in writes.create:
            await self.cache.create(ENDPOINTSLICES, piece)
        for piece in writes.delete:
            await self._delete(piece)
        return None

    async def _delete(self, piece: Object) -> None:
        try:
            await self.cache.delete(ENDPOINTSLICES, piece["metadata"]["name"], piece["metadata"].get("namespace"))
        except NotFound:
            pass
