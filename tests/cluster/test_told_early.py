"""Clients in the server's own process: they hear of writes before the disk has them, and are never wrong for it."""

import asyncio
from contextlib import suppress

import pytest

from switchboard.api.identity import MASTERS, Identity
from switchboard.client import Client, Informer
from switchboard.client.resources import CONFIGMAPS
from switchboard.cluster.loopback import Loopback
from switchboard.objects.errors import NotFound, StatusError
from switchboard.testing.apiserver import ApiServer


@pytest.fixture
async def api():
    async with ApiServer() as server:
        yield server


@pytest.fixture
def client(api):
    loopback = Loopback(api.app, Identity("system:controller", (MASTERS,)))
    return Client(loopback, finder=loopback.finder)


@pytest.fixture(params=[None, 0])
async def informer(client, request):
    """Objects as they are, or as the store's records."""
    followed = Informer(client, CONFIGMAPS, most=request.param)
    task = asyncio.create_task(followed.run())
    async with asyncio.timeout(10):
        await followed.synced.wait()
    yield followed
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def config_map(name):
    return {"metadata": {"name": name, "namespace": "default"}}


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - every turn of the loop is looked at
            await asyncio.sleep(0)


async def test_an_informer_has_what_is_written_before_it_is_committed_and_reads_wait_for_it(api, client, informer):
    committed = api.store.revision
    creating = asyncio.create_task(client.create(CONFIGMAPS, config_map("a"), "default"))
    await until(lambda: informer.get("default", "a"))
    assert api.store.revision == committed
    key = "/core/configmaps/default/a"
    assert api.store.get(key) is None
    assert (await client.get(CONFIGMAPS, "a", "default"))["metadata"]["name"] == "a"
    names = [obj["metadata"]["name"] for obj in (await client.list(CONFIGMAPS, "default"))["items"]]
    assert "a" in names
    await creating
    await client.delete(CONFIGMAPS, "a", "default")
    with pytest.raises(NotFound):
        await client.get(CONFIGMAPS, "a", "default")


async def test_what_follows_from_a_write_is_committed_with_it(api, client, informer):
    answers = []

    def answer(old, new):
        if new is not None and new["metadata"]["name"] == "question":
            answers.append(asyncio.create_task(client.create(CONFIGMAPS, config_map("answer"), "default")))

    informer.on_change(answer)
    seen = []
    api.store.subscribe("/core/configmaps/default/", api.store.revision, lambda events: seen.append(len(events)))
    await client.create(CONFIGMAPS, config_map("question"), "default")
    await answers[0]
    assert seen == [2]


async def test_a_write_that_fails_is_taken_back_from_who_was_told_early(api, client, informer):
    kept = await client.create(CONFIGMAPS, config_map("kept"), "default")
    await until(lambda: informer.get("default", "kept"))

    told = []
    informer.on_change(lambda old, new: told.append(((new or old)["metadata"]["name"], new is not None)))
    refuse = "PRAGMA query_only = {}"
    api.store._disk._db.execute(refuse.format("ON"))
    writes = [
        client.create(CONFIGMAPS, config_map("new"), "default"),
        client.delete(CONFIGMAPS, "kept", "default"),
    ]
    for result in await asyncio.gather(*writes, return_exceptions=True):
        assert isinstance(result, StatusError) and result.code == 500
    api.store._disk._db.execute(refuse.format("OFF"))
    await until(lambda: len(told) == 4)
    assert sorted(told) == [("kept", False), ("kept", True), ("new", False), ("new", True)]
    assert informer.get("default", "new") is None
    assert informer.get("default", "kept")["metadata"]["uid"] == kept["metadata"]["uid"]
    await client.create(CONFIGMAPS, config_map("after"), "default")  # and it goes on
    await until(lambda: informer.get("default", "after"))


async def test_deleting_a_collection_takes_what_is_on_its_way_along(api, client):
    creating = asyncio.create_task(client.create(CONFIGMAPS, config_map("a"), "default"))
    await until(lambda: api.store.head("/core/configmaps/default/a"))
    await client.delete_collection(CONFIGMAPS, "default")
    await creating
    assert api.store.head("/core/configmaps/default/a") is None
