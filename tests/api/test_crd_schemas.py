"""What the schemas of definitions may say, and what a stricter one means for objects that are there."""

from __future__ import annotations

import json

import pytest

from switchboard.testing.apiserver import ApiServer
from switchboard.testing.customkinds import CRDS, Object, define, definition, path, version, widget

MERGE = {"content-type": "application/merge-patch+json"}
ROOT = "spec.validation.openAPIV3Schema"


async def test_what_was_wrong_before_may_stay_wrong(api: ApiServer) -> None:
    made = await define(api, definition())
    await api.call("POST", path(), widget(size=2))
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["minimum"] = 5
    assert (await api.call("PUT", f"{CRDS}/widgets.example.com", made))[0] == 200
    assert (await api.call("PATCH", f"{path()}/w", {"spec": {"color": "blue"}}, MERGE))[0] == 200
    assert (await api.call("PATCH", f"{path()}/w", {"spec": {"size": 3}}, MERGE))[0] == 422


RATCHET: Object = {
    "type": "object",
    "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {
                "type": "object",
                "required": ["k"],
                "properties": {"k": {"type": "string"}, "v": {"type": "string"}},
            },
        },
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metadata": {"labels": {"a": "b"}}}, 200),
        ({"list": [{"k": "other", "v": "good"}, {"k": "one", "v": "bad"}]}, 200),  # moved, but known by its key
        ({"list": [{"k": "one", "v": "bad"}, {"k": "two", "v": "bad"}]}, 422),
        ({"set": ["bad", "good"]}, 422),  # items of a set are not followed
        ({"map": {"a.b": "bad", "c": "good"}}, 200),
        ({"map": {"a.b": "bad", "c": "bad"}}, 422),
    ],
)
async def test_what_an_update_leaves_is_not_held_against_it(api: ApiServer, change: Object, code: int) -> None:
    made = await define(api, definition(version(schema={"openAPIV3Schema": RATCHET}, subresources={})))
    body = {**widget("w"), "set": ["bad"], "list": [{"k": "one", "v": "bad"}], "map": {"a.b": "bad"}}
    assert (await api.call("POST", path(), body))[0] == 201
    properties = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    only = {"type": "string", "enum": ["good"]}
    properties["set"]["items"] = properties["map"]["additionalProperties"] = only
    properties["list"]["items"]["properties"]["v"] = only
    assert (await api.call("PUT", f"{CRDS}/widgets.example.com", made))[0] == 200
    status, answer = await api.call("PATCH", f"{path()}/w", change, MERGE)
    assert status == code, answer


async def test_doubles_in_lists_are_refused_unless_they_were_there(api: ApiServer) -> None:
    loose = json.loads(json.dumps(RATCHET))
    del loose["properties"]["set"]["x-kubernetes-list-type"]
    made = await define(api, definition(version(schema={"openAPIV3Schema": loose}, subresources={})))
    assert (await api.call("POST", path(), {**widget("old"), "set": ["a", "a"]}))[0] == 201
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = RATCHET
    assert (await api.call("PUT", f"{CRDS}/widgets.example.com", made))[0] == 200
    status, answer = await api.call("POST", path(), {**widget("new"), "set": ["a", "a"]})
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "set[1]")
    twice = [{"k": "x"}, {"k": "x"}]
    status, answer = await api.call("POST", path(), {**widget("new"), "list": twice})
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "list[1]")
    assert (await api.call("PATCH", f"{path()}/old", {"map": {"a": "b"}}, MERGE))[0] == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": "Odd"}, "spec.scope"),
        ({"group": "nodots"}, "metadata.name"),
        ({"versions": [version(storage=False)]}, "spec.versions"),
        ({"group": "x.k8s.io"}, "metadata.name"),
    ],
)
async def test_wrong_definitions_as_a_whole(api: ApiServer, change: Object, field: str) -> None:
    body = definition()
    body["spec"].update(change)
    status, answer = await api.call("POST", CRDS, body)
    assert status == 422
    assert field in [cause["field"] for cause in answer["details"]["causes"]]


def field(schema: Object) -> Object:
    """A definition with one field."""
    whole = {"type": "object", "properties": {"f": schema}}
    return definition(version(schema={"openAPIV3Schema": whole}, subresources={}))


LIST = {"type": "array", "x-kubernetes-list-type": "map"}
TEXT = {"type": "string"}
BELOW = "spec.validation.openAPIV3Schema.properties[f]"


@pytest.mark.parametrize(
    ("schema", "path", "why"),
    [
        ({"type": "integer", "default": "x"}, ".default", 'in body must be of type integer: "string"'),
        ({"type": "string", "enum": ["a"], "default": "b"}, ".default", "supported values"),
        ({"type": "object", "properties": {}, "default": {"x": 1}}, ".default", "must not have unknown fields"),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT, "default": ["a", "a"]},
            ".default[1]",
            "Duplicate value",
        ),
        (
            {**LIST, "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": TEXT}}},
            ".items.properties[k].default",
            "must have a default or be a required property",
        ),
        (
            {**LIST, "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {}}},
            ".x-kubernetes-list-map-keys",
            "entries must all be names of item properties",
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
            ".items.x-kubernetes-map-type",
            "must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        ({"type": "string", "anyOf": [{"type": "string"}]}, ".anyOf[0].type", "must be empty to be structural"),
        (
            {"type": "object", "anyOf": [{"properties": {"x": {"minimum": 1}}}]},
            ".properties[x]",
            f"because it is defined in {BELOW}.anyOf[0].properties[x]",
        ),
        (
            {"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 1"}]},
            ".default",
            "failed rule: self > 1",
        ),
        ({"type": "object", "not": {"additionalProperties": {}}}, ".not.additionalProperties", "must be undefined"),
        ({"type": "object", "x-kubernetes-embedded-resource": True}, ".properties", "must not be empty if"),
        ({"type": "string", "pattern": "("}, ".pattern", "must be a valid regular expression"),
        (
            {"type": "string", "pattern": "^(?!kube-).*$"},
            ".pattern",
            "must be a valid regular expression, but isn't: "
            "error parsing regexp: invalid or unsupported Perl syntax: `(?!`",
        ),
        ({"type": "string", "x-kubernetes-embedded-resource": True}, ".type", "must be object if"),
    ],
)
async def test_wrong_schemas(api: ApiServer, schema: Object, path: str, why: str) -> None:
    status, answer = await api.call("POST", CRDS, field(schema))
    assert status == 422, answer
    causes = {cause["field"]: cause["message"] for cause in answer["details"]["causes"]}
    assert why in causes[BELOW + path]


async def test_a_number_or_a_text(api: ApiServer) -> None:
    """Both ways in which generators write it."""
    either = [{"type": "integer"}, {"type": "string"}]
    for shape in ({"anyOf": either}, {"allOf": [{"anyOf": either}, {"pattern": "^[0-9]+$"}]}):
        status, answer = await api.call("POST", CRDS, field({"x-kubernetes-int-or-string": True, **shape}))
        assert status == 201, answer
        assert (await api.call("DELETE", f"{CRDS}/widgets.example.com"))[0] == 200
        await api.gone(f"{CRDS}/widgets.example.com")


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (".f.g", "is an invalid path: does not refer to a valid field"),
        (".o", "must point to a field of type string, boolean or integer"),
        ("", "Required value"),
    ],
)
async def test_wrong_selectable_fields(api: ApiServer, where: str, why: str) -> None:
    schema = {"type": "object", "properties": {"f": {"type": "string"}, "o": {"type": "object"}}}
    body = definition(version(schema={"openAPIV3Schema": schema}, selectableFields=[{"jsonPath": where}]))
    status, answer = await api.call("POST", CRDS, body)
    assert status == 422, answer
    (cause,) = (c for c in answer["details"]["causes"] if c["field"] == "spec.selectableFields[0].jsonPath")
    assert why in cause["message"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": {"plural": "Widgets", "kind": "Widget"}}, {"spec.names.plural": "a DNS-1035 label must consist of"}),
        ({"versions": [version(name="V1")]}, {"spec.versions[0].name": "a DNS-1035", "spec.version": "a DNS-1035"}),
        (
            {"versions": [version(deprecationWarning="x")]},
            {"spec.versions[0].deprecationWarning": "can only be set for deprecated versions"},
        ),
        (
            {"versions": [version(deprecated=True, deprecationWarning="ä\n")]},
            {"spec.versions[0].deprecationWarning": "non-printable character found at index 2"},
        ),
        (
            {"conversion": {"strategy": "Webhook"}},
            {
                "spec.conversion.webhookClientConfig": "required when strategy is set to Webhook",
                "spec.conversion.conversionReviewVersions": "Required value",
            },
        ),
        (
            {
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {"clientConfig": {"url": "https://x/y"}, "conversionReviewVersions": ["v9", "v9"]},
                }
            },
            {
                "spec.conversion.conversionReviewVersions[1]": "duplicate version",
                "spec.conversion.conversionReviewVersions": "must include at least one of v1, v1beta1",
            },
        ),
    ],
)
async def test_words_about_definitions(api: ApiServer, change: Object, said: dict[str, str]) -> None:
    """Recorded from apiextensions-apiserver 0.36."""
    made = definition()
    made["spec"] |= change
    status, answer = await api.call("POST", CRDS, made)
    found = {cause["field"]: cause["message"] for cause in answer["details"]["causes"]}
    assert status == 422 and all(why in found[field] for field, why in said.items()), found


async def test_words_about_roots_and_defaults(api: ApiServer) -> None:
    text: Object = {"type": "string", "minLength": 2, "default": "a"}
    schema: Object = {"type": "object", "nullable": True, "properties": {"spec": {"type": "object"}}}
    for shape, field, why in (
        (schema, ROOT + ".nullable", "nullable cannot be true at the root"),
        (
            {"type": "object", "properties": {"a": {"type": "array", "items": text}}},
            ROOT + ".properties[a].items.default",
            'Invalid value: "a":  in body should be at least 2 chars long',
        ),
        (
            {"type": "object", "properties": {"a": {"type": "object", "x-kubernetes-preserve-unknown-fields": False}}},
            ROOT + ".properties[a].x-kubernetes-preserve-unknown-fields",
            "must be true or undefined",
        ),
        (
            {
                "type": "object",
                "properties": {
                    "a": {"type": "object", "properties": {"b": text | {"minLength": 1}}, "additionalProperties": False}
                },
            },
            ROOT + ".properties[a].additionalProperties",
            "additionalProperties and properties are mutual exclusive",
        ),
    ):
        made = definition()
        made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = shape
        _, answer = await api.call("POST", CRDS, made)
        found = {cause["field"]: cause["message"] for cause in answer["details"]["causes"]}
        assert why in found.get(field, ""), found


async def test_defaults_below_additional_properties_are_not_looked_at(api: ApiServer) -> None:
    more: Object = {"type": "string", "minLength": 2, "default": "a"}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "additionalProperties": more}}}
    made = definition()
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    assert (await api.call("POST", CRDS, made))[0] == 201
