"""Work that comes in bursts leaves others their turn of the loop: a server in the same process must not stall."""

from __future__ import annotations

import asyncio
import time
from typing import Final

TURN: Final = 0.0005  # seconds of work at a time


async def turn(until: float, seconds: float = TURN) -> float:
    """Let others run once the time is over; gives the end of the (next) turn."""
    if time.monotonic() < until:
        return until
    await asyncio.sleep(0)
    return time.monotonic() + seconds
