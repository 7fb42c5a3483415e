"""What a CustomResourceDefinition may not say, and what a gated pod may not become."""

import copy
from typing import Any

import pytest

from switchboard.testing.apiserver import ApiServer

MERGE = {"content-type": "application/merge-patch+json"}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All"
PODS = "/api/v1/namespaces/ns/pods"
SCHEMA = "spec.validation.openAPIV3Schema"


def definition(version: dict[str, Any], **spec: Any) -> dict[str, Any]:
    names = {"plural": "ws", "kind": "W"}
    first = {"name": "v1", "served": True, "storage": True, "schema": schema(), **version}
    body = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [first], **spec}
    return {"metadata": {"name": "ws.example.com"}, "spec": body}


def schema(**properties: Any) -> dict[str, Any]:
    return {"openAPIV3Schema": {"type": "object", "properties": properties}}


def keyed(**more: Any) -> dict[str, Any]:
    return {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}, **more}


SCALE = {"specReplicasPath": "spec", "statusReplicasPath": ".foo", "labelSelectorPath": ".metadata.x"}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ({"additionalPrinterColumns": [{"name": "a", "type": "foo", "jsonPath": "x", "format": "y"}]},
         {"spec.additionalPrinterColumns[0].type":
              'Invalid value: "foo": must be one of boolean,date,integer,number,string',
          "spec.additionalPrinterColumns[0].format":
              'Invalid value: "y": must be one of byte,date,date-time,double,float,int32,int64,password',
          "spec.additionalPrinterColumns[0].JSONPath":
              'Invalid value: "x": must be a simple json path starting with .'}),
        ({"subresources": {"scale": SCALE}},
         {"spec.subresources.scale.specReplicasPath":
              'Invalid value: "spec": must be a simple json path starting with .',
          "spec.subresources.scale.statusReplicasPath": 'Invalid value: ".foo": should be a json path under .status',
          "spec.subresources.scale.labelSelectorPath":
              'Invalid value: ".metadata.x": should be a json path under either .spec or .status'}),
        ({"schema": schema(metadata={"type": "object", "properties": {"labels": {"type": "object"}}})},
         {f"{SCHEMA}.properties[metadata]": "Forbidden: must not specify anything other than name and generateName, "
                                            "but metadata is implicitly specified"}),
        ({"schema": schema(a=keyed())},
         {f"{SCHEMA}.properties[a].x-kubernetes-list-map-keys":
              "Required value: must not be empty if x-kubernetes-list-type is map"}),
        ({"schema": schema(a=keyed(**{"x-kubernetes-list-type": "set", "x-kubernetes-list-map-keys": ["k"]}))},
         {f"{SCHEMA}.properties[a].x-kubernetes-list-type":
              'Invalid value: "set": must be map if x-kubernetes-list-map-keys is non-empty',
          f"{SCHEMA}.properties[a].items.x-kubernetes-map-type":
              "Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"}),
        ({"schema": schema(metadata={"type": "object", "properties": {"name": {"type": "string"}}})}, {}),
        ({"subresources": {"scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}}, {}),
    ],
)  # fmt: skip
async def test_definitions(api: ApiServer, version: dict[str, Any], expected: dict[str, str]) -> None:
    status, body = await api.call("POST", DEFINITIONS, definition(version))
    assert status == (422 if expected else 201), body
    assert {c["field"]: c["message"] for c in body.get("details", {}).get("causes", ())} == expected


async def test_unknown_fields_are_not_kept_everywhere(api: ApiServer) -> None:
    status, body = await api.call("POST", DEFINITIONS, definition({}, preserveUnknownFields=True))
    assert status == 422 and body["details"]["causes"][0]["field"] == "spec.preserveUnknownFields"


def terms(*values: str) -> dict[str, Any]:
    expressions = [{"key": "k", "operator": "In", "values": [value]} for value in values]
    required = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


async def test_a_gated_pod_is_only_tightened(api: ApiServer) -> None:
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"containers": [{"name": "c", "image": "i"}], "schedulingGates": [{"name": "g"}]}
    assert (await api.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec}))[0] == 201

    async def change(spec: dict[str, Any]) -> str:
        status, body = await api.call("PATCH", f"{PODS}/p", {"spec": copy.deepcopy(spec)}, MERGE)
        return "" if status == 200 else body["details"]["causes"][0]["message"]

    assert await change({"nodeSelector": {"a": "b"}}) == await change({"nodeSelector": {"c": "d"}}) == ""
    mutated = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    assert mutated in await change({"nodeSelector": {"a": "z"}})
    assert mutated in await change({"nodeSelector": {"a": None}})
    assert await change(terms("v")) == await change(terms("v", "w")) == ""
    assert "only additions are allowed (no mutations or deletions)" in await change(terms("x"))
    assert "only additions are allowed" in await change(terms("v"))
    assert "no additions/deletions to non-empty NodeSelectorTerms list" in await change({"affinity": None})
    zone = {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "labelSelector": {}}]}
    }
    assert "pod updates may not change fields other than" in await change({"affinity": zone})
    assert await change({"schedulingGates": []}) == ""
    assert "pod updates may not change fields other than" in await change({"nodeSelector": {"e": "f"}})
