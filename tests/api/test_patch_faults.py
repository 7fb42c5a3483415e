"""Patches that are taken with warnings, or refused: what the answers say."""

import json
from typing import Any

import pytest

from switchboard.testing.apiserver import ApiServer

DEPLOYMENTS = "/apis/apps/v1/namespaces/ns/deployments"
MERGE, STRATEGIC, OPERATIONS = (
    {"content-type": f"application/{name}+json"} for name in ("merge-patch", "strategic-merge-patch", "json-patch")
)
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}


async def refused(api: ApiServer, text: str, media: dict[str, str]) -> str:
    """What is said against a patch that must be right in all details: the part after the quoted document."""
    made = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}
    await api.call("POST", DEPLOYMENTS, made)
    answer = await api.request("PATCH", f"{DEPLOYMENTS}/d?fieldValidation=Strict", text.encode(), media)
    status = json.loads(answer.body)
    assert (answer.status, status["reason"]) == (422, "Invalid")
    assert status["message"].startswith(' "" is invalid: patch: Invalid value: "')
    message: str = status["details"]["causes"][0]["message"]
    return message


async def test_faults_of_operations_come_first(api: ApiServer) -> None:
    text = (
        '[{"op":"add","path":"/spec/paused","path":"/spec/strange","value":1,"because":"x"},'
        '{"op":"test","path":"/metadata/name","value":"d","why":{"op":1}}]'
    )
    said = await refused(api, text, OPERATIONS)
    found = (
        'json patch unknown field "[0].because", json patch duplicate field "[0].path", '
        'json patch unknown field "[1].why", unknown field "spec.strange"'
    )
    assert said.endswith(f"strict decoding error: {found}")
    ignored = await api.request("PATCH", f"{DEPLOYMENTS}/d?fieldValidation=Ignore", text.encode(), OPERATIONS)
    assert ignored.status == 200 and "warning" not in {name.lower() for name, _ in ignored.headers}


@pytest.mark.parametrize("media", [MERGE, STRATEGIC])
async def test_keys_that_stand_twice_come_before_unknown_ones(api: ApiServer, media: dict[str, str]) -> None:
    text = '{"spec":{"strange":[1,null],"paused":true,"paused":false}}'
    said = await refused(api, text, media)
    assert said.endswith('strict decoding error: duplicate field "spec.paused", unknown field "spec.strange"')
    # a strategic merge is shown as the patch, the others as the document that they make
    shown = 'Invalid value: "map[spec:map[paused:false strange:[1 <nil>]]]": '
    assert said.startswith(shown) == (media is STRATEGIC)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"spec": {"replicas": "3"}}, "map[spec:map[replicas:3]]", "unrecognized type: int32"),
    ({"spec": {"replicas": 1.5}}, "map[spec:map[replicas:1.5]]", "cannot convert float64 to int32"),
    ({"spec": {"paused": "no"}}, "map[spec:map[paused:no]]", "unrecognized type: bool"),
    ({"spec": {"template": 5}}, "map[spec:map[template:5]]", "cannot restore struct from: int64"),
    ({"metadata": {"labels": "x"}}, "map[metadata:map[labels:x]]", "cannot restore map from string"),
    ({"metadata": {"labels": {"x": 1}}}, "map[metadata:map[labels:map[x:1]]]", "cannot convert int64 to string"),
    ({"metadata": {"labels": {"x": [True]}}}, "map[metadata:map[labels:map[x:[true]]]]", "unrecognized type: string"),
]


@pytest.mark.parametrize(("body", "shown", "why"), WRONG)
async def test_wrong_types_of_a_strategic_merge(api: ApiServer, body: dict[str, Any], shown: str, why: str) -> None:
    assert await refused(api, json.dumps(body), STRATEGIC) == f'Invalid value: "{shown}": {why}'
    assert ": json: cannot unmarshal " in await refused(api, json.dumps(body), MERGE)


async def test_a_patched_scale_is_looked_at_alike(api: ApiServer) -> None:
    made = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}
    await api.call("POST", DEPLOYMENTS, made)
    scale = f"{DEPLOYMENTS}/d/scale?fieldValidation="
    status, said = await api.call("PATCH", scale + "Ignore", {"spec": {"replicas": "3"}}, STRATEGIC)
    assert status == 422 and said["details"]["causes"][0] == {
        "reason": "FieldValueInvalid",
        "message": 'Invalid value: "map[spec:map[replicas:3]]": unrecognized type: int32',
        "field": "patch",
    }
    status, said = await api.call("PATCH", scale + "Ignore", {"spec": {"replicas": "3"}}, MERGE)
    assert status == 422 and said["message"].endswith("Go struct field ScaleSpec.spec.replicas of type int32")
    status, said = await api.call("PATCH", scale + "Strict", {"spec": {"replica": 3}}, MERGE)
    assert status == 422 and said["message"].endswith('strict decoding error: unknown field "spec.replica"')
    whole: Any = [{"op": "replace", "path": "", "value": [5]}]
    status, said = await api.call("PATCH", scale + "Ignore", whole, OPERATIONS)
    assert status == 422 and said["message"].endswith('Invalid value: "[5]": the patched document is not an object')
    answer = await api.request("PATCH", scale, b'{"spec":{"replicas":2,"replicas":3,"x":1}}', MERGE)
    assert answer.status == 200 and (await api.call("GET", f"{DEPLOYMENTS}/d/scale"))[1]["spec"] == {"replicas": 3}
    assert [value for name, value in answer.headers if name.lower() == "warning"] == [
        '299 - "duplicate field \\"spec.replicas\\""',
        '299 - "unknown field \\"spec.x\\""',
    ]
