"""One version of a custom kind as the write path uses it: clean, default, validate, convert.

A `Definition` is the CustomResourceDefinition itself (a dict), kept in `Kind.extra` of every version it serves, with
the version's `CustomType` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switchboard.objects import validate
from switchboard.objects.errors import FieldError
from switchboard.objects.kinds import Kind, Subresource
from switchboard.objects.structural import Structural

if TYPE_CHECKING:
    from switchboard.api.conversion import Conversion

Object = dict[str, Any]

_ALL = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_SUB_VERBS = ("get", "patch", "update")


class Definition(dict[str, Any]):
    """A CustomResourceDefinition and the type of one of its versions."""

    type: CustomType


class CustomType:
    """The behaviour of one served version (see `typed.CustomType`)."""

    def __init__(self, kind: Kind, structural: Structural, conversion: Conversion) -> None:
        self.kind = kind
        self.structural = structural
        self.conversion = conversion

    def clean(self, obj: Object) -> list[str]:
        """Prune unknown fields in place; returns their paths."""
        return self.structural.clean(obj)

    def default(self, obj: Object) -> None:
        """Fill in the schema's defaults."""
        self.structural.default(obj)

    def validate(
        self, obj: Object, old: Object | None, sub: str, warn: Callable[[str], None] | None = None
    ) -> list[FieldError]:
        """Every violation of metadata rules, schema and expression rules.

        An update may keep what was wrong before (KEP-4008); `warn` is told of rules that it breaks on.
        """
        found = self.structural.validate(obj, old)
        errors = validate.create(self.kind, obj) if old is None else validate.update(self.kind, obj, old, sub)
        return [*errors, *found, *self.structural.rules(obj, old, found, warn)]

    def from_storage(self, obj: Object) -> Object:
        """A stored object in this version: converted, pruned and defaulted by this version's schema."""
        shown = self.conversion.convert(obj, self.kind.version)
        self.structural.clean(shown)
        self.structural.default(shown)
        return shown

    def to_storage(self, obj: Object) -> Object:
        """An object of this version as it is stored."""
        return self.conversion.store(obj, self.kind.storage[1])


def kinds_of(crd: Object, conversion: Conversion) -> list[Kind]:
    """A Kind for every served version of an established definition."""
    spec = crd["spec"]
    names = {**spec["names"], **((crd.get("status") or {}).get("acceptedNames") or {})}
    storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
    made = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        definition = Definition(crd)
        kind = Kind(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            singular=names.get("singular") or names["kind"].lower(),
            namespaced=spec["scope"] == "Namespaced",
            verbs=_ALL,
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=_subresources(spec["group"], version, names["kind"]),
            storage=(spec["group"], storage, names["plural"]),
            list_kind=names.get("listKind") or names["kind"] + "List",
            schema=schema,
            extra=definition,
        )
        definition.type = CustomType(kind, Structural(schema, kind.kind, kind.version), conversion)
        made.append(kind)
    return made


def _subresources(group: str, version: Object, kind: str) -> dict[str, Subresource]:
    wanted = version.get("subresources") or {}
    found = {}
    if "status" in wanted:
        found["status"] = Subresource("status", group, version["name"], kind, _SUB_VERBS)
    if "scale" in wanted:
        found["scale"] = Subresource("scale", "autoscaling", "v1", "Scale", _SUB_VERBS)
    return found
