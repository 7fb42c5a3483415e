"""Times as objects carry them (RFC 3339) and as deciders reckon with them (seconds since the epoch)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """`2026-01-02T03:04:05Z`, with or without fractions and with any zone -> seconds since the epoch."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def stamp(now: float) -> str:
    """Seconds since the epoch -> `2026-01-02T03:04:05Z` (meta/v1 Time has whole seconds)."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
