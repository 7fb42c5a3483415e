"""`switchboard server|node|dns|proxy`: one role as a process in the foreground, against any Kubernetes API."""

from __future__ import annotations

from pathlib import Path

from switchboard.cluster import roles

from .options import parser

_EXAMPLES = {
    "server": "  switchboard server --state /var/lib/switchboard/dev",
    "node": "  switchboard node --kubeconfig node.kubeconfig --node-name worker-2",
    "dns": "  switchboard dns --kubeconfig admin.yaml --listen 127.0.0.1 --port 5353",
    "proxy": "  switchboard proxy --kubeconfig admin.yaml --node-name worker-2\n  switchboard proxy --cleanup",
}
_SUMMARY = {
    "server": "Run the API, its store, controllers and scheduler of a cluster that was prepared with `up`.",
    "node": "Run a node: pods through containerd, probes, logs, and the Service proxy beside it.",
    "dns": "Answer the cluster's names from the Services of any Kubernetes API.",
    "proxy": "Make Services work in this network namespace, from any Kubernetes API.",
}


def run(verb: str, words: list[str], name: str | None) -> int:
    """Run the role until SIGTERM."""
    made = parser(verb, _SUMMARY[verb], _EXAMPLES[verb], name)
    if verb == "server":
        made.add_argument("--state", type=Path, required=True, help="the cluster's state folder")
        return roles.server([str(made.parse_args(words).state / "cluster.json")])
    if verb == "proxy" and "--cleanup" in words:
        from switchboard.proxy.cleanup import clean_up

        clean_up()
        return 0
    made.add_argument("--kubeconfig", type=Path, required=True, help="the API and who we are")
    if verb == "dns":
        made.add_argument("--listen", action="append", metavar="ADDRESS", help="default 127.0.0.1")
        made.add_argument("--port", type=int, default=53, help="default 53")
        made.add_argument("--domain", default="cluster.local", help="default cluster.local")
        made.add_argument("--upstream", action="append", default=[], metavar="ADDRESS", help="asked about other names")
        options = made.parse_args(words)
        return roles.dns_alone(
            options.kubeconfig, options.listen or ["127.0.0.1"], options.port, options.domain, options.upstream
        )
    made.add_argument("--node-name", required=True, help="the Node object this is")
    made.add_argument("--cleanup", action="store_true", help="take our rules and routes out of this namespace, and end")
    options = made.parse_args(words)
    return roles.proxy_alone(options.kubeconfig, options.node_name)
