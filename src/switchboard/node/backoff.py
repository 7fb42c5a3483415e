"""How long to wait before a container is started, or an image pulled, once more. Pure: times are given.

10 s, doubled with each failure, at most 300 s, forgotten after ten quiet minutes; the first retry comes at once
(client-go/util/flowcontrol/backoff.go as kubelet uses it).
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL, LIMIT = 10.0, 300.0


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float


class Backoff:
    """Delays by key."""

    def __init__(self, initial: float = INITIAL, limit: float = LIMIT) -> None:
        self._initial, self._limit = initial, limit
        self._entries: dict[str, _Entry] = {}

    def delay(self, key: str) -> float:
        """The delay that stands now, 0 before the first failure."""
        entry = self._entries.get(key)
        return entry.delay if entry else 0.0

    def left(self, key: str, failed: float, now: float) -> float:
        """Seconds still to wait after a failure at `failed`; 0 to go on."""
        entry = self._entries.get(key)
        if entry is None or failed - entry.updated > 2 * self._limit:
            return 0.0
        return max(0.0, failed + entry.delay - now)

    def next(self, key: str, now: float, failed: float | None = None) -> None:
        """Note that what failed at `failed` is tried again now: the next wait is twice as long, or the first one again
        when it went well for long enough before it failed.
        """
        entry = self._entries.get(key)
        if entry is None or (now if failed is None else failed) - entry.updated > 2 * self._limit:
            self._entries[key] = _Entry(self._initial, now)
        else:
            self._entries[key] = _Entry(min(entry.delay * 2, self._limit), now)

    def undo(self, key: str, entry: _Entry | None) -> None:
        """Take back a `next`: what failed was somebody else's fault."""
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry

    def entry(self, key: str) -> _Entry | None:
        """What `undo` wants later."""
        return self._entries.get(key)

    def forget(self, prefix: str) -> None:
        """Drop every key that starts so."""
        for key in [k for k in self._entries if k.startswith(prefix)]:
            del self._entries[key]
