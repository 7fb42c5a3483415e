"""Rows as a real server prints them: words, counts, ages, and columns that fit every kind."""

from datetime import UTC, datetime
from typing import Any

import pytest

from switchboard.objects.kinds import Kind, Registry
from switchboard.objects.tables import columns, row_cells, table
from switchboard.objects.tables.human import duration, selector
from switchboard.objects.tables.jsonpath import JsonPathError, parse
from switchboard.objects.types import table as data_table

NOW = datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC).timestamp()
REGISTRY = Registry()


def kind(key: str) -> Kind:
    *front, plural = key.split("/")
    group, version = (front[0], front[1]) if len(front) == 2 else ("", "v1")
    found = REGISTRY.resource(group, version, plural)
    assert found is not None, key
    return found


def cells(key: str, obj: dict[str, Any]) -> dict[str, Any]:
    obj = {"metadata": {"name": "x", "creationTimestamp": "2024-01-01T11:59:55Z"} | obj.pop("metadata", {}), **obj}
    row = row_cells(kind(key), obj, NOW)
    names = [c["name"] for c in columns(kind(key))]
    assert len(row) == len(names)
    return dict(zip(names, row, strict=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3600 * 3 - 1, "179m"),
        (3600 * 3, "3h"),
        (3600 * 7 + 60 * 5, "7h5m"),
        (3600 * 47, "47h"),
        (3600 * 48, "2d"),
        (3600 * 53, "2d5h"),
        (86400 * 8, "8d"),
        (86400 * 729, "729d"),
        (86400 * 730, "2y"),
        (86400 * 740, "2y10d"),
        (86400 * 365 * 9, "9y"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_every_listable_kind_has_cells_for_its_columns_even_when_empty() -> None:
    for key in data_table("columns"):
        row = cells(key, {})
        assert row["Name"] == "x" or key.startswith("storage.k8s.io/v1/storageclasses")


def test_rows_are_of_the_columns_types() -> None:
    for key in data_table("columns"):
        row = row_cells(kind(key), {"metadata": {"name": "x"}}, NOW)
        for column, value in zip(columns(kind(key)), row, strict=True):
            if column["type"] == "integer":
                assert isinstance(value, int), (key, column["name"])
            if column["type"] == "boolean" and key != "batch/v1/cronjobs":
                assert isinstance(value, bool), (key, column["name"])


SERVICES = [
    (
        {"type": "ClusterIP", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80, "protocol": "TCP"}]},
        "<none>",
        "80/TCP",
    ),
    ({"type": "ClusterIP", "clusterIPs": ["None"], "externalIPs": ["1.2.3.4", "5.6.7.8"]}, "1.2.3.4,5.6.7.8", "<none>"),
    (
        {
            "type": "NodePort",
            "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 53, "nodePort": 30061, "protocol": "UDP"}],
        },
        "<none>",
        "53:30061/UDP",
    ),
    ({"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"]}, "<pending>", "<none>"),
    ({"type": "ExternalName", "externalName": "e.f"}, "e.f", "<none>"),
]


@pytest.mark.parametrize(("spec", "external", "ports"), SERVICES)
def test_services(spec: dict[str, Any], external: str, ports: str) -> None:
    row = cells("services", {"spec": spec})
    assert (row["Type"], row["External-IP"], row["Port(s)"], row["Age"]) == (spec["type"], external, ports, "5s")
    assert row["Cluster-IP"] == spec.get("clusterIPs", ["<none>"])[0]


def test_load_balancer_addresses_are_sorted_and_external_ips_follow() -> None:
    service = {
        "spec": {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"], "selector": {"b": "2", "a": "1"}},
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "192.168.49.128"}]}},
    }
    row = cells("services", service)
    assert row["External-IP"] == "192.168.49.128,lb.example,9.9.9.9"
    assert row["Selector"] == "a=1,b=2"


def status(reason: str = "", *, waiting: str = "", exit_code: int | None = None, **more: Any) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}}
    if waiting:
        state = {"waiting": {"reason": waiting}}
    elif exit_code is not None:
        state = {"terminated": {"exitCode": exit_code, "reason": reason, "signal": more.pop("signal", 0)}}
    return {"name": "c", "state": state, "ready": "running" in state, "restartCount": 0} | more


RUNNING = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}],
}
PODS: list[tuple[str, dict[str, Any], dict[str, Any], str, str, str]] = [
    ("pending", {}, {"phase": "Pending"}, "0/1", "Pending", "0"),
    ("running", {}, RUNNING | {"containerStatuses": [status()]}, "1/1", "Running", "0"),
    (
        "creating",
        {},
        {"phase": "Pending", "containerStatuses": [status(waiting="ContainerCreating")]},
        "0/1",
        "ContainerCreating",
        "0",
    ),
    (
        "crashing",
        {},
        RUNNING
        | {
            "containerStatuses": [
                status(
                    waiting="CrashLoopBackOff",
                    restartCount=3,
                    lastState={"terminated": {"finishedAt": "2024-01-01T11:59:50Z"}},
                )
            ]
        },
        "0/1",
        "CrashLoopBackOff",
        "3 (10s ago)",
    ),
    (
        "completed",
        {},
        {"phase": "Succeeded", "containerStatuses": [status("Completed", exit_code=0)]},
        "0/1",
        "Completed",
        "0",
    ),
    ("exit", {}, {"phase": "Failed", "containerStatuses": [status(exit_code=7)]}, "0/1", "ExitCode:7", "0"),
    ("signal", {}, {"phase": "Failed", "containerStatuses": [status(exit_code=137, signal=9)]}, "0/1", "Signal:9", "0"),
    ("evicted", {}, {"phase": "Failed", "reason": "Evicted"}, "0/1", "Evicted", "0"),
    (
        "init",
        {"initContainers": [{"name": "i"}, {"name": "j"}]},
        {
            "phase": "Pending",
            "initContainerStatuses": [status(exit_code=0, name="i"), status(name="j", waiting="PodInitializing")],
        },
        "0/1",
        "Init:1/2",
        "0",
    ),
    (
        "init error",
        {"initContainers": [{"name": "i"}]},
        {"phase": "Pending", "initContainerStatuses": [status("Error", exit_code=1, name="i", restartCount=2)]},
        "0/1",
        "Init:Error",
        "2",
    ),
    (
        "init back-off",
        {"initContainers": [{"name": "i"}]},
        {"phase": "Pending", "initContainerStatuses": [status(waiting="CrashLoopBackOff", name="i")]},
        "0/1",
        "Init:CrashLoopBackOff",
        "0",
    ),
    (
        "sidecar",
        {"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
        RUNNING | {"initContainerStatuses": [status(name="s", started=True)], "containerStatuses": [status()]},
        "2/2",
        "Running",
        "0",
    ),
    (
        "one completed, one running",
        {"containers": [{"name": "a"}, {"name": "b"}]},
        RUNNING | {"containerStatuses": [status("Completed", exit_code=0), status()]},
        "1/2",
        "Running",
        "0",
    ),
    (
        "gated",
        {},
        {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
        "0/1",
        "SchedulingGated",
        "0",
    ),
]


@pytest.mark.parametrize(
    ("spec", "state", "ready", "word", "restarts"), [p[1:] for p in PODS], ids=[p[0] for p in PODS]
)
def test_pods(spec: dict[str, Any], state: dict[str, Any], ready: str, word: str, restarts: str) -> None:
    row = cells("pods", {"spec": {"containers": [{"name": "c"}]} | spec, "status": state})
    assert (row["Ready"], row["Status"], row["Restarts"]) == (ready, word, restarts)


def test_a_deleted_pod_is_terminating_until_it_has_ended() -> None:
    meta = {"deletionTimestamp": "2024-01-01T12:00:00Z"}
    assert cells("pods", {"metadata": dict(meta), "status": RUNNING})["Status"] == "Terminating"
    assert cells("pods", {"metadata": dict(meta), "status": {"phase": "Succeeded"}})["Status"] == "Succeeded"


def test_wide_cells_of_pods() -> None:
    pod = {
        "spec": {"nodeName": "n", "readinessGates": [{"conditionType": "a/b"}, {"conditionType": "c/d"}]},
        "status": {"podIPs": [{"ip": "10.244.0.5"}], "conditions": [{"type": "a/b", "status": "True"}]},
    }
    row = cells("pods", pod)
    assert [row["IP"], row["Node"], row["Nominated Node"], row["Readiness Gates"]] == [
        "10.244.0.5",
        "n",
        "<none>",
        "1/2",
    ]


def test_endpoints() -> None:
    addresses = [{"ip": f"10.0.0.{i}"} for i in range(1, 6)]
    shown = cells("endpoints", {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]})["Endpoints"]
    assert shown == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert cells("endpoints", {})["Endpoints"] == "<none>"
    assert cells("endpoints", {"subsets": [{"addresses": [{"ip": "fd00::1"}]}]})["Endpoints"] == "fd00::1"


def test_endpoint_slices() -> None:
    row = cells(
        "discovery.k8s.io/v1/endpointslices",
        {"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}] * 4},
    )
    assert (row["Ports"], row["Endpoints"]) == ("80", "10.0.0.1,10.0.0.1,10.0.0.1 + 1 more...")
    assert cells("discovery.k8s.io/v1/endpointslices", {})["Ports"] == "<unset>"


def test_nodes() -> None:
    node = {
        "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.168.49.2"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0"},
        },
    }
    row = cells("nodes", node)
    assert (row["Status"], row["Roles"]) == ("Ready,SchedulingDisabled", "control-plane,worker")
    assert (row["Version"], row["Internal-IP"], row["OS-Image"]) == ("v1.36.0", "192.168.49.2", "<unknown>")


def test_workloads() -> None:
    template = {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    row = cells("apps/v1/deployments", {"spec": spec, "status": {"readyReplicas": 2, "updatedReplicas": 3}})
    assert [row["Ready"], row["Up-to-date"], row["Available"]] == ["2/3", 3, 0]
    assert [row["Containers"], row["Images"], row["Selector"]] == ["a,b", "i,j", "app=web"]
    assert cells("replicationcontrollers", {"spec": {"selector": {"b": "1", "a": "2"}}})["Selector"] == "a=2,b=1"
    assert cells("apps/v1/replicasets", {"spec": spec})["Selector"] == "app=web"
    assert cells("apps/v1/daemonsets", {"spec": {"template": template}})["Node Selector"] == "<none>"


def test_jobs() -> None:
    done = {"startTime": "2024-01-01T11:00:00Z", "completionTime": "2024-01-01T11:01:30Z", "succeeded": 2}
    done["conditions"] = [{"type": "Complete", "status": "True"}]
    row = cells("batch/v1/jobs", {"spec": {"completions": 2}, "status": done})
    assert [row["Status"], row["Completions"], row["Duration"]] == ["Complete", "2/2", "90s"]
    row = cells("batch/v1/jobs", {"spec": {"parallelism": 3}, "status": {"startTime": "2024-01-01T11:59:00Z"}})
    assert [row["Status"], row["Completions"], row["Duration"]] == ["Running", "0/1 of 3", "60s"]
    assert cells("batch/v1/cronjobs", {"spec": {"schedule": "* * * * *", "suspend": False}})["Suspend"] == "False"


def test_events_of_both_groups_show_the_same() -> None:
    old = {
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "firstTimestamp": "2024-01-01T11:58:00Z",
        "lastTimestamp": "2024-01-01T11:59:00Z",
        "count": 4,
        "type": "Normal",
        "reason": "Pulled",
        "message": "done \n",
        "source": {"component": "kubelet", "host": "n"},
    }
    new = {
        "regarding": old["involvedObject"],
        "deprecatedFirstTimestamp": old["firstTimestamp"],
        "deprecatedLastTimestamp": old["lastTimestamp"],
        "deprecatedCount": 4,
        "type": "Normal",
        "reason": "Pulled",
        "note": "done \n",
        "deprecatedSource": old["source"],
    }
    row = cells("events", old)
    assert row == cells("events.k8s.io/v1/events", new)
    assert [row["Last Seen"], row["First Seen"], row["Count"], row["Object"]] == ["60s", "2m", 4, "pod/p"]
    assert [row["Message"], row["Source"]] == ["done", "kubelet, n"]


def test_an_event_of_the_new_kind_has_a_series() -> None:
    event = {"eventTime": "2024-01-01T11:59:00.000000Z", "reportingComponent": "s", "reportingInstance": "h"}
    row = cells("events", dict(event))
    assert [row["Last Seen"], row["Count"], row["Source"]] == ["60s", 1, "s, h"]
    series = {"count": 9, "lastObservedTime": "2024-01-01T11:59:30.5Z"}
    row = cells("events", event | {"series": series})
    assert [row["Last Seen"], row["First Seen"], row["Count"]] == ["29s", "60s", 9]


@pytest.mark.parametrize(
    ("key", "obj", "expected"),
    [
        (
            "networking.k8s.io/v1/ingresses",
            {"spec": {"rules": [{"host": h} for h in "abcde"]}},
            {"Hosts": "a,b,c + 2 more..."},
        ),
        ("networking.k8s.io/v1/ingresses", {"spec": {"tls": [{}], "rules": [{}]}}, {"Hosts": "*", "Ports": "80, 443"}),
        (
            "networking.k8s.io/v1/ipaddresses",
            {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "k"}}},
            {"ParentRef": "services/default/k"},
        ),
        (
            "policy/v1/poddisruptionbudgets",
            {"spec": {"minAvailable": "50%"}},
            {"Min Available": "50%", "Max Unavailable": "N/A"},
        ),
        (
            "resourcequotas",
            {"status": {"hard": {"pods": "2", "limits.cpu": "1", "cpu": "3"}, "used": {"pods": "1"}}},
            {"Request": "cpu: 0/3, pods: 1/2", "Limit": "limits.cpu: 0/1"},
        ),
        (
            "storage.k8s.io/v1/storageclasses",
            {"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}},
            {"Name": "x (default)"},
        ),
        (
            "rbac.authorization.k8s.io/v1/rolebindings",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}],
            },
            {"Role": "Role/r", "Users": "u", "Groups": "", "ServiceAccounts": "n/s"},
        ),
        (
            "autoscaling/v2/horizontalpodautoscalers",
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                    "metrics": [
                        {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}
                    ],
                    "maxReplicas": 5,
                }
            },
            {"Targets": "cpu: <unknown>/80%", "MinPods": "<unset>", "MaxPods": 5},
        ),
        (
            "persistentvolumeclaims",
            {
                "spec": {"volumeName": "v", "storageClassName": "fast"},
                "status": {
                    "phase": "Bound",
                    "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                    "capacity": {"storage": "1Gi"},
                },
            },
            {"Status": "Bound", "Capacity": "1Gi", "Access Modes": "RWO,RWX", "StorageClass": "fast"},
        ),
        (
            "apps/v1/controllerrevisions",
            {
                "metadata": {
                    "ownerReferences": [{"controller": True, "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d"}]
                }
            },
            {"Controller": "daemonset.apps/d"},
        ),
    ],
)
def test_others(key: str, obj: dict[str, Any], expected: dict[str, Any]) -> None:
    row = cells(key, obj)
    assert {name: row[name] for name in expected} == expected


def test_selectors() -> None:
    rules = [{"key": "t", "operator": "In", "values": ["b", "a"]}, {"key": "x", "operator": "DoesNotExist"}]
    assert selector({"matchLabels": {"app": "web"}, "matchExpressions": rules}) == "app=web,t in (a,b),!x"


def test_the_table_itself() -> None:
    service = {"metadata": {"name": "a", "uid": "u"}, "spec": {"type": "ClusterIP"}}
    made = table(kind("services"), [service], resource_version="7", continue_token="c", remaining=3, now=NOW)
    assert made["metadata"] == {"resourceVersion": "7", "continue": "c", "remainingItemCount": 3}
    assert made["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": service["metadata"],
    }
    assert table(kind("services"), [service], include="None")["rows"][0]["object"] is None
    whole = table(kind("services"), [service], include="Object", with_columns=False)
    assert whole["columnDefinitions"] is None
    assert whole["rows"][0]["object"] == {"kind": "Service", "apiVersion": "v1", **service}
    ended = table(kind("pods"), [{"metadata": {"name": "p"}, "status": {"phase": "Failed"}}])
    assert ended["rows"][0]["conditions"][0]["reason"] == "Failed"


def widgets(printer_columns: list[dict[str, Any]] | None) -> Kind:
    version = {"name": "v1"} | ({"additionalPrinterColumns": printer_columns} if printer_columns else {})
    crd = {"spec": {"versions": [{"name": "v2"}, version]}}
    return Kind("example.com", "v1", "Widget", "widgets", "widget", True, ("list",), extra=crd)


def test_custom_columns() -> None:
    size = {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1}
    ready = {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'}
    born = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    obj = {
        "metadata": {"name": "w", "creationTimestamp": "2024-01-01T11:00:00Z"},
        "spec": {"size": 3.0},
        "status": {"conditions": [{"type": "A", "status": "x"}, {"type": "Ready", "status": "True"}]},
    }
    custom = widgets([size, ready, born])
    assert [c["name"] for c in columns(custom)] == ["Name", "Size", "Ready", "Age"]
    assert row_cells(custom, obj, NOW) == ["w", 3, "True", "60m"]
    assert row_cells(custom, {"metadata": {"name": "w"}, "spec": {"size": "no"}}, NOW) == ["w", None, None, None]
    assert row_cells(widgets(None), obj, NOW) == ["w", "60m"]


DOCUMENT = {"a": {"b.c": 1, "d": [10, 20, {"e": "x"}, {"e": "y", "n": 5}]}, "f": True}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.d[0]", [10]),
        (".a.d[-1].n", [5]),
        (".a.d[9]", []),
        (r".a.b\.c", [1]),
        (".a['b.c']", [1]),
        ("{.a.d[2:].e}", ["x", "y"]),
        (".a.d[*].e", ["x", "y"]),
        ("..e", ["x", "y"]),
        (".a.d[?(@.e=='y')].n", [5]),
        (".a.d[?(@.n>4)].e", ["y"]),
        (".a.d[?(@.n)].e", ["y"]),
        ('.a.d[?(@.e!="y")].e', ["x"]),
        (".a['d','b.c']", [DOCUMENT["a"]["d"], 1]),  # type: ignore[index]
        (".missing.more", []),
        ("$.f", [True]),
    ],
)
def test_jsonpath(path: str, found: list[Any]) -> None:
    assert parse(path).find(DOCUMENT) == found


@pytest.mark.parametrize("path", [".a[", ".a[x]", "a b", ".a[?(@.x==y)]"])
def test_broken_paths(path: str) -> None:
    with pytest.raises(JsonPathError):
        parse(path)
