"""Which records a name has: a table that reads like dig."""

from __future__ import annotations

import pytest

from switchboard.dns import message as m
from switchboard.dns import reply
from switchboard.dns.responder import Forward, Responder
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
