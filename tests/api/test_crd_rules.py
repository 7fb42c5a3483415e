"""Expression rules of CustomResourceDefinitions (`x-kubernetes-validations`), over the API."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from switchboard.testing.apiserver import ApiServer

Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/ns/widgets"
MERGE = {"content-type": "application/merge-patch+json"}


def definition(spec: Object) -> Object:
    names = {"plural": "widgets", "kind": "Widget"}
    schema = {"type": "object", "properties": {"spec": {"type": "object", **spec}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    body = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "widgets.example.com"}, "spec": body}


async def define(api: ApiServer, **spec: Any) -> None:
    status, made = await api.call("POST", CRDS, definition(spec))
    assert status == 201, made


def causes(answer: Object) -> list[str]:
    """What is wrong, as "field: message"."""
    return [f"{cause['field']}: {cause['message']}" for cause in answer["details"]["causes"]]


async def create(api: ApiServer, name: str = "w", **spec: Any) -> list[str]:
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
    status, made = await api.call("POST", WIDGETS, body)
    return [] if status == 201 else causes(made)


async def change(api: ApiServer, **spec: Any) -> list[str]:
    status, made = await api.call("PATCH", f"{WIDGETS}/w", {"spec": spec}, headers=MERGE)
    return [] if status == 200 else causes(made)


NUMBERS = {"least": {"type": "integer"}, "most": {"type": "integer"}, "name": {"type": "string", "maxLength": 20}}


async def test_rules_of_creates_and_their_words(api: ApiServer) -> None:
    rules = [
        {"rule": "self.least <= self.most"},
        {"rule": "self.most < 10", "message": " too much ", "fieldPath": ".most", "reason": "FieldValueForbidden"},
        {"rule": "self.least != 5", "messageExpression": "'%s is %d'.format(['it', self.least])", "message": "other"},
        {"rule": "self.least != 6", "messageExpression": "self.name", "message": "other"},
        {"rule": "self.least != 7", "reason": "FieldValueDuplicate"},
    ]
    await define(api, properties=NUMBERS, **{"x-kubernetes-validations": rules})
    assert await create(api, "good", least=1, most=2) == []
    assert await create(api, least=3, most=2) == ["spec: Invalid value: failed rule: self.least <= self.most"]
    assert await create(api, least=1, most=10) == ["spec.most: Forbidden: too much"]
    assert await create(api, least=5, most=6) == ["spec: Invalid value: it is 5"]
    assert await create(api, least=6, most=6) == ["spec: Invalid value: other"]
    assert await create(api, least=7, most=7) == ["spec: Duplicate value"]
    assert (await create(api, least=1))[0] == (
        'spec: Invalid value: "object": no such key: most evaluating rule: self.least <= self.most'
    )


async def test_transition_rules_run_on_updates_of_what_can_be_compared(api: ApiServer) -> None:
    fixed = [{"rule": "self == oldSelf", "message": "fixed"}]
    once = [{"rule": "!oldSelf.hasValue() || oldSelf.value() == self", "message": "set once", "optionalOldSelf": True}]
    item = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "v": {"type": "integer"}}}
    item["properties"]["v"]["x-kubernetes-validations"] = [{"rule": "self >= oldSelf", "message": "only up"}]
    ports = {"type": "array", "maxItems": 5, "items": item}
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]}
    await define(
        api,
        properties={
            "name": {"type": "string", "maxLength": 9, "x-kubernetes-validations": fixed},
            "zone": {"type": "string", "maxLength": 9, "x-kubernetes-validations": once},
            "ports": {**ports, **keyed},
        },
    )
    assert await create(api, ports=[{"id": "a", "v": 2}, {"id": "b", "v": 5}]) == []
    assert await change(api, name="n", zone="z") == []
    assert await change(api, name="m", zone="y") == [
        'spec.name: Invalid value: "m": fixed', 'spec.zone: Invalid value: "y": set once'
    ]  # fmt: skip
    assert await change(api, ports=[{"id": "b", "v": 5}, {"id": "a", "v": 1}]) == [
        "spec.ports[1].v: Invalid value: 1: only up"
    ]
    assert await change(api, ports=[{"id": "c", "v": 0}, {"id": "b", "v": 6}]) == []


async def test_what_an_update_leaves_as_it_was_is_not_held_against_it(api: ApiServer) -> None:
    part = {"type": "object", "properties": NUMBERS}
    await define(api, properties={"a": part, "b": part})
    assert await create(api, a={"least": 3, "most": 1}, b={"least": 1, "most": 2}) == []
    rules = [{"rule": "self.least <= self.most", "message": "order"}]
    ruled = {**part, "x-kubernetes-validations": rules}
    _, crd = await api.call("GET", f"{CRDS}/widgets.example.com")
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] = {
        "a": ruled, "b": ruled
    }  # fmt: skip
    status, answer = await api.call("PUT", f"{CRDS}/widgets.example.com", crd)
    assert status == 200, answer
    answer = await api.request("PATCH", f"{WIDGETS}/w", {"spec": {"b": {"least": 2}}}, headers=MERGE)
    assert (answer.status, [value for name, value in answer.headers if name.lower() == "warning"]) == (
        200,
        ['299 - "spec.a: Invalid value: order"'],
    )
    assert await change(api, b={"least": 3}) == ["spec.b: Invalid value: order"]
    assert await change(api, a={"least": 2}) == ["spec.a: Invalid value: order"]
    assert await change(api, a={"least": 1}) == []


async def test_rules_see_typed_values_and_the_identity_of_objects(api: ApiServer) -> None:
    rules = [
        {"rule": "self.until - self.since < duration('24h')", "message": "a day"},
        {"rule": "self.__if__.a__dash__b.all(k, self.__if__.a__dash__b[k] > 0)", "message": "positive"},
        {"rule": "type(self.port) == int ? self.port > 0 : self.port == 'http'", "message": "port"},
        {"rule": "self.template.kind == 'Pod' && self.template.metadata.name.startsWith('p')", "message": "pod"},
    ]
    time = {"type": "string", "format": "date-time"}
    numbers = {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}}
    await define(
        api,
        properties={
            "since": time,
            "until": time,
            "if": {"type": "object", "properties": {"a-b": numbers}},
            "port": {"x-kubernetes-int-or-string": True},
            "template": {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "x-kubernetes-preserve-unknown-fields": True,
            },
        },
        **{"x-kubernetes-validations": rules},
    )
    good: Object = {
        "since": "2024-01-01T00:00:00Z",
        "until": "2024-01-01T05:00:00+02:00",
        "if": {"a-b": {"x": 1}},
        "port": "http",
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p1"}},
    }
    assert await create(api, "good", **good) == []
    bad = {**good, "until": "2024-01-03T00:00:00Z", "if": {"a-b": {"x": 0}}, "port": 0}
    bad["template"] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    assert await create(api, **bad) == [f"spec: Invalid value: {why}" for why in ("a day", "positive", "port", "pod")]


async def test_rules_that_cost_too_much_are_stopped(api: ApiServer) -> None:
    texts = {"type": "array", "maxItems": 1000, "items": {"type": "string", "maxLength": 2}}
    rule = {"rule": "self.all(a, self.all(b, a == b))"}
    await define(api, properties={"texts": {**texts, "x-kubernetes-validations": [rule]}})
    assert await create(api, "good", texts=["a"] * 100) == []
    (found,) = await create(api, texts=["a"] * 1000)
    assert "no further validation rules will be run due to call cost exceeds limit for rule" in found


RULE = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]"


@pytest.mark.parametrize(
    ("rule", "field", "text"),
    [
        ({"rule": "self.nope == 1"}, ".rule", "compilation failed: ERROR: <input>:1:5: undefined field 'nope'"),
        ({"rule": "self.least"}, ".rule", "cel expression must evaluate to a bool"),
        ({"rule": " "}, ".rule", "Required value: rule is not specified"),
        ({"rule": "true", "message": " "}, ".message", "message must be non-empty if specified"),
        ({"rule": "true", "message": "a\nb"}, ".message", "message must not contain line breaks"),
        ({"rule": "true ||\nfalse"}, ".message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "messageExpression": "1"}, ".messageExpression", "must evaluate to a string"),
        ({"rule": "true", "fieldPath": ".nope"}, ".fieldPath", "fieldPath must be a valid path: does not refer to a"),
        ({"rule": "true", "fieldPath": "name"}, ".fieldPath", "expected [ or . but got: name"),
        ({"rule": "true", "reason": "Nope"}, ".reason", 'Unsupported value: "Nope"'),
        ({"rule": "true", "optionalOldSelf": True}, ".optionalOldSelf", "may not be set if oldSelf is not used"),
        ({"rule": "self.l.all(a, self.l.all(b, a == b))"}, ".rule", "budget by factor of more than 100x"),
    ],
)
async def test_rules_are_checked_with_their_definition(api: ApiServer, rule: Object, field: str, text: str) -> None:
    properties = {**NUMBERS, "l": {"type": "array", "items": {"type": "string"}}}
    body = definition({"properties": properties, "x-kubernetes-validations": [rule]})
    status, answer = await api.call("POST", CRDS, body)
    assert status == 422
    found = causes(answer)
    assert found[0].startswith(f"{RULE}{field}: ")
    assert text in found[0]


async def test_old_values_of_a_list_without_keys_cannot_be_asked_for(api: ApiServer) -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    body = definition({"properties": {"l": {"type": "array", "maxItems": 3, "items": item}}})
    status, answer = await api.call("POST", CRDS, body)
    assert status == 422
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within" in causes(answer)[0]


def test_a_server_without_rules_does_not_load_the_language() -> None:
    code = (
        "import sys, switchboard.api.app, switchboard.api.crd; "
        "sys.exit(any(name.startswith(('cel_expr_python', 're2', 'switchboard.objects.cel')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
