#!/usr/bin/env python3
"""From `kubectl apply` to the first answer, on a cluster of its own: `bench/first_bench.py [ROUNDS] [pull]`, else 10.

A Deployment of three nginx pods (images present) and a NodePort Service are applied with one command; the node's
address is asked over HTTP all the while. Shown: when kubectl was back, the first answer, all three pods Ready.
Everything is deleted, and gone, before the next round. `pull`: every round is the first apply of a new cluster, which
has to pull the image.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time

from switchboard.cluster.config import images_base
from switchboard.images.build import build
from switchboard.testing.cluster import PrivateCluster

_PORT = 30007
_LIMIT = 30.0  # seconds after which a round counts as lost
_LABELS = {"app": "web"}
_DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web-deployment"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": _LABELS},
        "template": {
            "metadata": {"labels": _LABELS},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "nginx", "image": "nginx:alpine", "ports": [{"containerPort": 80}]}],
            },
        },
    },
}
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web-service"},
    "spec": {"selector": _LABELS, "type": "NodePort", "ports": [{"port": 80, "nodePort": _PORT}]},
}
_MANIFEST = json.dumps({"apiVersion": "v1", "kind": "List", "items": [_DEPLOYMENT, _SERVICE]})


def kubectl(*words: str, given: str | None = None) -> str:
    """Stock kubectl, with the environment's kubeconfig."""
    return subprocess.run(["kubectl", *words], input=given, text=True, check=True, capture_output=True).stdout


def answered(address: str) -> bool:
    """Whether the NodePort gives an answer now."""
    one = http.client.HTTPConnection(address, _PORT, timeout=0.2)
    try:
        one.request("GET", "/")
        return one.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        one.close()


def once(address: str) -> dict[str, float]:
    """One round: seconds since its start of everything that is shown."""
    times: dict[str, float] = {}
    began = time.perf_counter()

    def apply() -> None:
        kubectl("apply", "-f", "-", given=_MANIFEST)
        times["kubectl apply is back"] = time.perf_counter() - began
        kubectl("rollout", "status", "deployment/web-deployment", f"--timeout={_LIMIT:g}s")
        times["rollout status is back"] = time.perf_counter() - began

    worker = threading.Thread(target=apply)
    worker.start()
    while not answered(address):
        if time.perf_counter() - began > _LIMIT:
            raise SystemExit("no answer came")
        time.sleep(0.002)
    times["first answer through the NodePort (goal 0.65)"] = time.perf_counter() - began
    worker.join()
    kubectl("delete", "-f", "-", given=_MANIFEST)
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", f"--timeout={_LIMIT:g}s")
    return times


def measure(address: str, rounds: int) -> None:
    """Runs on the private host, which has a route to the node. Prints a line of JSON for each round."""
    kubectl("get", "pods")  # kubectl knows the API's kinds from here on
    for _ in range(rounds):
        time.sleep(1.0)  # the cluster is at rest before each
        print(json.dumps(once(address)), flush=True)


def cluster_rounds(rounds: int) -> list[dict[str, float]]:
    """Rounds on a new cluster: this file again on its host."""
    with PrivateCluster() as cluster:
        here = os.path.abspath(__file__)
        done = cluster.run(sys.executable, here, "inside", cluster.ip, str(rounds), check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(rounds: int, *, pull: bool) -> None:
    """All rounds, and what they come to."""
    build(images_base(), lambda *_: None)
    found = [cluster_rounds(1)[0] for _ in range(rounds)] if pull else cluster_rounds(rounds)
    for name in found[0]:
        times = sorted(each[name] for each in found)
        print(f"{name}: median {times[len(times) // 2]:.3f} s, best {times[0]:.3f}, worst {times[-1]:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        numbers = [word for word in sys.argv[1:] if word.isdigit()]
        main(int(numbers[0]) if numbers else 10, pull="pull" in sys.argv[1:])
