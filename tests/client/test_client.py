"""Paths, errors, kubeconfig; and the HTTP transport against a real server."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any, ClassVar

import pytest

from switchboard.client import Client, Disconnected, Informer, error_of_reply, kubeconfig
from switchboard.client.events import EventRecorder
from switchboard.client.http import HttpTransport, _whole_lines
from switchboard.client.resources import DEPLOYMENTS, EVENTS, NODES, PODS
from switchboard.client.transport import Reply, error_of
from switchboard.objects import errors
from switchboard.testing.fakeapi import FakeApi
from switchboard.transport.messages import Request, Response
from switchboard.transport.server import Server


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path("ns", "a"), "/api/v1/namespaces/ns/pods/a"),
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("ns", "a", "log"), "/api/v1/namespaces/ns/pods/a/log"),
        (DEPLOYMENTS.path("ns"), "/apis/apps/v1/namespaces/ns/deployments"),
        (NODES.path("ignored", "n/1"), "/api/v1/nodes/n%2F1"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound.of("pods", "", "a"),
        errors.AlreadyExists.of("pods", "", "a"),
        errors.Conflict.of("pods", "", "a", "changed"),
        errors.Gone("old"),
        errors.Invalid.of("Pod", "", "a", [errors.FieldError("FieldValueRequired", "spec", "Required value")]),
        errors.TooManyRequests.after("later", 3),
        errors.Forbidden("no"),
    ],
)
def test_errors_come_back_as_what_they_were(error: errors.StatusError) -> None:
    again = error_of(error.status())
    assert type(again) is type(error)
    assert again.status() == error.status()


def test_answers_that_are_no_status() -> None:
    again = error_of_reply(Reply(502, {}, b"<html>bad gateway</html>"))
    assert again.code == 502
    assert "bad gateway" in again.message
    assert type(error_of_reply(Reply(404, {}, b""))) is errors.NotFound


async def test_update_with_retry_wins_a_race() -> None:
    api = FakeApi()
    api.put("/api/v1/pods", "a", "ns", spec={"n": 0})
    client = Client(api)
    raced = False

    def change(pod: dict[str, Any]) -> dict[str, Any]:
        nonlocal raced
        if not raced:
            raced = True
            api.put("/api/v1/pods", "a", "ns", spec={"n": 10})
        return {**pod, "spec": {"n": pod["spec"]["n"] + 1}}

    done = await client.update_with_retry(PODS, "a", "ns", change)
    assert done["spec"] == {"n": 11}


async def _pieces(parts: list[bytes]) -> list[bytes]:
    async def source() -> Any:
        for part in parts:
            yield part

    return [piece async for piece in _whole_lines(source())]


async def test_lines_are_whole() -> None:
    assert await _pieces([b"a\nb", b"c", b"d\n", b"e\n", b"f"]) == [b"a\n", b"bcd\n", b"e\n"]


def write_kubeconfig(tmp_path: Path, cluster: str, user: str) -> Path:
    path = tmp_path / "config"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: k, user: u, namespace: mine}}]\n"
        f"clusters: [{{name: k, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
    return path


def test_kubeconfig_tokens(tmp_path: Path) -> None:
    access = kubeconfig.load(write_kubeconfig(tmp_path, "server: 'http://h:1/'", "token: abc"))
    assert (access.server, access.tls, access.authorization(), access.namespace) == (
        "http://h:1",
        None,
        "Bearer abc",
        "mine",
    )
    (tmp_path / "t").write_text("first\n")
    access = kubeconfig.load(write_kubeconfig(tmp_path, "server: http://h:1", "tokenFile: t"))
    assert access.authorization() == "Bearer first"
    access = kubeconfig.load(write_kubeconfig(tmp_path, "server: http://h:1", "username: u, password: p"))
    assert access.authorization() == "Basic " + base64.b64encode(b"u:p").decode()


def test_token_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_text("first")
    access = kubeconfig.load(write_kubeconfig(tmp_path, "server: http://h:1", "tokenFile: t"))
    assert access.authorization() == "Bearer first"
    (tmp_path / "t").write_text("second")
    assert access.authorization() == "Bearer first"
    monkeypatch.setattr(kubeconfig, "_TOKEN_AGE", 0.0)
    assert access.authorization() == "Bearer second"


@pytest.mark.parametrize(
    ("cluster", "user", "why"),
    [
        ("server: ftp://x", "", "not an http"),
        ("server: https://x", "exec: {command: x}", "not supported"),
        ("server: https://x, certificate-authority-data: '!'", "", "certificate-authority-data"),
        ("server: https://x, certificate-authority: gone.pem", "", "gone.pem"),
        ("server: https://x, certificate-authority-data: Z2FyYmFnZQ==", "", "certificates"),
    ],
)
def test_kubeconfig_says_what_is_wrong(tmp_path: Path, cluster: str, user: str, why: str) -> None:
    with pytest.raises(kubeconfig.KubeconfigError, match=why):
        kubeconfig.load(write_kubeconfig(tmp_path, cluster, user))


async def test_over_http(tmp_path: Path) -> None:
    api = FakeApi()
    seen: dict[str, str] = {}

    async def handle(request: Request) -> Response:
        target = request.path + (f"?{request.query}" if request.query else "")
        seen.update(request.headers)
        if "watch=" not in request.query:
            reply = await api.request(request.method, target, request.headers, request.body)
            return Response(reply.status, [("content-type", "application/json")], reply.body)

        async def lines() -> Any:
            async with api.stream(request.method, target, request.headers) as pieces:
                try:
                    async for piece in pieces:
                        yield piece[:7]
                        yield piece[7:]
                except Disconnected:
                    return

        return Response(200, [("content-type", "application/json")], stream=lines())

    server = Server(handle)
    port = await server.listen("127.0.0.1", 0)
    path = write_kubeconfig(tmp_path, f"server: 'http://127.0.0.1:{port}'", "token: abc")
    client = Client.from_kubeconfig(path, user_agent="tests")
    try:
        with pytest.raises(errors.NotFound):
            await client.get(PODS, "a", "ns")
        made = await client.create(PODS, {"metadata": {"name": "a"}}, "ns")
        assert made["kind"] == "Pod"
        informer = Informer[Any](client, PODS)
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.synced.wait(), 5)
        api.put("/api/v1/pods", "b", "ns")
        async with asyncio.timeout(5):
            while informer.get("ns", "b") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        task.cancel()
        assert seen["authorization"] == "Bearer abc"
        assert seen["user-agent"] == "tests"
    finally:
        await client.close()
        await server.close()
    with pytest.raises(Disconnected):
        await Client(HttpTransport(kubeconfig.load(path))).get(PODS, "a", "ns")


class TestEvents:
    POD: ClassVar = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "ns", "uid": "u"}}

    async def test_same_words_are_counted(self) -> None:
        api, now = FakeApi(), [1000.0]
        recorder = EventRecorder(Client(api), "tester", clock=lambda: now[0])
        for _ in range(3):
            recorder.event(self.POD, "Normal", "Said", "hello")
            await recorder.flush()
            now[0] += 60
        [event] = (await Client(api).list(EVENTS))["items"]
        assert (event["count"], event["message"], event["type"]) == (3, "hello", "Normal")
        assert (event["firstTimestamp"], event["lastTimestamp"]) == ("1970-01-01T00:16:40Z", "1970-01-01T00:18:40Z")
        assert event["involvedObject"] == {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "a",
            "namespace": "ns",
            "uid": "u",
        }

    async def test_many_words_are_combined(self) -> None:
        api = FakeApi()
        recorder = EventRecorder(Client(api), "tester", clock=lambda: 1000.0)
        for i in range(20):
            recorder.event(self.POD, "Normal", "Said", f"hello {i}")
        await recorder.flush()
        found = (await Client(api).list(EVENTS))["items"]
        assert len(found) <= 11
        assert sum(e["message"].startswith("(combined from similar events): ") for e in found) >= 1

    async def test_a_lost_event_is_made_anew_and_a_lost_api_harms_nobody(self) -> None:
        api = FakeApi()
        recorder = EventRecorder(Client(api), "tester")
        recorder.event(self.POD, "Normal", "Said", "hello")
        await recorder.flush()
        [event] = (await Client(api).list(EVENTS))["items"]
        api.remove("/api/v1/events", event["metadata"]["name"], "ns")
        api.refuse.append(Disconnected("down"))
        recorder.event(self.POD, "Normal", "Said", "hello")
        await recorder.flush()
        assert len((await Client(api).list(EVENTS))["items"]) == 1

    async def test_never_more_than_the_queue_holds(self) -> None:
        recorder = EventRecorder(Client(FakeApi()), "tester")
        for i in range(1500):
            recorder.event(self.POD, "Normal", "Said", str(i))
        assert recorder.dropped == 500
        await recorder.flush()
