"""The IPAddress of a cluster IP comes back when somebody deletes it while its Service stands: without it the address
would be free for another Service.

Source: `pkg/registry/core/service/ipallocator/controller/repairip.go` (which looks every three minutes; here the
deletion is the reason to look).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from switchboard.api.identity import LOOPBACK
from switchboard.api.keyspace import decode
from switchboard.api.kinds.pools import ADDRESSES, addresses_of
from switchboard.api.metadata import now
from switchboard.store.errors import Changed, StoreError
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Event

_log = logging.getLogger(__name__)
Object = dict[str, Any]

_PAUSE = 0.2  # seconds: the Service of an address that it gives up itself is written by then


async def keep(app: App) -> None:
    """Put back what a Service still holds."""
    gone: dict[str, Object] = {}
    changed = asyncio.Event()

    def on_addresses(events: list[Event]) -> None:
        for event in events:
            if event.deleted:
                gone[event.record.key] = (decode(event.record.value).get("spec") or {}).get("parentRef") or {}
                changed.set()

    subscription = app.store.subscribe(ADDRESSES, app.store.revision, on_addresses)
    try:
        while True:
            await changed.wait()
            await asyncio.sleep(_PAUSE)
            changed.clear()
            looked = dict(gone)
            gone.clear()
            for key, parent in looked.items():
                await _put_back(app, key, parent)
    finally:
        subscription.close()


async def _put_back(app: App, key: str, parent: Object) -> None:
    space, name, address = parent.get("namespace") or "", parent.get("name") or "", key.removeprefix(ADDRESSES)
    holder = app.store.head(f"/core/services/{space}/{name}")
    if parent.get("resource") != "services" or parent.get("group") or holder is None:
        return
    service = decode(holder.value)
    if address not in addresses_of(service) or app.store.head(key) is not None:
        return
    try:
        await app.pools.put_address(address, space, name)
    except Changed:
        return  # somebody was faster
    except StoreError as error:
        _log.warning("the address %s of Service %s/%s cannot be put back: %s", address, space, name, error)
        return
    family = f"IPv{ipaddress.ip_address(address).version}"
    await _say(app, service, f"Cluster IP [{family}]: {address} is not allocated; repairing")


async def _say(app: App, service: Object, message: str) -> None:
    meta, moment = service["metadata"], now()
    about = {"apiVersion": "v1", "kind": "Service", "namespace": meta["namespace"], "name": meta["name"]}
    event = {
        "metadata": {"name": f"{meta['name']}.{time.time_ns():x}"},
        "involvedObject": {**about, "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
        "type": "Warning",
        "reason": "ClusterIPNotAllocated",
        "message": message,
        "source": {"component": "ipallocator-repair-controller"},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
    path, head = f"/api/v1/namespaces/{meta['namespace']}/events", {"content-type": "application/json"}
    result = app.handle_as(LOOPBACK, Request("POST", path, "", head, json.dumps(event).encode()))
    response = result if isinstance(result, Response) else await result
    if response.status != 201:
        _log.warning("no Event about Service %s/%s: %s", meta["namespace"], meta["name"], response.status)
