"""Rules of autoscalers, of scopes of quotas, of tolerations that compare, and of the status of pods."""

from __future__ import annotations

from typing import Any

import pytest
from shapes import changed, made, problems

from switchboard.objects import quotas
from switchboard.objects.placement import tolerates

Object = dict[str, Any]
REF = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
SERVICE = {"kind": "Service", "name": "s", "apiVersion": "v1"}
AVERAGE, VALUE = {"type": "AverageValue", "averageValue": "1"}, {"type": "Value", "value": "1"}


def autoscaler(**spec: Any) -> Object:
    return made("autoscaling/v2", "HorizontalPodAutoscaler", spec={"scaleTargetRef": REF, "maxReplicas": 3, **spec})


METRIC = {"name": "m"}


@pytest.mark.parametrize(
    "metric",
    [
        {"type": "Pods", "pods": {"metric": METRIC, "target": AVERAGE}},
        {"type": "Object", "object": {"metric": METRIC, "describedObject": SERVICE, "target": VALUE}},
        {"type": "External",
         "external": {"metric": {**METRIC, "selector": {"matchLabels": {"a": "b"}}}, "target": VALUE}},
        {"type": "ContainerResource",
         "containerResource": {"name": "cpu", "container": "c",
                               "target": {"type": "Utilization", "averageUtilization": 5}}},
    ],
)  # fmt: skip
def test_metrics_of_every_kind(metric: Object) -> None:
    assert problems(autoscaler(metrics=[metric])) == []


@pytest.mark.parametrize(
    ("metric", "wrong"),
    [
        ({"type": "Pods", "pods": {"metric": {"name": ""}, "target": VALUE}},
         ["pods.metric.name: Required value: must specify a metric name",
          "pods.target.averageValue: Required value: must specify a positive target averageValue"]),
        ({"type": "Object", "object": {"metric": METRIC, "describedObject": {"kind": "S", "name": "a/b"},
                                       "target": {"type": "Value"}}},
         ["object.describedObject.name: Invalid value: \"a/b\": may not contain '/'",
          "object.target.averageValue: Required value: must set either a target value or averageValue"]),
        ({"type": "External", "external": {"metric": METRIC, "target": {**AVERAGE, "value": "-1"}}},
         ['external.target.value: Invalid value: "-1": must be positive',
          "external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"]),
        ({"type": "Pods", "pods": {"metric": METRIC, "target": AVERAGE},
          "external": {"metric": METRIC, "target": VALUE}},
         ["external: Forbidden: must populate the given metric source only"]),
        ({"type": "Resource"}, ["resource: Required value: must populate information for the given metric source"]),
    ],
)  # fmt: skip
def test_metrics_that_are_refused(metric: Object, wrong: list[str]) -> None:
    assert problems(autoscaler(metrics=[metric])) == [f"spec.metrics[0].{text}" for text in wrong]


def test_how_fast_an_autoscaler_scales() -> None:
    policy = {"type": "X", "value": 0, "periodSeconds": 2000}
    rules = {"stabilizationWindowSeconds": 4000, "selectPolicy": "Often", "policies": [policy], "tolerance": "-1"}
    path = "spec.behavior.scaleDown"
    assert problems(autoscaler(behavior={"scaleDown": rules})) == [
        f"{path}.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
        f'{path}.selectPolicy: Unsupported value: "Often": supported values: "Disabled", "Max", "Min"',
        f'{path}.policies[0].type: Unsupported value: "X": supported values: "Percent", "Pods"',
        f"{path}.policies[0].value: Invalid value: 0: must be greater than zero",
        f"{path}.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
        f'{path}.tolerance: Invalid value: "-1": must be greater than or equal to zero',
    ]


@pytest.mark.parametrize(
    ("hard", "expression", "wrong"),
    [
        ("persistentvolumeclaims", {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["a"]}, ""),
        ("pods", {"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"}, ""),
        ("cpu", {"scopeName": "BestEffort", "operator": "Exists"}, "unsupported scope applied to resource"),
        ("pods", {"scopeName": "Odd", "operator": "Exists"}, "unsupported scope"),
        ("pods", {"scopeName": "PriorityClass", "operator": "In"}, "must be at least one value"),
        ("pods", {"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]}, "must be no value"),
        ("pods", {"scopeName": "Terminating", "operator": "DoesNotExist"}, "must be 'Exist' when scope is any of"),
        ("pods", {"scopeName": "PriorityClass", "operator": "Like"}, "not a valid selector operator"),
    ],
)
def test_scopes_by_selector(hard: str, expression: Object, wrong: str) -> None:
    selector = {"matchExpressions": [expression]}
    found = problems(made("v1", "ResourceQuota", spec={"hard": {hard: "1"}, "scopeSelector": selector}))
    assert (wrong in found[0]) if wrong else not found, found


@pytest.mark.parametrize(
    ("operator", "values", "claim", "counted"),
    [
        ("In", ["gold"], {"spec": {"volumeAttributesClassName": "gold"}}, True),
        ("In", ["gold"], {"spec": {"volumeAttributesClassName": "tin"}}, False),
        ("In", ["gold"], {"spec": {}, "status": {"currentVolumeAttributesClassName": "gold"}}, True),
        ("In", ["gold"], {"spec": {}, "status": {
            "modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"}}}, True),
        ("NotIn", ["gold"], {"spec": {"volumeAttributesClassName": "gold"}}, False),
        ("Exists", [], {"spec": {}}, False),
        ("DoesNotExist", [], {"spec": {}}, True),
    ],
)  # fmt: skip
def test_claims_are_counted_by_their_class(operator: str, values: list[str], claim: Object, counted: bool) -> None:
    expression = {"scopeName": "VolumeAttributesClass", "operator": operator, "values": values}
    spec = {"hard": {"persistentvolumeclaims": "5"}, "scopeSelector": {"matchExpressions": [expression]}}
    used = quotas.usage({"spec": spec}, {("", "persistentvolumeclaims"): [claim]})
    assert used == {"persistentvolumeclaims": str(int(counted))}


@pytest.mark.parametrize(
    ("operator", "limit", "taint", "fits"),
    [
        ("Gt", "5", "6", True),
        ("Gt", "5", "5", False),
        ("Lt", "5", "-3", True),
        ("Lt", "5", "six", False),
        ("Gt", "5", "", False),
    ],
)
def test_tolerations_that_compare(operator: str, limit: str, taint: str, fits: bool) -> None:
    toleration = {"key": "k", "operator": operator, "value": limit}
    assert tolerates([toleration], {"key": "k", "value": taint, "effect": "NoSchedule"}) is fits


@pytest.mark.parametrize(("value", "fine"), [("5", True), ("-7", True), ("007", False), ("x", False), ("", False)])
def test_values_of_tolerations_that_compare(value: str, fine: bool) -> None:
    spec = {
        "containers": [{"name": "c", "image": "i"}],
        "tolerations": [{"key": "k", "operator": "Gt", "value": value}],
    }
    found = problems(made("v1", "Pod", spec=spec))
    assert found == ([] if fine else [
        f'spec.tolerations[0].value: Invalid value: "{value}": must be a valid decimal integer in canonical form'
    ])  # fmt: skip


def ended(code: int) -> Object:
    return {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]}


RUNNING = {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}


@pytest.mark.parametrize(
    ("policy", "before", "after", "wrong"),
    [
        ("Always", ended(0), RUNNING, ""),
        ("Never", ended(1), RUNNING, "status.containerStatuses[0].state: Forbidden: may not be transitioned"),
        ("OnFailure", ended(0), RUNNING, "status.containerStatuses[0].state: Forbidden: may not be transitioned"),
        ("OnFailure", ended(1), RUNNING, ""),
        ("Always", {}, {"conditions": [{"type": "a b"}]}, "status.conditions[0].Type: Invalid value"),
        ("Always", {}, {"conditions": [{"type": "Ready"}, {"type": "example.com/gate"}]}, ""),
        ("Always", {}, {"hostIPs": [{"ip": "here"}]}, "status.hostIPs[0]: Invalid value"),
    ],
)
def test_the_status_of_pods(policy: str, before: Object, after: Object, wrong: str) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": policy}
    old, new = (made("v1", "Pod", spec=spec, status=status) for status in (before, after))
    found = changed(old, new, "status")
    assert (wrong in found[0]) if wrong else not found, found
