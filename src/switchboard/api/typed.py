"""What the type of an object asks for: clean fields, defaults, validation, conversion between versions.

Built-in kinds have tables and rules in `objects`; custom kinds bring a `CustomType` (made from their
CustomResourceDefinition by `crd.py`) in `Kind.extra`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol, cast

from switchboard.api.keyspace import decode, encode_any
from switchboard.objects import convert, defaults, schema, validate
from switchboard.objects.errors import FieldError
from switchboard.objects.kinds import Kind

if TYPE_CHECKING:
    from switchboard.api.app import App


Object = dict[str, Any]


class CustomType(Protocol):
    """The behaviour of one version of a custom kind."""

    def clean(self, obj: Object) -> list[str]:
        """Prune unknown fields in place; returns their paths. BadRequest for wrong metadata types."""
        ...

    def default(self, obj: Object) -> None:
        """Fill in the schema's defaults."""
        ...

    def validate(
        self, obj: Object, old: Object | None, sub: str, warn: Callable[[str], None] | None = None
    ) -> list[FieldError]:
        """Every violation of the schema and its rules (`old` is None for a create)."""
        ...

    def from_storage(self, obj: Object) -> Object:
        """A stored object in this version."""
        ...

    def to_storage(self, obj: Object) -> Object:
        """An object of this version as it is stored."""
        ...


def custom(kind: Kind) -> CustomType:
    """The type of a custom kind: `Kind.extra` is its CustomResourceDefinition (a dict) with the attribute `type`."""
    return cast("CustomType", kind.extra.type)


def clean(app: App, kind: Kind, obj: Object, known: Collection[str] = ()) -> list[str]:
    """Prune and normalise a body; returns the paths of unknown fields. `known` fields are clean already."""
    return schema.clean(kind, obj, known) if kind.definition is not None else custom(kind).clean(obj)


def default(kind: Kind, obj: Object) -> None:
    """Fill in what the client left out."""
    if kind.definition is not None:
        defaults.apply(kind, obj)
    else:
        custom(kind).default(obj)


def settle(kind: Kind, obj: Object, old: Object | None = None, *, own: bool = False) -> None:
    """The form in which the object is shown: empty structs that are always written are there again.

    What is as in `old`, the stored object, has that form; so have the managedFields that this server wrote (`own`).
    """
    if kind.definition is None:
        return
    known = [name for name, value in obj.items() if value == old.get(name)] if old is not None else ()
    managers = obj["metadata"].pop("managedFields", None) if own else None
    schema.clean(kind, obj, known)
    if managers is not None:
        obj["metadata"]["managedFields"] = managers


def check_create(kind: Kind, obj: Object) -> list[FieldError]:
    """Validation of a new object."""
    if kind.definition is not None:
        return validate.create(kind, obj)
    return custom(kind).validate(obj, None, "")


def check_update(
    kind: Kind, obj: Object, old: Object, sub: str, warn: Callable[[str], None] | None = None
) -> list[FieldError]:
    """Validation of a changed object; `sub` is the subresource it came through."""
    if kind.definition is not None:
        return validate.update(kind, obj, old, "" if sub == "scale" else sub)
    return custom(kind).validate(obj, old, sub, warn)


def same_form(kind: Kind) -> bool:
    """Whether stored bytes are what this version shows."""
    return kind.definition is not None and kind.storage[:2] == (kind.group, kind.version)


def show(kind: Kind, value: bytes) -> Object:
    """Stored bytes as an object of this version."""
    obj = decode(value)
    if kind.definition is None:
        return custom(kind).from_storage(obj)
    return obj if same_form(kind) else convert.from_storage(kind.kind, kind.api_version, obj)


def stored(kind: Kind, obj: Object) -> Object:
    """An object of this version as it is stored (may change the one given)."""
    if kind.definition is None:
        return custom(kind).to_storage(obj)
    return obj if same_form(kind) else convert.to_storage(kind.kind, kind.api_version, obj)


def copy_of(obj: Object) -> Object:
    """A deep copy of an object (JSON values only)."""
    return decode(encode_any(obj))
