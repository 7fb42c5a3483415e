"""The building of stand-in images as a process of its own, which `up` starts and which ends with its group."""

from __future__ import annotations

import os
import signal

from . import build


def main(arguments: list[str]) -> int:
    """As `build.main`; told to end, it ends at once, and so do the programs that work for it."""
    if os.getpid() == os.getpgrp():  # a group of its own: not those who started it
        signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    try:
        return build.main(arguments)
    except BrokenPipeError:  # nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
