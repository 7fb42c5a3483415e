"""Imports compiled modules in place of their sources, if the sources are still what was compiled.

A build is taken whole or not at all, when the first module that it might have is imported: compiled modules know the
layout of each other's classes. What it was made from is compared as Python compares a `.pyc` with its source, by size
and time. Commands that import none of those modules pay nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENVIRONMENT = os.path.dirname(os.path.dirname(sys.executable))  # `sys.prefix` is another one under `python -S`
BUILDS = os.path.join(ENVIRONMENT, "compiled")
MANIFEST = f"{sys.implementation.cache_tag}.txt"  # in BUILDS: the build's folder, its modules, a line for each source
SWITCH = "SWITCHBOARD_INTERPRETED"  # set in the environment: nothing compiled is imported
LAYERS = ("api", "client", "objects", "store", "transport")  # what compiled modules are of, import, and so depend on

COMPILED, OFF, ABSENT, OLD = "compiled", "interpreted: as asked", "interpreted: not compiled", "interpreted: changed"

_PREFIXES = tuple(f"switchboard.{layer}." for layer in LAYERS)


class Finder:
    """Finds the modules of the build, if there is one that fits; decides that when first asked for one."""

    def __init__(self) -> None:
        self.state = ""  # one of the words above
        self._files: dict[str, str] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The compiled module of this name, if there is one."""
        if not self.state:
            if not name.startswith(_PREFIXES):
                return None
            self.decide()
        file = self._files.get(name)
        if file is None:
            return None
        spec = ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
        spec.has_location = True
        return spec

    def decide(self) -> str:
        """Look once whether there is a build that fits the sources; returns the state."""
        if not self.state:
            self.state, self._files = _look()
        return self.state


_finder = Finder()


def install() -> None:
    """Have compiled modules imported from here on."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def state() -> str:
    """What this process runs: one of the words above."""
    return _finder.decide()


def describe(names: Iterable[str]) -> list[str]:
    """A line for each source file, by its name below the package: what a manifest has and what is compared."""
    lines = []
    for name in names:
        found = os.stat(f"{PACKAGE}/{name}")
        lines.append(f"{found.st_mtime_ns} {found.st_size} {name}")
    return lines


def _look() -> tuple[str, dict[str, str]]:
    if os.environ.get(SWITCH):
        return OFF, {}
    try:
        with open(os.path.join(BUILDS, MANIFEST), encoding="utf-8") as file:
            directory, modules, *lines = file.read().splitlines()
    except (OSError, ValueError):
        return ABSENT, {}
    try:
        if describe([line.split(" ", 2)[2] for line in lines]) != lines:
            return OLD, {}
    except (OSError, IndexError):
        return OLD, {}
    return COMPILED, {name: os.path.join(BUILDS, directory, f"{name}.so") for name in modules.split()}
