"""What the API server does by itself while it runs: bookmarks for watches, expiry of Events, ServiceCIDRs,
and what has to be there always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from switchboard.api import availability, bootstrap, cidrs, flowcontrol, ipaddresses, serverlease
from switchboard.api.keyspace import decode, encode
from switchboard.api.metadata import parse_time
from switchboard.store.errors import Changed, StoreError

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Record

Job = Callable[["App"], Coroutine[Any, Any, None]]

_EVENTS = "/core/events/"
_EXPIRY_INTERVAL = 30.0
_BATCH = 200


async def bookmarks(app: App) -> None:
    """Tell the watchers who want it how far they are, once a minute, a few at a time."""
    while True:
        await asyncio.sleep(app.settings.bookmark_interval)
        for position, watcher in enumerate(list(app.watchers)):
            watcher.bookmark()
            if position % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)


async def age_snapshots(app: App) -> None:
    """Let lists of past states (pages, exact versions) end after one to two intervals, as when etcd is compacted.

    Watches resume over all the history that the store keeps, as they do over upstream's watch cache.
    """
    while True:
        seen = app.store.revision
        await asyncio.sleep(app.settings.snapshot_interval)
        app.oldest_snapshot = seen


async def expire_events(app: App) -> None:
    """Forget Events an hour after they were last written, as upstream's etcd lease does."""
    while True:
        await asyncio.sleep(_EXPIRY_INTERVAL)
        await expire(app)


async def expire(app: App) -> int:
    """One round; returns how many Events went."""
    import time

    limit = time.time() - app.settings.event_ttl
    gone = 0
    for record in app.store.scan(_EVENTS):
        if _written(record) < limit:
            gone += await _forget(app, record)
            if gone % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)
    return gone


def _written(record: Record) -> float:
    """When an Event was last written, as well as it says."""
    obj = decode(record.value)
    times = [obj["metadata"].get("creationTimestamp"), obj.get("lastTimestamp"), obj.get("eventTime")]
    times.append((obj.get("series") or {}).get("lastObservedTime"))
    found = []
    for text in times:
        try:
            found.append(parse_time(text).timestamp() if text else 0.0)
        except ValueError:
            continue
    return max(found, default=0.0)


async def _forget(app: App, record: Record) -> int:
    obj = decode(record.value)

    def seal(revision: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(revision)
        return encode(obj)

    try:
        await app.store.delete(record.key, seal, expect=record)
    except (Changed, StoreError):
        return 0
    return 1


JOBS: tuple[Job, ...] = (
    bookmarks,
    age_snapshots,
    expire_events,
    cidrs.run,
    ipaddresses.keep,
    bootstrap.keep,
    availability.run,
    flowcontrol.observe,
    serverlease.keep,
)
