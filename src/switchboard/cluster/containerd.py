"""The private containerd: its configuration, and where its images come from.

Root, state and socket are the cluster's own; only the sockets of shims lie in /run/containerd/s, a path built into
them. Image hosts are folders read at every pull (`certs.d/<host>/hosts.toml`, containerd docs/hosts.md): without a
way out every host is the local mirror; with one, the real registry is asked first and the mirror is what remains
when it cannot be reached.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from switchboard.images.names import kept_as

from .config import ClusterConfig, write_file
from .errors import ClusterError

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"

# what each well-known host's registry is called, where that differs from https://<host>
_UPSTREAM = {"docker.io": "https://registry-1.docker.io"}
_PROBE = ("registry-1.docker.io", 443)
KNOWN_HOSTS = ("docker.io", "registry.k8s.io")

# Not built for one small machine, or of no use to CRI; each costs start time and memory.
_UNUSED = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.opt",  # would make /opt/containerd
    "io.containerd.monitor.v1.cgroups",
)


def configuration(config: ClusterConfig, *, snapshotter: str, may_lower_oom_score: bool, cni_bin: str) -> str:
    """The text of `config.toml`."""
    unused = ", ".join(f'"{name}"' for name in _UNUSED)
    restrict = "false" if may_lower_oom_score else "true"
    return f"""\
version = 2
root = "{config.state}/containerd"
state = "{config.run}/containerd"
disabled_plugins = [{unused}]

[grpc]
  address = "{config.containerd_socket}"

[debug]
  level = "warn"

[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "10s"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = {restrict}
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{config.run}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    discard_unpacked_layers = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{config.run}/runc"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{config.run}/certs.d"
"""


def hosts_file(config: ClusterConfig, host: str, *, upstream_first: bool = False) -> str:
    """`hosts.toml` of one image host. The mirror keeps each host's images under the host's name, hence
    `override_path`.
    """
    mirror = f"http://{config.mirror}/v2/{kept_as(host)}"
    entry = f'[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n  override_path = true\n'
    if not config.egress:
        # naming the mirror as the server too keeps containerd from trying the real one last
        return f'server = "{mirror}"\n\n{entry}'
    upstream = _UPSTREAM.get(host, f"https://{host}")
    first = f'[host."{upstream}"]\n  capabilities = ["pull", "resolve"]\n'
    order = (first, entry) if upstream_first else (entry, first)
    return f'server = "{upstream}"\n\n' + "\n".join(order)


def write(config: ClusterConfig, hosts: set[str]) -> None:
    """Write everything containerd reads. `hosts` are those the mirror has images of. Raises ClusterError, OSError."""
    text = configuration(
        config,
        snapshotter="native" if _file_system(config.state) == "overlay" else "overlayfs",
        may_lower_oom_score=_may_lower_oom_score(),
        cni_bin=cni_bin(),
    )
    (config.state / "containerd").mkdir(parents=True, exist_ok=True)
    write_file(config.run / "containerd.toml", text)
    for host in sorted(hosts | set(KNOWN_HOSTS)):
        write_hosts(config, host)


def write_hosts(config: ClusterConfig, host: str, *, upstream_first: bool = False) -> None:
    """Make one more image host known; containerd reads it at the next pull."""
    folder = config.run / "certs.d" / host
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "hosts.toml", hosts_file(config, host, upstream_first=upstream_first))


def look_upstream(config: ClusterConfig, *, seconds: float = 1.5) -> None:
    """Ask the real registries first if one of them can be reached. Without a way out nothing is sent and nothing
    changes.
    """
    if not config.egress:
        return
    reached = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(_PROBE, timeout=seconds).close()
            reached.set()
        except OSError:
            pass

    # a thread, because looking up a name knows no time limit
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    if reached.is_set():
        for host in os.listdir(config.run / "certs.d"):
            write_hosts(config, host, upstream_first=True)


def cni_bin() -> str:
    """The folder of the CNI plugins: Debian's, else the one upstream uses. Raises ClusterError."""
    for folder in ("/usr/lib/cni", "/opt/cni/bin"):
        if os.access(f"{folder}/bridge", os.X_OK):
            return folder
    raise ClusterError(
        "the CNI plugins are in neither /usr/lib/cni nor /opt/cni/bin", "apt-get install containernetworking-plugins"
    )


def _may_lower_oom_score() -> bool:
    """Whether containers may get a lower score than we have: needs CAP_SYS_RESOURCE (bit 24, capabilities(7))."""
    with open("/proc/self/status") as status:
        effective = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 24 & 1)


def _file_system(path: Path) -> str:
    """Type of the file system a path is on: overlayfs cannot be stacked on overlayfs as an upper folder."""
    best, found = "", ""
    real = os.path.realpath(path) + "/"
    with open("/proc/mounts") as mounts:
        for line in mounts:
            _, point, kind, *_ = line.split()
            if real.startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, found = point, kind
    return found
