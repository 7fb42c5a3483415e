import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.objects.errors import BadRequest
from switchboard.objects.structural import Structural

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 10},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "x-kubernetes-list-type": "set"},
                "ports": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"n": {"type": "integer"}, "p": {"type": "string", "default": "TCP"}},
                    },
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["n", "p"],
                },
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "port": {"x-kubernetes-int-or-string": True},
                "opt": {"type": "string", "nullable": True},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}},
                "when": {"type": "string", "format": "date-time"},
                "inner": {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 5}}},
                "either": {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]},
            },
        }
    },
}
WIDGET = Structural(SCHEMA, "Widget", "v1")


def widget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1, **spec}}


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ({}, []),
        ({"size": 2.0, "port": "http", "opt": None, "map": {"a": 1}, "when": "2024-01-01T00:00:00Z", "either": 7}, []),
        ({"size": 0}, ["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"]),
        ({"size": 11}, ["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"]),
        ({"size": "1"}, ['spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"']),
        ({"color": "green"}, ['spec.color: Unsupported value: "green": supported values: "red", "blue"']),
        ({"name": "UP"}, ["spec.name: Invalid value: \"UP\": spec.name in body should match '^[a-z]+$'"]),
        ({"name": "toolong"}, ["spec.name: Too long: may not be more than 5 bytes"]),
        ({"tags": ["a", "b", "c"]}, ["spec.tags: Too many: 3: must have at most 2 items"]),
        ({"tags": ["a", "a"]}, ['spec.tags[1]: Duplicate value: "a"']),
        (
            {"ports": [{"n": 1, "p": "TCP"}, {"p": "TCP", "n": 1}, {"n": 1, "p": "TCP"}]},
            ['spec.ports[1]: Duplicate value: {"n":1,"p":"TCP"}'],  # once, however often it stands there
        ),
        (
            {"ports": [{"n": 1}, "x"]},
            [
                'spec.ports[1]: Invalid value: "string": spec.ports[1] in body must be of type object: "string"',
                'spec.ports[1]: Invalid value: "x": must be an object for an array of list-type map',
            ],
        ),
        (
            {"port": 1.5},
            ['spec.port: Invalid value: "number": spec.port in body must be of type integer,string: "number"'],
        ),
        (
            {"map": {"a": "x"}},
            ['spec.map.a: Invalid value: "string": spec.map.a in body must be of type integer: "string"'],
        ),
        ({"when": "now"}, ['spec.when: Invalid value: "now": spec.when in body must be of type date-time: "now"']),
        (
            {"either": 3},
            [
                '<nil>: Invalid value: "": "spec.either" must validate at least one schema (anyOf)',
                "spec.either: Invalid value: 3: spec.either in body should be greater than or equal to 5",
            ],
        ),
        ({"name": None}, ['spec.name: Invalid value: "null": spec.name in body must be of type string: "null"']),
    ],
)
def test_validation(spec: dict[str, Any], errors: list[str]) -> None:
    assert [str(error) for error in WIDGET.validate(widget(**spec))] == errors


def test_missing_fields() -> None:
    assert [str(e) for e in WIDGET.validate({"spec": {}})] == ["spec.size: Required value"]
    assert [str(e) for e in WIDGET.validate({})] == ["spec: Required value"]


def test_pruning_keeps_what_is_open_and_metadata() -> None:
    obj = widget(unknown=1, any={"keep": {"me": 1}}, map={"x": 1}) | {"bogus": 1}
    obj["metadata"] |= {"labels": {"a": "b"}, "wat": 1}
    assert WIDGET.clean(obj) == ["metadata.wat", "bogus", "spec.unknown"]
    assert obj["spec"] == {"size": 1, "any": {"keep": {"me": 1}}, "map": {"x": 1}}
    assert obj["metadata"] == {"name": "w", "labels": {"a": "b"}}


def test_metadata_has_types() -> None:
    with pytest.raises(BadRequest, match="Widget in version"):
        WIDGET.clean({"metadata": {"labels": {"a": 1}}})


def test_defaults() -> None:
    obj = widget(color=None, opt=None, ports=[{"n": 1}])
    WIDGET.default(obj)
    assert obj["spec"] == {
        "size": 1,
        "color": "red",
        "opt": None,
        "ports": [{"n": 1, "p": "TCP"}],
        "inner": {"deep": 5},
    }
    again = copy.deepcopy(obj)
    WIDGET.default(again)
    assert again == obj
    assert SCHEMA["properties"]["spec"]["properties"]["inner"]["default"] == {}


def test_rules_are_asked_only_of_what_is_otherwise_fine() -> None:
    schema = copy.deepcopy(SCHEMA)
    schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.name != 'bad'", "message": "no"}]
    ruled = Structural(schema, "Widget", "v1")
    assert [str(e) for e in ruled.rules(widget(name="bad"), None, [])] == ["spec: Invalid value: no"]
    assert ruled.rules(widget(name="good"), None, []) == []
    wrong = widget(color="green")
    assert [e.field for e in ruled.rules(wrong, None, ruled.validate(wrong))] == ["<nil>"]
    assert WIDGET.rules(wrong, None, WIDGET.validate(wrong)) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SCHEMA["properties"]["spec"]["properties"], "spec", "n", "p"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["spec", "status", "x"]), _JSON))
def test_any_value_is_pruned_defaulted_and_judged(obj: dict[str, Any]) -> None:
    WIDGET.clean(obj)
    assert WIDGET.clean(obj) == []
    WIDGET.default(obj)
    for error in WIDGET.validate(obj):
        assert error.message


def test_an_update_may_keep_what_is_wrong_but_not_make_it() -> None:
    flags = {"type": "object", "additionalProperties": {"type": "boolean"}}
    kind = Structural({"type": "object", "properties": {"spec": flags}}, "Thing", "v1")
    wrong = {"spec": {"a": 1}}
    assert kind.validate(wrong, wrong) == []
    for old in ({"spec": {"a": True}}, {"spec": {}}, None):  # true is not 1
        assert [error.field for error in kind.validate(wrong, old)] == ["spec.a"]


WORDS: dict[str, Any] = {
    "one": {"type": "object", "additionalProperties": True, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "all": {"type": "object", "additionalProperties": True, "allOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "no": {"type": "object", "additionalProperties": True, "not": {"required": ["a"]}},
    "small": {"type": "integer", "format": "int32"},
    "day": {"type": "string", "format": "date", "maxLength": 3, "pattern": "^x"},
    "host": {"type": "string", "format": "hostname"},
    "wait": {"type": "string", "format": "duration"},
    "net": {"type": "string", "format": "cidr"},
    "color": {"type": "string", "enum": ["red"]},
    "keyed": {
        "type": "object",
        "additionalProperties": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        (
            {"one": {}},
            [
                '<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none valid',
                "spec.one.a: Required value",
            ],
        ),
        (
            {"one": {"a": 1, "b": 1}},
            [
                '<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). '
                "Found 2 valid alternatives"
            ],
        ),
        (
            {"all": {}},
            [
                "spec.all.a: Required value",
                "spec.all.b: Required value",
                '<nil>: Invalid value: "": "spec.all" must validate all the schemas (allOf). None validated',
            ],
        ),
        ({"no": {"a": 1}}, ['<nil>: Invalid value: "": "spec.no" must not validate the schema (not)']),
        (
            {"small": 3_000_000_000},
            ['<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.small'],
        ),
        (
            {"day": "2020-02-30"},
            [
                "spec.day: Too long: may not be more than 3 bytes",  # and nothing about the pattern
                'spec.day: Invalid value: "2020-02-30": spec.day in body must be of type date: "2020-02-30"',
            ],
        ),
        ({"day": True}, ['spec.day: Invalid value: "": spec.day in body must be of type date: ""']),
        ({"host": "a_b"}, ['spec.host: Invalid value: "a_b": spec.host in body must be of type hostname: "a_b"']),
        ({"wait": "1h30m"}, []),
        ({"wait": "2 days"}, []),
        ({"wait": "soon"}, ['spec.wait: Invalid value: "soon": spec.wait in body must be of type duration: "soon"']),
        ({"net": "1.2.3.4"}, ['spec.net: Invalid value: "1.2.3.4": spec.net in body must be of type cidr: "1.2.3.4"']),
        (
            {"color": 1},
            [
                'spec.color: Invalid value: "integer": spec.color in body must be of type string: "integer"',
                'spec.color: Unsupported value: 1: supported values: "red"',
            ],
        ),
        ({"keyed": {"k": ["a", "a"]}}, ['spec.keyed[k][1]: Duplicate value: "a"']),
    ],
)
def test_words_of_upstream(spec: dict[str, Any], errors: list[str]) -> None:
    """Recorded from apiextensions-apiserver 0.36."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": WORDS}}}
    assert [str(error) for error in Structural(schema, "W", "v1").validate(widget(**spec))] == errors


def test_nulls_that_say_nothing_are_dropped() -> None:
    fields: dict[str, Any] = {
        "a": {"type": "string"},
        "b": {"type": "string", "nullable": True},
        "c": {"type": "string", "default": "x"},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
        "l": {"type": "array", "items": {"type": "string"}},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
    }
    kind = Structural({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}, "W", "v1")
    spec = {"a": None, "b": None, "c": None, "m": {"k": None, "j": "1"}, "l": [None], "any": {"x": None}}
    obj: dict[str, Any] = {"apiVersion": "e/v1", "kind": "W", "metadata": {"name": "w"}, "spec": spec}
    assert kind.clean(obj) == []
    kind.default(obj)
    assert obj["spec"] == {"b": None, "c": "x", "m": {"j": "1"}, "l": [None], "any": {"x": None}}
