"""Several processes on the same addresses (SO_REUSEPORT): one is made again when it dies, all end with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from types import FrameType

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_FORWARDED = (signal.SIGHUP, signal.SIGUSR1)
_TOO_SOON = 1.0  # seconds a worker should live; one that does not is made again only after as long


def run_workers(count: int) -> int:
    """Fork `count` workers and watch over them; gives a worker's number (from 0), in that worker only.

    With a count of 1 nothing is forked. The calling process never returns: it passes SIGHUP and SIGUSR1 on, makes a
    worker that died anew, and ends with its workers on SIGTERM and SIGINT. Call before any event loop exists.
    """
    if count <= 1:
        return 0
    workers: dict[int, tuple[int, float]] = {}  # pid -> number, when it was made

    def tell(number: int, _frame: FrameType | None) -> None:
        for pid in workers:
            os.kill(pid, number)
        if number not in _FORWARDED:
            for pid in list(workers):
                os.waitpid(pid, 0)
            sys.exit(0)

    for number in range(count):
        if _fork(workers, number):
            return number
    for name in (*_FORWARDED, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, tell)
    while True:
        pid, _ = os.wait()
        number, made = workers.pop(pid)
        if time.monotonic() - made < _TOO_SOON:
            time.sleep(_TOO_SOON)
        if _fork(workers, number):
            return number


def _fork(workers: dict[int, tuple[int, float]], number: int) -> bool:
    """Whether this is the new worker."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        workers[pid] = (number, time.monotonic())
        return False
    for name in (*_FORWARDED, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)
    return True
