"""One of several: whoever holds a Lease runs, the others wait. For roles that run beside the server, twice or more.

Source: client-go/tools/leaderelection (lease 15 s, renew within 10 s, try every 2 s). A holder whose clock runs away
cannot hurt: the others measure how long a lease has not *changed* by their own clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from switchboard.client.resources import LEASES
from switchboard.client.transport import Disconnected
from switchboard.client.verbs import Client, Object
from switchboard.objects.errors import NotFound, StatusError

log = logging.getLogger(__name__)

LEASE: Final = 15.0
RENEW: Final = 10.0
RETRY: Final = 2.0


class Election:
    """The Lease `namespace/name`, wanted by `identity`."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        *,
        namespace: str = "kube-system",
        lease: float = LEASE,
        renew: float = RENEW,
        retry: float = RETRY,
    ) -> None:
        self._client, self._name, self._namespace, self._identity = client, name, namespace, identity
        self._lease, self._renew, self._retry = lease, renew, retry
        self._seen: tuple[str, float] = ("", 0.0)  # version of the lease, and when we first saw it

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, run `work` while it is held; returns when the lease was lost (work is cancelled)."""
        while not await self._try():  # noqa: ASYNC110  # the holder is another process
            await asyncio.sleep(self._retry)
        log.info("%s: %s leads", self._name, self._identity)
        task = asyncio.ensure_future(work())
        try:
            await self._hold(task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._release()

    async def _hold(self, task: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while loop.time() - last < self._renew:
            done, _ = await asyncio.wait([task], timeout=self._retry)
            if done:
                await task
                return
            if await self._try():
                last = loop.time()
        log.warning("%s: %s lost the lease", self._name, self._identity)

    async def _try(self) -> bool:
        """Take or renew the lease once; False when another holds it or the API does not answer."""
        try:
            return await self._once()
        except (StatusError, Disconnected) as error:
            log.debug("%s: %s", self._name, error)
            return False

    async def _once(self) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine: Object = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, int(self._lease)),
            "renewTime": now,
        }
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            meta = {"name": self._name, "namespace": self._namespace}
            spec = mine | {"acquireTime": now, "leaseTransitions": 0}
            await self._client.create(LEASES, {"metadata": meta, "spec": spec})
            return True
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != self._identity:
            if spec.get("holderIdentity") and not self._stale(lease):
                return False
            mine |= {"acquireTime": now, "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
        await self._client.update(LEASES, lease | {"spec": spec | mine})
        return True

    def _stale(self, lease: Object) -> bool:
        version, now = lease["metadata"].get("resourceVersion", ""), asyncio.get_running_loop().time()
        if self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] >= self._lease

    async def _release(self) -> None:
        """Let the next one in without waiting for the lease to run out."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
            if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                await self._client.update(LEASES, lease)
        except (StatusError, Disconnected) as error:
            log.debug("%s: not released: %s", self._name, error)
