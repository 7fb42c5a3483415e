"""Asks a Service again and again while something is done to it, and tells how long nobody answered."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

# One connection, kept; the first request that fails ends it.
HELD = """
import http.client, sys, time
asked = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
while True:
    asked.request("GET", "/")
    print("ok" if asked.getresponse().read() else "failed", flush=True)
    time.sleep(0.1)
"""


def fetching(url: str) -> str:
    """A shell script that asks for `url` for ever, each time on a new connection."""
    how = "failed: curl %{exitcode}, connected after %{time_connect} of %{time_total} s"
    ask = f"how=$(curl -s -m 1 -o /dev/null -w '{how}' {url}) && echo ok || echo \"$how\""
    return f"while :; do {ask}; sleep 0.05; done"


@dataclass(slots=True)
class Asker:
    """A process that prints `ok` or what failed once for each answer, read by a thread. Use it in a `with` block."""

    process: subprocess.Popen[Any]
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    gap: float = 0.0  # seconds, the longest without an answer
    _last: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Asker:
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._lock:
                if line.strip() != "ok":
                    self.failures.append(line.strip())
                    continue
                self.answered += 1
                now = time.monotonic()
                self.gap, self._last = max(self.gap, now - self._last), now

    @property
    def failed(self) -> int:
        """How often nobody answered; `failures` says how."""
        return len(self.failures)

    @property
    def alive(self) -> bool:
        """Whether it still asks."""
        return self.process.poll() is None

    def begin(self) -> None:
        """Count anew from here."""
        with self._lock:
            self.failures, self.answered, self.gap, self._last = [], 0, 0.0, time.monotonic()

    def more(self, count: int = 3) -> bool:
        """Wait until `count` more answers came; False when they do not come in 20 s."""
        wanted, deadline = self.answered + count, time.monotonic() + 20
        while self.answered < wanted and self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.answered >= wanted
