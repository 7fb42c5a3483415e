"""What the API server is told at start: ranges, addresses, limits. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from switchboard.api.auditlog import Rotation
from switchboard.api.identity import Identity

KUBERNETES_VERSION = "1.36.2"


@dataclass(slots=True)
class Settings:
    """Settings of one API server.

    `service_cidrs` are the primary range and, for dual-stack, a second one of the other family. `tokens` maps static
    bearer tokens to identities. `advertise_address`/`advertise_port` become the endpoints of `default/kubernetes`
    (none when the address is empty). Durations are in seconds. `proxy_client` (files of
    certificate and key, signed by `proxy_ca`, PEM) is what servers behind this one know it by. Requests are
    written down in `audit_log` (a path, "-" for standard output) as the policy in the file `audit_policy` says, if both
    are given, and put aside as `audit_rotation` says.
    """

    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_ports: tuple[int, int] = (30000, 32767)
    advertise_address: str = ""
    advertise_port: int = 6443
    anonymous: bool = True
    tokens: dict[str, Identity] = field(default_factory=dict)
    event_ttl: float = 3600.0
    bookmark_interval: float = 60.0
    snapshot_interval: float = 300.0
    watch_timeout: tuple[float, float] = (1800.0, 3600.0)
    max_body: int = 3 * 1024 * 1024
    cluster_domain: str = "cluster.local"
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    service_account_key: str = ""
    root_ca: str = ""
    proxy_client: tuple[str, str] | None = None
    proxy_ca: str = ""
    audit_policy: str = ""
    audit_log: str = ""
    audit_rotation: Rotation = field(default_factory=Rotation)
