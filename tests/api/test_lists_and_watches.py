"""Lists, pages and watches, over real HTTP where the stream matters."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.api.identity import LOOPBACK, Identity
from switchboard.api.settings import Settings
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.recorder import Recorder, watch
from switchboard.transport.http import HttpClient

CONFIGS = "/api/v1/namespaces/ns/configmaps"
MERGE = {"content-type": "application/merge-patch+json"}
TABLE = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}


async def make(api: ApiServer, *names: str, **labels: str) -> None:
    for name in names:
        assert (await api.call("POST", CONFIGS, {"metadata": {"name": name, "labels": labels}}))[0] == 201


def seen(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["type"], e["object"]["metadata"].get("name", "")) for e in events]


async def test_pages_show_one_moment(api: ApiServer) -> None:
    await make(api, "a", "b", "c", "d")
    _, first = await api.call("GET", CONFIGS + "?limit=2")
    assert [i["metadata"]["name"] for i in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 2
    await api.call("DELETE", CONFIGS + "/c")
    await make(api, "e")
    _, second = await api.call("GET", f"{CONFIGS}?limit=2&continue={first['metadata']['continue']}")
    assert [i["metadata"]["name"] for i in second["items"]] == ["c", "d"]
    assert "continue" not in second["metadata"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "kind" not in second["items"][0]  # items of typed lists do not repeat it


async def test_selectors(api: ApiServer) -> None:
    await make(api, "a", "b", app="web")
    await make(api, "c", app="db")
    for query, want in [
        ("labelSelector=app%3Dweb", ["a", "b"]),
        ("labelSelector=app!%3Dweb", ["c"]),
        ("labelSelector=app+in+(web,db),!x", ["a", "b", "c"]),
        ("fieldSelector=metadata.name%3Db", ["b"]),
        ("fieldSelector=metadata.name%3Db&labelSelector=app%3Ddb", []),
        ("fieldSelector=metadata.name!%3Db", ["a", "c"]),
        ("fieldSelector=metadata.name%3Db,metadata.name%3Dc", []),
        ("fieldSelector=metadata.name%3Db,metadata.namespace%3Dother", []),
    ]:
        _, found = await api.call("GET", f"{CONFIGS}?{query}")
        assert [i["metadata"]["name"] for i in found["items"]] == want, query


async def test_a_watch_of_one_name_in_all_namespaces(api: ApiServer) -> None:
    recorder = await watch(api, "/api/v1/configmaps?watch=true&fieldSelector=metadata.name%3Db")
    await make(api, "bb")
    await make(api, "a-b")
    await make(api, "b")
    assert seen(await recorder.until(1)) == [("ADDED", "b")]


async def test_tables_and_metadata(api: ApiServer) -> None:
    await make(api, "a")
    _, table = await api.call("GET", CONFIGS, headers=TABLE)
    assert table["kind"] == "Table" and table["rows"][0]["cells"][:2] == ["a", 0]
    accept = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    _, partial = await api.call("GET", CONFIGS, headers=accept)
    assert partial["items"][0].keys() == {"kind", "apiVersion", "metadata"}
    recorder = await watch(api, CONFIGS + "?watch=true", TABLE)
    await make(api, "b")
    first, second = await recorder.until(2)
    assert first["object"]["columnDefinitions"] and second["object"]["columnDefinitions"] is None


async def test_a_watch_replays_and_goes_on(api: ApiServer) -> None:
    _, listed = await api.call("GET", CONFIGS)
    version = listed["metadata"]["resourceVersion"]
    await make(api, "a")
    await api.call("PATCH", CONFIGS + "/a", {"data": {"x": "y"}}, MERGE)
    recorder = await watch(api, f"{CONFIGS}?watch=true&resourceVersion={version}")
    await api.call("DELETE", CONFIGS + "/a")
    events = await recorder.until(3)
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions == sorted(set(versions))


async def test_selector_transitions(api: ApiServer) -> None:
    recorder = await watch(api, CONFIGS + "?watch=true&labelSelector=in%3Dyes")
    await make(api, "a")
    for value in ("yes", "yes", "no", "yes"):
        patch = {"metadata": {"labels": {"in": value}}, "data": {"x": str(api.store.revision)}}
        assert (await api.call("PATCH", CONFIGS + "/a", patch, MERGE))[0] == 200
    await api.call("DELETE", CONFIGS + "/a")
    events = await recorder.until(5)
    assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    assert events[2]["object"]["metadata"]["labels"] == {"in": "yes"}  # the last state that was selected


async def test_initial_events_end_with_a_bookmark(api: ApiServer) -> None:
    await make(api, "a")
    options = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    recorder = await watch(api, f"{CONFIGS}?{options}")
    events = await recorder.until(2)
    assert seen(events) == [("ADDED", "a"), ("BOOKMARK", "")]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    await make(api, "b")
    assert seen((await recorder.until(3))[2:]) == [("ADDED", "b")]


async def test_a_start_that_is_too_old(api: ApiServer) -> None:
    api.store._history.floor = 50  # as if everything before had been forgotten
    recorder = await watch(api, CONFIGS + "?watch=true&resourceVersion=5")
    (event,) = recorder.events
    assert event["type"] == "ERROR" and event["object"]["code"] == 410 and event["object"]["reason"] == "Expired"


async def test_a_slow_watcher_is_cut_off(api: ApiServer) -> None:
    slow, quick = await watch(api, CONFIGS + "?watch=true"), await watch(api, CONFIGS + "?watch=true")
    slow.buffered = 1 << 30
    await make(api, "a")
    await quick.until(1)
    assert slow.aborted and not quick.aborted
    await make(api, "b")
    assert seen(await quick.until(2)) == [("ADDED", "a"), ("ADDED", "b")]
    assert seen(slow.events) == [("ADDED", "a")]


async def test_watchers_share_encoded_events(api: ApiServer) -> None:
    watchers = [await watch(api, CONFIGS + "?watch=true&allowWatchBookmarks=true") for _ in range(50)]
    await make(api, "a")
    for watcher in watchers:
        await watcher.until(1)
    assert len({watcher.data for watcher in watchers}) == 1
    assert len(api.app.watchers) == 50
    for watcher in list(api.app.watchers):
        watcher.bookmark()
    assert all(seen(w.events)[-1] == ("BOOKMARK", "") for w in watchers)


async def lines(body: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for data in body:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield json.loads(line)


async def test_over_http(api: ApiServer) -> None:
    headers = [("authorization", f"Bearer {api.token}")]
    async with HttpClient() as client:
        async with client.stream("GET", f"{api.url}{CONFIGS}?watch=true&timeoutSeconds=1", headers) as answer:
            assert answer.status == 200
            events = lines(answer.body)
            await make(api, "a")
            async with asyncio.timeout(5):
                assert (await anext(events))["type"] == "ADDED"
                with pytest.raises(StopAsyncIteration):  # the second is over: the stream ends in order
                    await anext(events)
        refused = await client.request("GET", f"{api.url}{CONFIGS}", [("authorization", "Bearer wrong")])
        assert refused.status == 401
    assert not api.app.watchers


async def test_who_hears_of_a_change_first(api: ApiServer) -> None:
    order: list[tuple[str, str]] = []

    class Named(Recorder):
        def __init__(self, name: str, *, local: bool = False) -> None:
            super().__init__()
            self.name, self.local = name, local

        def write(self, data: bytes) -> None:
            super().write(data)
            order.extend((self.name, event["type"]) for event in map(json.loads, data.splitlines()))

    async def follow(target: str, name: str, identity: Identity = LOOPBACK, *, local: bool = False) -> Named:
        recorder = Named(name, local=local)
        response = await api.request("GET", f"{target}?watch=true", identity=identity)
        assert response.push is not None
        response.push(recorder)
        return recorder

    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    proxy = Identity("system:kube-proxy", ("system:authenticated",))
    everyone = [
        await follow(slices, "somebody"),
        await follow("/apis/discovery.k8s.io/v1/endpointslices", "proxy", proxy),
        await follow(slices, "reader", local=True),
    ]
    await api.call("POST", slices, {"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": []})
    for recorder in everyone:
        await recorder.until(1)
    assert sorted(order[:2]) == [("proxy", "ADDED"), ("reader", "ADDED")]
    assert order[2:] == [("somebody", "ADDED")]
    order.clear()
    others = [await follow(CONFIGS, "somebody"), await follow(CONFIGS, "reader", local=True)]
    await make(api, "a")
    for recorder in others:
        await recorder.until(1)
    assert order == [("reader", "ADDED"), ("somebody", "ADDED")]


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("abc!!", "illegal base64 data at input byte 3"),
        ("YWJj", "invalid character 'a' looking for beginning of value"),
        ("eyJ2", "unexpected end of JSON input"),
        ("eyJ2IjoieDEifQ", "server does not recognize this encoded version x1"),
    ],
)
async def test_tokens_that_nobody_gave(api: ApiServer, token: str, why: str) -> None:
    status, answer = await api.call("GET", f"/api/v1/configmaps?continue={token}")
    assert (status, answer["message"]) == (400, f"invalid continue token: continue key is not valid: {why}")


async def test_a_page_of_a_state_too_old_goes_on_with_the_present(api: ApiServer) -> None:
    await make(api, "a", "b", "c")
    _, first = await api.call("GET", f"{CONFIGS}?limit=1")
    token, version = first["metadata"]["continue"], int(first["metadata"]["resourceVersion"])
    await make(api, "bb")
    api.app.oldest_snapshot = version
    _, second = await api.call("GET", f"{CONFIGS}?limit=1&continue={token}")
    assert [item["metadata"]["name"] for item in second["items"]] == ["b"]
    api.app.oldest_snapshot = version + 1  # as if the interval had passed twice
    status, expired = await api.call("GET", f"{CONFIGS}?limit=1&continue={token}")
    assert (status, expired["reason"]) == (410, "Expired")
    _, rest = await api.call("GET", f"{CONFIGS}?limit=2&continue={expired['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b", "bb"]
    exact = f"{CONFIGS}?resourceVersion={version}&resourceVersionMatch=Exact"
    assert (await api.call("GET", exact))[0] == 410


async def test_states_age() -> None:
    async with ApiServer(settings=Settings(snapshot_interval=0.01)) as api:
        before = api.app.store.revision
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        async with asyncio.timeout(5):
            while api.app.oldest_snapshot <= before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
