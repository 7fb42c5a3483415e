"""The store: state in memory, log on disk, group commit.

A write gets its revision and its place at once, on the event loop; it is then queued. What queued during one turn of
the loop is appended to the log together, on the loop (a batch of 8 takes 0.1 ms), and the kernel waits for the disk
(`kernelsync.py`); a thread does where the kernel cannot, and for what is rare. Any step in a thread, be it only the
wait, costs more than it saves: thread and loop take the interpreter from each other. While the disk is waited for, the
next batch gathers. Readers (`get`, `scan`, `watch`) see a change only after its commit; `head` sees it at once, so that
read-modify-write chains do not wait for the disk. Who is told of a commit first has some turns of the loop to make
something of it; writers and late subscribers are told then, or when the next batch is at the disk. A failed commit
takes back its batch and all that was queued behind it: nothing that was not on disk is ever shown. Numbers of failed
writes are not used again by this process. After a failed sync nobody knows what the disk has, so nothing more is
written until the store is opened anew.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from switchboard.store.disk import Disk, Row, checksum
from switchboard.store.errors import Changed, StoreError
from switchboard.store.feed import Feed, Sink, Subscription, Watch
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
_TURNS = 3  # of the loop, in which who is told first has read, decided and written


class _Write:
    """A change on its way to the disk."""

    __slots__ = ("deleted", "done", "previous", "record")

    def __init__(self, record: Record, previous: Record | None, deleted: bool, done: asyncio.Future[Record]) -> None:
        self.record = record
        self.previous = previous
        self.deleted = deleted
        self.done = done


def _row(write: _Write) -> Row:
    record = write.record
    key, value = record.key, record.value
    return Row(record.revision, key, record.created, int(write.deleted), value, checksum(key, value))


class Store:
    """Durable keys with revisions and a feed of changes. Use from one event loop; open with `Store.open`."""

    def __init__(self, disk: Disk, index: Index | None, history: int, history_bytes: int) -> None:
        self._disk = disk
        self._packer = Packer()
        self._home = Home(index, self._packer.unpacked)
        floor = disk.floor()
        self._history = History(floor, history, history_bytes)
        self._garbage: list[Event] = []  # dropped from the history, rows still on disk
        self._feed, self._late_feed = Feed(), Feed()
        self._untold: list[tuple[list[_Write], list[Event]]] = []  # commits that only the first have been told of
        self._pending: dict[str, _Write] = {}  # the newest write on its way, by key
        self._queue: list[_Write] = []
        self._busy = False  # the writer has a batch, or a hand-over is scheduled
        self._closed = False
        self._broken: Exception | None = None  # a sync failed
        self._idle: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._kernel: KernelSync | None = None
        self._packing: asyncio.TimerHandle | None = None
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.revision = floor
        self._state = self._load(floor)
        self._assigned = self.revision
        self._thread = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._thread.start()

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
        write = self._pending.get(key)
        if write is None:
            return self._state.get(key)
        return None if write.deleted else write.record

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
        return self._untold[0][1][0].revision - 1 if self._untold else self.revision

    # Watching

    def watch(self, prefix: str, since: int, *, limit: int = WATCH_LIMIT) -> Watch:
        """Every change under `prefix` after revision `since`, replayed and then live.

        Raises Compacted. The iterator raises Overflow once the reader is more than `limit` events behind.
        """
        watch = Watch(self._replay(prefix, since), limit)
        watch.attach(self._feed.add(prefix, max(since, self.revision), watch.feed, watch.close))
        return watch

    def subscribe(
        self, prefix: str, since: int, sink: Sink, ended: Callable[[], None] | None = None, *, late: bool = False
    ) -> Subscription:
        """As `watch`, without a buffer: `sink(events)` is called on the loop, at once for what is to be replayed.

        The list is shared by all sinks and must not be changed. A sink that raises is dropped. `ended` is called if the
        store closes first. `late`: told together with the writers, after the others. Raises Compacted.
        """
        self._require_open()
        replay = self._replay(prefix, since)
        feed = self._late_feed if late else self._feed
        subscription = feed.add(prefix, max(since, self.revision), sink, ended)
        if replay:
            sink(replay)
        return subscription

    def _replay(self, prefix: str, since: int) -> list[Event]:
        self._require_open()
        return [event for event in self._history.since(since) if event.record.key.startswith(prefix)]

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
        write = _Write(record, previous, deleted, loop.create_future())
        self._pending[record.key] = write
        self._queue.append(write)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._hand_over)  # what else this turn of the loop writes comes along
        return write.done

    def _hand_over(self) -> None:
        size = 0
        count = 0
        for write in self._queue:
            size += len(write.record.value)
            count += 1
            if size >= _MAX_BATCH_BYTES:
                break
        batch = self._queue[:count]
        del self._queue[:count]
        try:
            self._disk.append([_row(write) for write in batch])
        except Exception as error:
            self._committed(batch, error)
        else:
            self._make_durable(batch)
            self._tell()

    def _make_durable(self, batch: list[_Write]) -> None:
        log = self._disk.filled_log
        if self._kernel is not None and log is not None:
            if self._kernel.start(log, lambda error: self._synced(batch, error)):
                return
            self._kernel.close()
            self._kernel = None
        self._work.put(lambda: self._sync(batch))

    def _synced(self, batch: list[_Write], error: OSError | None) -> None:
        if error is not None:
            self._broken = self._disk.failure(error)
        self._committed(batch, self._broken)

    # The thread, for what waits for the disk in Python

    def _write_loop(self) -> None:
        while (job := self._work.get()) is not None:
            job()

    def _sync(self, batch: list[_Write]) -> None:
        error: Exception | None = None
        try:
            self._disk.sync()
        except Exception as caught:
            error = self._broken = caught
        self._call(lambda: self._committed(batch, error))

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

    def _committed(self, batch: list[_Write], error: Exception | None) -> None:
        if error is not None:
            self._fail(batch, error)
        else:
            events = [self._apply(write) for write in batch]
            self._garbage += self._history.trim()
            self._untold.append((batch, events))
            self._feed.publish(events)
            if len(self._untold) == 1:
                self._tell_after(_TURNS)
        self._next()

    def _tell_after(self, turns: int) -> None:
        """Tell the rest when the first have had their turns, unless a batch of theirs comes before."""
        if turns and self._untold:
            assert self._loop is not None
            self._loop.call_soon(self._tell_after, turns - 1)
        else:
            self._tell()

    def _tell(self) -> None:
        """Tell the rest: those who wrote, and late subscribers."""
        untold, self._untold = self._untold, []
        for batch, events in untold:
            self._late_feed.publish(events)
            for write in batch:
                if not write.done.done():
                    write.done.set_result(write.record)

    def _apply(self, write: _Write) -> Event:
        record = write.record
        if write.deleted:
            self._state.remove(record.key)
        else:
            self._state.put(record)
        if self._pending.get(record.key) is write:
            del self._pending[record.key]
        self.revision = record.revision
        event = Event(record, write.previous, write.deleted)
        self._history.append(event)
        self._packer.take(record)
        return event

    def _fail(self, batch: list[_Write], error: Exception) -> None:
        failure = error if isinstance(error, StoreError) else StoreError(f"the store failed: {error}")
        if not isinstance(error, StoreError):
            _log.error("the writer failed", exc_info=error)
        failed = batch + self._queue
        self._queue = []
        self._pending.clear()  # everything on its way was in this batch or queued behind it
        for write in failed:
            if not write.done.done():
                write.done.set_exception(failure)

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

    _compact_at = _COMPACT

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
        self._tell()
        if self._packing is not None:
            self._packing.cancel()
        self._feed.close()
        self._late_feed.close()
        if self._kernel is not None:
            self._kernel.close()
        self._work.put(None)
        await loop.run_in_executor(None, self._thread.join)
        self._disk.close()
