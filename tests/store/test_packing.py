"""Values that nobody asks for take little memory, and are the same whenever somebody does."""

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from switchboard.store.packing import Packer
from switchboard.store.record import Home, Record
from switchboard.store.store import Store

TABLE = "/core/services/ns/"
_SIXTH = 6


def text(i: int, sort: str = "service") -> bytes:
    """Objects of one sort differ in little."""
    word = random.Random(sort)
    fields = ",".join(f'"{word.randbytes(6).hex()}":"{word.randbytes(12).hex()}"' for _ in range(20))
    return f'{{"kind":"{sort}","name":"s-{i}",{fields},"uid":"{random.Random(i).randbytes(16).hex()}"}}'.encode()


def filled(packer: Packer, values: list[bytes], table: str = TABLE) -> list[Record]:
    home = Home(None, packer.unpacked)
    records = [Record(f"{table}{i}", value, i, i, home) for i, value in enumerate(values)]
    for record in records:
        packer.take(record)
    return records


def held(records: list[Record]) -> int:
    return sum(record.held for record in records)


def test_old_values_take_a_fraction_and_young_ones_are_as_they_came():
    values = [text(i) for i in range(400)]
    size = len(values[0])
    records = filled(Packer(most=20 * size, read=size), values)
    assert [record.held for record in records[-15:]] == [record.size for record in records[-15:]]
    assert held(records[:-25]) * _SIXTH < size * 375
    assert [record.size for record in records] == [len(value) for value in values]
    assert [record.value for record in records] == values


def test_what_is_read_stays_unpacked_until_more_was_read():
    values = [text(i) for i in range(100)]
    size = len(values[0])
    records = filled(Packer(most=size, read=4 * size), values)
    first = records[0].value
    assert records[0].value is first
    for record in records[1:10]:
        assert record.value
    assert records[0].held < size
    assert records[0].value == first
    assert held(records) < 30 * size


def test_who_peeks_at_a_value_leaves_it_packed():
    values = [text(i) for i in range(100)]
    records = filled(Packer(most=1), values)
    before = held(records)
    assert [record.peek() for record in records] == values
    assert held(records) == before < sum(map(len, values)) // 2


def test_a_small_store_never_packs():
    records = filled(Packer(), [text(i) for i in range(100)])
    assert held(records) == sum(record.size for record in records)


def test_what_cannot_be_packed_stays_as_it_is():
    values = [random.Random(i).randbytes(1000) for i in range(50)]
    records = filled(Packer(most=0, read=0), values)
    assert [record.held for record in records[1:]] == [1000] * 49  # the first is its own dictionary
    assert [record.value for record in records] == values


def test_objects_of_another_sort_get_another_dictionary():
    packer = Packer(most=30_000, read=0)
    filled(packer, [text(i, "one") for i in range(100)])
    values = [text(i, "other") for i in range(6000)]
    records = filled(packer, values)
    assert held(records[5000:5900]) * _SIXTH < sum(map(len, values[5000:5900]))
    assert [record.value for record in records] == values


@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=2000)), max_size=60),
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.randoms(use_true_random=False),
)
def test_whatever_is_packed_is_read_again(found, young, read, order):
    packer = Packer(0, young, read)
    values = {f"/g/t{table}/{i}": value for i, (table, value) in enumerate(found)}
    home = Home(None, packer.unpacked)
    records = [Record(key, value, 1, 1, home) for key, value in values.items()]
    for record in records:
        packer.take(record)
        some = order.choice(records)
        assert some.value == values[some.key]
        packer.pack(order.randint(0, 2))
    assert [record.value for record in records] == list(values.values())


async def test_a_store_with_very_much_in_it_has_its_state_history_and_snapshots(tmp_path):
    store = Store.open(tmp_path / "s.db")
    before = {}
    for i in range(200):
        before[f"{TABLE}{i:03}"] = await store.put(f"{TABLE}{i:03}", lambda revision, i=i: text(i) * 80)
    middle = store.revision
    for i in range(200):
        await store.put(f"{TABLE}{i:03}", lambda revision, i=i: text(i, "changed") * 80)
    while store._packer.behind:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert sum(record.held for record in store.scan(TABLE)) < 5 << 20 < sum(r.size for r in store.scan(TABLE))
    assert [r.value for r in store.scan_at(TABLE, middle)] == [text(i) * 80 for i in range(200)]
    replayed = await anext(store.watch(TABLE, middle))
    assert [event.previous.value for event in replayed] == [text(i) * 80 for i in range(200)]
    assert [event.record.value for event in replayed] == [text(i, "changed") * 80 for i in range(200)]
    await store.close()
    store = Store.open(tmp_path / "s.db")
    assert [r.value for r in store.scan(TABLE)] == [text(i, "changed") * 80 for i in range(200)]
    assert (await anext(store.watch(TABLE, middle)))[0].previous.value == text(0) * 80
    await store.close()
