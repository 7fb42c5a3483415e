"""Tables of the store against a plain dict: whatever is put in and taken out, lists are right and in order."""

from hypothesis import given
from hypothesis import strategies as st

from switchboard.store import table
from switchboard.store.record import Record
from switchboard.store.table import State, Table

NAMES = st.text("abc/", min_size=1, max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "put", "remove"]), NAMES), max_size=80)


def record(key: str, revision: int = 1) -> Record:
    return Record(key, b"", revision, 1)


@given(steps=STEPS, start=st.sets(NAMES, max_size=20), prefix=st.text("abc/", max_size=2), after=NAMES)
def test_a_table_is_a_sorted_dict(steps: list[tuple[str, str]], start: set[str], prefix: str, after: str) -> None:
    kept = table._BLOCK
    table._BLOCK = 4  # so that blocks are cut and go
    try:
        model = {key: record(key) for key in start}
        made = Table([model[key] for key in sorted(model)])
        for revision, (step, key) in enumerate(steps):
            if step == "put":
                model[key] = record(key, revision)
                made.put(model[key])
            else:
                model.pop(key, None)
                made.remove(key)
        wanted = [model[key] for key in sorted(model) if key.startswith(prefix)]
        assert made.scan(prefix) == wanted
        assert made.scan(prefix, after) == [found for found in wanted if found.key > after]
        assert made.count(prefix) == len(wanted)
        assert bool(made) == bool(model)
        assert all(len(block.keys) <= 4 for block in made._blocks)
    finally:
        table._BLOCK = kept


def test_a_state_is_loaded_in_key_order_whatever_the_order_of_records() -> None:
    keys = [f"/core/{plural}/ns/{i:05}" for plural in ("pods", "services") for i in range(3000)]
    state = State(record(key) for key in reversed(keys))
    assert [found.key for found in state.scan("/")] == keys
    assert state.count("/core/pods/") == 3000
    assert state.any("/core/pods/")
    assert not state.any("/core/nodes/")
    for key in keys[:3000]:
        state.remove(key)
    assert not state.any("/core/pods/")
    assert state.scan("/core/pods/") == []
    assert [found.key for found in state.scan("/core/")] == keys[3000:]
