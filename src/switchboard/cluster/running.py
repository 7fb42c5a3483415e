"""What of a cluster runs right now, read from the supervisor's record, /proc and the API. Changes nothing."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ask import NoAnswer, ask
from .config import ClusterConfig
from .processes import SUPERVISOR, table
from .supervise import start_time


@dataclass(frozen=True, slots=True)
class Running:
    """One process that is there: its name in the table, pid, resident bytes, how often it was started again."""

    name: str
    pid: int
    rss_bytes: int
    restarts: int


def record(config: ClusterConfig) -> dict[str, Any]:
    """The supervisor's `processes.json`; empty when there is none. Raises PermissionError."""
    try:
        content = json.loads((config.run / "processes.json").read_bytes())
    except PermissionError:
        raise  # what cannot be seen may well run
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def supervisor(config: ClusterConfig) -> int:
    """Pid of the living supervisor, 0 when there is none."""
    known = record(config).get("supervisor", {})
    pid = int(known.get("pid", 0))
    return pid if pid and start_time(pid) == known.get("start") else 0


def processes(config: ClusterConfig) -> list[Running]:
    """Every process of the cluster that lives: the supervisor, then in the order they are started."""
    content = record(config)
    known = {SUPERVISOR: content.get("supervisor", {})} | content.get("processes", {})
    names = [SUPERVISOR, *(process.name for process in table(config))]
    found = []
    for name in [*names, *(name for name in known if name not in names)]:
        entry = known.get(name, {})
        pid = int(entry.get("pid", 0))
        if pid and start_time(pid) == entry.get("start"):
            found.append(Running(name, pid, rss_bytes(pid), int(entry.get("restarts", 0))))
    return found


def strays(config: ClusterConfig) -> list[int]:
    """Processes of the cluster that no record knows, found by what their command line ends with."""
    known = {process.pid for process in processes(config)}
    last = {
        str(config.run),
        f"{config.run}/containerd.toml",
        f"{config.run}/registry.yml",
        f"{config.state}/cluster.json",
        f"{config.state}/registry",  # who makes the stand-in images
    }
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in known:
            try:
                words = Path(f"/proc/{entry}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
            except OSError:
                continue
            if words[-1] in last:
                found.append(int(entry))
    return found


def rss_bytes(pid: int) -> int:
    """Resident memory of a process, 0 when it is gone (proc(5), statm)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def nodes(config: ClusterConfig) -> list[dict[str, Any]]:
    """Nodes as `status -o json` shows them; the cluster's own stands there, not ready, also when the API is silent."""
    own = {"name": config.node_name, "ip": config.node_ip, "netns": config.netns, "ready": False}
    try:
        _, answer = ask(config.api_socket, "GET", "/api/v1/nodes", timeout=2.0)
    except NoAnswer:
        return [own]
    found = []
    for node in answer.get("items") or []:
        name = node["metadata"]["name"]
        addresses = (node.get("status") or {}).get("addresses") or []
        ip = next((a["address"] for a in addresses if a.get("type") == "InternalIP"), "")
        mine = name == config.node_name
        entry = {"name": name, "ip": ip or (config.node_ip if mine else ""), "netns": config.netns if mine else ""}
        found.append(entry | {"ready": is_ready(node)})
    return found or [own]


def is_ready(node: dict[str, Any], since: float = 0.0) -> bool:
    """Whether a Node says it is Ready, and said so at `since` (seconds of the wall clock) or later."""
    for condition in (node.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            spoken = condition.get("lastHeartbeatTime") or ""
            floor = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
            return condition.get("status") == "True" and (not since or spoken >= floor)
    return False


def status(config: ClusterConfig) -> dict[str, Any]:
    """The content of `status -o json`."""
    live = processes(config)
    return {
        "cluster": config.name,
        "server": config.api_url,
        "nodes": nodes(config),
        "processes": [{"name": p.name, "pid": p.pid, "rss_bytes": p.rss_bytes} for p in live],
    }
