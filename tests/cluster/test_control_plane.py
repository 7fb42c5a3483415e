"""What a control plane offers beside objects, on a real cluster and with stock kubectl: certificates."""

from __future__ import annotations

import base64
import json

import pytest

from switchboard.testing.certificates import signing_request
from switchboard.testing.cluster import PrivateCluster

pytestmark = pytest.mark.machine


def test_a_user_gets_a_certificate_and_comes_in_with_it(cluster: PrivateCluster) -> None:
    pem, key = signing_request("jane", "guests")
    spec = {"request": base64.b64encode(pem).decode(), "signerName": "kubernetes.io/kube-apiserver-client"}
    request = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "jane"},
        "spec": {**spec, "usages": ["client auth"], "expirationSeconds": 3600},
    }
    cluster.kubectl("apply", "-f", "-", given=json.dumps(request))
    cluster.kubectl("certificate", "approve", "jane")
    cluster.kubectl("wait", "--for=jsonpath={.status.certificate}", "csr/jane", "--timeout=10s")
    made = base64.b64decode(cluster.get("csr", "jane")["status"]["certificate"])
    files = {"jane.crt": made, "jane.key": key}
    for name, content in files.items():
        (cluster.folder / name).write_bytes(content)
    given = [f"--client-certificate={cluster.folder}/jane.crt", f"--client-key={cluster.folder}/jane.key"]
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"] = []
    config["contexts"][0]["context"]["user"] = ""
    (cluster.folder / "nobody").write_text(json.dumps(config))
    said = cluster.kubectl("--kubeconfig", str(cluster.folder / "nobody"), *given, "auth", "whoami", "-o", "json")
    who = json.loads(said)["status"]["userInfo"]
    assert (who["username"], who["groups"]) == ("jane", ["guests", "system:authenticated"])
    cluster.kubectl("delete", "csr", "jane")
