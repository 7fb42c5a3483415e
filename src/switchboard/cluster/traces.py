"""What still runs of a cluster without description: somebody removed the state folder, perhaps the run folder too.

Everything a cluster makes bears its name: its control group, its link, its node's namespace, the folders that its
processes were told. So a description good enough to stop it can be put together from what is there.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from . import cgroups, network, running
from . import config as configs
from .config import ClusterConfig
from .errors import ClusterError

# files that processes of a cluster are started with -> of which folder of the cluster they are
_FILES = {"cluster.json": "state", "containerd.toml": "run", "registry.yml": "run"}


def left(name: str) -> ClusterConfig | None:
    """What is to be stopped of a cluster of that name that has no description; None when nothing of it is there.
    Raises ClusterError when what runs has one, in another folder than the environment tells: that one is not lost.
    """
    pids = cgroups.processes(configs.new(name).cgroup)
    config = _placed(configs.new(name), pids)
    if (config.state / "cluster.json").exists():
        raise ClusterError(
            f"a cluster {name} runs here that keeps its state in {config.state.parent}",
            f"say so (SWITCHBOARD_STATE_DIR={config.state.parent}) if that one is meant, or give another --name",
        )
    there = pids or running.strays(config) or os.path.lexists(config.run) or network.is_there(config)
    return config if there else None


def _placed(config: ClusterConfig, pids: set[int]) -> ClusterConfig:
    """The folders that the processes use, wherever that is."""
    found: dict[str, Path] = {}
    for pid in pids:
        try:
            last = Path(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")[-1])
        except OSError:
            continue
        if last.name in _FILES and last.parent.name == config.name:
            found[_FILES[last.name]] = last.parent
    return replace(config, state=found.get("state", config.state), run=found.get("run", config.run))
