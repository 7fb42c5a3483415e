"""What a user of the store relies on: revisions, expectations, snapshots, order, and the same after a restart."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchboard.store.errors import Changed, Compacted, StoreError
from switchboard.store.store import Store

CM = "/core/configmaps/ns/"


@pytest.fixture
async def store(tmp_path):
    opened = Store.open(tmp_path / "s.db", index=lambda key, value: (key, len(value)))
    yield opened
    await opened.close()


def text(value: str):
    return lambda revision: f"{value}@{revision}".encode()


async def test_a_write_is_seen_by_head_at_once_and_by_readers_after_its_commit(store):
    done = store.put(CM + "a", text("one"))
    assert store.get(CM + "a") is None
    assert store.head(CM + "a").value == b"one@2"
    record = await done
    assert store.get(CM + "a") is record
    assert (record.value, record.revision, record.created, store.revision) == (b"one@2", 2, 2, 2)
    assert record.meta == (CM + "a", 5)
    assert record.meta is record.meta


async def test_created_stays_and_revision_moves(store):
    first = await store.put(CM + "a", text("one"))
    second = await store.put(CM + "a", text("two"), expect=first)
    assert (second.created, second.revision) == (first.created, first.revision + 1)
    gone = await store.delete(CM + "a", text("gone"))
    assert (gone.value, gone.created) == (b"gone@4", 2)
    again = await store.put(CM + "a", text("again"), expect=None)
    assert again.created == again.revision == 5


async def test_expectations_are_checked_against_writes_on_their_way(store):
    store.put(CM + "a", text("one"), expect=None)
    with pytest.raises(Changed) as changed:
        store.put(CM + "a", text("two"), expect=None)
    assert changed.value.head is store.head(CM + "a")
    head = store.head(CM + "a")
    store.delete(CM + "a", text("x"), expect=head)
    assert store.head(CM + "a") is None
    for write in (
        lambda: store.put(CM + "a", text("y"), expect=head),
        lambda: store.delete(CM + "a", text("y")),
    ):
        with pytest.raises(Changed) as changed:
            write()
        assert changed.value.head is None
    assert (await store.put(CM + "a", text("z"), expect=None)).revision == 4


async def test_a_failing_encode_uses_no_revision(store):
    def fail(revision):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put(CM + "a", fail)
    assert store.head(CM + "a") is None
    assert (await store.put(CM + "a", text("one"))).revision == 2


@pytest.mark.parametrize("key", ["", "/", "/core", "/core/pods", "/core/pods/", "core/pods/a"])
async def test_what_is_not_a_key_is_refused(store, key):
    with pytest.raises(ValueError, match="not a key"):
        store.put(key, text("x"))


async def test_scan_order_prefixes_pages_and_counts(store):
    keys = ["/core/pods/b/1", "/core/pods/a/2", "/core/pods/a/1", "/core/pods/a-b/1", "/apps/deployments/a/1"]
    await asyncio.gather(*[store.put(key, text("x")) for key in keys])
    found = lambda prefix, after="": [r.key for r in store.scan(prefix, after)]  # noqa: E731
    assert found("/core/pods/") == sorted(keys[:4])
    assert found("/core/pods/a/") == ["/core/pods/a/1", "/core/pods/a/2"]
    assert found("/core/pods/a/", "/core/pods/a/1") == ["/core/pods/a/2"]
    assert found("/core/pods/a/", "/core/pods/zzz") == []
    assert found("/") == sorted(keys)
    assert found("/core/") == sorted(keys[:4])
    assert found("/none/at/all/") == []
    assert (store.count("/core/pods/a/"), store.count("/"), store.count("/core/secrets/")) == (2, 5, 0)


async def test_a_closed_store_finishes_its_writes_and_refuses_more(tmp_path):
    store = Store.open(tmp_path / "s.db")
    writes = [store.put(f"{CM}{i}", text("x")) for i in range(100)]
    watch = store.watch(CM, store.revision)
    await store.close()
    assert [w.done() and w.exception() is None for w in writes] == [True] * 100
    assert [batch async for batch in watch] == []
    for use in (lambda: store.put(CM + "a", text("x")), lambda: store.watch(CM, 1)):
        with pytest.raises(StoreError, match="closed"):
            use()
    await store.close()
    store = Store.open(tmp_path / "s.db")
    assert store.count(CM) == 100
    await store.close()


async def test_only_one_process_has_a_store(store, tmp_path):
    with pytest.raises(StoreError, match="in use by another process"):
        Store.open(tmp_path / "s.db")
    await store.put(CM + "a", text("still works"))


async def test_the_file_is_readable_by_its_owner_alone(store, tmp_path):
    await store.put(CM + "a", text("secret"))
    assert {p.name: oct(p.stat().st_mode & 0o777) for p in tmp_path.iterdir()} == {"s.db": "0o600", "s.db-wal": "0o600"}


def state_of(records):
    return [(r.key, r.value, r.revision, r.created) for r in records]


KEYS = [f"/core/{plural}/{ns}/{name}" for plural in ("pods", "services") for ns in ("a", "b") for name in ("x", "y")]
STEPS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(["put", "delete"]), st.integers(0, 40), st.booleans()),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, history=st.sampled_from([1, 5, 1000]))
def test_like_a_dictionary_with_a_past_also_after_a_restart(tmp_path, steps, history):
    """Snapshots at every revision, watches since every revision, and state, compared with a model."""

    async def run(path: Path):
        store = Store.open(path, history=history)
        model: dict[str, tuple] = {}
        past = {store.revision: {}}
        changes = []
        for key, verb, size, wait in steps:
            try:
                if verb == "put":
                    done = store.put(key, lambda revision, n=size: b"%d" % revision + b"." * n)
                    head = store.head(key)
                    model[key] = (key, head.value, head.revision, head.created)
                    number = head.revision
                else:
                    before = model.pop(key, None)
                    done = store.delete(key, lambda revision: b"%d" % revision)
                    assert before is not None
                    number = store._assigned
            except Changed:
                assert key not in model
                continue
            past[number] = dict(model)
            changes.append((number, verb, key))
            if wait:
                await done
        await store.close()
        for opened in (store, Store.open(path, history=history)):
            compare(opened, past, changes, history)
        await opened.close()

    def compare(store, past, changes, history):
        newest = max(past)
        assert store.revision == newest
        assert state_of(store.scan("/")) == sorted(past[newest].values())
        for number, state in past.items():
            for prefix in ("/", "/core/pods/", "/core/pods/a/"):
                expected = sorted(r for k, r in state.items() if k.startswith(prefix))
                if number < store.compacted:
                    with pytest.raises(Compacted):
                        store.scan_at(prefix, number)
                    continue
                assert state_of(store.scan_at(prefix, number)) == expected
                later = [c for c in changes if c[0] > number and c[2].startswith(prefix)]
                assert replay(store, number, prefix) == later
        assert len([n for n in past if n > store.compacted]) <= history

    def replay(store, number, prefix):
        events = [e for e in store._history.since(number) if e.record.key.startswith(prefix)]
        return [(e.revision, "delete" if e.deleted else "put", e.record.key) for e in events]

    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
    asyncio.run(run(path))


async def test_old_history_is_deleted_from_disk_and_revisions_still_never_go_back(tmp_path):
    store = Store.open(tmp_path / "s.db", history=10)
    for round_ in range(60):
        await asyncio.gather(*[store.put(f"{CM}{i}", text(str(round_))) for i in range(50)])
    await asyncio.gather(*[store.delete(f"{CM}{i}", text("end")) for i in range(50)])
    last = store.revision
    await store.close()
    with sqlite3.connect(tmp_path / "s.db") as db:
        rows = db.execute("SELECT count(*) FROM log").fetchone()[0]
    db.close()
    assert rows < 10 + 50 + 600  # 3,050 were written; some may wait for the next compaction
    store = Store.open(tmp_path / "s.db", history=10)
    assert (store.revision, store.count("/")) == (last, 0)
    with pytest.raises(Compacted):
        store.watch(CM, last - 11)
    assert (await store.put(CM + "a", text("x"))).revision == last + 1
    await store.close()


async def test_history_is_bounded_in_bytes(tmp_path):
    store = Store.open(tmp_path / "s.db", history_bytes=1 << 20)
    for _ in range(100):
        await store.put(CM + "a", lambda r: b"x" * 50_000)
    assert store._history._bytes <= 1 << 20
    assert store.revision - store.compacted < 30
    await store.close()
