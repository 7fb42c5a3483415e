"""Documents that are deeper than any function may follow them: refused, whatever they lie in."""

from __future__ import annotations

import pytest

from switchboard.testing.apiserver import ApiServer

CONFIGS = "/api/v1/namespaces/ns/configmaps"
DEEP = 3300  # three operations each, of 10,000 that a patch may have


def nested(top: str) -> list[dict[str, object]]:
    """Operations that make `top` as deep as they are many, with short paths: each puts what is there one level down."""
    operations: list[dict[str, object]] = [{"op": "add", "path": "/a", "value": {}}]
    for _ in range(DEEP):
        operations.append({"op": "add", "path": "/b", "value": {}})
        operations.append({"op": "move", "from": "/a", "path": "/b/a"})
        operations.append({"op": "move", "from": "/b", "path": "/a"})
    return [*operations, {"op": "move", "from": "/a", "path": top}]


@pytest.mark.parametrize("top", ["/a2", "/data/x", "/metadata/managedFields/0/fieldsV1/f:x", "/metadata/labels"])
async def test_patches_that_nest(top: str) -> None:
    async with ApiServer() as api:
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        assert (await api.call("POST", CONFIGS, {"metadata": {"name": "c"}, "data": {"k": "v"}}))[0] == 201
        status, answer = await api.call(
            "PATCH", f"{CONFIGS}/c", nested(top), {"content-type": "application/json-patch+json"}
        )
        assert status in (200, 400, 422), answer
        assert (await api.call("GET", f"{CONFIGS}/c"))[0] == 200


async def test_patches_that_nest_within_a_kind_that_is_nested() -> None:
    """A schema of schemas: every level is one that the kind has."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    plain = {"type": "object", "properties": {"p": {"type": "object"}}}
    names = {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": plain}}
    definition = {
        "metadata": {"name": "foos.ex.io"},
        "spec": {"group": "ex.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    top = "/spec/versions/0/schema/openAPIV3Schema/properties/p"
    operations: list[dict[str, object]] = [{"op": "add", "path": "/b", "value": {"type": "object"}}]
    for _ in range(DEEP):
        operations.append({"op": "add", "path": "/b2", "value": {"type": "object", "properties": {}}})
        operations.append({"op": "move", "from": "/b", "path": "/b2/properties/p"})
        operations.append({"op": "move", "from": "/b2", "path": "/b"})
    operations.append({"op": "move", "from": "/b", "path": top})
    async with ApiServer() as api:
        assert (await api.call("POST", path, definition))[0] == 201
        json_patch = {"content-type": "application/json-patch+json"}
        status, answer = await api.call("PATCH", f"{path}/foos.ex.io", operations, json_patch)
        assert status == 400 and "nested too deeply" in answer["message"], answer
        status, answer = await api.call("GET", f"{path}/foos.ex.io")
        assert status == 200 and answer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["p"] == {
            "type": "object"
        }
