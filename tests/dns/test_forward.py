"""Questions for the world outside, against servers on loopback; the cache by a table."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from switchboard.dns import message as m
from switchboard.dns import reply
from switchboard.dns.cache import Cache, Freshness, Outcome, lifetime
from switchboard.dns.forward import Forwarder
from switchboard.dns.listener import Listener
from switchboard.dns.message import Record
from switchboard.dns.responder import Responder
from switchboard.dns.sources import nameservers
from switchboard.dns.upstream import Address, Upstream
from switchboard.testing.certificates import Authority
from switchboard.testing.dnsclient import DnsClient, free_port, until
from switchboard.testing.upstream import SOA, FakeUpstream
from switchboard.testing.zones import cluster, query, service


def question(name: str, qtype: str = "A") -> tuple[bytes, m.Query]:
    asked = m.parse_query(query(name, qtype, edns=1232))
    return asked.name, asked


def addresses(outcome: Outcome) -> list[str]:
    return [socket.inet_ntoa(r.rdata) for r in outcome.answers if r.type == m.A]


@asynccontextmanager
async def asked_before(age: float, *, ttl: int) -> AsyncIterator[tuple[FakeUpstream, Forwarder]]:
    """A server outside, and a forwarder that got its answer about a.test so many seconds ago."""
    async with FakeUpstream({"a.test": ["192.0.2.1"]}, ttl=ttl) as outside:
        forwarder = Forwarder([Address("127.0.0.1", outside.port)])
        await forwarder.ask(*question("a.test"))
        next(iter(forwarder.cache._kept.values())).stored -= age
        yield outside, forwarder


async def test_an_answer_is_kept_and_shared() -> None:
    async with FakeUpstream({"a.test": ["192.0.2.1"]}) as outside:
        forwarder = Forwarder([Address("127.0.0.1", outside.port)])
        both = await asyncio.gather(*(forwarder.ask(*question("a.test")) for _ in range(5)))
        assert [addresses(o) for o in both] == [["192.0.2.1"]] * 5
        await forwarder.ask(*question("a.test"))
        absent = [await forwarder.ask(*question("no.test")) for _ in range(2)]
        assert {o.rcode for o in absent} == {m.NXDOMAIN}
        assert outside.asked == ["udp a.test. 1", "udp no.test. 1"]


async def test_a_cut_answer_is_fetched_over_tcp() -> None:
    many = [f"192.0.2.{i}" for i in range(1, 200)]
    async with FakeUpstream({"many.test": many}) as outside:
        outcome = await Forwarder([Address("127.0.0.1", outside.port)]).ask(*question("many.test"))
        assert len(outcome.answers) == 199
        assert outside.asked == ["udp many.test. 1", "tcp many.test. 1"]


async def test_the_next_server_is_asked_when_one_is_gone() -> None:
    async with FakeUpstream({"a.test": ["192.0.2.1"]}) as outside:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            dead = Address("127.0.0.1", free.getsockname()[1])
        forwarder = Forwarder([dead, Address("127.0.0.1", outside.port)])
        for name in ("a.test", "b.test", "c.test"):
            assert (await forwarder.ask(*question(name))).rcode in (m.NOERROR, m.NXDOMAIN)


async def test_without_upstreams_the_answer_comes_at_once() -> None:
    outcome = await asyncio.wait_for(Forwarder([]).ask(*question("a.test")), 0.5)
    assert outcome.rcode == m.SERVFAIL


async def test_stub_domains_have_their_own_servers() -> None:
    async with FakeUpstream({"x.corp.test": ["192.0.2.7"]}) as corp, FakeUpstream({"x.test": ["192.0.2.8"]}) as world:
        forwarder = Forwarder([Address("127.0.0.1", world.port)], {"corp.test": [Address("127.0.0.1", corp.port)]})
        assert addresses(await forwarder.ask(*question("x.corp.test"))) == ["192.0.2.7"]
        assert addresses(await forwarder.ask(*question("x.test"))) == ["192.0.2.8"]
        assert (await forwarder.ask(*question("xcorp.test"))).rcode == m.NXDOMAIN
        assert corp.asked == ["udp x.corp.test. 1"]


def test_what_may_be_kept_and_for_how_long() -> None:
    name = m.encode_name("a.test")
    found = Outcome(0, [Record(name, m.A, 100, b"\1\2\3\4")], [])
    assert [lifetime(o) for o in (found, Outcome(3, [], [SOA]), Outcome(0, [], []), Outcome(2, [], []))] == [
        100,
        30,
        0,
        0,
    ]
    cache, key = Cache(2), (name, 1, 1, False, False)
    cache.put(key, found, now=0)
    for now, state, ttl in ((40, Freshness.FRESH, 60), (95, Freshness.ENDING, 5), (150, Freshness.STALE, 30)):
        kept = cache.get(key, now)
        assert kept is not None and (kept[1], kept[0].answers[0].ttl) == (state, ttl)
    assert cache.get(key, 5000) is None


async def test_a_stale_answer_is_better_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard.dns.forward.TIMEOUT", 0.05)
    async with asked_before(10, ttl=1) as (outside, forwarder):
        outside.silent = True
        assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]


async def test_a_stale_answer_comes_before_the_client_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8767: the client does not wait for the whole time-out, and what comes late refreshes the cache."""
    monkeypatch.setattr("switchboard.dns.forward.STALE_AFTER", 0.05)
    async with asked_before(10, ttl=1) as (outside, forwarder):
        outside.silent = True
        assert (await forwarder.ask(*question("a.test"))).answers[0].ttl == 30
        assert forwarder.counted["stale"] == 1
        outside.silent = False  # the question is sent once more
        await asyncio.wait(list(forwarder._flights.values()), timeout=5)
        assert (await forwarder.ask(*question("a.test"))).answers[0].ttl <= 1


async def test_what_is_asked_for_often_is_fetched_before_it_ends() -> None:
    async with asked_before(95, ttl=100) as (outside, forwarder):
        for _ in range(3):
            assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]
        await asyncio.wait(list(forwarder._flights.values()), timeout=5)
        assert len(outside.asked) == 2 and forwarder.counted["prefetched"] == 1
        assert (await forwarder.ask(*question("a.test"))).answers[0].ttl > 90


async def test_a_lost_packet_is_not_a_lost_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard.dns.upstream._AGAIN", 0.05)
    async with FakeUpstream({"a.test": ["192.0.2.1"]}) as outside:
        outside.losses = 1
        forwarder = Forwarder([Address("127.0.0.1", outside.port)])
        assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]


async def test_when_all_are_down_they_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard.dns.forward.TIMEOUT", 0.1)
    async with FakeUpstream({}) as one, FakeUpstream({"a.test": ["192.0.2.1"]}) as two:
        forwarder = Forwarder([Address("127.0.0.1", one.port), Address("127.0.0.1", two.port)])
        one.silent = two.silent = True
        for name in ("b.test", "c.test", "d.test"):
            assert (await forwarder.ask(*question(name))).rcode == m.SERVFAIL
        assert forwarder.counted["broken"] == 1  # two failures in a row, and then they are known to be down
        two.silent = False
        assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]


async def test_a_failure_is_remembered_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9520: a name that cannot be resolved is not asked for again with every question."""
    monkeypatch.setattr("switchboard.dns.forward.TIMEOUT", 0.05)
    async with FakeUpstream({"a.test": ["192.0.2.1"]}) as outside:
        forwarder = Forwarder([Address("127.0.0.1", outside.port)])
        outside.silent = True
        assert [(await forwarder.ask(*question("a.test"))).rcode for _ in range(5)] == [m.SERVFAIL] * 5
        assert len(outside.seen) == 1 and forwarder.counted["failures"] == 4
        await forwarder.ask(*question("b.test"))  # the second failure in a row: it is probed from now on
        outside.silent = False

        async def mended() -> bool:
            return addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]

        await until(mended)
        assert forwarder.upstreams[0].failures == 0


def test_a_failure_that_comes_again_is_remembered_for_longer() -> None:
    failed, cache, key = Outcome(m.SERVFAIL, [], []), Cache(), (m.encode_name("a.test"), 1, 1, False, False)
    now, spans = 100.0, []
    for _ in range(5):
        cache.put(key, failed, now)
        spans.append(next(s for s in (1, 2, 4, 5, 6) if cache.failure(key, now + s) is None))
        assert cache.failure(key, now + spans[-1] - 0.01) is failed
        now += spans[-1]
    assert spans == [1, 2, 4, 5, 5]
    cache.put(key, failed, now + 60)
    assert cache.failure(key, now + 61) is None  # an old story
    cache.put(key, Outcome(m.NXDOMAIN, [], [SOA]), now + 62)
    cache.put(key, failed, now + 63)
    assert cache.failure(key, now + 64) is None
    cache.forget_failures()
    assert cache.failure(key, now + 63) is None


async def test_an_old_answer_is_given_while_a_failure_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard.dns.forward.TIMEOUT", 0.05)
    async with asked_before(10, ttl=1) as (outside, forwarder):
        outside.silent = True
        for _ in range(4):
            assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]
        assert len(outside.seen) == 2 and forwarder.counted["stale"] == 4


@pytest.mark.parametrize("code", [m.SERVFAIL, m.REFUSED])
async def test_an_old_answer_is_better_than_any_failure(code: int) -> None:
    async with asked_before(10, ttl=1) as (outside, forwarder):
        outside.refuses = code
        for _ in range(3):
            assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]
        assert len(outside.asked) == 2 and forwarder.counted["stale"] == 3


async def test_fetching_early_is_not_tried_again_at_once() -> None:
    async with asked_before(95, ttl=100) as (outside, forwarder):
        outside.refuses = m.SERVFAIL
        for _ in range(5):
            assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]
            if forwarder._flights:
                await asyncio.wait(list(forwarder._flights.values()), timeout=5)
        assert len(outside.asked) == 2 and forwarder.counted["prefetched"] == 1


async def test_failures_are_forgotten_when_a_question_finds_an_upstream_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard.dns.forward.TIMEOUT", 0.05)
    monkeypatch.setattr("switchboard.dns.forward._PROBE_EVERY", 600.0)  # nobody else finds it
    async with FakeUpstream({"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"]}) as outside:
        forwarder = Forwarder([Address("127.0.0.1", outside.port)])
        outside.silent = True
        for name in ("a.test", "c.test"):
            assert (await forwarder.ask(*question(name))).rcode == m.SERVFAIL
        outside.silent = False
        assert (await forwarder.ask(*question("a.test"))).rcode == m.SERVFAIL  # remembered
        assert addresses(await forwarder.ask(*question("b.test"))) == ["192.0.2.2"]
        assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]


async def test_ids_and_ports_change_from_question_to_question() -> None:
    async with FakeUpstream({}) as outside:
        forwarder = Forwarder([Address("127.0.0.1", outside.port)])
        await asyncio.gather(*(forwarder.ask(*question(f"x{i}.test")) for i in range(60)))
        assert len({ident for ident, _ in outside.seen}) > 50
        assert len({port for _, port in outside.seen}) >= 4


async def test_dns_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    monkeypatch.setattr("switchboard.dns.upstream._tls", lambda: trusting)
    async with FakeUpstream({"a.test": ["192.0.2.1"]}, tls=authority.server_context()) as outside:
        good = Forwarder([Address("127.0.0.1", outside.port, "127.0.0.1")])
        both = await asyncio.gather(good.ask(*question("a.test")), good.ask(*question("a.test", "AAAA")))
        assert [o.rcode for o in both] == [0, 0] and addresses(both[0]) == ["192.0.2.1"]
        assert {line.split()[0] for line in outside.asked} == {"tcp"}
        wrong = Forwarder([Address("127.0.0.1", outside.port, "other.example")])
        assert (await wrong.ask(*question("a.test"))).rcode == m.SERVFAIL


async def _found_out(forwarder: Forwarder) -> bool:
    return bool(forwarder.counted["loops"])


async def test_a_loop_is_found_and_not_walked_again() -> None:
    """Two servers that forward to each other: each finds out, and answers at once from then on."""
    ports = [free_port(), free_port()]
    pairs: list[tuple[Listener, Forwarder]] = []
    for own, other in (ports, reversed(ports)):
        forwarder = Forwarder([Address("127.0.0.1", other)])
        listener = Listener(Responder(cluster()), forwarder)
        await listener.open(["127.0.0.1"], own)
        pairs.append((listener, forwarder))
    watch = asyncio.ensure_future(pairs[0][1].watch_for_loops())
    try:
        await until(lambda: _found_out(pairs[0][1]))
        client = DnsClient(ports[0])
        started = time.monotonic()
        assert await client.ask("www.example.com") == "SERVFAIL"
        assert time.monotonic() - started < 0.5  # no time-out was waited for
        client.close()
    finally:
        watch.cancel()
        for listener, _ in pairs:
            listener.close()


@pytest.mark.parametrize("code", [m.FORMERR, m.NOTIMP])
@pytest.mark.parametrize("bare", [False, True])
async def test_a_server_without_edns_is_asked_without(code: int, bare: bool) -> None:
    async with FakeUpstream({"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"]}) as outside:
        outside.edns, outside.bare = code, bare
        forwarder = Forwarder([Address("127.0.0.1", outside.port)])
        assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.1"]
        assert addresses(await forwarder.ask(*question("b.test"))) == ["192.0.2.2"]
        assert outside.asked == ["udp a.test. 1"] * 2 + ["udp b.test. 1"]  # and it is remembered
        outside.edns, upstream = 0, forwarder.upstreams[0]
        upstream.plain_until = 0.0
        await forwarder.ask(*question("no.test"))
        assert upstream.plain_until == 0.0 and upstream.failures == 0


async def test_what_no_server_understands_is_told() -> None:
    async with FakeUpstream({}) as outside, FakeUpstream({"a.test": ["192.0.2.1"]}) as other:
        outside.names = {m.encode_name("a.test"): []}
        outside.refuses = m.NOTIMP
        first, second = (Address("127.0.0.1", o.port) for o in (outside, other))
        assert (await Forwarder([first]).ask(*question("a.test"))).rcode == m.NOTIMP
        assert addresses(await Forwarder([first, second]).ask(*question("a.test"))) == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("flags", "do", "name", "wanted"),
    [
        (m.RD, False, "a.test", False),
        (m.RD | m.AD, False, "a.test", True),
        (m.RD, True, "a.test", True),
        (m.RD | m.AD, False, "out.default.svc.cluster.local", False),  # begins with an alias of ours
        (m.RD | m.AD, False, "web.default.svc.cluster.local", False),
    ],
)
async def test_who_asks_whether_an_answer_was_validated_hears_it(flags: int, do: bool, name: str, wanted: bool) -> None:
    async with FakeUpstream({"a.test": ["192.0.2.1"], "foo.example.com": ["192.0.2.9"]}) as outside:
        outside.validates = True
        listener, port = Listener(Responder(cluster()), Forwarder([Address("127.0.0.1", outside.port)])), free_port()
        await listener.open(["127.0.0.1"], port)
        client = Upstream(Address("127.0.0.1", port))
        asked = bytearray(query(name, edns=1232, flags=flags))
        asked[-4] |= 0x80 if do else 0
        try:
            for _ in range(2):  # from outside, then from the cache
                raw = await client.ask(bytes(asked), 3.0)
                assert len(reply.parse_answer(raw)[1]) >= 1 and bool(raw[3] & m.AD) == wanted
        finally:
            client.close()
            listener.close()


async def test_upstreams_change_without_losing_a_question() -> None:
    async with FakeUpstream({"a.test": ["192.0.2.1"]}) as old, FakeUpstream({"a.test": ["192.0.2.2"]}) as new:
        forwarder = Forwarder([Address("127.0.0.1", old.port)])
        asked = [asyncio.ensure_future(forwarder.ask(*question(f"x{i}.test"))) for i in range(100)]
        await asyncio.sleep(0)
        forwarder.configure([Address("127.0.0.1", new.port)], {})
        assert {o.rcode for o in await asyncio.gather(*asked)} == {m.NXDOMAIN}
        assert addresses(await forwarder.ask(*question("a.test"))) == ["192.0.2.2"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1.2.3.4", Address("1.2.3.4")),
        ("1.2.3.4:5353", Address("1.2.3.4", 5353)),
        ("[fd00::1]:54", Address("fd00::1", 54)),
        ("fd00::1", Address("fd00::1")),
        ("tls://1.1.1.1#one.test", Address("1.1.1.1", 853, "one.test")),
    ],
)
def test_upstream_addresses(text: str, wanted: Address) -> None:
    assert Address.parse(text) == wanted


def test_resolv_conf() -> None:
    servers = ["10.0.0.1", "fe80::1%eth0", "3.3.3.3", "4.4.4.4"]
    text = "# c\noptions x\nsearch a\n" + "".join(f"nameserver {s}\n" for s in servers)
    assert [a.host for a in nameservers(text)] == ["10.0.0.1", "fe80::1", "3.3.3.3"]


async def test_over_sockets() -> None:
    """UDP and TCP on one loopback port: zone, outside, parallel A and AAAA from one port, a change at once."""
    zone = cluster()
    async with FakeUpstream({"foo.example.com": ["192.0.2.9"]}) as outside:
        listener = Listener(Responder(zone), Forwarder([Address("127.0.0.1", outside.port)]))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        await listener.open(["127.0.0.1"], port)
        try:
            client = Forwarder([Address("127.0.0.1", port)])
            pair = await asyncio.gather(
                client.ask(*question("two.default.svc.cluster.local")),
                client.ask(*question("two.default.svc.cluster.local", "AAAA")),
            )
            assert [len(o.answers) for o in pair] == [1, 1]
            chased = await client.ask(*question("out.default.svc.cluster.local"))
            assert [r.type for r in chased.answers] == [m.CNAME, m.A] and addresses(chased) == ["192.0.2.9"]
            name, asked = question("new.default.svc.cluster.local")
            assert (await client.ask(name, asked)).rcode == m.NXDOMAIN
            listener._responder.forget(zone.put_service(("default", "new"), service("new", ip="10.96.0.77")))
            client.cache = Cache()
            started = time.monotonic()
            assert addresses(await client.ask(name, asked)) == ["10.96.0.77"]
            assert time.monotonic() - started < 5
        finally:
            listener.close()
