"""`switchboard status`."""

from __future__ import annotations

import json

from switchboard.cluster import running
from switchboard.cluster.config import ClusterConfig, command
from switchboard.cluster.processes import table

from .options import cluster, parser

_EXAMPLES = """\
  switchboard status
  switchboard status -o json"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Print what runs; the exit status is 0 when the node is ready and every process is there, else 1."""
    made = parser(verb, "What runs, and whether it is well.", _EXAMPLES, name)
    made.add_argument("-o", "--output", choices=("table", "json"), default="table", help="for people or for programs")
    options = made.parse_args(words)
    config = cluster(options)
    content = running.status(config)
    print(json.dumps(content, indent=2) if options.output == "json" else _table(config, content))
    return 0 if content["processes"] and all(node["ready"] for node in content["nodes"]) else 1


def _table(config: ClusterConfig, content: dict[str, object]) -> str:
    live = {process.name: process for process in running.processes(config)}
    nodes = running.nodes(config)
    if not live:
        return f"cluster {config.name} is down (start it: {command('up', config.name)})"
    lines = [f"cluster   {config.name}", f"server    {config.api_url}"]
    for node in nodes:
        state = "Ready" if node["ready"] else "NotReady"
        lines.append(f"node      {node['name']}  {node['ip']}  {state}  (network namespace {node['netns'] or '-'})")
    lines.append(
        f"egress    {_switch(config.egress)}   host access {_switch(config.host_access)}"
        f"   load balancer {_switch(config.load_balancer)}"
    )
    lines += ["", f"{'PROCESS':<12}{'PID':>8}{'MEMORY':>11}{'RESTARTS':>10}"]
    missing = [process.name for process in table(config) if process.name not in live]
    for process in live.values():
        lines.append(f"{process.name:<12}{process.pid:>8}{_size(process.rss_bytes):>11}{process.restarts:>10}")
    lines += [f"{name:<12}{'-':>8}{'-':>11}{'':>10}  not running" for name in missing]
    own = sum(process.rss_bytes for process in live.values() if process.name != "containerd")
    lines.append(f"{'':<12}{'':>8}{_size(own):>11}{'':>10}  without containerd")
    return "\n".join(lines)


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
