"""The copy is what the API has, whatever happened on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchboard.client import Cache, Client, Disconnected, Informer
from switchboard.client.resources import NODES, PODS
from switchboard.testing.fakeapi import FakeApi, failure

PATH = "/api/v1/pods"
_most: int | None = None


@pytest.fixture(params=[None, 0, 1], ids=["as they are", "packed", "one as it is"], autouse=True)
def most(request: pytest.FixtureRequest) -> None:
    """However an informer holds its objects, they are the same."""
    global _most
    _most = request.param


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.001)


class Told:
    """What callbacks said, and a copy built from nothing but them."""

    def __init__(self, informer: Informer[Any]) -> None:
        self.changes: list[tuple[str | None, str | None]] = []
        self.copy: dict[str, Any] = {}
        informer.on_change(self)

    def __call__(self, old: Any, new: Any) -> None:
        self.changes.append((_version(old), _version(new)))
        name = (new or old)["metadata"]["name"]
        assert self.copy.get(name) == old
        if new is None:
            del self.copy[name]
        else:
            self.copy[name] = new


def _version(obj: Any) -> str | None:
    return obj["metadata"]["resourceVersion"] if obj else None


@asynccontextmanager
async def running(api: FakeApi, **more: Any) -> AsyncIterator[tuple[Informer[Any], Told]]:
    informer = Informer[Any](Client(api), PODS, most=_most, **more)
    told = Told(informer)
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced.wait(), 5)
        await until(lambda: api.watches)
        yield informer, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(informer: Informer[Any]) -> set[str]:
    return {obj["metadata"]["name"] for obj in informer.items()}


async def test_list_then_events() -> None:
    api = FakeApi()
    api.put(PATH, "a", "ns", spec={"n": 1})
    async with running(api) as (informer, told):
        assert informer.get("ns", "a")["kind"] == "Pod"
        api.put(PATH, "a", "ns", spec={"n": 2})
        api.put(PATH, "b", "ns")
        api.remove(PATH, "a", "ns")
        await until(lambda: names(informer) == {"b"})
        assert told.changes == [(None, "1"), ("1", "2"), (None, "3"), ("2", None)]


async def test_watch_broken_off_loses_nothing_and_repeats_nothing() -> None:
    api = FakeApi()
    api.put(PATH, "a", "ns")
    async with running(api) as (informer, told):
        api.mute = True
        api.put(PATH, "b", "ns")
        api.put(PATH, "a", "ns", spec={})
        api.mute = False
        api.cut()
        await until(lambda: names(informer) == {"a", "b"} and api.watches)
        assert told.changes == [(None, "1"), (None, "2"), ("1", "3")]
        assert sum("watch=" not in target for _, target in api.requests) == 1, "one list only"


async def test_gone_relists_and_tells_the_differences_once() -> None:
    api = FakeApi()
    for name in "abc":
        api.put(PATH, name, "ns")
    async with running(api) as (informer, told):
        api.mute = True
        api.bookmarks = False
        api.remove(PATH, "a", "ns")
        api.put(PATH, "b", "ns", spec={"new": 1})
        api.put(PATH, "d", "ns")
        api.compact()
        api.mute = False
        api.cut()
        await until(lambda: names(informer) == {"b", "c", "d"})
        assert sorted(told.changes[3:], key=str) == [("1", None), ("2", "5"), (None, "6")]


async def test_bookmarks_move_the_version_watched_from() -> None:
    api = FakeApi()
    async with running(api) as (informer, _):
        for _ in range(3):
            api.put("/api/v1/nodes", "n")
        await until(lambda: informer._version == "3")
        api.compact()
        api.cut()
        await until(lambda: not api.watches)
        await until(lambda: api.watches)
        assert sum("watch=" not in target for _, target in api.requests) == 1


@pytest.mark.parametrize(
    "error", [Disconnected("x"), failure(500, "InternalError"), failure(429, "TooManyRequests"), ValueError("garbage")]
)
async def test_every_failure_is_survived(error: Exception) -> None:
    api = FakeApi()
    api.put(PATH, "a", "ns")
    api.refuse.extend([error, error])
    async with running(api) as (informer, _):
        api.refuse.append(error)
        api.cut()
        await until(lambda: not api.watches)
        api.put(PATH, "b", "ns")
        await until(lambda: names(informer) == {"a", "b"})


async def test_indices_follow() -> None:
    api = FakeApi()
    async with running(api) as (informer, _):
        informer.index("node", lambda pod: [pod["spec"]["nodeName"]] if pod["spec"].get("nodeName") else [])
        api.put(PATH, "a", "ns", spec={"nodeName": "n1"})
        api.put(PATH, "b", "ns", spec={})
        await until(lambda: len(informer.items()) == 2)
        assert [pod["metadata"]["name"] for pod in informer.by("node", "n1")] == ["a"]
        api.put(PATH, "a", "ns", spec={"nodeName": "n2"})
        await until(lambda: informer.by("node", "n2"))
        assert not informer.by("node", "n1")
        api.remove(PATH, "a", "ns")
        await until(lambda: not informer.by("node", "n2"))


class Small(msgspec.Struct, gc=False):
    """A pod that is only a number."""

    spec: SmallSpec


class SmallSpec(msgspec.Struct, gc=False):
    n: int


async def test_structs_and_objects_that_do_not_fit() -> None:
    api = FakeApi()
    api.put(PATH, "good", "ns", spec={"n": 1})
    api.put(PATH, "bad", "ns", spec={"n": "one"})
    async with running_plain(api, Small) as (informer, changes):
        assert informer.get("ns", "good") == Small(SmallSpec(1))
        api.put(PATH, "bad", "ns", spec={"n": 2})
        await until(lambda: informer.get("ns", "bad") == Small(SmallSpec(2)))
        api.put(PATH, "good", "ns", spec={"n": None})
        await until(lambda: informer.get("ns", "good") is None)
        assert changes[-1] == (Small(SmallSpec(1)), None)


@asynccontextmanager
async def running_plain(api: FakeApi, type_: Any) -> AsyncIterator[tuple[Informer[Any], list[Any]]]:
    informer = Informer[Any](Client(api), PODS, type_=type_)
    changes: list[Any] = []
    informer.on_change(lambda old, new: changes.append((old, new)))
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(informer.synced.wait(), 5)
    await until(lambda: api.watches)
    yield informer, changes
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def beside(informer: Informer[Any]) -> AsyncIterator[list[int]]:
    """Have every change be a turn's work; gives how often somebody else on the loop had run before each."""
    turns: list[int] = []
    count = 0

    def work(old: Any, new: Any) -> None:
        turns.append(count)
        end = time.monotonic() + 0.001
        while time.monotonic() < end:
            pass

    async def other() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    informer.on_change(work)
    task = asyncio.create_task(other())
    yield turns
    task.cancel()


async def test_a_burst_leaves_turns_to_others() -> None:
    """Fifty events in one piece: whoever else is on the loop runs between them."""
    api = FakeApi()
    async with running(api) as (informer, told), beside(informer) as turns:
        events = [
            {
                "type": "ADDED",
                "object": {"metadata": {"name": f"p{i}", "namespace": "ns", "resourceVersion": f"{i + 9}"}},
            }
            for i in range(50)
        ]
        (queue,) = api._watching
        queue.put_nowait(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        await until(lambda: len(turns) == 50)
        assert told.changes == [(None, f"{i + 9}") for i in range(50)]
        assert len(set(turns)) == 50


async def test_a_new_list_leaves_turns_to_others() -> None:
    """Thirty that went and thirty that came while the history was lost."""
    api = FakeApi()
    for i in range(30):
        api.put(PATH, f"a{i}", "ns")
    async with running(api) as (informer, told), beside(informer) as turns:
        api.mute = True
        for i in range(30):
            api.remove(PATH, f"a{i}", "ns")
            api.put(PATH, f"b{i}", "ns")
        api.mute = False
        api.compact()
        api.cut()
        await until(lambda: len(turns) == 60)
        assert len(set(turns)) == 60 and sorted(told.copy) == sorted(f"b{i}" for i in range(30))


async def test_who_is_told_late_hears_of_the_same_in_the_same_order() -> None:
    """Two events in one piece: everybody else, then the end of the piece, then the late ones."""
    api = FakeApi()
    order: list[tuple[str, str | None, str | None]] = []
    async with running(api) as (informer, _):
        informer.on_change(lambda old, new: order.append(("late", _version(old), _version(new))), late=True)
        informer.on_change(lambda old, new: order.append(("soon", _version(old), _version(new))))
        informer.on_all_told(lambda: order.append(("all", None, None)))
        meta = {"name": "a", "namespace": "ns"}
        events = [
            {"type": kind, "object": {"metadata": {**meta, "resourceVersion": version}}}
            for kind, version in (("ADDED", "9"), ("MODIFIED", "10"))
        ]
        (queue,) = api._watching
        queue.put_nowait(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        await until(lambda: len(order) == 5)
        changes = [(None, "9"), ("9", "10")]
        soon, late = ([(who, *change) for change in changes] for who in ("soon", "late"))
        assert order == [*soon, ("all", None, None), *late]


async def test_a_failing_callback_harms_nobody() -> None:
    api = FakeApi()
    informer = Informer[Any](Client(api), PODS)

    def broken(old: Any, new: Any) -> None:
        raise RuntimeError

    informer.on_change(broken)
    told = Told(informer)
    task = asyncio.create_task(informer.run())
    await informer.synced.wait()
    api.put(PATH, "a", "ns")
    await until(lambda: told.copy)
    task.cancel()


async def test_pages() -> None:
    api = FakeApi()
    for i in range(2100):
        api.put(PATH, f"p{i}", "ns")
    async with running(api) as (informer, _):
        assert len(informer.items()) == 2100
        assert sum("watch=" not in target for _, target in api.requests) == 3


class TestOwnWrites:
    @asynccontextmanager
    async def cache(self, api: FakeApi) -> AsyncIterator[Cache]:
        cache = Cache(Client(api))
        task = asyncio.create_task(cache.run())
        await cache.synced(PODS)
        await until(lambda: api.watches)
        yield cache
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def test_seen_before_the_event(self) -> None:
        api = FakeApi()
        async with self.cache(api) as cache:
            told = Told(cache.informer(PODS))
            api.mute = True
            made = await cache.create(PODS, {"metadata": {"name": "a", "namespace": "ns"}})
            assert cache.get(PODS, "ns", "a") == made
            await cache.delete(PODS, "a", "ns")
            assert cache.get(PODS, "ns", "a") is None
            api.mute = False
            api.cut()
            await until(lambda: not api.watches)
            await until(lambda: cache.informer(PODS)._version == "2")
            assert told.changes == [(None, "1"), ("1", None)], "what comes back later is no news"
            assert not cache.informer(PODS)._ahead

    async def test_an_answer_that_comes_after_the_deletion_resurrects_nothing(self) -> None:
        api = FakeApi()
        async with self.cache(api) as cache:
            made = api.put(PATH, "a", "ns")
            api.remove(PATH, "a", "ns")
            await until(lambda: cache.informer(PODS)._version == "2")
            cache.informer(PODS).observe(made)
            assert cache.get(PODS, "ns", "a") is None

    async def test_another_writer_after_us(self) -> None:
        api = FakeApi()
        async with self.cache(api) as cache:
            api.mute = True
            made = await cache.create(PODS, {"metadata": {"name": "a", "namespace": "ns"}})
            api.put(PATH, "a", "ns", spec={"by": "other"})
            api.mute = False
            api.cut()
            await until(lambda: (cache.get(PODS, "ns", "a") or {}).get("spec"))
            assert made["metadata"]["resourceVersion"] == "1"

    async def test_informers_asked_for_later_run_too(self) -> None:
        api = FakeApi()
        api.put("/api/v1/nodes", "n")
        async with self.cache(api) as cache:
            await asyncio.wait_for(cache.synced(NODES), 5)
            assert cache.get(NODES, None, "n")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcde")),
        st.tuples(st.just("own"), st.sampled_from("abcde")),
        st.tuples(st.just("remove"), st.sampled_from("abcde")),
        st.tuples(st.sampled_from(["cut", "compact", "mute", "unmute", "rest"]), st.just("")),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_history_ends_in_the_truth(steps: list[tuple[str, str]]) -> None:
    asyncio.run(_history(steps))


async def _history(steps: list[tuple[str, str]]) -> None:
    api = FakeApi()
    async with running(api) as (informer, told):
        for what, name in steps:
            if what == "put":
                api.put(PATH, name, "ns")
            elif what == "own":
                informer.observe(api.put(PATH, name, "ns"))
            elif what == "remove" and (PATH, "ns", name) in api._objects:
                api.remove(PATH, name, "ns")
            elif what == "cut":
                api.cut()
            elif what == "compact":
                api.compact()
            elif what in ("mute", "unmute"):
                api.mute = what == "mute"
            else:
                await asyncio.sleep(0)
        api.mute = False
        api.cut()
        truth = {f"{ns}/{name}": obj["metadata"]["resourceVersion"] for (_, ns, name), obj in api._objects.items()}
        await until(lambda: {key: _version(informer.get_key(key)) for key in list(informer.keys())} == truth)
        assert {f"ns/{name}": _version(obj) for name, obj in told.copy.items()} == truth
