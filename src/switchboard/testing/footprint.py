"""What a machine shows of a cluster: taken before and after, two footprints tell whether anything was left."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from switchboard.cluster import cgroups

from .cluster import PrivateCluster
from .host import Host

_NOT_OURS = ("/etc", "/opt/cni", "/opt/containerd", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods")
_SETTINGS = tuple(f"/proc/sys/net/{part}" for part in ("ipv4/ip_forward", "ipv4/conf", "ipv6/conf", "bridge"))
_SHARED = ("/run", "/var/lib/cni", "/var/log", "/var/cache", "/dev/shm", "/opt")


def footprint(cluster: PrivateCluster) -> dict[str, list[str]]:
    """Everything outside the state folder that has to do with the cluster, by kind; on the private host, everything
    there is.
    """
    host = cluster.host
    name, run = cluster.name, cluster.env["SWITCHBOARD_RUN_DIR"]
    marks = (f"{run}/", str(cluster.folder))
    return {
        "links": _lines(host, "ip", "-br", "link"),
        "addresses": _lines(host, "ip", "-br", "addr"),
        "routes": [
            line for family in "46" for line in _lines(host, "ip", f"-{family}", "route", "show", "table", "all")
        ],
        "policies": [line for family in "46" for line in _lines(host, "ip", f"-{family}", "rule")],
        "rules": _lines(host, "nft", "list", "ruleset"),
        "neighbours": _lines(host, "ip", "neigh", "show", "proxy"),
        # not everything there can be read
        "settings": sorted(host.run("grep", "-rs", "", *_SETTINGS, check=False).stdout.splitlines()),
        "namespaces": [entry for entry in sorted(os.listdir("/run/netns")) if name in entry],
        "mounts": [
            line for line in Path("/proc/mounts").read_text().splitlines() if any(mark in line for mark in marks)
        ],
        "processes": _processes(marks),
        "groups": _groups(name),
        "run": [run] if os.path.exists(run) else [],
        "files": _files(),
        "named": _named(name),
    }


def _lines(host: Host, *argv: str) -> list[str]:
    return host.run(*argv).stdout.splitlines()


def _files() -> list[str]:
    """Every file of the folders that no cluster has any business in, with its size and last change."""
    found = []
    for top in _NOT_OURS:
        for folder, folders, files in os.walk(top):
            for name in [*folders, *files]:
                with suppress(FileNotFoundError):
                    about = os.lstat(f"{folder}/{name}")
                    found.append(f"{folder}/{name} {about.st_size} {about.st_mtime_ns}")
    return sorted(found)


def _named(name: str) -> list[str]:
    """Whatever is called after the cluster where programs leave things."""
    return sorted(
        f"{folder}/{entry}"
        for top in _SHARED
        for folder, folders, files in os.walk(top)
        for entry in [*folders, *files]
        if name in entry and not entry.endswith("-host")  # the test's own namespace
    )


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
