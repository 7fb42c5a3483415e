"""The base of admission plugins. It has a file of its own because `chain.py` is compiled, and what interpreted classes
inherit from may not be."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from switchboard.api.admission.chain import Operation


class Neutral:
    """A plugin that does nothing: base for those that only mutate or only validate."""

    resources: frozenset[str] | None = None

    def mutate(self, op: Operation) -> Awaitable[None] | None:
        """Nothing."""
        return None

    def validate(self, op: Operation) -> Awaitable[None] | None:
        """Nothing."""
        return None
