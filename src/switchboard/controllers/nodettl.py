"""Every node is told by an annotation for how long its kubelet may keep Secrets and ConfigMaps without asking: the
longer, the more nodes there are. Source: pkg/controller/ttl.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

from switchboard.client.resources import NODES
from switchboard.controllers.base import Context, Controller
from switchboard.objects.errors import Conflict, NotFound

Object = dict[str, Any]

ANNOTATION: Final = "node.alpha.kubernetes.io/ttl"


class Step(NamedTuple):
    """Cluster sizes that have one time. They overlap, so that a size at a bound does not go to and fro."""

    least: int
    most: float
    seconds: int


STEPS: Final = (
    Step(0, 100, 0),
    Step(90, 500, 15),
    Step(450, 1000, 30),
    Step(900, 2000, 60),
    Step(1800, 10000, 300),
    Step(9000, float("inf"), 600),
)


def step_for(step: int, nodes: int) -> int:
    """The step of a cluster of so many nodes that was in `step` before."""
    while nodes > STEPS[step].most:
        step += 1
    while nodes < STEPS[step].least:
        step -= 1
    return step


class NodeTtlController(Controller):
    """Keys are nodes."""

    name = "ttl"
    main = NODES
    workers: ClassVar[int] = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._step = 0

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        super()._main_changed(old, new)
        if old is not None and new is not None:
            return
        step = step_for(self._step, len(self.of(NODES).keys()))
        if step != self._step:
            self._step = step
            for key in list(self.of(NODES).keys()):
                self.loop.add(key)

    async def reconcile(self, key: str) -> float | None:
        """One node."""
        node = self.of(NODES).get_key(key)
        wanted = str(STEPS[self._step].seconds)
        if node is None or (node["metadata"].get("annotations") or {}).get(ANNOTATION) == wanted:
            return None
        try:
            await self.cache.patch(NODES, key, {"metadata": {"annotations": {ANNOTATION: wanted}}})
        except (Conflict, NotFound):
            return None  # another change of it, or its end, will be told
        return None
