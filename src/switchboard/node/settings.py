"""What distinguishes one node from another: a dataclass that `cluster` (or the command line) fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

KUBELET_VERSION = "v1.36.2"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node. Paths are the node's own; addresses are those inside its network namespace."""

    name: str
    ip: str
    cri_socket: Path
    root_dir: Path  # pods' volumes and other state
    log_dir: Path  # containers' logs, in CRI format
    cluster_dns: Sequence[str] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    more_ips: Sequence[str] = ()  # its addresses of other families
    pod_cidr: str = ""
    more_pod_cidrs: Sequence[str] = ()
    port: int = 10250
    certificate: Path | None = None  # serving certificate and key; without them the node's API is not served
    key: Path | None = None
    client_ca: Path | None = None  # who may call: certificates of this authority that name one of
    allowed_users: Sequence[str] = ("kube-apiserver-kubelet-client",)
    allowed_groups: Sequence[str] = ("system:masters",)
    resolv_conf: Path = Path("/etc/resolv.conf")  # for pods with dnsPolicy Default
    cgroup_parent: str = "/kubepods"
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""  # the Node's Hostname address; the node's name when empty
    drain_seconds: float = 0.15  # how long a ready pod that is deleted goes on before it is told to end
    listen_seconds: float = 0.0  # how long a container with neither startup nor readiness probe has to listen
    system_logs: Path = Path("/var/log")  # what /logs/ of the node's API shows
    log_max_size: int = 10 << 20
    log_max_files: int = 5

    @property
    def ips(self) -> list[str]:
        """All addresses of the node, the first one first."""
        return [self.ip, *self.more_ips]

    def pod_dir(self, uid: str) -> Path:
        """Where a pod's volumes and files live."""
        return self.root_dir / "pods" / uid

    def pod_log_dir(self, namespace: str, name: str, uid: str) -> Path:
        """Where a pod's logs lie, named as kubelet names it."""
        return self.log_dir / f"{namespace}_{name}_{uid}"
