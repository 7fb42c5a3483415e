"""One namespace with three pods that answer and three that ask, for all tests of Services on a whole cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from switchboard.testing.cluster import PrivateCluster
from switchboard.testing.space import Space

WEB = ("a", "b", "c")


@pytest.fixture(scope="session")
def space(cluster: PrivateCluster) -> Iterator[Space]:
    """Pods `a`, `b`, `c` (label app=web; HTTP on 8080 and 8082, UDP on 8081), `client`, `other` and, in the node's own
    network, `hosted`."""
    with Space(cluster, "services") as made:
        ports = [{"name": "http", "containerPort": 8080}, {"name": "udp", "containerPort": 8081, "protocol": "UDP"}]
        serve = ("http:8080", "http:8082", "udp:8081")
        answering = [made.pod(n, *serve, ports=ports, labels={"app": "web", "pod": n}) for n in WEB]
        asking = [made.pod("client"), made.pod("other"), made.pod("hosted", hostNetwork=True)]
        made.apply(*answering, *asking)
        made.ready(*WEB, "client", "other", "hosted")
        yield made
