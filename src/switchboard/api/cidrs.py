"""The life of ServiceCIDRs: Ready once they are used, and gone only when no address needs them any more (KEP-1880).

Runs inside the API server because it decides by the same pools; it acts through the API like any controller.
Source: `pkg/controller/servicecidrs/servicecidrs_controller.go`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from typing import TYPE_CHECKING, Any

from switchboard.api.identity import LOOPBACK
from switchboard.api.keyspace import decode, split_key
from switchboard.api.kinds.pools import ADDRESSES, CIDRS, MANAGED_BY, MANAGER, Cidr
from switchboard.api.metadata import now
from switchboard.store.record import Event
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App

_log = logging.getLogger(__name__)
Object = dict[str, Any]

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_PATH = "/apis/networking.k8s.io/v1/servicecidrs/"
_MERGE = {"content-type": "application/merge-patch+json", "user-agent": "service-cidr-controller"}
_IN_USE = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


async def run(app: App) -> None:
    """Look at every ServiceCIDR whenever one changes, and whenever an address goes while one is on its way out."""
    changed = asyncio.Event()
    changed.set()

    def on_cidrs(_: list[Event]) -> None:
        changed.set()

    def on_addresses(events: list[Event]) -> None:
        if any(event.deleted for event in events) and _leaving(app):
            changed.set()

    revision = app.store.revision
    subscriptions = [
        app.store.subscribe(CIDRS, revision, on_cidrs),
        app.store.subscribe(ADDRESSES, revision, on_addresses),
    ]
    try:
        while True:
            await changed.wait()
            changed.clear()
            for obj in _all(app):
                await _reconcile(app, obj)
    finally:
        for subscription in subscriptions:
            subscription.close()


def _all(app: App) -> list[Object]:
    return [decode(record.value) for record in app.store.scan(CIDRS)]


def _addresses(app: App) -> list[str]:
    """The addresses of Services (others may have their reasons for an IPAddress, which hold no range)."""
    managed = f'"{MANAGED_BY}":"{MANAGER}"'.encode()
    return [split_key(record.key)[3] for record in app.store.scan(ADDRESSES) if managed in record.value]


def _leaving(app: App) -> bool:
    return any("deletionTimestamp" in obj["metadata"] for obj in _all(app))


def ready_condition(status: str, reason: str, message: str) -> Object:
    """The one condition of a ServiceCIDR."""
    return {"type": "Ready", "status": status, "lastTransitionTime": now(), "reason": reason, "message": message}


def in_use(obj: Object, others: list[Object], addresses: list[str]) -> bool:
    """Whether some address lies in a CIDR and in no other one that stays."""
    ranges = [Cidr(text) for text in (obj.get("spec") or {}).get("cidrs") or ()]
    staying = [
        Cidr(text)
        for other in others
        if other["metadata"]["name"] != obj["metadata"]["name"] and "deletionTimestamp" not in other["metadata"]
        for text in (other.get("spec") or {}).get("cidrs") or ()
    ]
    for text in addresses:
        address = ipaddress.ip_address(text)
        family, number = f"IPv{address.version}", int(address)
        held = any(r.family == family and r.holds(number) for r in ranges)
        if held and not any(r.family == family and r.holds(number) for r in staying):
            return True
    return False


async def _reconcile(app: App, obj: Object) -> None:
    meta = obj["metadata"]
    conditions = (obj.get("status") or {}).get("conditions") or []
    current: Object = next((c for c in conditions if c.get("type") == "Ready"), {})
    finalizers = list(meta.get("finalizers") or ())
    if "deletionTimestamp" in meta:
        if FINALIZER not in finalizers:
            return
        if in_use(obj, _all(app), _addresses(app)):
            if current.get("status") != "False":
                await _patch(app, meta["name"] + "/status", {"status": {"conditions": [_leaving_condition()]}})
            return
        await _patch(app, meta["name"], {"metadata": {"finalizers": [f for f in finalizers if f != FINALIZER]}})
        return
    if FINALIZER not in finalizers:
        await _patch(app, meta["name"], {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
    if current.get("status") != "True":
        ready = ready_condition("True", "", "Kubernetes Service CIDR is ready")
        await _patch(app, meta["name"] + "/status", {"status": {"conditions": [ready]}})


def _leaving_condition() -> Object:
    return ready_condition("False", "Terminating", _IN_USE)


async def _patch(app: App, target: str, body: Object) -> None:
    request = Request("PATCH", _PATH + target, "", dict(_MERGE), json.dumps(body).encode())
    result = app.handle_as(LOOPBACK, request)
    response = result if isinstance(result, Response) else await result
    if response.status not in (200, 404, 409):
        _log.warning("servicecidrs/%s could not be changed: %s", target, response.status)
