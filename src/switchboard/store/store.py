"""The store: state in memory, log on disk, group commit.

A write gets its revision and its place at once, on the event loop; it is then queued. What queued during one turn of
the loop is appended to the log together, on the loop (a batch of 8 takes 0.1 ms), and the kernel waits for the disk
(`kernelsync.py`); a thread does where the kernel cannot, and for what is rare. Any step in a thread, be it only the
wait, costs more than it saves: thread and loop take the interpreter from each other. While the disk is waited for, the
next batch gathers. Readers (`get`, `scan`, `watch`) see a change only after its commit; `head` sees it at once, so that
read-modify-write chains do not wait for the disk.

Three stages of telling (`Stage`). Who does nothing but write to this store again may know of a write before the disk
does (`WRITTEN`): its answer stands behind the write in the same log, so the disk has both, or the first, or neither.
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
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from switchboard.store.disk import Disk, Row, checksum
from switchboard.store.errors import Changed, Compacted, StoreError
from switchboard.store.feed import Feed, Sink, Stage, Subscription, Watch
from switchboard.store.history import History
from switchboard.store.kernelsync import KernelSync
from switchboard.store.packing import Packer
from switchboard.store.record import Event, Home, Index, Record
from switchboard.store.table import State, table_name

_log = logging.getLogger(__name__)
ANY: Final[Any] = object()
HISTORY = 65_536  # events
HISTORY_BYTES = 24 << 20  # what the history alone may keep in memory
WATCH_LIMIT = 4096  # events a watcher may be behind
_COMPACT = 256  # dropped events that make a compaction worth its commit
_MAX_BATCH_BYTES = 8 << 20  # so that one commit stays short whatever is queued
_PACK, _PACK_PAUSE = 50, 0.005  # values packed at once when nothing else is to be done, and seconds in between
_PACK_AFTER = 0.5  # seconds after the last write
_TURNS = 3  # of the loop, in which who is told early has read, decided and written
_TURNS_OF_WRITERS = 2  # in which they have sent their answers


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
        self._home = Home(index, self._packer.unpacked)
        floor = disk.floor()
        self._history = History(floor, history, history_bytes)
        self._garbage: list[Event] = []  # dropped from the history, rows still on disk
        self._feeds = [Feed() for _ in Stage]
        self._pending: dict[str, Event] = {}  # the newest change on its way, by key
        self._queue: list[_Write] = []
        self._flying: list[_Write] = []  # the batch that the disk is waited for with
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()  # who waits for a revision's commit
        self._busy = False  # the writer has a batch, or a hand-over is scheduled
        self._void: dict[int, int] = {}  # revisions after each of these and up to that one have failed
        self._untold: list[list[Event]] = []  # commits that stage LAST has not heard of yet
        self._telling = False  # the next turn of the loop tells early of what is queued
        self._closed = False
        self._broken: Exception | None = None  # a sync failed
        self._idle: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._kernel: KernelSync | None = None
        self._packing: asyncio.TimerHandle | None = None
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.revision = floor
        self._state = self._load(floor)
        self._assigned = self._told_early = self.revision
        self._compact_at = _COMPACT  # pieces of garbage
        self._worker = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._worker.start()

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
        return self._untold[0][0].revision - 1 if self._untold else self.revision

    def settled(self) -> Awaitable[None] | None:
        """Wait until what is on its way now is committed, or has failed: reads after that have what a subscriber of
        stage WRITTEN knows. None when nothing is on its way.
        """
        if not (self._queue or self._flying):
            return None
        future = asyncio.get_running_loop().create_future()
        self._barriers.append((self._assigned, future))
        return future

    # Watching

    def watch(self, prefix: str, since: int, *, limit: int = WATCH_LIMIT) -> Watch:
        """Every change under `prefix` after revision `since`, replayed and then live.

        Raises Compacted. The iterator raises Overflow once the reader is more than `limit` events behind.
        """
        watch = Watch(self._replay(prefix, since), limit)
        watch.attach(self._feeds[Stage.COMMITTED].add(prefix, max(since, self.revision), watch.feed, watch.close))
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
            told = self._told_early
            replay += [e for e in self._early() if e.revision > since and e.record.key.startswith(prefix)]
        subscription = self._feeds[stage].add(prefix, max(since, told), sink, ended, undone)
        if replay:
            sink(replay)
        return subscription

    def _replay(self, prefix: str, since: int) -> list[Event]:
        self._require_open()
        if any(low < since <= high for low, high in self._void.items()):
            raise Compacted(since, self.revision)  # whoever knows of it was told early, and has to begin anew
        return [event for event in self._history.since(since) if event.record.key.startswith(prefix)]

    def _early(self) -> Iterable[Event]:
        """Changes that are not committed, but told of."""
        for write in (*self._flying, *self._queue):
            if write.event.revision <= self._told_early:
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
            self._kernel = KernelSync.open(loop)
        if record.revision != self._assigned + 1:
            raise RuntimeError("encode() wrote to the store")
        self._assigned = record.revision
        event = Event(record, previous, deleted)
        write = _Write(event, loop.create_future())
        self._pending[record.key] = event
        self._queue.append(write)
        if not self._busy:
            self._busy = self._telling = True
            loop.call_soon(self._gather, _TURNS)  # what else this turn of the loop writes comes along
        elif not self._telling:
            self._telling = True
            loop.call_soon(self._tell_early)
        return write.done

    def _gather(self, turns: int) -> None:
        """Hand over when those who are told early have had their turns; at once where nobody is."""
        if turns == _TURNS and not self._tell_early():
            turns = 0
        if turns:
            assert self._loop is not None
            self._telling = True  # of their answers, when these are at the disk
            self._loop.call_soon(self._gather, turns - 1)
        else:
            self._hand_over()

    def _tell_early(self) -> bool:
        """Tell of what is on its way and has not been told; whether anybody wanted to know."""
        self._telling = False
        untold = self._assigned - self._told_early
        if not untold:
            return False
        self._told_early = self._assigned
        writes = self._queue if untold <= len(self._queue) else [*self._flying, *self._queue]
        return self._feeds[Stage.WRITTEN].publish([write.event for write in writes[-untold:]])

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
            self._make_durable()
            self._tell_early()

    def _make_durable(self) -> None:
        log = self._disk.filled_log
        if self._kernel is not None and log is not None:
            if self._kernel.start(log, self._synced):
                return
            self._kernel.close()
            self._kernel = None
        self._work.put(self._sync)

    def _synced(self, error: OSError | None) -> None:
        if error is not None:
            self._broken = self._disk.failure(error)
        self._committed(self._broken)

    # The thread, for what waits for the disk in Python

    def _write_loop(self) -> None:
        while (job := self._work.get()) is not None:
            job()

    def _sync(self) -> None:
        error: Exception | None = None
        try:
            self._disk.sync()
        except Exception as caught:
            error = self._broken = caught
        self._call(lambda: self._committed(error))

    def _checkpoint(self) -> None:
        error: Exception | None = None
        try:
            self._disk.checkpoint()
        except Exception as caught:
            error = caught
        self._call(lambda: self._checkpointed(error))

    def _compact(self, dropped: list[Event]) -> None:
        revisions = [event.previous.revision for event in dropped if event.previous is not None]
        revisions += [event.revision for event in dropped if event.deleted]
        error: Exception | None = None
        try:
            self._disk.compact(dropped[-1].revision, revisions)
        except Exception as caught:
            error = caught
        self._call(lambda: self._compacted(dropped, error))

    def _call(self, done: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(done)
        except RuntimeError:
            _log.debug("the event loop is gone; a commit has nobody to tell")

    # Back on the event loop

    def _committed(self, error: Exception | None) -> None:
        batch, self._flying = self._flying, []
        if error is not None:
            self._fail(batch, error)
        else:
            events = [write.event for write in batch]
            for event in events:
                self._apply(event)
            self._garbage += self._history.trim()
            self._feeds[Stage.COMMITTED].publish(events)
            for write in batch:
                if not write.done.done():
                    write.done.set_result(write.event.record)
            self._untold.append(events)
            if len(self._untold) == 1:
                self._tell_last(_TURNS_OF_WRITERS)
        self._release()
        self._next()

    def _tell_last(self, turns: int) -> None:
        if turns and not self._closed:
            assert self._loop is not None
            self._loop.call_soon(self._tell_last, turns - 1)
            return
        untold, self._untold = self._untold, []
        for events in untold:
            self._feeds[Stage.LAST].publish(events)

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
        self._told_early = self._assigned
        self._void = {low: high for low, high in self._void.items() if high > self.compacted}
        self._void[self.revision] = self._assigned
        self._feeds[Stage.WRITTEN].undo()
        for write in failed:
            if not write.done.done():
                write.done.set_exception(failure)

    def _release(self) -> None:
        """Let those go who waited for what is committed now, or has failed."""
        reached = self.revision if self._queue else self._assigned
        while self._barriers and self._barriers[0][0] <= reached:
            future = self._barriers.popleft()[1]
            if not future.done():
                future.set_result(None)

    def _checkpointed(self, error: Exception | None) -> None:
        if error is not None:
            _log.warning("the write-ahead log stays as long as it is for now: %s", error)
        self._next()

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
            self._work.put(self._checkpoint)
        elif len(self._garbage) >= self._compact_at:
            dropped = self._garbage[: 2 * _COMPACT]
            del self._garbage[: 2 * _COMPACT]
            self._work.put(lambda: self._compact(dropped))
        elif self._queue:
            assert self._loop is not None
            self._loop.call_soon(self._hand_over)  # with what else this turn of the loop brings
        else:
            self._busy = False
            if self._packer.behind and self._packing is None:
                self._pack_later(_PACK_AFTER)
            if self._idle is not None and not self._idle.done():
                self._idle.set_result(None)

    def _pack_later(self, seconds: float) -> None:
        assert self._loop is not None
        self._packing = self._loop.call_later(seconds, self._pack, self.revision)

    def _pack(self, revision: int) -> None:
        """Pack what nobody has asked for lately, while nobody writes."""
        self._packing = None
        if self._busy or revision != self.revision:
            if self._packer.behind:
                self._pack_later(_PACK_AFTER)
            return
        self._packer.pack(_PACK)
        if self._packer.behind:
            self._pack_later(_PACK_PAUSE)

    async def close(self) -> None:
        """Refuse new writes, finish those on their way, end all watches and close the file; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        if self._busy:
            self._idle = loop.create_future()
            await self._idle
        if self._packing is not None:
            self._packing.cancel()
        self._tell_last(0)
        for feed in self._feeds:
            feed.close()
        if self._kernel is not None:
            self._kernel.close()
        self._work.put(None)
        await loop.run_in_executor(None, self._worker.join)
        self._disk.close()
