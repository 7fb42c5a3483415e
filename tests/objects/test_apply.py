"""Ownership of fields: the scenarios of server-side apply as a real server answers them, and the algebra under them."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.objects import managed, schema
from switchboard.objects.apply import LAST_APPLIED, apply, track_update, type_of
from switchboard.objects.errors import BadRequest, Conflict, StatusError
from switchboard.objects.fieldchanges import added, changes, field_set
from switchboard.objects.fieldset import FieldSet, covers, difference, intersection, paths, union
from switchboard.objects.kinds import Kind, Registry

REGISTRY = Registry()
KINDS = {
    "Pod": "v1",
    "ConfigMap": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
}
Object = dict[str, Any]


class Server:
    """One stored object, written the way the API writes it; every write is a second later."""

    def __init__(self, kind: str) -> None:
        found = REGISTRY.of(KINDS[kind], kind)
        assert found is not None
        self.kind, self.seconds = found, 0
        self.object: Object | None = None

    def _now(self) -> str:
        self.seconds += 1
        return f"2024-01-01T00:00:{self.seconds:02}Z"

    def body(self, **fields: Any) -> Object:
        metadata = {"name": "c"} | fields.pop("metadata", {})
        return {"apiVersion": self.kind.api_version, "kind": self.kind.kind, "metadata": metadata} | fields

    def apply(self, manager: str, *, force: bool = False, subresource: str = "", **fields: Any) -> Object:
        self.object = apply(
            self.object,
            self.body(**fields),
            manager=manager,
            force=force,
            kind=self.kind,
            api_version=self.kind.api_version,
            subresource=subresource,
            now=self._now(),
        )
        self.object["metadata"].setdefault("uid", "u")
        return self.object

    def write(self, manager: str, *, subresource: str = "", **fields: Any) -> Object:
        new, old = self.body(**fields), self.object
        new["metadata"]["uid"] = "u"
        track_update(
            new,
            old,
            manager=manager,
            api_version=self.kind.api_version,
            subresource=subresource,
            now=self._now(),
            kind=self.kind,
        )
        self.object = new
        return new

    @property
    def owners(self) -> dict[str, FieldSet]:
        assert self.object is not None
        return {e["manager"]: e["fieldsV1"] for e in self.object["metadata"].get("managedFields", [])}


@pytest.fixture
def config_map() -> Server:
    return Server("ConfigMap")


def data(*keys: str, own: bool = False) -> FieldSet:
    return {"f:data": ({".": {}} if own else {}) | {f"f:{key}": {} for key in keys}}


def test_what_a_manager_stops_applying_is_removed(config_map: Server) -> None:
    made = config_map.apply("m1", metadata={"labels": {"l": "1"}}, data={"a": "1", "b": "2"})
    assert made["data"] == {"a": "1", "b": "2"}
    assert config_map.owners == {"m1": data("a", "b") | {"f:metadata": {"f:labels": {"f:l": {}}}}}
    made = config_map.apply("m1", data={"b": "2"})
    assert made["data"] == {"b": "2"}
    assert not made["metadata"].get("labels")
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "m1",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": "2024-01-01T00:00:02Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": data("b"),
        }
    ]
    made = config_map.apply("m1")
    assert "data" not in made
    assert "managedFields" not in made["metadata"]


def test_conflict_and_sharing(config_map: Server) -> None:
    config_map.apply("m1", data={"a": "1", "b": "1"})
    with pytest.raises(Conflict) as caught:
        config_map.apply("m2", data={"a": "2"})
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "m1": .data.a'
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".data.a"}
    assert caught.value.details == {"causes": [cause]}
    with pytest.raises(Conflict) as caught:
        config_map.apply("m2", data={"a": "2", "b": "2"})
    assert caught.value.message == 'Apply failed with 2 conflicts: conflicts with "m1":\n- .data.a\n- .data.b'
    config_map.apply("m2", data={"a": "1"})
    assert config_map.owners == {"m1": data("a", "b"), "m2": data("a")}
    assert config_map.object is not None
    shared, first = config_map.object["metadata"]["managedFields"]
    assert (shared["manager"], "time" in shared) == (
        "m2",
        False,
    )  # it changed nothing, so it has no time and comes first
    assert first["time"] == "2024-01-01T00:00:01Z"


def test_force_takes_over(config_map: Server) -> None:
    config_map.apply("m1", data={"a": "1", "b": "1"})
    assert config_map.apply("m2", force=True, data={"a": "2"})["data"] == {"a": "2", "b": "1"}
    assert config_map.owners == {"m1": data("b"), "m2": data("a")}
    assert config_map.apply("m1", data={"b": "1"})["data"] == {"a": "2", "b": "1"}
    with pytest.raises(Conflict):
        config_map.apply("m1", data={"a": "3"})


def test_a_shared_field_lives_until_its_last_owner_lets_go(config_map: Server) -> None:
    config_map.apply("m1", data={"a": "1"})
    config_map.apply("m2", data={"a": "1", "b": "2"})
    assert config_map.apply("m1", data={})["data"] == {"a": "1", "b": "2"}
    assert config_map.owners == {"m1": {"f:data": {}}, "m2": data("a", "b")}
    assert config_map.apply("m2", data={"b": "2"})["data"] == {"b": "2"}


def test_apply_after_plain_writes(config_map: Server) -> None:
    config_map.write("creator", data={"a": "1", "b": "2"})
    assert config_map.owners == {"creator": data("a", "b", own=True)}
    with pytest.raises(Conflict) as caught:
        config_map.apply("m1", data={"a": "9"})
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "creator" using v1: .data.a'
    config_map.apply("m1", data={"a": "1"})
    config_map.apply("m1", force=True, data={"a": "9"})
    assert config_map.owners == {"m1": data("a"), "creator": data("b", own=True)}
    config_map.write("patcher", data={"a": "5", "b": "2"})
    assert config_map.owners == {"creator": data("b", own=True), "patcher": data("a")}
    with pytest.raises(Conflict):
        config_map.apply("m1", data={"a": "9"})


def test_what_plain_writes_record(config_map: Server) -> None:
    config_map.write("first", data={"a": "1"})
    config_map.write("up", data={"a": "2", "b": "1"})
    assert config_map.owners == {"first": {"f:data": {}}, "up": data("a", "b")}
    config_map.write("pa", data={"a": "2", "c": "3"}, metadata={"labels": {"x": "y"}})
    labels = {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}
    assert config_map.owners == {"first": {"f:data": {}}, "pa": data("c") | labels, "up": data("a")}
    config_map.write("up", data={"c": "3"})
    assert config_map.owners == {"first": {"f:data": {}}, "pa": data("c")}


def test_a_write_that_changes_nothing_changes_no_time(config_map: Server) -> None:
    config_map.write("first", data={"a": "1"})
    before = copy.deepcopy(config_map.object)
    config_map.write("second", data={"a": "1"})
    assert config_map.object == before


def test_forgetting(config_map: Server) -> None:
    config_map.write("first", data={"a": "1"})
    first = copy.deepcopy(config_map.object)
    for sent in ([], [{}]):
        config_map.object = copy.deepcopy(first)
        config_map.write("x", data={"a": "1"}, metadata={"managedFields": sent})
        assert config_map.owners == {}
    config_map.write("x", data={"a": "2"})
    assert config_map.owners == {}  # an object without owners is not tracked until somebody applies
    config_map.apply("m1", data={"a": "2"})
    assert config_map.owners == {"before-first-apply": data("a", own=True), "m1": data("a")}


def test_a_client_may_hand_over_fields(config_map: Server) -> None:
    config_map.write("first", data={"a": "1"})
    entry = {
        "manager": "heir",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": data("a"),
    }
    config_map.write("x", data={"a": "1"}, metadata={"managedFields": [entry]})
    assert config_map.owners == {"heir": data("a")}
    config_map.write("x", data={"a": "1"}, metadata={"managedFields": [entry | {"fieldsV1": {"bad": 1}}]})
    assert config_map.owners == {"heir": data("a")}


def test_at_most_ten_updaters(config_map: Server) -> None:
    values: dict[str, str] = {}
    for n in range(12):
        values[f"k{n}"] = "v"
        config_map.write(f"w{n:02}", data=dict(values))
    assert len(config_map.owners) == 10
    assert config_map.owners["ancient-changes"] == data("k0", "k1", "k2", own=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bogus": 1}, ".bogus: field not declared in schema"),
        ({"data": {"a": 1}}, ".data.a: expected string, got &value.valueUnstructured{Value:1}"),
        ({"immutable": "x"}, ".immutable: expected boolean, got &{x}"),
    ],
)
def test_a_configuration_that_is_not_of_its_type(config_map: Server, fields: Object, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        config_map.apply("m1", **fields)
    prefix = "failed to create typed patch object (/c; /v1, Kind=ConfigMap): "
    assert (caught.value.code, caught.value.reason, caught.value.message) == (500, "", prefix + message)


def test_bad_configurations(config_map: Server) -> None:
    with pytest.raises(BadRequest):
        config_map.apply("m1", metadata={"managedFields": [{}]})
    with pytest.raises(BadRequest, match=r"invalid object type: /v1, Kind=Secret"):
        config_map.apply("m1", kind="Secret")
    with pytest.raises(BadRequest, match=r"invalid object type: /, Kind=$"):
        config_map.apply("m1", kind=None, apiVersion=None)
    service = Server("Service")
    with pytest.raises(StatusError, match=r'.spec.ports: duplicate entries for key \[port=80,protocol="TCP"\]'):
        service.apply("m1", spec={"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]})
    # A key that is not there is Go's zero value; that no port is 0 is for validation to say.
    service.apply("m1", spec={"ports": [{"name": "x"}]})
    assert service.owners == {"m1": {"f:spec": {"f:ports": key(0, "name")}}}


def key(port: int, *fields: str) -> FieldSet:
    return {f'k:{{"port":{port},"protocol":"TCP"}}': {".": {}} | {f"f:{name}": {} for name in fields}}


def test_ports_of_a_service() -> None:
    service = Server("Service")
    service.apply("m1", spec={"selector": {"x": "y"}, "ports": [{"name": "a", "port": 80}]})
    assert service.owners == {"m1": {"f:spec": {"f:ports": key(80, "name", "port"), "f:selector": {}}}}
    assert service.object is not None
    service.object["spec"]["ports"][0] |= {"protocol": "TCP", "targetPort": 80}  # as the server defaults them
    ports = [{"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81}]
    made = service.apply("m1", spec={"selector": {"x": "y"}, "ports": ports})
    assert made["spec"]["ports"][0] == {"name": "a", "protocol": "TCP", "port": 80, "targetPort": 8080}
    made = service.apply("m1", spec={"selector": {"x": "y"}, "ports": [{"name": "b", "port": 81}]})
    assert made["spec"]["ports"] == [{"name": "b", "port": 81}]


def test_two_managers_of_ports() -> None:
    service = Server("Service")
    service.apply("m1", spec={"ports": [{"name": "a", "port": 80, "protocol": "TCP"}]})
    service.apply("m2", spec={"ports": [{"name": "b", "port": 81, "protocol": "TCP"}]})
    assert service.owners == {
        "m1": {"f:spec": {"f:ports": key(80, "name", "port", "protocol")}},
        "m2": {"f:spec": {"f:ports": key(81, "name", "port", "protocol")}},
    }
    with pytest.raises(Conflict) as caught:
        service.apply("m1", spec={"ports": [{"name": "zz", "port": 81, "protocol": "TCP"}]})
    field = '.spec.ports[port=81,protocol="TCP"].name'
    assert caught.value.message == f'Apply failed with 1 conflict: conflict with "m2": {field}'
    made = service.apply("m1", spec={"ports": []})
    assert [p["name"] for p in made["spec"]["ports"]] == ["b"]
    assert list(service.owners) == ["m2"]


def test_creation_records_what_the_empty_object_has_not() -> None:
    service = Server("Service")
    service.write("c", spec={"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
    ports = {".": {}} | key(80, "port", "protocol", "targetPort")
    assert service.owners == {"c": {"f:spec": {"f:ports": ports, "f:type": {}}}}
    deployment = Server("Deployment")
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    deployment.write("c", spec={"selector": {"matchLabels": {"app": "a"}}, "template": template, "strategy": strategy})
    assert deployment.owners["c"]["f:spec"] == {
        "f:selector": {},
        "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
        "f:template": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}},
        },
    }


def test_status_has_its_own_entry_and_spec_is_not_owned_there() -> None:
    service = Server("Service")
    service.write("c", spec={"type": "LoadBalancer"}, status={"loadBalancer": {}})
    assert "f:status" not in service.owners["c"]
    ingress = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    service.apply("st", subresource="status", spec={"type": "ClusterIP"}, status=ingress)
    assert service.object is not None
    entry = service.object["metadata"]["managedFields"][0]
    assert entry["fieldsV1"] == {"f:status": {"f:loadBalancer": {"f:ingress": {}}}}
    assert (entry["operation"], entry["subresource"]) == ("Apply", "status")
    service.apply("st", subresource="status", status={})
    assert service.owners["st"] == {"f:status": {}}


def test_atomic_lists_are_owned_whole() -> None:
    slices = Server("EndpointSlice")
    slices.apply("m1", addressType="IPv4", endpoints=[{"addresses": ["192.0.2.1"]}], ports=[{"port": 80}])
    assert slices.owners == {"m1": {"f:addressType": {}, "f:endpoints": {}, "f:ports": {}}}
    with pytest.raises(Conflict, match=r"\.endpoints$"):
        slices.apply("m2", addressType="IPv4", endpoints=[{"addresses": ["192.0.2.2"]}])
    made = slices.apply("m2", force=True, addressType="IPv4", endpoints=[{"addresses": ["192.0.2.2"]}])
    assert made["endpoints"] == [{"addresses": ["192.0.2.2"]}]
    assert slices.owners == {"m1": {"f:addressType": {}, "f:ports": {}}, "m2": {"f:addressType": {}, "f:endpoints": {}}}


def test_scale_writes_are_told_apart() -> None:
    deployment = Server("Deployment")
    spec = {"replicas": 1, "selector": {}, "template": {}}
    deployment.apply("m1", spec=spec)
    deployment.write("scaler", subresource="scale", spec=spec | {"replicas": 3})
    assert deployment.owners["scaler"] == {"f:spec": {"f:replicas": {}}}
    with pytest.raises(Conflict) as caught:
        deployment.apply("m1", spec=spec)
    who = 'conflict with "scaler" with subresource "scale" using apps/v1'
    assert caught.value.message == f"Apply failed with 1 conflict: {who}: .spec.replicas"


def test_a_resize_owns_what_it_may_write() -> None:
    pod = Server("Pod")
    pod.write("c", spec={"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]})
    more, label = {"requests": {"cpu": "2"}}, {"labels": {"x": "y"}}
    policy = [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]
    pod.apply(
        "sizer",
        subresource="resize",
        metadata=label,
        spec={"nodeName": "n", "containers": [{"name": "a", "image": "j", "resources": more, "resizePolicy": policy}]},
        status={"phase": "Running"},
    )
    owned = pod.owners["sizer"]
    assert owned.keys() == {"f:spec"} and owned["f:spec"].keys() == {"f:containers"}
    ((key, below),) = owned["f:spec"]["f:containers"].items()
    assert key == 'k:{"name":"a"}'
    assert below.keys() == {".", "f:resources", "f:resizePolicy"}
    assert below["f:resources"] == {"f:requests": {"f:cpu": {}}}
    pod.write("kubelet", subresource="resize", spec={"nodeName": "n", "containers": [{"name": "a", "resources": {}}]})
    assert "kubelet" not in pod.owners and "f:resources" not in str(pod.owners["sizer"])


def test_ephemeral_containers_are_all_that_is_owned_there() -> None:
    pod = Server("Pod")
    pod.write("c", spec={"containers": [{"name": "a", "image": "i"}]})
    debug = [{"name": "d", "image": "busybox"}]
    spec = {"containers": [{"name": "a", "image": "j"}], "ephemeralContainers": debug}
    pod.apply("debugger", subresource="ephemeralcontainers", metadata={"annotations": {"x": "y"}}, spec=spec)
    below = {'k:{"name":"d"}': {".": {}, "f:name": {}, "f:image": {}}}
    assert pod.owners["debugger"] == {"f:spec": {"f:ephemeralContainers": below}}
    assert "f:image" in str(pod.owners["c"])  # nobody has taken it, whatever was sent


def test_null_lets_go_of_a_scalar_and_of_nothing_else(config_map: Server) -> None:
    config_map.write("c", immutable=False, data={"a": "b"})
    with pytest.raises(Conflict, match=r"conflict with \"c\" using v1: .immutable$"):
        config_map.apply("m1", immutable=None, data=None)
    made = config_map.apply("m1", force=True, immutable=None, data=None)
    assert (made["immutable"], made["data"]) == (None, {"a": "b"})
    assert config_map.owners["m1"] == {"f:immutable": {}, "f:data": {}}


def test_kubectl_takes_over_from_client_side_apply(config_map: Server) -> None:
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    note = {LAST_APPLIED: msgspec.json.encode(applied).decode()}
    config_map.write("kubectl-client-side-apply", metadata={"annotations": note}, data={"a": "1", "b": "1"})
    with pytest.raises(Conflict):
        config_map.apply("other", data={"a": "2"})
    with pytest.raises(Conflict, match=r"\.data\.b$"):
        config_map.apply("kubectl", data={"a": "2", "b": "2"})
    made = config_map.apply("kubectl", data={"a": "2"})
    assert made["data"] == {"a": "2", "b": "1"}
    renewed = msgspec.json.decode(made["metadata"]["annotations"][LAST_APPLIED])
    assert renewed == config_map.body(data={"a": "2"})


WIDGETS = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "port": {"x-kubernetes-int-or-string": True},
            },
        }
    },
}


def widget(**spec: Any) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


@pytest.fixture
def custom() -> Kind:
    return Kind("example.com", "v1", "Widget", "widgets", "widget", True, (), schema=WIDGETS)


def test_custom_kinds(custom: Kind) -> None:
    how: Any = {"api_version": "example.com/v1", "kind": custom, "now": "2024-01-01T00:00:00Z"}
    parts = [{"id": "p", "n": 1}]
    live = apply(None, widget(size=1, tags=["x"], parts=parts, free={"a": {"b": [1]}}), manager="m1", **how)
    assert live["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:spec": {
            "f:size": {},
            "f:tags": {'v:"x"': {}},
            "f:parts": {'k:{"id":"p"}': {".": {}, "f:id": {}, "f:n": {}}},
            "f:free": {"f:a": {".": {}, "f:b": {}}},
        }
    }
    live = apply(live, widget(tags=["y"], port="http"), manager="m2", **how)
    assert live["spec"]["tags"] == ["x", "y"]
    live = apply(live, widget(size=1, parts=[]), manager="m1", **how)
    assert live["spec"] == {"size": 1, "tags": ["y"], "port": "http"}
    with pytest.raises(StatusError, match=r"\.spec\.nope: field not declared in schema"):
        apply(live, widget(nope=1), manager="m1", **how)
    made = widget(size=1)
    track_update(made, None, manager="c", api_version="example.com/v1", now="t", kind=custom)
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {"f:spec": {".": {}, "f:size": {}}}


def test_without_a_schema_types_are_deduced() -> None:
    kind = Kind("example.com", "v1", "Widget", "widgets", "widget", True, ())
    how: Any = {"api_version": "example.com/v1", "kind": kind}
    live = apply(None, widget(a={"b": 1}, l=[{"x": 1}]), manager="m1", **how)
    live = apply(live, widget(a={"c": 2}), manager="m2", **how)
    assert live["spec"] == {"a": {"b": 1, "c": 2}, "l": [{"x": 1}]}
    with pytest.raises(Conflict, match=r"\.spec\.l$"):
        apply(live, widget(l=[]), manager="m2", **how)


def test_list_order_follows_the_configuration_and_keeps_strangers_in_place() -> None:
    service = Server("Service")
    service.write(
        "c", spec={"ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in (("a", 1), ("b", 2), ("c", 3))]}
    )
    made = service.apply(
        "m", spec={"ports": [{"name": "c", "port": 3}, {"name": "a", "port": 1}, {"name": "n", "port": 9}]}
    )
    assert [p["name"] for p in made["spec"]["ports"]] == ["b", "c", "a", "n"]


# --- the algebra --------------------------------------------------------------------------------------------------

elements = st.sampled_from(["f:a", "f:b", 'k:{"x":1}', 'v:"s"'])
field_sets = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(elements, inner, max_size=3).flatmap(
        lambda below: st.booleans().map(lambda own: ({".": {}} | below) if own and below else below)
    ),
    max_leaves=6,
).map(lambda node: {k: v for k, v in node.items() if k != "."})


@given(field_sets, field_sets)
def test_sets_behave_as_sets_of_paths(left: FieldSet, right: FieldSet) -> None:
    ours, theirs = set(paths(left)), set(paths(right))
    assert set(paths(union(left, right))) == ours | theirs
    assert set(paths(difference(left, right))) == ours - theirs
    assert set(paths(intersection(left, right))) == ours & theirs
    if covers(left, right):
        assert theirs <= ours
    assert covers(union(left, right), left) and covers(union(left, right), right)


def test_fields_stand_in_order_whoever_wrote_them_and_whatever_was_taken() -> None:
    def in_order(fields: FieldSet) -> bool:
        return list(fields) == sorted(fields) and all(map(in_order, fields.values()))

    server = Server("ConfigMap")
    server.write("one", data={"z": "1", "b": "1", "a": "1"}, metadata={"labels": {"y": "1", "x": "1"}})
    server.write("one", data={"z": "1", "c": "1", "b": "2", "a": "1"}, metadata={"labels": {"y": "1", "x": "1"}})
    server.write("two", data={"z": "2", "c": "1", "b": "2", "a": "2"}, metadata={"labels": {"y": "1", "x": "1"}})
    server.write("two", data={"z": "3", "c": "1", "b": "2", "a": "3"}, metadata={"labels": {"y": "1", "x": "1"}})
    server.apply("three", data={"q": "1", "d": "1"})
    assert server.owners.keys() == {"one", "two", "three"}
    assert all(map(in_order, server.owners.values()))


specs = st.fixed_dictionaries(
    {"type": st.sampled_from(["ClusterIP", "NodePort"])},
    optional={
        "selector": st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")),
        "externalIPs": st.lists(st.sampled_from(["1.1.1.1", "2.2.2.2"])),
        "ports": st.lists(
            st.fixed_dictionaries({"port": st.integers(1, 4)}, optional={"name": st.sampled_from("pq")}),
            min_size=1,
            unique_by=lambda port: port["port"],
        ),
    },
)


@settings(max_examples=150)
@given(specs, specs)
def test_what_changes_is_what_differs(old: Object, new: Object) -> None:
    type_ = type_of({"apiVersion": "v1", "kind": "Service"}).field("spec").type
    touched, removed = changes(type_, old, new)
    before, after = set(paths(added(type_, old))), set(paths(added(type_, new)))
    if old == new:
        assert (touched, removed) == (None, None)
    assert set(paths(removed or {})) >= before - after - set(paths(touched or {}))
    assert set(paths(touched or {})) >= after - before - {""}


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(["m1", "m2"]), specs), min_size=1, max_size=5))
def test_forced_applies(steps: list[tuple[str, Object]]) -> None:
    service = Server("Service")
    for manager, spec in steps:
        before = copy.deepcopy(service.object)
        made = copy.deepcopy(service.apply(manager, force=True, spec=copy.deepcopy(spec)))
        if before is not None:  # what was applied is there
            for name, value in spec.items():
                if name not in ("ports",):
                    assert made["spec"].get(name, type(value)()) == value
        service.seconds += 1
        again = service.apply(manager, force=True, spec=copy.deepcopy(spec))
        assert again == made  # applying twice is applying once
        mine = field_set(type_of(service.body()), service.body(spec=spec)).get("f:spec")
        assert (service.owners.get(manager) or {}).get("f:spec", None if mine is None else {}) == mine


def test_entries_that_are_none_are_not_trusted() -> None:
    assert managed.decode([{"manager": "m", "operation": "Sing"}]) is None
    assert managed.decode([5]) is None
    assert managed.decode("x") == []


def test_an_applied_configuration_is_left_as_it_is(config_map: Server) -> None:
    sent = config_map.body(data={"a": None, "b": "c"}, metadata={"labels": {"x": "y"}})
    before = copy.deepcopy(sent)
    made = apply(None, sent, manager="m", kind=config_map.kind, api_version="v1", now="2024-01-01T00:00:00Z")
    schema.clean(config_map.kind, made)
    assert sent == before


WHOLE: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}


def divided(**more: Any) -> Kind:
    """A kind with a list and a map of which it depends whether they are one field or many."""
    items = {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string"}}}
    listed = {"type": "array", "items": items}
    if not more:
        listed |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    spec = {"l": listed, "m": {"type": "object", "additionalProperties": {"type": "string"}} | more}
    schema_ = {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}
    return Kind("example.com", "v1", "Widget", "widgets", "widget", True, (), schema=schema_)


def test_who_owns_parts_of_what_becomes_atomic_owns_the_whole() -> None:
    how: Any = {"api_version": "example.com/v1", "now": "2024-01-01T00:00:00Z"}
    head = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    sent = head | {"spec": {"l": [{"k": "a", "v": "1"}], "m": {"a": "1"}}}
    made = apply(None, sent, manager="m1", kind=divided(), **how)
    with pytest.raises(Conflict) as caught:
        apply(made, head | {"spec": {"l": [], "m": {"b": "1"}}}, manager="m2", kind=divided(**WHOLE), **how)
    assert [cause["field"] for cause in caught.value.details["causes"]] == [".spec.l", ".spec.m"]
    made["metadata"]["uid"] = "u"
    changed = copy.deepcopy(made) | {"spec": {"l": [{"k": "a", "v": "2"}], "m": {"a": "1"}}}
    track_update(changed, made, manager="u", kind=divided(**WHOLE), **how)
    owners = {e["manager"]: e["fieldsV1"] for e in changed["metadata"]["managedFields"]}
    assert owners == {"m1": {"f:spec": {"f:m": {}}}, "u": {"f:spec": {"f:l": {}}}}


def test_owners_in_versions_that_are_gone_are_forgotten(config_map: Server) -> None:
    config_map.write("u", data={"a": "1", "b": "1"})
    assert config_map.object is not None
    (entry,) = config_map.object["metadata"]["managedFields"]
    config_map.object["metadata"]["managedFields"] = [entry | {"apiVersion": "v0beta1"}]
    config_map.apply("m", data={"a": "2"})
    assert config_map.owners == {"m": data("a")}
