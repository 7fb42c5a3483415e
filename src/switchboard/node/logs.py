"""Containers' logs: lines as the runtime wrote them to disk, chosen, cut and followed as `kubectl logs` asks.

A line on disk is `<RFC 3339 time> <stdout|stderr> <P|F> <text>`; P is a part of a long line, F its last part (kubelet's
CRI logging format). Rules: what to take is decided line by line without I/O, the file is read in blocks; a followed log
ends when its container has ended and everything was sent. Source: staging/src/k8s.io/cri-client/pkg/logs/logs.go.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_BLOCK: Final = 64 * 1024
_PAUSE: Final = 0.05  # seconds between two looks at a followed file


class BadLogOptions(ValueError):
    """A query of `/containerLogs` that cannot be understood."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What part of a log is wanted; `since` in seconds since 1970."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit: int | None = None
    stream: str = "All"


def options_of(query: Mapping[str, str], now: float) -> LogOptions:
    """PodLogOptions from a query's parameters. Raises BadLogOptions."""
    since = None
    if (seconds := _number(query, "sinceSeconds")) is not None:
        since = now - seconds
    elif text := query.get("sinceTime"):
        try:
            since = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
        except ValueError as error:
            raise BadLogOptions(f'sinceTime: "{text}" is not a time') from error
    tail, limit = _number(query, "tailLines"), _number(query, "limitBytes")
    if limit is not None and limit < 1:
        raise BadLogOptions("limitBytes must be greater than 0")
    flags = {key: query.get(key, "").lower() in ("true", "1") for key in ("follow", "previous", "timestamps")}
    return LogOptions(**flags, tail=tail, since=since, limit=limit, stream=query.get("stream") or "All")


def _number(query: Mapping[str, str], key: str) -> int | None:
    text = query.get(key)
    if not text or (key == "tailLines" and text == "all"):
        return None
    try:
        value = int(text)
    except ValueError as error:
        raise BadLogOptions(f'{key}: "{text}" is not a number') from error
    if value < 0:
        raise BadLogOptions(f"{key} must be greater than or equal to 0")
    return value


class LineFilter:
    """Lines of the file -> bytes for the reader, by the options; `full` once limitBytes has been reached."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit
        self._inside = False  # the last piece was a part: its line goes on without a timestamp of its own
        self.full = False

    def take(self, line: bytes) -> bytes:
        """What the reader gets of one whole line of the file (with or without its newline); b"" for nothing."""
        parts = line.rstrip(b"\n").split(b" ", 3)
        if len(parts) < 3 or self.full:
            return b""
        stamp, stream, tag = parts[:3]
        text = parts[3] if len(parts) == 4 else b""
        if self._options.stream != "All" and stream.decode("latin-1") != self._options.stream.lower():
            return b""
        if self._options.since is not None and _time(stamp) < self._options.since:
            return b""
        partial = tag.split(b":")[0] == b"P"
        head = stamp + b" " if self._options.timestamps and not self._inside else b""
        self._inside = partial
        out = head + text + (b"" if partial else b"\n")
        if self._left is not None:
            out = out[: self._left]
            self._left -= len(out)
            self.full = self._left <= 0
        return out


def _time(stamp: bytes) -> float:
    """RFC 3339 with nanoseconds, as seconds; what is no time counts as very old."""
    text = stamp.decode("latin-1")
    try:
        whole, _, rest = text.partition(".")
        digits = rest.rstrip("Z").split("+")[0]
        base = datetime.fromisoformat(whole.rstrip("Z")).replace(tzinfo=UTC).timestamp()
        if "+" in rest or "-" in rest:  # an offset other than UTC: let the library do it, to the microsecond
            return datetime.fromisoformat(text).timestamp()
        return base + (int(digits) / 10 ** len(digits) if digits else 0.0)
    except ValueError:
        return 0.0


def tail_offset(file: int, lines: int) -> int:
    """Where the last `lines` lines of an open file begin; a line of parts counts as one."""
    end = os.fstat(file).st_size
    if lines <= 0:
        return end
    found, position, rest = 0, end, b""
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        block = os.pread(file, size, position) + rest
        starts = [0] if position == 0 else []
        at = block.find(b"\n")
        while at >= 0 and at + 1 < len(block):
            starts.append(at + 1)
            at = block.find(b"\n", at + 1)
        for start in reversed(starts):
            # A line begins here if what stands before it is not a part (P).
            if position == 0 and start == 0:
                return 0
            if _ends_line(block, start):
                found += 1
                if found == lines:
                    return position + start
        first = block.find(b"\n")
        rest = block if first < 0 else block[: first + 1]
        if starts and starts[0] and position > 0:
            rest = block[: starts[0]]
    return 0


def _ends_line(block: bytes, start: int) -> bool:
    """Whether the line of the file before `start` is whole or the last part of one."""
    before = block.rfind(b"\n", 0, start - 1) + 1
    parts = block[before:start].split(b" ", 3)
    return len(parts) < 3 or parts[2].split(b":")[0] != b"P"


def whole_lines(buffer: bytearray) -> Iterator[bytes]:
    """Take every whole line out of a buffer."""
    end = buffer.rfind(b"\n") + 1
    if end:
        lines = bytes(buffer[:end]).splitlines(keepends=True)
        del buffer[:end]
        yield from lines


async def read(path: Path, options: LogOptions, alive: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log as pieces of bytes. `alive` says whether more may come. Raises FileNotFoundError before the first."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    wanted = LineFilter(options)
    buffer = bytearray()
    try:
        offset = tail_offset(file, options.tail) if options.tail is not None else 0
        while not wanted.full:
            going = alive()  # asked before the read: what was written before the end is then seen by it
            block = os.pread(file, _BLOCK, offset)
            if block:
                offset += len(block)
                buffer += block
                if piece := b"".join(wanted.take(line) for line in whole_lines(buffer)):
                    yield piece
                else:
                    await asyncio.sleep(0)  # a long log of which nothing is wanted must not hold the loop
                continue
            if not options.follow:
                break
            fresh = _reopened(path, file)
            if fresh is not None:
                os.close(file)
                file, offset = fresh, 0
            elif not going:
                break
            else:
                await asyncio.sleep(_PAUSE)
        if buffer and (piece := wanted.take(bytes(buffer))):
            yield piece
    finally:
        os.close(file)


def _reopened(path: Path, file: int) -> int | None:
    """The new file at `path` when the log was rotated, or None."""
    try:
        if os.stat(path).st_ino == os.fstat(file).st_ino:
            return None
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def tail_text(path: Path, lines: int, limit: int) -> str:
    """The end of a log as text: what FallbackToLogsOnError puts into a container's termination message."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        offset = tail_offset(file, lines)
        wanted = LineFilter(LogOptions())
        data = bytearray(os.pread(file, max(0, os.fstat(file).st_size - offset), offset))
        text = b"".join(wanted.take(line) for line in whole_lines(data))
        return text[-limit:].decode("utf-8", "replace")
    finally:
        os.close(file)
