"""The feed of changes: nothing lost, nothing twice, in order, and nobody waits for a slow reader."""

import asyncio
import gc

import pytest

from switchboard.store.errors import Compacted, Overflow, StoreError
from switchboard.store.feed import Stage
from switchboard.store.store import Store

CM = "/core/configmaps/ns/"


@pytest.fixture
async def store(tmp_path):
    opened = Store.open(tmp_path / "s.db", history=1000)
    yield opened
    await opened.close()


def value(revision):
    return b"%d" % revision


async def take(watch, count):
    events = []
    async with asyncio.timeout(5):
        async for batch in watch:
            events += batch
            if len(events) >= count:
                return events
    return events


async def test_replay_then_live_without_a_gap(store):
    for i in range(10):
        await store.put(f"{CM}{i}", value)
    watch = store.watch(CM, 5)
    writes = [store.put(f"{CM}{i}", value) for i in range(10)]
    events = await take(watch, 16)
    assert [e.revision for e in events] == list(range(6, 22))
    assert all(e.previous is not None for e in events if e.revision > 11)
    await asyncio.gather(*writes)


async def test_only_what_is_under_the_prefix_and_committed(store):
    watch = store.watch("/core/configmaps/a/", store.revision)
    everything = store.watch("/", store.revision)
    done = [store.put(key, value) for key in ("/core/configmaps/a/1", "/core/configmaps/b/1", "/core/pods/a/1")]
    assert not watch._buffer  # nothing before the commit
    await asyncio.gather(*done)
    assert [e.record.key for e in await take(watch, 1)] == ["/core/configmaps/a/1"]
    assert len(await take(everything, 3)) == 3


async def test_a_deletion_carries_the_last_state_and_what_was_before(store):
    record = await store.put(CM + "a", value)
    watch = store.watch(CM, store.revision)
    gone = await store.delete(CM + "a", lambda r: b"last")
    (event,) = await take(watch, 1)
    assert (event.deleted, event.record, event.previous, event.revision) == (True, gone, record, gone.revision)


async def test_a_watch_from_the_future_skips_what_it_did_not_ask_for(store):
    watch = store.watch(CM, store.revision + 2)
    for i in range(4):
        await store.put(f"{CM}{i}", value)
    assert [e.revision for e in await take(watch, 2)] == [4, 5]


async def test_compacted_history_cannot_be_resumed(tmp_path):
    store = Store.open(tmp_path / "s.db", history=3)
    for i in range(10):
        await store.put(f"{CM}{i}", value)
    with pytest.raises(Compacted) as compacted:
        store.watch(CM, 7)
    assert compacted.value.oldest == store.compacted == 8
    assert [e.revision for e in await take(store.watch(CM, 8), 3)] == [9, 10, 11]
    await store.close()


async def test_a_slow_reader_is_cut_off_and_holds_up_nobody(store):
    slow = store.watch(CM, store.revision, limit=10)
    quick = store.watch(CM, store.revision, limit=10)
    reader = asyncio.create_task(take(quick, 50))
    for i in range(50):
        await store.put(f"{CM}{i}", value)
    with pytest.raises(Overflow):
        await take(slow, 50)
    assert len(await reader) == 50
    quick.close()
    assert not store._telling._feeds[Stage.COMMITTED]._by_table


async def test_a_closed_watch_ends_its_reader(store):
    watch = store.watch(CM, store.revision)
    reader = asyncio.create_task(take(watch, 1))
    await asyncio.sleep(0)
    watch.close()
    assert await reader == []


async def test_sinks_share_one_list_and_a_faulty_one_is_dropped(store, caplog):
    seen: list[list] = [[], []]

    def faulty(events):
        raise ZeroDivisionError

    store.subscribe(CM, store.revision, faulty)
    for sink in seen:
        store.subscribe(CM, store.revision, sink.append)
    await store.put(CM + "a", value)
    await store.put(CM + "b", value)
    assert [len(batches) for batches in seen] == [2, 2]
    assert seen[0][0] is seen[1][0]
    assert "ZeroDivisionError" in caplog.text
    assert caplog.text.count("is dropped") == 1


async def test_a_sink_gets_the_replay_before_anything_live(store):
    await store.put(CM + "a", value)
    seen = []
    subscription = store.subscribe(CM, 1, lambda events: seen.extend(e.revision for e in events))
    assert seen == [2]
    await store.put(CM + "b", value)
    subscription.close()
    await store.put(CM + "c", value)
    assert seen == [2, 3]


async def test_sinks_learn_of_the_end(store):
    ended = []
    store.subscribe(CM, store.revision, print, lambda: ended.append(True))
    await store.close()
    assert ended == [True]


async def test_encodings_are_shared_and_given_back(store):
    watches = [store.watch(CM, store.revision) for _ in range(2)]
    await store.put(CM + "a", value)
    first, second = [(await take(watch, 1))[0] for watch in watches]
    first.cache["json"] = b"encoded"
    assert second.cache == {"json": b"encoded"}
    for i in range(600):
        await store.put(f"{CM}{i}", value)
    assert first.cache == {}
    del first, second, watches
    gc.collect()


async def test_who_is_told_early_answers_within_the_same_commit(store):
    order: list[object] = []

    def told(name):
        return lambda events: order.append((name, [event.record.key for event in events]))

    def last(events):
        told("last")(events)
        heard.set()

    def early(events):
        order.append(("early", [event.record.key for event in events]))
        if events[-1].record.key == f"{CM}a":
            assert store.get(f"{CM}a") is None  # to all others it is not there yet
            asyncio.get_running_loop().call_soon(lambda: written.append(store.put(f"{CM}b", value)))

    written: list = []
    heard = asyncio.Event()
    store.subscribe(CM, store.revision, last, stage=Stage.LAST)
    store.subscribe(CM, store.revision, told("committed"))
    store.subscribe(CM, store.revision, early, stage=Stage.WRITTEN)
    write = asyncio.ensure_future(store.put(f"{CM}a", value))
    write.add_done_callback(lambda _: order.append("writer"))
    record = await write
    assert store.told < record.revision  # a bookmark for those of the last stage would say too much
    await written[0]
    async with asyncio.timeout(5):
        await heard.wait()
    assert store.told == store.revision
    both = [f"{CM}a", f"{CM}b"]
    assert order == [("early", both[:1]), ("early", both[1:]), ("committed", both), "writer", ("last", both)]


async def test_an_early_subscriber_who_comes_late_hears_of_everything_once(store):
    heard: list[int] = []
    begin = store.revision
    first, second = store.put(f"{CM}a", value), store.put(f"{CM}b", value)
    store.subscribe(CM, begin, lambda _: None, stage=Stage.WRITTEN)
    await asyncio.sleep(0)  # those two have been told of
    third = store.put(f"{CM}c", value)
    subscription = store.subscribe(
        CM, begin, lambda events: heard.extend(e.revision for e in events), stage=Stage.WRITTEN
    )
    assert heard == [begin + 1, begin + 2]
    await asyncio.gather(first, second, third)
    assert heard == [begin + 1, begin + 2, begin + 3]
    subscription.close()
    later = store.subscribe(CM, begin, lambda events: heard.extend(e.revision for e in events), stage=Stage.WRITTEN)
    assert heard == [begin + 1, begin + 2, begin + 3] * 2
    later.close()


async def test_who_was_told_of_what_failed_cannot_go_on_from_there(store):
    heard: list[int] = []
    early = store.subscribe(
        CM, store.revision, lambda events: heard.extend(e.revision for e in events), stage=Stage.WRITTEN
    )
    before = (await store.put(f"{CM}a", value)).revision
    store._disk._db.execute("PRAGMA query_only = ON")
    failing = asyncio.gather(*(store.put(f"{CM}{name}", value) for name in "bc"), return_exceptions=True)
    while len(heard) < 3:  # noqa: ASYNC110 - every turn of the loop is looked at
        await asyncio.sleep(0)
    early.close()  # it does not hear that they fail
    assert all(isinstance(result, StoreError) for result in await failing)
    store._disk._db.execute("PRAGMA query_only = OFF")
    after = (await store.put(f"{CM}d", value)).revision
    for failed in heard[1:]:
        for stage in Stage:
            with pytest.raises(Compacted):
                store.subscribe(CM, failed, lambda _: None, stage=stage)
    for good in (before, after):
        store.subscribe(CM, good, lambda events: heard.extend(e.revision for e in events)).close()
    assert heard == [before, before + 1, before + 2, after]


async def test_settled_waits_for_what_is_on_its_way(store):
    assert store.settled() is None
    first = store.put(f"{CM}a", value)
    waiting = store.settled()
    second = store.put(f"{CM}b", value)
    assert waiting is not None
    await waiting
    assert store.get(f"{CM}a") is await first
    await second
    assert store.settled() is None


async def test_a_store_that_closes_has_told_everybody(tmp_path):
    store = Store.open(tmp_path / "s.db")
    heard: list[int] = []
    for stage in Stage:
        store.subscribe(CM, store.revision, lambda events: heard.extend(e.revision for e in events), stage=stage)
    write = store.put(f"{CM}a", value)
    await store.close()
    assert heard == [(await write).revision] * 3
