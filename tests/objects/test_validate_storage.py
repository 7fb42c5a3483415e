"""Rules for what drivers of storage say of themselves."""

from typing import Any

import pytest
from shapes import changed, made, problems

Object = dict[str, Any]
LONG = "n" * 193


def of(kind: str, **fields: Any) -> Object:
    return made("storage.k8s.io/v1", kind, "x", **fields)


def driver(**more: Any) -> Object:
    return {"name": "d.example.com", "nodeID": "n", **more}


def node(*drivers: Object) -> Object:
    return of("CSINode", spec={"drivers": list(drivers)})


ATTACHED = {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}}


@pytest.mark.parametrize(
    "obj",
    [
        of("CSIDriver", spec={"fsGroupPolicy": "File", "tokenRequests": [{"audience": ""}, {"audience": "a"}]}),
        node(driver(topologyKeys=["a/b", "c"], allocatable={"count": 0}), driver(name="Other.Example.com")),
        of("CSIStorageCapacity", storageClassName="c", capacity="0", nodeTopology={"matchLabels": {"a": "b"}}),
        of("VolumeAttributesClass", driverName="D.example.com", parameters={"a": ""}),
        of("VolumeAttachment", spec=ATTACHED),
        of("VolumeAttachment", spec={**ATTACHED, "source": {"inlineVolumeSpec": {}}}),
    ],
)
def test_what_may_be_said(obj: Object) -> None:
    assert problems(obj) == []


BAD = [
    (
        of("CSIDriver", spec={"fsGroupPolicy": "X"}),
        'spec.fsGroupPolicy: Unsupported value: "X": supported values: "File", "None", "ReadWriteOnceWithFSType"',
    ),
    (
        of("CSIDriver", spec={"tokenRequests": [{"audience": "a"}, {"audience": "a", "expirationSeconds": 1}]}),
        'spec.tokenRequests[1].audience: Duplicate value: "a"',
    ),
    (
        of("CSIDriver", spec={"tokenRequests": [{"audience": "a", "expirationSeconds": 599}]}),
        "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
    ),
    (
        of("CSIDriver", spec={"nodeAllocatableUpdatePeriodSeconds": 9}),
        "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
    ),
    (node(driver(name="d" * 64)), "spec.drivers[0].name: Too long: may not be more than 63 bytes"),
    (of("VolumeAttachment", spec={**ATTACHED, "attacher": ""}), "spec.attacher: Required value"),
    (node(driver(), driver()), 'spec.drivers[1].name: Duplicate value: "d.example.com"'),
    (node(driver(topologyKeys=["a", "a"])), 'spec.drivers[0]: Duplicate value: "a"'),
    (node(driver(nodeID="")), "spec.drivers[0].nodeID: Required value"),
    (node(driver(nodeID=LONG)), f'spec.drivers[0].nodeID: Invalid value: "{LONG}": must be 192 characters or less'),
    (
        node(driver(allocatable={"count": -1})),
        "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        of("CSIStorageCapacity", storageClassName="c", capacity="-1"),
        'capacity: Invalid value: "-1": must be greater than or equal to 0',
    ),
    (
        of("VolumeAttributesClass", driverName="d"),
        "parameters: Required value: must contain at least one key/value pair",
    ),
    (
        of("VolumeAttachment", spec={**ATTACHED, "source": {}}),
        "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
    ),
]


def on_node(**more: Any) -> Object:
    return made("v1", "PersistentVolume", spec={"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}, **more})


BAD += [
    (on_node(hostPath={"path": "/a/../b"}), "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
    (
        on_node(hostPath={"path": "/./"}, persistentVolumeReclaimPolicy="Recycle"),
        "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
    ),
    (on_node(hostPath={}), "spec.hostPath.path: Required value"),
]


@pytest.mark.parametrize(("obj", "error"), BAD)
def test_what_may_not_be_said(obj: Object, error: str) -> None:
    assert problems(obj) == [error]


CHANGES = [
    (
        of("CSIDriver", spec={"attachRequired": True}),
        of("CSIDriver", spec={"attachRequired": False}),
        "spec.attachedRequired: Invalid value: false: field is immutable",
    ),
    (node(driver()), node(driver(allocatable={"count": 5})), ""),
    (
        node(driver()),
        node(driver(nodeID="m")),
        'spec.drivers: Invalid value: {"name":"d.example.com","nodeID":"m","topologyKeys":null}: field is immutable',
    ),
    (
        of("CSIStorageCapacity", storageClassName="c"),
        of("CSIStorageCapacity", storageClassName="d"),
        'storageClassName: Invalid value: "d": field is immutable',
    ),
    (
        of("VolumeAttributesClass", driverName="d", parameters={"a": "b"}),
        of("VolumeAttributesClass", driverName="d", parameters={"a": "c"}),
        "parameters: Forbidden: updates to parameters are forbidden.",
    ),
    (
        of("VolumeAttachment", spec=ATTACHED),
        of("VolumeAttachment", spec={**ATTACHED, "nodeName": "m"}),
        'spec: Invalid value: {"Attacher":"d","Source":{"PersistentVolumeName":"v","InlineVolumeSpec":null},'
        '"NodeName":"m"}: field is immutable',
    ),
]


@pytest.mark.parametrize(("old", "new", "error"), CHANGES)
def test_what_stays(old: Object, new: Object, error: str) -> None:
    assert changed(old, new) == ([error] if error else [])
    assert changed(old, old) == []
