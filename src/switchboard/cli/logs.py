"""`switchboard logs`."""

from __future__ import annotations

import os
import sys

from switchboard.cluster.config import ClusterConfig
from switchboard.cluster.errors import ClusterError
from switchboard.cluster.processes import SUPERVISOR, table
from switchboard.cluster.start import tail

from .options import cluster, parser

_EXAMPLES = """\
  switchboard logs                 the end of every log
  switchboard logs server -f       follow the server's
  switchboard logs node --tail 200"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Print the end of one process's log, or of all; follow it when asked."""
    made = parser(verb, "Show what the cluster's own processes say (for pods: kubectl logs).", _EXAMPLES, name)
    made.add_argument("process", nargs="?", help="supervisor, containerd, server, registry, node, dns (default: all)")
    made.add_argument("-f", "--follow", action="store_true", help="go on as more comes")
    made.add_argument("--tail", type=int, default=20, metavar="LINES", help="how many lines back (default 20; -1: all)")
    options = made.parse_args(words)
    config = cluster(options)
    names = [SUPERVISOR, *(process.name for process in table(config))]
    if options.process and options.process not in names:
        raise ClusterError(f"there is no process {options.process!r}", f"one of: {', '.join(names)}")
    if options.process:
        names = [options.process]
    for each in names:
        for line in tail(config.logs / f"{each}.log", options.tail):
            print(line if len(names) == 1 else f"{each:<11} {line}")
    sys.stdout.flush()
    return _follow(config, names) if options.follow else 0


def _follow(config: ClusterConfig, names: list[str]) -> int:
    """Hand over to `tail -F`, which knows about logs that are put aside."""
    paths = [str(config.logs / f"{each}.log") for each in names]
    os.execvp("tail", ["tail", "-n", "0", "-q", "-F", *paths])
