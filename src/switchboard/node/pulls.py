"""Images for containers: present, pulled, or why not; with kubelet's policies, back-off, events and words.

Source: pkg/kubelet/images/image_manager.go.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import msgspec

from switchboard.node import imagenames
from switchboard.node.backoff import Backoff
from switchboard.node.runtime import CriRuntime, RuntimeFailure

Object = dict[str, Any]
_SOON = 1.0  # seconds after a failed pull until the pod is looked at again, and found to be backing off
Say = Callable[[str, str, str], None]  # event type, reason, message


class PullFailure(Exception):
    """An image that is not to be had now: `reason` for `state.waiting`; `again`, seconds until the next try."""

    def __init__(self, reason: str, message: str, again: float) -> None:
        super().__init__(message)
        self.reason, self.again = reason, again


class Images:
    """Pulls for all pods of a node; one image is pulled once at a time."""

    def __init__(self, runtime: CriRuntime) -> None:
        self._runtime = runtime
        self._backoff = Backoff()
        self._failed: dict[str, tuple[float, str]] = {}  # pod and image -> when, why
        self._flights: dict[str, asyncio.Task[str]] = {}

    async def ahead(self, pod: Object, secrets: list[Object]) -> None:
        """Begin with what a new pod lacks, beside the making of its sandbox; whoever then needs it, joins. What goes
        wrong is said by those: here is no answer, and nothing is tried that has failed before.
        """
        spec, uid = pod["spec"], pod["metadata"]["uid"]
        containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
        wanted = {c.get("image", "") for c in containers if c.get("imagePullPolicy") != "Never"}
        new = [image for image in wanted if f"{uid}/{image}" not in self._failed and not imagenames.fault(image)]
        await asyncio.gather(*(self._begin(image, secrets) for image in new), return_exceptions=True)

    async def _begin(self, image: str, secrets: list[Object]) -> None:
        if await self._runtime.image_status(image) is None:
            await self._flight(image, secrets)

    async def ensure(self, pod: Object, container: Object, secrets: list[Object], say: Say) -> str:
        """Reference of the container's image, pulled if its policy asks for it. Raises PullFailure, RuntimeFailure."""
        image = container.get("image", "")
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        if why := imagenames.fault(image):
            message = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {why}'
            say("Warning", "InspectFailed", message)
            say("Warning", "Failed", "Error: InvalidImageName")
            raise PullFailure("InvalidImageName", message, 10.0)
        here = await self._runtime.image_status(image)
        if here is not None and policy != "Always":
            say(
                "Normal",
                "Pulled",
                f'Container image "{image}" already present on machine and can be accessed by the pod',
            )
            return str(here["id"])
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            say("Warning", "ErrImageNeverPull", message)
            raise PullFailure("ErrImageNeverPull", message, 10.0)
        key = f"{pod['metadata']['uid']}/{image}"
        when, why = self._failed.get(key, (0.0, ""))
        left = self._backoff.left(key, when, time.monotonic())
        if left > 0:
            say("Normal", "BackOff", f'Back-off pulling image "{image}"')
            say("Warning", "Failed", "Error: ImagePullBackOff")
            raise PullFailure("ImagePullBackOff", f'Back-off pulling image "{image}": {why}', left)
        return await self._pull(key, image, secrets, say)

    async def _pull(self, key: str, image: str, secrets: list[Object], say: Say) -> str:
        say("Normal", "Pulling", f'Pulling image "{image}"')
        started = time.monotonic()
        try:
            reference = await self._flight(image, secrets)
        except RuntimeFailure as error:
            now = time.monotonic()
            why = f"ErrImagePull: {error}"
            self._backoff.next(key, now)
            self._failed[key] = (now, why)
            say("Warning", "Failed", f'Failed to pull image "{image}": {error}')
            say("Warning", "Failed", "Error: ErrImagePull")
            raise PullFailure("ErrImagePull", str(error), _SOON) from None
        self._failed.pop(key, None)
        self._backoff.forget(key)
        here = await self._runtime.image_status(reference) or {}
        seconds = time.monotonic() - started
        took = f"{seconds:.3f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"
        size = here.get("size", 0)
        say(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{image}" in {took} ({took} including waiting). Image size: {size} bytes.',
        )
        return reference

    async def _flight(self, image: str, secrets: list[Object]) -> str:
        # Whoever has other credentials asks for itself: it may be refused what the other one got.
        key = repr((image, credentials(image, secrets)))
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._try_all(image, secrets))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    def _landed(self, key: str, flight: asyncio.Task[str]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # whoever waited has it; perhaps nobody does

    async def _try_all(self, image: str, secrets: list[Object]) -> str:
        failure: RuntimeFailure | None = None
        for auth in [*credentials(image, secrets), None]:
            try:
                return await self._runtime.pull_image(image, auth)
            except RuntimeFailure as error:
                failure = failure or error
        assert failure is not None
        raise failure


def host_of(image: str) -> str:
    """The registry an image name leads to: `docker.io` unless its first part looks like a host."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def credentials(image: str, secrets: list[Object]) -> list[Object]:
    """AuthConfigs of image pull secrets (dockerconfigjson, dockercfg) that are for the image's registry."""
    found: list[Object] = []
    host = host_of(image)
    for secret in secrets:
        data = secret.get("data") or {}
        try:
            if ".dockerconfigjson" in data:
                entries = msgspec.json.decode(base64.b64decode(data[".dockerconfigjson"])).get("auths", {})
            elif ".dockercfg" in data:
                entries = msgspec.json.decode(base64.b64decode(data[".dockercfg"]))
            else:
                continue
        except (ValueError, msgspec.DecodeError, AttributeError):
            continue
        for server, entry in entries.items():
            name = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
            if name == host or (host == "docker.io" and name in ("index.docker.io", "registry-1.docker.io")):
                known = ("username", "password", "auth")
                found.append({k: entry[k] for k in known if entry.get(k)} | {"server_address": name})
    return found
