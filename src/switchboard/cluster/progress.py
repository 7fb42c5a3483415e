"""Says what is done while it is done: one line per step, with the time it took."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Lines of `<what> <how it went> <milliseconds>`; on a terminal the line being worked on shows what is going on."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._shown = ""
        self.start = time.monotonic()
        self.times: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.start

    def say(self, text: str) -> None:
        """A line of its own."""
        self._clear()
        self._write(text + "\n")

    def doing(self, text: str) -> None:
        """What is going on: a line that the next one replaces; without a terminal, a line if it is a new one."""
        if text == self._shown:
            return
        self._clear()
        self._shown = text
        self._write(f"  ... {text}" if self._live else f"  ... {text}\n")

    def done(self, what: str, how: str, since: float) -> None:
        """A step is finished that began at `since` (seconds after the beginning)."""
        self._clear()
        self.times[what] = self.elapsed
        self._write(f"  {what:<14}{how:<52}{_duration(self.elapsed - since):>9}\n")

    def _clear(self) -> None:
        if self._live and self._shown:
            self._write("\r\x1b[K")
        self._shown = ""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
