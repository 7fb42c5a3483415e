"""Custom kinds whose versions a webhook converts: writes, lists, selected fields, watches."""

from __future__ import annotations

import base64
import itertools
import json

from switchboard.testing.apiserver import ApiServer
from switchboard.testing.customkinds import Object, converted, path, version, widget
from switchboard.testing.recorder import Recorder, watch
from switchboard.testing.webhook import FakeWebhook

MERGE = {"content-type": "application/merge-patch+json"}


def convert(request: Object) -> Object:
    """v2 calls `color` what v1 calls it too, but writes it in capitals."""
    made = []
    for obj in request["objects"]:
        change = str.upper if request["desiredAPIVersion"].endswith("v2") else str.lower
        spec = {**obj["spec"], "color": change(obj["spec"]["color"])}
        made.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
    return {"result": {"status": "Success"}, "convertedObjects": made}


async def test_versions_with_a_webhook(api: ApiServer) -> None:
    async with converted(api, convert) as webhook:
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
    async with converted(api, reordered):
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

    async with converted(api, convert), FakeWebhook(mutate) as mutator:
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
    async with converted(api, lambda _: {"result": {"status": "Failed", "message": "broken"}}):
        assert (await api.call("POST", path("v1"), widget()))[0] == 201
        status, answer = await api.call("GET", f"{path('v2')}/w")
        assert status == 500
        assert answer["message"] == "conversion webhook for example.com/v1, Kind=Widget failed: broken"
        assert (await api.call("GET", f"{path('v1')}/w"))[0] == 200


async def test_a_watch_of_another_version_sees_converted_objects(api: ApiServer) -> None:
    async with converted(api, convert):
        await api.call("POST", path("v1"), widget("before", color="red"))
        seen = await watch(api, f"{path('v2')}?watch=1")
        await api.call("POST", path("v2"), widget("after", "v2", color="BLUE"))
        events = await seen.until(2)
        colors = [(e["type"], e["object"]["apiVersion"], e["object"]["spec"]["color"]) for e in events]
        assert colors == [("ADDED", "example.com/v2", "RED"), ("ADDED", "example.com/v2", "BLUE")]


async def test_fields_that_can_be_selected(api: ApiServer) -> None:
    fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]
    old, new = version("v1", selectableFields=fields[:1]), version("v2", storage=False, selectableFields=fields)
    async with converted(api, convert, old, new):
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


async def test_a_watch_of_selected_fields_sees_what_comes_and_goes(api: ApiServer) -> None:
    fields = [{"jsonPath": ".spec.color"}]
    old, new = version("v1", selectableFields=fields), version("v2", storage=False, selectableFields=fields)
    async with converted(api, convert, old, new):
        upper = await watch(api, f"{path('v2')}?watch=1&fieldSelector=spec.color%3DRED")
        lower = await watch(api, f"{path('v1')}?watch=1&fieldSelector=spec.color%3Dred")
        for name, color in (("one", "RED"), ("two", "BLUE"), ("three", "RED")):
            assert (await api.call("POST", path("v2"), widget(name, "v2", color=color)))[0] == 201
        assert (await api.call("PATCH", f"{path('v2')}/one", {"spec": {"color": "BLUE"}}, MERGE))[0] == 200
        assert (await api.call("DELETE", f"{path('v1')}?fieldSelector=spec.color%3Dred"))[0] == 200
        expected = [("ADDED", "one"), ("ADDED", "three"), ("DELETED", "one"), ("DELETED", "three")]
        for seen in (upper, lower):
            assert [(e["type"], e["object"]["metadata"]["name"]) for e in await seen.until(4)] == expected


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
    versions = selectable("v1", "hostPort"), selectable("v2", "host", "port", storage=False)
    async with converted(api, host_port, *versions):
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
