"""What an informer reads of a list, of the events of a watch and of any object in them."""

from __future__ import annotations

import msgspec


class Meta(msgspec.Struct, gc=False):
    """Of ObjectMeta."""

    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""


class Head(msgspec.Struct, gc=False):
    """Of any object: what it is."""

    metadata: Meta


class Line(msgspec.Struct, gc=False):
    """One event of a watch."""

    type: str
    object: msgspec.Raw


class ListMeta(msgspec.Struct, gc=False):
    """ListMeta."""

    resourceVersion: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class List(msgspec.Struct, gc=False):
    """A list, or a page of one."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None
