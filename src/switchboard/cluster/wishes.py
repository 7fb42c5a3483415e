"""What `up` is asked for, and the description of the cluster that comes of it: as it was first started, or chosen now
around what is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from switchboard.api import auditpolicy

from . import config as configs
from . import locks, network
from .command import require_space
from .config import ClusterConfig
from .errors import ClusterError
from .progress import Progress

# What is chosen at the first start, and stays; what any start may change.
_FIXED = ("node_subnet", "pod_cidr", "service_cidr", "api_port", "dual_stack")
_SWITCHES = (
    *("egress", "host_access", "load_balancer", "faithful"),
    *("audit_policy", "audit_log", "audit_max_size", "audit_max_backups", "audit_max_age"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What `up` was asked for; None leaves what the cluster has, or the default at its first start."""

    name: str
    egress: bool | None = None
    host_access: bool | None = None
    load_balancer: bool | None = None
    faithful: bool | None = None
    audit_policy: str | None = None
    audit_log: str | None = None
    audit_max_size: int | None = None
    audit_max_backups: int | None = None
    audit_max_age: int | None = None
    node_subnet: str | None = None
    pod_cidr: str | None = None
    service_cidr: str | None = None
    api_port: int | None = None
    dual_stack: bool | None = None
    images: bool = True


def choose(wish: Wish, progress: Progress) -> ClusterConfig:
    """The cluster's description, kept at once when it is new: nobody else is to choose the same ranges and ports."""
    with locks.choice():
        new = configs.load(wish.name) is None
        config = decide(wish, progress)
        if new:
            require_space(config.state)
            config.save()
    return config


def decide(wish: Wish, progress: Progress) -> ClusterConfig:
    """The cluster's description: as it was first started, or chosen now around what is taken. Raises ClusterError."""
    known = configs.load(wish.name)
    fixed = _given(wish, _FIXED)
    if known:
        different = {key: value for key, value in fixed.items() if getattr(known, key) != value}
        if different:
            said = ", ".join(f"{key} {getattr(known, key)} (asked for {value})" for key, value in different.items())
            raise ClusterError(
                f"cluster {wish.name} was first started with {said}",
                f"leave the option out, or forget the cluster first: {configs.command('delete', wish.name)}",
            )
        return _switched(known, wish)
    config = configs.new(wish.name, **fixed)
    if config.dual_stack:
        network.check_six()
    neighbours = configs.load_all()
    others = [IPv4Network(other.node_subnet) for other in neighbours]
    if wish.node_subnet is not None:
        network.check_unused(config.node_subnet)
    else:
        config = replace(config, node_subnet=configs.free_subnet([*network.taken_networks(), *others]))
        if config.node_subnet != "192.168.49.0/24":
            progress.say(f"192.168.49.0/24 is in use here; the node gets {config.node_subnet}")
    if wish.api_port is None:
        config = replace(
            config, api_port=network.free_port("127.0.0.1", config.api_port, {k.api_port for k in neighbours})
        )
    config = replace(config, node_pod_cidr=configs.first_node_range(config.pod_cidr))
    configs.check_ranges(config)
    return _switched(config, wish)


def _given(wish: Wish, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(wish, name)) is not None}


def _switched(config: ClusterConfig, wish: Wish) -> ClusterConfig:
    switched = replace(config, **_given(wish, _SWITCHES))
    if bool(switched.audit_policy) != bool(switched.audit_log):
        raise ClusterError("an audit log needs a policy and a path", "give --audit-policy-file and --audit-log-path")
    if switched.audit_policy:
        try:
            auditpolicy.load(Path(switched.audit_policy))
        except auditpolicy.PolicyError as e:
            raise ClusterError(str(e), "mend the policy, or turn the audit log off with two empty paths") from None
    return switched
