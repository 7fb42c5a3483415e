"""The node's HTTPS API on real containers: logs, exec, port-forward, dial, and who may ask."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from switchboard.client.resources import PODS
from switchboard.testing.node import NODE_IP, Node, container
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Connection
from switchboard.transport.spdy import SpdySession
from switchboard.transport.websocket import connect_websocket

TALK = {"command": ["sh", "-c", "for i in 1 2 3; do echo line $i; done; echo oops; exec sleep 1000"]}


def https(node: Node, user: str | None = "kube-apiserver-kubelet-client", *groups: str) -> HttpClient:
    """A client with a certificate of that user (or none)."""
    context = ssl.create_default_context(cafile=str(node.authority.certificate))
    context.check_hostname = False  # the test's certificate is for 127.0.0.1
    if user is not None:
        context.load_cert_chain(*node.authority.client(user, groups))
    return HttpClient(ssl=context)


async def base(node: Node) -> str:
    """The URL of the node's API, once it is served."""
    await asyncio.wait_for(node.agent.server.listening.wait(), 10)
    return f"https://{NODE_IP}:{node.agent.server.port}"


async def get(node: Node, path: str, client: HttpClient | None = None) -> tuple[int, str]:
    """Status and text of a GET."""
    async with client or https(node) as http:
        answer = await http.request("GET", await base(node) + path, timeout=10)
        return answer.status, answer.body.decode()


async def test_only_the_api_server_may_ask(node: Node) -> None:
    assert await get(node, "/healthz") == (200, "ok")
    assert (await get(node, "/healthz", https(node, None)))[0] == 401
    assert (await get(node, "/pods", https(node, "somebody", "somegroup")))[0] == 403
    assert (await get(node, "/pods", https(node, "root", "system:masters")))[0] == 200


async def test_logs(node: Node) -> None:
    await node.apply("talk", TALK)
    await node.ready("talk")
    async with asyncio.timeout(5):
        while "oops" not in await node.log("talk"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    logs = "/containerLogs/default/talk/c"
    assert await get(node, logs) == (200, "line 1\nline 2\nline 3\noops\n")
    assert await get(node, logs + "?tailLines=2") == (200, "line 3\noops\n")
    assert await get(node, logs + "?tailLines=0") == (200, "")
    assert await get(node, logs + "?limitBytes=9") == (200, "line 1\nli")
    assert await get(node, logs + "?sinceSeconds=1000") == (200, "line 1\nline 2\nline 3\noops\n")
    assert await get(node, logs + "?sinceTime=2999-01-01T00:00:00Z") == (200, "")
    stamped = (await get(node, logs + "?timestamps=true&tailLines=1"))[1].split(" ", 1)
    assert stamped[0].endswith("Z") and stamped[1] == "oops\n"
    assert await get(node, logs + "?previous=true") == (
        400,
        'previous terminated container "c" in pod "talk" not found',
    )
    assert (await get(node, logs + "?tailLines=-1"))[0] == 400
    assert (await get(node, "/containerLogs/default/nobody/c"))[0] == 404


async def test_logs_of_the_machine(node: Node) -> None:
    status, page = await get(node, "/logs/")
    assert status == 200 and page.startswith("<pre>\n<a href=")
    assert (await get(node, "/logs/../../etc/passwd"))[0] == 404
    async with https(node) as http:
        assert (await http.request("POST", await base(node) + "/logs/", timeout=10)).status == 405


async def test_logs_of_what_is_followed_has_ended_or_has_not_begun(node: Node) -> None:
    volume = {"volumes": [{"name": "w", "emptyDir": {}}]}
    mounts = {"volumeMounts": [{"name": "w", "mountPath": "/w"}]}
    script = "echo first; until test -e /w/go; do sleep 0.05; done; echo last"
    await node.apply("once", {"command": ["sh", "-c", script], **mounts}, restartPolicy="Never", **volume)
    await node.ready("once")
    url = await base(node) + "/containerLogs/default/once/c?follow=true"
    async with https(node) as http, http.stream("GET", url) as answer:
        first = await anext(answer.body)
        assert first == b"first\n"
        await node.sh("once", "touch /w/go")
        assert b"".join([piece async for piece in answer.body]) == b"last\n"  # and the stream ends with the container
    await node.phase("once", "Succeeded")
    assert await get(node, "/containerLogs/default/once/c") == (200, "first\nlast\n")
    await node.apply("again", {"command": ["sh", "-c", "echo try; exit 1"]})
    await node.until("again", lambda p: container(p)["restartCount"] == 1 and "waiting" in container(p)["state"])
    assert await get(node, "/containerLogs/default/again/c?previous=true") == (200, "try\n")
    await node.apply("absent", {"image": "docker.io/library/absent:1", "imagePullPolicy": "Never"})
    await node.until("absent", lambda p: container(p)["state"]["waiting"].get("reason") == "ErrImageNeverPull")
    assert await get(node, "/containerLogs/default/absent/c") == (
        400,
        'container "c" in pod "absent" is waiting to start: ErrImageNeverPull',
    )


@asynccontextmanager
async def spdy(node: Node, path: str, protocol: str) -> AsyncIterator[SpdySession]:
    """A SPDY session through the node."""
    headers = {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": protocol}
    async with https(node) as http:
        status, answered, connection = await http.upgrade("POST", await base(node) + path, headers, timeout=10)
        assert status == 101, connection
        assert answered["x-stream-protocol-version"] == protocol
        assert not isinstance(connection, bytes)
        session = SpdySession(connection, server=False)
        runner = asyncio.ensure_future(session.run())
        try:
            yield session
        finally:
            connection.close()
            await asyncio.gather(runner, return_exceptions=True)


async def everything(stream: Connection) -> bytes:
    """All that comes until the end."""
    found = b""
    while data := await stream.read():
        found += data
    return found


async def test_exec_over_spdy_and_websocket(node: Node) -> None:
    await node.apply("talk", TALK)
    await node.ready("talk")
    query = "?command=sh&command=-c&command=cat;+echo+no+>%262;+exit+3&input=1&output=1&error=1"
    async with asyncio.timeout(20), spdy(node, f"/exec/default/talk/c{query}", "v4.channel.k8s.io") as session:
        error = await session.open({"streamtype": "error"})
        stdin = await session.open({"streamtype": "stdin"})
        stdout = await session.open({"streamtype": "stdout"})
        stderr = await session.open({"streamtype": "stderr"})
        await stdin.write(b"through")
        await stdin.write_eof()
        assert await everything(stdout) == b"through"
        assert await everything(stderr) == b"no\n"
        status = json.loads(await everything(error))
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    url = await base(node) + "/exec/default/talk/c?command=echo&command=hi&output=1"
    async with asyncio.timeout(20), https(node) as http:
        socket = await connect_websocket(http, url, protocols=["v4.channel.k8s.io"])
        said = b""
        while (message := await socket.receive()) is not None:
            said += message.data[1:] if message.data[:1] == b"\x01" else b""
        assert said == b"hi\n"
    missing = (500, 'container not found ("other")')
    assert await get(node, "/exec/default/talk/other?command=true&output=1") == missing
    uid = (await node.ready("talk"))["metadata"]["uid"]
    for path in ("default/talk/other", f"default/talk/{uid}/other"):
        missing = (500, "container other not found in pod talk_default")
        assert await get(node, f"/attach/{path}?output=1") == missing
    assert await get(node, "/attach/default/nobody/c?output=1") == (404, "pod does not exist")
    for path in ("attach/default/talk/c", "exec/default/talk/c?command=true&tty=1&error=1"):
        assert await get(node, f"/{path}") == (400, "you must specify at least 1 of stdin, stdout, stderr")
    assert (await get(node, "/exec/default/talk/c?output=1"))[0] == 400
    for path in ("exec?command=true&output=1", "attach/default/talk?output=1", "run/default?cmd=true"):
        assert await get(node, f"/{path}") == (400, "Missing namespace, pod or container")


async def test_streams_into_what_ended_a_moment_ago(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.apply("brief", {"command": ["true"]}, restartPolicy="Never")
    pod = await node.phase("brief", "Succeeded")
    for ident in (container(pod)["containerID"].rpartition("/")[2], "0" * 64):
        monkeypatch.setattr(node.agent.server, "_running", lambda parts, missing, id_=ident: SimpleNamespace(id=id_))
        attached = await get(node, "/attach/default/brief/c?output=1&input=1&tty=1")
        assert attached == (500, "container c not found in pod brief_default")
        assert await get(node, "/exec/default/brief/c?command=true&output=1") == (500, 'container not found ("c")')


async def test_port_forward_and_dial_reach_the_pod(node: Node) -> None:
    serve = "while true; do echo -e 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | nc -l -p 8080 >/dev/null; done"
    probe = {"readinessProbe": {"exec": {"command": ["sh", "-c", "netstat -ltn | grep -q :8080"]}, "periodSeconds": 1}}
    await node.apply("web", {"command": ["sh", "-c", serve], **probe})
    pod = await node.ready("web")
    async with asyncio.timeout(20), spdy(node, "/portForward/default/web", "portforward.k8s.io") as session:
        headers = {"port": "8080", "requestid": "0"}
        await session.open({**headers, "streamtype": "error"}, fin=True)
        data = await session.open({**headers, "streamtype": "data"})
        await data.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await everything(data)).endswith(b"hello\n")
    url = await base(node)
    async with https(node) as http, asyncio.timeout(20):
        refused = await http.upgrade("POST", f"{url}/dial/{NODE_IP}/1", {"Upgrade": "tcp"})
        assert refused[0] == 502 and b"connection refused" in refused[2]  # type: ignore[operator]
        while True:  # the server in the pod answers one connection at a time
            status, _, found = await http.upgrade(
                "POST", f"{url}/dial/{pod['status']['podIP']}/8080", {"Upgrade": "tcp"}
            )
            if status == 101:
                break
            await asyncio.sleep(0.05)
        assert not isinstance(found, bytes)
        await found.write(b"GET / HTTP/1.0\r\n\r\n")
        said = b""
        while not said.endswith(b"hello\n"):  # the other side waits for us to close first
            said += await found.read()
        found.close()


async def test_numbers_and_lists(node: Node) -> None:
    await node.apply("talk", TALK)
    await node.ready("talk")
    pods = json.loads((await get(node, "/pods"))[1])
    assert [p["metadata"]["name"] for p in pods["items"]] == ["talk"]
    running = json.loads((await get(node, "/runningpods/"))[1])
    assert running["items"][0]["spec"]["containers"][0]["name"] == "c"
    summary = json.loads((await get(node, "/stats/summary"))[1])
    assert summary["node"]["nodeName"] == "one"
    assert summary["pods"][0]["podRef"]["name"] == "talk"
    (status,) = (await node.client.get(PODS, "talk", "default"))["status"]["containerStatuses"]
    assert summary["pods"][0]["startTime"] <= status["state"]["running"]["startedAt"]
    assert summary["pods"][0]["containers"][0]["startTime"] == status["state"]["running"]["startedAt"]
    assert summary["pods"][0]["containers"][0]["memory"]["workingSetBytes"] > 0
    assert (
        'container_memory_working_set_bytes{container="c",namespace="default",pod="talk"}'
        in (await get(node, "/metrics/resource"))[1]
    )
    assert "kubelet_running_pods 1" in (await get(node, "/metrics"))[1]
    assert 'kubelet_node_name{node="one"} 1' in (await get(node, "/metrics"))[1]
    where = f'container="c",id="{(id_ := status["containerID"].removeprefix("containerd://"))}"'
    where += f',image="{status["imageID"]}",name="{id_}",namespace="default",pod="talk"'
    cadvisor = (await get(node, "/metrics/cadvisor"))[1]
    assert f"container_memory_working_set_bytes{{{where}}}" in cadvisor
    assert f'container_cpu_usage_seconds_total{{{where},cpu="total"}}' in cadvisor
    assert f"container_start_time_seconds{{{where}}}" in cadvisor
    assert "\nmachine_cpu_cores " in cadvisor
    assert await get(node, "/healthz") == (200, "ok")
    assert await get(node, "/healthz/ping") == (200, "ok")
    for path in ("nothing", "ping/log"):
        assert (await get(node, f"/healthz/{path}"))[0] == 404
    slis = (await get(node, "/metrics/slis"))[1]
    assert "nothing" not in slis
    assert 'kubernetes_healthcheck{name="syncloop",type="healthz"} 1' in slis
    assert (await get(node, "/metrics/nothing"))[0] == 404
    assert json.loads((await get(node, "/configz"))[1])["kubeletconfig"]["clusterDNS"] == ["10.96.0.10"]
    async with https(node) as http:
        ran = await http.request("POST", await base(node) + "/run/default/talk/c?cmd=echo+hi", timeout=10)
        assert (ran.status, ran.body) == (200, b"hi\n")
    await node.client.delete(PODS, "talk", "default")
