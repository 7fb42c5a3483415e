"""What a control plane offers beside objects, on a real cluster with stock kubectl: certificates, other API servers."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography import x509

from switchboard.testing import extension
from switchboard.testing.certificates import Authority, signing_request
from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.waiting import wait_for

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


def test_another_api_server_behind_a_service(cluster: PrivateCluster, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wardle")])
    pair = authority.issue("wardle", subject, server=True, names=["wardle.wardle.svc"])
    files = {name: Path(path).read_text() for name, path in zip(("tls.crt", "tls.key"), pair, strict=True)}
    files["extension.py"] = Path(extension.__file__).read_text()
    words = ["python3", "/files/extension.py", "8443", "/files/tls.crt", "/files/tls.key"]
    mounts = [{"name": "files", "mountPath": "/files"}]
    probe = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    container = {"name": "c", "image": "flask", "command": words, "volumeMounts": mounts, "readinessProbe": probe}
    service = {"namespace": "wardle", "name": "wardle"}
    bundle = base64.b64encode(authority.certificate.read_bytes()).decode()
    registration = {"group": extension.GROUP, "version": extension.VERSION, "service": service, "caBundle": bundle}
    where = {"namespace": "wardle"}
    made = [
        {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "wardle"}},
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "files", **where}, "data": files},
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "wardle", "labels": {"app": "wardle"}, **where},
            "spec": {
                "containers": [container],
                "volumes": [{"name": "files", "configMap": {"name": "files"}}],
                "terminationGracePeriodSeconds": 0,
            },
        },
        {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": "wardle", **where},
            "spec": {"selector": {"app": "wardle"}, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        {
            "kind": "APIService",
            "apiVersion": "apiregistration.k8s.io/v1",
            "metadata": {"name": f"{extension.VERSION}.{extension.GROUP}"},
            "spec": {**registration, "groupPriorityMinimum": 1000, "versionPriority": 15},
        },
    ]
    cluster.kubectl("apply", "-f", "-", given=json.dumps({"kind": "List", "apiVersion": "v1", "items": made}))
    name = f"apiservice/{extension.VERSION}.{extension.GROUP}"
    try:
        cluster.kubectl("wait", "--for=condition=Available", name, "--timeout=60s")
        assert "flunders" in cluster.kubectl("api-resources", "--api-group", extension.GROUP)
        flunder = {"apiVersion": f"{extension.GROUP}/{extension.VERSION}", "kind": "Flunder"}
        body = json.dumps({**flunder, "metadata": {"name": "one", **where}})
        cluster.kubectl("create", "--validate=false", "-f", "-", given=body)
        assert cluster.get("flunders", "-n", "wardle")["items"][0]["metadata"]["name"] == "one"
        cluster.kubectl("delete", "fl", "one", "-n", "wardle", "--wait=false")
        assert cluster.get("flunders", "-n", "wardle")["items"] == []
        cluster.kubectl("delete", "pod", "wardle", "-n", "wardle", "--now")
        wait_for(lambda: "MissingEndpoints" in cluster.kubectl("get", name), 20)
    finally:
        cluster.kubectl("delete", name, "namespace/wardle", "--wait=false")


def test_usage_is_told_and_a_busy_workload_scales(cluster: PrivateCluster) -> None:
    limits = {"requests": {"cpu": "100m"}, "limits": {"cpu": "400m"}}
    container = {"name": "c", "image": "flask", "command": ["python3", "-c", "while True: pass"], "resources": limits}
    labels = {"app": "busy"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    meta = {"name": "busy", "namespace": "busy"}
    workload = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    fast = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"}
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    scaler = {
        "scaleTargetRef": target,
        "minReplicas": 1,
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": metric}],
        "behavior": {"scaleUp": fast},
    }
    cluster.kubectl("create", "namespace", "busy")
    given = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": workload}
    cluster.kubectl("apply", "-f", "-", given=json.dumps(given))
    cluster.kubectl("rollout", "status", "deployment/busy", "-n", "busy", "--timeout=60s")

    def used() -> int:
        lines = cluster.kubectl("top", "pods", "-n", "busy", "--no-headers", check=False).split()
        return int(lines[1].removesuffix("m")) if len(lines) == 3 else 0

    wait_for(lambda: used() > 100, 30, what="metrics of the pod")
    assert cluster.kubectl("top", "nodes", "--no-headers").split()[2].endswith("%")
    given = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": scaler}
    cluster.kubectl("apply", "-f", "-", given=json.dumps(given))
    wait_for(lambda: cluster.get("deployment", "busy", "-n", "busy")["spec"]["replicas"] == 2, 40)

    def limited() -> bool:
        conditions = cluster.get("hpa", "busy", "-n", "busy").get("status", {}).get("conditions", ())
        return any(c["reason"] == "ScaleUpLimit" for c in conditions)

    wait_for(limited)
    cluster.kubectl("delete", "namespace", "busy")
