"""How long `up` takes on a machine already set up, and what a running cluster weighs.

    .venv/bin/python bench/up_bench.py [runs]

On a private host (a network namespace), without a way out. The first start makes certificates and puts images into
the mirror and is shown apart. Goals: node Ready within 1.0 s without containerd's own start; 120 MB for everything
but containerd and shims.
"""

from __future__ import annotations

import re
import statistics
import sys
import time

from switchboard.cluster.config import images_base
from switchboard.images.build import build
from switchboard.testing.cluster import PrivateCluster

READY = re.compile(r"node Ready after ([0-9.]+) s \(([0-9.]+) s without")


def start(cluster: PrivateCluster) -> tuple[float, float, float]:
    """(whole command, node Ready, node Ready without containerd's own start), in seconds."""
    began = time.monotonic()
    said = cluster.up("--no-kubeconfig")
    whole = time.monotonic() - began
    found = READY.search(said)
    assert found, said
    return whole, float(found[1]), float(found[2])


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    build(images_base(), print)
    with PrivateCluster(start=False) as cluster:
        print("first start: {:.2f} s whole, Ready {:.2f} s, without containerd {:.2f} s".format(*start(cluster)))
        times = []
        stops = []
        for _ in range(runs):
            began = time.monotonic()
            cluster.switchboard("down")
            stops.append(time.monotonic() - began)
            times.append(start(cluster))
        names = ("whole command", "node Ready", "node Ready without containerd's own start (goal 1.00)")
        for name, values in zip(names, zip(*times, strict=True), strict=True):
            print(f"{name}: median {statistics.median(values):.2f} s, worst {max(values):.2f} s")
        print(f"down: median {statistics.median(stops):.2f} s")
        time.sleep(3)  # let what was needed only to start be given back
        memory(cluster)


def memory(cluster: PrivateCluster) -> None:
    total = 0.0
    for process in cluster.status()["processes"]:
        size = process["rss_bytes"] / 1e6
        total += 0 if process["name"] == "containerd" else size
        print(f"memory {process['name']:<12}{size:7.1f} MB")
    print(f"memory without containerd {total:.1f} MB (goal 120)")


if __name__ == "__main__":
    main()
