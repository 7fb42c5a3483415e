import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import REGISTRY, kind_of, made

from switchboard.objects import presence, schema
from switchboard.objects.duplicates import duplicate_fields
from switchboard.objects.errors import BadRequest, StatusError
from switchboard.objects.types import definitions


def cleaned(obj: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    obj = copy.deepcopy(obj)
    unknown = schema.clean(kind_of(obj), obj)
    return obj, unknown


def test_unknown_fields_are_named_in_document_order_and_removed() -> None:
    obj = made(
        "v1", "Service", metadata={"bogus": 1}, spec={"ports": [{"port": 1}, {"port": 2, "wat": 1}], "foo": 1}, extra=1
    )
    done, unknown = cleaned(obj)
    assert unknown == ["metadata.bogus", "spec.ports[1].wat", "spec.foo", "extra"]
    assert "extra" not in done and "foo" not in done["spec"] and "wat" not in done["spec"]["ports"][1]


def test_field_names_are_case_sensitive() -> None:
    assert cleaned(made("v1", "Service", spec={"Ports": []}))[1] == ["spec.Ports"]


def test_strict_error_text() -> None:
    kind = REGISTRY.of("v1", "Service")
    assert kind is not None
    error = schema.strict_error(kind, ["spec.foo"], ["spec.type"])
    assert error.message == (
        'Service in version "v1" cannot be handled as a Service: strict decoding error: '
        'unknown field "spec.foo", duplicate field "spec.type"'
    )


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (
            {"ports": [{"port": "80"}]},
            "cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        ({"ports": [{"port": 80.5}]}, "cannot unmarshal number 80.5 into Go struct field"),
        ({"ports": [{"port": 2**31}]}, "cannot unmarshal number 2147483648 into Go struct field"),
        ({"ports": {"port": 1}}, "Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"),
        ({"externalIPs": "1.2.3.4"}, "string into Go struct field ServiceSpec.spec.externalIPs of type []string"),
        ({"type": 5}, "cannot unmarshal number into Go struct field ServiceSpec.spec.type of type string"),
        ({"publishNotReadyAddresses": "yes"}, "cannot unmarshal string into Go struct field"),
        (
            {"selector": {"a": 1}},
            "cannot unmarshal number into Go struct field ServiceSpec.spec.selector of type string",
        ),
        ({"ports": [{"targetPort": True}]}, "cannot unmarshal bool into Go struct field"),
        ([], "cannot unmarshal array into Go struct field Service.spec of type v1.ServiceSpec"),
    ],
)
def test_wrong_types(spec: Any, what: str) -> None:
    with pytest.raises(BadRequest) as caught:
        cleaned(made("v1", "Service", spec=spec))
    assert caught.value.message.startswith('Service in version "v1" cannot be handled as a Service: json: ')
    assert what in caught.value.message


@pytest.mark.parametrize(
    "obj",
    [
        made("v1", "ConfigMap", metadata={"creationTimestamp": "yesterday"}),
        made("v1", "Secret", data={"a": "no base64!"}),
        made("v1", "Secret", data={"a": 5}),
        made("v1", "ResourceQuota", spec={"hard": {"pods": "many"}}),
        made("v1", "ResourceQuota", spec={"hard": {"pods": True}}),
        made("coordination.k8s.io/v1", "Lease", spec={"renewTime": "2024-13-01T00:00:00Z"}),
    ],
)
def test_values_without_their_form(obj: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        cleaned(obj)


def test_null_is_unset_in_structs_and_zero_inside_lists_and_maps() -> None:
    obj = made(
        "v1",
        "Pod",
        metadata={"labels": {"a": None}, "annotations": None},
        spec={"containers": [None, {"name": "c", "args": [None, "x"], "resources": {"limits": {"cpu": None}}}]},
    )
    done, _ = cleaned(obj)
    assert done["metadata"]["labels"] == {"a": ""}
    assert "annotations" not in done["metadata"]
    assert done["spec"]["containers"][0] == {"name": "", "resources": {}}
    assert done["spec"]["containers"][1] == {"name": "c", "args": ["", "x"], "resources": {"limits": {"cpu": "0"}}}


def test_values_get_their_canonical_form() -> None:
    lease = made("coordination.k8s.io/v1", "Lease", spec={"renewTime": "2024-01-01T02:00:00.5+02:00"})
    assert cleaned(lease)[0]["spec"]["renewTime"] == "2024-01-01T00:00:00.500000Z"
    secret = made(
        "v1", "Secret", data={"a": "aGVs\nbG8="}, metadata={"creationTimestamp": "2024-01-01T01:00:00.9+01:00"}
    )
    done, _ = cleaned(secret)
    assert done["data"]["a"] == "aGVsbG8="
    assert done["metadata"]["creationTimestamp"] == "2024-01-01T00:00:00Z"
    quota = made("v1", "ResourceQuota", spec={"hard": {"cpu": 0.5, "memory": "2048Mi", "pods": 3}})
    assert cleaned(quota)[0]["spec"]["hard"] == {"cpu": "500m", "memory": "2Gi", "pods": "3"}


def test_zero_of_plain_fields_goes_and_zero_of_pointers_stays() -> None:
    spec = {"replicas": 0, "minReadySeconds": 0, "paused": False, "selector": {"matchLabels": {}}, "template": {}}
    done, _ = cleaned(made("apps/v1", "Deployment", spec=spec))
    assert done["spec"]["replicas"] == 0
    assert "minReadySeconds" not in done["spec"] and "paused" not in done["spec"]
    assert done["spec"]["selector"] == {}


def test_what_is_always_written_is_filled_in() -> None:
    assert cleaned(made("v1", "Service"))[0]["status"] == {"loadBalancer": {}}
    slice_, _ = cleaned(made("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[]))
    assert slice_["endpoints"] is None and slice_["ports"] is None
    assert cleaned(made("rbac.authorization.k8s.io/v1", "Role"))[0]["rules"] is None
    set_, _ = cleaned(made("apps/v1", "StatefulSet", spec={"selector": {}, "template": {}}))
    assert set_["spec"]["serviceName"] == ""
    claim = made("v1", "PersistentVolumeClaim", spec={"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}})
    assert cleaned(claim)[0]["spec"]["dataSource"]["apiGroup"] is None
    scaler = made("autoscaling/v2", "HorizontalPodAutoscaler", spec={}, status={})
    assert cleaned(scaler)[0]["status"] == {"currentMetrics": None, "desiredReplicas": 0}
    assert cleaned(made("networking.k8s.io/v1", "NetworkPolicy", spec={}))[0]["spec"] == {"podSelector": {}}
    pod = made("v1", "Pod", status={"conditions": [{"type": "Ready", "status": "True"}]})
    assert cleaned(pod)[0]["status"]["conditions"][0]["lastProbeTime"] is None


def test_empty_structs_that_are_pointers_stay() -> None:
    done, _ = cleaned(made("v1", "Pod", spec={"containers": [], "volumes": [{"name": "a", "emptyDir": {}}]}))
    assert done["spec"]["volumes"] == [{"name": "a", "emptyDir": {}}]


def test_presence_tables_name_real_fields() -> None:
    known = {presence.short(name): body.get("properties", {}) for name, body in definitions().items()}
    for table in (presence.POINTERS, presence.ALWAYS, presence.NULLS):
        for name, fields in table.items():
            assert fields <= set(known[name]), name


def test_compile_schema_of_somebody_else() -> None:
    resolve = {"t.Leaf": {"type": "object", "properties": {"n": {"type": "integer", "format": "int32"}}}}.__getitem__
    walk = schema.compile_schema(
        {"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": "t.Leaf"}}}}, resolve
    )
    obj = {"a": [{"n": 1, "m": 2}], "b": 1}
    unknown: list[str] = []
    walk(obj, unknown)
    assert obj == {"a": [{"n": 1}]}
    assert unknown == ["a[0].m", "b"]


def test_duplicates() -> None:
    raw = b'{"data":{"a":"1","b":"2","a":"3"},"data":{"x":"1"},"list":[{"k":1,"k":2}]}'
    assert duplicate_fields(raw) == ["data.a", "data", "list[0].k"]
    assert duplicate_fields(raw, msgspec.json.decode(raw)) == ["data.a", "data", "list[0].k"]


@given(
    st.recursive(
        st.none() | st.integers(-5, 5) | st.text(max_size=4),
        lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=3), c, max_size=3),
        max_leaves=12,
    )
)
def test_no_duplicates_in_what_was_encoded(value: Any) -> None:
    for raw in (msgspec.json.encode(value), json.dumps(value, indent=1).encode()):
        assert duplicate_fields(raw, msgspec.json.decode(raw)) == []


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "spec", "x", "items"]), inner, max_size=2)
    ),
    max_leaves=4,
)
_KINDS = sorted(REGISTRY, key=lambda kind: (kind.group, kind.version, kind.kind))


def _of_type(body: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    """Values that mostly have the type a schema asks for."""
    body = definitions()[body["$ref"]] if "$ref" in body else body
    if depth <= 0:
        return _JSON
    if "properties" in body:
        fields = {name: _of_type(sub, depth - 1) | _JSON for name, sub in body["properties"].items()}
        return (
            st.fixed_dictionaries({}, optional=fields)
            if len(fields) < 8
            else st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True).flatmap(
                lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
            )
        )
    kind = body.get("type")
    if kind == "array":
        return st.lists(_of_type(body.get("items", {}), depth - 1), max_size=2)
    if kind == "object" and "additionalProperties" in body:
        return st.dictionaries(st.text(max_size=4), _of_type(body["additionalProperties"], depth - 1), max_size=2)
    return {"string": st.text(max_size=6), "integer": st.integers(-9, 9), "boolean": st.booleans()}.get(
        kind or "", _JSON
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_body_is_cleaned_or_refused_and_cleaning_again_changes_nothing(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(_KINDS))
    assert kind.definition is not None
    obj = data.draw(_of_type(definitions()[kind.definition], 4))
    try:
        schema.clean(kind, obj)
    except StatusError as error:
        assert error.code == 400
        return
    once = copy.deepcopy(obj)
    assert schema.clean(kind, obj) == []
    assert obj == once


def test_a_field_without_a_name_is_unknown() -> None:
    assert cleaned(made("v1", "Service", spec={"": 1}))[1] == ["spec."]


def test_bottomless_bodies_are_refused() -> None:
    inner: dict[str, Any] = {"type": "object"}
    for _ in range(5000):
        inner = {"properties": {"a": inner}}
    spec = {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": inner}}]}
    obj = made("apiextensions.k8s.io/v1", "CustomResourceDefinition") | {"spec": spec}
    with pytest.raises(BadRequest, match="nested too deeply"):
        schema.clean(kind_of(obj), obj)
