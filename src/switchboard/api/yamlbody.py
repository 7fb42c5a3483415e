"""YAML request bodies as sigs.k8s.io/yaml reads them: YAML 1.1 scalars, one document, string keys, JSON values."""

from __future__ import annotations

import re
from typing import Any

import yaml

from switchboard.objects.errors import BadRequest

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 200
_MAX_NODES = 1_000_000  # aliases can multiply a small body; Go's decoder counts them too


class _Loader(_BASE):  # type: ignore[misc]
    """Safe loader that leaves times as text, makes keys strings and notes duplicate keys, as yaml.v2 words them."""

    duplicates: list[str]


def _construct_map(loader: Any, node: Any) -> Any:
    loader.flatten_mapping(node)
    out: dict[str, Any] = {}
    yield out
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        name = _key(key)
        if name in out:
            line = key_node.start_mark.line + 1
            loader.duplicates.append(f'line {line}: key "{name}" already set in map')
        out[name] = loader.construct_object(value_node, deep=True)


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (str, int, float)):
        return str(key)
    raise BadRequest(f"error converting YAML to JSON: unsupported map key of type {type(key).__name__}")


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _BASE.yaml_implicit_resolvers.items()
}
# PyYAML leaves out the one-letter booleans of YAML 1.1 that Go's yaml.v2 (and so kubectl) reads.
_ONE_LETTER = re.compile(r"^(?:y|Y|n|N)$")
for _first in "yYnN":
    _Loader.yaml_implicit_resolvers.setdefault(_first, []).append(("tag:yaml.org,2002:bool", _ONE_LETTER))


def _construct_bool(loader: Any, node: Any) -> bool:
    return str(loader.construct_scalar(node)).lower() in ("y", "yes", "true", "on")


_Loader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)


def load(body: bytes) -> tuple[Any, list[str]]:
    """The first document as a JSON value, and what is said of duplicate keys. BadRequest when it is not YAML."""
    _check_depth(body)
    try:
        loader = _Loader(body)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as e:
        raise BadRequest(f"error converting YAML to JSON: {_one_line(e)}") from None
    loader.duplicates = []
    try:
        value = loader.get_data() if loader.check_data() else None
        _count(value, [_MAX_NODES])
        return value, loader.duplicates
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as e:
        raise BadRequest(f"error converting YAML to JSON: {_one_line(e)}") from None
    finally:
        loader.dispose()


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting before anything recurses: the C loader would overrun the stack of the process."""
    depth = 0
    try:
        for event in yaml.parse(body, Loader=_BASE):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    raise BadRequest("error converting YAML to JSON: yaml: exceeded max depth")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as e:
        raise BadRequest(f"error converting YAML to JSON: {_one_line(e)}") from None


def _count(value: Any, left: list[int]) -> None:
    """Refuse a document whose aliases expand beyond all reason (they are shared here, but not once encoded)."""
    left[0] -= 1
    if left[0] < 0:
        raise BadRequest("error converting YAML to JSON: yaml: document contains excessive aliasing")
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _count(inner, left)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
