"""Why the store refuses: one root, one class per reason that somebody catches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from switchboard.store.record import Record


class StoreError(Exception):
    """The store could not do what was asked: disk full, I/O error, closed, held by another process."""


class StoreCorrupt(StoreError):
    """The file on disk is damaged or not a store; nothing was changed in it."""


class Changed(StoreError):
    """The key is not in the state the writer expected; `head` is the state it has (None: it is absent)."""

    def __init__(self, key: str, head: Record | None) -> None:
        super().__init__(f"{key} is " + (f"at revision {head.revision}" if head else "absent"))
        self.key = key
        self.head = head


class Compacted(StoreError):
    """The asked revision is older than the history that is kept; `oldest` is the first that still works."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} is compacted; the oldest kept is {oldest}")
        self.revision = revision
        self.oldest = oldest


class Overflow(StoreError):
    """A watcher read too slowly and was cut off; it must list and watch again."""
