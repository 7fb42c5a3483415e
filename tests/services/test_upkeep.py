"""What comes back by itself: Service `kubernetes`, its endpoints, the rules."""

from __future__ import annotations

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine


def api_answers(space: Space) -> bool:
    said = space.inside("client", "curl -sk --max-time 3 https://kubernetes.default/version", check=False)
    return '"gitVersion"' in said


def test_the_apis_own_service_comes_back(space: Space) -> None:
    cluster = space.cluster
    assert api_answers(space)
    uid = cluster.get("service", "kubernetes")["metadata"]["uid"]
    cluster.kubectl("delete", "service", "--all", "-n", "default")

    def made_anew() -> bool:
        found = cluster.run("kubectl", "get", "service", "kubernetes", "-o", "jsonpath={.metadata.uid}", check=False)
        return found.returncode == 0 and found.stdout != uid

    wait_for(made_anew, what="the Service")
    assert cluster.get("service", "kubernetes")["spec"]["clusterIP"] == "10.96.0.1"
    for kind in ("endpoints", "endpointslices"):
        cluster.kubectl("delete", kind, "kubernetes", check=False)
        wait_for(lambda kind=kind: cluster.get(kind, "--field-selector=metadata.name=kubernetes")["items"])  # type: ignore[misc]
    wait_for(lambda: api_answers(space), what="the API through its Service")
    assert cluster.get("ipaddress", "10.96.0.1")["spec"]["parentRef"]["name"] == "kubernetes"
    # changed for the worse, it is as it was
    cluster.kubectl("patch", "service", "kubernetes", "-p", '{"spec":{"ports":[{"port":443,"targetPort":1}]}}')
    wait_for(lambda: cluster.get("service", "kubernetes")["spec"]["ports"][0]["targetPort"] == 6443)


def test_rules_that_somebody_flushed_come_back(space: Space) -> None:
    ip = space.service("flushed", 80, selector={"app": "web"})["spec"]["clusterIP"]
    space.until_names(f"http://{ip}/", {"a", "b", "c"}, times=30)
    space.cluster.node("nft", "flush", "ruleset")
    space.until_names(f"http://{ip}/", {"a", "b", "c"}, times=30)


def test_variables_of_services(space: Space) -> None:
    """A pod knows the Services that were there before it (and can be told not to)."""
    ip = space.service("env-svc", 8765, selector={"app": "web"})["spec"]["clusterIP"]
    space.apply(space.pod("knows"), space.pod("ignores", enableServiceLinks=False))
    space.ready("knows", "ignores")
    seen = dict(line.split("=", 1) for line in space.inside("knows", "env").splitlines() if "=" in line)
    assert seen["ENV_SVC_SERVICE_HOST"] == ip and seen["ENV_SVC_SERVICE_PORT"] == "8765"
    assert seen["ENV_SVC_PORT"] == f"tcp://{ip}:8765" and seen["ENV_SVC_PORT_8765_TCP_ADDR"] == ip
    other = space.inside("ignores", "env")
    assert "ENV_SVC_SERVICE_HOST" not in other and "KUBERNETES_SERVICE_HOST" in other
