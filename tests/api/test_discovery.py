"""Discovery documents against what clients and a real server expect of them."""

import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from switchboard.api.discovery import AGGREGATED, Discovery
from switchboard.api.documents import Document
from switchboard.objects.errors import NotAcceptable
from switchboard.objects.kinds import Kind, Registry, Subresource
from switchboard.transport.messages import Request

ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@pytest.fixture
def registry() -> Registry:
    return Registry()


def read(discovery: Discovery, path: str, accept: str | None = None) -> dict[str, Any]:
    document = discovery.find(path, accept)
    assert document is not None, path
    found: dict[str, Any] = json.loads(document.plain())
    return found


def widgets(version: str = "v1") -> Kind:
    subresources = {"status": Subresource("status", "example.com", version, "Widget", ("get", "patch", "update"))}
    return Kind("example.com", version, "Widget", "widgets", "widget", True, ALL, ("wd",), subresources=subresources)


def test_api(registry: Registry) -> None:
    found = read(Discovery(registry, "192.168.49.1:6443"), "/api/")
    assert (found["kind"], found["versions"]) == ("APIVersions", ["v1"])
    assert found["serverAddressByClientCIDRs"][0]["serverAddress"] == "192.168.49.1:6443"


def test_groups(registry: Registry) -> None:
    groups = {g["name"]: g for g in read(Discovery(registry), "/apis")["groups"]}
    apps = {"groupVersion": "apps/v1", "version": "v1"}
    assert groups["apps"] == {"name": "apps", "versions": [apps], "preferredVersion": apps}
    assert groups["autoscaling"]["preferredVersion"]["version"] == "v2"
    assert "" not in groups
    assert read(Discovery(registry), "/apis/apps") == {"kind": "APIGroup", "apiVersion": "v1", **groups["apps"]}


def test_only_named_groups_lists_say_their_api_version(registry: Registry) -> None:
    assert list(read(Discovery(registry), "/api/v1")) == ["kind", "groupVersion", "resources"]
    assert read(Discovery(registry), "/apis/batch/v1")["apiVersion"] == "v1"


def test_resources(registry: Registry) -> None:
    found = read(Discovery(registry), "/apis/apps/v1")
    assert found["groupVersion"] == "apps/v1"
    resources = {r["name"]: r for r in found["resources"]}
    assert resources["deployments"] == {
        "name": "deployments",
        "singularName": "deployment",
        "namespaced": True,
        "kind": "Deployment",
        "verbs": list(ALL),
        "shortNames": ["deploy"],
        "categories": ["all"],
        "storageVersionHash": "8aSe+NMegvE=",
    }
    scale = {"group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}
    assert resources["deployments/scale"] == {
        "name": "deployments/scale",
        "singularName": "",
        "namespaced": True,
        **scale,
    }
    assert "group" not in resources["deployments/status"]
    core = {r["name"] for r in read(Discovery(registry), "/api/v1")["resources"]}
    assert {"pods", "pods/log", "pods/exec", "services/proxy", "namespaces/finalize", "bindings"} <= core


def test_aggregated(registry: Registry) -> None:
    found = read(Discovery(registry), "/apis", AGGREGATED)
    assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    items = {item["metadata"]["name"]: item for item in found["items"]}
    assert items["discovery.k8s.io"] == {
        "metadata": {"name": "discovery.k8s.io"},
        "versions": [
            {
                "version": "v1",
                "resources": [
                    {
                        "resource": "endpointslices",
                        "responseKind": {"group": "", "version": "", "kind": "EndpointSlice"},
                        "scope": "Namespaced",
                        "singularResource": "endpointslice",
                        "verbs": list(ALL),
                    }
                ],
                "freshness": "Current",
            }
        ],
    }
    core = read(Discovery(registry), "/api", AGGREGATED)["items"]
    assert len(core) == 1
    assert "name" not in core[0]["metadata"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json, */*", "application/json"),
        (f"{AGGREGATED},{AGGREGATED.replace('v2', 'v2beta1')},application/json", AGGREGATED),
        (f"{AGGREGATED.replace('v2', 'v2beta1')},application/json", "application/json"),
    ],
)
def test_negotiation(registry: Registry, accept: str | None, content_type: str) -> None:
    document = Discovery(registry).find("/apis", accept)
    assert document is not None
    assert document.content_type == content_type


def test_what_cannot_be_served_is_said(registry: Registry) -> None:
    with pytest.raises(NotAcceptable):
        Discovery(registry).find("/apis", AGGREGATED.replace("v2", "v2beta1"))


@pytest.mark.parametrize(
    "path", ["/apis/nope", "/apis/apps/v9", "/api/v2", "/apis/apps/v1/deployments", "/", "/apix", "/apis//v1"]
)
def test_paths_that_are_not_there(registry: Registry, path: str) -> None:
    assert Discovery(registry).find(path, None) is None


def test_custom_kinds_come_and_go(registry: Registry) -> None:
    discovery = Discovery(registry)
    assert discovery.find("/apis/example.com", None) is None
    old, new = widgets("v1beta1"), widgets()
    registry.add(old)
    registry.add(new)
    group = read(discovery, "/apis/example.com")
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    assert [r["name"] for r in read(discovery, "/apis/example.com/v1")["resources"]] == ["widgets", "widgets/status"]
    items = {item["metadata"].get("name"): item for item in read(discovery, "/apis", AGGREGATED)["items"]}
    kind = items["example.com"]["versions"][0]["resources"][0]
    assert kind["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert kind["shortNames"] == ["wd"]
    registry.remove(old)
    registry.remove(new)
    assert discovery.find("/apis/example.com", None) is None


def request(**headers: str) -> Request:
    return Request("GET", "/apis", "", {key.replace("_", "-"): value for key, value in headers.items()}, b"")


def test_a_document_is_packed_sent_and_recognised() -> None:
    body = [b"x" * 50_000, b"y" * 50_000]
    document = Document(body)
    assert len(document.body) < 1000
    packed = document.respond(request(accept_encoding="gzip"))
    assert isinstance(packed.body, bytes)
    assert zlib.decompress(packed.body, 31) == b"".join(body)
    assert document.respond(request()).body == b"".join(body)
    assert document.respond(request(if_none_match=f'"{document.etag}"')).status == 304
    assert Document([b"small"]).respond(request(accept_encoding="gzip")).body == b"small"


def test_hashes_of_storage_versions(registry: Registry) -> None:
    for version in ("v1", "v2"):
        registry.add(replace(widgets(version), storage=("example.com", "v2", "widgets")))
    discovery = Discovery(registry)

    def hashes(path: str) -> dict[str, str | None]:
        return {r["name"]: r.get("storageVersionHash") for r in read(discovery, path)["resources"]}

    core = hashes("/api/v1")
    assert (core["pods"], core["pods/status"], core["bindings"]) == ("xPOwRZ+Yhw8=", None, None)
    assert hashes("/apis/events.k8s.io/v1")["events"] == core["events"] == "r2yiGXH7wu8="
    assert hashes("/apis/example.com/v2")["widgets"] and hashes("/apis/example.com/v1")["widgets"] is None
