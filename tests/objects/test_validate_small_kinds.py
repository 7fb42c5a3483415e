"""Exact words of the rules of small kinds."""

from typing import Any

import pytest
from shapes import changed, made, problems


@pytest.mark.parametrize(
    ("obj", "errors"),
    [
        (
            made("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 0}),
            ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        ),
        (
            made("v1", "Node", spec={"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}),
            [
                'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: '
                "may specify no more than one CIDR for each IP family"
            ],
        ),
        (made("v1", "Node", spec={"podCIDRs": ["10.0.0.0/24", "fd00::/64"]}), []),
        (
            made("v1", "ResourceQuota", spec={"hard": {"cpu": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}),
            [
                'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: unsupported scope applied to resource',
                'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes',
            ],
        ),
        (
            made("v1", "LimitRange", spec={"limits": [{"type": "Thing", "max": {"foo": "1"}}]}),
            [
                'spec.limits[0].type: Invalid value: "Thing": must be a standard limit type or fully qualified',
                'spec.limits[0].max[foo]: Invalid value: "foo": must be a standard resource type or fully qualified',
            ],
        ),
        (made("v1", "LimitRange", spec={"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}), []),
        (
            made("apps/v1", "ControllerRevision", revision=-1),
            [
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
    ],
)
def test_words(obj: dict[str, Any], errors: list[str]) -> None:
    assert problems(obj) == errors


def test_the_data_of_a_revision_stays() -> None:
    first, second = (made("apps/v1", "ControllerRevision", revision=1, data={"a": n}) for n in (1, 2))
    assert changed(first, {**first, "revision": 2}) == []
    assert changed(first, second) == ['data: Invalid value: {"a":2}: field is immutable']
