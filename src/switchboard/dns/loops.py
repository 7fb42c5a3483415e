"""Loops: an upstream that leads back to ourselves. A probe asks it for a name that nobody but us can answer.

The name's last label is made anew at every start, before worker processes part ways, so any of them knows it. Who gets
the mark as an answer has asked himself. CoreDNS's loop plugin ends the program; we only stop asking that upstream.
"""

from __future__ import annotations

import os

from switchboard.dns import message as m
from switchboard.dns.cache import Question
from switchboard.dns.message import Query, Record

_MARK = "sb" + os.urandom(12).hex()
_SUFFIX = m.encode_name(_MARK)
_RDATA = m.txt_rdata(_MARK)


def probe() -> Question:
    """A question that no cache has seen."""
    return m.encode_name(f"{os.urandom(8).hex()}.{_MARK}"), m.TXT, m.CLASS_IN, False, False


def recognised(query: Query) -> bytes | None:
    """The answer to a probe of our own that came back; None for any other query."""
    if not query.name.endswith(_SUFFIX):
        return None
    return m.build(query, m.NOERROR, [Record(query.name, m.TXT, 0, _RDATA)])


def came_back(answers: list[Record]) -> bool:
    """Whether the answer to a probe is our own."""
    return any(r.type == m.TXT and r.rdata == _RDATA for r in answers)
