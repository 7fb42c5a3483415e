"""exec, portforward, logs and proxies, with real WebSocket and SPDY peers on both sides."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from switchboard.testing.agent import FakeAgent
from switchboard.testing.apiserver import ApiServer
from switchboard.transport.http import HttpClient
from switchboard.transport.messages import Connection, Request, Response
from switchboard.transport.server import Server
from switchboard.transport.spdy import SpdySession
from switchboard.transport.websocket import BadHandshake, MessageConnection, WebSocket, connect_websocket

PODS = "/api/v1/namespaces/ns/pods"


@pytest.fixture
async def pod(api: ApiServer) -> str:
    await api.call("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    assert (await api.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec}))[0] == 201
    merge = {"content-type": "application/merge-patch+json"}
    status = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    assert (await api.call("PATCH", PODS + "/p/status", status, merge))[0] == 200
    return f"{api.url}{PODS}/p"


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


async def socket(client: HttpClient, api: ApiServer, url: str, protocol: str) -> WebSocket:
    headers = {"Authorization": f"Bearer {api.token}"}
    return await connect_websocket(client, url, headers, protocols=[protocol])


async def test_exec_over_websocket(api: ApiServer, pod: str, client: HttpClient, agent: FakeAgent) -> None:
    url = pod + "/exec?command=cat&command=-&stdin=true&stdout=true&stderr=true"
    ws = await socket(client, api, url, "v5.channel.k8s.io")
    async with asyncio.timeout(10):
        first = await ws.receive()
        assert first is not None and first.data == b"\x01"
        await ws.send(b"\x00hello")
        answer = await ws.receive()
        assert answer is not None and answer.data == b"\x01hello"
        await ws.send(b"\xff\x00")  # no more stdin
        ended = await ws.receive()
        assert ended is not None and ended.data[0] == 3 and json.loads(ended.data[1:])["status"] == "Success"
        assert await ws.receive() is None
    assert agent.requests == ["POST /exec/ns/p/c?command=cat&command=-&input=1&output=1&error=1"]


async def test_exec_in_base64(api: ApiServer, pod: str, client: HttpClient) -> None:
    ws = await socket(client, api, pod + "/exec?command=cat&stdin=1&stdout=1", "v4.base64.channel.k8s.io")
    async with asyncio.timeout(10):
        await ws.receive()
        await ws.send("0aGk=")
        answer = await ws.receive()
        assert answer is not None and answer.data == b"1aGk="
        await ws.close()


async def spdy(client: HttpClient, api: ApiServer, url: str, protocol: str) -> Connection:
    headers = [
        ("Authorization", f"Bearer {api.token}"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", protocol),
    ]
    status, answered, connection = await client.upgrade("POST", url, headers)
    assert status == 101 and answered["x-stream-protocol-version"] == protocol
    assert not isinstance(connection, bytes)
    return connection


async def test_exec_over_spdy(api: ApiServer, pod: str, client: HttpClient) -> None:
    connection = await spdy(client, api, pod + "/exec?command=cat&stdin=true&stdout=true", "v4.channel.k8s.io")
    session = SpdySession(connection, server=False)
    running = asyncio.ensure_future(session.run())
    async with asyncio.timeout(10):
        error = await session.open({"streamtype": "error"})
        stdin = await session.open({"streamtype": "stdin"})
        stdout = await session.open({"streamtype": "stdout"})
        await stdin.write(b"over")
        assert await stdout.read() == b"over"
        await stdin.write_eof()
        assert json.loads(await error.read())["status"] == "Success"
        await session.close()
        await running


GONE = "container c not found in pod p_ns"


async def test_a_refusal_is_told_on_the_error_channel(
    api: ApiServer, pod: str, client: HttpClient, agent: FakeAgent
) -> None:
    agent.refuses = GONE
    for sub in ("/attach?stdin=true&stdout=true", "/exec?command=true&stdout=true"):
        ws = await socket(client, api, pod + sub, "v5.channel.k8s.io")
        async with asyncio.timeout(10):
            ended = await ws.receive()
            assert ended is not None and ended.data[0] == 3
            status = json.loads(ended.data[1:])
            assert status["message"] == f"Internal error occurred: unable to upgrade connection: {GONE}"
            assert (status["reason"], status["code"], status["status"]) == ("InternalError", 500, "Failure")
            assert status["details"]["causes"] == [{"message": f"unable to upgrade connection: {GONE}"}]
            assert await ws.receive() is None


async def test_older_clients_hear_the_refusal_before_the_upgrade(
    api: ApiServer, pod: str, client: HttpClient, agent: FakeAgent
) -> None:
    agent.refuses = GONE
    with pytest.raises(BadHandshake, match=GONE):
        await socket(client, api, pod + "/attach?stdout=true", "v4.channel.k8s.io")
    headers = [("Authorization", f"Bearer {api.token}"), ("Upgrade", "SPDY/3.1")]
    status, answered, body = await client.upgrade("POST", pod + "/attach?stdout=true", headers)
    assert (status, body) == (500, GONE.encode())  # client-go says "unable to upgrade connection" before such words
    assert answered["content-type"].startswith("text/plain")


async def forwarded(connection: Connection) -> None:
    session = SpdySession(connection, server=False)
    running = asyncio.ensure_future(session.run())
    async with asyncio.timeout(10):
        headers = {"port": "80", "requestid": "0"}
        await session.open({"streamtype": "error", **headers}, fin=True)
        data = await session.open({"streamtype": "data", **headers})
        await data.write(b"ping")
        assert await data.read() == b"ping"
        await session.close()
        await running


async def test_portforward_over_spdy(api: ApiServer, pod: str, client: HttpClient) -> None:
    await forwarded(await spdy(client, api, pod + "/portforward", "portforward.k8s.io"))


async def test_portforward_tunnelled(api: ApiServer, pod: str, client: HttpClient) -> None:
    ws = await socket(client, api, pod + "/portforward", "SPDY/3.1+portforward.k8s.io")
    await forwarded(MessageConnection(ws))


async def test_portforward_in_channels(api: ApiServer, pod: str, client: HttpClient) -> None:
    ws = await socket(client, api, pod + "/portforward?ports=8080", "v4.channel.k8s.io")
    async with asyncio.timeout(10):
        heads = [message.data for message in [await ws.receive(), await ws.receive()] if message is not None]
        assert heads == [b"\x00\x90\x1f", b"\x01\x90\x1f"]  # data first: clients count on it
        await ws.send(b"\x00ping")
        answer = await ws.receive()
        assert answer is not None and answer.data == b"\x00ping"
        await ws.close()


async def test_portforward_in_channels_ends_with_its_last_port(api: ApiServer, pod: str, client: HttpClient) -> None:
    ws = await socket(client, api, pod + "/portforward?ports=80,81", "v4.channel.k8s.io")
    async with asyncio.timeout(10):
        assert [m.data[0] for m in [await ws.receive() for _ in range(4)] if m is not None] == [0, 1, 2, 3]
        await ws.send(b"\x00bye")
        await ws.send(b"\x02still here")
        answer = await ws.receive()
        assert answer is not None and answer.data == b"\x02still here"
        await ws.send(b"\x02bye")
        assert await ws.receive() is None


async def test_logs(api: ApiServer, pod: str, client: HttpClient, agent: FakeAgent) -> None:
    headers = [("authorization", f"Bearer {api.token}")]
    answer = await client.request("GET", pod + "/log?tailLines=3&follow=true", headers)
    assert (answer.status, answer.body) == (200, b"line 0\nline 1\nline 2\n")
    assert agent.requests == ["GET /containerLogs/ns/p/c?follow=true&tailLines=3"]
    for query, code in (("container=x", 400), ("tailLines=-1", 422), ("tailLines=x", 400)):
        assert (await client.request("GET", f"{pod}/log?{query}", headers)).status == code


async def page(request: Request) -> Response:
    if request.path == "/page":
        return Response(200, [("content-type", "text/html")], b'<a href="/rewriteme">x</a>')
    if request.path == "/moved":
        return Response(302, [("location", "/elsewhere")], b"")
    echo = {"method": request.method, "path": request.path, "query": request.query, "body": request.body.decode()}
    return Response(200, [("content-type", "application/json")], json.dumps(echo).encode())


async def test_pod_and_service_proxy(api: ApiServer, pod: str, client: HttpClient) -> None:
    backend = Server(page)
    port = await backend.listen("127.0.0.1")
    headers = [("authorization", f"Bearer {api.token}")]
    base = f"{api.url}{PODS}/http:p:{port}/proxy"
    try:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = await client.request(method, base + "/some/path?x=1", headers, b"body")
            assert json.loads(answer.body) == {"method": method, "path": "/some/path", "query": "x=1", "body": "body"}
        redirect = await client.request("GET", base + "?x=1", headers)
        assert (redirect.status, redirect.headers["location"]) == (301, f"{PODS}/http:p:{port}/proxy/?x=1")
        html = await client.request("GET", base + "/page", headers)
        assert html.body == f'<a href="{PODS}/http:p:{port}/proxy/rewriteme">x</a>'.encode()
        moved = await client.request("GET", base + "/moved", headers)
        assert moved.headers["location"] == f"{PODS}/http:p:{port}/proxy/elsewhere"
        await _service(api, port)
        through = await client.request("GET", f"{api.url}/api/v1/namespaces/ns/services/s:web/proxy/a", headers)
        assert json.loads(through.body)["path"] == "/a"
        through = await client.request("GET", f"{api.url}/api/v1/namespaces/ns/services/s:80/proxy/b", headers)
        assert json.loads(through.body)["path"] == "/b"
        missing = await client.request("GET", f"{api.url}/api/v1/namespaces/ns/services/s:99/proxy/", headers)
        assert missing.status == 503
    finally:
        await backend.close(0.5)


async def _service(api: ApiServer, port: int) -> None:
    spec = {"ports": [{"name": "web", "port": 80}]}
    assert (await api.call("POST", "/api/v1/namespaces/ns/services", {"metadata": {"name": "s"}, "spec": spec}))[
        0
    ] == 201
    body = {
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "targetRef": {"kind": "Pod", "name": "p"}, "nodeName": "n"}],
        "ports": [{"name": "web", "port": port}],
    }
    # An endpoint on the loopback is refused by validation (rightly), so the test writes past it.
    app, kind = api.app, api.app.registry.resource("discovery.k8s.io", "v1", "endpointslices")
    assert kind is not None
    from switchboard.api.bootstrap import write

    body |= {"kind": kind.kind, "apiVersion": kind.api_version}
    body["metadata"]["namespace"] = "ns"  # type: ignore[index]
    await asyncio.gather(*write(app, kind, body))
