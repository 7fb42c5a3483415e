"""How long things took, as Prometheus counts it: a histogram with CoreDNS's bounds. Pure."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = tuple(0.00025 * 2**i for i in range(16))  # seconds, 0.25 ms to 8.2 s, as CoreDNS


class Durations:
    """Counts by bound, and their sum."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def note(self, seconds: float, count: int = 1) -> None:
        """`count` things took `seconds` each."""
        self._counts[bisect_left(BOUNDS, seconds)] += count
        self._sum += seconds * count

    @property
    def count(self) -> int:
        """How many were noted."""
        return sum(self._counts)

    def lines(self, name: str, labels: str) -> list[str]:
        """The samples in Prometheus's text format; `labels` without braces."""
        out, below = [], 0
        for bound, count in zip((*BOUNDS, None), self._counts, strict=True):
            below += count
            out.append(f'{name}_bucket{{{labels},le="{"+Inf" if bound is None else f"{bound:g}"}"}} {below}')
        return [*out, f"{name}_sum{{{labels}}} {self._sum:.9f}", f"{name}_count{{{labels}}} {below}"]
