"""Requests that wait take seats of their priority level: who is let in, who waits, who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard.api import seats
from switchboard.api.dropped import Dropped
from switchboard.api.flowcontrol import Flow
from switchboard.api.identity import AUTHENTICATED, MASTERS, Identity
from switchboard.api.seats import TOTAL, Level, Place, Refused, Room, too_many_requests
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.messages import Request, Response

GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"
DEBUG = "/debug/api_priority_and_fairness"
ADMIN = Identity("admin", (MASTERS, AUTHENTICATED))
CONFIGS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


def spec(shares: int, *, lent: int = 0, borrowed: int | None = None, **queuing: int) -> dict[str, Any]:
    response: dict[str, Any] = {"type": "Queue", "queuing": queuing} if queuing else {"type": "Reject"}
    limited: dict[str, Any] = {"nominalConcurrencyShares": shares, "lendablePercent": lent, "limitResponse": response}
    if borrowed is not None:
        limited["borrowingLimitPercent"] = borrowed
    return {"type": "Limited", "limited": limited}


def place(level: Level, who: str = "a") -> Place:
    flow = Flow({"metadata": {"name": "f", "uid": "u"}}, level, "l")
    return Place(flow, who, who, "create", Request("POST", CONFIGS, "", {}, b""))


def fill(level: Level) -> list[Place]:
    taken = []
    while level.admit(new := place(level)):
        taken.append(new)
    return taken


async def test_seats_beyond_its_own_are_those_that_others_lend() -> None:
    room = Room()
    room.configure({"a": spec(1, borrowed=100), "b": spec(1, lent=75), "c": spec(2, lent=100, borrowed=0)})
    a, b, c = (room.levels[name] for name in "abc")
    assert (a.nominal, a.upper, b.nominal, b.lower, c.nominal, c.upper) == (150, 300, 150, 38, 300, 300)
    assert len(fill(a)) == 300  # its own and as many again
    assert len(fill(b)) == 300  # its own, whoever has borrowed from it, and what is left
    assert len(fill(c)) == 300 and TOTAL == 600  # what is lent comes back at once: nobody waits for another level
    with pytest.raises(Refused, match="concurrency-limit"):
        await a.wait(place(a))


async def test_what_a_level_could_have_is_never_more_than_it_may_borrow() -> None:
    room = Room()
    room.configure({"a": spec(1, lent=50, borrowed=0), "b": spec(1, lent=50)})
    a, b = (room.levels[name] for name in "ab")
    assert (a.limit, b.limit) == (300, 450)
    assert (len(fill(b)), len(fill(a))) == (450, 300)
    assert (a.limit, b.limit) == (300, 300)


async def test_flows_of_a_level_take_turns() -> None:
    room = Room()
    room.configure({"a": spec(1, borrowed=0, queues=1, handSize=1, queueLengthLimit=3)})
    level = room.levels["a"]
    taken = fill(level)
    order: list[str] = []

    async def ask(who: str) -> None:
        mine = place(level, who[0])
        await level.wait(mine)
        order.append(who)

    tasks = [asyncio.ensure_future(ask(who)) for who in ("x1", "x2", "y1")]
    await asyncio.sleep(0)
    assert level.waiting == room.waiting == 3
    with pytest.raises(Refused, match="queue-full"):
        await level.wait(place(level, "z"))
    for each in taken[:3]:
        level.release(each)
    await asyncio.gather(*tasks)
    assert order == ["x1", "y1", "x2"] and level.waiting == room.waiting == 0 and not level.queues


async def test_who_waits_too_long_or_leaves_is_out_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room()
    room.configure({"a": spec(1, queues=1, handSize=1, queueLengthLimit=3)})
    level = room.levels["a"]
    fill(level)
    leaving = asyncio.ensure_future(level.wait(place(level)))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    monkeypatch.setattr(seats, "PATIENCE", 0.01)
    with pytest.raises(Refused, match="time-out"):
        await level.wait(place(level))
    assert (level.waiting, level.cancelled, level.timed_out, level.queues) == (0, 1, 1, {})


def test_who_is_refused_waits_the_longer_the_more_are() -> None:
    dropped, waits = Dropped(), []
    # second, refused in it; as upstream's own test has them
    for second, count in (
        (0, 5), (1, 11), (2, 1), (3, 11), (4, 1), (7, 1), (11, 1), (15, 1), (17, 1), (21, 14), (22, 1),
    ):  # fmt: skip
        for _ in range(count):
            dropped.add(1_700_000_000 + second)
        waits.append(dropped.wait)
    assert waits == [1, 2, 2, 4, 4, 8, 8, 7, 6, 5, 10]
    for second in range(30, 200):
        for _ in range(100):
            dropped.add(1_700_000_000 + second)
    assert dropped.wait == 32


async def test_levels_tell_their_own_wait() -> None:
    room = Room()
    room.configure({"a": spec(1, borrowed=0), "b": spec(1, borrowed=0)})
    a, b = (room.levels[name] for name in "ab")
    fill(a), fill(b)
    a.dropped.wait = 7
    for level, wait in ((a, 6), (b, 1)):  # nobody was refused lately, so it is less by one
        with pytest.raises(Refused) as refused:
            await level.wait(place(level))
        assert dict(too_many_requests(refused.value.retry_after).headers)["retry-after"] == str(wait)


async def small_level(api: ApiServer, **queuing: int) -> Level:
    """A level with few seats, all taken, for what anybody called `u` asks."""
    level = {"metadata": {"name": "small"}, "spec": spec(1, borrowed=0, **queuing)}
    assert (await api.call("POST", f"{GROUP}/prioritylevelconfigurations", level))[0] == 201
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "u"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
    }
    about = {"priorityLevelConfiguration": {"name": "small"}, "matchingPrecedence": 2, "rules": [rule]}
    about["distinguisherMethod"] = {"type": "ByUser"}
    assert (await api.call("POST", f"{GROUP}/flowschemas", {"metadata": {"name": "small"}, "spec": about}))[0] == 201
    assert api.app.flows.all[0].name == "exempt" and "small" in {flow.name for flow in api.app.flows.all}
    return api.app.flows.room.levels["small"]


def taken(api: ApiServer, level: Level) -> list[Place]:
    flow = next(flow for flow in api.app.flows.all if flow.name == "small")
    places = []
    while level.admit(new := Place(flow, "u", "u", "create", Request("POST", CONFIGS, "", {}, b""))):
        places.append(new)
    return places


async def test_a_write_waits_for_a_seat_and_a_read_does_not(api: ApiServer) -> None:
    level = await small_level(api, queues=1, handSize=1, queueLengthLimit=1)
    user = Identity("u", ("g", AUTHENTICATED))
    rbac = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}
    await api.call("POST", rbac, {"metadata": {"name": "u"}, "roleRef": role, "subjects": [subject]})
    places = taken(api, level)
    assert len(places) == level.nominal > 0

    first = asyncio.ensure_future(api.call("POST", CONFIGS, {"metadata": {"name": "a"}}, identity=user))
    for _ in range(1000):
        if level.waiting:
            break
        await asyncio.sleep(0)
    assert (await api.call("GET", CONFIGS, identity=user))[0] == 200
    refused = await api.request("POST", CONFIGS, {"metadata": {"name": "b"}}, identity=user)
    said = {name.lower(): value for name, value in refused.headers}
    assert (refused.status, said["retry-after"]) == (429, "1") and said["x-kubernetes-pf-prioritylevel-uid"]
    assert refused.body == b"Too many requests, please try again later.\n"
    assert (await api.call("POST", CONFIGS, {"metadata": {"name": "c"}}, identity=ADMIN))[0] == 201

    rows = await table(api, "dump_requests?includeRequestDetails=1")
    waiting = next(row for row in rows if row["QueueIndex"] == "0")
    assert (waiting["FlowDistingsher"], waiting["Verb"], waiting["Resource"]) == ("u", "create", "configmaps")
    (queue,) = await table(api, "dump_queues")
    assert (queue["PriorityLevelName"], queue["PendingRequests"]) == ("small", "1")
    for each in places:
        level.release(each)
    assert (await first)[0] == 201
    row = next(row for row in await table(api, "dump_priority_levels") if row["PriorityLevelName"] == "small")
    assert (row["IsIdle"], row["RejectedRequests"], row["WaitingRequests"]) == ("true", "1", "0")

    shown = (await text(api, "/metrics")).splitlines()
    name, labels = "apiserver_flowcontrol_", 'flow_schema="small",priority_level="small"'
    assert f'{name}rejected_requests_total{{{labels},reason="queue-full"}} 1' in shown
    assert f"{name}dispatched_requests_total{{{labels}}} {len(places) + 2}" in shown
    assert f'{name}nominal_limit_seats{{priority_level="small"}} {level.nominal}' in shown
    assert f'{name}request_wait_duration_seconds_count{{{labels},execute="true"}} {len(places) + 2}' in shown


async def test_counting_goes_on_when_a_schema_changes(api: ApiServer) -> None:
    level = await small_level(api, queues=1, handSize=1, queueLengthLimit=1)
    places = taken(api, level)
    late = Place(places[0].flow, "u", "u", "create", Request("POST", CONFIGS, "", {}, b""))
    waiting = asyncio.ensure_future(level.wait(late))
    await asyncio.sleep(0)
    change, merge = {"spec": {"matchingPrecedence": 3}}, {"content-type": "application/merge-patch+json"}
    assert (await api.call("PATCH", f"{GROUP}/flowschemas/small", change, merge))[0] == 200
    name, labels = "apiserver_flowcontrol_", 'flow_schema="small",priority_level="small"'
    shown = (await text(api, "/metrics")).splitlines()
    assert f"{name}current_inqueue_requests{{{labels}}} 1" in shown
    assert f"{name}current_executing_requests{{{labels}}} {len(places)}" in shown
    for each in places:
        level.release(each)
    await waiting
    shown = (await text(api, "/metrics")).splitlines()
    assert f"{name}current_inqueue_requests{{{labels}}} 0" in shown
    assert f"{name}dispatched_requests_total{{{labels}}} {len(places) + 1}" in shown
    assert f'{name}request_wait_duration_seconds_count{{{labels},execute="true"}} {len(places) + 1}' in shown


async def text(api: ApiServer, path: str) -> str:
    answer: Response = await api.request("GET", path, identity=ADMIN)
    assert answer.status == 200
    return (answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)).decode()


async def table(api: ApiServer, name: str) -> list[dict[str, str]]:
    head, *rows = (
        [cell.strip() for cell in line.split(",")] for line in (await text(api, f"{DEBUG}/{name}")).splitlines()
    )
    return [dict(zip(head, row, strict=True)) for row in rows]
