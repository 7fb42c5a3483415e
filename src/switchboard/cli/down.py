"""`switchboard down` and `switchboard delete`."""

from __future__ import annotations

import argparse

from switchboard.cluster import config as configs
from switchboard.cluster import kubeconfig, locks, stop, traces
from switchboard.cluster.config import ClusterConfig
from switchboard.cluster.errors import ClusterError
from switchboard.cluster.progress import Progress

from .options import parser

_EXAMPLES = """\
  switchboard down                 stop; `switchboard up` brings every object back
  switchboard down --grace 30      give containers 30 s to end
  switchboard down --purge         stop and forget objects, images and certificates
  switchboard delete               the same as down --purge"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Stop the cluster; with --purge, or as `delete`, forget it."""
    made = parser(verb, "Stop the cluster and leave nothing of it running.", _EXAMPLES, name)
    made.add_argument("--purge", action="store_true", help="also forget objects, images, certificates and the context")
    made.add_argument("--grace", type=seconds, default=stop.GRACE, metavar="SECONDS", help="for containers (default 2)")
    options = made.parse_args(words)
    purge = options.purge or verb == "delete"
    progress = Progress()
    with locks.cluster(options.name, lambda: progress.doing(locks.WAITING)):
        config = _find(options.name, purge)
        if config is None:
            progress.say(f"There is no cluster {options.name}; nothing to do")
            return 0
        progress.doing("stopping the cluster's processes and containers")
        since = progress.elapsed
        something = stop.stop(config, grace=options.grace)
        if something:
            progress.done("stopped", "no process, mount, namespace, link or rule is left", since)
        if purge:
            _forget(config, progress)
    if purge:
        progress.say(f"Cluster {config.name} is forgotten")
    else:
        progress.say(
            f"Cluster {config.name} is {'down' if something else 'not up'}; its objects stay (forget them: --purge)"
        )
    return 0


def seconds(text: str) -> float:
    """A grace period; argparse takes this function's name for what it wants."""
    value = float(text)
    if not 0 <= value < 86400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 to a day")
    return value


def _find(name: str, purge: bool) -> ClusterConfig | None:
    """The cluster; a description that is gone is no reason not to clean up, nor is one that cannot be read when the
    cluster is to be forgotten anyway.
    """
    try:
        found = configs.load(name)
    except ClusterError:
        if not purge:
            raise
        return configs.new(name)
    half = configs.new(name)
    return found or traces.left(name) or (half if purge and half.state.exists() else None)


def _forget(config: ClusterConfig, progress: Progress) -> None:
    try:
        for path in kubeconfig.remove(config):
            progress.say(f"  kubeconfig    context {config.name} taken out of {path}")
    except kubeconfig.Refused as refused:
        progress.say(f"  kubeconfig    {refused.message}")
    stop.purge(config)
