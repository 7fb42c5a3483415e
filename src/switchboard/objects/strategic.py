"""Strategic merge patch: a merge patch that knows which lists are keyed, from the type table.

Lists with `x-kubernetes-patch-strategy: merge` are merged by their merge key (or as sets of scalars); all others are
replaced. Directives: `$patch: replace | delete`, `$deleteFromPrimitiveList/<list>`, `$setElementOrder/<list>`,
`$retainKeys`. Source: apimachinery/pkg/util/strategicpatch, and the order rules of its design page: items that the
patch names come in the order of the patch, items only the server has keep their order, and where nothing decides the
patch's come first.
"""

from __future__ import annotations

from typing import Any

from switchboard.objects.errors import BadRequest, Invalid, StatusError
from switchboard.objects.gotext import go_string, go_text, go_type
from switchboard.objects.types import definitions

PATCH = "$patch"
RETAIN = "$retainKeys"
DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
ORDER = "$setElementOrder/"

Schema = dict[str, Any]
_NO_SCHEMA: Schema = {}


def _failure(message: str) -> StatusError:
    """Upstream has no status for these: a plain error, so code 500 without a reason."""
    return StatusError(message, code=500, reason="")


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _failure(f"expected a []interface {{}}, but received a {go_type(value)}")


def strategic_merge(doc: dict[str, Any], patch: Any, definition: str | None) -> dict[str, Any]:
    """The patched object. `definition` is the type's name in the type table; without one, lists are replaced.

    Raises BadRequest for malformed directives, a 500 for lists that cannot be merged (as upstream answers them)."""
    if not isinstance(patch, dict):
        raise BadRequest("the strategic merge patch is not a JSON object")
    schema = definitions().get(definition, _NO_SCHEMA) if definition else _NO_SCHEMA
    return _merge_map(doc, patch, schema)


def _resolve(schema: Schema) -> Schema:
    ref = schema.get("$ref")
    return definitions().get(ref, _NO_SCHEMA) if ref else schema


def _field(schema: Schema, key: str) -> tuple[Schema, str, str]:
    """A field's own schema, its strategy without retainKeys (`merge`, `replace` or empty), and its merge key."""
    properties = schema.get("properties")
    found = properties.get(key) if properties else None
    if found is None:
        more = schema.get("additionalProperties")
        found = more if isinstance(more, dict) else _NO_SCHEMA
    strategies = found.get("x-kubernetes-patch-strategy", "").split(",")
    strategy = next((s for s in strategies if s in ("merge", "replace")), "")
    return _resolve(found), strategy, found.get("x-kubernetes-patch-merge-key", "")


def _merge_map(original: Any, patch: dict[str, Any], schema: Schema) -> dict[str, Any]:
    if PATCH in patch:
        directive = patch[PATCH]
        if directive == "replace":
            return {key: value for key, value in patch.items() if key != PATCH}
        if directive == "delete":
            return {}
        raise _failure(f"unknown patch type: {go_string(directive)} in map: {go_text(patch)}")
    out = dict(original) if isinstance(original, dict) else {}
    patch = _retain_keys(out, patch)
    ordered = _merge_ordered(out, patch, schema)
    for key, value in patch.items():
        if key in ordered or key.startswith(ORDER):
            continue
        if key.startswith(DELETE_PRIMITIVES):
            _delete_primitives(out, key.removeprefix(DELETE_PRIMITIVES), value, schema)
        elif value is None:
            out.pop(key, None)
        else:
            merged = _merge_value(out.get(key), value, schema, key)
            if merged is _NOTHING:
                out.pop(key, None)
            else:
                out[key] = merged
    return out


def _merge_value(before: Any, value: Any, schema: Schema, key: str) -> Any:
    if isinstance(value, dict) and isinstance(before, dict):
        inner, strategy, _ = _field(schema, key)
        return value if strategy == "replace" else _merge_map(before, value, inner)
    if isinstance(value, list) and isinstance(before, list):
        return _merge_list(before, value, *_field(schema, key))
    return _clean(value)


def _retain_keys(out: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Drops from `out` what `$retainKeys` does not name; the patch without the directive."""
    if RETAIN not in patch:
        return patch
    kept = patch[RETAIN]
    patch = {key: value for key, value in patch.items() if key != RETAIN}
    directives = (DELETE_PRIMITIVES, ORDER)
    if not isinstance(kept, list) or not all(
        value is None or key in kept or key.startswith(directives) for key, value in patch.items()
    ):
        raise BadRequest("invalid patch format of retainKeys")
    for key in [key for key in out if key not in kept]:
        del out[key]
    return patch


def _delete_primitives(out: dict[str, Any], key: str, gone: Any, schema: Schema) -> None:
    """A list without these; of anything else than two lists, what a merge makes where both are of one type."""
    if gone is None:
        out.pop(key, None)
        return
    before = out.get(key)
    if before is None or go_type(before) != go_type(gone):
        return
    if not isinstance(before, list):
        out[key] = _merge_value(before, gone, schema, key)
        return
    kind = _element_type(before, gone) if before or gone else ""
    if kind.startswith("map"):
        inner, _, merge_key = _field(schema, key)
        out[key] = _merge_list(before, gone, inner, "merge", merge_key)
    else:
        out[key] = [item for item in before if item not in gone]


def _merge_ordered(out: dict[str, Any], patch: dict[str, Any], schema: Schema) -> set[str]:
    """Lists that come with a `$setElementOrder`; the names of those merged here."""
    done = set()
    for directive, order in patch.items():
        if not directive.startswith(ORDER):
            continue
        key = directive.removeprefix(ORDER)
        order = _listed(order)
        before = _listed(out[key]) if key in out else None
        given = _listed(patch[key]) if key in patch else None
        inner, strategy, merge_key = _field(schema, key)
        if given is not None:
            _check_order(given, order, merge_key)
        if before is None and given is None:
            continue
        if before is None:
            merged = _without_directives(given)
        elif given is None:
            merged = before
        else:
            merged = _merge_list(before, given, inner, strategy, merge_key)
        if not before and not given:
            raise _failure("no elements in any of the given slices")
        server = _in_place(before, given, merge_key) if before and given and merge_key else before or []
        out[key] = _in_order(merged, order, server, merge_key)
        done.add(key)
    return done


def _in_place(before: list[Any], given: list[Any], merge_key: str) -> list[Any]:
    """The server's list as upstream sees it once it has merged into it: what is deleted makes room, and what is new
    takes that room, so that it has a place among the items that only the server has."""
    if any(item.get(PATCH) == "replace" for item in given):
        return before
    gone = {_identity(item, merge_key) for item in given if item.get(PATCH) == "delete"}
    left = [item for item in before if _identity(item, merge_key) not in gone]
    known = {_identity(item, merge_key) for item in left}
    new = [item for item in given if PATCH not in item and _identity(item, merge_key) not in known]
    return (left + new + before[len(left) + len(new) :])[: len(before)]


def _check_order(given: list[Any], order: list[Any], merge_key: str) -> None:
    """What the patch adds or changes must stand in the order list, in the same order."""
    wanted = [_identity(item, merge_key) for item in given if not (isinstance(item, dict) and PATCH in item)]
    stands = iter([_identity(item, merge_key) for item in order])
    if not all(any(have == want for have in stands) for want in wanted):
        raise _failure(
            f"The order in patch list:\n{go_text(given)}\n doesn't match $setElementOrder list:\n{go_text(order)}\n"
        )


def _identity(item: Any, merge_key: str) -> Any:
    """What makes two list items the same: the merge key's value, or the scalar itself."""
    if merge_key:
        if not isinstance(item, dict) or merge_key not in item:
            raise _failure(f"map: {go_text(item)} does not contain declared merge key: {merge_key}")
        item = item[merge_key]
    if isinstance(item, dict | list):
        raise _failure(f"list elements are of different types: {item} is no scalar")
    return item


def _merge_list(before: list[Any], given: list[Any], schema: Schema, strategy: str, merge_key: str) -> list[Any]:
    if strategy != "merge":
        return list(given)
    if not before and not given:
        return before
    if not _element_type(before, given).startswith("map"):
        merged = list(dict.fromkeys(before + given))
        return _in_order(merged, given, before, "")
    if not merge_key:
        raise _failure("cannot merge lists without merge key")
    return _merge_maps(before, given, _resolve(schema.get("items", _NO_SCHEMA)), merge_key)


def _element_type(before: list[Any], given: list[Any]) -> str:
    """The one Go type that the items of both lists have."""
    types = [go_type(item) for item in before + given]
    if types and types[0].startswith("["):
        raise Invalid("the server rejected our request due to an error in our request", details={})
    if len(set(types)) > 1:
        raise _failure(f"list element types are not identical: {go_text([before, given])}")
    return types[0] if types else ""


def _merge_maps(before: list[Any], given: list[Any], schema: Schema, merge_key: str) -> list[Any]:
    plain, replace = [], False
    kept = list(before)  # several may have one key, as ports of a Service that differ in their protocols
    for item in given:
        directive = item.get(PATCH)
        if PATCH not in item:
            plain.append(item)
        elif directive == "delete":
            gone = _identity(item, merge_key)
            kept = [one for one in kept if _identity(one, merge_key) != gone]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _failure("merging lists cannot yet be specified in the patch")
        else:
            raise _failure(f"unknown patch type: {go_string(directive)} in map: {go_text(item)}")
    if replace:
        return plain
    original = list(kept)
    first = {_identity(item, merge_key): i for i, item in reversed(list(enumerate(kept)))}
    for item in plain:
        key = _identity(item, merge_key)
        if key in first:
            kept[first[key]] = _merge_map(kept[first[key]], item, schema)
        else:  # A new item is taken as it is, directives and all: they are unknown fields of what it is made into.
            first[key] = len(kept)
            kept.append(item)
    return _in_order(kept, plain, original, merge_key)


def _in_order(items: list[Any], order: list[Any], server: list[Any], merge_key: str) -> list[Any]:
    """Items named in `order` in that order, merged with the others in the server's order."""
    place = {_identity(item, merge_key): n for n, item in reversed(list(enumerate(order)))}
    server_place = {_identity(item, merge_key): n for n, item in reversed(list(enumerate(server)))}
    keyed = [(_identity(item, merge_key), item) for item in items]
    patched = sorted((pair for pair in keyed if pair[0] in place), key=lambda pair: place[pair[0]])
    others = sorted(
        (pair for pair in keyed if pair[0] not in place), key=lambda pair: server_place.get(pair[0], len(server))
    )
    out, left, right = [], 0, 0
    while left < len(others) and right < len(patched):
        theirs, ours = server_place.get(others[left][0]), server_place.get(patched[right][0])
        if theirs is not None and ours is not None and theirs < ours:
            out.append(others[left][1])
            left += 1
        else:
            out.append(patched[right][1])
            right += 1
    return out + [item for _, item in others[left:]] + [item for _, item in patched[right:]]


_NOTHING: Any = object()


def _without_directives(value: Any) -> Any:
    """A patch's value where the object has none: nulls and directives are dropped."""
    cleaned = _clean(value)
    return {} if cleaned is _NOTHING else cleaned


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(PATCH) is not None:
            return _NOTHING  # whatever it says: as upstream, there is nothing here that it could be done to
        directives = (RETAIN, ORDER, DELETE_PRIMITIVES)
        kept = {key: _clean(item) for key, item in value.items() if item is not None and not key.startswith(directives)}
        return {key: item for key, item in kept.items() if item is not _NOTHING}
    if isinstance(value, list):
        return [item for item in map(_clean, value) if item is not _NOTHING]
    return value
