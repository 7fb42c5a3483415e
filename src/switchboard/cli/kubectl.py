"""`switchboard kubectl ...`."""

from __future__ import annotations

import os

from switchboard.cluster import running
from switchboard.cluster.config import command, default_name, load_existing
from switchboard.cluster.errors import ClusterError

from .options import as_called

_HELP = """\
usage: switchboard [--name CLUSTER] kubectl ARGUMENTS...

Run kubectl against the cluster, whatever your kubeconfig says. Everything after `kubectl` goes to it unchanged.

examples:
  switchboard kubectl get pods -A
  switchboard --name two kubectl apply -f web.yaml
  switchboard kubectl -- --help          kubectl's own help"""

# What kubectl does by itself: these need no cluster that runs.
_ALONE = frozenset({"completion", "config", "help", "kustomize", "options", "plugin"})
_ALONE_OPTIONS = frozenset({"--help", "-h", "--client", "--client=true"})


def run(verb: str, words: list[str], name: str | None) -> int:
    """Become kubectl, with the cluster's own kubeconfig."""
    if words[:1] in (["--help"], ["-h"]):
        print(as_called(_HELP))
        return 0
    if words[:1] == ["--"]:
        words = words[1:]
    config = load_existing(name or default_name())
    if not (_ALONE & set(words[:1]) or _ALONE_OPTIONS & set(words) or not words) and not running.supervisor(config):
        raise ClusterError(f"cluster {config.name} is down", f"start it: {command('up', config.name)}")
    path = config.state / "kubeconfig"
    try:
        path.open("rb").close()
        os.execvp("kubectl", ["kubectl", f"--kubeconfig={path}", *words])
    except FileNotFoundError as error:
        advice = command("up", config.name) if error.filename == str(path) else "apt-get install kubernetes-client"
        raise ClusterError(f"could not run kubectl for cluster {config.name}: {error}", advice) from error
