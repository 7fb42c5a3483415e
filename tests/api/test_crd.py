"""CustomResourceDefinitions: from a definition to served objects, and away again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from switchboard.testing.apiserver import ApiServer
from switchboard.testing.customkinds import CRDS, Object, define, definition, path, version, widget

MERGE = {"content-type": "application/merge-patch+json"}


def condition(crd: Object, kind: str) -> Any:
    return next((c for c in crd["status"]["conditions"] if c["type"] == kind), None)


async def test_a_definition_is_served_with_its_answer(api: ApiServer) -> None:
    made = await define(api, definition())
    assert condition(made, "Established")["status"] == "True"
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["status"]["acceptedNames"]["listKind"] == "WidgetList"
    status, found = await api.call("GET", path())
    assert (status, found["kind"], found["items"]) == (200, "WidgetList", [])
    _, group = await api.call("GET", "/apis/example.com/v1")
    by_name = {r["name"]: r for r in group["resources"]}
    assert by_name["widgets"]["shortNames"] == ["wi"]
    assert by_name["widgets"]["categories"] == ["all"]
    assert {"widgets/status", "widgets/scale"} <= set(by_name)
    status, document = await api.call("GET", "/openapi/v3/apis/example.com/v1")
    assert "com.example.v1.Widget" in document["components"]["schemas"]


async def test_objects_are_pruned_defaulted_and_validated(api: ApiServer) -> None:
    await define(api, definition())
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"gone": 1}}
    body = widget(unknown=1, port="http", free={"a": {"b": 1}}, template=template)
    status, made = await api.call("POST", path(), body)
    assert status == 201, made
    assert made["spec"] == {
        "size": 1,
        "color": "red",
        "port": "http",
        "free": {"a": {"b": 1}},
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}},
    }
    assert made["metadata"]["generation"] == 1
    status, answer = await api.call("POST", path(), widget("bad", size=0))
    assert status == 422
    assert answer["details"]["causes"][0]["field"] == "spec.size"
    status, answer = await api.call("POST", f"{path()}?fieldValidation=Strict", widget("bad", unknown=1))
    assert status == 400


async def test_status_and_scale(api: ApiServer) -> None:
    await define(api, definition())
    status, made = await api.call("POST", path(), {**widget(replicas=2), "status": {"phase": "Early"}})
    assert "status" not in made
    body = {"status": {"replicas": 2, "phase": "Up"}, "spec": {"size": 9}}
    status, made = await api.call("PATCH", f"{path()}/w/status", body, MERGE)
    assert (status, made["status"], made["spec"]["size"]) == (200, {"replicas": 2, "phase": "Up"}, 1)
    assert made["metadata"]["generation"] == 1
    _, scale = await api.call("GET", f"{path()}/w/scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 2}, {"replicas": 2})
    status, scale = await api.call("PATCH", f"{path()}/w/scale", {"spec": {"replicas": 5}}, MERGE)
    assert (status, scale["spec"]) == (200, {"replicas": 5})
    _, made = await api.call("GET", f"{path()}/w")
    assert (made["spec"]["replicas"], made["metadata"]["generation"]) == (5, 2)


async def test_tables_have_the_columns_of_the_version(api: ApiServer) -> None:
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    await define(api, definition(version(additionalPrinterColumns=columns)))
    await api.call("POST", path(), widget())
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    _, table = await api.call("GET", path(), headers=accept)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["w", 1]


async def test_versions_without_a_webhook_differ_in_name_only(api: ApiServer) -> None:
    await define(api, definition(version("v1beta1", storage=False), version("v1")))
    await api.call("POST", path("v1beta1"), widget(api="v1beta1", color="blue"))
    _, made = await api.call("GET", f"{path('v1')}/w")
    assert (made["apiVersion"], made["spec"]["color"]) == ("example.com/v1", "blue")
    _, listed = await api.call("GET", path("v1beta1"))
    assert listed["items"][0]["apiVersion"] == "example.com/v1beta1"
    _, found = await api.call("GET", "/apis/example.com")
    assert found["preferredVersion"]["version"] == "v1"


async def test_a_changed_definition_changes_what_is_served(api: ApiServer) -> None:
    made = await define(api, definition(version("v1", storage=False), version("v2")))
    made["spec"]["versions"][0]["served"] = False
    status, made = await api.call("PUT", f"{CRDS}/widgets.example.com", made)
    assert status == 200, made
    assert made["metadata"]["generation"] == 2
    assert (await api.call("GET", path("v1")))[0] == 404
    assert (await api.call("GET", path("v2")))[0] == 200


async def test_names_belong_to_the_first_who_has_them(api: ApiServer) -> None:
    await define(api, definition())
    second = definition(plural="gadgets", kind="Widget")
    second["spec"]["names"]["singular"] = "gadget"
    made = await define(api, second)
    assert condition(made, "NamesAccepted")["reason"] == "KindConflict"
    assert condition(made, "Established")["status"] == "False"
    assert (await api.call("GET", "/apis/example.com/v1/namespaces/ns/gadgets"))[0] == 404
    await api.call("DELETE", f"{CRDS}/widgets.example.com")
    async with asyncio.timeout(5):
        while (await api.call("GET", "/apis/example.com/v1/namespaces/ns/gadgets"))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_deleted_definition_takes_its_objects_along(api: ApiServer) -> None:
    await define(api, definition())
    await api.call("POST", path(), widget("plain"))
    held = widget("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.call("POST", path(), held)
    status, _ = await api.call("DELETE", f"{CRDS}/widgets.example.com")
    assert status == 200
    await api.gone(f"{path()}/plain")
    async with asyncio.timeout(5):
        crd = f"{CRDS}/widgets.example.com"
        while not condition((await api.call("GET", crd))[1], "Terminating"):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert (await api.call("POST", path(), widget("late")))[0] == 405
    patch = {"metadata": {"finalizers": None}}
    assert (await api.call("PATCH", f"{path()}/held", patch, MERGE))[0] == 200
    await api.gone(f"{CRDS}/widgets.example.com")
    assert (await api.call("GET", path()))[0] == 404
    await define(api, definition())
    _, found = await api.call("GET", path())
    assert found["items"] == []


async def test_definitions_are_there_again_after_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    async with ApiServer(path=store) as api:
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        await define(api, definition())
        await api.call("POST", path(), widget())
    async with ApiServer(path=store) as api:
        status, found = await api.call("GET", f"{path()}/w")
        assert (status, found["spec"]["color"]) == (200, "red")
