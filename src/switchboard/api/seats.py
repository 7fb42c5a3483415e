"""Seats and queues of priority levels: how many requests of a level are worked on at once, and who waits.

Only requests that wait for something take a seat (writes wait for the disk, webhooks, other servers): what is answered
in one turn of the event loop, as reads are, has nothing that it could share, so it is counted and never queued.

Each level has its nominal number of seats at any time. Beyond them it may take what other levels lend and do not use.
The others wait in a queue for each flow (FlowSchema and user or namespace), served in turn. Upstream deals flows to a
fixed number of queues by shuffle sharding and lets a level's limit follow its demand every ten seconds; here every
flow has a queue of its own, as long as the queues of a hand together, and what is lent is looked at when it is asked
for. Source: `apiserver/pkg/util/flowcontrol`.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any

from switchboard.api.dropped import Dropped
from switchboard.transport.messages import Response

if TYPE_CHECKING:
    from switchboard.api.flowcontrol import Flow
    from switchboard.transport.messages import Request

TOTAL = 600  # 400 requests that read and 200 that write: upstream's defaults
PATIENCE = 15.0  # seconds in a queue: a quarter of the time that a request has
WAITS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)  # buckets of the time in queues
Object = dict[str, Any]


class Refused(Exception):
    """No seat and no place in a queue, or not in time; the reason is a word of the metrics.

    `retry_after`: when to try again, in seconds."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def too_many_requests(retry_after: int) -> Response:
    """The answer to a request that is refused."""
    headers = [
        ("retry-after", str(retry_after)),
        ("content-type", "text/plain; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache, private"),
    ]
    return Response(429, headers, b"Too many requests, please try again later.\n")


class Place:
    """One request in a queue or on a seat."""

    __slots__ = ("arrived", "flow", "level", "request", "seated", "started", "user", "verb", "who")

    def __init__(self, flow: Flow, who: str, user: str, verb: str, request: Request) -> None:
        self.flow, self.who = flow, who  # `who`: what tells flows of a schema apart
        self.level = flow.level  # whose seat it is, whatever the schema says later
        self.user, self.verb, self.request = user, verb, request
        self.arrived, self.started = time.time(), 0.0
        self.seated: asyncio.Future[None] | None = None


class Level:
    """One PriorityLevelConfiguration at work."""

    def __init__(self, name: str, room: Room) -> None:
        self.name, self.room = name, room
        self.executing: set[Place] = set()
        self.queues: dict[tuple[str, str], deque[Place]] = {}  # by flow; the next to be served is first
        self.waiting = 0
        self.timed_out = self.cancelled = 0
        self.dropped = Dropped()
        self.exempt, self.queuing = False, True
        self.nominal = self.lower = self.upper = self.longest = self.most = 0

    def configure(self, spec: Object, nominal: int) -> None:
        """Take over what the object says."""
        self.exempt = spec.get("type") == "Exempt"
        limits = spec.get("exempt" if self.exempt else "limited") or {}
        response = limits.get("limitResponse") or {}
        queuing = response.get("queuing") or {}
        self.queuing = response.get("type") != "Reject"
        self.nominal = nominal
        self.lower = nominal - round(nominal * limits.get("lendablePercent", 0) / 100)
        borrowed = limits.get("borrowingLimitPercent")
        self.upper = TOTAL if borrowed is None else nominal + round(nominal * borrowed / 100)
        length, queues = queuing.get("queueLengthLimit", 50), queuing.get("queues", 64)
        self.longest, self.most = length * min(queuing.get("handSize", 8), queues), length * queues

    @property
    def limit(self) -> int:
        """How many seats it could have now."""
        return max(self.nominal, min(self.upper, len(self.executing) + self.room.free_for(self)))

    def _has_seat(self) -> bool:
        used = len(self.executing)
        return used < self.nominal or (used < self.upper and self.room.free_for(self) > 0)

    def admit(self, place: Place) -> bool:
        """Take a seat at once, if there is one and nobody waits for it."""
        if self.waiting or not self._has_seat():
            return False
        self._seat(place)
        return True

    def _seat(self, place: Place) -> None:
        place.started = time.time()
        place.flow.dispatched += 1
        self.executing.add(place)

    async def wait(self, place: Place) -> None:
        """Wait for a seat and take it; raises Refused."""
        flow = place.flow
        key = (flow.name, place.who)
        queue = self.queues.setdefault(key, deque())
        if not self.queuing or len(queue) >= self.longest or self.waiting >= self.most:
            if not queue:
                del self.queues[key]
            raise self._refused(flow, "queue-full" if self.queuing else "concurrency-limit")
        place.seated = asyncio.get_running_loop().create_future()
        queue.append(place)
        self._count(flow, 1)
        try:
            async with asyncio.timeout(PATIENCE):
                await place.seated
        except TimeoutError:
            self._leave(place, key)
            self.timed_out += 1
            flow.waited(time.time() - place.arrived, executed=False)
            raise self._refused(flow, "time-out") from None
        except asyncio.CancelledError:
            self._leave(place, key)
            self.cancelled += 1
            raise
        flow.waited(place.started - place.arrived, executed=True)

    def _refused(self, flow: Flow, reason: str) -> Refused:
        """Count a request that is refused; the error to raise."""
        flow.refused[reason] = flow.refused.get(reason, 0) + 1
        self.dropped.add(int(time.time()))
        return Refused(reason, self.dropped.wait)

    def _leave(self, place: Place, key: tuple[str, str]) -> None:
        """Out of the queue, or off the seat that was given in the same turn of the loop."""
        queue = self.queues.get(key)
        if queue is not None and place in queue:
            queue.remove(place)
            self._count(place.flow, -1)
            if not queue:
                del self.queues[key]
        else:
            self.release(place)
            place.started = 0.0

    def _count(self, flow: Flow, more: int) -> None:
        self.waiting += more
        flow.waiting += more
        self.room.waiting += more

    def release(self, place: Place) -> None:
        """Stand up; whoever waits may sit down."""
        self.executing.discard(place)
        if self.room.waiting:
            self.dispatch()
            self.room.dispatch()

    def dispatch(self) -> None:
        """Seat those who wait, a flow at a time, as far as there are seats."""
        while self.queues and self._has_seat():
            key = next(iter(self.queues))
            queue = self.queues.pop(key)
            place = queue.popleft()
            if queue:
                self.queues[key] = queue  # behind all others
            self._count(place.flow, -1)
            if place.seated is not None and not place.seated.done():
                self._seat(place)
                place.seated.set_result(None)


class Room:
    """All levels together."""

    def __init__(self) -> None:
        self.levels: dict[str, Level] = {}
        self.waiting = 0

    def configure(self, specs: dict[str, Object]) -> None:
        """The levels that there are, by name."""
        for name in self.levels.keys() - specs.keys():
            del self.levels[name]  # what is in its seats and queues goes on as it is
        nominal = nominal_seats(specs)
        for name, spec in specs.items():
            if name not in self.levels:
                self.levels[name] = Level(name, self)
            self.levels[name].configure(spec, nominal[name])
        self.dispatch()

    def free_for(self, level: Level) -> int:
        """Seats that a level may take beyond its own: what nobody has and nobody else keeps for itself."""
        others = (other for other in self.levels.values() if other is not level and not other.exempt)
        return TOTAL - sum(max(len(other.executing), other.lower) for other in others) - len(level.executing)

    def dispatch(self) -> None:
        """A seat has become free somewhere: it may be borrowed."""
        for level in self.levels.values():
            if level.waiting:
                level.dispatch()


def nominal_seats(specs: dict[str, Object]) -> dict[str, int]:
    """How many requests at once each level has by its shares."""
    shares = {}
    for name, spec in specs.items():
        kind = spec.get("limited") or spec.get("exempt") or {}
        shares[name] = kind.get("nominalConcurrencyShares", 0)
    total = sum(shares.values()) or 1
    return {name: math.ceil(TOTAL * share / total) for name, share in shares.items()}


class Waits:
    """A histogram of the time in queues."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts, self.seconds = [0] * (len(WAITS) + 1), 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(WAITS, seconds)] += 1
        self.seconds += seconds
