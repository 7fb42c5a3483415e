"""CustomResourceDefinitions: from a definition to served, validated, converted objects, and away again."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from switchboard.testing.apiserver import ApiServer
from switchboard.testing.recorder import Recorder, watch
from switchboard.testing.webhook import FakeWebhook

Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = {"content-type": "application/merge-patch+json"}
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red"},
                "port": {"x-kubernetes-int-or-string": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"kept": {"type": "string"}},
                },
                "replicas": {"type": "integer"},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}},
    },
}
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def version(name: str = "v1", *, storage: bool = True, **more: Any) -> Object:
    base = {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": SCHEMA}}
    return {**base, "subresources": {"status": {}, "scale": SCALE}, **more}


def definition(*versions: Object, plural: str = "widgets", kind: str = "Widget", **spec: Any) -> Object:
    names = {"plural": plural, "kind": kind, "shortNames": [plural[:2]], "categories": ["all"]}
    base = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": list(versions or [version()])}
    return {"metadata": {"name": f"{plural}.example.com"}, "spec": {**base, **spec}}


def widget(name: str = "w", api: str = "v1", **spec: Any) -> Object:
    meta = {"name": name}
    return {"apiVersion": f"example.com/{api}", "kind": "Widget", "metadata": meta, "spec": {"size": 1, **spec}}


def path(api: str = "v1", namespace: str = "ns") -> str:
    return f"/apis/example.com/{api}/namespaces/{namespace}/widgets"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        yield server


async def define(api: ApiServer, body: Object) -> Any:
    status, made = await api.call("POST", CRDS, body)
    assert status == 201, made
    return made


def condition(crd: Object, kind: str) -> Any:
    return next((c for c in crd["status"]["conditions"] if c["type"] == kind), None)


async def gone(api: ApiServer, what: str) -> None:
    """Wait until something is no longer there."""
    async with asyncio.timeout(5):
        while (await api.call("GET", what))[0] != 404:  # noqa: ASYNC110 - absence is not announced
            await asyncio.sleep(0.002)


async def test_a_definition_is_served_with_its_answer(api: ApiServer) -> None:
    made = await define(api, definition())
    assert condition(made, "Established")["status"] == "True"
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["status"]["acceptedNames"]["listKind"] == "WidgetList"
    status, found = await api.call("GET", path())
    assert (status, found["kind"], found["items"]) == (200, "WidgetList", [])
    _, group = await api.call("GET", "/apis/example.com/v1")
    by_name = {r["name"]: r for r in group["resources"]}
    assert by_name["widgets"]["shortNames"] == ["wi"]
    assert by_name["widgets"]["categories"] == ["all"]
    assert {"widgets/status", "widgets/scale"} <= set(by_name)
    status, document = await api.call("GET", "/openapi/v3/apis/example.com/v1")
    assert "com.example.v1.Widget" in document["components"]["schemas"]


async def test_objects_are_pruned_defaulted_and_validated(api: ApiServer) -> None:
    await define(api, definition())
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"gone": 1}}
    body = widget(unknown=1, port="http", free={"a": {"b": 1}}, template=template)
    status, made = await api.call("POST", path(), body)
    assert status == 201, made
    assert made["spec"] == {
        "size": 1,
        "color": "red",
        "port": "http",
        "free": {"a": {"b": 1}},
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}},
    }
    assert made["metadata"]["generation"] == 1
    status, answer = await api.call("POST", path(), widget("bad", size=0))
    assert status == 422
    assert answer["details"]["causes"][0]["field"] == "spec.size"
    status, answer = await api.call("POST", f"{path()}?fieldValidation=Strict", widget("bad", unknown=1))
    assert status == 400


async def test_status_and_scale(api: ApiServer) -> None:
    await define(api, definition())
    status, made = await api.call("POST", path(), {**widget(replicas=2), "status": {"phase": "Early"}})
    assert "status" not in made
    body = {"status": {"replicas": 2, "phase": "Up"}, "spec": {"size": 9}}
    status, made = await api.call("PATCH", f"{path()}/w/status", body, MERGE)
    assert (status, made["status"], made["spec"]["size"]) == (200, {"replicas": 2, "phase": "Up"}, 1)
    assert made["metadata"]["generation"] == 1
    _, scale = await api.call("GET", f"{path()}/w/scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 2}, {"replicas": 2})
    status, scale = await api.call("PATCH", f"{path()}/w/scale", {"spec": {"replicas": 5}}, MERGE)
    assert (status, scale["spec"]) == (200, {"replicas": 5})
    _, made = await api.call("GET", f"{path()}/w")
    assert (made["spec"]["replicas"], made["metadata"]["generation"]) == (5, 2)


async def test_tables_have_the_columns_of_the_version(api: ApiServer) -> None:
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    await define(api, definition(version(additionalPrinterColumns=columns)))
    await api.call("POST", path(), widget())
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    _, table = await api.call("GET", path(), headers=accept)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["w", 1]


async def test_versions_without_a_webhook_differ_in_name_only(api: ApiServer) -> None:
    await define(api, definition(version("v1beta1", storage=False), version("v1")))
    await api.call("POST", path("v1beta1"), widget(api="v1beta1", color="blue"))
    _, made = await api.call("GET", f"{path('v1')}/w")
    assert (made["apiVersion"], made["spec"]["color"]) == ("example.com/v1", "blue")
    _, listed = await api.call("GET", path("v1beta1"))
    assert listed["items"][0]["apiVersion"] == "example.com/v1beta1"
    _, found = await api.call("GET", "/apis/example.com")
    assert found["preferredVersion"]["version"] == "v1"


def convert(request: Object) -> Object:
    """v2 calls `color` what v1 calls it too, but writes it in capitals."""
    made = []
    for obj in request["objects"]:
        change = str.upper if request["desiredAPIVersion"].endswith("v2") else str.lower
        spec = {**obj["spec"], "color": change(obj["spec"]["color"])}
        made.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
    return {"result": {"status": "Success"}, "convertedObjects": made}


async def test_versions_with_a_webhook(api: ApiServer) -> None:
    async with FakeWebhook(convert) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        await define(api, definition(version("v1"), version("v2", storage=False), conversion=conversion))
        for i in range(3):
            status, made = await api.call("POST", path("v1"), widget(f"w{i}", color="red"))
            assert status == 201, made
        _, listed = await api.call("GET", path("v2"))
        assert [item["spec"]["color"] for item in listed["items"]] == ["RED"] * 3
        assert listed["items"][0]["metadata"]["uid"]
        status, made = await api.call("POST", path("v2"), widget("new", "v2", color="BLUE"))
        assert (status, made["spec"]["color"]) == (201, "BLUE")
        _, made = await api.call("GET", f"{path('v1')}/new")
        assert (made["spec"]["color"], made["apiVersion"]) == ("blue", "example.com/v1")
        status, made = await api.call("PATCH", f"{path('v2')}/new", {"spec": {"size": 4}}, MERGE)
        assert (status, made["spec"]["size"], made["metadata"]["generation"]) == (200, 4, 2)
        asked = len(webhook.reviews)
        await api.call("GET", path("v2"))
        assert len(webhook.reviews) == asked  # what was converted once is known


def reordered(request: Object) -> Object:
    """As `convert`, written down as Go does: every object's fields in the order of their names."""
    answer = convert(request)
    answer["convertedObjects"] = [json.loads(json.dumps(obj, sort_keys=True)) for obj in answer["convertedObjects"]]
    return answer


async def test_a_webhook_that_orders_fields_otherwise(api: ApiServer) -> None:
    async with FakeWebhook(reordered) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        await define(api, definition(version("v1"), version("v2", storage=False), conversion=conversion))
        status, made = await api.call("POST", path("v2"), widget("w", "v2", color="BLUE"))
        assert (status, made["spec"]["color"]) == (201, "BLUE"), made
        nameless = widget("", "v2", color="RED") | {"metadata": {"generateName": "some-"}}
        status, made = await api.call("POST", path("v2"), nameless)
        assert (status, made["spec"]["color"], made["metadata"]["name"][:5]) == (201, "RED", "some-"), made
        _, listed = await api.call("GET", path("v1"))
        assert [item["spec"]["color"] for item in listed["items"]] == ["red", "blue"]


async def test_what_admission_changes_is_converted_without_asking_it_again(api: ApiServer) -> None:
    asked = itertools.count(1)

    def mutate(_: Object) -> Object:
        change = [{"op": "add", "path": "/metadata/annotations", "value": {"asked": str(next(asked))}}]
        text = base64.b64encode(json.dumps(change).encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": text}

    async with FakeWebhook(convert) as converter, FakeWebhook(mutate) as mutator:
        client = {"clientConfig": converter.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        await define(api, definition(version("v1"), version("v2", storage=False), conversion=conversion))
        rule = {"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["*"], "resources": ["widgets"]}
        hook = {"name": "a.example.com", "clientConfig": mutator.client_config, "rules": [rule], "sideEffects": "None"}
        body = {"metadata": {"name": "c"}, "webhooks": [{**hook, "admissionReviewVersions": ["v1"]}]}
        target = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        assert (await api.call("POST", target, body))[0] == 201
        status, made = await api.call("POST", path("v2"), widget("w", "v2", color="BLUE"))
        assert (status, made["metadata"]["annotations"]["asked"]) == (201, "1"), made
        status, made = await api.call("PATCH", f"{path('v2')}/w", {"spec": {"size": 4}}, MERGE)
        assert (status, made["metadata"]["annotations"]["asked"], made["spec"]["color"]) == (200, "2", "BLUE"), made


async def test_a_failing_conversion_is_an_error_not_a_loss(api: ApiServer) -> None:
    async with FakeWebhook(lambda _: {"result": {"status": "Failed", "message": "broken"}}) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        await define(api, definition(version("v1"), version("v2", storage=False), conversion=conversion))
        assert (await api.call("POST", path("v1"), widget()))[0] == 201
        status, answer = await api.call("GET", f"{path('v2')}/w")
        assert status == 500
        assert answer["message"] == "conversion webhook for example.com/v1, Kind=Widget failed: broken"
        assert (await api.call("GET", f"{path('v1')}/w"))[0] == 200


async def test_a_changed_definition_changes_what_is_served(api: ApiServer) -> None:
    made = await define(api, definition(version("v1", storage=False), version("v2")))
    made["spec"]["versions"][0]["served"] = False
    status, made = await api.call("PUT", f"{CRDS}/widgets.example.com", made)
    assert status == 200, made
    assert made["metadata"]["generation"] == 2
    assert (await api.call("GET", path("v1")))[0] == 404
    assert (await api.call("GET", path("v2")))[0] == 200


async def test_what_was_wrong_before_may_stay_wrong(api: ApiServer) -> None:
    made = await define(api, definition())
    await api.call("POST", path(), widget(size=2))
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["minimum"] = 5
    assert (await api.call("PUT", f"{CRDS}/widgets.example.com", made))[0] == 200
    assert (await api.call("PATCH", f"{path()}/w", {"spec": {"color": "blue"}}, MERGE))[0] == 200
    assert (await api.call("PATCH", f"{path()}/w", {"spec": {"size": 3}}, MERGE))[0] == 422


RATCHET: Object = {
    "type": "object",
    "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {
                "type": "object",
                "required": ["k"],
                "properties": {"k": {"type": "string"}, "v": {"type": "string"}},
            },
        },
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metadata": {"labels": {"a": "b"}}}, 200),
        ({"list": [{"k": "other", "v": "good"}, {"k": "one", "v": "bad"}]}, 200),  # moved, but known by its key
        ({"list": [{"k": "one", "v": "bad"}, {"k": "two", "v": "bad"}]}, 422),
        ({"set": ["bad", "good"]}, 422),  # items of a set are not followed
        ({"map": {"a.b": "bad", "c": "good"}}, 200),
        ({"map": {"a.b": "bad", "c": "bad"}}, 422),
    ],
)
async def test_what_an_update_leaves_is_not_held_against_it(api: ApiServer, change: Object, code: int) -> None:
    made = await define(api, definition(version(schema={"openAPIV3Schema": RATCHET}, subresources={})))
    body = {**widget("w"), "set": ["bad"], "list": [{"k": "one", "v": "bad"}], "map": {"a.b": "bad"}}
    assert (await api.call("POST", path(), body))[0] == 201
    properties = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    only = {"type": "string", "enum": ["good"]}
    properties["set"]["items"] = properties["map"]["additionalProperties"] = only
    properties["list"]["items"]["properties"]["v"] = only
    assert (await api.call("PUT", f"{CRDS}/widgets.example.com", made))[0] == 200
    status, answer = await api.call("PATCH", f"{path()}/w", change, MERGE)
    assert status == code, answer


async def test_doubles_in_lists_are_refused_unless_they_were_there(api: ApiServer) -> None:
    loose = json.loads(json.dumps(RATCHET))
    del loose["properties"]["set"]["x-kubernetes-list-type"]
    made = await define(api, definition(version(schema={"openAPIV3Schema": loose}, subresources={})))
    assert (await api.call("POST", path(), {**widget("old"), "set": ["a", "a"]}))[0] == 201
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = RATCHET
    assert (await api.call("PUT", f"{CRDS}/widgets.example.com", made))[0] == 200
    status, answer = await api.call("POST", path(), {**widget("new"), "set": ["a", "a"]})
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "set[1]")
    twice = [{"k": "x"}, {"k": "x"}]
    status, answer = await api.call("POST", path(), {**widget("new"), "list": twice})
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "list[1]")
    assert (await api.call("PATCH", f"{path()}/old", {"map": {"a": "b"}}, MERGE))[0] == 200


async def test_fields_that_can_be_selected(api: ApiServer) -> None:
    async with FakeWebhook(convert) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]
        old, new = version("v1", selectableFields=fields[:1]), version("v2", storage=False, selectableFields=fields)
        await define(api, definition(old, new, conversion=conversion))
        for name, color, size in (("one", "red", 1), ("two", "red", 2), ("three", "blue", 1)):
            assert (await api.call("POST", path("v1"), widget(name, color=color, size=size)))[0] == 201

        async def names(where: str, selector: str) -> list[str]:
            status, found = await api.call("GET", f"{path(where)}?fieldSelector={selector}")
            assert status == 200, found
            return [item["metadata"]["name"] for item in found["items"]]

        assert await names("v1", "spec.color%3Dred") == ["one", "two"]
        assert await names("v2", "spec.color%3DRED") == ["one", "two"]
        assert await names("v2", "spec.color%3DRED,spec.size%3D2") == ["two"]
        assert await names("v2", "spec.color!%3DRED") == ["three"]
        status, answer = await api.call("GET", f"{path('v1')}?fieldSelector=spec.size%3D1")
        assert (status, answer["message"]) == (400, "field label not supported: spec.size")
        assert (await api.call("DELETE", f"{path('v2')}?fieldSelector=spec.color%3DRED,spec.size%3D2"))[0] == 200
        assert await names("v1", "spec.color%3Dred") == ["one"]


def host_port(request: Object) -> Object:
    """v1 has `hostPort`, v2 the same as `host` and `port`; fields come back in the order of their names."""
    made = []
    for obj in request["objects"]:
        new = {**obj, "apiVersion": request["desiredAPIVersion"]}
        if request["desiredAPIVersion"].endswith("v2") and "hostPort" in new:
            new["host"], _, new["port"] = new.pop("hostPort").partition(":")
        elif request["desiredAPIVersion"].endswith("v1"):
            new["hostPort"] = f"{new.pop('host', '')}:{new.pop('port', '')}"
        made.append(dict(sorted(new.items())))
    return {"result": {"status": "Success"}, "convertedObjects": made}


def selectable(name: str, *fields: str, storage: bool = True) -> Object:
    """A version with some strings, all of which can be selected."""
    schema = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    paths = [{"jsonPath": f".{field}"} for field in fields]
    more = {"schema": {"openAPIV3Schema": schema}, "selectableFields": paths, "subresources": {}}
    return version(name, storage=storage, **more)


async def test_watches_by_fields_of_a_converted_version(api: ApiServer) -> None:
    async with FakeWebhook(host_port) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        versions = selectable("v1", "hostPort"), selectable("v2", "host", "port", storage=False)
        await define(api, definition(*versions, conversion=conversion))

        host = await watch(api, f"{path('v2')}?watch=true&fieldSelector=host%3Dhost1")
        both = await watch(api, f"{path('v2')}?watch=true&fieldSelector=host%3Dhost1,port%3D80")
        old = await watch(api, f"{path('v1')}?watch=true&fieldSelector=hostPort%3Dhost1:80")
        for name, where in (("a", "host1:80"), ("b", "host1:8080"), ("c", "host2:")):
            named = {"metadata": {"name": name}, "host": where.split(":")[0], "port": where.split(":")[1]}
            body = {"apiVersion": "example.com/v2", "kind": "Widget", **named}
            assert (await api.call("POST", path("v2"), body))[0] == 201
        assert (await api.call("DELETE", f"{path('v2')}?fieldSelector=host%3Dhost1,port%3D80"))[0] == 200
        _, found = await api.call("GET", f"{path('v2')}/b")
        status, changed = await api.call("PUT", f"{path('v2')}/b", {**found, "host": "host2"})
        assert status == 200, changed

        def seen(recorder: Recorder) -> list[tuple[str, str]]:
            assert not recorder.closed
            return [(e["type"], e["object"]["metadata"]["name"]) for e in recorder.events]

        await host.until(4)
        await both.until(2)
        await old.until(2)
        assert seen(host) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")]
        assert seen(both) == seen(old) == [("ADDED", "a"), ("DELETED", "a")]
        assert host.events[0]["object"]["host"] == "host1"
        assert old.events[0]["object"]["hostPort"] == "host1:80"


async def test_names_belong_to_the_first_who_has_them(api: ApiServer) -> None:
    await define(api, definition())
    second = definition(plural="gadgets", kind="Widget")
    second["spec"]["names"]["singular"] = "gadget"
    made = await define(api, second)
    assert condition(made, "NamesAccepted")["reason"] == "KindConflict"
    assert condition(made, "Established")["status"] == "False"
    assert (await api.call("GET", "/apis/example.com/v1/namespaces/ns/gadgets"))[0] == 404
    await api.call("DELETE", f"{CRDS}/widgets.example.com")
    async with asyncio.timeout(5):
        while (await api.call("GET", "/apis/example.com/v1/namespaces/ns/gadgets"))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_deleted_definition_takes_its_objects_along(api: ApiServer) -> None:
    await define(api, definition())
    await api.call("POST", path(), widget("plain"))
    held = widget("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.call("POST", path(), held)
    status, _ = await api.call("DELETE", f"{CRDS}/widgets.example.com")
    assert status == 200
    await gone(api, f"{path()}/plain")
    async with asyncio.timeout(5):
        crd = f"{CRDS}/widgets.example.com"
        while not condition((await api.call("GET", crd))[1], "Terminating"):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert (await api.call("POST", path(), widget("late")))[0] == 405
    patch = {"metadata": {"finalizers": None}}
    assert (await api.call("PATCH", f"{path()}/held", patch, MERGE))[0] == 200
    await gone(api, f"{CRDS}/widgets.example.com")
    assert (await api.call("GET", path()))[0] == 404
    await define(api, definition())
    _, found = await api.call("GET", path())
    assert found["items"] == []


async def test_a_watch_of_another_version_sees_converted_objects(api: ApiServer) -> None:
    async with FakeWebhook(convert) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        await define(api, definition(version("v1"), version("v2", storage=False), conversion=conversion))
        await api.call("POST", path("v1"), widget("before", color="red"))
        seen = await watch(api, f"{path('v2')}?watch=1")
        await api.call("POST", path("v2"), widget("after", "v2", color="BLUE"))
        events = await seen.until(2)
        colors = [(e["type"], e["object"]["apiVersion"], e["object"]["spec"]["color"]) for e in events]
        assert colors == [("ADDED", "example.com/v2", "RED"), ("ADDED", "example.com/v2", "BLUE")]


async def test_a_watch_of_selected_fields_sees_what_comes_and_goes(api: ApiServer) -> None:
    async with FakeWebhook(convert) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        fields = [{"jsonPath": ".spec.color"}]
        old, new = version("v1", selectableFields=fields), version("v2", storage=False, selectableFields=fields)
        await define(api, definition(old, new, conversion=conversion))
        upper = await watch(api, f"{path('v2')}?watch=1&fieldSelector=spec.color%3DRED")
        lower = await watch(api, f"{path('v1')}?watch=1&fieldSelector=spec.color%3Dred")
        for name, color in (("one", "RED"), ("two", "BLUE"), ("three", "RED")):
            assert (await api.call("POST", path("v2"), widget(name, "v2", color=color)))[0] == 201
        assert (await api.call("PATCH", f"{path('v2')}/one", {"spec": {"color": "BLUE"}}, MERGE))[0] == 200
        assert (await api.call("DELETE", f"{path('v1')}?fieldSelector=spec.color%3Dred"))[0] == 200
        expected = [("ADDED", "one"), ("ADDED", "three"), ("DELETED", "one"), ("DELETED", "three")]
        for seen in (upper, lower):
            assert [(e["type"], e["object"]["metadata"]["name"]) for e in await seen.until(4)] == expected


async def test_definitions_are_there_again_after_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    async with ApiServer(path=store) as api:
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        await define(api, definition())
        await api.call("POST", path(), widget())
    async with ApiServer(path=store) as api:
        status, found = await api.call("GET", f"{path()}/w")
        assert (status, found["spec"]["color"]) == (200, "red")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": "Odd"}, "spec.scope"),
        ({"group": "nodots"}, "metadata.name"),
        ({"versions": [version(storage=False)]}, "spec.versions"),
        ({"group": "x.k8s.io"}, "metadata.name"),
    ],
)
async def test_wrong_definitions_as_a_whole(api: ApiServer, change: Object, field: str) -> None:
    body = definition()
    body["spec"].update(change)
    status, answer = await api.call("POST", CRDS, body)
    assert status == 422
    assert field in [cause["field"] for cause in answer["details"]["causes"]]


def field(schema: Object) -> Object:
    """A definition with one field."""
    whole = {"type": "object", "properties": {"f": schema}}
    return definition(version(schema={"openAPIV3Schema": whole}, subresources={}))


LIST = {"type": "array", "x-kubernetes-list-type": "map"}
TEXT = {"type": "string"}
BELOW = "spec.validation.openAPIV3Schema.properties[f]"


@pytest.mark.parametrize(
    ("schema", "path", "why"),
    [
        ({"type": "integer", "default": "x"}, ".default", 'in body must be of type integer: "string"'),
        ({"type": "string", "enum": ["a"], "default": "b"}, ".default", "supported values"),
        ({"type": "object", "properties": {}, "default": {"x": 1}}, ".default", "must not have unknown fields"),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT, "default": ["a", "a"]},
            ".default[1]",
            "Duplicate value",
        ),
        (
            {**LIST, "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": TEXT}}},
            ".items.properties[k].default",
            "must have a default or be a required property",
        ),
        (
            {**LIST, "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {}}},
            ".x-kubernetes-list-map-keys",
            "entries must all be names of item properties",
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
            ".items.x-kubernetes-map-type",
            "must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        ({"type": "string", "anyOf": [{"type": "string"}]}, ".anyOf[0].type", "must be empty to be structural"),
        (
            {"type": "object", "anyOf": [{"properties": {"x": {"minimum": 1}}}]},
            ".properties[x]",
            f"because it is defined in {BELOW}.anyOf[0].properties[x]",
        ),
        (
            {"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 1"}]},
            ".default",
            "failed rule: self > 1",
        ),
        ({"type": "object", "not": {"additionalProperties": {}}}, ".not.additionalProperties", "must be undefined"),
        ({"type": "object", "x-kubernetes-embedded-resource": True}, ".properties", "must not be empty if"),
        ({"type": "string", "pattern": "("}, ".pattern", "must be a valid regular expression"),
        ({"type": "string", "x-kubernetes-embedded-resource": True}, ".type", "must be object if"),
    ],
)
async def test_wrong_schemas(api: ApiServer, schema: Object, path: str, why: str) -> None:
    status, answer = await api.call("POST", CRDS, field(schema))
    assert status == 422, answer
    causes = {cause["field"]: cause["message"] for cause in answer["details"]["causes"]}
    assert why in causes[BELOW + path]


async def test_a_number_or_a_text(api: ApiServer) -> None:
    """Both ways in which generators write it."""
    either = [{"type": "integer"}, {"type": "string"}]
    for shape in ({"anyOf": either}, {"allOf": [{"anyOf": either}, {"pattern": "^[0-9]+$"}]}):
        status, answer = await api.call("POST", CRDS, field({"x-kubernetes-int-or-string": True, **shape}))
        assert status == 201, answer
        assert (await api.call("DELETE", f"{CRDS}/widgets.example.com"))[0] == 200
        await gone(api, f"{CRDS}/widgets.example.com")


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (".f.g", "is an invalid path: does not refer to a valid field"),
        (".o", "must point to a field of type string, boolean or integer"),
        ("", "Required value"),
    ],
)
async def test_wrong_selectable_fields(api: ApiServer, where: str, why: str) -> None:
    schema = {"type": "object", "properties": {"f": {"type": "string"}, "o": {"type": "object"}}}
    body = definition(version(schema={"openAPIV3Schema": schema}, selectableFields=[{"jsonPath": where}]))
    status, answer = await api.call("POST", CRDS, body)
    assert status == 422, answer
    (cause,) = (c for c in answer["details"]["causes"] if c["field"] == "spec.selectableFields[0].jsonPath")
    assert why in cause["message"]
