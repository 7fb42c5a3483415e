"""What a name has, as the zone tells it: code, records, and what it all depends on."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from switchboard.dns import message as m
from switchboard.dns.message import Record

TTL = 5  # seconds, as CoreDNS; a changed Service must not be remembered long by clients
VERSION_TTL = 28800  # of the schema's version, which does not change while the server runs (specification 2.2)
NEGATIVE_TTL = 5  # SOA minimum: how long clients may remember that a name is absent
_UDP_SAMPLE = 129  # records of which not all fit into an answer of 1232 bytes, whatever their type


@dataclass(slots=True)
class Answer:
    """What a name has: the code, the records, and the keys that it depends on.

    Of the answers, aliases come first, and then what was asked for. `chase` is the wire name of an alias that lies
    outside the zone and is still to be resolved; `foreign` says that the name is none of ours (to be forwarded);
    `shuffle`, that the order of answers should change from client to client.
    """

    rcode: int = m.NOERROR
    answers: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    depends: tuple[Hashable, ...] = ()
    chase: bytes = b""
    foreign: bool = False
    shuffle: bool = False
    apex: bytes = b""  # of the reverse zone that the answer is from; the cluster's own zone when empty

    def has(self, qtype: int) -> bool:
        """Whether a record of the type is among the answers; without one, the SOA goes along (RFC 2308)."""
        return bool(self.answers) and qtype in (self.answers[-1].type, m.ANY)

    def shuffled(self, *, udp: bool) -> list[Record]:
        """The answers in another order, but for the aliases that they begin with. Over UDP no more than would be cut
        anyway."""
        first = next((i for i, r in enumerate(self.answers) if r.type != m.CNAME), len(self.answers))
        rest = self.answers[first:]
        count = min(len(rest), _UDP_SAMPLE) if udp else len(rest)
        return self.answers[:first] + random.sample(rest, count)


def of_type(records: Iterable[Record], qtype: int, *, shuffle: bool = False) -> Answer:
    """The records of the type that was asked for; none of them is an answer too (NODATA)."""
    return Answer(answers=[r for r in records if qtype in (r.type, m.ANY)], shuffle=shuffle)
