"""Copying bytes between two connections until both directions have ended."""

from __future__ import annotations

import asyncio

from switchboard.transport.messages import Connection


async def pipe(one: Connection, other: Connection) -> None:
    """Copy both ways; an end in one direction is passed on as a half-close, a failure closes both."""
    tasks = [asyncio.ensure_future(_copy(one, other)), asyncio.ensure_future(_copy(other, one))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if all(task.exception() is None for task in done):
            # The other direction may still have something to say, but not for ever.
            await asyncio.wait(tasks, timeout=None if len(done) == 2 else 30.0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        one.close()
        other.close()


async def _copy(source: Connection, sink: Connection) -> None:
    while data := await source.read():
        await sink.write(data)
    await sink.write_eof()
