"""The store: state in memory, log on disk, group commit.

A write gets its revision and its place at once, on the event loop; it is then queued. What queued during one turn of
the loop is appended to the log together, on the loop (a batch of 8 takes 0.1 ms), and the kernel waits for the disk
(`diskwork.py`). Any step in a thread, be it only the wait, costs more than it saves: thread and loop take the
interpreter from each other. While the disk is waited for, the next batch gathers. Readers (`get`, `scan`, `watch`) see
a change only after its commit; `head` sees it at once, so that read-modify-write chains do not wait for the disk.

Three stages of telling (`Stage`, `telling.py`). Who does nothing but write to this store again may know of a write
before the disk does (`WRITTEN`): its answer stands behind it in the same log, so the disk has both, the first, or none.
A batch waits some turns of the loop for such answers and takes them along, so that a change and what follows from it
cost one wait for the disk. Everybody else hears of commits only: first what has a packet waiting for it (`COMMITTED`),
then the writers, and the rest (`LAST`) when the writers have answered.

A failed commit takes back its batch and all that was queued behind it. Nothing that was not on disk is ever shown
outside; who was told early is told that it was nothing, and begins anew. Numbers of failed writes are not used again by
this process. After a failed sync nobody knows what the disk has, so nothing more is written until the store is opened
anew.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

from switchboard.store.disk import Disk, Row, checksum
from switchboard.store.diskwork import DiskWork
from switchboard.store.errors import Changed, StoreError
from switchboard.store.feed import Sink, Stage, Subscription, Watch
from switchboard.store.history import History
from switchboard.store.packing import Packer, Pauses
from switchboard.store.record import Event, Home, Index, Record
from switchboard.store.table import State, table_name
from switchboard.store.telling import Telling

_log = logging.getLogger(__name__)
ANY: Final[Any] = object()
HISTORY = 65_536  # events
HISTORY_BYTES = 24 << 20  # what the history alone may keep in memory
WATCH_LIMIT = 4096  # events a watcher may be behind
_COMPACT = 256  # dropped events that make a compaction worth its commit
_MAX_BATCH_BYTES = 8 << 20  # so that one commit stays short whatever is queued
_TURNS = 3  # of the loop, in which who is told early has read, decided and written


class _Write:
    """A change on its way to the disk."""

    __slots__ = ("done", "event")

    def __init__(self, event: Event, done: asyncio.Future[Record]) -> None:
        self.event = event
        self.done = done


def _row(event: Event) -> Row:
    record = event.record
    key, value = record.key, record.value
    return Row(record.revision, key, record.created, int(event.deleted), value, checksum(key, value))


class Store:
    """Durable keys with revisions and a feed of changes. Use from one event loop; open with `Store.open`."""

    def __init__(self, disk: Disk, index: Index | None, history: int, history_bytes: int) -> None:
        self._disk = disk
        self._packer = Packer()
        self._pauses = Pauses(self._packer, self._quiet)
        self._home = Home(index, self._packer.unpacked)
        floor = disk.floor()
        self._history = History(floor, history, history_bytes)
        self._garbage: list[Event] = []  # dropped from the history, rows still on disk
        self._pending: dict[str, Event] = {}  # the newest change on its way, by key
        self._queue: list[_Write] = []
        self._flying: list[_Write] = []  # the batch that the disk is waited for with
        self._busy = False  # the writer has a batch, or a hand-over is scheduled
        self._will_tell = False  # the next turn of the loop tells early of what is queued
        self._closed = False
        self._broken: Exception | None = None  # a sync failed
        self._idle: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.revision = floor
        self._state = self._load(floor)
        self._assigned = self.revision
        self._telling = Telling(self.revision)
        self._compact_at = _COMPACT  # pieces of garbage
        self._work = DiskWork(disk)

    @classmethod
    def open(
        cls, path: Path | str, *, index: Index | None = None, history: int = HISTORY, history_bytes: int = HISTORY_BYTES
    ) -> Store:
        """Open or create the store in the file `path`.

        `index` makes `Record.meta`, lazily. `history` bounds the number of changes that watches can resume over and
        `history_bytes` their memory. Raises StoreCorrupt for a damaged file (which is left as it is) and StoreError
        if it cannot be opened or another process holds it.
        """
        disk = Disk(Path(path))
        collecting = gc.isenabled()
        gc.disable()  # the load makes nothing but live objects; going through them again and again costs more
        try:
            return cls(disk, index, history, history_bytes)
        except BaseException:
            disk.abandon()
            raise
        finally:
            if collecting:
                gc.enable()

    def _load(self, floor: int) -> State:
        live: dict[str, Record] = {}
        home = self._home
        for row in self._disk.rows():
            previous = live.get(row.key)
            record = Record(previous.key if previous else row.key, row.value, row.revision, row.created, home)
            if row.deleted:
                live.pop(row.key, None)
            else:
                live[row.key] = record
            if row.revision > floor:
                self._history.append(Event(record, previous, bool(row.deleted)))
            self._packer.take(record)
            self.revision = max(self.revision, row.revision)
        self._packer.pack()
        self._disk.confirm(self.revision)
        self._garbage += self._history.trim()
        return State(live.values())

    # Reading

    @property
    def compacted(self) -> int:
        """The oldest revision that watch and scan_at still accept."""
        return self._history.floor

    def get(self, key: str) -> Record | None:
        """The committed record of a key."""
        return self._state.get(key)

    def head(self, key: str) -> Record | None:
        """The newest record of a key, writes on their way included: where read-modify-write starts."""
        event = self._pending.get(key)
        if event is None:
            return self._state.get(key)
        return None if event.deleted else event.record

    def scan(self, prefix: str, after: str = "") -> list[Record]:
        """Committed records whose key begins with `prefix` and is greater than `after`, in key order."""
        return self._state.scan(prefix, after)

    def scan_at(self, prefix: str, revision: int) -> list[Record]:
        """As `scan`, but as things stood right after `revision`; raises Compacted if that is too long ago."""
        later = self._history.since(revision)
        undone: dict[str, Record | None] = {}
        for event in later:
            if event.record.key.startswith(prefix):
                undone.setdefault(event.record.key, event.previous)
        if not undone:
            return self._state.scan(prefix)
        kept = [record for record in self._state.scan(prefix) if record.key not in undone]
        kept += [record for record in undone.values() if record is not None]
        kept.sort(key=lambda record: record.key)
        return kept

    def any(self, table: str) -> bool:
        """Whether a table (`/core/pods/`) has any committed record: costs next to nothing."""
        return self._state.any(table)

    def count(self, prefix: str) -> int:
        """How many committed keys begin with `prefix`."""
        return self._state.count(prefix)

    @property
    def told(self) -> int:
        """The revision up to which every subscriber has been told."""
        return self._telling.last(self.revision)

    def settled(self) -> Awaitable[None] | None:
        """Wait until what is on its way now is committed, or has failed: reads after that have what a subscriber of
        stage WRITTEN knows. None when nothing is on its way.
        """
        if not (self._queue or self._flying):
            return None
        return self._telling.wait(self._assigned)

    # Watching

    def watch(self, prefix: str, since: int, *, limit: int = WATCH_LIMIT) -> Watch:
        """Every change under `prefix` after revision `since`, replayed and then live.

        Raises Compacted. The iterator raises Overflow once the reader is more than `limit` events behind.
        """
        watch = Watch(self._replay(prefix, since), limit)
        since = max(since, self.revision)
        watch.attach(self._telling.add(Stage.COMMITTED, prefix, since, watch.feed, watch.close, None))
        return watch

    def subscribe(
        self,
        prefix: str,
        since: int,
        sink: Sink,
        ended: Callable[[], None] | None = None,
        *,
        stage: Stage = Stage.COMMITTED,
        undone: Callable[[], None] | None = None,
    ) -> Subscription:
        """As `watch`, without a buffer: `sink(events)` is called on the loop, at once for what is to be replayed.

        The list is shared by all sinks and must not be changed. A sink that raises is dropped. `ended` is called if the
        store closes first. At stage WRITTEN, which is for those whose every act is a write to this store, `undone` is
        called when a change that was told of has failed; the subscription is over then. Raises Compacted.
        """
        self._require_open()
        replay, told = self._replay(prefix, since), self.revision
        if stage is Stage.WRITTEN:
            told = self._telling.early
            replay += [e for e in self._early() if e.revision > since and e.record.key.startswith(prefix)]
        subscription = self._telling.add(stage, prefix, max(since, told), sink, ended, undone)
        if replay:
            sink(replay)
        return subscription

    def _replay(self, prefix: str, since: int) -> list[Event]:
        self._require_open()
        self._telling.check(since, self.revision)
        return [event for event in self._history.since(since) if event.record.key.startswith(prefix)]

    def _early(self) -> Iterable[Event]:
        """Changes that are not committed, but told of."""
        for write in (*self._flying, *self._queue):
            if write.event.revision <= self._telling.early:
                yield write.event

    # Writing

    def put(self, key: str, encode: Callable[[int], bytes], *, expect: Any = ANY) -> Awaitable[Record]:
        """Set a key to `encode(revision)`; the result resolves with the record once it is durable.

        `expect` is the head record that the caller read, None for "must not exist", or ANY. Raises Changed at once;
        the awaited result raises StoreError if the commit failed.
        """
        head = self._expected(key, expect)
        if head is None and (not key.startswith("/") or table_name(key) is None or key.endswith("/")):
            raise ValueError(f"not a key: {key!r}")
        revision = self._assigned + 1
        record = Record(key, encode(revision), revision, head.created if head else revision, self._home)
        return self._enqueue(record, head, False)

    def delete(self, key: str, encode: Callable[[int], bytes], *, expect: Any = ANY) -> Awaitable[Record]:
        """Take a key away; `encode(revision)` gives its last state. Raises Changed (also if it does not exist)."""
        head = self._expected(key, expect)
        if head is None:
            raise Changed(key, None)
        revision = self._assigned + 1
        return self._enqueue(Record(head.key, encode(revision), revision, head.created, self._home), head, True)

    def _expected(self, key: str, expect: Any) -> Record | None:
        if self._closed or self._broken is not None:
            self._require_writable()
        head = self.head(key)
        if (
            expect is not ANY
            and head is not expect
            and (head is None or expect is None or head.revision != expect.revision)
        ):
            raise Changed(key, head)
        return head

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _require_writable(self) -> None:
        self._require_open()
        if self._broken is not None:
            raise StoreError(f"nothing can be written until the store is opened again: {self._broken}")

    def _enqueue(self, record: Record, previous: Record | None, deleted: bool) -> Awaitable[Record]:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            self._work.begin(loop)
        if record.revision != self._assigned + 1:
            raise RuntimeError("encode() wrote to the store")
        self._assigned = record.revision
        event = Event(record, previous, deleted)
        write = _Write(event, loop.create_future())
        self._pending[record.key] = event
        self._queue.append(write)
        if not self._busy:
            self._busy = self._will_tell = True
            loop.call_soon(self._gather, _TURNS)  # what else this turn of the loop writes comes along
        elif not self._will_tell:
            self._will_tell = True
            loop.call_soon(self._tell_early)
        return write.done

    def _gather(self, turns: int) -> None:
        """Hand over when those who are told early have had their turns; at once where nobody is."""
        if turns == _TURNS and not self._tell_early():
            turns = 0
        if turns:
            assert self._loop is not None
            self._will_tell = True  # of their answers, when these are at the disk
            self._loop.call_soon(self._gather, turns - 1)
        else:
            self._hand_over()

    def _tell_early(self) -> bool:
        """Tell of what is on its way and has not been told; whether anybody wanted to know."""
        self._will_tell = False
        untold = self._assigned - self._telling.early
        if not untold:
            return False
        writes = self._queue if untold <= len(self._queue) else [*self._flying, *self._queue]
        return self._telling.written([write.event for write in writes[-untold:]])

    def _hand_over(self) -> None:
        size = 0
        count = 0
        for write in self._queue:
            size += len(write.event.record.value)
            count += 1
            if size >= _MAX_BATCH_BYTES:
                break
        self._flying = self._queue[:count]
        del self._queue[:count]
        try:
            self._disk.append([_row(write.event) for write in self._flying])
        except Exception as error:
            self._committed(error)
        else:
            self._work.sync(self._synced)
            self._tell_early()

    def _synced(self, error: Exception | None) -> None:
        if error is not None:
            self._broken = error
        self._committed(error)

    def _committed(self, error: Exception | None) -> None:
        batch, self._flying = self._flying, []
        if error is not None:
            self._fail(batch, error)
        else:
            events = [write.event for write in batch]
            for event in events:
                self._apply(event)
            self._garbage += self._history.trim()
            self._telling.committed(events)
            for write in batch:
                if not write.done.done():
                    write.done.set_result(write.event.record)
            assert self._loop is not None
            self._telling.answered(events, self._loop)
        self._telling.release(self.revision if self._queue else self._assigned)
        self._next()

    def _apply(self, event: Event) -> None:
        record = event.record
        if event.deleted:
            self._state.remove(record.key)
        else:
            self._state.put(record)
        if self._pending.get(record.key) is event:
            del self._pending[record.key]
        self.revision = record.revision
        self._history.append(event)
        self._packer.take(record)

    def _fail(self, batch: list[_Write], error: Exception) -> None:
        failure = error if isinstance(error, StoreError) else StoreError(f"the store failed: {error}")
        if not isinstance(error, StoreError):
            _log.error("the writer failed", exc_info=error)
        failed = batch + self._queue
        self._queue = []
        self._pending.clear()  # everything on its way was in this batch or queued behind it
        self._telling.failed(self.revision, self._assigned, self.compacted)
        for write in failed:
            if not write.done.done():
                write.done.set_exception(failure)

    def _checkpointed(self, error: Exception | None) -> None:
        if error is not None:
            _log.warning("the write-ahead log stays as long as it is for now: %s", error)
        self._next()

    def _compact(self, dropped: list[Event]) -> None:
        revisions = [event.previous.revision for event in dropped if event.previous is not None]
        revisions += [event.revision for event in dropped if event.deleted]
        self._work.compact(dropped[-1].revision, revisions, lambda error: self._compacted(dropped, error))

    def _compacted(self, dropped: list[Event], error: Exception | None) -> None:
        if error is not None:
            _log.warning("old history stays on disk for now: %s", error)
            self._garbage = dropped + self._garbage
            self._compact_at = len(self._garbage) + _COMPACT
        else:
            self._compact_at = _COMPACT
        self._next()

    def _next(self) -> None:
        """Go on with the next batch, or with history to compact or the log to fold, or rest."""
        if self._disk.full_log:
            self._work.checkpoint(self._checkpointed)
        elif len(self._garbage) >= self._compact_at:
            dropped = self._garbage[: 2 * _COMPACT]
            del self._garbage[: 2 * _COMPACT]
            self._compact(dropped)
        elif self._queue:
            assert self._loop is not None
            self._loop.call_soon(self._hand_over)  # with what else this turn of the loop brings
        else:
            self._busy = False
            self._pauses.begin()
            if self._idle is not None and not self._idle.done():
                self._idle.set_result(None)

    def _quiet(self) -> int | None:
        """The last revision, while nobody writes."""
        return None if self._busy else self.revision

    async def close(self) -> None:
        """Refuse new writes, finish those on their way, end all watches and close the file; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._busy:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._pauses.close()
        self._telling.close()
        await self._work.close()
        self._disk.close()
