"""Patches: the RFCs' own examples, Kubernetes' deviations from them, and every strategic directive."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.objects.errors import BadRequest, StatusError
from switchboard.objects.patch import json_patch, merge_patch, strategic_merge

SERVICE = "io.k8s.api.core.v1.Service"
POD = "io.k8s.api.core.v1.Pod"
DEPLOYMENT = "io.k8s.api.apps.v1.Deployment"
CONFIG_MAP = "io.k8s.api.core.v1.ConfigMap"
REJECTED = "the server rejected our request due to an error in our request"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab~/", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=8,
)


DNS_TCP, DNS_UDP = {"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}


@pytest.mark.parametrize(  # RFC 7386, appendix A (documents that are objects)
    ("doc", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(doc: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy(doc)
    assert merge_patch(doc, patch) == result
    assert doc == before


@pytest.mark.parametrize("patch", [[], "x", 5, None])
def test_merge_patch_must_be_an_object(patch: Any) -> None:
    with pytest.raises(BadRequest):
        merge_patch({}, patch)


@given(st.dictionaries(st.text("ab", max_size=2), json_values, max_size=3), st.dictionaries(st.text("ab"), json_values))
def test_merge_patch_comes_to_rest(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    twice = merge_patch(merge_patch(doc, patch), patch)  # a list in an object's place keeps its nulls the first time
    assert merge_patch(twice, patch) == twice


JSON_PATCHES: list[tuple[Any, list[dict[str, Any]], Any]] = [  # RFC 6902, appendix A, and negative indexes
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
    ({"foo": [1, 3]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2, 3]}),
    ({"foo": [1]}, [{"op": "add", "path": "/foo/-", "value": [2]}], {"foo": [1, [2]]}),
    ({"foo": [1, 2]}, [{"op": "add", "path": "/foo/2", "value": 3}], {"foo": [1, 2, 3]}),
    ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
    ({"foo": [1, 2, 3]}, [{"op": "remove", "path": "/foo/1"}], {"foo": [1, 3]}),
    ({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
    ({"a": 1}, [{"op": "replace", "path": "/new", "value": 2}], {"a": 1, "new": 2}),
    ({"a": [1, 2]}, [{"op": "replace", "path": "/a/-1", "value": 9}], {"a": [1, 9]}),
    ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}], {"a": {}, "b": {"y": 1}}),
    ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
    ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
    ({"a": [1, {"b": 2}]}, [{"op": "test", "path": "/a", "value": [1, {"b": 2}]}], {"a": [1, {"b": 2}]}),
    ({}, [{"op": "test", "path": "/missing", "value": None}], {}),
    (
        {"a/b": 1, "m~n": 2},
        [{"op": "test", "path": "/a~1b", "value": 1}, {"op": "remove", "path": "/m~0n"}],
        {"a/b": 1},
    ),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ({"a": 1}, [{"op": "add", "path": "/a"}], {"a": None}),
    ({"a": 1}, [], {"a": 1}),
]


@pytest.mark.parametrize(("doc", "ops", "result"), JSON_PATCHES)
def test_json_patch(doc: Any, ops: list[dict[str, Any]], result: Any) -> None:
    before = copy.deepcopy(doc)
    assert json_patch(doc, ops) == result
    assert doc == before


@pytest.mark.parametrize(
    "op",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "test", "path": "/missing", "value": 2},
        {"op": "remove", "path": "/nope"},
        {"op": "remove", "path": "/l/7"},
        {"op": "remove", "path": ""},
        {"op": "remove", "path": "/l/x"},
        {"op": "add", "path": "/nope/x", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "value": 1},
        {"op": "replace", "path": "/l/2", "value": 1},
        {"op": "move", "from": "/nope", "path": "/a"},
        {"op": "copy", "path": "/a"},
        {"op": "fly", "path": "/a"},
        {"path": "/a"},
        {"op": ["add"], "path": "/a"},
    ],
)
def test_an_operation_that_does_not_apply(op: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as caught:
        json_patch({"a": 1, "l": [1, 2]}, [op])
    assert (caught.value.code, caught.value.reason, caught.value.message) == (422, "Invalid", REJECTED)
    assert caught.value.details == {}


@pytest.mark.parametrize("ops", [{"op": "add"}, "x", [1], None])
def test_a_json_patch_is_a_list_of_objects(ops: Any) -> None:
    with pytest.raises(BadRequest):
        json_patch({}, ops)


def test_json_patch_is_bounded() -> None:
    with pytest.raises(StatusError) as caught:
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)
    assert caught.value.code == 413
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(60)]
    with pytest.raises(StatusError) as caught:
        json_patch({"a": {"x": "y" * 1000}}, doubling)
    assert caught.value.code == 422


@settings(max_examples=200)
@given(
    json_values,
    st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "test", "move", "copy"])},
            optional={
                "path": st.text("/ab-01~", max_size=5),
                "from": st.text("/ab01", max_size=4),
                "value": json_values,
            },
        ),
        max_size=4,
    ),
)
def test_json_patch_never_fails_otherwise(doc: Any, ops: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(doc)
    try:
        json_patch(doc, ops)
    except StatusError:
        pass
    assert doc == before


def ports(*given: Any) -> dict[str, Any]:
    return {"spec": {"ports": list(given)}}


A, B, C = {"name": "a", "port": 1}, {"name": "b", "port": 2}, {"name": "c", "port": 3}


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        (ports(A, B), ports(C), ports(C, A, B)),
        (ports(C, A, B), ports({"port": 1, "targetPort": 8080}), ports(C, A | {"targetPort": 8080}, B)),
        (ports(C, A, B), ports({"port": 2, "$patch": "delete"}), ports(C, A)),
        (ports(C, A), ports({"name": "x", "port": 7}, {"$patch": "replace"}), ports({"name": "x", "port": 7})),
        (
            ports(A, B, C),
            {"spec": {"$setElementOrder/ports": [C, A, B], "ports": [{"port": 2, "targetPort": 9}]}},
            ports(C, A, B | {"targetPort": 9}),
        ),
        (ports(A, B, C), {"spec": {"$setElementOrder/ports": [C, A]}}, ports(B, C, A)),
        ({"spec": {}}, {"spec": {"$setElementOrder/ports": [A], "ports": [A]}}, ports(A)),
        (ports(A), {"spec": {"ports": None}}, {"spec": {}}),
        (
            ports(A),
            {"spec": {"externalIPs": ["1.2.3.4"], "type": "NodePort"}},
            {"spec": ports(A)["spec"] | {"externalIPs": ["1.2.3.4"], "type": "NodePort"}},
        ),
        ({"spec": {"externalIPs": ["a"]}}, {"spec": {"externalIPs": ["b"]}}, {"spec": {"externalIPs": ["b"]}}),
        (
            {"spec": {"selector": {"a": "1", "b": "2"}}},
            {"spec": {"selector": {"a": None, "c": "3"}}},
            {"spec": {"selector": {"b": "2", "c": "3"}}},
        ),
        (
            {"spec": {"selector": {"a": "1"}}},
            {"spec": {"selector": {"$patch": "replace", "c": "3"}}},
            {"spec": {"selector": {"c": "3"}}},
        ),
        ({"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"$patch": "delete"}}}, {"spec": {"selector": {}}}),
        ({}, ports({"port": 1, "name": None}, {"port": 2, "$patch": "delete"}), ports({"port": 1})),
        # One number in two protocols: both stay; the first is meant by a patch, both by a deletion.
        (ports(DNS_TCP, DNS_UDP), ports({"port": 9, "name": "m"}), ports({"port": 9, "name": "m"}, DNS_TCP, DNS_UDP)),
        (ports(DNS_TCP, DNS_UDP), ports({"port": 53, "x": 1}), ports(DNS_TCP | {"x": 1}, DNS_UDP)),
        (ports(DNS_TCP, DNS_UDP, {"port": 9}), ports({"port": 53, "$patch": "delete"}), ports({"port": 9})),
        (ports(DNS_TCP), ports(DNS_TCP | {"name": "a"}, DNS_UDP | {"x": 2}), ports(DNS_UDP | {"name": "a", "x": 2})),
        (
            ports({"port": 9}, DNS_TCP, DNS_UDP),
            {
                "spec": {
                    "$setElementOrder/ports": [{"port": 53}, {"port": 53}, {"port": 9}],
                    **ports({"port": 9, "x": 3})["spec"],
                }
            },
            ports(DNS_TCP, DNS_UDP, {"port": 9, "x": 3}),
        ),
    ],
)
def test_strategic_services(before: Any, patch: Any, after: Any) -> None:
    kept, kept_patch = copy.deepcopy(before), copy.deepcopy(patch)
    assert strategic_merge(before, patch, SERVICE) == after
    assert (before, patch) == (kept, kept_patch)


def finalizers(*names: str) -> dict[str, Any]:
    return {"metadata": {"finalizers": list(names)}}


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        (finalizers("c", "d"), finalizers("e"), finalizers("e", "c", "d")),
        (finalizers("e", "c"), {"metadata": {"$deleteFromPrimitiveList/finalizers": ["c", "x"]}}, finalizers("e")),
        (finalizers("a", "b"), {"metadata": {"$setElementOrder/finalizers": ["b", "a"]}}, finalizers("b", "a")),
    ],
)
def test_strategic_sets(before: Any, patch: Any, after: Any) -> None:
    assert strategic_merge(before, patch, CONFIG_MAP) == after


def test_nested_lists_merge_by_their_own_keys() -> None:
    def containers(*given: Any) -> dict[str, Any]:
        return {"spec": {"template": {"spec": {"containers": list(given)}}}}

    before = containers({"name": "web", "image": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "side"})
    patch = containers({"name": "web", "image": "b", "env": [{"name": "Y", "value": "2"}]})
    env = [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]
    after = containers({"name": "web", "image": "b", "env": env}, {"name": "side"})
    assert strategic_merge(before, patch, DEPLOYMENT) == after


def test_retain_keys() -> None:
    before = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch: dict[str, Any] = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(before, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}
    volumes = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    change = {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}}
    merged = strategic_merge(volumes, change, POD)
    assert merged == {"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}}


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}}, 400),
        ({"spec": {"strategy": {"$retainKeys": 5}}}, 400),
        ({"metadata": {"$setElementOrder/finalizers": "x"}}, 500),
        ({"spec": {"strategy": {"$patch": "melt"}}}, 500),
        ({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}, 500),
        ({"spec": {"template": {"spec": {"containers": [{"name": "x", "$patch": "merge"}]}}}}, 500),
        ("x", 400),
    ],
)
def test_strategic_errors(patch: Any, code: int) -> None:
    pod = {"spec": {"containers": [{"name": "c"}]}}
    deployment = {"metadata": {"finalizers": ["f"]}, "spec": {"strategy": {"type": "x"}, "template": pod}}
    with pytest.raises(StatusError) as caught:
        strategic_merge(deployment, patch, DEPLOYMENT)
    assert caught.value.code == code


def test_an_order_that_lacks_what_the_patch_has_is_a_server_error_without_reason() -> None:
    patch = {"spec": {"$setElementOrder/ports": [{"port": 1}], "ports": [{"port": 2, "targetPort": 9}]}}
    with pytest.raises(StatusError) as caught:
        strategic_merge(ports(A, B), patch, SERVICE)
    assert (caught.value.code, caught.value.reason) == (500, "")


strange = st.dictionaries(
    st.sampled_from(["ports", "finalizers", "$setElementOrder/ports", "$deleteFromPrimitiveList/finalizers", "$patch"]),
    json_values | st.lists(st.fixed_dictionaries({"port": json_values}), max_size=3),
)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(["spec", "metadata", "$patch", "$retainKeys"]), json_values)
    | st.fixed_dictionaries({"spec": strange, "metadata": strange})
)
def test_strategic_merge_never_fails_otherwise(patch: dict[str, Any]) -> None:
    try:
        strategic_merge({"metadata": {"finalizers": ["a"]}, "spec": {"ports": [A, B]}}, patch, SERVICE)
    except StatusError:
        pass


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        (
            {"spec": {"ports": [{"$patch": "delete"}]}},
            "map: map[$patch:delete] does not contain declared merge key: port",
        ),
        (
            {"spec": {"$patch": "x", "a": [1, None, True]}},
            "unknown patch type: x in map: map[$patch:x a:[1 <nil> true]]",
        ),
        ({"spec": {"$retainKeys": "x"}}, "invalid patch format of retainKeys"),
        ({"metadata": {"$setElementOrder/finalizers": "x"}}, "expected a []interface {}, but received a string"),
        ({"metadata": {"$patch": 1}}, "unknown patch type: %!s(int64=1) in map: map[$patch:1]"),
        ({"metadata": {"finalizers": [1]}}, "list element types are not identical: [[a] [1]]"),
    ],
)
def test_strategic_errors_in_words(patch: Any, text: str) -> None:
    with pytest.raises(StatusError) as caught:
        strategic_merge({"metadata": {"finalizers": ["a"]}, **ports(A)}, patch, SERVICE)
    assert caught.value.message == text


def test_a_directive_for_what_is_not_there_does_nothing() -> None:
    for word in ("replace", "delete", "merge"):
        change = {"metadata": {"annotations": {"$patch": word, "a": "b"}, "labels": {"c": "d"}}}
        done = strategic_merge({"metadata": {"name": "n"}}, change, "io.k8s.api.core.v1.Pod")
        assert done == {"metadata": {"name": "n", "labels": {"c": "d"}}}
    change = {"metadata": {"annotations": {"$patch": "replace", "a": "b"}}}
    there = {"metadata": {"annotations": {"x": "y"}}}
    assert strategic_merge(there, change, "io.k8s.api.core.v1.Pod") == {"metadata": {"annotations": {"a": "b"}}}


def test_merge_patches_drop_nulls_of_objects_in_new_lists() -> None:
    change = {"a": [{"x": None, "y": [None, {"z": None}]}], "b": [{"x": None}]}
    assert merge_patch({"a": [1], "b": {"c": 1}}, change) == {"a": [{"y": [None, {}]}], "b": [{"x": None}]}


def test_copies_of_what_is_not_there() -> None:
    assert json_patch({"a": 1}, [{"op": "copy", "from": "/b", "path": "/c"}]) == {"a": 1, "c": None}
    for source in ("", "/a/b", "/l/5"):
        with pytest.raises(StatusError):
            json_patch({"a": 1, "l": []}, [{"op": "copy", "from": source, "path": "/c"}])


def test_new_items_are_taken_as_they_are() -> None:
    """What directives there are in them is unknown to the type that the result is read as."""
    item = {"name": "x", "securityContext": {"$patch": "replace", "privileged": True}}
    made = strategic_merge({"spec": {"containers": [{"name": "a"}]}}, {"spec": {"containers": [item]}}, POD)
    assert made["spec"]["containers"] == [item, {"name": "a"}]


def test_a_new_item_takes_the_room_of_one_that_goes() -> None:
    """Recorded: with an order of elements, the new one stands where the old one stood among the server's own."""
    before = {"secrets": [{"name": "a"}, {"name": "b"}]}
    patch: dict[str, Any] = {"secrets": [{"name": "b", "$patch": "delete"}, {"name": "d"}]}
    definition = "io.k8s.api.core.v1.ServiceAccount"
    assert strategic_merge(before, patch, definition)["secrets"] == [{"name": "d"}, {"name": "a"}]
    ordered = patch | {"$setElementOrder/secrets": [{"name": "d"}]}
    assert strategic_merge(before, ordered, definition)["secrets"] == [{"name": "a"}, {"name": "d"}]


def test_deleting_from_what_is_no_list_changes_nothing() -> None:
    for gone, left in (("x", ["a"]), (["a"], []), ({"a": 1}, ["a"])):
        made = strategic_merge(
            {"metadata": {"finalizers": ["a"]}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": gone}}, POD
        )
        assert made["metadata"]["finalizers"] == left
