"""Which keys and certificates a cluster has, as one literal table.

Names and groups are those kubeadm gives (kubernetes.io/docs/setup/best-practices/certificates): the API takes CN as
the user and each O as a group, so the node authorizer and the default cluster roles work unchanged. Nothing here
touches a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_BEFORE_DAYS = 30

CA = "ca"
FRONT_PROXY_CA = "front-proxy-ca"  # apart: whoever holds one of its certificates may say who asks
CLIENT = "client"
SERVER = "server"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One certificate `<file>.crt` with its key `<file>.key`: subject, use, names it serves, who signs it."""

    file: str
    common_name: str
    organizations: tuple[str, ...]
    usages: tuple[str, ...]
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    authority: str = CA


@dataclass(frozen=True, slots=True)
class Plan:
    """Every leaf of a cluster; `fingerprint` changes when any of them would be another one."""

    cluster: str
    leaves: tuple[Leaf, ...]

    @property
    def authorities(self) -> tuple[str, ...]:
        """Who signs the leaves, the cluster's authority first."""
        return tuple(dict.fromkeys((CA, *(leaf.authority for leaf in self.leaves))))

    @property
    def fingerprint(self) -> str:
        """A short hash over everything that goes into the certificates."""
        return sha256(repr(self).encode()).hexdigest()[:16]


def plan(
    cluster: str,
    node_name: str,
    *,
    server_addresses: Iterable[str],
    node_addresses: Iterable[str],
    domain: str = "cluster.local",
) -> Plan:
    """The certificates of a cluster with one node. `server_addresses` are where the API listens, its Service address
    included.
    """
    server_names = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{domain}",
        "localhost",
        cluster,
    )
    return Plan(
        cluster,
        (
            Leaf("server", "kube-apiserver", (), (SERVER,), server_names, tuple(server_addresses)),
            Leaf("admin", "kubernetes-admin", ("system:masters",), (CLIENT,)),
            Leaf("kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",), (CLIENT,)),
            node_client(node_name),
            Leaf(
                "kubelet", f"system:node:{node_name}", ("system:nodes",), (SERVER,), (node_name,), tuple(node_addresses)
            ),
            Leaf("front-proxy-client", "front-proxy-client", (), (CLIENT,), authority=FRONT_PROXY_CA),
            Leaf("proxy", "system:kube-proxy", (), (CLIENT,)),
            Leaf("dns", "system:dns", ("system:dns",), (CLIENT,)),
        ),
    )


def node_client(node_name: str) -> Leaf:
    """What a node shows the API: the user and group that the node authorizer expects."""
    return Leaf("node", f"system:node:{node_name}", ("system:nodes",), (CLIENT,))
