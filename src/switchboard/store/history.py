"""The recent changes in memory, bounded by number and by the bytes they alone keep alive.

Rules: events are in revision order; every change after `floor` is here, none at or before it.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from switchboard.store.errors import Compacted
from switchboard.store.record import Event

_REVISION = attrgetter("revision")
_EVENT_BYTES = 300  # an Event, the slots of a Record and the row of the list, roughly
CACHED = 512  # events that keep their shared encodings; older ones are encoded again for those who resume


def cost(event: Event) -> int:
    """Bytes that only the history keeps alive: the replaced value, and the last state of what is gone."""
    size = _EVENT_BYTES
    if event.previous is not None:
        size += event.previous.size
    if event.deleted:
        size += event.record.size
    return size


class History:
    """Events after `floor`, oldest first."""

    def __init__(self, floor: int, limit: int, limit_bytes: int) -> None:
        self.floor = floor
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._events: list[Event] = []
        self._start = 0  # events before this index are dropped; the list is cut now and then
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._events) - self._start

    def append(self, event: Event) -> None:
        """Add the newest change."""
        events = self._events
        events.append(event)
        self._bytes += cost(event)
        old = len(events) - CACHED - 1
        if old >= self._start:
            events[old].forget_cache()

    def trim(self) -> list[Event]:
        """Drop the oldest events beyond the bounds and return them; `floor` moves up to the last of them."""
        dropped: list[Event] = []
        events = self._events
        while len(events) - self._start > self._limit or (self._bytes > self._limit_bytes and len(self) > 1):
            event = events[self._start]
            dropped.append(event)
            self._bytes -= cost(event)
            self._start += 1
        if dropped:
            self.floor = dropped[-1].revision
            if self._start > 1024 and self._start * 4 > len(events):
                del events[: self._start]
                self._start = 0
        return dropped

    def since(self, revision: int) -> list[Event]:
        """Every change after `revision`, oldest first; raises Compacted if some of them are gone."""
        if revision < self.floor:
            raise Compacted(revision, self.floor)
        return self._events[bisect_right(self._events, revision, lo=self._start, key=_REVISION) :]
