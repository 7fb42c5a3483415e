"""Kubeconfig files of the cluster itself: one for each role that talks to the API, and the administrator's.

Written as JSON, which is YAML, so that writing needs no library.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from .config import ClusterConfig, write_file

ROLES = ("node", "proxy", "dns")


def write_role_files(config: ClusterConfig) -> None:
    """`<state>/<role>.kubeconfig` for the node's roles, with certificates by file, so that renewed ones are found.
    OSError.
    """
    for role in ROLES:
        user = {"client-certificate": str(config.pki / f"{role}.crt"), "client-key": str(config.pki / f"{role}.key")}
        cluster = {"server": config.node_api_url, "certificate-authority": str(config.pki / "ca.crt")}
        _write_changed(config, f"{role}.kubeconfig", document(config.name, role, cluster, user))


def write_admin_file(config: ClusterConfig) -> None:
    """`<state>/kubeconfig`: the administrator's, complete in itself. OSError."""
    cluster, user = admin_entries(config)
    _write_changed(config, "kubeconfig", document(config.name, config.name, cluster, user))


def admin_entries(config: ClusterConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `cluster` and `user` of the administrator, certificates inside. OSError when there are none."""

    def blob(name: str) -> str:
        return base64.b64encode((config.pki / name).read_bytes()).decode()

    cluster = {"certificate-authority-data": blob("ca.crt"), "server": config.api_url}
    user = {"client-certificate-data": blob("admin.crt"), "client-key-data": blob("admin.key")}
    return cluster, user


def document(name: str, user_name: str, cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """A whole kubeconfig with one context called `name`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user_name}}],
        "current-context": name,
        "preferences": {},
        "users": [{"name": user_name, "user": user}],
    }


def admin_yaml(config: ClusterConfig) -> str:
    """The administrator's kubeconfig as people know it. Every value is a name, an address or base64: nothing needs
    quoting.
    """
    cluster, user = admin_entries(config)
    name = config.name
    lines = ["apiVersion: v1", "clusters:", "- cluster:"]
    lines += [f"    {key}: {value}" for key, value in cluster.items()]
    lines += [
        f"  name: {name}",
        "contexts:",
        "- context:",
        f"    cluster: {name}",
        f"    user: {name}",
        f"  name: {name}",
    ]
    lines += [f"current-context: {name}", "kind: Config", "preferences: {}", "users:", f"- name: {name}", "  user:"]
    lines += [f"    {key}: {value}" for key, value in user.items()]
    return "\n".join(lines) + "\n"


def _write_changed(config: ClusterConfig, name: str, content: dict[str, Any]) -> None:
    path = config.state / name
    text = json.dumps(content, indent=1)
    try:
        if path.read_text() == text:
            return
    except OSError:
        pass
    write_file(path, text, 0o600)
