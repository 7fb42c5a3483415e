import pytest

from switchboard.objects.kinds import GROUP_ORDER, Kind, Registry, split_api_version, version_order
from switchboard.objects.types import definitions


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


def test_lookups_agree(registry: Registry) -> None:
    kind = registry.resource("apps", "v1", "deployments")
    assert kind is registry.of("apps/v1", "Deployment")
    assert kind is registry.gvk("apps", "v1", "Deployment")
    assert kind is registry.group_kind("apps", "Deployment")
    assert kind is registry.definition("io.k8s.api.apps.v1.Deployment")
    assert kind is not None
    assert (kind.resource, kind.namespaced, kind.api_version) == ("deployments.apps", True, "apps/v1")
    assert kind.storage_prefix == "/apps/deployments/"
    assert set(kind.subresources) == {"scale", "status"}
    assert kind.subresources["scale"].api_version == "autoscaling/v1"


def test_core_kind(registry: Registry) -> None:
    pod = registry.of("v1", "Pod")
    assert pod is not None
    assert (pod.resource, pod.storage_prefix, pod.short_names) == ("pods", "/core/pods/", ("po",))
    assert pod.subresources["eviction"].kind == "Eviction"


def test_every_built_in_kind_has_a_definition(registry: Registry) -> None:
    for kind in registry:
        assert kind.definition in definitions(), kind


def test_groups_start_as_a_real_server_lists_them(registry: Registry) -> None:
    assert registry.groups() == [group for group in GROUP_ORDER if registry.versions(group)]
    assert registry.groups()[:4] == ["", "apiregistration.k8s.io", "apps", "events.k8s.io"]


def test_preferred_version(registry: Registry) -> None:
    assert registry.versions("autoscaling") == ["v2", "v1"]
    assert registry.preferred("autoscaling") == "v2"
    assert registry.preferred("no.such.group") is None


def test_shared_storage(registry: Registry) -> None:
    old, new = registry.of("v1", "Event"), registry.of("events.k8s.io/v1", "Event")
    assert old is not None and new is not None
    assert old.storage_prefix == new.storage_prefix == "/core/events/"
    assert new.error_group == ""


def test_dynamic_kinds_come_and_go() -> None:
    registry = Registry()
    widget = Kind("example.com", "v1", "Widget", "widgets", "widget", True, ("get", "list"))
    before = registry.changes
    registry.add(widget)
    assert registry.of("example.com/v1", "Widget") is widget
    assert widget.custom
    assert registry.groups()[-1] == "example.com"
    registry.remove(widget)
    registry.remove(widget)
    assert registry.of("example.com/v1", "Widget") is None
    assert registry.changes > before
    assert "example.com" not in registry.groups()


def test_version_order() -> None:
    versions = ["v1beta1", "v10", "foo", "v2", "v1alpha1", "v1", "v2beta1", "v1beta2"]
    assert sorted(versions, key=version_order) == [
        "v10",
        "v2",
        "v1",
        "v2beta1",
        "v1beta2",
        "v1beta1",
        "v1alpha1",
        "foo",
    ]


@pytest.mark.parametrize(("text", "expected"), [("v1", ("", "v1")), ("apps/v1", ("apps", "v1"))])
def test_split_api_version(text: str, expected: tuple[str, str]) -> None:
    assert split_api_version(text) == expected


@pytest.mark.parametrize("text", ["a/b/c", "/v1"])
def test_split_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="unexpected GroupVersion"):
        split_api_version(text)
