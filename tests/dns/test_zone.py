"""Which records a name has: a table that reads like dig."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.dns import message as m
from switchboard.dns import reply
from switchboard.dns.hosts import Hosts
from switchboard.dns.records import PodAddress
from switchboard.dns.responder import Forward, Responder
from switchboard.dns.searchpath import of_namespace, of_pod
from switchboard.dns.zone import Pods, Zone
from switchboard.testing.zones import ask, cluster, piece, query, service

DOMAIN = "cluster.local"

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
_._tcp.web.default.svc.cluster.local       SRV    NXDOMAIN
_http._.web.default.svc.cluster.local      SRV    NXDOMAIN
_*._tcp.web.default.svc.cluster.local      SRV    NXDOMAIN
x._http._tcp.web.default.svc.cluster.local SRV    NXDOMAIN
out.default.svc.cluster.local              ANY    CNAME foo.example.com.
x.out.default.svc.cluster.local            CNAME  NXDOMAIN
web.default.svc.cluster.local              SOA    NODATA
web.default.svc.cluster.local              NS     NODATA
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
10-244-3-9.default.pod.cluster.local       AAAA   NODATA
blah.default.pod.cluster.local             TXT    NXDOMAIN
x.10-244-3-9.default.pod.cluster.local     A      NXDOMAIN
fd00--1.default.pod.cluster.local          AAAA   AAAA fd00::1
fd00::1.default.pod.cluster.local          AAAA   NXDOMAIN
fe80--1%eth0.default.pod.cluster.local     AAAA   NXDOMAIN
default.pod.cluster.local                  A      NODATA
nowhere.pod.cluster.local                  A      NXDOMAIN
pod.cluster.local                          A      NODATA
7.0.96.10.in-addr.arpa                     PTR    PTR web.default.svc.cluster.local.
5.0.244.10.in-addr.arpa                    PTR    PTR db-0.db.default.svc.cluster.local.
77.0.96.10.in-addr.arpa                    PTR    NXDOMAIN
7.0.96.10.in-addr.arpa                     A      NODATA
x.7.0.96.10.in-addr.arpa                   PTR    NXDOMAIN
07.0.96.10.in-addr.arpa                    PTR    NXDOMAIN
0.96.10.in-addr.arpa                       PTR    NODATA
96.10.in-addr.arpa                         SOA    SOA
96.10.in-addr.arpa                         NS     NS ns.dns.cluster.local.
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa PTR PTR two.default.svc.cluster.local.
default.svc.cluster.local                  A      NODATA
svc.cluster.local                          A      NODATA
cluster.local                              A      NODATA
cluster.local                              SOA    SOA
cluster.local                              NS     NS ns.dns.cluster.local.
ns.dns.cluster.local                       A      A 10.96.0.10
dns-version.cluster.local                  TXT    TXT 1.1.0
x.cluster.local                            A      NXDOMAIN
cluster.local                              ANY    NS ns.dns.cluster.local. | SOA
dns.cluster.local                          A      NODATA
ns.dns.cluster.local                       AAAA   NODATA
x.ns.dns.cluster.local                     A      NXDOMAIN
dns-version.cluster.local                  A      NODATA
svc.cluster.local                          NS     NODATA
nowhere.svc.cluster.local                  NS     NXDOMAIN
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
    responder = Responder(
        cluster(), {"10.244.0.99": of_namespace("default", DOMAIN), "10.244.0.98": of_namespace("prod", DOMAIN)}.get
    )
    walked = ask(responder, "web.prod.default.svc.cluster.local")
    assert walked == "A 10.96.0.8 | CNAME web.prod.svc.cluster.local."
    assert ask(responder, "web.prod.default.svc.cluster.local", client="10.244.0.98") == "NXDOMAIN"
    assert ask(responder, "nobody.default.svc.cluster.local") == "NXDOMAIN"
    outside = responder.answer(query("example.com.default.svc.cluster.local"), "10.244.0.99")
    assert isinstance(outside, Forward) and m.text(outside.name) == "example.com." and outside.otherwise


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
    responder = Responder(cluster(), lambda _: of_namespace("default", DOMAIN), Hosts("192.0.2.7 box.example\n"))
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


def test_what_is_asked_for_often_is_made_anew_with_the_change() -> None:
    zone = cluster()
    responder = Responder(zone)
    often, once = query("web.default.svc.cluster.local"), query("two.default.svc.cluster.local")
    for raw in (often, once):
        responder.answer(raw, "10.244.0.9")
    responder.kept[often[2:]].hits += 1  # as the listener counts
    for name, ip in (("web", "10.96.0.70"), ("two", "10.96.0.71")):
        responder.forget(zone.put_service(("default", name), service(name, ip=ip)))
    assert list(responder.kept) == [often[2:]]
    assert responder.kept[often[2:]].ready.endswith(bytes([10, 96, 0, 70]))
    counted = responder.counts().total()
    responder.forget(zone.put_service(("default", "web"), None))  # not asked for since: nothing is made of it
    assert responder.kept == {} and responder.counts().total() == counted == 3


@pytest.mark.parametrize(
    ("mode", "pods", "other", "apex"),
    [
        (Pods.INSECURE, "A 10.0.0.1", "A 10.0.0.1", "NODATA"),
        (Pods.VERIFIED, "A 10.0.0.1", "NXDOMAIN", "NODATA"),
        (Pods.DISABLED, "NXDOMAIN", "NXDOMAIN", "NXDOMAIN"),
    ],
)
def test_names_of_pods_by_mode(mode: Pods, pods: str, other: str, apex: str) -> None:
    zone = cluster()
    zone.pods = mode
    zone.put_pod("default", [], [b"\x0a\0\0\1"])
    responder = Responder(zone)
    assert ask(responder, "10-0-0-1.default.pod.cluster.local") == pods
    assert ask(responder, "10-0-0-1.prod.pod.cluster.local") == other
    assert ask(responder, "default.pod.cluster.local") == ask(responder, "pod.cluster.local") == apex
    assert ask(responder, "10-0-0-1.nowhere.pod.cluster.local") == "NXDOMAIN"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 6), st.booleans()), max_size=30))
def test_what_is_kept_is_never_out_of_date(steps: list[tuple[int, int, int, bool]]) -> None:
    """After any changes, a responder that kept answers says what a new one says."""
    zone = Zone("cluster.local", ["10.0.0.0/8"])
    zone.pods = Pods.VERIFIED
    pods: dict[int, tuple[str, bytes]] = {}
    responder = Responder(zone)
    names = [(f"s{i}.n{i % 2}.svc.cluster.local", "A") for i in range(4)]
    names += [(f"n{i}.svc.cluster.local", "A") for i in range(2)]
    names += [(f"{i}.0.0.10.in-addr.arpa", "PTR") for i in range(7)]
    names += [(f"10-0-0-{i}.n{i % 2}.pod.cluster.local", "A") for i in range(7)]
    for svc, what, number, there in steps:
        key = (f"n{svc % 2}", f"s{svc}")
        if what == 0:
            made = service(key[1], key[0], "None" if svc == 3 else f"10.0.0.{number}") if there else None
            responder.forget(zone.put_service(key, made))
        elif what == 1:
            one = piece(key[1], key[0], [{"addresses": [f"10.0.0.{number}"], "hostname": f"h{number}"}], [])
            responder.forget(zone.put_slice(key, f"p{number % 2}", one if there else None))
        elif what == 3:
            had = pods.pop(svc, (key[0], b""))
            if there:
                pods[svc] = (key[0], bytes([10, 0, 0, number]))
            has = [pods[svc][1]] if there else []
            responder.forget(zone.put_pod(key[0], [had[1]] if had[1] else [], has))
        else:
            alias = service(key[1], key[0], [], type="ExternalName", externalName=names[number % 4][0])
            responder.forget(zone.put_service(key, alias if there else None))
        for name, qtype in names:
            assert ask(responder, name, qtype) == ask(Responder(zone), name, qtype)
        for kept in list(responder.kept.values())[::2]:
            kept.hits += 1
    for number in range(7):
        there = (f"n{number % 2}", bytes([10, 0, 0, number])) in pods.values() and f"n{number % 2}" in zone._spaces
        answer = f"A 10.0.0.{number}" if there else "NXDOMAIN"
        assert ask(responder, f"10-0-0-{number}.n{number % 2}.pod.cluster.local") == answer


def test_absence_in_a_reverse_zone_is_told_by_that_zone() -> None:
    """RFC 2308: a resolver keeps absence only if the SOA is that of a zone the name is in."""
    zone = Zone("cluster.local", ["10.96.0.0/12", "fd00:10::/52"])
    outside = piece("x", "default", [{"addresses": ["192.0.2.1"]}], [])
    zone.put_service(("default", "x"), service("x", ip="None"))
    zone.put_slice(("default", "x"), "x-1", outside)
    responder = Responder(zone)
    apex6 = "0.0.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa"
    for name, apex in (
        ("9.0.97.10.in-addr.arpa", "97.10.in-addr.arpa."),
        ("0.97.10.in-addr.arpa", "97.10.in-addr.arpa."),
        ("1." + "0." * 18 + apex6, f"{apex6}."),
        ("1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa."),
        ("nobody.default.svc.cluster.local", "cluster.local."),
    ):
        out = responder.answer(query(name, "TXT"), "10.0.0.1")
        assert isinstance(out, bytes)
        assert [m.text(r.name) for r in reply.parse_answer(out)[2]] == [apex], name


@pytest.mark.parametrize(
    "labels",
    [
        [b" ", b" ", *[b"0"] * 28, b"d", b"f", b"ip6", b"arpa"],
        [b"fe80--1%eth0", b"default", b"pod", b"cluster", b"local"],
        [b"1.2.3.4", b"default", b"pod", b"cluster", b"local"],
        [b"web.default", b"svc", b"cluster", b"local"],
        [b"\xff\0", b"default", b"svc", b"cluster", b"local"],
        [b"\xc3\xa4", b"10", b"in-addr", b"arpa"],
    ],
)
@pytest.mark.parametrize("qtype", [m.A, m.AAAA, m.PTR, m.SRV, m.ANY, 65])
def test_labels_of_any_bytes_are_no_addresses(labels: list[bytes], qtype: int) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    found = cluster().lookup(name, qtype)
    assert found.foreign or found.rcode == m.NXDOMAIN


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"_tcp", b"db", b"0", b"f", b"10-0-0-1"]))),
    st.sampled_from(["default.svc.cluster.local", "default.pod.cluster.local", "96.10.in-addr.arpa", "d.f.ip6.arpa"]),
    st.integers(0, 65535),
)
def test_any_name_and_type_has_an_answer(front: list[bytes], end: str, qtype: int) -> None:
    name = b"".join(bytes([len(label)]) + label for label in front[:12]) + m.encode_name(end)
    found = cluster().lookup(name.translate(m.LOWER), qtype)
    assert found.foreign or found.rcode in (m.NOERROR, m.NXDOMAIN)


def test_what_is_below_an_absent_name_is_absent() -> None:
    """RFC 8020: no port's name below a headless Service whose own name is NXDOMAIN."""
    zone = cluster()
    zone.put_slice(("default", "db"), "db-1", piece("db", "default", [], [{"name": "http", "port": 80}]))
    for front in ("", "_tcp.", "_http._tcp."):
        assert ask(Responder(zone), f"{front}db.default.svc.cluster.local", "SRV") == "NXDOMAIN"


def test_weights_are_shared_among_all_addresses() -> None:
    """As CoreDNS: about a hundred together, a dual-stack Service's two addresses counted."""
    out = Responder(cluster()).answer(query("two.default.svc.cluster.local", "SRV"), "10.0.0.1")
    assert isinstance(out, bytes)
    assert {r.rdata[:6] for r in reply.parse_answer(out)[1]} == {b"\0\0" + b"\0\x32" + b"\0\x50"}
    assert out[10:12] == b"\0\2"  # A and AAAA of the target ride along


def test_the_serial_grows_and_is_never_shown_old() -> None:
    zone = cluster()
    responder = Responder(zone)

    def serial() -> int:
        out = responder.answer(query("cluster.local", "SOA"), "10.0.0.1")
        assert isinstance(out, bytes)
        return int.from_bytes(reply.parse_answer(out)[1][0].rdata[-20:-16], "big")

    first = serial()
    responder.forget(zone.put_service(("default", "new"), service("new", ip="10.96.0.99")))
    assert serial() > first


def test_without_a_dns_service_the_server_has_its_own_addresses() -> None:
    zone = Zone("cluster.local", servers=["192.0.2.53", "fd00::53"])
    responder = Responder(zone)
    assert ask(responder, "ns.dns.cluster.local", "ANY") == "A 192.0.2.53 | AAAA fd00::53"
    responder.forget(zone.put_service(("kube-system", "kube-dns"), service("kube-dns", "kube-system", "10.96.0.10")))
    assert ask(responder, "ns.dns.cluster.local", "ANY") == "A 10.96.0.10"


def test_what_is_kept_has_a_bound_in_bytes_and_leaves_nothing_behind() -> None:
    zone = cluster()
    many = [{"addresses": [f"10.244.{i // 250}.{i % 250}"]} for i in range(2000)]
    zone.put_slice(("default", "db"), "db-1", piece("db", "default", many, [{"name": "http", "port": 80}]))
    responder = Responder(zone)
    for size in range(1232, 1232 + 3000):  # each size is another message
        responder.answer(query("db.default.svc.cluster.local", edns=size), "10.0.0.1")
    assert sum(e.size for e in responder.kept.values()) < 17 << 20
    responder.forget([("default", "db")])
    assert not responder.kept and not responder._bytes
    for _ in range(5):  # an alias's answer depends on two Services, of which one changes
        assert ask(responder, "alias.default.svc.cluster.local").startswith("A 10.96.0.7")
        responder.forget([("default", "web")])
    assert not any(responder._by_key.values())


def pod(policy: str = "ClusterFirst", searches: list[str] | None = None) -> PodAddress:
    return msgspec.convert(
        {
            "metadata": {"name": "p", "namespace": "prod"},
            "spec": {"dnsPolicy": policy, "dnsConfig": {"searches": searches}},
        },
        PodAddress,
    )


@pytest.mark.parametrize(
    ("asking", "node", "path"),
    [
        (pod(), [], "prod.svc.cluster.local. svc.cluster.local. cluster.local."),
        (pod(), ["lan"], "prod.svc.cluster.local. svc.cluster.local. cluster.local. lan."),
        (pod(searches=["c.t", "lan"]), ["lan"], "prod.svc.cluster.local. svc.cluster.local. cluster.local. lan. c.t."),
        (pod("Default"), ["lan"], ""),
        (pod("None", ["corp.test"]), [], ""),
    ],
)  # fmt: skip
def test_a_pods_search_path(asking: PodAddress, node: list[str], path: str) -> None:
    assert " ".join(map(m.text, of_pod(asking, DOMAIN, node) or ())) == path


def test_a_walk_goes_on_through_domains_outside() -> None:
    """As the client would: corp.test is asked before the name itself; a failure ends it, absence does not."""
    responder = Responder(cluster(), lambda _: of_pod(pod(searches=["corp.test"]), DOMAIN))
    first = responder.answer(query("db.x.prod.svc.cluster.local"), "10.0.0.1")
    assert isinstance(first, Forward) and m.text(first.name) == "db.x.corp.test." and first.otherwise
    then = first.otherwise(m.NXDOMAIN)
    assert isinstance(then, Forward) and m.text(then.name) == "db.x." and then.otherwise
    end = then.otherwise(m.NXDOMAIN)
    assert isinstance(end, bytes) and end[3] & 15 == m.NXDOMAIN
    failed = first.otherwise(m.SERVFAIL)
    assert failed == end  # the client goes on by itself
    single = responder.answer(query("db.prod.svc.cluster.local"), "10.0.0.1")
    assert isinstance(single, Forward) and m.text(single.name) == "db.corp.test."


def test_both_families_hear_the_same_of_a_walked_name() -> None:
    """NXDOMAIN for AAAA where A has an answer would make a cache between forget the A, too."""
    responder = Responder(cluster(), lambda _: of_namespace("default", DOMAIN))
    assert ask(responder, "web.prod.default.svc.cluster.local", "AAAA") == "CNAME web.prod.svc.cluster.local."
    assert ask(responder, "prod.default.svc.cluster.local", "AAAA") == "NXDOMAIN"  # only a namespace has that name
