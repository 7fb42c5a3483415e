"""Pulls that begin while sandboxes are made: one for all who need an image, and nothing that nobody asked for."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from switchboard.node.pulls import Images, Pulled, PullFailure, _say_pulled
from switchboard.node.runtime import RuntimeFailure


class Runtime:
    """Has the images of `here`; a pull takes until `go` is set, and fails for those of `missing`."""

    def __init__(self, *here: str, missing: tuple[str, ...] = (), password: str = "") -> None:
        self.here, self.missing, self.password = set(here), missing, password
        self.pulls: list[str] = []
        self.go = asyncio.Event()

    async def image_status(self, image: str) -> dict[str, Any] | None:
        if image == "broken":
            raise RuntimeFailure("UNKNOWN", "no disk")
        return {"id": image, "size": 1} if image in self.here else None

    async def pull_image(self, image: str, auth: dict[str, Any] | None = None) -> str:
        self.pulls.append(image)
        await self.go.wait()
        if image in self.missing or (self.password and (auth or {}).get("password") != self.password):
            raise RuntimeFailure("NOT_FOUND", "not found")
        self.here.add(image)
        return image


def pod(uid: str, *containers: dict[str, str], inits: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": {"containers": list(containers), "initContainers": list(inits)}}


def silent(*words: str) -> None:
    pass


async def landed() -> None:
    """Every pull that is let go has ended."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_pods_lack_is_pulled_once_and_joined(tmp_path: Path) -> None:
    runtime = Runtime("there")
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    first = pod("1", {"image": "web"}, {"image": "there"}, inits=({"image": "tool"},))
    second = pod("2", {"image": "web"}, {"image": "own", "imagePullPolicy": "Never"}, {"image": "No Name"})
    for each in (first, second):
        await images.ahead(each, [])  # waits for no pull
    joined = [asyncio.ensure_future(images.ensure(first, {"image": "web"}, [], silent)) for _ in range(2)]
    runtime.go.set()
    assert await asyncio.gather(*joined) == ["web", "web"]
    assert sorted(runtime.pulls) == ["tool", "web"]


async def test_what_failed_is_not_tried_again_ahead_of_its_time(tmp_path: Path) -> None:
    runtime = Runtime(missing=("gone",))
    runtime.go.set()
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    its = pod("1", {"image": "gone"})
    await images.ahead(its, [])  # says nothing
    await landed()
    with pytest.raises(PullFailure):
        await images.ensure(its, {"image": "gone"}, [], silent)
    before = len(runtime.pulls)
    await images.ahead(its, [])
    await landed()
    assert len(runtime.pulls) == before


class Told:
    """What was said of a container; durations are left out."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def say(self, kind: str, reason: str, message: str) -> None:
        self.events.append((reason, re.sub(r" in [0-9.]+m?s \([0-9.]+m?s", " in T (T", message)))


PULLED = 'Successfully pulled image "web" in T (T including waiting). Image size: 1 bytes.'
PRESENT = 'Container image "web" already present on machine and can be accessed by the pod'


@pytest.mark.parametrize("policy", ["IfNotPresent", "Always"])
async def test_what_was_pulled_ahead_is_said_to_be_pulled_once(policy: str, tmp_path: Path) -> None:
    runtime, told = Runtime(), Told()
    runtime.go.set()
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    container = {"image": "web", "imagePullPolicy": policy}
    first, second = pod("1", container), pod("2", {"image": "web"})
    await images.ahead(first, [])
    await landed()
    await images.ensure(first, container, [], told.say)
    assert told.events == [("Pulling", 'Pulling image "web"'), ("Pulled", PULLED)] and runtime.pulls == ["web"]
    for its in (first, second):
        await images.ensure(its, {"image": "web"}, [], told.say)
    assert told.events[2:] == [("Pulled", PRESENT)] * 2


async def test_what_lands_while_it_is_waited_for_is_said_once(tmp_path: Path) -> None:
    runtime, told = Runtime(), Told()
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    its = pod("1", {"image": "web"})
    await images.ahead(its, [])
    ensured = asyncio.ensure_future(images.ensure(its, {"image": "web"}, [], told.say))
    await asyncio.wait([ensured], timeout=0.05)
    runtime.go.set()
    await ensured
    await images.ensure(its, {"image": "web"}, [], told.say)
    assert [message for _, message in told.events] == ['Pulling image "web"', PULLED, PRESENT]


async def test_always_pulls_what_is_here_and_never_what_is_not(tmp_path: Path) -> None:
    runtime, told = Runtime("web"), Told()
    runtime.go.set()
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    await images.ensure(pod("1"), {"image": "web", "imagePullPolicy": "Always"}, [], told.say)
    await images.ensure(pod("1"), {"image": "web", "imagePullPolicy": "Never"}, [], told.say)
    assert [message for _, message in told.events] == ['Pulling image "web"', PULLED, PRESENT]
    with pytest.raises(PullFailure, match="not present with pull policy of Never"):
        await images.ensure(pod("1"), {"image": "own", "imagePullPolicy": "Never"}, [], told.say)
    assert [reason for reason, _ in told.events[3:]] == ["ErrImageNeverPull", "Failed"]
    assert told.events[-1][1] == "Error: ErrImageNeverPull" and runtime.pulls == ["web"]


async def test_an_image_that_cannot_be_looked_at(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(PullFailure) as failure:
        await Images(Runtime(), tmp_path).ensure(pod("1"), {"image": "broken"}, [], told.say)  # type: ignore[arg-type]
    why = 'Failed to inspect image "broken": rpc error: code = Unknown desc = no disk'
    assert (failure.value.reason, str(failure.value)) == ("ImageInspectError", why)
    assert told.events == [("InspectFailed", why), ("Failed", "Error: ImageInspectError")]


async def test_a_pod_that_goes_is_forgotten(tmp_path: Path) -> None:
    runtime, told = Runtime(missing=("gone",)), Told()
    runtime.go.set()
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    its = pod("1", {"image": "web"}, {"image": "gone"})
    for _ in range(3):
        with pytest.raises(PullFailure):
            await images.ensure(its, {"image": "gone"}, [], told.say)
    assert told.events[-2][0] == "BackOff"
    await images.ahead(its, [])
    await landed()
    images.forget("1")
    told.events.clear()
    await images.ensure(its, {"image": "web"}, [], told.say)
    with pytest.raises(PullFailure):
        await images.ensure(its, {"image": "gone"}, [], told.say)
    assert [reason for reason, _ in told.events] == ["Pulled", "Pulling", "Failed", "Failed"]


def secret(uid: str, password: str) -> dict[str, Any]:
    config = json.dumps({"auths": {"https://docker.io/v1/": {"username": "u", "password": password}}})
    return {"metadata": {"uid": uid}, "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()}}


async def test_what_a_secret_opened_is_for_those_who_have_it(tmp_path: Path) -> None:
    runtime, told = Runtime("old", password="right"), Told()
    runtime.go.set()
    images = Images(runtime, tmp_path)  # type: ignore[arg-type]
    web, never = {"image": "web"}, {"image": "web", "imagePullPolicy": "Never"}

    async def tried(uid: str, container: dict[str, str], *secrets: dict[str, Any]) -> str:
        told.events.clear()
        try:
            await images.ensure(pod(uid), container, list(secrets), told.say)
        except PullFailure as failure:
            return failure.reason
        return told.events[-1][1]

    assert await tried("1", web, secret("s", "right")) == PULLED
    assert await tried("2", web, secret("s", "changed since")) == PRESENT
    assert await tried("3", never, secret("t", "right")) == PRESENT
    assert await tried("4", web) == "ErrImagePull"
    assert await tried("5", web, secret("t", "wrong")) == "ErrImagePull"
    assert await tried("6", never, secret("t", "wrong")) == "ErrImageNeverPull"
    assert "old" in await tried("7", {"image": "old"})  # nobody knows how it came here
    runtime.password = ""
    assert await tried("8", web) == PULLED
    assert await tried("9", never) == PRESENT


@pytest.mark.parametrize(("waited", "shown"), [(0.2, "1.25s (1.25s"), (61.5, "1.25s (1m1.5s"), (1.25, "1.25s (1.25s")])
def test_nobody_waits_less_than_a_pull_takes(waited: float, shown: str) -> None:
    said: list[str] = []
    _say_pulled("web", Pulled("r", 1.2509), waited, {"size": 3}, lambda *words: said.append(words[2]))
    assert said == [f'Successfully pulled image "web" in {shown} including waiting). Image size: 3 bytes.']
