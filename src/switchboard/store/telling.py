"""Who has been told of which revision, at each `Stage`; and who waits until one is committed.

Revisions that have failed are remembered, as far back as the history goes: whoever was told early of one, and was gone
when the others were told that it was nothing, cannot go on from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from switchboard.store.errors import Compacted
from switchboard.store.feed import Feed, Sink, Stage, Subscription
from switchboard.store.record import Event

_TURNS = 2  # of the loop, in which writers have sent their answers


class Telling:
    """What a store's subscribers know. `early` is the revision up to which stage WRITTEN has been told."""

    def __init__(self, revision: int) -> None:
        self.early = revision
        self._feeds = [Feed() for _ in Stage]
        self._untold: list[list[Event]] = []  # commits that stage LAST has not heard of yet
        self._void: dict[int, int] = {}  # revisions after each of these and up to that one have failed
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()

    def add(
        self,
        stage: Stage,
        prefix: str,
        since: int,
        sink: Sink,
        ended: Callable[[], None] | None,
        undone: Callable[[], None] | None,
    ) -> Subscription:
        """Subscribe from the next event after `since` on (`Store.subscribe`)."""
        return self._feeds[stage].add(prefix, since, sink, ended, undone)

    def check(self, since: int, revision: int) -> None:
        """Compacted for a revision that failed; `revision` is the last that did not."""
        if any(low < since <= high for low, high in self._void.items()):
            raise Compacted(since, revision)  # whoever knows of it was told early, and has to begin anew

    # In the order of a write's life

    def written(self, events: list[Event]) -> bool:
        """Tell of what is on its way to the disk; whether anybody wanted to know."""
        self.early = events[-1].revision
        return self._feeds[Stage.WRITTEN].publish(events)

    def committed(self, events: list[Event]) -> None:
        """Tell those who are told of a commit before its writers."""
        self._feeds[Stage.COMMITTED].publish(events)

    def answered(self, events: list[Event], loop: asyncio.AbstractEventLoop) -> None:
        """The writers are about to answer: the rest is told in a moment."""
        self._untold.append(events)
        if len(self._untold) == 1:
            loop.call_soon(self._later, loop, _TURNS - 1)

    def _later(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        if turns:
            loop.call_soon(self._later, loop, turns - 1)
        else:
            self._tell_last()

    def _tell_last(self) -> None:
        untold, self._untold = self._untold, []
        for events in untold:
            self._feeds[Stage.LAST].publish(events)

    def last(self, revision: int) -> int:
        """Up to which revision every stage has been told, with that one committed."""
        return self._untold[0][0].revision - 1 if self._untold else revision

    def failed(self, good: int, assigned: int, floor: int) -> None:
        """Revisions after `good` and up to `assigned` have failed; nobody can go on from before `floor` anyhow."""
        self.early = assigned
        self._void = {low: high for low, high in self._void.items() if high > floor}
        self._void[good] = assigned
        self._feeds[Stage.WRITTEN].undo()

    # Who waits

    def wait(self, revision: int) -> Awaitable[None]:
        """Resolves when a revision is committed, or has failed (`release`)."""
        future = asyncio.get_running_loop().create_future()
        self._barriers.append((revision, future))
        return future

    def release(self, reached: int) -> None:
        """Let those go who wait for revisions up to this one."""
        while self._barriers and self._barriers[0][0] <= reached:
            future = self._barriers.popleft()[1]
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Tell what has not been told, and end every subscription."""
        self._tell_last()
        for feed in self._feeds:
            feed.close()
