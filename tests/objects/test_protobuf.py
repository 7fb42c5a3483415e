"""The wire codec by known bytes, by round trips over every message of the table, and by damaged input."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.objects import durations, protobuf, types
from switchboard.objects.errors import BadRequest
from switchboard.objects.wire import Codec

CORE = "k8s.io.api.core.v1."


def field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2, len(body)]) + body


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    meta = field(1, api_version.encode()) + field(2, kind.encode())
    return b"k8s\0" + field(1, meta) + field(2, raw) + field(3, b"") + field(4, b"")


def test_namespace_as_kubectl_sends_it() -> None:
    meta = (
        field(1, b"shop") + field(2, b"") + field(3, b"") + field(5, b"") + field(6, b"") + b"\x38\x00" + field(8, b"")
    )
    raw = field(1, meta) + field(2, b"") + field(3, field(1, b""))
    assert protobuf.decode_unknown(envelope("v1", "Namespace", raw)) == (
        "v1",
        "Namespace",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}, "spec": {}, "status": {}},
    )


def test_zero_of_a_pointer_is_kept_and_zero_of_a_value_is_not() -> None:
    table = types.table("protobuf")["k8s.io.api.apps.v1.DeploymentSpec"]
    number = {entry[0]: int(n) for n, entry in table.items()}
    data = bytes([number["replicas"] << 3, 0, number["minReadySeconds"] << 3, 0, number["paused"] << 3, 0])
    assert protobuf.decode("k8s.io.api.apps.v1.DeploymentSpec", data) == {"replicas": 0}


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (CORE + "Volume", {"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}),
        (CORE + "Probe", {"httpGet": {"path": "/", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5}),
        (CORE + "ServicePort", {"port": 80, "targetPort": 8080, "protocol": "TCP"}),
        (CORE + "ResourceRequirements", {"limits": {"cpu": "100m", "memory": "1Gi"}, "requests": {"cpu": "0"}}),
        (CORE + "Secret", {"data": {"a": "YWJj", "": ""}, "type": "Opaque"}),
        (CORE + "EphemeralContainer", {"name": "d", "image": "busybox", "stdin": True, "targetContainerName": "c"}),
        (CORE + "Event", {"eventTime": "2024-05-06T07:08:09.123456Z", "lastTimestamp": "1969-12-31T23:59:59Z"}),
        ("k8s.io.api.apps.v1.ControllerRevision", {"data": {"spec": {"a": [1, None, "x"]}}, "revision": 3}),
        ("k8s.io.api.autoscaling.v1.ScaleSpec", {"replicas": 3}),
        ("k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions", {"gracePeriodSeconds": 0, "dryRun": ["All"]}),
        ("k8s.io.api.authorization.v1.SubjectAccessReviewSpec", {"extra": {"scopes": ["a", "b"]}}),
        (
            "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
            {
                "$ref": "#/x",
                "items": {"type": "string"},
                "additionalProperties": False,
                "additionalItems": {"type": "integer"},
                "x-kubernetes-list-map-keys": ["a"],
                "x-kubernetes-preserve-unknown-fields": False,
                "default": 0,
                "enum": ["x", 1, None],
                "dependencies": {"a": ["b"], "c": {"type": "object"}},
            },
        ),
    ],
)
def test_round_trip(message: str, value: dict[str, Any]) -> None:
    codec = protobuf.codec()
    assert codec.decode(message, codec.encode(message, value)) == value


@pytest.mark.parametrize("nanoseconds", [0, 1, 1500, 2_000_000, 1_500_000_000, 3_605_000_000_000, -60_000_000_000])
def test_durations_survive(nanoseconds: int) -> None:
    text = durations.shown(nanoseconds)
    codec = protobuf.codec()
    message = "k8s.io.api.resource.v1.OpaqueDeviceConfiguration"
    assert codec.decode(message, codec.encode(message, {"driver": text})) == {
        "driver": text,
    }
    assert durations.nanoseconds(text) == nanoseconds


def test_go_prints_durations_like_this() -> None:
    shown = [durations.shown(n) for n in (0, 1, 1500, 100_000_000, 1_500_000_000, 3_605_000_000_000)]
    assert shown == ["0s", "1ns", "1.5µs", "100ms", "1.5s", "1h0m5s"]


def test_whole_object_round_trip() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": ""}, "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                }
            ],
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"tolerationSeconds": 0, "operator": "Exists"}],
        },
    }
    assert protobuf.decode_unknown(protobuf.encode_unknown(pod)) == ("v1", "Pod", pod)


def test_json_inside_the_envelope() -> None:
    obj = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    body = b"k8s\0" + field(2, json.dumps(obj).encode()) + field(4, b"application/json")
    assert protobuf.decode_unknown(body) == ("example.com/v1", "Widget", obj)


def test_delete_options_come_in_the_version_of_the_resource() -> None:
    assert protobuf.message_of("apps/v1", "DeleteOptions") == "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions"


def test_every_served_kind_has_a_message() -> None:
    from switchboard.objects.types import definitions

    missing = set()
    for definition in definitions().values():
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
            message = protobuf.message_of(version, gvk["kind"])
            if message is None:
                missing.add((version, gvk["kind"]))
            else:
                protobuf.codec().decode(message, b"")
    assert {kind for _, kind in missing} <= {"APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "WatchEvent"}


def test_every_reference_in_the_table_resolves() -> None:
    codec = protobuf.codec()
    for message in types.table("protobuf"):
        for entry in codec._plan(message).values():
            for part in entry.map or (entry,):
                assert not part.message or part.message in codec or part.message in codec._special, (
                    message,
                    entry.name,
                )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\0\xff",
        b"k8s\0\x0a\x7f",
        envelope("v1", "Pod", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        envelope("v1", "Pod", b"\x08\x01"),
        envelope("v1", "Pod", b"\x07"),
        envelope("v1", "Nothing", b""),
        envelope("v1", "Pod", b"\x00\x00"),
    ],
)
def test_damage_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        protobuf.decode_unknown(body)


def nested(depth: int) -> bytes:
    table = types.table("protobuf")["k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"]
    number = next(int(n) for n, entry in table.items() if entry[0] == "not")
    body, codec = b"", Codec({"M": {number: ["b", "bytes"]}}, raw_bytes=True)
    for _ in range(depth):
        body = codec.encode("M", {"b": body})
    return body


def test_depth_is_bounded() -> None:
    message = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    assert protobuf.decode(message, nested(50))
    with pytest.raises(BadRequest):
        protobuf.decode(message, nested(5000))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["Pod", "Service", "CustomResourceDefinition", "Event"]))
def test_noise_never_escapes(noise: bytes, kind: str) -> None:
    version = "apiextensions.k8s.io/v1" if kind.startswith("Custom") else "v1"
    try:
        protobuf.decode_unknown(envelope(version, kind, noise) if len(noise) < 120 else b"k8s\0" + noise)
    except BadRequest:
        pass


def test_bit_flips_never_escape() -> None:
    body = bytearray(protobuf.encode_unknown({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 1}]}}))
    rng = random.Random(1)
    for _ in range(500):
        damaged = bytearray(body)
        damaged[rng.randrange(4, len(body))] ^= 1 << rng.randrange(8)
        try:
            protobuf.decode_unknown(bytes(damaged))
        except BadRequest:
            pass


SERVICE = {
    "Config": {
        "1": ["id", "string"],
        "2": ["limits", "Limits"],
        "3": ["labels", "map<string, int64>"],
        "4": ["ports", "[]int32"],
        "5": ["payload", "bytes"],
        "6": ["state", "enum"],
        "7": ["ratio", "double"],
        "8": ["small", "float"],
        "9": ["delta", "sint64"],
        "10": ["fixed", "fixed64"],
        "11": ["signed", "sfixed32"],
        "12": ["children", "[]Config"],
    },
    "Limits": {"1": ["quota", "int64"], "2": ["strict", "bool"]},
}
VALUE = {
    "id": "x",
    "limits": {"quota": -5, "strict": True},
    "labels": {"a": 0, "b": -1},
    "ports": [1, -2, 300],
    "payload": b"\0\xff",
    "state": 2,
    "ratio": 0.25,
    "small": -1.5,
    "delta": -3,
    "fixed": 1 << 60,
    "signed": -7,
    "children": [{"id": "y"}, {}],
}


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_ones_own(packed: bool) -> None:
    codec = Codec(SERVICE, raw_bytes=True, packed=packed)
    assert codec.decode("Config", codec.encode("Config", VALUE)) == VALUE


def test_unknown_fields_are_skipped() -> None:
    newer = {"Limits": {**SERVICE["Limits"], "9": ["x", "string"], "10": ["y", "fixed32"], "11": ["z", "double"]}}
    data = Codec(newer).encode("Limits", {"quota": 1, "x": "new", "y": 5, "z": 1.0})
    group = b"\x7b\x08\x01\x7c"  # a field 15 as group
    assert Codec(SERVICE).decode("Limits", data + group) == {"quota": 1}


def test_a_value_of_the_wrong_type_is_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        Codec(SERVICE).encode("Config", {"limits": "text"})
