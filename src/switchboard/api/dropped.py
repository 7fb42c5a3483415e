"""When clients whose requests were refused shall try again: the later, the more are refused.

Source: `apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go`.
"""

from __future__ import annotations

_LONGEST = 32  # seconds


class Dropped:
    """The refused requests of one priority level.

    With the first refusal of a second, those of the seconds before are looked at, as many as clients are told to wait:
    where there were three or more for each, the wait doubles (at most once in its own length); where there was less
    than one for each, it becomes a second shorter.
    """

    def __init__(self) -> None:
        self.wait = 1
        self._counts: dict[int, int] = {}  # by second
        self._doubled = 0

    def add(self, second: int) -> None:
        """One more, in a second of the clock."""
        if second in self._counts:
            self._counts[second] += 1
            return
        self._counts = {when: n for when, n in self._counts.items() if second - _LONGEST <= when < second}
        lately = sum(n for when, n in self._counts.items() if second - when <= self.wait)
        self._counts[second] = 1
        if lately >= 3 * self.wait and second - self._doubled >= self.wait:
            self.wait, self._doubled = min(2 * self.wait, _LONGEST), second
        elif lately < self.wait and self.wait > 1:
            self.wait -= 1
