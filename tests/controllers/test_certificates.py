"""Certificates asked for: what may be asked, who approves and signs, and that the certificate opens the door."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from switchboard.api.identity import AUTHENTICATED, LOOPBACK, Identity
from switchboard.client import Client
from switchboard.client.resources import CERTIFICATESIGNINGREQUESTS as CSRS
from switchboard.cluster.loopback import Loopback
from switchboard.controllers import certificates
from switchboard.controllers.run import CONTROLLERS, ControllerSettings, run_controllers
from switchboard.controllers.times import stamp
from switchboard.objects.errors import NotFound
from switchboard.pki.signing import sign_request
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.certificates import signing_request

Object = dict[str, Any]
NOW = 1_800_000_000.0
PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CLIENT_USAGES = ["digital signature", "client auth"]
OTHERS = frozenset(c.name for c in CONTROLLERS if c is not certificates.CertificateController)


@asynccontextmanager
async def signing_api() -> AsyncIterator[tuple[ApiServer, Client]]:
    """An API over TLS whose authority the signers use."""
    async with ApiServer(tls=True) as api:
        sign = partial(_sign, api.directory)
        client = Client(Loopback(api.app, LOOPBACK))
        job = asyncio.create_task(run_controllers(client, ControllerSettings(signer=sign, without=OTHERS)))
        try:
            yield api, client
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)


def _sign(folder: Path, request: bytes, usages: list[str], seconds: float) -> bytes:
    return sign_request(folder, request, usages, seconds, time.time())


def body(name: str, pem: bytes, signer: str = certificates.CLIENT, **spec: Any) -> Object:
    spec = {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": CLIENT_USAGES, **spec}
    return {"metadata": {"name": name}, "spec": spec}


def condition(type_: str, **more: str) -> Object:
    return {"type": type_, "status": "True", "reason": "Because", **more}


async def until(client: Client, name: str, look: Any) -> Object:
    async with asyncio.timeout(10):
        while True:
            found = await client.get(CSRS, name)
            if look(found.get("status") or {}):
                return found
            await asyncio.sleep(0.01)


async def approve(api: ApiServer, name: str, *conditions: Object) -> tuple[int, Any]:
    wanted = {"status": {"conditions": list(conditions) or [condition("Approved")]}}
    headers = {"content-type": "application/merge-patch+json"}
    return await api.call("PATCH", f"{PATH}/{name}/approval", wanted, headers)


async def test_an_approved_request_becomes_a_certificate_that_works(tmp_path: Path) -> None:
    async with signing_api() as (api, client):
        pem, key = signing_request("jane", "readers")
        (tmp_path / "csr.json").write_text(
            json.dumps({"apiVersion": CSRS.api_version, "kind": CSRS.kind, **body("jane", pem, expirationSeconds=3600)})
        )
        run = partial(kubectl, api.kubeconfig())
        await run("apply", "-f", str(tmp_path / "csr.json"))
        assert "jane" in await run("get", "csr", "jane") and "Pending" in await run("get", "csr")
        assert "approved" in await run("certificate", "approve", "jane")
        found = await until(client, "jane", lambda status: status.get("certificate"))
        assert "Approved,Issued" in await run("get", "csr", "jane")
        made = base64.b64decode(found["status"]["certificate"])
        parsed = x509.load_pem_x509_certificate(made)
        assert 3500 < (parsed.not_valid_after_utc.timestamp() - time.time()) <= 3600
        purposes = parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        bits = parsed.extensions.get_extension_for_class(x509.KeyUsage).value
        assert bits.digital_signature and not bits.key_encipherment and not bits.key_cert_sign
        (tmp_path / "jane.crt").write_bytes(made)
        (tmp_path / "jane.key").write_bytes(key)
        config = json.loads(api.kubeconfig().read_text())
        config["users"][0]["user"] = {"client-certificate": "jane.crt", "client-key": "jane.key"}
        (tmp_path / "config").write_text(json.dumps(config))
        who = await kubectl(tmp_path / "config", "auth", "whoami", "-o", "json")
        info = json.loads(who)["status"]["userInfo"]
        assert (info["username"], info["groups"]) == ("jane", ["readers", AUTHENTICATED])


async def kubectl(config: Path, *words: str) -> str:
    command = ["kubectl", "--kubeconfig", str(config), *words]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(config.parent)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_decision_is_made_once_and_kept() -> None:
    async with ApiServer() as api:
        pem, _ = signing_request("jane")
        assert (await api.call("POST", PATH, body("r", pem)))[0] == 201
        assert (await approve(api, "r", condition("Denied")))[0] == 200
        code, answer = await approve(api, "r", condition("Denied"), condition("Approved"))
        assert code == 422 and "Approved and Denied conditions are mutually exclusive" in answer["message"]
        code, answer = await approve(api, "r", condition("Other"))
        assert code == 422 and 'updates may not remove a condition of type "Denied"' in answer["message"]
        code, answer = await approve(api, "r", condition("Denied", status="False"))
        assert code == 422 and 'supported values: "True"' in answer["message"]
        held = (await api.call("GET", f"{PATH}/r"))[1]
        changed = held | {"status": {"conditions": [condition("Denied", message="else")]}}
        kept = (await api.call("PUT", f"{PATH}/r/status", changed))[1]
        assert kept["status"]["conditions"] == held["status"]["conditions"]
        held = kept
        both = [*held["status"]["conditions"], condition("Approved")]
        code, answer = await api.call("PUT", f"{PATH}/r/status", held | {"status": {"conditions": both}})
        assert code == 422 and 'updates may not add a condition of type "Approved"' in answer["message"]
        spec = held["spec"] | {"usages": ["any"]}
        assert (await api.call("PUT", f"{PATH}/r", held | {"spec": spec}))[1]["spec"] == held["spec"]


async def test_a_certificate_is_written_once_and_must_be_one() -> None:
    async with ApiServer(tls=True) as api:
        pem, _ = signing_request("jane")
        await api.call("POST", PATH, body("r", pem, "example.com/other"))
        made = base64.b64encode((api.directory / "ca.crt").read_bytes()).decode()

        async def write(text: str, sub: str) -> tuple[int, str]:
            held = (await api.call("GET", f"{PATH}/r"))[1]
            code, answer = await api.call("PUT", f"{PATH}/r/{sub}", held | {"status": {"certificate": text}})
            return code, answer.get("message", "")

        code, message = await write(base64.b64encode(b"no").decode(), "status")
        assert code == 422 and "must contain at least one CERTIFICATE PEM block" in message
        code, message = await write(base64.b64encode(pem).decode(), "status")
        assert code == 422 and 'only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"' in message
        assert (await write(made, "approval"))[0] == 200
        assert "certificate" not in (await api.call("GET", f"{PATH}/r"))[1].get("status", {})
        assert (await write(made, "status"))[0] == 200
        code, message = await write(base64.b64encode((api.directory / "server.crt").read_bytes()).decode(), "status")
        assert code == 422 and "updates may not modify existing certificate content" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request": "bm8="}, "spec.request: Invalid value"),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["flying"]}, 'spec.usages[0]: Unsupported value: "flying"'),
        ({"usages": ["any", "any"]}, 'spec.usages[1]: Duplicate value: "any"'),
        ({"signerName": "kubernetes.io/legacy-unknown"}, "the legacy signerName is not allowed via this API version"),
        ({"signerName": "a.b/c/d"}, "must be a fully qualified domain and path of the form"),
        ({"signerName": "local/x"}, "should be a domain with at least two segments separated by dots"),
        ({"signerName": "a.B/x"}, 'validating label "B"'),
        ({"expirationSeconds": 599}, "may not specify a duration less than 600 seconds"),
    ],
)
async def test_what_may_not_be_asked_for(change: Object, message: str) -> None:
    async with ApiServer() as api:
        pem, _ = signing_request("jane")
        code, answer = await api.call("POST", PATH, body("r", pem, **change))
        assert code == 422 and message in answer["message"], answer


async def test_a_forged_request_is_refused() -> None:
    async with ApiServer() as api:
        pem, _ = signing_request("jane")
        data = bytearray(base64.b64decode(b"".join(pem.splitlines()[1:-1])))
        data[-1] ^= 1
        forged = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(data) + pem.splitlines()[-1]
        code, answer = await api.call("POST", PATH, body("r", forged))
        assert code == 422 and "spec.request" in answer["message"]


async def test_node_agents_get_theirs_without_being_asked() -> None:
    async with signing_api() as (api, client):
        node = Identity("system:node:n1", ("system:nodes", AUTHENTICATED))
        pem, _ = signing_request("system:node:n1", "system:nodes")
        code, answer = await api.call("POST", PATH, body("own", pem, certificates.KUBELET_CLIENT), identity=node)
        assert code == 201, answer
        subject = {"kind": "Group", "name": "system:nodes", "apiGroup": "rbac.authorization.k8s.io"}
        name = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
        binding = {
            "metadata": {"name": "renewal"},
            "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        }
        may_ask = {
            "metadata": {"name": "may-ask"},
            "subjects": [{**subject, "kind": "User", "name": "agent"}],
            "roleRef": {**binding["roleRef"], "name": "system:node-bootstrapper"},
        }
        for given in (binding, may_ask):
            code, answer = await api.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", given)
            assert code == 201, answer
        await api.call("POST", PATH, body("second", pem, certificates.KUBELET_CLIENT), identity=node)
        found = await until(client, "second", lambda status: status.get("certificate"))
        assert found["status"]["conditions"][0]["reason"] == "AutoApproved"
        other, _ = signing_request("system:node:n2", "system:nodes")
        code, _ = await api.call("POST", PATH, body("refused", other, certificates.KUBELET_CLIENT), identity=node)
        assert code == 403
        agent = Identity("agent", ("system:nodes", AUTHENTICATED))  # no node, so NodeRestriction lets it
        code, answer = await api.call("POST", PATH, body("foreign", other, certificates.KUBELET_CLIENT), identity=agent)
        assert code == 201, answer
        await api.call("POST", PATH, body("third", pem, certificates.KUBELET_CLIENT), identity=node)
        await until(client, "third", lambda status: status.get("certificate"))
        assert not (await client.get(CSRS, "foreign")).get("status")


async def test_a_request_its_signer_cannot_sign_fails() -> None:
    async with signing_api() as (api, client):
        pem, _ = signing_request("jane")
        await api.call("POST", PATH, body("r", pem, usages=["server auth"]))
        await approve(api, "r")
        found = await until(client, "r", lambda status: len(status.get("conditions") or ()) == 2)
        failed = found["status"]["conditions"][1]
        assert (failed["type"], failed["reason"]) == ("Failed", "SignerValidationFailure")
        assert failed["message"] == "invalid usage for client certificate: server auth"


def asked(signer: str, usages: list[str], name: str, *groups: str, hosts: tuple[str, ...] = ()) -> str:
    pem, _ = signing_request(name, *groups, hosts=hosts)
    request = body("r", pem, signer, usages=usages)
    return certificates.refusal(request, certificates.parse(request))


SERVER_USAGES = ["digital signature", "key encipherment", "server auth"]


def test_what_node_signers_insist_on() -> None:
    client, serving = certificates.KUBELET_CLIENT, certificates.KUBELET_SERVING
    node = ("system:node:n", "system:nodes")
    assert asked(client, CLIENT_USAGES, *node) == ""
    assert asked(client, CLIENT_USAGES, "system:node:n", "others") == "subject organization is not system:nodes"
    assert asked(client, CLIENT_USAGES, *node, hosts=("n",)) == "DNS subjectAltNames are not allowed"
    assert asked(client, SERVER_USAGES, *node).startswith("usages did not match [client auth digital signature")
    assert asked(client, CLIENT_USAGES, "n", "system:nodes").startswith("subject common name does not begin")
    assert asked(serving, SERVER_USAGES, *node, hosts=("n",)) == ""
    assert asked(serving, SERVER_USAGES, *node) == "DNS or IP subjectAltName is required"
    assert asked(certificates.LEGACY, ["any"], "x") == ""


@pytest.mark.parametrize(
    ("age", "status", "gone"),
    [
        (86300, {}, False),
        (86500, {}, True),
        (10, {"conditions": [condition("Denied", lastUpdateTime=stamp(NOW - 3700))]}, True),
        (10, {"conditions": [condition("Denied", lastUpdateTime=stamp(NOW - 3500))]}, False),
        (90000, {"conditions": [condition("Approved", lastUpdateTime=stamp(NOW - 3700))]}, False),
        (10, {"conditions": [condition("Failed", lastUpdateTime=stamp(NOW - 3700))]}, True),
    ],
)
def test_old_requests_go(age: float, status: Object, gone: bool) -> None:
    request = {"metadata": {"creationTimestamp": stamp(NOW - age)}, "spec": {}, "status": status}
    assert (certificates.goes_in(request, NOW) <= 0) is gone


async def test_an_old_request_is_removed() -> None:
    async with signing_api() as (api, client):
        pem, _ = signing_request("jane")
        await api.call("POST", PATH, body("r", pem, "example.com/x"))
        await approve(api, "r", condition("Denied", lastUpdateTime=stamp(time.time() - 4000)))
        with pytest.raises(NotFound):
            await until(client, "r", lambda status: False)
