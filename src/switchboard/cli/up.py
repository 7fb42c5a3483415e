"""`switchboard up`."""

from __future__ import annotations

import argparse
from pathlib import Path

from switchboard.cluster import kubeconfig
from switchboard.cluster.config import DEFAULT_NAME, ClusterConfig, called
from switchboard.cluster.progress import Progress
from switchboard.cluster.start import up
from switchboard.cluster.wishes import Wish

from .options import parser

_EXAMPLES = """\
  switchboard up                          start, pods may reach the network
  switchboard up --no-egress              start, pods have no way out of the machine
  switchboard up --host-access            ClusterIPs and pods answer from this machine too
  switchboard up --no-load-balancer       LoadBalancer Services wait for a provider of yours, such as MetalLB
  switchboard up --faithful               find the races that Kubernetes would show (off: --no-faithful)
  switchboard up --dual-stack             pods and Services have IPv6 addresses too
  switchboard up --audit-policy-file p.yaml --audit-log-path audit.log
                                          who did what, as kube-apiserver writes it
  switchboard up --name two               a second cluster beside the first"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Start the cluster, merge its context into the kubeconfig, say what to try next."""
    options = _parse(verb, words, name)
    progress = Progress()
    progress.say(f"Starting cluster {options.name}")
    result = up(
        Wish(
            options.name,
            egress=options.egress,
            host_access=options.host_access,
            load_balancer=options.load_balancer,
            faithful=options.faithful,
            audit_policy=_absolute(options.audit_policy_file),
            audit_log=_absolute(options.audit_log_path),
            audit_max_size=options.audit_log_maxsize,
            audit_max_backups=options.audit_log_maxbackup,
            audit_max_age=options.audit_log_maxage,
            node_subnet=options.node_subnet,
            pod_cidr=options.pod_cidr,
            service_cidr=options.service_cidr,
            api_port=options.api_port,
            dual_stack=options.dual_stack,
            images=options.images,
        ),
        progress,
    )
    config = result.config
    where = _merge(config, progress) if options.kubeconfig else ""
    if result.already:
        progress.say(f"Cluster {config.name} is up: node {config.node_ip}, API {config.api_url}")
    else:
        rest = result.ready_seconds - result.containerd_seconds
        progress.say(
            f"Cluster {config.name} is up: node Ready after {result.ready_seconds:.2f} s"
            f" ({rest:.2f} s without containerd's own start)"
        )
    _next(config, where, progress)
    return 0


def _parse(verb: str, words: list[str], name: str | None) -> argparse.Namespace:
    made = parser(verb, "Start the cluster, or repair it, or say that it runs.", _EXAMPLES, name)
    switch = argparse.BooleanOptionalAction
    made.add_argument(
        "--egress", action=switch, default=None, help="pods reach the network through this machine (default)"
    )
    made.add_argument(
        "--host-access", action=switch, default=None, help="routes on this machine to Services and pods (default: off)"
    )
    made.add_argument(
        "--load-balancer",
        action=switch,
        default=None,
        help="addresses for LoadBalancer Services from the built-in pool (default); off for a provider of your own",
    )
    made.add_argument(
        "--faithful",
        action=switch,
        default=None,
        help="as Kubernetes where this cluster is kinder: pods end while their endpoints go, drops instead of refusals",
    )
    _add_audit(made)
    made.add_argument(
        "--node-subnet", metavar="CIDR", help="first start only: default 192.168.49.0/24, or the next free"
    )
    made.add_argument("--pod-cidr", metavar="CIDR", help="first start only: default 10.244.0.0/16")
    made.add_argument("--service-cidr", metavar="CIDR", help="first start only: default 10.96.0.0/16")
    made.add_argument("--api-port", type=int, metavar="PORT", help="first start only: default 6443, or the next free")
    made.add_argument(
        "--dual-stack",
        action=switch,
        default=None,
        help="first start only: IPv6 beside IPv4 for nodes, pods and Services",
    )
    made.add_argument(
        "--kubeconfig", action=switch, default=True, help="merge a context into your kubeconfig (default)"
    )
    made.add_argument("--images", action=switch, default=True, help="make the stand-in images for the mirror (default)")
    return made.parse_args(words)


def _add_audit(made: argparse.ArgumentParser) -> None:
    made.add_argument("--audit-policy-file", metavar="FILE", help='what the audit log is about (off: "")')
    made.add_argument("--audit-log-path", metavar="FILE", help='where the audit log is written (off: "")')
    made.add_argument(
        "--audit-log-maxsize", type=count, metavar="MB", help="size at which it is put aside and begun anew (0: 100)"
    )
    made.add_argument(
        "--audit-log-maxbackup", type=count, metavar="N", help="how many of those put aside are kept (0: all)"
    )
    made.add_argument("--audit-log-maxage", type=count, metavar="DAYS", help="for how long they are kept (0: for ever)")


def count(text: str) -> int:
    """How many; argparse takes this function's name for what it wants."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} can't be a negative number")
    return number


def _absolute(path: str | None) -> str | None:
    """The server reads and writes files from another folder than this command's."""
    return str(Path(path).absolute()) if path else path


def _merge(config: ClusterConfig, progress: Progress) -> str:
    try:
        path = kubeconfig.merge(config)
    except kubeconfig.Refused as refused:
        progress.say(f"  kubeconfig    {refused.message}")
        progress.say(f"                what to do: {refused.advice}, or use KUBECONFIG={config.state}/kubeconfig")
        return ""
    return str(path)


def _next(config: ClusterConfig, where: str, progress: Progress) -> None:
    option = "" if config.name == DEFAULT_NAME else f" --name {config.name}"
    if where:
        progress.say(f'kubectl uses it: context "{config.name}" in {where}')
        kubectl = "kubectl"
    else:
        kubectl = f"{called()}{option} kubectl"  # what comes after `kubectl` is kubectl's
    progress.say("Try:")
    progress.say(f"  {kubectl} create deployment web --image=nginx:alpine --replicas=3")
    progress.say(f"  {kubectl} expose deployment web --port=80 --type=NodePort")
    progress.say(f"  {kubectl} get pods,services -o wide")
