"""The in-process client does what the client over HTTP does: verbs, failures, watches that end on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from switchboard.api.app import App
from switchboard.api.identity import AUTHENTICATED, MASTERS, Identity
from switchboard.client import Client, Disconnected, Informer
from switchboard.client.resources import CONFIGMAPS, EVENTS, Resource
from switchboard.cluster.loopback import Loopback, Pipe
from switchboard.objects.errors import Forbidden, NotFound
from switchboard.store.store import Store

ADMIN = Identity("admin", (MASTERS, AUTHENTICATED))


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    store = Store.open(tmp_path / "store.db")
    made = App(store)
    await made.start()
    yield made
    await made.stop()
    await store.close()


def config_map(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"a": "b"},
    }


async def test_verbs_go_through_the_whole_api(app: App) -> None:
    client = Client(Loopback(app, ADMIN))
    made = await client.create(CONFIGMAPS, config_map("one"), "default")
    assert made["metadata"]["uid"]
    assert [item["metadata"]["name"] for item in (await client.list(CONFIGMAPS, "default"))["items"]] == ["one"]
    await client.delete(CONFIGMAPS, "one", "default")
    with pytest.raises(NotFound, match='configmaps "one" not found'):
        await client.get(CONFIGMAPS, "one", "default")


async def test_rights_are_those_of_the_identity(app: App) -> None:
    nobody = Client(Loopback(app, Identity("nobody", (AUTHENTICATED,))))
    with pytest.raises(Forbidden):
        await nobody.list(CONFIGMAPS, "default")
    with pytest.raises(Forbidden):
        async with Loopback(app, Identity("nobody", (AUTHENTICATED,))).stream("GET", "/api/v1/configmaps?watch=1", {}):
            pass


async def test_copies_of_very_many_objects_are_the_stores_own_records(app: App) -> None:
    loopback = Loopback(app, ADMIN)
    client = Client(loopback, finder=loopback.finder)
    key, find = "default/one", loopback.finder(CONFIGMAPS)
    await client.create(CONFIGMAPS, config_map("one"), "default")
    listed, watching = (Informer[Any](client, CONFIGMAPS, most=0) for _ in "12")
    tasks = [asyncio.create_task(watching.run())]
    await asyncio.wait_for(watching.synced.wait(), 5)
    seen: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
    watching.on_change(lambda old, new: seen.put_nowait((old, new)))
    await client.patch(CONFIGMAPS, "one", {"data": {"a": "c"}}, "default")
    old, new = await asyncio.wait_for(seen.get(), 5)
    assert (old["data"], new["data"]) == ({"a": "b"}, {"a": "c"})
    tasks.append(asyncio.create_task(listed.run()))
    await asyncio.wait_for(listed.synced.wait(), 5)
    for informer in (listed, watching):
        assert informer._items._forms[key] is find(key) is app.store.get("/core/configmaps/default/one")
        informer.rest()
        informer.rest()
        assert informer.get_key(key) == new
    await client.delete(CONFIGMAPS, "one", "default")
    assert await asyncio.wait_for(seen.get(), 5) == (new, None)
    for task in tasks:
        task.cancel()


async def test_a_copy_in_another_version_than_the_stored_one_is_in_that_version(app: App) -> None:
    loopback = Loopback(app, ADMIN)
    client = Client(loopback, finder=loopback.finder)
    regarding = {"kind": "Pod", "namespace": "default", "name": "a"}
    event = {"metadata": {"name": "e", "namespace": "default"}, "involvedObject": regarding, "reason": "Tried"}
    await client.create(EVENTS, event)
    new = Resource("events.k8s.io", "v1", "events", "Event", True)
    informer = Informer[Any](client, new, most=0)
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(informer.synced.wait(), 5)
    informer.rest()
    informer.rest()
    found = informer.get("default", "e")
    assert found["apiVersion"] == "events.k8s.io/v1"
    assert found["regarding"] == regarding
    task.cancel()


async def test_an_informer_follows_and_its_end_is_the_watchers_end(app: App) -> None:
    client = Client(Loopback(app, ADMIN))
    informer: Informer[dict[str, object]] = Informer(client, CONFIGMAPS, namespace="default")
    seen: asyncio.Queue[str] = asyncio.Queue()
    informer.on_change(lambda old, new: seen.put_nowait(new["metadata"]["name"] if new else "gone"))  # type: ignore[index]
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(informer.synced.wait(), 5)
    await client.create(CONFIGMAPS, config_map("two"), "default")
    await client.delete(CONFIGMAPS, "two", "default")
    names = [await asyncio.wait_for(seen.get(), 5) for _ in range(2)]
    assert names == ["two", "gone"]
    assert len(app.watchers) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not app.watchers


async def test_a_pipe_joins_what_waits_and_ends_after_the_last_piece() -> None:
    pipe = Pipe()
    ended: list[bool] = []
    pipe.on_close(lambda: ended.append(True))
    pipe.write(b"a\n")
    pipe.write(b"b\n")
    assert pipe.buffered == 4
    pipe.close()
    pipe.close()
    pipe.write(b"lost\n")
    assert [piece async for piece in pipe.read()] == [b"a\nb\n"]
    assert ended == [True]
    assert pipe.closed


async def test_a_pipe_that_is_cut_off_is_a_lost_connection() -> None:
    pipe = Pipe()
    pipe.write(b"a\n")
    pipe.abort()
    with pytest.raises(Disconnected):
        await anext(pipe.read())
    assert pipe.buffered == 0
