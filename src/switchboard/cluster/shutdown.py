"""Has the cluster stopped when the machine is, where systemd runs it.

systemd knows nothing of our processes, so at a shutdown they would get its last SIGTERM, which containers do not hear
whose first process did not ask for it: the machine would wait for them for a minute and a half. A unit that has nothing
to run but something to do when it is stopped lets `down` come first.
"""

from __future__ import annotations

import os
from pathlib import Path

from .command import attempt
from .config import ClusterConfig

_SYSTEMD = Path("/run/systemd/system")  # there where systemd is the first process: sd_booted(3)
_FIRST_NETWORK = Path("/proc/1/ns/net")
STOPPED_BY = "SWITCHBOARD_STOPPED_BY_UNIT"
# Only when the machine stops: somebody who stops the unit may have another start under way.
_SCRIPT = 'if [ "$(systemctl is-system-running)" = stopping ]; then exec "$0" "$@"; fi'
_PASSED_ON = ("PATH", "HOME", "KUBECONFIG", "SWITCHBOARD_STATE_DIR", "SWITCHBOARD_RUN_DIR", "SWITCHBOARD_IMAGES_DIR")


def unit(config: ClusterConfig) -> str:
    """The name of the cluster's unit."""
    return f"switchboard-{config.name}.service"


def command(config: ClusterConfig, launcher: str) -> list[str]:
    """The `systemd-run` that makes the unit. Pure but for the environment."""
    down = [launcher, "down", "--name", config.name]
    stop = " ".join(_quoted(word) for word in ("/bin/sh", "-c", _SCRIPT, *down))
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {STOPPED_BY: "1"}
    return [
        *("systemd-run", "--quiet", "--collect", f"--unit={unit(config)}"),
        f"--description=Switchboard cluster {config.name}: stops it when the machine stops",
        *("--property=Type=oneshot", "--property=RemainAfterExit=yes", "--property=TimeoutStopSec=60"),
        f"--property=ExecStop={stop}",
        *(f"--setenv={name}={value}" for name, value in passed.items()),
        "true",
    ]


def _quoted(word: str) -> str:
    """As systemd reads it: systemd.service(5), "Command lines"."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


def register(config: ClusterConfig) -> None:
    """Have the cluster stopped with the machine. Without systemd, or in a network of its own, nothing is done."""
    launcher = os.environ.get("SWITCHBOARD_LAUNCHER")
    if launcher and _is_ours():
        attempt(command(config, launcher))  # fails when it is there already


def forget(config: ClusterConfig) -> None:
    """Take the unit away again."""
    if _is_ours() and STOPPED_BY not in os.environ:
        attempt(["systemctl", "stop", unit(config)])


def _is_ours() -> bool:
    try:
        return _SYSTEMD.is_dir() and _FIRST_NETWORK.stat().st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return False
