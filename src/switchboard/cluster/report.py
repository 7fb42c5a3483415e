"""A one-shot process of the supervisor: tells the cluster, as a Kubernetes Event on the node, that one of our
processes died.

The supervisor must stay small and must never wait; this waits for the API (which may be the very process that died)
and goes.
"""

from __future__ import annotations

import time
from pathlib import Path

from .ask import NoAnswer, ask

_PATIENCE = 30.0


def main(arguments: list[str]) -> int:
    """`report <api socket> <node name> <process> <text>`."""
    socket_path, node, process, text = arguments
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{node}.{time.time_ns():x}", "namespace": "default"},
        # the kubelet's events on its node have the name as uid too, and `kubectl describe node` looks for that
        "involvedObject": {"kind": "Node", "name": node, "uid": node},
        "reason": "SwitchboardRestarted",
        "message": text,
        "type": "Warning",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": f"switchboard-{process}", "host": node},
        "reportingComponent": "switchboard-supervisor",
        "reportingInstance": node,
    }
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            status, _ = ask(Path(socket_path), "POST", "/api/v1/namespaces/default/events", event)
            if status < 500:
                return 0 if status < 300 else 1
        except NoAnswer:
            pass
        time.sleep(0.1)
    return 1
