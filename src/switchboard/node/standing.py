"""Whether a pod may stay: taken or refused at its beginning, until its deadline, within its share of the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from switchboard.client import Client
from switchboard.client.resources import NODES
from switchboard.node import storage
from switchboard.node.admission import Refusal, refusal
from switchboard.node.observed import Observed
from switchboard.node.room import Room
from switchboard.node.runtime import CriRuntime
from switchboard.node.settings import NodeSettings
from switchboard.node.status import started_at

Object = dict[str, Any]
Say = Callable[[str, str, str], None]  # event type, reason, message

_MEASURE: Final = 10.0  # seconds between looks at the disk
LONG: Final = 30.0


class Standing:
    """`failure` (reason, message) is set when the pod has failed as a whole, and stays."""

    def __init__(
        self,
        client: Client,
        runtime: CriRuntime,
        settings: NodeSettings,
        room: Room,
        node: Callable[[], Object],
        say: Say,
        *,
        begun: bool,
    ) -> None:
        self.failure: Refusal | None = None
        self._client, self._runtime, self._settings, self._say = client, runtime, settings, say
        self._room, self._node = room, node
        self._taken = begun
        self._measured = time.monotonic()

    async def check(self, pod: Object, seen: Observed, told: Mapping[str, Any]) -> bool:
        """Look at everything once; True when the pod was just taken. Raises RuntimeFailure and the client's errors."""
        if self.over(told):
            return False
        if self._deadline_in(pod, told) <= 0:
            message = "Pod was active on the node longer than the specified deadline"
            self._fail("Normal", ("DeadlineExceeded", message))
            return False
        if not self._taken:
            return await self._take(pod, seen)
        await self._check_storage(pod, seen)
        return False

    def over(self, told: Mapping[str, Any]) -> bool:
        """Whether the pod has ended for good."""
        return self.failure is not None or told.get("phase") in ("Succeeded", "Failed")

    @property
    def evicted(self) -> bool:
        """Whether it has to go without delay."""
        return self.failure is not None and self.failure[0] == "Evicted"

    def again(self, pod: Object, told: Mapping[str, Any]) -> float:
        """Seconds until the next look."""
        if self.over(told):
            return LONG
        left = self._deadline_in(pod, told)
        if storage.limited(pod):
            left = min(left, max(0.0, self._measured + _MEASURE - time.monotonic()))
        return left

    def _deadline_in(self, pod: Object, told: Mapping[str, Any]) -> float:
        """Seconds until activeDeadlineSeconds is over; a long time without one."""
        allowed, began = pod["spec"].get("activeDeadlineSeconds"), started_at({"status": told})
        return max(0.0, began + allowed - time.time()) if allowed and began else LONG

    async def _take(self, pod: Object, seen: Observed) -> bool:
        """Take the pod, or refuse one that has not begun here and may not."""
        if not seen.sandboxes:
            refused = self._refusal(pod, self._node())
            if refused is not None:  # the node may have changed since it was last asked for
                refused = self._refusal(pod, await self._client.get(NODES, self._settings.name))
            if refused is not None:
                self._fail("Warning", refused)
                return False
        self._taken = True
        return True

    def _refusal(self, pod: Object, node: Object) -> Refusal | None:
        return refusal(pod, node, self._room.others(pod["metadata"]["uid"]), self._room.allocatable)

    async def _check_storage(self, pod: Object, seen: Observed) -> None:
        if time.monotonic() - self._measured < _MEASURE or not storage.limited(pod):
            return
        self._measured = time.monotonic()
        usage = await storage.measure(pod, seen, self._runtime, self._settings)
        if message := storage.excess(pod, usage):
            self._fail("Warning", ("Evicted", message))

    def _fail(self, kind: str, failure: Refusal) -> None:
        self.failure = failure
        self._say(kind, *failure)
