"""ValidatingAdmissionPolicies: what type checking says of their expressions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.api.identity import LOOPBACK
from switchboard.client import Client
from switchboard.cluster.loopback import Loopback
from switchboard.controllers.policytypes import PolicyTypesController
from switchboard.controllers.run import CONTROLLERS, ControllerSettings, run_controllers
from switchboard.testing.apiserver import ApiServer

Object = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
OTHERS = frozenset(c.name for c in CONTROLLERS if c is not PolicyTypesController)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        settings = ControllerSettings(without=OTHERS)
        job = asyncio.create_task(run_controllers(Client(Loopback(server.app, LOOPBACK)), settings))
        try:
            yield server
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)


async def checked(api: ApiServer, rule: Object, *validations: Object, **spec: Any) -> Object:
    """The finished type checking of a policy."""
    match = {"resourceRules": [{"operations": ["*"], **rule}]}
    body = {"metadata": {"name": "p"}, "spec": {"matchConstraints": match, "validations": list(validations), **spec}}
    status, answer = await api.call("POST", GROUP, body)
    assert status == 201, answer

    async with asyncio.timeout(20):
        while True:
            _, policy = await api.call("GET", f"{GROUP}/p")
            state: Object = policy.get("status") or {}
            if state.get("observedGeneration") == policy["metadata"]["generation"]:
                return dict(state["typeChecking"])
            await asyncio.sleep(0.01)


DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "deployments/scale"]}


async def test_expressions_that_fit(api: ApiServer) -> None:
    fine = [
        {"expression": "object.spec.replicas > 1 && object.metadata.labels.exists(k, k == 'x')"},
        {"expression": "object.spec.template.spec.containers.all(c, c.image.startsWith(variables.from))"},
        {"expression": "params.data.x == 'y' && namespaceObject.metadata.name != ''"},
        {"expression": "object.spec.template.spec.containers[0].resources.limits['cpu'] == 1"},
    ]
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    own = [{"name": "from", "expression": "params.data['registry']"}]
    assert await checked(api, DEPLOYMENTS, *fine, paramKind=kind, variables=own) == {}


async def test_expressions_that_do_not(api: ApiServer) -> None:
    confused = {
        "expression": "object.spec.replicas > '1'",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
    }
    found = await checked(api, DEPLOYMENTS, confused, {"expression": "object.spec.template.spec.wrong"})
    first, second, third = found["expressionWarnings"]
    assert first["fieldRef"] == "spec.validations[0].expression"
    assert first["warning"].startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:22: ")
    assert "found no matching overload for '_>_' applied to '(int, string)'" in first["warning"]
    assert second["fieldRef"] == "spec.validations[0].messageExpression"
    assert "found no matching overload for '_+_' applied to '(string, int)'" in second["warning"]
    assert "undefined field 'wrong'" in third["warning"]


async def test_a_custom_kind(api: ApiServer) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "string"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "foos", "kind": "Foo"}
    crd = {
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    status, answer = await api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    assert status == 201, answer
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["foos"]}
    found = await checked(api, rule, {"expression": "object.spec.n == 'a'"}, {"expression": "object.spec.n > 10"})
    (warning,) = found["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[1].expression"
    assert "example.com/v1, Kind=Foo: ERROR" in warning["warning"]


async def test_wildcards_are_not_checked(api: ApiServer) -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["deployments"]}
    assert await checked(api, rule, {"expression": "object.spec.wrong"}) == {}
