"""Pulls that begin while sandboxes are made: one for all who need an image, and nothing that nobody asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from switchboard.node.pulls import Images, PullFailure
from switchboard.node.runtime import RuntimeFailure


class Runtime:
    """Has the images of `here`; a pull takes until `go` is set, and fails for those of `missing`."""

    def __init__(self, *here: str, missing: tuple[str, ...] = ()) -> None:
        self.here, self.missing = set(here), missing
        self.pulls: list[str] = []
        self.go = asyncio.Event()

    async def image_status(self, image: str) -> dict[str, Any] | None:
        return {"id": image, "size": 1} if image in self.here else None

    async def pull_image(self, image: str, auth: object = None) -> str:
        self.pulls.append(image)
        await self.go.wait()
        if image in self.missing:
            raise RuntimeFailure("NOT_FOUND", "not found")
        self.here.add(image)
        return image


def pod(uid: str, *containers: dict[str, str], inits: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": {"containers": list(containers), "initContainers": list(inits)}}


def silent(*words: str) -> None:
    pass


async def test_what_pods_lack_is_pulled_once_and_joined() -> None:
    runtime = Runtime("there")
    images = Images(runtime)  # type: ignore[arg-type]
    first = pod("1", {"image": "web"}, {"image": "there"}, inits=({"image": "tool"},))
    second = pod("2", {"image": "web"}, {"image": "own", "imagePullPolicy": "Never"}, {"image": "No Name"})
    ahead = [asyncio.ensure_future(images.ahead(each, [])) for each in (first, second)]
    await asyncio.wait(ahead, timeout=0.05)
    for one in ahead:
        one.cancel()  # both sandboxes are made
    await asyncio.gather(*ahead, return_exceptions=True)
    joined = [asyncio.ensure_future(images.ensure(first, {"image": "web"}, [], silent)) for _ in range(2)]
    runtime.go.set()
    assert await asyncio.gather(*joined) == ["web", "web"]
    assert sorted(runtime.pulls) == ["tool", "web"]


async def test_what_failed_is_not_tried_again_ahead_of_its_time() -> None:
    runtime = Runtime(missing=("gone",))
    runtime.go.set()
    images = Images(runtime)  # type: ignore[arg-type]
    its = pod("1", {"image": "gone"})
    await images.ahead(its, [])  # says nothing
    with pytest.raises(PullFailure):
        await images.ensure(its, {"image": "gone"}, [], silent)
    before = len(runtime.pulls)
    await images.ahead(its, [])
    assert len(runtime.pulls) == before
