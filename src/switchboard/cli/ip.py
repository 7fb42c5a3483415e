"""`switchboard ip`."""

from __future__ import annotations

from .options import cluster, parser

_EXAMPLES = """\
  switchboard ip
  curl http://$(switchboard ip):30007"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Print the node's address, where node ports answer."""
    print(cluster(parser(verb, "Print the node's address.", _EXAMPLES, name).parse_args(words)).node_ip)
    return 0
