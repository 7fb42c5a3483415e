"""`switchboard kubeconfig`."""

from __future__ import annotations

from switchboard.cluster.access import admin_yaml
from switchboard.cluster.config import command
from switchboard.cluster.errors import ClusterError

from .options import cluster, parser

_EXAMPLES = """\
  switchboard kubeconfig >cluster.yaml
  kubectl --kubeconfig cluster.yaml get nodes"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Print a complete kubeconfig of the cluster's administrator."""
    config = cluster(parser(verb, "Print the cluster's kubeconfig.", _EXAMPLES, name).parse_args(words))
    try:
        print(admin_yaml(config), end="")
    except FileNotFoundError as error:
        advice = f"start it: {command('up', config.name)}"
        raise ClusterError(f"cluster {config.name} has no certificates yet: {error}", advice) from error
    return 0
