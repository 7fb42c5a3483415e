"""Answers to clients that take nothing but protobuf: objects, lists, errors, watches; JSON for whoever takes both."""

import asyncio
import json
from typing import Any

from switchboard.objects import protobuf
from switchboard.objects.wire import decode_fields
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Response

CONFIGS = "/api/v1/namespaces/ns/configmaps"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ONLY = {"accept": PROTOBUF}
PARTIAL = {"accept": f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}


def body(response: Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b"".join(response.body)


def decoded(response: Response) -> Any:
    assert ("content-type", PROTOBUF) in response.headers
    return protobuf.decode_unknown(body(response))[2]


async def test_objects_lists_and_errors(api: ApiServer) -> None:
    made = decoded(await api.request("POST", CONFIGS, {"metadata": {"name": "a"}, "data": {"k": ""}}, ONLY))
    assert made["kind"] == "ConfigMap" and made["data"] == {"k": ""}
    plain = (await api.call("GET", f"{CONFIGS}/a"))[1]
    assert made == plain
    listed = decoded(await api.request("GET", CONFIGS, headers=ONLY))
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "ConfigMapList")
    assert listed["metadata"]["resourceVersion"] == str(api.app.store.revision)
    assert listed["items"] == [{k: v for k, v in plain.items() if k not in ("kind", "apiVersion")}]
    part = decoded(await api.request("GET", f"{CONFIGS}/a", headers=PARTIAL))
    assert (part["kind"], part["metadata"]) == ("PartialObjectMetadata", plain["metadata"])
    missing = await api.request("GET", f"{CONFIGS}/none", headers=ONLY)
    assert missing.status == 404 and decoded(missing)["reason"] == "NotFound"
    gone = decoded(await api.request("DELETE", f"{CONFIGS}/a", headers=ONLY))
    assert (gone["kind"], gone["status"]) == ("Status", "Success")


async def test_who_takes_json_too_gets_json(api: ApiServer) -> None:
    for header in (f"{PROTOBUF}, */*", f"{PROTOBUF},application/json;q=0.1"):
        response = await api.request("GET", CONFIGS, headers={"accept": header})
        assert json.loads(body(response))["kind"] == "ConfigMapList"


async def test_custom_kinds_and_tables_have_no_protobuf(api: ApiServer) -> None:
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "things", "kind": "Thing"}
    spec = {"group": "t.example", "scope": "Namespaced", "names": names, "versions": [version]}
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = decoded(await api.request("POST", crds, {"metadata": {"name": "things.t.example"}, "spec": spec}, ONLY))
    assert crd["spec"]["versions"][0]["schema"] == schema
    things = "/apis/t.example/v1/namespaces/ns/things"
    thing = {"metadata": {"name": "t"}, "apiVersion": "t.example/v1", "kind": "Thing"}
    assert (await api.call("POST", things, thing))[0] == 201
    assert (await api.request("GET", things, headers=ONLY)).status == 406
    assert decoded(await api.request("GET", f"{things}/t", headers=PARTIAL))["metadata"]["name"] == "t"
    table = {"accept": f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1"}
    assert (await api.request("GET", CONFIGS, headers=table)).status == 406


async def test_watch_in_frames(api: ApiServer) -> None:
    await api.call("POST", CONFIGS, {"metadata": {"name": "a"}})
    query = "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    headers = [("authorization", f"Bearer {api.token}"), ("accept", f"{PROTOBUF};stream=watch")]
    events: list[tuple[bytes, Any]] = []
    async with (
        asyncio.timeout(10),
        HttpClient() as client,
        client.stream("GET", f"{api.url}{CONFIGS}{query}", headers) as answer,
    ):
        assert answer.headers["content-type"] == f"{PROTOBUF};stream=watch"
        data = b""
        async for piece in answer.body:
            data += piece
            while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4], "big")):
                frame, data = decode_fields(data[4:end], ("type", "object")), data[end:]
                raw = decode_fields(frame["object"], ("raw",))["raw"]
                events.append((frame["type"], protobuf.decode_unknown(raw)[2]))
                if len(events) == 2:
                    await api.call("DELETE", f"{CONFIGS}/a")
            if len(events) == 3:
                break
    assert [kind for kind, _ in events] == [b"ADDED", b"BOOKMARK", b"DELETED"]
    assert events[0][1]["metadata"]["name"] == events[2][1]["metadata"]["name"] == "a"
    assert events[1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
