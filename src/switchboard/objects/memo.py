"""Results kept for short texts only: a client that sends long ones must not fill the memory with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

T = TypeVar("T")
LONGEST = 256  # characters; names, labels, quantities and times that repeat are far shorter


def memo(size: int) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """`lru_cache` for a pure function of one text, passed by for texts longer than `LONGEST`."""

    def wrap(function: Callable[[str], T]) -> Callable[[str], T]:
        kept = lru_cache(maxsize=size)(function)

        @wraps(function)
        def call(text: str) -> T:
            return kept(text) if len(text) <= LONGEST else function(text)

        return call

    return wrap
