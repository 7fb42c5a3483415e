"""Where the server learns of the world outside: a resolv.conf and a hosts file, read again when they change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from switchboard.dns.upstream import Address

log = logging.getLogger(__name__)

_EVERY = 5.0  # seconds between looks


def nameservers(text: str) -> list[Address]:
    """The `nameserver` lines of a resolv.conf, at most three as the C library reads them (resolv.conf(5))."""
    found: list[Address] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            host = words[1].partition("%")[0]
            found.append(Address(host))
    return found[:3]


def searches(text: str) -> list[str]:
    """The domains of the last `search` line of a resolv.conf."""
    lines = [line.split() for line in text.splitlines()]
    return next((words[1:] for words in reversed(lines) if words[:1] == ["search"]), [])


def read(path: Path) -> str:
    """A file's text, "" when there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


async def follow(path: Path, changed: Callable[[str], None]) -> None:
    """Call `changed` with the file's text whenever it is another one than before; the first text is the caller's."""
    last = read(path)
    while True:
        await asyncio.sleep(_EVERY)
        text = read(path)
        if text != last:
            last = text
            log.info("%s changed: reading it again", path)
            changed(text)
