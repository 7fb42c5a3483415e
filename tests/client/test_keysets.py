"""Sets of keys by value, however they are held."""

from hypothesis import given
from hypothesis import strategies as st

from switchboard.client.keysets import KeySets


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 12).map(str)), max_size=80))
def test_they_are_sets_in_order(steps):
    sets, known = KeySets(), {}
    for more, value, key in steps:
        if more:
            sets.add(value, key)
            known.setdefault(value, {})[key] = None
        else:
            sets.drop(value, key)
            known.get(value, {}).pop(key, None)
            if not known.get(value):
                known.pop(value, None)
        assert {each: list(sets.get(each)) for each in sets.values()} == {each: list(known[each]) for each in known}
    assert sets.get("nothing") == ()
