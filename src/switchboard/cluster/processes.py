"""The processes of a cluster as one literal table: what runs, where, in which order it is stopped. The supervisor
reads it as JSON.

Roles are started without Python's site module: the path is given, which saves 10 ms and a megabyte in each.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import cgroups
from .config import ClusterConfig, write_file

SUPERVISOR = "supervisor"

# Small heaps rather than many: one arena for all threads, and freed memory goes back at once.
MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "262144"}


@dataclass(frozen=True, slots=True)
class Process:
    """One process: where it runs (host or node), and its wave: higher waves are stopped first, equal ones together.

    `delay`: seconds after the others it is first started, for what a node needs only once it is Ready: two processors
    are busy enough with the rest.
    """

    name: str
    argv: tuple[str, ...]
    wave: int
    in_node: bool = False
    env: dict[str, str] = field(default_factory=dict)
    grace: float = 5.0
    delay: float = 0.0


def table(config: ClusterConfig) -> list[Process]:
    """Every process of a cluster, in the order it is started."""
    return [
        Process(
            "containerd", _named(config, "containerd", "--config", f"{config.run}/containerd.toml"), 0, in_node=True
        ),
        _role("server", config, wave=1, env=_server_switches(config)),
        Process(
            "registry",
            ("docker-registry", "serve", f"{config.run}/registry.yml"),
            0,
            # At rest it should weigh little: the soft limit (Go 1.19) makes it give memory back after a pull. A blob
            # that is being sent has a buffer of 4 MB, so the limit costs half of the first pull's 0.1 s; 20 MiB would
            # cost nothing, but leave it with 5 MB more for good.
            env={"GOGC": "20", "GOMEMLIMIT": "6MiB", "GOMAXPROCS": "1"},
            delay=0.25,
        ),
        _role("node", config, wave=2, in_node=True, env=_switches(config)),
        _role("dns", config, wave=2, in_node=True, env=_switches(config), delay=0.25, tls=False),
    ]


def _named(config: ClusterConfig, *argv: str) -> tuple[str, ...]:
    """The command under the node's host name: what pods with `hostNetwork` see, since they share their runtime's."""
    return ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', config.node_name, *argv)


def python(module: str, function: str, *, tls: bool = True) -> tuple[str, ...]:
    """The start of a command that calls `module.function()` in a Python that sees exactly this installation.

    Without `tls`, asyncio does not load OpenSSL (it can do without, then knows no TLS): 4 MB less.
    """
    here = str(Path(__file__).resolve().parents[2])
    packages = [path for path in sys.path if path.endswith("-packages")]
    setup = f"import sys; sys.path += {[here, *packages]!r}"
    if not tls:
        setup += "; sys.modules['ssl'] = None; import asyncio; del sys.modules['ssl']"
    code = f"{setup}; from {module} import {function} as f; sys.exit(f(sys.argv[1:]))"
    return (sys.executable, "-I", "-S", "-X", "utf8", "-c", code)


def write_plan(config: ClusterConfig) -> None:
    """Write the supervisor's `plan.json`. Raises OSError."""
    write_file(config.run / "plan.json", json.dumps(plan(config), indent=1))


def plan(config: ClusterConfig) -> dict[str, Any]:
    """What the supervisor keeps running, complete: commands, logs, groups, and whom to tell when a process dies."""
    root = cgroups.tracking_root()
    return {
        "cluster": config.name,
        "cgroup": str(root / config.cgroup) if root else None,
        "logs": str(config.logs),
        "report": [*python("switchboard.cluster.report", "main"), str(config.api_socket), config.node_name],
        "processes": [
            {
                "name": process.name,
                "argv": _in_node(config, process.argv) if process.in_node else list(process.argv),
                "env": {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")} | process.env,
                "wave": process.wave,
                "grace": process.grace,
                "delay": process.delay,
            }
            for process in table(config)
        ],
    }


def _role(
    name: str,
    config: ClusterConfig,
    *,
    wave: int,
    in_node: bool = False,
    env: dict[str, str] | None = None,
    delay: float = 0.0,
    tls: bool = True,
) -> Process:
    argv = (*python("switchboard.cluster.roles", name, tls=tls), str(config.state / "cluster.json"))
    return Process(name, argv, wave, in_node, MEMORY | (env or {}), delay=delay)


def _server_switches(config: ClusterConfig) -> dict[str, str]:
    """What the server is started anew for when it changes."""
    limits = (config.audit_max_size, config.audit_max_backups, config.audit_max_age)
    audit = " ".join(map(str, (config.audit_policy, config.audit_log, *limits))) if config.audit_log else ""
    return {"SWITCHBOARD_LOAD_BALANCER": str(config.load_balancer).lower(), "SWITCHBOARD_AUDIT": audit}


def _switches(config: ClusterConfig) -> dict[str, str]:
    """What a role reads only when it starts; as part of its command, so that a change of it starts the role again."""
    return {"SWITCHBOARD_EGRESS": str(config.egress).lower(), "SWITCHBOARD_FAITHFUL": str(config.faithful).lower()}


def _in_node(config: ClusterConfig, argv: tuple[str, ...]) -> list[str]:
    return ["nsenter", f"--net={config.netns_path}", "--", *argv]
