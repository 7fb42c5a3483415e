#!/usr/bin/env python3
"""From a change of a pod's labels to the packet, on a cluster of its own: `bench/change_bench.py [ROUNDS]`, default 40.

A ready pod gets the label that a Service selects, and loses it again. `routed`: from the patch to the first connection
that the ClusterIP accepts; `unrouted`: until none is accepted. Both include the patch itself, over TLS.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from switchboard.cluster.config import images_base
from switchboard.images.build import build
from switchboard.testing.cluster import PrivateCluster

_PAUSE = 0.3  # seconds between changes: the cluster is at rest before each
_LIMIT = 10.0  # seconds after which a change counts as lost
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"on": "no"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "nginx:alpine", "imagePullPolicy": "IfNotPresent"}],
    },
}
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"on": "yes"}, "ports": [{"port": 80}]},
}


def measure(server: str, token: str, address: str, rounds: int) -> None:
    """Runs inside the node's namespace, where the API answers on 127.0.0.1 too."""
    import ssl

    port = urlsplit(server).port or 443
    api = http.client.HTTPSConnection("127.0.0.1", port, context=ssl._create_unverified_context())  # its own cluster
    headers = {"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {token}"}

    def label(value: str) -> None:
        body = json.dumps({"metadata": {"labels": {"on": value}}})
        api.request("PATCH", "/api/v1/namespaces/default/pods/web", body, headers)
        answer = api.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise SystemExit(said.decode())

    def accepted() -> bool:
        with socket.socket() as one:
            one.settimeout(0.02)
            return one.connect_ex((address, 80)) == 0

    def took(value: str, done: Callable[[], bool]) -> float:
        began = time.perf_counter()
        label(value)
        while not done():
            if time.perf_counter() - began > _LIMIT:
                raise SystemExit(f"the label {value} has no effect")
            time.sleep(0.0005)
        return (time.perf_counter() - began) * 1e3

    api.connect()
    times: dict[str, list[float]] = {"routed": [], "unrouted": []}
    for _ in range(rounds):
        for name, value, done in (("routed", "yes", accepted), ("unrouted", "no", lambda: not accepted())):
            times[name].append(took(value, done))
            time.sleep(_PAUSE)
    for name, found in times.items():
        found.sort()
        at = [found[min(len(found) - 1, int(len(found) * part))] for part in (0.5, 0.9, 0.99)]
        print(f"label -> {name}: p50 {at[0]:.1f}  p90 {at[1]:.1f}  p99 {at[2]:.1f} ms ({len(found)} changes)")


def main(rounds: int) -> None:
    """A cluster, a pod, a Service, and this file again inside the node's namespace."""
    build(images_base(), lambda *_: None)
    with PrivateCluster() as cluster:
        cluster.kubectl(
            "create", "clusterrolebinding", "bench", "--clusterrole=edit", "--serviceaccount=default:default"
        )
        cluster.kubectl(
            "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": [_POD, _SERVICE]})
        )
        cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        token = cluster.kubectl("create", "token", "default").strip()
        server = cluster.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        address = cluster.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
        done: subprocess.CompletedProcess[str] = cluster.node(
            sys.executable, os.path.abspath(__file__), "inside", server, token, address, str(rounds), check=False
        )
        print(done.stdout, done.stderr, sep="", end="")


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        measure(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
