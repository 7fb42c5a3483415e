"""Objects of an informer, held packed or not: always those that were put, and few of them decoded."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from switchboard.client.copies import Copies
from switchboard.store.record import Record


def read(raw: bytes):
    return msgspec.json.decode(raw)


def obj(i: int, n: int = 0):
    return {"metadata": {"name": f"pod-{i}", "labels": {"app": "web"}}, "spec": {"nodeName": "n1", "n": n}}


def put(copies: Copies, i: int, n: int = 0) -> None:
    new = obj(i, n)
    copies.put(f"ns/{i}", new, copies.form(f"ns/{i}", new, msgspec.json.encode(new), len(copies)))


def decoded(copies: Copies) -> int:
    return len({*copies._arrived, *copies._asked, *copies._asked_before})


@given(
    st.sampled_from([None, 0, 3]),
    st.lists(st.tuples(st.sampled_from("put put get pop settle rest".split()), st.integers(0, 9), st.integers(0, 99))),
)
def test_they_are_a_map(most, steps):
    copies, known = Copies(read, most), {}
    for what, i, n in steps:
        key = f"ns/{i}"
        if what == "put":
            put(copies, i, n)
            known[key] = obj(i, n)
        elif what == "get":
            assert copies.get(key) == known.get(key)
        elif what == "pop":
            assert copies.pop(key) == known.pop(key, None)
        elif what == "settle" and key in known:
            copies.settle(key, msgspec.json.encode(known[key]))
        elif what == "rest":
            copies.rest()
        assert len(copies) == len(known)
        assert (key in copies) == (key in known)
    assert list(copies.keys()) == list(known)
    assert list(copies.values()) == list(known.values())


def test_the_first_are_the_same_ones_always_and_others_while_somebody_asks():
    copies = Copies(read, most=2)
    for i in range(10):
        put(copies, i)
    first, last = copies.get("ns/0"), copies.get("ns/9")
    for _ in range(5):
        copies.rest()
        assert copies.get("ns/0") is first
        assert copies.get("ns/9") is last
    copies.rest()
    copies.rest()
    assert decoded(copies) == 0
    assert copies.get("ns/9") == last


def test_however_many_are_asked_for_a_bounded_number_stays_decoded():
    copies = Copies(read, most=10)
    for i in range(5000):
        put(copies, i)
        assert decoded(copies) <= 257
    assert [each["metadata"]["name"] for each in copies.values()] == [f"pod-{i}" for i in range(5000)]
    assert decoded(copies) <= 2500
    assert sum(len(form) for form in copies._forms.values() if isinstance(form, bytes)) < 5000 * 60


def test_an_own_write_is_held_as_it_is_until_its_event_comes():
    copies = Copies(read, most=0)
    new = obj(1)
    copies.put("ns/1", new, new)
    copies.rest()
    copies.rest()
    assert copies.get("ns/1") is new
    copies.settle("ns/1", msgspec.json.encode(new))
    copies.rest()
    assert copies.get("ns/1") == new
    assert decoded(copies) == 1


def test_what_the_store_has_is_held_as_its_record_and_what_it_has_otherwise_packed():
    records: dict[str, Record] = {}
    head = b'{"kind":"Pod","apiVersion":"v1",'
    copies = Copies(read, 0, records.get, head)
    whole = {"kind": "Pod", "apiVersion": "v1", **obj(1)}
    stored = msgspec.json.encode(whole)
    assert stored.startswith(head)
    records["ns/1"] = Record("/core/pods/ns/1", stored, 7, 7)
    other = msgspec.json.encode({"kind": "Pod", "apiVersion": "v2", **obj(1)})
    for raw in (stored, b"{" + stored[len(head) :]):  # of a watch, of a list
        assert copies.form("ns/1", whole, raw, 1) is records["ns/1"]
    for key, raw in (("ns/1", other), ("ns/1", msgspec.json.encode(obj(2))), ("ns/2", stored)):
        form = copies.form(key, whole, raw, 1)
        assert isinstance(form, bytes)
        assert copies.read(form) == read(raw)
    copies.put("ns/1", whole, records["ns/1"])
    assert copies.get("ns/1") is whole
    copies.rest()
    copies.rest()
    assert copies.get("ns/1") == whole
    assert decoded(copies) == 1
    assert copies.pop("ns/1") == whole
    assert decoded(copies) == 0
