"""Steps of `cluster/network.py` taken on a private host, as a cluster's start takes them on a machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from switchboard.cluster.config import ClusterConfig
from switchboard.testing.host import Host

# Arguments: a description (`described`), then the names of steps; each prints a line of JSON.
CALL = """
import sys, json
from pathlib import Path
from switchboard.cluster import network
from switchboard.cluster.config import ClusterConfig
raw = json.loads(sys.argv[1])
config = ClusterConfig(**{k: Path(v) if k in ("state", "run", "images") else v for k, v in raw.items()})
for step in sys.argv[2:]:
    print(json.dumps(getattr(network, step)(config), default=str))
"""


def described(config: ClusterConfig) -> str:
    """A cluster's description as `CALL` takes it."""
    return json.dumps(asdict(config), default=str)


def call(host: Host, config: ClusterConfig, *steps: str) -> list[object]:
    """What each step gives, one after the other."""
    return [json.loads(line) for line in host.python(CALL, described(config), *steps).stdout.splitlines()]


@contextmanager
def network_of(host: Host, folder: Path, *, egress: bool) -> Iterator[ClusterConfig]:
    """A cluster on the host with its folders in `folder`; its network is taken away on leaving, if it was made."""
    name = host.name.removesuffix("-host")
    config = ClusterConfig(name, folder / "s", folder / "run" / "one", folder / "i", egress=egress)
    config.run.mkdir(parents=True)
    yield config
    call(host, config, "remove")
