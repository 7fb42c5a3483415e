"""OpenAPI documents: complete, closed under reference, and understood by a stock kubectl."""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from switchboard import api
from switchboard.api import openapi_texts
from switchboard.api.discovery import Discovery
from switchboard.api.openapi import OpenApi, references
from switchboard.objects.errors import NotAcceptable
from switchboard.objects.kinds import Kind, Registry
from switchboard.objects.types import definitions, table
from switchboard.objects.wire import Codec
from switchboard.testing.apiserver import ApiServer

ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def widgets(size: dict[str, Any] | None = None) -> Kind:
    spec = {"type": "object", "properties": {"size": size or {"type": "integer", "description": "How large it is."}}}
    schema = {"type": "object", "properties": {"spec": spec}}
    return Kind("example.com", "v1", "Widget", "widgets", "widget", True, VERBS, list_kind="WidgetList", schema=schema)


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    registry = Registry()
    registry.add(widgets())
    return OpenApi(registry)


def read(openapi: OpenApi, path: str, accept: str | None = None) -> dict[str, Any]:
    document = openapi.find(path, accept)
    assert document is not None
    found: dict[str, Any] = json.loads(document.plain())
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


async def test_what_kubectl_asks_for_first_is_built_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ApiServer() as server:
        front = server.app.nonresource
        await front.build_ahead()
        monkeypatch.setattr(front.documents, "_build", lambda key: pytest.fail(f"{key} is built only now"))
        document = front.documents.find("/openapi/v2", ASKED)
        assert document is not None
        assert document.content_type == ASKED.replace("@", ".")


def test_every_path_of_the_index_is_there(openapi: OpenApi) -> None:
    index = read(openapi, "/openapi/v3")["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/example.com/v1", "version", "api", "apis", "apis/apps"} <= index.keys()
    assert "apis/example.com" not in index
    for key, entry in index.items():
        path, _, query = entry["serverRelativeURL"].partition("?")
        document = openapi.find(path, None)
        assert document is not None
        assert query == f"hash={document.etag}"
        assert path == f"/openapi/v3/{key}"


@pytest.mark.parametrize(
    ("key", "path", "operation", "answer"),
    [
        ("api", "/api/", "getCoreAPIVersions", "APIVersions"),
        ("apis", "/apis/", "getAPIVersions", "APIGroupList"),
        ("apis/rbac.authorization.k8s.io", None, "getRbacAuthorizationAPIGroup", "APIGroup"),
        ("api/v1", "/api/v1/", "getCoreV1APIResources", "APIResourceList"),
        ("apis/networking.k8s.io/v1", None, "getNetworkingV1APIResources", "APIResourceList"),
        ("version", "/version/", "getCodeVersion", "Info"),
        (".well-known/openid-configuration", None, "getServiceAccountIssuerOpenIDConfiguration", ""),
        ("openid/v1/jwks", None, "getServiceAccountIssuerOpenIDKeyset", ""),
    ],
)
def test_discovery_is_described(openapi: OpenApi, key: str, path: str | None, operation: str, answer: str) -> None:
    path, swagger = path or f"/{key}/", read(openapi, "/openapi/v2")
    for document in (read(openapi, f"/openapi/v3/{key}"), swagger):
        item = document["paths"][path]["get"]
        assert item["operationId"] == operation
        if answer:
            assert {name.rpartition(".")[2] for name in references(item)} == {answer}
    assert "/apis/example.com/" not in swagger["paths"]
    assert "/apis/example.com/v1/" not in read(openapi, "/openapi/v3/apis/example.com/v1")["paths"]


def test_v3_documents_are_closed(openapi: OpenApi) -> None:
    for key in read(openapi, "/openapi/v3")["paths"]:
        document = read(openapi, f"/openapi/v3/{key}")
        names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert set(references(document)) <= names, key
        ids = Counter(operation["operationId"] for _, _, operation in operations(document))
        assert [name for name, count in ids.items() if count > 1] == []


def test_what_kubectl_looks_for(openapi: OpenApi) -> None:
    document = read(openapi, "/openapi/v3/api/v1")
    assert document["openapi"] == "3.0.0"
    schemas = document["components"]["schemas"]
    assert schemas["io.k8s.api.core.v1.ServicePort"]["required"] == ["port"]
    meta = schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
    assert [name for name, field in meta.items() if not field.get("description")] == []
    assert meta["creationTimestamp"]["description"].startswith("CreationTimestamp is a timestamp")
    gvk = {"group": "", "version": "v1", "kind": "Service"}
    assert schemas["io.k8s.api.core.v1.Service"]["x-kubernetes-group-version-kind"] == [gvk]
    patch = document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == gvk
    assert patch["x-kubernetes-action"] == "patch"
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= {p["name"] for p in patch["parameters"]}


def test_watches_with_their_own_paths(openapi: OpenApi) -> None:
    paths = read(openapi, "/openapi/v3/api/v1")["paths"]
    found = {path: item["get"]["operationId"] for path, item in paths.items() if path.startswith("/api/v1/watch/")}
    assert found["/api/v1/watch/pods"] == "watchCoreV1PodListForAllNamespaces"
    assert found["/api/v1/watch/namespaces/{namespace}/pods"] == "watchCoreV1NamespacedPodList"
    assert found["/api/v1/watch/namespaces/{namespace}/pods/{name}"] == "watchCoreV1NamespacedPod"
    assert found["/api/v1/watch/nodes"] == "watchCoreV1NodeList"
    assert found["/api/v1/watch/nodes/{name}"] == "watchCoreV1Node"
    assert len(set(found.values())) == len(found)


def test_v2_is_closed_and_has_every_kind(openapi: OpenApi) -> None:
    document = read(openapi, "/openapi/v2")
    assert document["swagger"] == "2.0"
    definitions = document["definitions"]
    assert set(references(document)) <= {f"#/definitions/{name}" for name in definitions}
    kinds = {
        (gvk["group"], gvk["version"], gvk["kind"])
        for schema in definitions.values()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
    }
    for kind in Registry():
        assert (kind.group, kind.version, kind.kind) in kinds
    assert definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["type"] == "string"
    for _, method, operation in operations(document):
        assert len([p for p in operation["parameters"] if p["in"] == "body"]) <= 1, (method, operation["operationId"])


def test_v2_as_protobuf_says_the_same_as_v2_as_json(openapi: OpenApi) -> None:
    document = openapi.find("/openapi/v2", ASKED)
    assert document is not None
    assert document.content_type == ASKED.replace("@", ".")
    message = Codec(table("openapi_v2_protobuf")).decode("Document", document.plain())
    swagger = read(openapi, "/openapi/v2")
    assert [p["name"] for p in message["paths"]["path"]] == list(swagger["paths"])
    schemas = {s["name"]: s["value"] for s in message["definitions"]["additional_properties"]}
    assert schemas.keys() == swagger["definitions"].keys()
    port = schemas["io.k8s.api.core.v1.ServicePort"]
    fields = {f["name"]: f["value"] for f in port["properties"]["additional_properties"]}
    assert fields["targetPort"]["_ref"] == "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    assert fields["targetPort"]["description"].startswith("The port of the pods: a number")
    assert fields["port"]["type"] == {"value": ["integer"]}
    assert port["required"] == ["port"]


def test_media_types_of_v2(openapi: OpenApi) -> None:
    assert (openapi.find("/openapi/v2", "*/*") or openapi).content_type == "application/json"  # type: ignore[union-attr]
    with pytest.raises(NotAcceptable):
        openapi.find("/openapi/v2", "text/html")


def test_a_changed_custom_kind_changes_its_document_and_no_other() -> None:
    registry = Registry()
    openapi = OpenApi(registry)
    assert not openapi.knows("/openapi/v3/apis/example.com/v1")
    apps, swagger = openapi.find("/openapi/v3/apis/apps/v1", None), openapi.find("/openapi/v2", None)
    registry.add(widgets())
    first = openapi.find("/openapi/v3/apis/example.com/v1", None)
    registry.add(widgets({"type": "string"}))
    second = openapi.find("/openapi/v3/apis/example.com/v1", None)
    assert first is not None
    assert second is not None
    assert first.etag != second.etag
    assert openapi.find("/openapi/v3/apis/apps/v1", None) is apps
    assert openapi.find("/openapi/v2", None) is not swagger


class Server(BaseHTTPRequestHandler):
    """Discovery and OpenAPI, and what is created comes back."""

    openapi: OpenApi
    discovery: Discovery

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        accept = self.headers.get("accept")
        document = self.openapi.find(path, accept) or self.discovery.find(path, accept)
        if document is None:
            self._send(404, "application/json", b'{"kind":"Status","apiVersion":"v1","code":404,"reason":"NotFound"}')
        else:
            self._send(200, document.content_type, document.plain())

    def do_POST(self) -> None:
        self._send(201, "application/json", self.rfile.read(int(self.headers["content-length"])))

    def _send(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Kubectl:
    def __init__(self, url: str, home: Path) -> None:
        self._url, self._home = url, home

    def __call__(self, *args: str, stdin: str = "") -> tuple[int, str]:
        command = ["kubectl", f"--server={self._url}", f"--cache-dir={self._home}", *args]
        env = {"HOME": str(self._home), "PATH": "/usr/local/bin:/usr/bin:/bin"}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    registry = Registry()
    registry.add(widgets())
    handler = type("Handler", (Server,), {"openapi": OpenApi(registry), "discovery": Discovery(registry)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Kubectl(f"http://127.0.0.1:{server.server_port}", tmp_path_factory.mktemp("home"))
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.machine
def test_kubectl_explains(kubectl: Kubectl) -> None:
    code, text = kubectl("explain", "service.spec.ports")
    assert code == 0, text
    assert "ServicePort" in text
    assert "targetPort" in text
    code, text = kubectl("explain", "widgets.spec")
    assert code == 0, text
    assert "How large it is." in text


@pytest.mark.machine
def test_kubectl_lists_resources(kubectl: Kubectl) -> None:
    code, text = kubectl("api-resources", "--no-headers")
    assert code == 0, text
    words = [line.split() for line in text.splitlines()]
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in words
    assert ["widgets", "example.com/v1", "true", "Widget"] in words


@pytest.mark.machine
def test_kubectl_validates(kubectl: Kubectl) -> None:
    manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports: [{port: 80, targetPort: web}]\n"
    code, text = kubectl("create", "-f", "-", stdin=manifest)
    assert (code, text.strip()) == (0, "service/x created")


CUSTOM: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size", "maybe"],
            "properties": {
                "size": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "maybe": {"type": "object", "nullable": True, "properties": {"x": {"type": "string"}}},
                "free": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"known": {"type": "string"}},
                },
                "lists": {"type": "array", "x-kubernetes-preserve-unknown-fields": True, "items": {"type": "string"}},
                "template": {"type": "object", "x-kubernetes-embedded-resource": True},
                "one": {"type": "string", "oneOf": [{"pattern": "a"}, {"pattern": "b"}]},
            },
        }
    },
}


def custom(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The components of a kind with a schema, in v2 and v3."""
    registry = Registry()
    registry.add(replace(widgets(), schema=schema))
    openapi = OpenApi(registry)
    v2 = read(openapi, "/openapi/v2")["definitions"]["com.example.v1.Widget"]
    v3 = read(openapi, "/openapi/v3/apis/example.com/v1")["components"]["schemas"]["com.example.v1.Widget"]
    return v2, v3


def test_custom_kinds_in_v2_do_not_forbid_what_their_schema_allows() -> None:
    v2, v3 = custom(CUSTOM)
    spec = v2["properties"]["spec"]
    assert spec["required"] == ["size"]
    assert spec["properties"]["size"] == {"x-kubernetes-int-or-string": True}
    assert spec["properties"]["maybe"] == {}
    for name in ("free", "lists"):
        assert spec["properties"][name] == {"x-kubernetes-preserve-unknown-fields": True}
    assert spec["properties"]["one"] == {"type": "string"}
    assert spec["properties"]["template"]["required"] == ["kind", "apiVersion"]
    assert spec["properties"]["template"]["properties"].keys() == {"kind", "apiVersion", "metadata"}
    shown = v3["properties"]["spec"]["properties"]
    assert shown["free"]["properties"] == {"known": {"type": "string"}}
    assert shown["one"]["oneOf"] and shown["maybe"]["nullable"]
    assert shown["template"]["properties"].keys() == {"kind", "apiVersion", "metadata"}


def test_a_custom_kind_that_allows_everything() -> None:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"spec": {"type": "object"}}}
    v2, v3 = custom(free)
    gvk = [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    assert v2 == {"type": "object", "x-kubernetes-group-version-kind": gvk}
    assert v3["properties"].keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert v3["properties"]["apiVersion"]["description"].startswith("APIVersion defines")


def by_group() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, schema in definitions().items():
        prefix, _, kind = name.rpartition(".")
        found.setdefault(".".join(prefix.split(".")[-2:]), {})[kind] = schema
    return found


def test_what_is_described_is_there() -> None:
    known = by_group()
    files = [file.name for file in (resources.files(api) / "texts").iterdir()]
    assert files
    for group in {".".join(file.split(".")[:2]) for file in files}:
        for names, lines in openapi_texts.parts(group):
            schemas = [known[group][name] for name in names]
            fields = {openapi_texts.ITSELF, *(field for schema in schemas for field in schema.get("properties", ()))}
            found = dict(openapi_texts.said(lines))
            assert found, (group, names)
            assert found.keys() <= fields, (group, names)
            assert all(found.values()), (group, names)


def test_everything_is_described_to_its_last_field() -> None:
    texts = openapi_texts.Texts()
    for name, schema in sorted(definitions().items()):
        found = texts.described(name, schema)
        assert found.get("description"), name
        bare = [field for field, value in found.get("properties", {}).items() if not value.get("description")]
        assert bare == [], name
        properties = {
            key: {k: v for k, v in value.items() if k != "description"}
            for key, value in found.get("properties", {}).items()
        }
        assert properties == schema.get("properties", {}), name  # and nothing else has changed


def test_fields_are_described_in_both_versions(openapi: OpenApi) -> None:
    v3 = read(openapi, "/openapi/v3/api/v1")["components"]["schemas"]["io.k8s.api.core.v1.ServicePort"]
    v2 = read(openapi, "/openapi/v2")["definitions"]["io.k8s.api.core.v1.ServicePort"]
    assert v3["description"] == v2["description"] != ""
    for field in ("targetPort", "nodePort"):
        assert v3["properties"][field]["description"] == v2["properties"][field]["description"] != ""
    assert v3["properties"]["port"]["format"] == "int32"


def test_words_that_come_later_go_first() -> None:
    texts = openapi_texts.Texts()
    assert texts.of("io.k8s.api.core.v1.Container")["ports"].startswith("Ports that the program listens at.")
    assert texts.of("io.k8s.api.core.v1.EphemeralContainer")["ports"] == "Not allowed here."
    assert texts.of("io.k8s.api.unknown.v9.Thing") == {}
