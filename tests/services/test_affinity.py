"""sessionAffinity ClientIP: kept, switched off and on, by ClusterIP and nodePort."""

from __future__ import annotations

import pytest

from switchboard.testing.space import Space
from switchboard.testing.waiting import wait_for

pytestmark = pytest.mark.machine
WEB = {"a", "b", "c"}
ASKERS = ("client", "hosted")


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_affinity_can_be_switched(space: Space, kind: str) -> None:
    name = f"sticky-{kind.lower()}"
    made = space.service(name, 80, selector={"app": "web"}, type=kind, sessionAffinity="ClientIP")["spec"]
    assert made["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    urls = [f"http://{made['clusterIP']}/"]
    if kind != "ClusterIP":
        urls.append(f"http://{space.cluster.ip}:{made['ports'][0]['nodePort']}/")
    for url in urls:
        for by in ASKERS:
            wait_for(lambda url=url, by=by: space.names(url, by=by) <= WEB)  # type: ignore[misc]
            assert len(space.names(url, by=by, times=20)) == 1, (url, by)
    off = space.patch("service", name, {"spec": {"sessionAffinity": "None"}})["spec"]
    assert off["sessionAffinity"] == "None" and "sessionAffinityConfig" not in off
    for url in urls:
        for by in ASKERS:
            wait_for(lambda url=url, by=by: len(space.names(url, by=by, times=20)) > 1)  # type: ignore[misc]
    space.patch("service", name, {"spec": {"sessionAffinity": "ClientIP"}})
    for url in urls:
        for by in ASKERS:
            wait_for(lambda url=url, by=by: len(space.names(url, by=by, times=20)) == 1)  # type: ignore[misc]


def test_a_client_moves_only_when_its_endpoint_goes(space: Space) -> None:
    ip = space.service("loyal", 80, selector={"app": "web"}, sessionAffinity="ClientIP")["spec"]["clusterIP"]
    wait_for(lambda: len(space.endpoints("loyal")) == 3 and space.names(f"http://{ip}/") <= WEB)
    mine = {by: next(iter(space.names(f"http://{ip}/", by=by))) for by in ("client", "other")}
    bystander = sorted(WEB - set(mine.values()))[0]
    for gone in (bystander, mine["client"]):
        space.kubectl("label", "pod", gone, "app=away", "--overwrite")
        try:
            wait_for(lambda: len(space.endpoints("loyal")) == 2)
            wait_for(lambda gone=gone: gone not in space.names(f"http://{ip}/", times=5))  # type: ignore[misc]
            for by, name in mine.items():
                now = space.names(f"http://{ip}/", by=by, times=10)
                assert now == {name} if name != gone else len(now) == 1 and now <= WEB - {gone}, by
        finally:
            space.kubectl("label", "pod", gone, "app=web", "--overwrite")
        wait_for(lambda: len(space.endpoints("loyal")) == 3)
