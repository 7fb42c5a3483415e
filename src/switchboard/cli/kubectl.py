"""`switchboard kubectl ...`."""

from __future__ import annotations

import os

from switchboard.cluster.config import default_name, load_existing
from switchboard.cluster.errors import ClusterError

_HELP = """\
usage: switchboard [--name CLUSTER] kubectl ARGUMENTS...

Run kubectl against the cluster, whatever your kubeconfig says. Everything after `kubectl` goes to it unchanged.

examples:
  switchboard kubectl get pods -A
  switchboard --name two kubectl apply -f web.yaml
  switchboard kubectl -- --help          kubectl's own help"""


def run(verb: str, words: list[str], name: str | None) -> int:
    """Become kubectl, with the cluster's own kubeconfig."""
    if words[:1] in (["--help"], ["-h"]):
        print(_HELP)
        return 0
    if words[:1] == ["--"]:
        words = words[1:]
    config = load_existing(name or default_name())
    path = config.state / "kubeconfig"
    try:
        path.open("rb").close()
        os.execvp("kubectl", ["kubectl", f"--kubeconfig={path}", *words])
    except FileNotFoundError as error:
        advice = "switchboard up" if error.filename == str(path) else "apt-get install kubernetes-client"
        raise ClusterError(f"could not run kubectl for cluster {config.name}: {error}", advice) from error
