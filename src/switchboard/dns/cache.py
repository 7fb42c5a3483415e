"""Answers from the world outside, kept for as long as they may be (RFC 1035 TTLs, RFC 2308 for absence).

An answer whose time is over is still good when nobody outside can be reached (serve-stale, RFC 8767). That nobody could
answer is remembered as well, for seconds (RFC 9520). Pure: the clock is given with every call.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from switchboard.dns import message as m
from switchboard.dns.message import Record

Question = tuple[bytes, int, int, bool, bool]  # name, type, class, DO, CD

MAX_TTL = 3600  # seconds, as CoreDNS's cache
MAX_NEGATIVE_TTL = 1800
STALE_FOR = 3600  # how long after its end an answer may still be given when nobody answers
STALE_TTL = 30  # what a stale answer says of itself (RFC 8767 section 4)
SIZE = 10_000
FAILED_FOR = 1.0  # seconds a failure is remembered, doubled each time it happens again (RFC 9520 section 3.2: >= 1)
FAILED_FOR_MOST = 5.0  # as CoreDNS's cache; well below what RFC 9520 allows, or a mended name would stay dead for long


class Freshness(Enum):
    """What a kept answer is good for."""

    FRESH = "give it"
    ENDING = "give it, and ask again so that the next client need not wait"
    STALE = "give it only when nobody outside answers"


@dataclass(slots=True)
class Outcome:
    """What outside said: code, answers, authority, and whether it vouches for them (the AD bit, RFC 4035)."""

    rcode: int
    answers: list[Record]
    authority: list[Record]
    authentic: bool = False

    @property
    def failed(self) -> bool:
        """Whether it says nothing about the name: neither what it has nor that it is absent."""
        return self.rcode not in (m.NOERROR, m.NXDOMAIN)

    def aged(self, seconds: float, *, stale: bool = False) -> Outcome:
        """The same with TTLs counted down by `seconds` (or all at STALE_TTL)."""

        def ttl(record: Record) -> int:
            return STALE_TTL if stale else max(0, record.ttl - int(seconds))

        return Outcome(
            self.rcode,
            [r._replace(ttl=ttl(r)) for r in self.answers],
            [r._replace(ttl=ttl(r)) for r in self.authority],
            self.authentic and not stale,  # signatures end too
        )


@dataclass(slots=True)
class _Kept:
    outcome: Outcome
    stored: float
    ttl: int
    hits: int = 0


@dataclass(slots=True)
class _Failure:
    outcome: Outcome
    until: float
    span: float  # for how long it is remembered


class Cache:
    """The most recently used answers, at most `size`."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._kept: OrderedDict[Question, _Kept] = OrderedDict()
        self._failures: OrderedDict[Question, _Failure] = OrderedDict()  # in the order in which they happened

    def __len__(self) -> int:
        return len(self._kept)

    def denials(self) -> int:
        """How many of them say that something is absent."""
        return sum(not kept.outcome.answers for kept in self._kept.values())

    def get(self, question: Question, now: float) -> tuple[Outcome, Freshness] | None:
        """The kept answer with its TTLs as of `now` (monotonic seconds), and what it is good for; or None."""
        kept = self._kept.get(question)
        if kept is None:
            return None
        self._kept.move_to_end(question)
        age = now - kept.stored
        if age >= kept.ttl:
            if age < kept.ttl + STALE_FOR:
                return kept.outcome.aged(age, stale=True), Freshness.STALE
            del self._kept[question]
            return None
        kept.hits += 1
        ending = kept.hits > 1 and kept.ttl - age < max(1.0, kept.ttl / 10)
        return kept.outcome.aged(age), Freshness.ENDING if ending else Freshness.FRESH

    def put(self, question: Question, outcome: Outcome, now: float) -> None:
        """Keep an answer, unless it may not be kept at all; a failure is kept beside the answer that was had before."""
        if outcome.failed:
            self._put_failure(question, outcome, now)
            return
        self._failures.pop(question, None)
        ttl = lifetime(outcome)
        if ttl <= 0:
            return
        self._kept[question] = _Kept(outcome, now, ttl)
        self._kept.move_to_end(question)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def failure(self, question: Question, now: float) -> Outcome | None:
        """How asking failed, so short a time ago that it is not worth asking again; or None."""
        failure = self._failures.get(question) if self._failures else None
        return failure.outcome if failure is not None and now < failure.until else None

    def forget_failures(self) -> None:
        """Ask about everything anew: something outside is mended."""
        self._failures.clear()

    def _put_failure(self, question: Question, outcome: Outcome, now: float) -> None:
        last = self._failures.pop(question, None)
        span = FAILED_FOR
        if last is not None and now < last.until + FAILED_FOR_MOST:  # one that was over long ago says nothing of this
            span = min(FAILED_FOR_MOST, last.span * 2)
        self._failures[question] = _Failure(outcome, now + span, span)
        while len(self._failures) > self._size:
            self._failures.popitem(last=False)


def lifetime(outcome: Outcome) -> int:
    """Seconds an answer may be kept: the least TTL; for absence the SOA's own TTL and minimum; 0 for failures."""
    if outcome.failed:
        return 0
    ttls = [r.ttl for r in outcome.answers]
    soa = next((r for r in outcome.authority if r.type == m.SOA), None)
    if soa is not None:  # absence, perhaps at the end of aliases
        return min(MAX_NEGATIVE_TTL, soa.ttl, int.from_bytes(soa.rdata[-4:], "big"), *ttls)
    if outcome.rcode == m.NOERROR and ttls:
        return min(MAX_TTL, *ttls)
    return 0  # RFC 2308 section 5: absence without an SOA is not to be kept
