"""`switchboard image load` and `switchboard image list`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from switchboard.cluster import loading
from switchboard.cluster.errors import ClusterError
from switchboard.cluster.progress import Progress

from .options import cluster, parser

_EXAMPLES = """\
  docker save myapp:1 >myapp.tar && switchboard image load myapp.tar
  docker save myapp:1 | switchboard image load -
  switchboard image list"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Load an archive into the cluster, or list what it can run without a network."""
    made = parser(verb, "Images of the cluster's node and of its local mirror.", _EXAMPLES, name)
    verbs = made.add_subparsers(dest="action", required=True, metavar="load|list")
    load = verbs.add_parser("load", help="from a docker or OCI archive")
    load.add_argument("file", metavar="FILE", help="what `docker save` wrote; - for standard input")
    listing = verbs.add_parser("list", aliases=["ls"], help="what can be run")
    for one in (load, listing):
        one.add_argument("--name", default=argparse.SUPPRESS, metavar="CLUSTER", help="which cluster")
    options = made.parse_args(words)
    return _load(options) if options.action == "load" else _list(options)


def _load(options: argparse.Namespace) -> int:
    config = cluster(options)
    progress = Progress()
    progress.doing(f"loading {options.file}")
    if options.file == "-":
        names = loading.load(config, sys.stdin.buffer)
    else:
        try:
            with Path(options.file).open("rb") as file:
                names = loading.load(config, file)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise ClusterError(f"{options.file}: {error.strerror}", "give the file `docker save` wrote") from error
    for name in names:
        progress.say(f"loaded {name}")
    return 0


def _list(options: argparse.Namespace) -> int:
    config = cluster(options)
    mirror, node = loading.in_mirror(config), loading.in_node(config)
    print(f"{'IMAGE':<52}{'IN MIRROR':<11}{'IN NODE'}")
    for name in sorted(mirror | node):
        print(f"{name:<52}{'yes' if name in mirror else '-':<11}{node.get(name, '-')}")
    return 0
