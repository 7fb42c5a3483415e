"""What a cluster weighs: the resident memory of each of its processes, at rest after `up`, with the lesson running,
and at rest again.

    .venv/bin/python bench/memory_bench.py [--pause 15]

On a private host (a network namespace), without a way out. Goal: 120 MB for everything but containerd and shims. The
registry's pages of its program stay counted while another registry of this machine uses the same program.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from switchboard.cluster.config import images_base
from switchboard.images.build import build
from switchboard.testing.cluster import ROOT, PrivateCluster

LESSON = ROOT / "examples" / "lesson"
COMMANDS = (
    "get all",
    "get pods -A -o wide --show-labels",
    "describe deployment web-deployment",
    "describe service backend-service",
    "describe node",
    "get endpointslices -o yaml",
    "explain pod.spec.containers",
    "api-resources",
    "scale deployment web-deployment --replicas=5",
    "rollout status deployment/web-deployment",
    "rollout restart deployment/web-deployment",
    "rollout status deployment/web-deployment",
    "logs deployment/web-deployment",
    "exec deployment/web-deployment -- ls /",
    "get events",
)


def own_memory(pid: int) -> dict[str, float]:
    """MB of a process by kind: VmRSS, RssAnon, RssFile (proc_pid_status(5))."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 / 1e6 for words in lines if words[0].startswith(("Rss", "VmRSS"))}


def show(cluster: PrivateCluster, when: str) -> None:
    """Print each process and the sum."""
    print(f"\n{when:<24}{'RSS':>8}{'own':>8}{'files':>8}  MB")
    total = 0.0
    for process in cluster.status()["processes"]:
        size = own_memory(process["pid"])
        total += 0 if process["name"] == "containerd" else size["VmRSS"]
        print(f"  {process['name']:<22}{size['VmRSS']:8.1f}{size['RssAnon']:8.1f}{size['RssFile']:8.1f}")
    print(f"  {'without containerd':<22}{total:8.1f}  (goal 120)")


def lesson(cluster: PrivateCluster) -> None:
    """The lesson's manifests and commands."""
    for path in sorted(LESSON.glob("*.yaml")):
        cluster.kubectl("apply", "-f", str(path))
    for deployment in json.loads(cluster.kubectl("get", "deployments", "-o", "json"))["items"]:
        cluster.kubectl("rollout", "status", f"deployment/{deployment['metadata']['name']}", "--timeout=120s")
    for command in COMMANDS:
        cluster.kubectl(*command.split())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pause", type=float, default=15, help="seconds until a cluster counts as at rest")
    pause = options.parse_args().pause
    build(images_base(), print)
    with PrivateCluster() as cluster:
        time.sleep(pause)
        show(cluster, "at rest after up")
        lesson(cluster)
        show(cluster, "the lesson, just run")
        time.sleep(pause)
        show(cluster, "the lesson, at rest")


if __name__ == "__main__":
    main()
