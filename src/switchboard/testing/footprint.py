"""What a machine shows of a cluster: taken before and after, two footprints tell whether anything was left."""

from __future__ import annotations

import os
from pathlib import Path

from switchboard.cluster import cgroups

from .cluster import PrivateCluster


def footprint(cluster: PrivateCluster) -> dict[str, list[str]]:
    """Everything outside the state folder that has to do with the cluster, by kind; on the private host, everything
    there is.
    """
    host = cluster.host
    name, run = cluster.name, cluster.env["SWITCHBOARD_RUN_DIR"]
    marks = (f"{run}/", str(cluster.folder))
    return {
        "links": host.run("ip", "-br", "link").stdout.splitlines(),
        "addresses": host.run("ip", "-br", "addr").stdout.splitlines(),
        "routes": host.run("ip", "route").stdout.splitlines(),
        "rules": host.run("nft", "list", "ruleset").stdout.splitlines(),
        "forwarding": host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.splitlines(),
        "namespaces": [entry for entry in sorted(os.listdir("/run/netns")) if name in entry],
        "mounts": [
            line for line in Path("/proc/mounts").read_text().splitlines() if any(mark in line for mark in marks)
        ],
        "processes": _processes(marks),
        "groups": _groups(name),
        "run": [run] if os.path.exists(run) else [],
    }


def shim_sockets(cluster: PrivateCluster) -> list[Path]:
    """Where the cluster's shims listen: a folder all containerds of a machine share, so it is no part of a
    footprint.
    """
    run = Path(cluster.env["SWITCHBOARD_RUN_DIR"], cluster.name)
    bundles = run.glob("containerd/io.containerd.runtime.v2.task/k8s.io/*/address")
    return [Path(bundle.read_text().strip().removeprefix("unix://")) for bundle in bundles]


def _groups(name: str) -> list[str]:
    """Control groups whose name begins so. Not by glob, which fails when groups of others go while it looks."""
    return [
        f"{folder}/{group}"
        for root in cgroups.hierarchies()
        for folder, groups, _ in os.walk(root)
        for group in groups
        if group.startswith(name)
    ]


def _processes(marks: tuple[str, ...]) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if any(mark in line for mark in marks):
                found.append(line)
    return found
