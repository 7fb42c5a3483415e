"""Words of our own on kinds and fields, as `kubectl explain` prints them; the type table has none.

They are text files under `texts`, one or more for each group-version (`core.v1.pods.txt`): a line `[Kind Kind]` begins
what is said of some definitions, `field: words` is about their fields of that name, `.: words` about themselves, and
what comes later goes first. Files are read while a document is built and nothing of them is kept. Clients and suites
look for the first words of some fields of ObjectMeta: those begin as Kubernetes' do.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

Schema = dict[str, Any]

ITSELF = "."
TEXTS = {  # of every kind, built-in or custom, that says nothing better
    "apiVersion": "APIVersion defines the schema, by group and version, that this representation of an object follows.",
    "kind": "Kind is the name of the schema that this object follows.",
    "metadata": "Standard object's metadata: name, labels, annotations and what the server keeps about the object.",
    "spec": "What is wanted.",
    "status": "What is there, as last observed; written by the system.",
}
_LIST = {
    "items": "The objects.",
    "metadata": "What every list has: the state of the cluster it shows, and the mark of its next page.",
}
_GVK = "x-kubernetes-group-version-kind"


class Texts:
    """The words on definitions, for as long as a document is built."""

    def __init__(self) -> None:
        self._group = ""
        self._parts: dict[str, list[str]] = {}  # of that group alone: definitions come sorted by name

    def of(self, name: str) -> dict[str, str]:
        """What is said of a definition (`io.k8s.api.core.v1.Pod`): by field, and of itself by `ITSELF`."""
        prefix, _, kind = name.rpartition(".")
        group = ".".join(prefix.split(".")[-2:])
        if group != self._group:
            self._group, self._parts = group, {}
            for names, lines in parts(group):
                for each in names:
                    self._parts.setdefault(each, []).append(lines)
        return dict(line for lines in self._parts.get(kind, ()) for line in said(lines))

    def described(self, name: str, schema: Schema) -> Schema:
        """A schema of the type table with the words on it and on its fields."""
        words = self.of(name)
        itself = words.get(ITSELF)
        if _GVK in schema:
            words = TEXTS | (_LIST if name.endswith("List") else {}) | words
        if not itself and name.endswith("List"):
            kind = name.rpartition(".")[2]
            itself = f"{kind} is a list of {kind.removesuffix('List')} objects."
        out: Schema = {"description": itself} | schema if itself else dict(schema)
        if "properties" in schema:
            fields: Schema = schema["properties"]
            out["properties"] = {
                key: {"description": words[key]} | value if key in words else value for key, value in fields.items()
            }
        return out


def parts(group: str) -> Iterator[tuple[list[str], str]]:
    """What the files of a group-version (`core.v1`) say: definitions, and the lines about them."""
    folder = resources.files(__package__) / "texts"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.startswith(f"{group}."):
            for part in ("\n" + file.read_text()).split("\n[")[1:]:
                names, _, lines = part.partition("]\n")
                yield names.split(), lines


def said(lines: str) -> Iterator[tuple[str, str]]:
    """Field and words, line by line."""
    for line in lines.splitlines():
        key, _, words = line.partition(": ")
        if line:
            yield key, words
