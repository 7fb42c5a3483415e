"""Images for containers: present, pulled, or why not; with kubelet's policies, back-off, events and words.

Source: pkg/kubelet/images/image_manager.go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from switchboard.node import imagenames
from switchboard.node.backoff import Backoff
from switchboard.node.pullrecords import PullRecords
from switchboard.node.pullsecrets import credentials
from switchboard.node.runtime import CriRuntime, RuntimeFailure, RuntimeGone
from switchboard.objects import durations

log = logging.getLogger(__name__)
Object = dict[str, Any]
_SOON = 1.0  # seconds after a failed pull until the pod is looked at again, and found to be backing off
Say = Callable[[str, str, str], None]  # event type, reason, message


class PullFailure(Exception):
    """An image that is not to be had now: `reason` for `state.waiting`; `again`, seconds until the next try."""

    def __init__(self, reason: str, message: str, again: float) -> None:
        super().__init__(message)
        self.reason, self.again = reason, again


class Pulled(NamedTuple):
    """What came of a pull: the id of the image, and how long it took."""

    reference: str
    seconds: float


class Images:
    """Pulls for all pods of a node; one image is pulled once at a time. `folder` keeps what was pulled with what."""

    def __init__(self, runtime: CriRuntime, folder: Path) -> None:
        self._runtime = runtime
        self._backoff = Backoff()
        self._failed: dict[str, tuple[float, str]] = {}  # pod and image -> when, why
        self._records = PullRecords(folder)
        self._flights: dict[str, asyncio.Task[Pulled]] = {}
        self._ahead: dict[str, Pulled] = {}  # pod and image -> what was pulled for it, and is still to be said

    async def ahead(self, pod: Object, secrets: list[Object]) -> None:
        """Begin to pull what a new pod lacks, before its sandbox is made; whoever then needs it, joins. What goes
        wrong is said by those: here is no answer, and nothing is tried that has failed before.
        """
        spec, uid = pod["spec"], pod["metadata"]["uid"]
        containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
        wanted = {c.get("image", "") for c in containers if c.get("imagePullPolicy") != "Never"}
        new = [image for image in wanted if f"{uid}/{image}" not in self._failed and not imagenames.fault(image)]
        await asyncio.gather(*(self._begin(uid, image, secrets) for image in new), return_exceptions=True)

    async def _begin(self, uid: str, image: str, secrets: list[Object]) -> None:
        if await self._runtime.image_status(image) is not None:
            return
        key = f"{uid}/{image}"

        def landed(flight: asyncio.Task[Pulled]) -> None:
            if not flight.cancelled() and flight.exception() is None:
                self._ahead[key] = flight.result()

        flight = self._flight(image, secrets)
        flight.add_done_callback(landed)

    def forget(self, uid: str) -> None:
        """The pod is gone: nothing of what went wrong or was pulled for it matters any more."""
        self._backoff.forget(f"{uid}/")
        for known in (self._ahead, self._failed):
            for key in [key for key in known if key.startswith(f"{uid}/")]:
                del known[key]

    async def ensure(self, pod: Object, container: Object, secrets: list[Object], say: Say) -> str:
        """Reference of the container's image, pulled if its policy asks for it. Raises PullFailure, RuntimeFailure."""
        image = container.get("image", "")
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        if why := imagenames.fault(image):
            message = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {why}'
            say("Warning", "InspectFailed", message)
            say("Warning", "Failed", "Error: InvalidImageName")
            raise PullFailure("InvalidImageName", message, 10.0)
        key = f"{pod['metadata']['uid']}/{image}"
        ahead = self._ahead.pop(key, None)
        here = await self._inspect(image, say) if policy != "Always" or ahead is not None else None
        if self._records.left_over:
            await self._settle()
        mine = here is not None and self._records.opens(str(here["id"]), image, secrets)
        if here is not None and mine and (policy == "Never" or ahead is None):
            words = f'Container image "{image}" already present on machine and can be accessed by the pod'
            say("Normal", "Pulled", words)
            return str(here["id"])
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            say("Warning", "ErrImageNeverPull", message)
            say("Warning", "Failed", "Error: ErrImageNeverPull")
            raise PullFailure("ErrImageNeverPull", message, 10.0)
        if here is not None and mine and ahead is not None:
            say("Normal", "Pulling", f'Pulling image "{image}"')
            _say_pulled(image, ahead, ahead.seconds, here, say)
            return ahead.reference
        when, why = self._failed.get(key, (0.0, ""))
        left = self._backoff.left(key, when, time.monotonic())
        if left > 0:
            say("Normal", "BackOff", f'Back-off pulling image "{image}"')
            say("Warning", "Failed", "Error: ImagePullBackOff")
            raise PullFailure("ImagePullBackOff", f'Back-off pulling image "{image}": {why}', left)
        return await self._pull(key, image, secrets, say)

    async def _settle(self) -> None:
        """See what became of pulls that were under way when the node's process ended."""
        for image in list(self._records.left_over):
            try:
                here = await self._runtime.image_status(image)
            except RuntimeGone:
                raise
            except RuntimeFailure as error:
                log.warning("whether image %s is here cannot be told: %s", image, error)
                continue
            self._records.settle(image, str(here["id"]) if here is not None else None)

    async def prune(self) -> None:
        """Forget with what images were pulled that are no longer here. Raises RuntimeFailure."""
        before = time.time()
        self._records.prune({str(image["id"]) for image in await self._runtime.list_images()}, before)

    async def _inspect(self, image: str, say: Say) -> Object | None:
        try:
            return await self._runtime.image_status(image)
        except RuntimeGone:
            raise
        except RuntimeFailure as error:
            message = f'Failed to inspect image "{image}": {error}'
            say("Warning", "InspectFailed", message)
            say("Warning", "Failed", "Error: ImageInspectError")
            raise PullFailure("ImageInspectError", message, 10.0) from None

    async def _pull(self, key: str, image: str, secrets: list[Object], say: Say) -> str:
        say("Normal", "Pulling", f'Pulling image "{image}"')
        started = time.monotonic()
        try:
            pulled = await asyncio.shield(self._flight(image, secrets))
        except RuntimeFailure as error:
            now = time.monotonic()
            why = f"ErrImagePull: {error}"
            self._backoff.next(key, now)
            self._failed[key] = (now, why)
            say("Warning", "Failed", f'Failed to pull image "{image}": {error}')
            say("Warning", "Failed", "Error: ErrImagePull")
            raise PullFailure("ErrImagePull", str(error), _SOON) from None
        for known in (self._failed, self._ahead):
            known.pop(key, None)
        self._backoff.forget(key)
        here = await self._runtime.image_status(pulled.reference) or {}
        _say_pulled(image, pulled, time.monotonic() - started, here, say)
        return pulled.reference

    def _flight(self, image: str, secrets: list[Object]) -> asyncio.Task[Pulled]:
        # Whoever has other credentials asks for itself: it may be refused what the other one got.
        key = repr((image, credentials(image, secrets)))
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._try_all(image, secrets))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return flight

    def _landed(self, key: str, flight: asyncio.Task[Pulled]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # whoever waited has it; perhaps nobody does

    async def _try_all(self, image: str, secrets: list[Object]) -> Pulled:
        started = time.monotonic()
        failure: RuntimeFailure | None = None
        self._records.begin(image)
        try:
            for credential in [*credentials(image, secrets), None]:
                try:
                    auth = credential.auth if credential is not None else None
                    reference = await self._runtime.pull_image(image, auth)
                except RuntimeFailure as error:
                    failure = failure or error
                    continue
                self._records.add(image, reference, credential)
                return Pulled(reference, time.monotonic() - started)
        finally:
            self._records.end(image)
        assert failure is not None
        raise failure


def _say_pulled(image: str, pulled: Pulled, waited: float, here: Object, say: Say) -> None:
    both = pulled.seconds, max(waited, pulled.seconds)  # it may have begun before somebody waited
    took, with_waiting = (durations.shown(int(seconds * 1000) * 1_000_000) for seconds in both)
    size = f"Image size: {here.get('size', 0)} bytes."
    say("Normal", "Pulled", f'Successfully pulled image "{image}" in {took} ({with_waiting} including waiting). {size}')
