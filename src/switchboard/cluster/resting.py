"""When a process is at rest, so that it gives back what only its work needed (`pages`): once when its start is over,
and again after each stretch of work.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .pages import give_back, page_out
from .supervise import start_time

_SETTLED = 2.0  # seconds after its start a role is at rest
_LOOK = 5.0  # seconds between looks whether it is again
_WORKED, _QUIET = 0.15, 0.03  # seconds on a processor since it last rested, and since the last look
_STEADY, _LOOKS = 0.15, 12  # at most so many between two looks, for so many looks: it does not get quieter


def rest(loop: asyncio.AbstractEventLoop) -> None:
    """Have this process settle when its start is over, and give memory back whenever it is quiet after work."""
    quiet = Quiet(give_back)
    loop.call_later(_SETTLED, settle)
    loop.call_later(_SETTLED + _LOOK, _follow, loop, lambda: quiet.look(time.process_time()))


def settle() -> None:
    """Once, when the start is over. What is alive now will mostly stay: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    give_back()


def rest_others(loop: asyncio.AbstractEventLoop, processes: Path, names: tuple[str, ...]) -> None:
    """The same for processes that are not ours to change (the registry, half of which is run only when it starts):
    `names` of those in the supervisor's `processes` file.
    """
    known: dict[int, Quiet] = {}

    def look() -> None:
        try:
            running = json.loads(processes.read_bytes())["processes"]
            pids = [running[name]["pid"] for name in names if name in running]
            for pid in [pid for pid in pids if pid and start_time(pid)]:
                known.setdefault(pid, Quiet(partial(page_out, pid), at_once=True)).look(processor_time(pid))
        except (OSError, ValueError, KeyError):
            return  # it went away, or there is no supervisor
        for pid in known.keys() - set(pids):
            del known[pid]

    loop.call_later(_SETTLED, _follow, loop, look)


def processor_time(pid: int) -> float:
    """Seconds a process was on processors (proc_pid_stat(5), utime and stime). OSError when there is none."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Quiet:
    """Calls `act` when a process that worked is quiet, or for a minute has had only a little to do again and again;
    `at_once` the first time, however little its start was.
    """

    def __init__(self, act: Callable[[], None], *, at_once: bool = False) -> None:
        self._act = act
        self._looked, self._rested = 0.0, -_WORKED if at_once else 0.0
        self._steady = 0  # looks since it last had much to do, or rested

    def look(self, used: float) -> bool:
        """`used`: its seconds on processors until now. Whether it was time to act."""
        step = used - self._looked
        self._steady = self._steady + 1 if step <= _STEADY else 0
        ready = (step <= _QUIET or self._steady >= _LOOKS) and used - self._rested >= _WORKED
        if ready:
            self._act()
            self._rested, self._steady = used, 0
        self._looked = used
        return ready


def _follow(loop: asyncio.AbstractEventLoop, look: Callable[[], object]) -> None:
    look()
    loop.call_later(_LOOK, _follow, loop, look)
