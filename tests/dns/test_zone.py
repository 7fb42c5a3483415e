"""Which records a name has: a table that reads like dig."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.dns import message as m
from switchboard.dns import reply
from switchboard.dns.hosts import Hosts
from switchboard.dns.responder import Forward, Responder
from switchboard.dns.zone import Zone
from switchboard.testing.zones import ask, cluster, piece, query, service

TABLE = """
web.default.svc.cluster.local              A      A 10.96.0.7
WEB.Default.svc.Cluster.local.             A      A 10.96.0.7
web.default.svc.cluster.local              AAAA   NODATA
web.default.svc.cluster.local              TXT    NODATA
web.prod.svc.cluster.local                 A      A 10.96.0.8
two.default.svc.cluster.local              A      A 10.96.0.9
two.default.svc.cluster.local              AAAA   AAAA fd00::9
nobody.default.svc.cluster.local           A      NXDOMAIN
web.nowhere.svc.cluster.local              A      NXDOMAIN
_http._tcp.web.default.svc.cluster.local   SRV    SRV 80 web.default.svc.cluster.local.
_dns._udp.web.default.svc.cluster.local    SRV    SRV 53 web.default.svc.cluster.local.
_http._udp.web.default.svc.cluster.local   SRV    NXDOMAIN
_http._tcp.web.default.svc.cluster.local   A      NODATA
_tcp.web.default.svc.cluster.local         A      NODATA
_sctp.web.default.svc.cluster.local        A      NXDOMAIN
db.default.svc.cluster.local               A      A 10.244.0.5 | A 10.244.0.6
db-0.db.default.svc.cluster.local          A      A 10.244.0.5
10-244-0-6.db.default.svc.cluster.local    A      A 10.244.0.6
db-2.db.default.svc.cluster.local          A      NXDOMAIN
out.default.svc.cluster.local              CNAME  CNAME foo.example.com.
alias.default.svc.cluster.local            A      A 10.96.0.7 | CNAME web.default.svc.cluster.local.
alias.default.svc.cluster.local            AAAA   CNAME web.default.svc.cluster.local.
10-244-3-9.default.pod.cluster.local       A      A 10.244.3.9
10-244-3-9.nowhere.pod.cluster.local       A      NXDOMAIN
10-244-3-999.default.pod.cluster.local     A      NXDOMAIN
7.0.96.10.in-addr.arpa                     PTR    PTR web.default.svc.cluster.local.
5.0.244.10.in-addr.arpa                    PTR    PTR db-0.db.default.svc.cluster.local.
77.0.96.10.in-addr.arpa                    PTR    NXDOMAIN
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa PTR PTR two.default.svc.cluster.local.
default.svc.cluster.local                  A      NODATA
svc.cluster.local                          A      NODATA
cluster.local                              A      NODATA
cluster.local                              SOA    SOA
cluster.local                              NS     NS ns.dns.cluster.local.
ns.dns.cluster.local                       A      A 10.96.0.10
dns-version.cluster.local                  TXT    TXT 1.1.0
x.cluster.local                            A      NXDOMAIN
*.default.svc.cluster.local                A      NXDOMAIN
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_names(line: str) -> None:
    name, qtype, wanted = line.split(None, 2)
    assert ask(Responder(cluster()), name, qtype) == wanted


def test_a_headless_port_names_every_endpoint() -> None:
    wanted = "SRV 80 10-244-0-6.db.default.svc.cluster.local. | SRV 80 db-0.db.default.svc.cluster.local."
    assert ask(Responder(cluster()), "_http._tcp.db.default.svc.cluster.local", "SRV") == wanted


def test_a_question_keeps_its_letters() -> None:
    out = Responder(cluster()).answer(query("wEb.DEFAULT.svc.cluster.local"), "10.0.0.1")
    assert isinstance(out, bytes) and b"\x03wEb\x07DEFAULT" in out


def test_foreign_names_are_forwarded() -> None:
    found = Responder(cluster()).answer(query("example.com"), "10.0.0.1")
    assert isinstance(found, Forward) and m.text(found.name) == "example.com."
    chased = Responder(cluster()).answer(query("out.default.svc.cluster.local"), "10.0.0.1")
    assert isinstance(chased, Forward) and m.text(chased.name) == "foo.example.com." and len(chased.prefix) == 1


def test_a_new_name_answers_at_once_after_its_absence_was_asked_for() -> None:
    zone = cluster()
    responder = Responder(zone)
    for name in ("late.default.svc.cluster.local", "4.0.96.10.in-addr.arpa", "fresh.svc.cluster.local"):
        assert ask(responder, name, "ANY") == "NXDOMAIN"
    responder.forget(zone.put_service(("default", "late"), service("late", ip="10.96.0.4")))
    responder.forget(zone.put_service(("fresh", "x"), service("x", "fresh", "10.96.0.5")))
    assert ask(responder, "late.default.svc.cluster.local") == "A 10.96.0.4"
    assert ask(responder, "4.0.96.10.in-addr.arpa", "PTR") == "PTR late.default.svc.cluster.local."
    assert ask(responder, "fresh.svc.cluster.local") == "NODATA"
    responder.forget(zone.put_service(("default", "late"), None))
    assert ask(responder, "late.default.svc.cluster.local") == "NXDOMAIN"


def test_headless_endpoints_come_and_go() -> None:
    zone = cluster()
    responder = Responder(zone)
    assert ask(responder, "db.default.svc.cluster.local") == "A 10.244.0.5 | A 10.244.0.6"
    one = piece("db", "default", [{"addresses": ["10.244.0.8"]}], [{"name": "http", "port": 80}])
    responder.forget(zone.put_slice(("default", "db"), "db-1", one))
    assert ask(responder, "db.default.svc.cluster.local") == "A 10.244.0.8"
    assert ask(responder, "5.0.244.10.in-addr.arpa", "PTR") == "NXDOMAIN"
    responder.forget(zone.put_slice(("default", "db"), "db-1", None))
    assert ask(responder, "db.default.svc.cluster.local") == "NXDOMAIN"  # specification 2.4.1


def test_answers_that_do_not_fit_are_cut_for_udp_only() -> None:
    zone = cluster()
    many = [{"addresses": [f"10.244.{i // 250}.{i % 250}"]} for i in range(2000)]
    zone.put_slice(("default", "db"), "db-1", piece("db", "default", many, [{"name": "http", "port": 80}]))
    responder = Responder(zone)
    small = responder.answer(query("db.default.svc.cluster.local"), "10.0.0.1")
    large = responder.answer(query("db.default.svc.cluster.local", edns=4096), "10.0.0.1")
    whole = responder.answer(query("db.default.svc.cluster.local"), "10.0.0.1", udp=False)
    assert isinstance(small, bytes) and isinstance(large, bytes) and isinstance(whole, bytes)
    assert len(small) <= 512 and small[2] & 2
    assert 512 < len(large) <= 1232 and large[2] & 2
    assert len(reply.parse_answer(whole)[1]) == 2000 and not whole[2] & 2


def test_search_path_is_walked_for_the_asking_pod() -> None:
    responder = Responder(cluster(), {"10.244.0.99": "default", "10.244.0.98": "prod"}.get)
    walked = ask(responder, "web.prod.default.svc.cluster.local")
    assert walked == "A 10.96.0.8 | CNAME web.prod.svc.cluster.local."
    assert ask(responder, "web.prod.default.svc.cluster.local", client="10.244.0.98") == "NXDOMAIN"
    assert ask(responder, "nobody.default.svc.cluster.local") == "NXDOMAIN"
    outside = responder.answer(query("example.com.default.svc.cluster.local"), "10.244.0.99")
    assert isinstance(outside, Forward) and m.text(outside.name) == "example.com." and outside.fallback


def test_aliases_within_the_zone_end_and_stay_true() -> None:
    zone = cluster()
    responder = Responder(zone)

    def alias(name: str, target: str) -> None:
        made = service(name, ip=[], type="ExternalName", externalName=target)
        responder.forget(zone.put_service(("default", name), made))

    alias("round", "trip.default.svc.cluster.local")
    alias("trip", "round.default.svc.cluster.local")
    assert ask(responder, "round.default.svc.cluster.local") == "SERVFAIL"
    alias("far", "near.default.svc.cluster.local")
    assert ask(responder, "far.default.svc.cluster.local") == "NXDOMAIN"
    responder.forget(zone.put_service(("default", "near"), service("near", ip="10.96.0.50")))
    near = "CNAME near.default.svc.cluster.local."
    assert ask(responder, "far.default.svc.cluster.local") == f"A 10.96.0.50 | {near}"
    responder.forget(zone.put_service(("default", "near"), service("near", ip="10.96.0.51")))
    assert ask(responder, "far.default.svc.cluster.local") == f"A 10.96.0.51 | {near}"
    alias("number", "192.0.2.1")  # as CoreDNS: an address is no name to be an alias of
    assert ask(responder, "number.default.svc.cluster.local") == "NXDOMAIN"


def test_namespaces_without_services() -> None:
    zone = cluster()
    responder = Responder(zone)
    assert ask(responder, "10-1-2-3.empty.pod.cluster.local") == "NXDOMAIN"
    responder.forget(zone.put_namespace("empty", True))
    assert ask(responder, "10-1-2-3.empty.pod.cluster.local") == "A 10.1.2.3"
    assert ask(responder, "fd00--1.empty.pod.cluster.local", "AAAA") == "AAAA fd00::1"
    assert ask(responder, "empty.svc.cluster.local") == "NODATA"
    responder.forget(zone.put_namespace("empty", False))
    assert ask(responder, "empty.svc.cluster.local") == "NXDOMAIN"


def test_names_as_long_as_they_may_be() -> None:
    zone = cluster()
    responder = Responder(zone)
    space, name, host = "n" * 63, "s" * 63, "h" * 63
    zone.put_service((space, name), service(name, space, "None", ports=[{"name": "p", "port": 1}]))
    one = piece(name, space, [{"addresses": ["10.244.9.9"], "hostname": host}], [{"name": "p", "port": 1}])
    zone.put_slice((space, name), one.metadata.name, one)
    full = f"{host}.{name}.{space}.svc.cluster.local"
    assert ask(responder, full) == "A 10.244.9.9"
    assert ask(responder, "9.9.244.10.in-addr.arpa", "PTR") == f"PTR {full}."
    assert ask(responder, f"_p._tcp.{name}.{space}.svc.cluster.local", "SRV") == f"SRV 1 {full}."
    assert ask(responder, ".".join(["x" * 49] * 4) + ".y.default.svc.cluster.local") == "NXDOMAIN"


def test_an_address_in_several_slices_keeps_its_name_until_the_last_is_gone() -> None:
    zone = cluster()
    responder = Responder(zone)
    moved = piece("db", "default", [{"addresses": ["10.244.0.5"], "hostname": "db-0"}], [], name="db-2")
    responder.forget(zone.put_slice(("default", "db"), "db-2", moved))
    responder.forget(zone.put_slice(("default", "db"), "db-1", None))
    assert ask(responder, "5.0.244.10.in-addr.arpa", "PTR") == "PTR db-0.db.default.svc.cluster.local."
    responder.forget(zone.put_slice(("default", "db"), "db-2", None))
    assert ask(responder, "5.0.244.10.in-addr.arpa", "PTR") == "NXDOMAIN"


def test_endpoints_that_are_not_ready_can_be_published() -> None:
    zone = cluster()
    responder = Responder(zone)
    assert ask(responder, "db-2.db.default.svc.cluster.local") == "NXDOMAIN"
    published = service("db", ip="None", ports=[{"name": "http", "port": 80}], publishNotReadyAddresses=True)
    responder.forget(zone.put_service(("default", "db"), published))
    assert ask(responder, "db-2.db.default.svc.cluster.local") == "A 10.244.0.7"
    assert ask(responder, "7.0.244.10.in-addr.arpa", "PTR") == "PTR db-2.db.default.svc.cluster.local."


def test_endpoints_of_a_service_with_an_address_have_names_too() -> None:
    """As CoreDNS; but the Service's own address has the Service's name only."""
    zone = cluster()
    responder = Responder(zone)
    one = piece("web", "default", [{"addresses": ["10.244.1.1"]}, {"addresses": ["10.96.0.7"]}], [])
    responder.forget(zone.put_slice(("default", "web"), "web-1", one))
    assert ask(responder, "10-244-1-1.web.default.svc.cluster.local") == "A 10.244.1.1"
    assert ask(responder, "1.1.244.10.in-addr.arpa", "PTR") == "PTR 10-244-1-1.web.default.svc.cluster.local."
    assert ask(responder, "7.0.96.10.in-addr.arpa", "PTR") == "PTR web.default.svc.cluster.local."


def test_before_the_cluster_is_known_its_names_fail() -> None:
    responder = Responder(cluster())
    responder.ready = False
    assert ask(responder, "nobody.default.svc.cluster.local") == "SERVFAIL"
    assert ask(responder, "77.0.96.10.in-addr.arpa", "PTR") == "SERVFAIL"
    assert isinstance(responder.answer(query("example.com"), "10.0.0.1"), Forward)
    responder.ready = True
    assert ask(responder, "nobody.default.svc.cluster.local") == "NXDOMAIN"


def test_headless_answers_change_their_order() -> None:
    zone = cluster()
    many = [{"addresses": [f"10.244.5.{i}"]} for i in range(1, 21)]
    zone.put_slice(("default", "db"), "db-1", piece("db", "default", many, [{"name": "http", "port": 80}]))
    responder = Responder(zone)
    for udp in (True, False):
        firsts = set()
        for _ in range(30):
            out = responder.answer(query("db.default.svc.cluster.local", edns=1232), "10.0.0.1", udp=udp)
            assert isinstance(out, bytes)
            records = reply.parse_answer(out)[1]
            assert len({r.rdata for r in records}) == 20
            firsts.add(records[0].rdata)
            kept = responder.kept.get(query("db.default.svc.cluster.local", edns=1232)[2:])
            if udp and kept is not None and kept.orders:
                firsts |= {reply.parse_answer(b"xx" + o)[1][0].rdata for o in kept.orders}
        assert len(firsts) > 2


def test_a_search_path_ends_in_hosts_or_in_nothing() -> None:
    responder = Responder(cluster(), lambda _: "default", Hosts("192.0.2.7 box.example\n"))
    assert ask(responder, "box.example.default.svc.cluster.local") == "A 192.0.2.7 | CNAME box.example."
    assert ask(responder, "box.default.svc.cluster.local") == "NXDOMAIN"  # one label is never a name outside
    assert ask(responder, "www.example.prod.svc.cluster.local") == "NXDOMAIN"  # not this pod's search path
    assert ask(responder, "www.example.default.svc.cluster.local", "TXT") == "NXDOMAIN"  # only addresses are searched
    off = Responder(cluster(), None)
    assert ask(off, "web.prod.default.svc.cluster.local") == "NXDOMAIN"


def test_queries_with_options_are_answered_and_not_kept() -> None:
    """A cookie makes every query another message; keeping them would only fill memory."""
    responder = Responder(cluster())
    cookie = query("web.default.svc.cluster.local", edns=1232)[:-2] + b"\0\x0c\0\x0a\0\x08" + b"cookie!!"
    out = responder.answer(cookie, "10.0.0.1")
    assert isinstance(out, bytes) and len(reply.parse_answer(out)[1]) == 1
    assert not responder.kept
    responder.answer(query("web.default.svc.cluster.local", edns=1232), "10.0.0.1")
    assert len(responder.kept) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 6), st.booleans()), max_size=30))
def test_what_is_kept_is_never_out_of_date(steps: list[tuple[int, int, int, bool]]) -> None:
    """After any changes, a responder that kept answers says what a new one says."""
    zone = Zone("cluster.local", ["10.0.0.0/8"])
    responder = Responder(zone)
    names = [(f"s{i}.n{i % 2}.svc.cluster.local", "A") for i in range(4)]
    names += [(f"n{i}.svc.cluster.local", "A") for i in range(2)]
    names += [(f"{i}.0.0.10.in-addr.arpa", "PTR") for i in range(7)]
    for svc, what, number, there in steps:
        key = (f"n{svc % 2}", f"s{svc}")
        if what == 0:
            made = service(key[1], key[0], "None" if svc == 3 else f"10.0.0.{number}") if there else None
            responder.forget(zone.put_service(key, made))
        elif what == 1:
            one = piece(key[1], key[0], [{"addresses": [f"10.0.0.{number}"], "hostname": f"h{number}"}], [])
            responder.forget(zone.put_slice(key, f"p{number % 2}", one if there else None))
        else:
            alias = service(key[1], key[0], [], type="ExternalName", externalName=names[number % 4][0])
            responder.forget(zone.put_service(key, alias if there else None))
        for name, qtype in names:
            assert ask(responder, name, qtype) == ask(Responder(zone), name, qtype)
