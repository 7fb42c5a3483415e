"""Who is told of changes, and when: subscriptions by prefix, and Watch, a subscription with a bounded buffer.

Rules: sinks run on the event loop, in revision order, and never block; all subscriptions of one prefix share one list
of events per commit, which nobody may change. A watcher whose buffer is full is cut off, never waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from enum import IntEnum

from switchboard.store.errors import Overflow
from switchboard.store.record import Event
from switchboard.store.table import table_name

_log = logging.getLogger(__name__)
Sink = Callable[[list[Event]], None]


class Stage(IntEnum):
    """When a subscriber is told."""

    WRITTEN = 0  # at once, before the disk has it
    COMMITTED = 1  # when it is durable
    LAST = 2  # then, after the others


class Subscription:
    """One sink for one prefix; `close` ends it (safe to call twice, and from within the sink)."""

    __slots__ = ("_feed", "ended", "prefix", "since", "sink", "undone")

    def __init__(
        self,
        feed: Feed,
        prefix: str,
        since: int,
        sink: Sink,
        ended: Callable[[], None] | None,
        undone: Callable[[], None] | None,
    ) -> None:
        self._feed = feed
        self.prefix = prefix
        self.since = since
        self.sink = sink
        self.ended = ended  # called once if the store closes while the subscription stands
        self.undone = undone  # called once if what was told has failed

    def close(self) -> None:
        """No more calls of the sink."""
        self._feed.drop(self)


class Feed:
    """All subscriptions of one stage, grouped by table and prefix so that a commit touches only those it concerns."""

    def __init__(self) -> None:
        self._by_table: dict[str, dict[str, dict[Subscription, None]]] = {}  # "" holds prefixes wider than a table

    def add(
        self,
        prefix: str,
        since: int,
        sink: Sink,
        ended: Callable[[], None] | None = None,
        undone: Callable[[], None] | None = None,
    ) -> Subscription:
        """Subscribe to every later change under `prefix`; events at or before `since` are left out."""
        subscription = Subscription(self, prefix, since, sink, ended, undone)
        prefixes = self._by_table.setdefault(table_name(prefix) or "", {})
        prefixes.setdefault(prefix, {})[subscription] = None
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Forget a subscription; nothing happens if it is gone already."""
        name = table_name(subscription.prefix) or ""
        prefixes = self._by_table.get(name, {})
        group = prefixes.get(subscription.prefix)
        if group is None or subscription not in group:
            return
        del group[subscription]
        if not group:
            del prefixes[subscription.prefix]
            if not prefixes:
                del self._by_table[name]

    def publish(self, events: list[Event]) -> bool:
        """Call every sink that has something among these new events; whether there was one."""
        if not self._by_table:
            return False
        told = False
        by_table: dict[str, list[Event]] = {}
        name, group = "", events
        for event in events:
            key = event.record.key
            if not name or not key.startswith(name):  # neighbours are often of one table
                name = table_name(key) or ""
                group = by_table.setdefault(name, [])
            group.append(event)
        for name, group in [*by_table.items(), ("", events)]:
            for prefix, subscriptions in list(self._by_table.get(name, {}).items()):
                wanted = group if prefix == name else [e for e in group if e.record.key.startswith(prefix)]
                if wanted:
                    told = True
                    _deliver(list(subscriptions), wanted)
        return told

    def close(self) -> None:
        """End every subscription, telling those who asked to know."""
        for subscription in list(self._all()):
            self.drop(subscription)
            if subscription.ended is not None:
                subscription.ended()

    def undo(self) -> None:
        """End every subscription, telling each that not all that it was told came to be."""
        for subscription in list(self._all()):
            self.drop(subscription)
            if subscription.undone is not None:
                subscription.undone()

    def _all(self) -> Iterator[Subscription]:
        for prefixes in self._by_table.values():
            for group in prefixes.values():
                yield from group


def _deliver(subscriptions: list[Subscription], events: list[Event]) -> None:
    last = events[-1].revision
    for subscription in subscriptions:
        since = subscription.since
        if since >= last:
            continue  # it asked to start in the future
        mine = events if since < events[0].revision else [e for e in events if e.revision > since]
        try:
            subscription.sink(mine)
        except Exception:
            # A faulty reader must not take the others, or the writer, with it.
            _log.exception("a sink of %s failed and is dropped", subscription.prefix)
            subscription.close()


class Watch:
    """Changes under a prefix as an async iterator of batches (`list[Event]`, never empty), for one reader.

    Raises Overflow once more than `limit` events wait; ends when closed or when the store closes.
    """

    __slots__ = ("_buffer", "_done", "_failure", "_limit", "_subscription", "_waiter")

    def __init__(self, replay: list[Event], limit: int) -> None:
        self._buffer = replay  # may be longer than limit: it is shared history, not a backlog
        self._limit = limit
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Overflow | None = None
        self._done = False
        self._subscription: Subscription | None = None

    def attach(self, subscription: Subscription) -> None:
        """The subscription that feeds this watch, closed together with it."""
        self._subscription = subscription

    def feed(self, events: list[Event]) -> None:
        """Take newly committed events (the sink of the subscription)."""
        if not self._buffer:
            self._buffer = events
        elif len(self._buffer) + len(events) > self._limit:
            self._failure = Overflow(f"a watch fell more than {self._limit} events behind")
            self.close()
            return
        else:
            self._buffer = self._buffer + events
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        """Stop watching and let the reader's loop end."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._done = True
        self._buffer = []
        self._wake()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> list[Event]:
        while not self._buffer:
            if self._failure is not None:
                raise self._failure
            if self._done:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        batch = self._buffer
        self._buffer = []
        return batch
