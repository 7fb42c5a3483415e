"""Equal parts of objects are held once, and the objects are what they were."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from switchboard.client.sharing import Sharing

scalars = st.one_of(st.none(), st.booleans(), st.integers(-500, 500), st.floats(allow_nan=False), st.text(max_size=3))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)),
    max_leaves=12,
)
objects = st.fixed_dictionaries(
    {"metadata": st.dictionaries(st.sampled_from(["name", "uid", "labels", "namespace"]), values)},
    optional={"spec": values, "status": values, "data": values},
)


@given(st.lists(objects, max_size=6))
def test_objects_are_what_they_were(found: list[dict[str, Any]]) -> None:
    sharing = Sharing()
    for text in [json.dumps(obj) for obj in found]:
        assert json.dumps(sharing.object(json.loads(text))) == text  # as text: 1, 1.0 and true are not the same


def test_equal_parts_are_one_and_the_objects_are_two() -> None:
    def service(name: str, port: int) -> dict[str, Any]:
        spec = {"type": "ClusterIP", "ports": [{"port": port, "protocol": "TCP"}], "clusterIP": f"10.96.0.{port}"}
        return json.loads(
            json.dumps({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec, "status": {"loadBalancer": {}}})
        )

    sharing = Sharing()
    one, same, other = (sharing.object(service(n, p)) for n, p in (("a", 80), ("b", 80), ("c", 81)))
    assert one["spec"]["ports"] is same["spec"]["ports"]
    assert one["status"] is same["status"] is other["status"]
    assert one["metadata"]["labels"] is other["metadata"]["labels"]
    assert one["spec"]["ports"] is not other["spec"]["ports"]
    assert one["metadata"] is not same["metadata"]


def test_what_an_object_was_before_is_used_again_where_it_is_the_same() -> None:
    def pod(phase: str, app: str) -> dict[str, Any]:
        wide = {f"field{i}": i * 1000 for i in range(30)}  # too wide to be looked for
        return {"metadata": {"name": "p", "labels": {"app": app}}, "spec": wide, "status": {"phase": phase}}

    sharing = Sharing()
    old = sharing.object(pod("Pending", "a"))
    new = sharing.object(pod("Running", "a"), old)
    assert new["spec"] is old["spec"]
    assert new["metadata"]["labels"] is old["metadata"]["labels"]
    assert (new["status"], old["status"]) == ({"phase": "Running"}, {"phase": "Pending"})
    assert sharing.object(pod("Running", "b"), new) == pod("Running", "b")


def test_what_is_remembered_has_a_bound() -> None:
    sharing = Sharing()
    for i in range(30_000):
        sharing.object({"metadata": {"labels": {"app": f"x{i}"}}, "spec": {"host": f"h{i}"}})
    assert len(sharing._texts) < 10_000
    assert len(sharing._parts) < 10_000
