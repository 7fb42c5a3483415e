"""A private "host" for tests: a network namespace with only a loopback: no packet of a test meets the machine.

Files, processes and mounts are the machine's own; only the network is another one.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any


class Host:
    """A network namespace `sbt-<random>-host`, made on entering and taken away, with all that ran in it, on leaving."""

    def __init__(self, prefix: str = "sbt") -> None:
        self.name = f"{prefix}-{secrets.token_hex(3)}-host"

    @property
    def path(self) -> str:
        """The file that holds the namespace."""
        return f"/run/netns/{self.name}"

    def __enter__(self) -> Host:
        self._machine("ip", "netns", "add", self.name)
        self._machine("ip", "-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout.split()
        for pid in pids:
            try:
                os.kill(int(pid), 9)
            except ProcessLookupError:
                pass
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside. Not `ip netns exec`, which mounts a /sys without control groups."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(
        self, *argv: str, check: bool = True, env: Mapping[str, str] | None = None, timeout: float = 120, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end; with `check`, AssertionError that shows what it said."""
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": timeout} | more
        done = subprocess.run(self.argv(argv), env={**os.environ, **(env or {})}, **options)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def python(self, code: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run Python code inside, with this very interpreter."""
        return self.run(sys.executable, "-c", code, *arguments, **more)

    def popen(self, *argv: str, **more: Any) -> subprocess.Popen[Any]:
        """Start a program inside and go on."""
        return subprocess.Popen(self.argv(argv), **more)

    def _machine(self, *argv: str) -> None:
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{' '.join(argv)}: {done.stderr}")
