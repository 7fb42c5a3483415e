"""What of a pod failed to start, why, and when it may be tried again: its sandbox, and each of its containers.

Times to wait after a container has ended are `Backoff`'s; those after it could not be started at all (no image, no
mount) come with the failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from switchboard.node import configs
from switchboard.node.backoff import Backoff
from switchboard.node.making import StartFailure
from switchboard.node.observed import Container
from switchboard.node.plan import specs
from switchboard.node.pulls import PullFailure

Object = dict[str, Any]

_LONGEST_PAUSE = 15.0  # seconds between tries to make a sandbox, whose volumes may wait for something on this machine


class Tries:
    """Of one pod. Names are those of its containers; times to wait are in seconds, 0 for now."""

    def __init__(self, pod: Object) -> None:
        self.errors: dict[str, tuple[str, str]] = {}  # container that could not be started -> reason, message
        self._pod = pod
        self._backoff = Backoff()
        self._after: dict[str, float] = {}  # container -> monotonic time before which it is not tried again
        self._sandbox_pause, self._sandbox_after = 0.0, 0.0

    def update(self, pod: Object) -> None:
        """The pod has changed: what failed with another image may be tried now."""
        before = {c["name"]: c.get("image") for c in specs(self._pod)}
        self._pod = pod
        for container in specs(pod):
            if container.get("image") != before.get(container["name"]):
                self._after.pop(container["name"], None)

    # Containers

    def left(self, name: str) -> float:
        """How long a container that could not be started has to wait."""
        return max(0.0, self._after.get(name, 0.0) - time.monotonic())

    def all_left(self) -> list[float]:
        """How long each container that could not be started has to wait; a zero if there is none."""
        return [self.left(name) for name in self._after] or [0.0]

    def wait(self, name: str, ended: Container) -> float:
        """How long a container has to wait after it `ended`."""
        return max(self.left(name), self._backoff.left(self._key(name), ended.finished, time.time()))

    def delay(self, name: str) -> float:
        """The whole back-off that stands now, of which `wait` is the rest."""
        return self._backoff.delay(self._key(name))

    def begin(self, container: Object, ended: Container | None) -> Callable[[], None]:
        """A container is started once more, after it `ended`; what is returned makes that not count."""
        key = self._key(container["name"])
        before = self._backoff.entry(key)
        if ended is not None and ended.exited and ended.hash in ("", configs.hash_of(container)):
            self._backoff.next(key, time.time(), ended.finished)
        return lambda: self._backoff.undo(key, before)

    def failed(self, name: str, why: PullFailure | StartFailure) -> None:
        """The container could not be started."""
        self.errors[name] = (why.reason, str(why))
        self._after[name] = time.monotonic() + why.again

    def succeeded(self, name: str) -> None:
        """The container runs."""
        self.errors.pop(name, None)
        self._after.pop(name, None)

    def _key(self, name: str) -> str:
        """What the back-off goes by: a container with another image is another one, and need not wait."""
        return next((f"{name} {configs.hash_of(c)}" for c in specs(self._pod) if c["name"] == name), name)

    # The sandbox

    def sandbox_left(self) -> float:
        """How long the next try of a sandbox has to wait."""
        return max(0.0, self._sandbox_after - time.monotonic())

    def sandbox_failed(self) -> float:
        """None could be made; how long the next try has to wait."""
        self._sandbox_pause = min(max(2 * self._sandbox_pause, 0.5), _LONGEST_PAUSE)
        self._sandbox_after = time.monotonic() + self._sandbox_pause
        return self._sandbox_pause

    def sandbox_made(self) -> None:
        """There is one."""
        self._sandbox_pause = 0.0

    def sandbox_now(self) -> None:
        """Something that a sandbox may have waited for has changed."""
        self._sandbox_after = 0.0
