"""Which changes of a pod the node looks at, and which of them at once."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.node.changes import matters, urgent


def pod(*, meta: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": "web", "generation": 1, **(meta or {})}, "spec": {}, "status": status or {}}


@pytest.mark.parametrize("meta", [{"labels": {"on": "yes"}}, {"annotations": {"note": "x"}}])
def test_labels_and_annotations_are_looked_at_later(meta: dict[str, Any]) -> None:
    before, after = matters(pod()), matters(pod(meta=meta))
    assert before != after
    assert not urgent(before, after)


@pytest.mark.parametrize(
    "after",
    [
        pod(meta={"generation": 2}),
        pod(meta={"deletionTimestamp": "2026-01-01T00:00:00Z", "labels": {"on": "yes"}}),
        pod(status={"phase": "Failed"}),
        pod(status={"conditions": [{"type": "example.com/gate", "status": "True"}]}),
    ],
)
def test_what_containers_may_depend_on_is_looked_at_at_once(after: dict[str, Any]) -> None:
    assert urgent(matters(pod()), matters(after))


def test_the_status_that_the_node_wrote_is_no_change() -> None:
    told = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert matters(pod()) == matters(pod(status=told))
