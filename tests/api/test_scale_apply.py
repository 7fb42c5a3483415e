"""Server-side apply of a Scale: replicas have an owner of their own."""

import json
from typing import Any

from switchboard.testing.apiserver import ApiServer

APPLY = {"content-type": "application/apply-patch+yaml"}
DEPLOYMENT = "/apis/apps/v1/namespaces/ns/deployments/d"


async def apply(api: ApiServer, target: str, manager: str, body: Any, more: str = "") -> tuple[int, Any]:
    data = json.dumps(body).encode()
    return await api.call("PATCH", f"{target}?fieldManager={manager}{more}", data, APPLY)


def scale(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": spec}


async def test_replicas_are_applied_through_scale(api: ApiServer) -> None:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    assert (await apply(api, f"{DEPLOYMENT}/scale", "s", scale(replicas=3)))[0] == 404
    assert (await apply(api, DEPLOYMENT, "x", deployment))[0] == 201

    status, body = await apply(api, f"{DEPLOYMENT}/scale", "s", scale(replicas=3))
    assert status == 409 and body["message"] == 'Apply failed with 1 conflict: conflict with "x": .spec.replicas'
    status, body = await apply(api, f"{DEPLOYMENT}/scale", "s", scale(replicas=3), "&force=true")
    assert status == 200 and body["kind"] == "Scale" and body["spec"] == {"replicas": 3}

    _, stored = await api.call("GET", DEPLOYMENT)
    owners = {
        entry["manager"]: entry.get("subresource")
        for entry in stored["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
    assert stored["spec"]["replicas"] == 3 and owners == {"s": "scale"}
    status, body = await apply(api, DEPLOYMENT, "x", deployment)
    assert status == 409 and 'conflict with "s" with subresource "scale"' in body["message"]


async def test_what_is_no_scale_is_refused(api: ApiServer) -> None:
    status, body = await apply(api, f"{DEPLOYMENT}/scale", "s", {**scale(), "kind": "Deployment"})
    assert (status, body["message"]) == (400, "invalid object type: autoscaling/v1, Kind=Deployment")
    status, body = await apply(api, f"{DEPLOYMENT}/scale", "s", scale(replicas=-1))
    assert status == 422 and body["details"]["causes"][0]["field"] == "spec.replicas"


async def test_doubled_keys_of_an_applied_document(api: ApiServer) -> None:
    text = "\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: twice\ndata:\n  a: b\n  a: c\n"
    path = "/api/v1/namespaces/ns/configmaps/twice?fieldManager=m"
    response = await api.request("PATCH", f"{path}&fieldValidation=Strict", text.encode(), APPLY)
    assert response.status == 400
    said = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\\n  line 8: "
    assert said in (response.body if isinstance(response.body, bytes) else b"".join(response.body)).decode()
    response = await api.request("PATCH", path, text.encode(), APPLY)
    assert response.status == 201
    (warning,) = [value for name, value in response.headers if name == "warning"]
    assert 'line 8: key \\"a\\" already set in map' in warning


async def test_owned_fields_are_written_in_order(api: ApiServer) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "B"}, {"name": "A"}]}]},
    }
    headers = {"content-type": "application/apply-patch+yaml"}
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
    _, made = await api.call("PATCH", "/api/v1/namespaces/ns/pods/p?fieldManager=m", pod, headers)
    below = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert list(below) == [".", "f:env", "f:image", "f:name"]
    assert list(below["f:env"]) == ['k:{"name":"A"}', 'k:{"name":"B"}']


async def test_a_scale_as_a_table_and_as_its_metadata(api: ApiServer) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    target = "/apis/apps/v1/namespaces/ns/deployments"
    assert (await api.call("POST", target, {"metadata": {"name": "d"}, "spec": spec}))[0] == 201
    form = "application/json;as={};g=meta.k8s.io;v=v1"
    _, table = await api.call("GET", f"{target}/d/scale", headers={"accept": form.format("Table")})
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["d", 3, 0]
    assert table["rows"][0]["object"]["metadata"]["name"] == "d"
    _, partial = await api.call("GET", f"{target}/d/scale", headers={"accept": form.format("PartialObjectMetadata")})
    assert (partial["kind"], partial["metadata"]["name"], "spec" in partial) == ("PartialObjectMetadata", "d", False)


async def test_a_strategic_merge_is_of_the_kind_that_it_is_of(api: ApiServer) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = "/apis/apps/v1/namespaces/ns/deployments"
    assert (await api.call("POST", path, {"metadata": {"name": "kinds"}, "spec": spec}))[0] == 201
    change = {"kind": "Deployment", "metadata": {"name": "kinds"}, "spec": {"replicas": 3}}
    strategic = {"content-type": "application/strategic-merge-patch+json"}
    status, scale = await api.call("PATCH", f"{path}/kinds/scale", change, strategic)
    assert (status, scale["kind"], scale["spec"]["replicas"]) == (200, "Scale", 3)
    status, obj = await api.call("PATCH", f"{path}/kinds", {"kind": "Other", "apiVersion": "v7"}, strategic)
    assert (status, obj["kind"], obj["apiVersion"]) == (200, "Deployment", "apps/v1")
    merge = {"content-type": "application/merge-patch+json"}
    assert (await api.call("PATCH", f"{path}/kinds", {"kind": "Other"}, merge))[0] in (400, 422)


async def test_null_where_the_server_decides(api: ApiServer) -> None:
    """Manifests made from Go types carry `creationTimestamp: null`."""
    path, headers = "/api/v1/namespaces/default/configmaps/stamped?fieldManager=m", APPLY
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stamped", "creationTimestamp": None}}
    status, made = await api.call("PATCH", path, body, headers)
    assert status == 201 and made["metadata"]["creationTimestamp"]
    status, again = await api.call("PATCH", path, body, headers)
    assert (status, again) == (200, made)  # not even the version
    status, changed = await api.call("PATCH", path, body | {"data": {"a": "b"}}, headers)
    assert (status, changed["metadata"]["creationTimestamp"]) == (200, made["metadata"]["creationTimestamp"])


async def test_a_status_endpoint_that_puts_metadata_back_gives_nobody_its_fields(api: ApiServer) -> None:
    groups = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    spec = {"priorityLevelConfiguration": {"name": "exempt"}}
    head = {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema"}
    await api.call("POST", groups, head | {"metadata": {"name": "f", "labels": {"a": "b"}}, "spec": spec})
    ready = {"type": "Dangling", "status": "False", "reason": "Found", "message": "found"}
    sent = head | {"metadata": {"name": "f", "labels": {"a": "c", "x": "y"}}, "status": {"conditions": [ready]}}
    status, made = await api.call("PATCH", groups + "/f/status?fieldManager=m&force=true", sent, APPLY)
    assert (status, made["metadata"]["labels"]) == (200, {"a": "b"})
    mine = next(e for e in made["metadata"]["managedFields"] if e["manager"] == "m")
    assert list(mine["fieldsV1"]) == ["f:status"]
