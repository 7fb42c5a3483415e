"""Indexes of an indexed Job as text: `0,3-5,7`, each greater than the one before (validateIndexesFormat)."""

from __future__ import annotations

import json
import re

_NUMBER = re.compile(r"([+-]?)0*(\d{1,19})", re.ASCII)  # no longer than Go's int64


class WrongIndexes(Exception):
    """The text names no indexes of the Job; says why."""


def intervals(text: str, completions: int) -> list[tuple[int, int]]:
    """First and last index of each part. Raises WrongIndexes."""
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        first, last = _interval(part, completions)
        if found and found[-1][1] >= first:
            raise WrongIndexes(f"non-increasing order, previous: {found[-1][1]}, current: {first}")
        found.append((first, last))
    return found


def count_of(text: str, completions: int) -> int:
    """How many indexes the text names. Raises WrongIndexes."""
    return sum(last - first + 1 for first, last in intervals(text, completions))


def overlap(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> int | None:
    """The first index that is in both, if there is one."""
    at = there = 0
    while at < len(one) and there < len(other):
        (first, last), (start, end) = one[at], other[there]
        if first <= end and start <= last:
            return max(first, start)
        if first <= start:
            at += 1
        else:
            there += 1
    return None


def _interval(text: str, completions: int) -> tuple[int, int]:
    limits = text.split("-")
    if len(limits) > 2:
        raise WrongIndexes(
            f"the fragment {json.dumps(text)} violates the requirement that an index interval can have at most two "
            "parts separated by '-'"
        )
    numbers = []
    for limit in limits:
        found = _NUMBER.fullmatch(limit)
        if found is None:
            raise WrongIndexes(f"cannot convert string to integer for index: {json.dumps(limit)}")
        numbers.append(int(found[1] + found[2]))
        if numbers[-1] >= completions:
            raise WrongIndexes(f"too large index: {json.dumps(limit)}")
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise WrongIndexes(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]
