"""ControllerRevisions: what a revision is told of its owner."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.controllers.history import HASH_LABEL, REVISION_LABEL, new_revision


def _owner(kind: str, annotations: dict[str, str] | None) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "web", "namespace": "default", "uid": "u1"}
    if annotations is not None:
        meta["annotations"] = annotations
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": {"template": template}}


@pytest.mark.parametrize(("kind", "label"), [("DaemonSet", HASH_LABEL), ("StatefulSet", REVISION_LABEL)])
def test_a_revision_has_every_annotation_of_its_owner(kind: str, label: str) -> None:
    annotations = {"kubernetes.io/change-cause": "a newer image", "deprecated.daemonset.template.generation": "2"}
    owner = _owner(kind, annotations)
    revision = new_revision(owner, 2, {"app": "web"})
    assert revision["metadata"]["annotations"] == annotations
    assert revision["metadata"]["annotations"] is not owner["metadata"]["annotations"]
    assert revision["metadata"]["labels"].keys() == {"app", label}


@pytest.mark.parametrize("annotations", [None, {}])
def test_a_revision_of_an_owner_without_annotations_has_none(annotations: dict[str, str] | None) -> None:
    assert "annotations" not in new_revision(_owner("DaemonSet", annotations), 1, {})["metadata"]
