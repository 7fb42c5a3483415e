"""`switchboard proxy --kubeconfig`: Services in a network namespace that is no node of ours, and nothing left of it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from switchboard.testing.cluster import ROOT, PrivateCluster
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
ADDRESS = "10.96.0.1"  # of the API's own Service, whose endpoint listens in the host's namespace


def answers(cluster: PrivateCluster, address: str) -> int:
    """0 when the API answers at an address, else curl's number of what went wrong."""
    return cluster.run("curl", "-sk", "--max-time", "2", f"https://{address}/readyz", check=False).returncode


def tables(cluster: PrivateCluster) -> set[str]:
    return set(cluster.run("nft", "list", "tables").stdout.splitlines())


def test_services_on_a_host_that_is_no_node(stand_in_images: Path) -> None:
    """They work, stay when the proxy is killed, follow the API when it is back, and go with `--cleanup`."""
    with PrivateCluster() as cluster:
        cluster.run("nft", "add table ip foreign; add chain ip foreign c { type filter hook input priority 0; }")
        before = tables(cluster), cluster.run("ip", "route").stdout
        assert answers(cluster, ADDRESS)
        words = (str(ROOT / "switchboard"), "proxy", "--kubeconfig", str(cluster.kubeconfig), "--node-name", "outside")
        proxy = cluster.popen(*words)
        try:
            wait_for(lambda: answers(cluster, ADDRESS) == 0, what="the Service")
            assert answers(cluster, "10.96.0.222") == 7  # nobody's address
            # the launcher becomes the role, so this is the proxy itself
            proxy.send_signal(signal.SIGKILL)
            proxy.wait()
            assert answers(cluster, ADDRESS) == 0
            cluster.kubectl("create", "service", "clusterip", "late", "--clusterip=10.96.0.222", "--tcp=443")
            meta = {"name": "late", "labels": {"kubernetes.io/service-name": "late"}}
            cluster.kubectl(
                "patch", "service", "late", "--type=json", "-p", '[{"op":"remove","path":"/spec/selector"}]'
            )
            piece = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
            ends = {"endpoints": [{"addresses": ["192.168.49.1"]}], "ports": [{"name": "443", "port": 6443}]}
            cluster.kubectl("apply", "-f", "-", given=json.dumps(piece | {"metadata": meta} | ends))
            assert answers(cluster, "10.96.0.222") == 7
            proxy = cluster.popen(*words)
            wait_for(lambda: answers(cluster, "10.96.0.222") == 0, what="what came meanwhile")
        finally:
            proxy.terminate()
            assert proxy.wait(20) == 0
        cluster.switchboard("proxy", "--cleanup")
        assert (tables(cluster), cluster.run("ip", "route").stdout) == before
        assert answers(cluster, ADDRESS)
