"""ValidatingAdmissionPolicies and their bindings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.api.identity import AUTHENTICATED, Identity
from switchboard.testing.apiserver import ApiServer

Object = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns"
MAPS = "/api/v1/namespaces/ns/configmaps"
RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        labels = {"team": "a"}
        await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns", "labels": labels}})
        yield server


def policy(*validations: Object, match: Object | None = None, **spec: Any) -> Object:
    rules = {"resourceRules": [RULE], **(match or {})}
    return {"metadata": {"name": "p"}, "spec": {"matchConstraints": rules, "validations": list(validations), **spec}}


async def bind(api: ApiServer, body: Object, *actions: str, **spec: Any) -> None:
    status, answer = await api.call("POST", f"{GROUP}/validatingadmissionpolicies", body)
    assert status == 201, answer
    bound = {"policyName": "p", "validationActions": list(actions or ("Deny",)), **spec}
    status, answer = await api.call(
        "POST", f"{GROUP}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": bound}
    )
    assert status == 201, answer


async def create(api: ApiServer, name: str = "m", **data: str) -> tuple[int, str]:
    status, answer = await api.call("POST", MAPS, {"metadata": {"name": name}, "data": data})
    return status, answer.get("message") or ""


def denied(why: str) -> str:
    return f"configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"


async def test_what_a_bound_policy_denies_is_refused(api: ApiServer) -> None:
    await bind(
        api,
        policy(
            {"expression": "object.data.size() < 3", "message": "too many"},
            {
                "expression": "variables.bad != object.data.?a.orValue('')",
                "messageExpression": "'not ' + variables.bad",
            },
            {"expression": "oldObject == null || request.operation == 'UPDATE'"},
            {"expression": "namespaceObject.metadata.labels.team == 'a'"},
            {"expression": "!('secret' in object.data)", "reason": "Forbidden"},
            variables=[{"name": "bad", "expression": "'b' + 'ad'"}],
        ),
    )
    assert await create(api, "fine", a="good") == (201, "")
    assert await create(api, a="1", b="2", c="3") == (422, denied("too many"))
    assert await create(api, a="bad") == (422, denied("not bad"))
    assert await create(api, secret="x") == (403, denied("failed expression: !('secret' in object.data)"))
    patch = {"content-type": "application/merge-patch+json"}
    status, answer = await api.call("PATCH", f"{MAPS}/fine", {"data": {"a": "bad"}}, patch)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert answer["details"]["causes"][0]["message"].endswith("denied request: not bad")
    assert (await api.call("DELETE", f"{MAPS}/fine"))[0] == 200


async def test_a_policy_without_a_binding_or_with_another_action_lets_pass(api: ApiServer) -> None:
    never = policy({"expression": "false", "message": "never"})
    await bind(api, never, "Warn", "Audit")
    response = await api.request("POST", MAPS, {"metadata": {"name": "m"}})
    assert response.status == 201
    warnings = [value for name, value in response.headers if name.lower() == "warning"]
    assert warnings == ["299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never\""]
    assert (await api.call("DELETE", f"{GROUP}/validatingadmissionpolicybindings/b"))[0] == 200
    assert await create(api, "other") == (201, "")


@pytest.mark.parametrize(("action", "code"), [("Fail", 422), ("Ignore", 201)])
async def test_an_expression_that_fails(api: ApiServer, action: str, code: int) -> None:
    await bind(api, policy({"expression": "object.data.x == 'y'"}, failurePolicy=action))
    status, message = await create(api)
    assert status == code
    if code == 422:
        assert message == denied("expression 'object.data.x == 'y'' resulted in error: no such key: data")


@pytest.mark.parametrize(
    ("match", "bound", "spec", "code"),
    [
        ({}, {}, {}, 422),
        ({"excludeResourceRules": [RULE]}, {}, {}, 201),
        ({"resourceRules": [{**RULE, "resourceNames": ["other"]}]}, {}, {}, 201),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, {}, {}, 201),
        ({"objectSelector": {"matchLabels": {"x": "y"}}}, {}, {}, 201),
        ({}, {"matchResources": {"namespaceSelector": {"matchLabels": {"team": "a"}}}}, {}, 422),
        ({}, {"matchResources": {"namespaceSelector": {"matchLabels": {"team": "b"}}}}, {}, 201),
        ({}, {}, {"matchConditions": [{"name": "c", "expression": "request.name != 'm'"}]}, 201),
    ],
)
async def test_what_a_policy_speaks_of(api: ApiServer, match: Object, bound: Object, spec: Object, code: int) -> None:
    await bind(api, policy({"expression": "false"}, match=match, **spec), **bound)
    assert (await create(api))[0] == code


async def test_parameters(api: ApiServer) -> None:
    kind = {"apiVersion": "v1", "kind": "Secret"}
    same = {"expression": "params.metadata.name == object.data.owner", "message": "owner"}
    body = policy(same, paramKind=kind)
    ref = {"name": "owner", "parameterNotFoundAction": "Deny"}
    await bind(api, body, paramRef=ref)
    missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    assert await create(api, owner="owner") == (422, denied(missing))
    await api.call("POST", "/api/v1/namespaces/ns/secrets", {"metadata": {"name": "owner"}})
    assert await create(api, owner="me") == (422, denied("owner"))
    assert await create(api, owner="owner") == (201, "")


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ({"validations": [{"expression": "object."}]}, "spec.validations[0].expression", "compilation failed"),
        ({"validations": [{"expression": "1"}]}, "spec.validations[0].expression", "must evaluate to bool"),
        ({"validations": [{"expression": "variables.x"}]}, "spec.validations[0].expression", "undefined field 'x'"),
        ({"validations": [{"expression": "params == 1"}]}, "spec.validations[0].expression", "undeclared reference"),
        ({"validations": []}, "spec.validations", "Required value"),
        ({"matchConstraints": {"resourceRules": []}}, "spec.matchConstraints.resourceRules", "Required value"),
        ({"variables": [{"name": "v", "expression": "nope"}]}, "spec.variables[0].expression", "undeclared reference"),
        ({"variables": [{"name": "in", "expression": "1"}]}, "spec.variables[0].name", "a valid CEL identifier"),
        ({"failurePolicy": "Maybe"}, "spec.failurePolicy", "Unsupported value"),
        (
            {"validations": [{"expression": "Object{}.x == 1"}]},
            "spec.validations[0].expression",
            "undeclared reference",
        ),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of [string null_type]",
        ),
        ({"auditAnnotations": [{"key": "k k", "valueExpression": "'v'"}]}, "spec.auditAnnotations[0].key", "Invalid"),
    ],
)
async def test_policies_are_checked_when_they_are_written(api: ApiServer, spec: Object, field: str, why: str) -> None:
    body = policy({"expression": "true"})
    body["spec"].update(spec)
    status, answer = await api.call("POST", f"{GROUP}/validatingadmissionpolicies", body)
    assert status == 422, answer
    causes = answer["details"]["causes"]
    assert causes[0]["field"] == field
    assert why in causes[0]["message"]


async def test_everything_is_asked_before_the_first_denial_is_told(api: ApiServer) -> None:
    await bind(api, policy({"expression": "false", "message": "denied"}))
    warns = policy({"expression": "false", "message": "warned"})
    warns["metadata"]["name"] = "q"
    assert (await api.call("POST", f"{GROUP}/validatingadmissionpolicies", warns))[0] == 201
    bound = {"metadata": {"name": "q"}, "spec": {"policyName": "q", "validationActions": ["Warn"]}}
    assert (await api.call("POST", f"{GROUP}/validatingadmissionpolicybindings", bound))[0] == 201
    response = await api.request("POST", MAPS, {"metadata": {"name": "m"}})
    assert response.status == 422
    assert any("warned" in value for name, value in response.headers if name == "warning")


async def test_variables_that_fail_are_named(api: ApiServer) -> None:
    variables = [{"name": "x", "expression": "object.data.x"}]
    await bind(api, policy({"expression": "variables.x == 'y'"}, variables=variables))
    assert await create(api, "fine", x="y") == (201, "")
    failed = 'composited variable "x" fails to evaluate: no such key: data'
    assert await create(api) == (422, denied(f"expression 'variables.x == 'y'' resulted in error: {failed}"))


async def test_annotations_that_cannot_be_made_deny_whatever_the_binding_says(api: ApiServer) -> None:
    annotation = {"key": "k", "valueExpression": "object.data.x + '!'"}
    await bind(api, policy({"expression": "true"}, auditAnnotations=[annotation]), "Warn")
    assert await create(api, "fine", x="y") == (201, "")
    why = "expression 'object.data.x + '!'' resulted in error: no such key: data"
    assert await create(api) == (422, denied(why))


async def test_the_namespace_has_types(api: ApiServer) -> None:
    fine = "namespaceObject.metadata.creationTimestamp > timestamp('2020-01-01T00:00:00Z')"
    seen = "namespaceObject.metadata.labels.team == 'b' || namespaceObject.status.phase != 'Active'"
    await bind(api, policy({"expression": fine, "message": "old"}, {"expression": seen, "message": "seen"}))
    assert await create(api) == (422, denied("seen"))
    body = policy({"expression": "namespaceObject.metadata.wrong == ''"})
    body["metadata"]["name"] = "q"
    status, answer = await api.call("POST", f"{GROUP}/validatingadmissionpolicies", body)
    assert status == 422
    assert "undefined field 'wrong'" in answer["message"]


async def test_policies_cannot_forbid_their_own_removal(api: ApiServer) -> None:
    every = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    await bind(api, policy({"expression": "false"}, match={"resourceRules": [every]}))
    assert (await create(api))[0] == 422
    assert (await api.call("DELETE", f"{GROUP}/validatingadmissionpolicies/p"))[0] == 200
    assert (await create(api))[0] == 201


async def test_expressions_can_ask_what_somebody_may_do(api: ApiServer) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "audit"]}]
    role = {"metadata": {"name": "r", "namespace": "ns"}, "rules": rules}
    assert (await api.call("POST", f"{RBAC}/roles", role))[0] == 201
    binding = {
        "metadata": {"name": "r", "namespace": "ns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    assert (await api.call("POST", f"{RBAC}/rolebindings", binding))[0] == 201
    await bind(
        api,
        policy(
            {"expression": "authorizer.requestResource.check('audit').allowed()", "message": "own"},
            {"expression": "!authorizer.serviceAccount('ns', 'sa').requestResource.check('audit').allowed()"},
            {"expression": "!authorizer.path('/secret').check('get').allowed()", "message": "path"},
            {"expression": "authorizer.group('').resource('configmaps').namespace(object.data.where)"
             ".check('create').allowed()", "message": "elsewhere"},
        ),
    )  # fmt: skip
    user = Identity("u", (AUTHENTICATED,))
    body: Object = {"metadata": {"name": "m"}, "data": {"where": "other"}}
    status, answer = await api.call("POST", MAPS, body, identity=user)
    assert (status, answer["message"]) == (422, denied("elsewhere"))
    body["data"]["where"] = "ns"
    assert (await api.call("POST", MAPS, body, identity=user))[0] == 201
    status, answer = await api.call("POST", MAPS, {**body, "metadata": {"name": "n"}})
    assert answer["message"].endswith("denied request: path")
