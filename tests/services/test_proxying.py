"""Services and pods through the API: every verb, http and https, names and numbers, the 301, links."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from switchboard.testing.certificates import Authority
from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
VERBS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Api:
    """curl with the administrator's certificate."""

    def __init__(self, space: Space) -> None:
        words = ("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        config = json.loads(space.cluster.kubectl(*words))
        self.space, user = space, config["users"][0]["user"]
        self.server = config["clusters"][0]["cluster"]["server"]
        self.files = [space.cluster.folder / name for name in ("proxying.crt", "proxying.key")]
        for file, field in zip(self.files, ("client-certificate-data", "client-key-data"), strict=True):
            file.write_bytes(b64decode(user[field]))

    def ask(self, path: str, verb: str = "GET", *more: str) -> tuple[int, dict[str, str], str]:
        """Status, headers, body."""
        words = ["-X", verb] if verb != "HEAD" else ["--head"]
        certificate = ["--cert", str(self.files[0]), "--key", str(self.files[1])]
        url = f"{self.server}/api/v1/namespaces/{self.space.name}/{path}"
        said = self.space.cluster.run("curl", "-sk", "-i", "--max-time", "30", *words, *certificate, *more, url).stdout
        head, _, body = said.replace("\r\n", "\n").partition("\n\n")
        lines = head.splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return int(lines[0].split()[1]), headers, body


@pytest.fixture(scope="module")
def api(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxied")])
    files = zip(("tls.crt", "tls.key"), authority.issue("proxied", name, server=True), strict=True)
    data = {field: b64encode(path.read_bytes()).decode() for field, path in files}
    space.apply({"kind": "Secret", "metadata": {"name": "proxied"}, "type": "kubernetes.io/tls", "data": data})
    ports = [{"name": "web", "containerPort": 8080}, {"name": "tls", "containerPort": 8443}]
    pod = space.pod("proxied", "http:8080", "http:8082", "https:8443:/tls", ports=ports)
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "tls", "mountPath": "/tls"})
    pod["spec"]["volumes"].append({"name": "tls", "secret": {"secretName": "proxied"}})
    space.apply(pod)
    space.ready("proxied")
    made = [
        {"name": "plain", "port": 80, "targetPort": "web"},
        {"name": "second", "port": 81, "targetPort": 8082},
        {"name": "tlsname", "port": 443, "targetPort": "tls"},
    ]
    space.service("proxied", *made, selector={"pod": "proxied"})
    wait_for(lambda: space.endpoints("proxied"))
    wait_for(lambda: space.get("endpoints", "proxied").get("subsets"))
    yield Api(space)


@pytest.mark.parametrize(
    "who",
    [
        "pods/proxied",
        "pods/proxied:8080",
        "pods/proxied:8082",
        "pods/http:proxied:8080",
        "pods/https:proxied:8443",
        "services/proxied:plain",
        "services/proxied:second",
        "services/proxied:80",
        "services/http:proxied:plain",
        "services/https:proxied:tlsname",
        "services/https:proxied:443",
    ],
)
def test_every_way_of_naming_it(api: Api, who: str) -> None:
    code, headers, body = api.ask(f"{who}/proxy/some/path?x=1%20y")
    assert (code, headers["x-method"]) == (200, "GET")
    assert body.split()[0] == "proxied" and body.split()[2:] == ["GET", "/some/path?x=1%20y"]
    code, headers, body = api.ask(f"{who}/proxy/page")
    base = f"/api/v1/namespaces/{api.space.name}/{who}/proxy"
    assert code == 200 and f'href="{base}/rewriteme"' in body
    assert int(headers["content-length"]) == len(body) if "content-length" in headers else True


@pytest.mark.parametrize("who", ["pods/proxied", "services/proxied:plain"])
def test_every_verb(api: Api, who: str) -> None:
    for verb in VERBS:
        given = ["--data-binary", "hello"] if verb in ("POST", "PUT", "PATCH") else []
        code, headers, body = api.ask(f"{who}/proxy/some/path/with/{verb}", verb, *given)
        assert (code, headers["x-method"]) == (200, verb), verb
        assert not given or body.endswith(" hello")
        code, headers, _ = api.ask(f"{who}/proxy?method={verb}", verb, *given)
        if verb in ("GET", "HEAD"):
            assert code == 301 and headers["location"].split("?")[0].endswith("/proxy/"), verb
        else:
            assert (code, headers["x-method"]) == (200, verb), verb


def test_what_cannot_be_reached_is_said(api: Api) -> None:
    assert api.ask("services/nobody/proxy/")[0] == 404
    assert api.ask("pods/nobody/proxy/")[0] == 404
    assert api.ask("pods/proxied:9/proxy/")[0] == 503
    code, _, body = api.ask("services/proxied:9/proxy/")
    assert code == 503 and json.loads(body)["message"] == 'no service port 9 found for service "proxied"'
    assert api.ask("services/proxied:none/proxy/")[0] == 503
    api.space.service("lonely", 80, selector={"app": "nobody"})
    wait_for(lambda: api.space.cluster.run("kubectl", "-n", api.space.name, "get", "endpoints", "lonely").stdout)
    code, _, body = api.ask("services/lonely:p80/proxy/")
    assert code == 503 and "no endpoints available for service" in json.loads(body)["message"]
