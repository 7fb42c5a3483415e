"""The annotation that tells nodes for how long they may keep what they asked for."""

from __future__ import annotations

from typing import Any

import pytest
from world import world

from switchboard.client.resources import NODES
from switchboard.controllers import nodettl
from switchboard.controllers.nodettl import ANNOTATION, STEPS, Step, step_for


def test_the_time_grows_with_the_cluster() -> None:
    sizes = (0, 1, 100, 101, 500, 501, 1000, 1001, 2000, 2001, 10000, 10001, 100000)
    found = [STEPS[step_for(0, nodes)].seconds for nodes in sizes]
    assert found == [0, 0, 0, 15, 15, 30, 30, 60, 60, 300, 300, 600, 600]


def test_a_size_at_a_bound_stays_where_it_was() -> None:
    grown = step_for(0, 101)
    assert [step_for(grown, nodes) for nodes in (100, 95, 90)] == [grown] * 3
    assert step_for(grown, 89) == 0
    assert step_for(step_for(0, 20000), 3) == 0


async def test_every_node_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodettl, "STEPS", (Step(0, 1, 0), Step(2, float("inf"), 15)))
    async with world() as w:

        async def told() -> dict[str, Any]:
            nodes = await w.list(NODES)
            return {n["metadata"]["name"]: (n["metadata"].get("annotations") or {}).get(ANNOTATION) for n in nodes}

        async def is_told(wanted: dict[str, Any]) -> bool:
            return await told() == wanted

        await w.until(lambda: is_told({"n1": "0"}))
        await w.create(NODES, {"metadata": {"name": "n2", "annotations": {"mine": "stays"}}})
        await w.until(lambda: is_told({"n1": "15", "n2": "15"}))
        assert (await w.get(NODES, "n2"))["metadata"]["annotations"]["mine"] == "stays"
        await w.patch(NODES, "n2", {"metadata": {"annotations": {ANNOTATION: "garbage"}}})
        await w.until(lambda: is_told({"n1": "15", "n2": "15"}))
        await w.delete(NODES, "n2")
        await w.until(lambda: is_told({"n1": "0"}))
