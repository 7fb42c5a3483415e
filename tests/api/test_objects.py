"""Objects over the whole pipeline: create, read, change, delete, as clients see it."""

import asyncio
from typing import Any

from switchboard.api.identity import AUTHENTICATED, Identity
from switchboard.testing.apiserver import ApiServer

CONFIGS = "/api/v1/namespaces/ns/configmaps"
MERGE = {"content-type": "application/merge-patch+json"}


def config(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more.pop("metadata", {})}, **more}


async def test_a_life(api: ApiServer) -> None:
    status, made = await api.call("POST", CONFIGS, config("a", data={"x": "1"}))
    assert status == 201 and made["kind"] == "ConfigMap" and made["apiVersion"] == "v1"
    meta = made["metadata"]
    assert meta["uid"] and meta["creationTimestamp"].endswith("Z") and int(meta["resourceVersion"]) > 0
    assert meta["managedFields"][0]["manager"] == "test"
    assert await api.call("GET", CONFIGS + "/a") == (200, made)
    made["data"]["y"] = "2"
    status, changed = await api.call("PUT", CONFIGS + "/a", made)
    assert status == 200 and changed["data"] == {"x": "1", "y": "2"}
    assert int(changed["metadata"]["resourceVersion"]) > int(meta["resourceVersion"])
    status, conflict = await api.call("PUT", CONFIGS + "/a", made)
    assert (status, conflict["reason"]) == (409, "Conflict")
    status, same = await api.call("PUT", CONFIGS + "/a", changed)
    assert (status, same) == (200, changed)  # nothing changed: not even the version
    status, patched = await api.call("PATCH", CONFIGS + "/a", {"data": {"x": None}}, MERGE)
    assert (status, patched["data"]) == (200, {"y": "2"})
    status, gone = await api.call("DELETE", CONFIGS + "/a")
    assert status == 200 and gone["status"] == "Success" and gone["details"]["uid"] == meta["uid"]
    assert (await api.call("GET", CONFIGS + "/a"))[0] == 404


async def test_managed_fields_that_a_patch_names_are_checked(api: ApiServer) -> None:
    _, made = await api.call("POST", CONFIGS, config("a", data={"k": "v"}))
    wrong = {"metadata": {"managedFields": [{"manager": 1}]}}
    status, refused = await api.call("PATCH", CONFIGS + "/a", wrong, MERGE)
    assert status == 422 and "managedFields" in refused["message"]
    status, kept = await api.call("PATCH", CONFIGS + "/a", {"metadata": {"labels": {"x": "y"}}}, MERGE)
    assert status == 200 and kept["metadata"]["managedFields"][0]["manager"] == "test"
    status, forgot = await api.call("PATCH", CONFIGS + "/a", {"metadata": {"managedFields": [{}]}}, MERGE)
    assert status == 200 and "managedFields" not in forgot["metadata"]
    assert forgot["metadata"]["uid"] == made["metadata"]["uid"]


async def test_concurrent_patches_all_count(api: ApiServer) -> None:
    await api.call("POST", CONFIGS, config("a"))
    answers = await asyncio.gather(
        *(api.call("PATCH", CONFIGS + "/a", {"data": {f"k{i}": "v"}}, MERGE) for i in range(50))
    )
    assert {status for status, _ in answers} == {200}
    _, final = await api.call("GET", CONFIGS + "/a")
    assert len(final["data"]) == 50
    assert len({body["metadata"]["resourceVersion"] for _, body in answers}) == 50


async def test_concurrent_creates_of_one_name(api: ApiServer) -> None:
    answers = await asyncio.gather(*(api.call("POST", CONFIGS, config("a")) for _ in range(20)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 19


async def test_generate_name(api: ApiServer) -> None:
    names = set()
    for _ in range(5):
        status, made = await api.call("POST", CONFIGS, {"metadata": {"generateName": "x-"}})
        assert status == 201
        names.add(made["metadata"]["name"])
    assert len(names) == 5 and all(n.startswith("x-") and len(n) == 7 for n in names)


async def test_dry_run_stores_nothing(api: ApiServer) -> None:
    before = api.store.revision
    status, made = await api.call("POST", CONFIGS + "?dryRun=All", config("a"))
    assert status == 201 and "resourceVersion" not in made["metadata"]
    status, service = await api.call(
        "POST",
        "/api/v1/namespaces/ns/services?dryRun=All",
        {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}},
    )
    assert status == 201 and service["spec"]["clusterIP"] and service["spec"]["ports"][0]["nodePort"]
    assert api.store.revision == before


async def test_finalizers_hold_an_object(api: ApiServer) -> None:
    await api.call("POST", CONFIGS, config("a", metadata={"finalizers": ["x.y/z"]}))
    status, marked = await api.call("DELETE", CONFIGS + "/a")
    assert status == 200 and marked["metadata"]["deletionGracePeriodSeconds"] == 0
    status, refused = await api.call("POST", CONFIGS, config("a"))
    assert status == 409 and refused["message"].startswith("object is being deleted")
    assert (await api.call("PATCH", CONFIGS + "/a", {"metadata": {"finalizers": None}}, MERGE))[0] == 200
    assert (await api.call("GET", CONFIGS + "/a"))[0] == 404


async def test_pods_end_gracefully(api: ApiServer) -> None:
    pods = "/api/v1/namespaces/ns/pods"
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
    status, pod = await api.call(
        "POST", pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    )
    assert status == 201, pod
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert any(v["name"].startswith("kube-api-access-") for v in pod["spec"]["volumes"])
    status, bound = await api.call(
        "POST", pods + "/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    )
    assert (status, bound["status"]) == (201, "Success")
    assert (await api.call("POST", pods + "/p/binding", {"target": {"kind": "Node", "name": "n2"}}))[0] == 409
    status, ending = await api.call("DELETE", pods + "/p")
    assert status == 200 and ending["metadata"]["deletionGracePeriodSeconds"] == 30
    status, sooner = await api.call("DELETE", pods + "/p?gracePeriodSeconds=5")
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 5
    assert sooner["metadata"]["deletionTimestamp"] < ending["metadata"]["deletionTimestamp"]
    status, still = await api.call("DELETE", pods + "/p?gracePeriodSeconds=20")
    assert still["metadata"]["deletionGracePeriodSeconds"] == 5
    assert (await api.call("DELETE", pods + "/p?gracePeriodSeconds=0"))[0] == 200
    assert (await api.call("GET", pods + "/p"))[0] == 404


async def test_a_pods_generation_counts_what_clients_want_of_it(api: ApiServer) -> None:
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
    pod = "/api/v1/namespaces/ns/pods/p"
    spec = {"containers": [{"name": "c", "image": "i"}]}
    body = {"metadata": {"name": "p", "generation": 100}, "spec": spec}
    assert (await api.call("POST", "/api/v1/namespaces/ns/pods", body))[1]["metadata"]["generation"] == 1
    assert (await api.call("POST", f"{pod}/binding", {"target": {"kind": "Node", "name": "n"}}))[0] == 201
    assert (await api.call("GET", pod))[1]["metadata"]["generation"] == 1  # where it runs is not
    for patch, generation in (
        ({"metadata": {"annotations": {"a": "b"}}}, 1),
        ({"spec": {"activeDeadlineSeconds": 5000}}, 2),
        ({"metadata": {"generation": 1}}, 2),
    ):
        assert (await api.call("PATCH", pod, patch, MERGE))[1]["metadata"]["generation"] == generation
    assert (await api.call("DELETE", f"{pod}?gracePeriodSeconds=60"))[1]["metadata"]["generation"] == 3


async def test_eviction_respects_the_budget(api: ApiServer) -> None:
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
    pods, budgets = "/api/v1/namespaces/ns/pods", "/apis/policy/v1/namespaces/ns/poddisruptionbudgets"
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    for name in ("a", "b"):
        await api.call("POST", pods, {"metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec})
        running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        assert (await api.call("PATCH", f"{pods}/{name}/status", running, MERGE))[0] == 200
    body = {"metadata": {"name": "x"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    assert (await api.call("POST", budgets, body))[0] == 201
    healthy = {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1}
    status, _ = await api.call("PATCH", budgets + "/x/status", {"status": healthy}, MERGE)
    assert status == 200
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    assert (await api.call("POST", pods + "/a/eviction", eviction))[0] == 201
    status, refused = await api.call("POST", pods + "/b/eviction", {**eviction, "metadata": {"name": "b"}})
    assert status == 429 and refused["details"]["causes"][0]["reason"] == "DisruptionBudget"
    status, going = await api.call("GET", pods + "/a")
    told = next(c for c in going["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (told["status"], told["reason"]) == ("True", "EvictionByEvictionAPI") and "deletionTimestamp" in going[
        "metadata"
    ]
    dry = {**eviction, "metadata": {"name": "b"}, "deleteOptions": {"dryRun": ["All"]}}
    assert (await api.call("DELETE", budgets + "/x"))[0] == 200
    assert (await api.call("POST", pods + "/b/eviction", dry))[0] == 201
    assert [c["type"] for c in (await api.call("GET", pods + "/b"))[1]["status"]["conditions"]] == ["Ready"]


async def test_scale(api: ApiServer) -> None:
    deployments = "/apis/apps/v1/namespaces/ns/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    assert (await api.call("POST", deployments, body))[0] == 201
    status, scale = await api.call("GET", deployments + "/d/scale")
    assert status == 200 and scale["spec"] == {"replicas": 1} and scale["status"]["selector"] == "a=b"
    scale["spec"]["replicas"] = 3
    status, scaled = await api.call("PUT", deployments + "/d/scale", scale)
    assert (status, scaled["spec"]["replicas"]) == (200, 3)
    assert (await api.call("PUT", deployments + "/d/scale", scale))[0] == 409
    status, _ = await api.call("PATCH", deployments + "/d/scale", {"spec": {"replicas": 5}}, MERGE)
    _, deployment = await api.call("GET", deployments + "/d")
    assert deployment["spec"]["replicas"] == 5 and deployment["metadata"]["generation"] == 3


async def test_events_in_both_groups_are_one_object(api: ApiServer) -> None:
    body = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "ns"},
        "message": "hello",
        "reason": "R",
        "type": "Normal",
    }
    assert (await api.call("POST", "/api/v1/namespaces/ns/events", body))[0] == 201
    status, new = await api.call("GET", "/apis/events.k8s.io/v1/namespaces/ns/events/e")
    assert status == 200 and new["note"] == "hello" and new["regarding"]["name"] == "p"
    query = "?fieldSelector=involvedObject.name%3Dp"
    _, listed = await api.call("GET", "/api/v1/namespaces/ns/events" + query)
    assert [e["metadata"]["name"] for e in listed["items"]] == ["e"]


async def test_who_may_not(api: ApiServer) -> None:
    nobody = Identity("eve", (AUTHENTICATED,))
    status, refused = await api.call("GET", CONFIGS, identity=nobody)
    assert status == 403
    assert refused["message"] == (
        'configmaps is forbidden: User "eve" cannot list resource "configmaps" in API group "" in the namespace "ns"'
    )
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns"
    role = {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]}
    assert (await api.call("POST", rbac + "/roles", role))[0] == 201
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    }
    assert (await api.call("POST", rbac + "/rolebindings", binding))[0] == 201
    assert (await api.call("GET", CONFIGS, identity=nobody))[0] == 200
    assert (await api.call("GET", CONFIGS + "/x", identity=nobody))[0] == 403
    assert (await api.call("DELETE", rbac + "/rolebindings/b"))[0] == 200
    assert (await api.call("GET", CONFIGS, identity=nobody))[0] == 403


async def test_unknown_paths_and_methods(api: ApiServer) -> None:
    assert (await api.call("GET", "/api/v1/nope"))[0] == 404
    assert (await api.call("GET", "/nope"))[0] == 404
    assert (await api.call("PUT", CONFIGS))[0] == 405
    assert (await api.call("POST", CONFIGS + "/a"))[0] == 405
    assert (await api.call("GET", "/readyz?verbose"))[0] == 200
    assert (await api.call("GET", "/version"))[1]["minor"] == "36"


async def test_bodies_that_are_refused(api: ApiServer) -> None:
    for body in (b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"metadata":{"name":5}}', b'{"kind":"Pod"}'):
        status, answer = await api.call("POST", CONFIGS, body, {"content-type": "application/json"})
        assert status in (400, 422) and answer["kind"] == "Status", (body[:20], answer)
    status, answer = await api.call(
        "POST", CONFIGS, b"k8s\0\xff\xff", {"content-type": "application/vnd.kubernetes.protobuf"}
    )
    assert status == 400 and answer["kind"] == "Status"
    await api.call("POST", CONFIGS, config("a"))
    cbor = {"content-type": "application/apply-patch+cbor"}
    assert (await api.call("PATCH", f"{CONFIGS}/a?fieldManager=x&force=true", b"\xa0", cbor))[0] == 415
    big = b'{"metadata":{"name":"a"},"data":{"x":"' + b"x" * (3 << 20) + b'"}}'
    assert (await api.call("POST", CONFIGS, big))[0] == 413


async def test_deep_documents_are_refused_at_every_door(api: ApiServer) -> None:
    await api.call("POST", CONFIGS, config("a"))
    for depth in (500, 950, 5000, 300_000):
        for deep in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"- " * depth + b"x"):
            body = b'{"metadata":{"name":"a"},"foo":' + deep + b"}"
            kinds = ["json", "yaml", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"]
            for kind in kinds:
                method, target = ("PATCH", CONFIGS + "/a?fieldManager=x") if "patch" in kind else ("POST", CONFIGS)
                status, answer = await api.call(method, target, body, {"content-type": f"application/{kind}"})
                assert status < 500, (depth, deep[:4], kind, answer)
            assert (await api.call("POST", CONFIGS, deep, {"content-type": "application/yaml"}))[0] in (400, 422)


async def test_questions_have_no_table(api: ApiServer) -> None:
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    body = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    table = "application/json;as=Table;g=meta.k8s.io;v=v1"
    status, answer = await api.call("POST", reviews, body, {"accept": table})
    assert (status, answer["reason"]) == (406, "NotAcceptable")
    status, answer = await api.call("POST", reviews, body, {"accept": f"{table},application/json"})
    assert (status, answer["status"]["allowed"]) == (201, True)


async def test_a_proxied_answer_is_not_negotiated(api: ApiServer) -> None:
    status, _ = await api.call("GET", "/api/v1/namespaces/ns/services/none/proxy/x", headers={"accept": "text/html"})
    assert status == 404
