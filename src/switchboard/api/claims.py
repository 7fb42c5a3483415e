"""What a write takes from a shared pool (addresses, ports) and gives back if the write fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Claims:
    """Undo steps of one write, and the writes to the store that must be durable together with it.

    `undo` runs when the object's own write failed (newest first); `then` when it succeeded; `wait` collects further
    store writes whose success the answer depends on.
    """

    __slots__ = ("_before", "_done", "_undo", "waits")

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []
        self._done: list[Callable[[], object]] = []
        self._before: list[Callable[[], object]] = []
        self.waits: list[Awaitable[object]] = []

    def on_failure(self, step: Callable[[], object]) -> None:
        """Run this if the object is not written."""
        self._undo.append(step)

    def on_success(self, step: Callable[[], object]) -> None:
        """Run this once the object is durable."""
        self._done.append(step)

    def before_store(self, step: Callable[[], object]) -> None:
        """Run this just before the object is written (to queue writes that must be durable with it)."""
        self._before.append(step)

    def store(self) -> None:
        """The object is about to be written."""
        for step in self._before:
            step()
        self._before.clear()

    def rollback(self) -> None:
        """Give everything back."""
        while self._undo:
            self._undo.pop()()
        self._done.clear()

    def commit(self) -> None:
        """The object is durable."""
        self._undo.clear()
        for step in self._done:
            step()
        self._done.clear()
