"""Query parameters: parsed once per distinct query string, and read into the option objects of meta/v1.

Validation and words follow `apimachinery/pkg/apis/meta/v1/validation/validation.go` and
`apimachinery/pkg/apis/meta/internalversion/validation/validation.go`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from switchboard.objects.errors import BadRequest, FieldError, Invalid

Params = dict[str, list[str]]
_EMPTY: Params = {}
_KEPT = 2048
_parsed: dict[str, Params] = {}


def parse(query: str) -> Params:
    """Name -> values in order; never to be changed by the caller (it is shared)."""
    if not query:
        return _EMPTY
    found = _parsed.get(query)
    if found is None:
        found = {}
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
        except ValueError as e:
            raise BadRequest(f"invalid query: {e}") from None
        for name, value in pairs:
            found.setdefault(name, []).append(value)
        if len(_parsed) >= _KEPT:
            _parsed.clear()
        if len(query) < 512:
            _parsed[query] = found
    return found


def first(params: Params, name: str) -> str:
    """The first value of a parameter, "" when absent."""
    values = params.get(name)
    return values[0] if values else ""


def boolean(params: Params, name: str) -> bool:
    """A boolean as upstream's `Convert_Slice_string_To_bool`: present and neither "0" nor "false" (any case)."""
    values = params.get(name)
    return bool(values) and values is not None and values[0].lower() not in ("false", "0")


def integer(params: Params, name: str) -> int | None:
    """An int64 parameter, None when absent or empty; 400 when it is not a number."""
    text = first(params, name)
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if not -(2**63) <= value < 2**63:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def quoted(values: list[str]) -> str:
    """Values as upstream prints a []string inside a field error: `["a","b"]`."""
    return "[" + ",".join(f'"{v}"' for v in values) + "]"


def dry_run_errors(values: list[str]) -> list[FieldError]:
    """The `dryRun` rule of Create/Update/Patch/DeleteOptions."""
    if all(v == "All" for v in values):
        return []
    message = f'Unsupported value: {quoted(values)}: supported values: "All"'
    return [FieldError("FieldValueNotSupported", "dryRun", message)]


@dataclass(slots=True)
class WriteOptions:
    """CreateOptions, UpdateOptions and PatchOptions in one."""

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = ""
    force: bool | None = None


_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_NO_OPTIONS = WriteOptions()


def write_options(params: Params, kind: str) -> WriteOptions:
    """Read and check the options of a write; `kind` is CreateOptions, UpdateOptions or PatchOptions."""
    if not params:
        return _NO_OPTIONS
    dry = params.get("dryRun", [])
    manager = first(params, "fieldManager")
    validation = first(params, "fieldValidation")
    errors = field_manager_errors(manager)
    errors += dry_run_errors(dry)
    if validation not in _VALIDATIONS:
        text = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        errors.append(FieldError("FieldValueNotSupported", "fieldValidation", text))
    if errors:
        raise Invalid.of(kind, "meta.k8s.io", "", errors)
    force = boolean(params, "force") if "force" in params else None
    return WriteOptions(bool(dry), manager, validation, force)


def field_manager_errors(manager: str) -> list[FieldError]:
    """At most 128 bytes, printable characters only."""
    errors = []
    if len(manager.encode()) > 128:
        errors.append(FieldError("FieldValueTooLong", "fieldManager", "Too long: may not be more than 128 bytes"))
    for position, char in enumerate(manager):
        if not char.isprintable():
            text = f'Invalid value: "{manager}": invalid character {char!r} (at position {position})'
            errors.append(FieldError("FieldValueInvalid", "fieldManager", text))
    return errors


@dataclass(slots=True)
class ListOptions:
    """ListOptions as far as both lists and watches use them; selectors are still text."""

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    token: str = ""
    timeout: int | None = None
    bookmarks: bool = False
    send_initial_events: bool | None = None
    watch: bool = False


_NO_LIST_OPTIONS = ListOptions()


def list_options(params: Params, *, watch: bool = False) -> ListOptions:
    """Read and check ListOptions."""
    if not params and not watch:
        return _NO_LIST_OPTIONS
    options = ListOptions(
        label_selector=first(params, "labelSelector"),
        field_selector=first(params, "fieldSelector"),
        resource_version=first(params, "resourceVersion"),
        resource_version_match=first(params, "resourceVersionMatch"),
        limit=max(integer(params, "limit") or 0, 0),
        token=first(params, "continue"),
        timeout=integer(params, "timeoutSeconds"),
        bookmarks=boolean(params, "allowWatchBookmarks"),
        send_initial_events=boolean(params, "sendInitialEvents") if "sendInitialEvents" in params else None,
        watch=watch,
    )
    errors = _watch_errors(options) if watch else _list_errors(options)
    if errors:
        raise Invalid.of("ListOptions", "meta.k8s.io", "", errors)
    return options


def _forbidden(field: str, text: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {text}")


def _list_errors(options: ListOptions) -> list[FieldError]:
    errors: list[FieldError] = []
    match, version = options.resource_version_match, options.resource_version
    if match:
        if not version:
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            errors.append(_forbidden("resourceVersionMatch", text))
        if options.token:
            errors.append(
                _forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            )
        if match not in ("Exact", "NotOlderThan"):
            text = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
            errors.append(FieldError("FieldValueNotSupported", "resourceVersionMatch", text))
        if match == "Exact" and version == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            errors.append(_forbidden("resourceVersionMatch", text))
    if options.send_initial_events is not None:
        errors.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _watch_errors(options: ListOptions) -> list[FieldError]:
    errors: list[FieldError] = []
    match = options.resource_version_match
    if options.send_initial_events is not None:
        if match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            errors.append(_forbidden("resourceVersionMatch", text))
    elif match:
        errors.append(
            _forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        )
    if match and match != "NotOlderThan":
        text = f'Unsupported value: "{match}": supported values: "NotOlderThan"'
        errors.append(FieldError("FieldValueNotSupported", "resourceVersionMatch", text))
    if match and options.token:
        errors.append(_forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
    return errors
