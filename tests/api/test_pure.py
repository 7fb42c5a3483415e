"""Paths, Accept headers, query options, link rewriting, YAML, ranges: the parts without a store."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.api import negotiate, query, typed
from switchboard.api.keyspace import decode, encode
from switchboard.api.kinds.pools import Cidr, band
from switchboard.api.paths import parse
from switchboard.api.proxying import split_name
from switchboard.api.rewriting import rewrite_html
from switchboard.api.yamlbody import load
from switchboard.objects import schema
from switchboard.objects.errors import BadRequest, Invalid, NotAcceptable
from switchboard.objects.kinds import Registry
from switchboard.objects.podresources import qos_class


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("/api/v1/pods", ("", "v1", "pods", "", "", "", "")),
        ("/api/v1/namespaces", ("", "v1", "namespaces", "", "", "", "")),
        ("/api/v1/namespaces/a", ("", "v1", "namespaces", "", "a", "", "")),
        ("/api/v1/namespaces/a/status", ("", "v1", "namespaces", "", "a", "status", "")),
        ("/api/v1/namespaces/a/finalize", ("", "v1", "namespaces", "", "a", "finalize", "")),
        ("/api/v1/namespaces/a/pods", ("", "v1", "pods", "a", "", "", "")),
        ("/api/v1/namespaces/a/pods/", ("", "v1", "pods", "a", "", "", "")),
        ("/api/v1/namespaces/a/pods/p/log", ("", "v1", "pods", "a", "p", "log", "")),
        ("/api/v1/namespaces/a/pods/p/proxy/", ("", "v1", "pods", "a", "p", "proxy", "/")),
        ("/api/v1/namespaces/a/pods/http:p:80/proxy/x/y", ("", "v1", "pods", "a", "http:p:80", "proxy", "/x/y")),
        ("/apis/apps/v1/deployments", ("apps", "v1", "deployments", "", "", "", "")),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            ("rbac.authorization.k8s.io", "v1", "clusterroles", "", "system:node", "", ""),
        ),
    ],
)
def test_resource_paths(path: str, want: tuple[str, ...]) -> None:
    t = parse(path)
    assert t.is_resource and not t.watch
    assert (t.group, t.version, t.plural, t.namespace, t.name, t.subresource, t.rest) == want


def test_the_old_watch_prefix() -> None:
    t = parse("/api/v1/watch/namespaces/a/pods/p")
    assert (t.watch, t.plural, t.namespace, t.name) == (True, "pods", "a", "p")


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/", "/api/v1", "/api/v1/", "/apis/apps/v1", "/version", "/healthz/ping"]
)
def test_other_paths(path: str) -> None:
    assert not parse(path).is_resource


@given(st.text(alphabet="/ap isv1namespcew%2Fx:", max_size=60))
def test_any_path_parses(path: str) -> None:
    assert parse("/" + path).path == "/" + path


@pytest.mark.parametrize(
    ("header", "want"),
    [
        (None, ("application/json", "")),
        ("*/*", ("application/json", "")),
        ("application/vnd.kubernetes.protobuf, application/json", ("application/json", "")),
        ("application/json;as=Table;g=meta.k8s.io;v=v1,application/json", ("application/json", "Table")),
        ("application/json;as=Table;g=nope;v=v1,application/yaml", ("application/yaml", "")),
        ("application/yaml;q=0.4,application/json;q=0.9", ("application/json", "")),
    ],
)
def test_accept(header: str | None, want: tuple[str, str]) -> None:
    found = negotiate.accept(header)
    assert (found.media, found.form) == want


def test_accept_where_there_are_no_tables() -> None:
    table = "application/json;as=Table;g=meta.k8s.io;v=v1"
    assert negotiate.accept(table).form == "Table"
    with pytest.raises(NotAcceptable):
        negotiate.accept(table, tables=False)
    assert negotiate.accept(f"{table},application/yaml", tables=False) == ("application/yaml", "", "v1", False)


@pytest.mark.parametrize("header", ["text/html", "application/json;as=Odd;g=meta.k8s.io;v=v1", "application/cbor"])
def test_not_acceptable(header: str) -> None:
    with pytest.raises(NotAcceptable):
        negotiate.accept(header)


@given(st.text(max_size=80))
def test_any_accept_header_is_answered(header: str) -> None:
    try:
        negotiate.accept(header)
    except NotAcceptable:
        pass


@pytest.mark.parametrize(
    "text",
    [
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Odd&resourceVersion=5",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "sendInitialEvents=true",
        "continue=x&resourceVersion=1&resourceVersionMatch=Exact",
    ],
)
def test_list_options_that_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        query.list_options(query.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=a",
    ],
)
def test_watch_options_that_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        query.list_options(query.parse(text), watch=True)


def test_links_are_rewritten() -> None:
    html = (
        b"""<a href="/x?y=1">/x</a><img src='/i.png'><a href="rel">r</a><a href="http://other/x">o</a><p title="/x">"""
    )
    out = rewrite_html(html, "/api/v1/namespaces/n/services/s/proxy", ("host:1",))
    assert out == (
        b"""<a href="/api/v1/namespaces/n/services/s/proxy/x?y=1">/x</a>"""
        b"""<img src='/api/v1/namespaces/n/services/s/proxy/i.png'>"""
        b"""<a href="rel">r</a><a href="http://other/x">o</a><p title="/x">"""
    )


@pytest.mark.parametrize(
    ("text", "want"),
    [("p", ("", "p", "")), ("p:80", ("", "p", "80")), ("https:p:web", ("https", "p", "web")), (":p:", ("", "p", ""))],
)
def test_proxy_names(text: str, want: tuple[str, str, str]) -> None:
    assert split_name(text) == want


def test_yaml_is_version_1_1() -> None:
    assert load(b"a: y\nb: 'y'\nc: 2001-01-01\n1: x\ntrue: z\n") == (
        {"a": True, "b": "y", "c": "2001-01-01", "1": "x", "true": "z"},
        [],
    )
    assert load(b"a: 1\na: 2\n")[1] == ['line 2: key "a" already set in map']


def test_yaml_bombs_are_refused() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(BadRequest, match="alias"):
        load("\n".join(lines).encode())


@given(st.binary(max_size=200))
def test_any_yaml_is_answered(body: bytes) -> None:
    try:
        load(body)
    except BadRequest:
        pass


@pytest.mark.parametrize(
    ("cidr", "first", "last", "static"),
    [
        ("10.96.0.0/16", "10.96.0.1", "10.96.255.254", 256),
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.254", 16),
        ("10.0.0.0/28", "10.0.0.1", "10.0.0.14", 0),
        ("fd00::/108", "fd00::1", "fd00::f:ffff", 256),
    ],
)
def test_ranges(cidr: str, first: str, last: str, static: int) -> None:
    found = Cidr(cidr)
    assert (found.text(found.first), found.text(found.last), found.static) == (first, last, static)
    assert not found.holds(found.first - 1) and not found.holds(found.last + 1)


def test_node_port_band() -> None:
    assert band(2768, 16, 128, 32) == 86


@pytest.mark.parametrize(
    ("resources", "want"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
    ],
)
def test_qos(resources: list[dict[str, object]], want: str) -> None:
    assert qos_class({"containers": [{"name": str(i), "resources": r} for i, r in enumerate(resources)]}) == want


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"endpoints": [], "ports": []},
        {"endpoints": None, "ports": [{}]},
        {"ports": [{"name": "", "port": 80}, {"name": "x", "protocol": "", "appProtocol": ""}]},
        {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {}, "hints": {"forZones": []}, "targetRef": {}}]},
        {"endpoints": [{"addresses": [], "deprecatedTopology": {}, "nodeName": "", "hostname": "", "zone": ""}]},
    ],
)
def test_a_prepared_slice_has_its_final_form(sent: dict[str, Any]) -> None:
    """What `settles = False` says of EndpointSlices: once clean and with defaults, nothing of them changes any more."""
    kind = Registry().resource("discovery.k8s.io", "v1", "endpointslices")
    assert kind is not None
    obj = {"metadata": {"name": "a", "labels": {}}, "addressType": "IPv4"} | sent
    schema.clean(kind, obj)
    typed.default(kind, obj)
    prepared = deepcopy(obj)
    typed.settle(kind, obj)
    assert obj == prepared


def test_what_clients_compare_as_bytes_has_their_escapes() -> None:
    data = {"spec": {"command": ["a && b <c >d"]}}
    revision = {"kind": "ControllerRevision", "apiVersion": "apps/v1", "metadata": {"name": "r"}, "data": data}
    assert rb'["a \u0026\u0026 b \u003cc \u003ed"]' in encode(revision)
    assert decode(encode(revision)) == revision
    assert b'"a && b <c >d"' in encode({**revision, "kind": "ConfigMap"})
