"""MutatingAdmissionPolicies and their bindings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.testing.apiserver import ApiServer

Object = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/ns/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/ns/deployments"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns", "labels": {"team": "a"}}})
        yield server


def applied(expression: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def policy(*mutations: Object, resource: str = "configmaps", group: str = "", **spec: Any) -> Object:
    rule = {"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}
    match = {"resourceRules": [rule], **spec.pop("match", {})}
    wanted = {"reinvocationPolicy": "Never", "matchConstraints": match, "mutations": list(mutations), **spec}
    return {"metadata": {"name": "p"}, "spec": wanted}


async def bind(api: ApiServer, body: Object, **spec: Any) -> None:
    status, answer = await api.call("POST", f"{GROUP}/mutatingadmissionpolicies", body)
    assert status == 201, answer
    name = body["metadata"]["name"]
    binding = {"metadata": {"name": f"b-{name}"}, "spec": {"policyName": name, **spec}}
    status, answer = await api.call("POST", f"{GROUP}/mutatingadmissionpolicybindings", binding)
    assert status == 201, answer


async def create(api: ApiServer, body: Object | None = None, path: str = MAPS) -> tuple[int, Object]:
    return await api.call("POST", path, {"metadata": {"name": "m"}, **(body or {})})


async def test_an_applied_configuration_is_laid_over_the_object(api: ApiServer) -> None:
    await bind(
        api,
        policy(
            applied('Object{metadata: Object.metadata{annotations: {"by": variables.who}}}'),
            applied("Object{data: {?'x': optional.none(), 'n': string(object.data.size())}}"),
            variables=[{"name": "who", "expression": "request.operation + '-' + namespaceObject.metadata.labels.team"}],
            match={"namespaceSelector": {"matchLabels": {"team": "a"}}},
        ),
    )
    status, made = await create(api, {"data": {"a": "1"}})
    assert (status, made["metadata"]["annotations"]) == (201, {"by": "CREATE-a"})
    assert made["data"] == {"a": "1", "n": "1"}
    patch = {"content-type": "application/merge-patch+json"}
    _, made = await api.call("PATCH", f"{MAPS}/m", {"data": {"b": "2"}}, patch)
    assert made["data"] == {"a": "1", "b": "2", "n": "1"}


async def test_a_typed_list_is_merged_by_its_keys(api: ApiServer) -> None:
    sidecar = """Object{spec: Object.spec{replicas: 3, template: Object.spec.template{spec: Object.spec.template.spec{
        initContainers: [Object.spec.template.spec.initContainers{name: "side", image: "s", restartPolicy: "Always"}],
        containers: [Object.spec.template.spec.containers{name: "c",
            env: [Object.spec.template.spec.containers.env{name: "E", value: "v"}]}]}}}}"""
    await bind(api, policy(applied(sidecar), resource="deployments", group="apps"))
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    status, made = await create(api, {"spec": spec}, DEPLOYMENTS)
    assert (status, made["spec"]["replicas"]) == (201, 3)
    inner = made["spec"]["template"]["spec"]
    (container,) = inner["containers"]
    assert (container["image"], container["env"]) == ("i", [{"name": "E", "value": "v"}])
    assert inner["initContainers"][0]["terminationMessagePath"] == "/dev/termination-log"


async def test_a_json_patch(api: ApiServer) -> None:
    expression = """has(object.metadata.labels) ? [] : [
        JSONPatch{op: "add", path: "/metadata/labels", value: {"x": "y"}},
        JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("k8s.io/label"), value: "v"},
        JSONPatch{op: "copy", from: "/metadata/labels/x", path: "/metadata/labels/z"}]"""
    failing = '[JSONPatch{op: "test", path: "/metadata/name", value: "other"}, JSONPatch{op: "remove", path: "/data"}]'
    await bind(api, policy(patched(expression), patched(failing)))
    status, made = await create(api, {"data": {"a": "1"}})
    assert status == 201, made
    assert made["data"] == {"a": "1"}
    assert made["metadata"]["labels"] == {"x": "y", "k8s.io/label": "v", "z": "y"}


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (applied("Object{data: object.nothing}"), "resulted in error: no such key: nothing"),
        (
            applied("Object{metadata: Object.spec{}}"),
            'type mismatch: unexpected type name "Object.spec", expected "Object.metadata", which matches field name '
            "path from root Object type",
        ),
        (applied("Object{spek: 1}"), "failed to convert patch object to typed object: .spek: field not declared"),
        (
            applied("Object{metadata: Object.metadata{ownerReferences: [], managedFields: [{'manager': 'b'}]}}"),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .metadata.managedFields",
        ),
        (patched('[JSONPatch{op: "remove", path: "/data/x"}]'), "JSON Patch: "),
    ],
)
async def test_a_mutation_that_fails(api: ApiServer, mutation: Object, why: str) -> None:
    await bind(api, policy(mutation))
    status, answer = await create(api, {"data": {"a": "1"}})
    assert (status, answer["reason"]) == (403, "Invalid")
    assert answer["message"].startswith("policy 'p' with binding 'b-p' denied request: ")
    assert why in answer["message"]
    merge = {"content-type": "application/merge-patch+json"}
    name = f"{GROUP}/mutatingadmissionpolicies/p"
    assert (await api.call("PATCH", name, {"spec": {"failurePolicy": "Ignore"}}, merge))[0] == 200
    status, made = await create(api, {"data": {"a": "1"}})
    assert (status, made["data"]) == (201, {"a": "1"})


async def test_a_patch_that_breaks_the_type_is_an_internal_error(api: ApiServer) -> None:
    await bind(api, policy(patched('[JSONPatch{op: "add", path: "/spek", value: 1}]')))
    status, answer = await create(api)
    assert status == 500
    assert 'unknown field "spek"' in answer["message"]


@pytest.mark.parametrize(
    "mutation",
    [
        patched('[JSONPatch{op: "replace", path: "/spec/expirationSeconds", value: 4000}]'),
        applied("Object{spec: Object.spec{expirationSeconds: 4000}}"),
    ],
)
async def test_what_is_posted_to_a_subresource_has_its_own_type(api: ApiServer, mutation: Object) -> None:
    account = "/api/v1/namespaces/ns/serviceaccounts"
    assert (await api.call("POST", account, {"metadata": {"name": "robot"}}))[0] == 201
    await bind(api, policy(mutation, resource="serviceaccounts/token"))
    status, made = await api.call("POST", f"{account}/robot/token", {"spec": {"expirationSeconds": 3607}})
    assert (status, made["spec"]["expirationSeconds"]) == (201, 4000)


@pytest.mark.parametrize(("again", "seen"), [("Never", "1"), ("IfNeeded", "3")])
async def test_reinvocation(api: ApiServer, again: str, seen: str) -> None:
    count = policy(applied("Object{data: {'seen': string(object.data.size())}}"), reinvocationPolicy=again)
    await bind(api, count)
    more = policy(applied("Object{data: {'more': 'x'}}"))
    more["metadata"]["name"] = "q"
    await bind(api, more)
    _, made = await create(api, {"data": {"a": "1"}})
    assert made["data"] == {"a": "1", "more": "x", "seen": seen}


async def test_conditions_and_parameters(api: ApiServer) -> None:
    body = policy(
        applied("Object{data: params.data}"),
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "c", "expression": "request.name == 'm'"}],
    )
    ref = {"selector": {"matchLabels": {"use": "it"}}, "parameterNotFoundAction": "Deny"}
    await bind(api, body, paramRef=ref)
    status, answer = await create(api)
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in answer["message"]
    merge = {"content-type": "application/merge-patch+json"}
    binding = f"{GROUP}/mutatingadmissionpolicybindings/b-p"
    loose = {"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}}
    assert (await api.call("PATCH", binding, loose, merge))[0] == 200
    for name in ("one", "two"):
        labels = {"name": name, "labels": {"use": "it"}}
        assert (await api.call("POST", MAPS, {"metadata": labels, "data": {name: "x"}}))[0] == 201
    assert (await create(api))[1]["data"] == {"one": "x", "two": "x"}
    status, made = await api.call("POST", MAPS, {"metadata": {"name": "other"}})
    assert (status, "data" in made) == (201, False)


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ({"mutations": []}, "spec.mutations", "mutations must contain at least one item"),
        ({"reinvocationPolicy": None}, "spec.reinvocationPolicy", "Required value"),
        ({"mutations": [{"patchType": "x"}]}, "spec.mutations[0].patchType", "Unsupported value"),
        ({"mutations": [{"patchType": "JSONPatch"}]}, "spec.mutations[0].jsonPatch", "when patchType is JSONPatch"),
        ({"mutations": [applied("1")]}, "spec.mutations[0].applyConfiguration.expression", "evaluate to Object"),
        ({"mutations": [patched("1")]}, "spec.mutations[0].jsonPatch.expression", "evaluate to list(JSONPatch)"),
        (
            {"mutations": [patched("[JSONPatch{op: 1}]")]},
            "spec.mutations[0].jsonPatch.expression",
            "expected type of field 'op' is 'string' but provided type is 'int'",
        ),
        ({"mutations": [patched("[JSONPatch{up: 1}]")]}, "spec.mutations[0].jsonPatch.expression", "undefined field"),
        (
            {"matchConstraints": {"resourceRules": [{"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"],
                                                     "resources": ["pods"]}]}},
            "spec.matchConstraints.resourceRules.operations",
            "Unsupported value",
        ),
    ],
)  # fmt: skip
async def test_policies_are_checked_when_they_are_written(api: ApiServer, spec: Object, field: str, why: str) -> None:
    body = policy(applied("Object{}"))
    body["spec"].update(spec)
    status, answer = await api.call("POST", f"{GROUP}/mutatingadmissionpolicies", body)
    assert status == 422, answer
    assert answer["details"]["causes"][0]["field"] == field
    assert why in answer["details"]["causes"][0]["message"]


@pytest.mark.parametrize(
    ("plural", "spec", "field"),
    [
        ("mutating", {}, "spec.policyName"),
        ("mutating", {"policyName": "p", "paramRef": {}}, "spec.paramRef"),
        ("validating", {"policyName": "p"}, "spec.validationActions"),
        ("validating", {"policyName": "p", "validationActions": ["Deny", "Warn"]}, "spec.validationActions"),
        ("validating", {"policyName": "p", "validationActions": ["Deny", "Deny"]}, "spec.validationActions[1]"),
    ],
)
async def test_bindings_are_checked(api: ApiServer, plural: str, spec: Object, field: str) -> None:
    body = {"metadata": {"name": "b"}, "spec": spec}
    status, answer = await api.call("POST", f"{GROUP}/{plural}admissionpolicybindings", body)
    assert status == 422, answer
    assert answer["details"]["causes"][0]["field"] == field
