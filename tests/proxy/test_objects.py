"""What many Services and slices have in common is held once, whatever they are decoded from."""

from __future__ import annotations

import msgspec
import pytest

from switchboard.proxy import objects
from switchboard.testing.services import endpoint, service, slice_of


def test_equal_parts_are_the_same() -> None:
    one, two = service("one", "10.96.0.1"), service("two", "10.96.0.2")
    assert one.spec is not None and two.spec is not None
    assert one.spec.ports is two.spec.ports and one.status is two.status
    assert one.metadata.namespace is two.metadata.namespace
    assert one.spec.clusterIPs is not None and one.spec.clusterIP is one.spec.clusterIPs[0]
    a, b = (slice_of(name, endpoint(f"10.244.0.{at}")) for at, name in enumerate(("one", "two"), 1))
    assert a.ports is b.ports
    assert a.endpoints is not None and b.endpoints is not None
    (first,), (second,) = a.endpoints, b.endpoints
    assert first.conditions is second.conditions and first.nodeName is second.nodeName
    assert first.addresses == ("10.244.0.1",) and second.addresses == ("10.244.0.2",)


def test_what_differs_stays_apart() -> None:
    one, two = slice_of("web", "10.244.0.1", port=80), slice_of("web", "10.244.0.1", port=81)
    assert [port.port for each in (one, two) for port in each.ports or ()] == [80, 81]
    ready, unready = (slice_of("web", endpoint("10.244.0.1", ready=value)) for value in (True, False))
    assert [each.conditions.ready for some in (ready, unready) for each in some.endpoints or () if each.conditions] == [
        True,
        False,
    ]


def test_a_shared_part_cannot_be_changed() -> None:
    conditions = (slice_of("web", endpoint("10.244.0.1")).endpoints or ())[0].conditions
    with pytest.raises(AttributeError, match="immutable"):
        conditions.ready = None  # type: ignore[misc,union-attr]


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: dict[object, object] = {}
    monkeypatch.setattr(objects, "_parts", parts)
    monkeypatch.setattr(objects, "_MOST", 8)
    decode = msgspec.json.Decoder(objects.EndpointPort).decode
    for number in range(100):
        part = decode(b'{"port":%d}' % number)
        assert objects.shared(part) is part
        assert len(parts) <= 8
