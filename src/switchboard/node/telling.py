"""Tells the API the status of one pod: the newest one, as often as it takes, with nobody waiting for it.

The patch is a strategic one, as kubelet's: conditions are merged by type, so what others wrote there stays
(pkg/util/pod/pod.go PatchPodStatus).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from switchboard.client import Client, Disconnected
from switchboard.client.resources import PODS
from switchboard.node.status import OWN, RESIZES, same
from switchboard.objects.errors import Conflict, NotFound, StatusError

Object = dict[str, Any]

log = logging.getLogger(__name__)


class Teller:
    """`told` is the status that the API has, or is about to have, from us."""

    def __init__(self, client: Client, pod: Object) -> None:
        self._client, self._meta = client, pod["metadata"]
        self.told: Object = _ours(pod.get("status") or {})
        self._untold = False
        self._over: set[str] = set()  # types of conditions that were told and are no more
        self._task: asyncio.Task[None] | None = None

    def tell(self, status: Object) -> None:
        """Have the API told, if this is another status than it was told last."""
        status = _ours(status)
        if same(status, self.told):
            return
        were = {c["type"] for c in self.told.get("conditions") or ()} | self._over
        self._over = {c for c in were if c in RESIZES} - {c["type"] for c in status.get("conditions") or ()}
        self.told, self._untold = status, True
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._send())

    async def flush(self) -> None:
        """Wait until the API has heard everything."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    def close(self) -> None:
        """Say no more."""
        self._untold = False
        if self._task is not None:
            self._task.cancel()

    async def _send(self) -> None:
        pause = 0.05
        while self._untold:
            self._untold = False
            name, status = self._meta["name"], patch_of(self.told, self._over)
            patch = {"metadata": {"uid": self._meta["uid"]}, "status": status}
            try:
                await self._client.patch(
                    PODS, name, patch, self._meta["namespace"], kind="strategic", subresource="status"
                )
                pause = 0.05
            except (NotFound, Conflict):
                return  # gone, or another pod of this name: the informer tells the rest
            except (StatusError, Disconnected) as why:
                log.log(logging.DEBUG if pause < 1 else logging.WARNING, "status of %s: %s", name, why)
                self._untold = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)


def _ours(status: Object) -> Object:
    own = [c for c in status.get("conditions") or () if c["type"] in OWN]
    return {**status, "conditions": own}


def patch_of(status: Object, over: Iterable[str] = ()) -> Object:
    """The status as a strategic patch: addresses are replaced, not merged with those of an earlier sandbox; conditions
    of the types `over` go away. Pure.
    """
    replace = {"$patch": "replace"}
    lists: Object = {key: [*status[key], replace] for key in ("podIPs", "hostIPs") if key in status}
    if "conditions" in status:  # merged by type: why a pod was not ready must not stay when it is
        lists["conditions"] = [{"reason": None, "message": None, **one} for one in status["conditions"]]
        lists["conditions"] += [{"type": kind, "$patch": "delete"} for kind in sorted(over)]
    return {"reason": None, "message": None, "podIP": None, **status, **lists}
