"""Single writes of random sequences, with what apimachinery 0.36's FieldManager makes of them (recorded)."""

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchboard.objects import schema
from switchboard.objects.apply import apply, track_update
from switchboard.objects.errors import StatusError
from switchboard.objects.kinds import Kind, Registry, Subresource

RECORDED: dict[str, Any] = msgspec.json.decode((Path(__file__).parent / "apply_cases.json").read_bytes())
REGISTRY = Registry()
STATUS = Subresource("status", "example.com", "v1", "Widget", ())


def kind_of(case: dict[str, Any]) -> Kind:
    found = RECORDED["schemas"].get(case["kind"])
    if found is None:
        built_in = REGISTRY.of(case["sent"]["apiVersion"], case["kind"])
        assert built_in is not None
        return built_in
    subs = {"status": STATUS} if case["kind"] == "w1" else {}
    return Kind("example.com", "v1", "Widget", "widgets", "widget", True, (), schema=found, subresources=subs)


def written(case: dict[str, Any], kind: Kind) -> dict[str, Any]:
    how: Any = {
        "manager": case["manager"],
        "api_version": kind.api_version,
        "subresource": case.get("subresource", ""),
        "now": case["now"],
        "kind": kind,
    }
    live, sent = copy.deepcopy(case["live"]), copy.deepcopy(case["sent"])
    if case["verb"] == "apply":
        return apply(live, sent, force=case.get("force", False), **how)
    track_update(sent, live, **how)
    return sent


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['kind']}-{case['verb']}")
def test_recorded(case: dict[str, Any]) -> None:
    kind = kind_of(case)
    if "error" in case:
        with pytest.raises(StatusError) as caught:
            written(case, kind)
        assert caught.value.message == case["error"]
        return
    made = written(case, kind)
    if kind.definition is not None:
        schema.clean(kind, made)
    assert made == case["object"]
