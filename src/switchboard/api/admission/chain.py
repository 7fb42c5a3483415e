"""The admission chain: plugins in upstream's recommended order, each mutating, validating, or both.

A plugin method gets the Operation and may change `operation.obj`, add warnings to its call, or raise StatusError; it
returns None, or an awaitable where it has to wait (webhooks). Source: `pkg/kubeapiserver/options/plugins.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from switchboard.api.admission.neutral import Neutral

if TYPE_CHECKING:
    from switchboard.api.call import Call

Object = dict[str, Any]
Half = Callable[["Operation"], Awaitable[None] | None]

_MOST_RESOURCES = 1024  # whose plugins are remembered


@dataclass(slots=True)
class Operation:
    """One write (or connect) on its way through admission.

    `verb` is CREATE, UPDATE, DELETE or CONNECT; `obj` the new object (None for DELETE, the options of a CONNECT), `old`
    the stored one (None for CREATE and CONNECT); `namespace`, `name` as in the URL (name may be "" for a create with
    generateName).
    """

    call: Call
    verb: str
    obj: Object | None
    old: Object | None
    namespace: str
    name: str
    options: Object = field(default_factory=dict)
    final: bool = False  # set while validating
    changed: bool = False  # set by a plugin that replaced parts of the object by what a stranger sent (webhooks)
    again: bool = False  # the chain mutates a second time, because a webhook changed the object
    seen: dict[str, bytes] = field(default_factory=dict)  # the object as each webhook left it

    plural: str = field(init=False)  # resource name, without group
    group: str = field(init=False)  # API group, "" for core
    sub: str = field(init=False)  # subresource, "" for the object itself

    def __post_init__(self) -> None:
        call = self.call
        self.plural, self.group, self.sub = call.kind.plural, call.kind.group, call.sub


class Plugin(Protocol):
    """An admission plugin."""

    @property
    def resources(self) -> frozenset[str] | None:
        """Resource names (of whatever group) that it looks at, None for all: the others pass it by at no cost."""

    def mutate(self, op: Operation) -> Awaitable[None] | None:
        """Change or refuse the operation before defaults are validated."""
        ...

    def validate(self, op: Operation) -> Awaitable[None] | None:
        """Refuse the operation when the object is final."""
        ...


class Chain:
    """The plugins, run in order; every plugin mutates before any validates. Halves that do nothing are not called."""

    def __init__(self, plugins: list[Plugin]) -> None:
        self.plugins = plugins
        self._halves: dict[str, tuple[list[Half], list[Half]]] = {}

    def _of(self, plural: str) -> tuple[list[Half], list[Half]]:
        """The mutating and the validating halves that a resource meets."""
        found = self._halves.get(plural)
        if found is None:
            if len(self._halves) >= _MOST_RESOURCES:
                self._halves.clear()
            met = [plugin for plugin in self.plugins if plugin.resources is None or plural in plugin.resources]
            mutating: list[Half] = [plugin.mutate for plugin in met if type(plugin).mutate is not Neutral.mutate]
            validating: list[Half] = [
                plugin.validate for plugin in met if type(plugin).validate is not Neutral.validate
            ]
            found = self._halves[plural] = (mutating, validating)
        return found

    def mutating(self, op: Operation) -> Awaitable[None] | None:
        """Run the mutating half; once more if a webhook changed the object, so that all see what it made.

        Like a plugin, it returns what is to be awaited when something has to wait, else None: most writes are spared
        a coroutine.
        """
        halves = self._of(op.plural)[0]
        for at, mutate in enumerate(halves):
            waiting = mutate(op)
            if waiting is not None:
                return self._mutate_on(op, waiting, halves[at + 1 :])
        return self._once_more(op)

    async def _mutate_on(self, op: Operation, waiting: Awaitable[None], later: list[Half]) -> None:
        await waiting
        for mutate in later:
            more = mutate(op)
            if more is not None:
                await more
        again = self._once_more(op)
        if again is not None:
            await again

    def _once_more(self, op: Operation) -> Awaitable[None] | None:
        if not op.changed or op.again:
            return None
        op.again = True
        return self.mutating(op)

    def validating(self, op: Operation) -> Awaitable[None] | None:
        """Run the validating half; returns what is to be awaited, as `mutating`."""
        op.final = True
        halves = self._of(op.plural)[1]
        for at, validate in enumerate(halves):
            waiting = validate(op)
            if waiting is not None:
                return self._validate_on(op, waiting, halves[at + 1 :])
        return None

    async def _validate_on(self, op: Operation, waiting: Awaitable[None], later: list[Half]) -> None:
        await waiting
        for validate in later:
            more = validate(op)
            if more is not None:
                await more

    async def mutate(self, op: Operation) -> None:
        """`mutating`, awaited."""
        waiting = self.mutating(op)
        if waiting is not None:
            await waiting

    async def validate(self, op: Operation) -> None:
        """`validating`, awaited."""
        waiting = self.validating(op)
        if waiting is not None:
            await waiting
