"""The rarer rules of pod specs, each with its exact words and field."""

from typing import Any

import pytest
from shapes import changed, container, made, pod_spec, problems


def pod(**spec: Any) -> dict[str, Any]:
    return made("v1", "Pod", "p", spec=pod_spec(**spec))


def with_container(**more: Any) -> dict[str, Any]:
    return made("v1", "Pod", "p", spec=container(**more))


def noted(**annotations: str) -> dict[str, Any]:
    return made("v1", "Pod", "p", metadata={"annotations": annotations}, spec=pod_spec())


C = "spec.containers[0]"
TWO_HOST_PORTS = {"ports": [{"containerPort": 80, "hostPort": 80}]}
ZONE = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}


@pytest.mark.parametrize(
    "obj",
    [
        pod(
            initContainers=[
                {"name": "i", "image": "x", **TWO_HOST_PORTS},
                {"name": "j", "image": "x", **TWO_HOST_PORTS},
            ]
        ),
        made(
            "apps/v1",
            "DaemonSet",
            spec={
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": container(image=" padded ", ports=[{"containerPort": 1}]),
                },
            },
        ),
        with_container(
            restartPolicy="Never",
            restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
        ),
        with_container(lifecycle={"preStop": {"sleep": {"seconds": 30}}}),
        with_container(securityContext={"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}}),
        pod(os={"name": "windows"}),
        noted(**{"controller.kubernetes.io/pod-deletion-cost": "-7"}),
    ],
)
def test_fine(obj: dict[str, Any]) -> None:
    assert problems(obj) == []


@pytest.mark.parametrize(
    ("obj", "errors"),
    [
        (
            pod(
                hostNetwork=True,
                containers=[{"name": "c", "image": "x", "ports": [{"containerPort": 1, "hostPort": 2}]}],
            ),
            [f"{C}.ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true"],
        ),
        (
            with_container(lifecycle={"preStop": {"sleep": {"seconds": 31}}}),
            [
                f"{C}.lifecycle.preStop.sleep: Invalid value: 31: "
                "must be non-negative and less than terminationGracePeriodSeconds (30)"
            ],
        ),
        (
            with_container(
                resizePolicy=[
                    {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                    {"resourceName": "cpu", "restartPolicy": "Sometimes"},
                    {"resourceName": "gpu", "restartPolicy": "NotRequired"},
                ]
            ),
            [
                f'{C}.resizePolicy[1]: Duplicate value: "cpu"',
                f'{C}.resizePolicy: Unsupported value: "Sometimes": '
                'supported values: "NotRequired", "RestartContainer"',
                f'{C}.resizePolicy: Unsupported value: "gpu": supported values: "cpu", "memory"',
            ],
        ),
        (
            with_container(restartPolicyRules=[{"action": "Restart"}]),
            [
                f"{C}.restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                f"{C}.restartPolicyRules[0].exitCodes: Required value: must be specified",
            ],
        ),
        (
            with_container(resources={"limits": {"hugepages-2Mi": "2Mi"}, "requests": {"hugepages-2Mi": "2Mi"}}),
            [f"{C}.resources: Forbidden: HugePages require cpu or memory"],
        ),
        (
            with_container(resources={"limits": {"pods": "1"}}),
            [
                f'{C}.resources.limits[pods]: Invalid value: "pods": must be a standard resource for containers',
                f'{C}.resources.requests[pods]: Invalid value: "pods": must be a standard resource for containers',
            ],
        ),
        (
            with_container(securityContext={"procMount": "Unmasked"}),
            [f'{C}.securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`'],
        ),
        (
            with_container(securityContext={"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}}),
            [
                f"{C}.securityContext.seccompProfile.localhostProfile: Invalid value: "
                '{"Type":"RuntimeDefault","LocalhostProfile":"x"}: can only be set when seccomp type is Localhost'
            ],
        ),
        (
            with_container(securityContext={"appArmorProfile": {"type": "Localhost"}}),
            [
                f"{C}.securityContext.appArmorProfile.localhostProfile: Required value: "
                "must be set when AppArmor type is Localhost"
            ],
        ),
        (
            pod(hostPID=True, shareProcessNamespace=True),
            [
                "spec.securityContext.shareProcessNamespace: Invalid value: true: "
                "ShareProcessNamespace and HostPID cannot both be enabled"
            ],
        ),
        (
            pod(securityContext={"supplementalGroupsPolicy": "Some", "sysctls": [{"name": "a", "value": "1"}] * 2}),
            [
                'spec.securityContext.sysctls[1].name: Duplicate value: "a"',
                'spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Some": '
                'supported values: "Merge", "Strict"',
            ],
        ),
        (
            pod(hostUsers=False, hostPID=True),
            ["spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false"],
        ),
        (
            pod(os={"name": "windows"}, securityContext={"runAsUser": 1}, hostPID=True),
            [
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            ],
        ),
        (
            pod(os={"name": "linux"}, securityContext={"windowsOptions": {}}),
            ["spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"],
        ),
        (
            pod(topologySpreadConstraints=[ZONE, {**ZONE, "maxSkew": 2}]),
            [
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: "
                'Duplicate value: "{zone, DoNotSchedule}"'
            ],
        ),
        (
            pod(topologySpreadConstraints=[{**ZONE, "matchLabelKeys": ["a"]}]),
            [
                "spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: "
                "must not be specified when labelSelector is not set"
            ],
        ),
        (
            pod(hostAliases=[{"ip": "1.2.3.4", "hostnames": ["fine", "_"]}]),
            ["spec.hostAliases[0].hostnames[1]"],
        ),
        (
            noted(**{"controller.kubernetes.io/pod-deletion-cost": "07"}),
            [
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: "
                'Invalid value: "07": must be a 32bit integer'
            ],
        ),
        (
            noted(**{"kubernetes.io/config.mirror": "x"}),
            [
                'metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": '
                "must set spec.nodeName if mirror pod annotation is set"
            ],
        ),
        (
            pod(tolerations=[{"operator": "Exists", "value": "x"}]),
            [
                'spec.tolerations[0].operator: Invalid value: {"Key":"","Operator":"Exists","Value":"x","Effect":"",'
                "\"TolerationSeconds\":null}: value must be empty when `operator` is 'Exists'"
            ],
        ),
    ],
)
def test_wrong(obj: dict[str, Any], errors: list[str]) -> None:
    found = problems(obj)
    assert [
        text if ": " in wanted else text.split(": ")[0] for text, wanted in zip(found, errors, strict=True)
    ] == errors


def test_a_changed_spec_is_checked_as_a_whole_again() -> None:
    errors = changed(pod(), pod(tolerations=[{"operator": "Exists", "effect": "Never"}]))
    told = (
        'spec.tolerations[0].effect: Unsupported value: "Never": '
        'supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'
    )
    assert errors == [told, told]  # once for the pod as it is, once for the change


def test_the_mark_of_a_mirror_pod_neither_comes_nor_goes() -> None:
    mirror = made(
        "v1", "Pod", "p", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}, spec=pod_spec(nodeName="n")
    )
    plain = made("v1", "Pod", "p", spec=pod_spec(nodeName="n"))
    path = "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not"
    assert changed(plain, mirror) == [f"{path} add mirror pod annotation"]
    assert changed(mirror, plain) == [f"{path} remove or update mirror pod annotation"]
