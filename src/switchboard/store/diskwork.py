"""What a store waits for the disk with, one job at a time, each told of on the event loop when it is over.

A sync is left to the kernel where that can (`kernelsync.py`). A thread does it where not, and what is rare: folding the
log, deleting old rows.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from switchboard.store.disk import Disk
from switchboard.store.kernelsync import KernelSync

_log = logging.getLogger(__name__)
Done = Callable[[Exception | None], None]  # why it failed


class DiskWork:
    """The jobs at one disk. Whoever begins one does not use the disk until it is told of its end."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._loop: asyncio.AbstractEventLoop | None = None
        self._kernel: KernelSync | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._worker.start()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop that is told; before the first job."""
        self._loop = loop
        self._kernel = KernelSync.open(loop)

    def sync(self, done: Done) -> None:
        """Make durable what was appended; StoreError if the disk does not."""
        log = self._disk.filled_log
        if self._kernel is not None and log is not None:
            if self._kernel.start(log, lambda error: done(None if error is None else self._disk.failure(error))):
                return
            self._kernel.close()
            self._kernel = None
        self._jobs.put(lambda: self._do(self._disk.sync, done))

    def checkpoint(self, done: Done) -> None:
        """Fold the write-ahead log into the database."""
        self._jobs.put(lambda: self._do(self._disk.checkpoint, done))

    def compact(self, floor: int, revisions: list[int], done: Done) -> None:
        """Delete the rows of these revisions, and remember the new floor."""
        self._jobs.put(lambda: self._do(lambda: self._disk.compact(floor, revisions), done))

    async def close(self) -> None:
        """No more jobs; the thread ends."""
        if self._kernel is not None:
            self._kernel.close()
        self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._worker.join)

    # The thread

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _do(self, job: Callable[[], None], done: Done) -> None:
        failed: Exception | None = None
        try:
            job()
        except Exception as error:
            failed = error
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(done, failed)
        except RuntimeError:
            _log.debug("the event loop is gone; a commit has nobody to tell")
