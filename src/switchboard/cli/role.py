"""`switchboard server|node|dns|proxy`: one role as a process in the foreground, against any Kubernetes API."""

from __future__ import annotations

import argparse
from pathlib import Path

from switchboard.client.kubeconfig import KubeconfigError
from switchboard.cluster import roles
from switchboard.cluster.config import called
from switchboard.cluster.errors import ClusterError
from switchboard.store.errors import StoreError

from .options import cluster, parser

_EXAMPLES = {
    "server": "  switchboard server --state /var/lib/switchboard/dev",
    "node": "  switchboard node --kubeconfig node.kubeconfig --node-name worker-2 --node-ip 10.0.0.2",
    "dns": "  switchboard dns --kubeconfig admin.yaml --listen 127.0.0.1 --port 5353\n"
    "  switchboard dns --host          (this host resolves the cluster's names; --host-undo takes it back)",
    "proxy": "  switchboard proxy --kubeconfig admin.yaml --node-name worker-2\n  switchboard proxy --cleanup",
}
_SUMMARY = {
    "server": "Run the API, its store, controllers and scheduler of a cluster that was prepared with `up`.",
    "node": "Run a node of any cluster: pods through this machine's containerd, and the Service proxy beside it.",
    "dns": "Answer the cluster's names from the Services of any Kubernetes API.",
    "proxy": "Make Services work in this network namespace, from any Kubernetes API.",
}


def run(verb: str, words: list[str], name: str | None) -> int:
    """Run the role until SIGTERM. Raises ClusterError when it cannot begin."""
    try:
        return _run(verb, words, name)
    except KubeconfigError as error:
        advice = f"give the kubeconfig of a cluster that runs ({called()} kubeconfig prints one)"
        raise ClusterError(str(error), advice) from error
    except StoreError as error:
        raise ClusterError(str(error), "stop who has it, or mend what this says") from error


def _run(verb: str, words: list[str], name: str | None) -> int:
    made = parser(verb, _SUMMARY[verb], _EXAMPLES[verb], name)
    if verb == "server":
        made.add_argument("--state", type=Path, required=True, help="the cluster's state folder")
        return roles.server([str(made.parse_args(words).state / "cluster.json")])
    if verb == "proxy" and "--cleanup" in words:
        from switchboard.proxy.cleanup import clean_up

        clean_up()
        return 0
    if verb == "dns" and {"--host", "--host-undo"} & set(words):
        return _dns_host(made, words)
    made.add_argument("--kubeconfig", type=Path, required=True, help="the API and who we are")
    if verb == "dns":
        from switchboard.dns import command

        command.add_arguments(made)
        return roles.dns_alone(made.parse_args(words))
    if verb == "node":
        from switchboard.cluster import alone

        alone.add_arguments(made)
        return alone.node(made.parse_args(words))
    made.add_argument("--node-name", required=True, help="the Node object this is")
    made.add_argument("--cleanup", action="store_true", help="take our rules and routes out of this namespace, and end")
    made.add_argument(
        "--cluster-cidr",
        action="append",
        default=[],
        metavar="CIDR",
        help="all pods; masquerade what leaves it",
    )
    made.add_argument("--faithful", action="store_true", help="drop where kube-proxy does, rather than refuse")
    options = made.parse_args(words)
    return roles.proxy_alone(
        options.kubeconfig, options.node_name, tuple(options.cluster_cidr), faithful=options.faithful
    )


def _dns_host(made: argparse.ArgumentParser, words: list[str]) -> int:
    """`dns --host`: the host resolves the names of a cluster of ours; `--host-undo`: no more."""
    from switchboard.dns import command

    made.add_argument("--host", action="store_true", help="have this host resolve the cluster's names")
    made.add_argument("--host-undo", action="store_true", help="take that back")
    options = made.parse_args(words)
    config = cluster(options)
    return command.change_host(options.host_undo, config.name, config.node_ip, config.domain)
