"""Request bodies: JSON, YAML or protobuf -> an object of the kind the URL names, clean and with its type set.

Unknown and duplicate fields are refused, warned about or dropped as `fieldValidation` says (KEP-2885). Errors of the
decoder are 400; a type that is not the URL's is 400; a content type we cannot decode is 415.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from switchboard.api import typed
from switchboard.api.call import Call
from switchboard.objects import protobuf
from switchboard.objects.duplicates import duplicate_fields
from switchboard.objects.errors import BadRequest, FieldError, Invalid, RequestEntityTooLarge, UnsupportedMediaType
from switchboard.objects.kinds import Kind, split_api_version
from switchboard.objects.schema import clean_as

Object = dict[str, Any]

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_UNKNOWN = (
    "the body of the request was in an unknown format - accepted media types include: "
    "application/json, application/yaml, application/vnd.kubernetes.protobuf"
)
_DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_MAX_DEPTH = 1000
_QUOTED = 30  # characters of a body that a message shows beside the whole
_parse = msgspec.json.Decoder().decode


def media_of(content_type: str | None) -> str:
    """JSON, YAML or PROTOBUF from a Content-Type header (absent: JSON); 415 for anything else."""
    if not content_type or content_type == JSON:
        return JSON
    media = content_type.partition(";")[0].strip().lower()
    if media in (JSON, "*/*"):
        return JSON
    if media in (YAML, "application/x-yaml", "text/yaml"):
        return YAML
    if media == PROTOBUF:
        return PROTOBUF
    raise UnsupportedMediaType(_UNKNOWN)


def parse_json(body: bytes) -> Any:
    """JSON, with the words Go's decoder has for the commonest failures."""
    try:
        return _parse(body)
    except msgspec.DecodeError as e:
        raise BadRequest(f"couldn't get version/kind; json parse error: {e}") from None
    except RecursionError:
        raise BadRequest("json parse error: exceeded max depth") from None


def parse_yaml(body: bytes) -> tuple[Any, list[str]]:
    """YAML 1.1 as sigs.k8s.io/yaml reads it (keys become strings); with what its parser says of duplicate keys.

    Most of what is sent as YAML is JSON (server-side apply of clients): that is tried first.
    """
    if body.lstrip()[:1] == b"{":
        try:
            found = _parse(body)
            if not duplicate_fields(body, found):
                return found, []
        except (msgspec.DecodeError, RecursionError):
            pass  # YAML in flow style, then
    from switchboard.api.yamlbody import load

    return load(body)


def yaml_error(doubles: list[str]) -> str:
    """What yaml.v2 says of duplicate keys, in one."""
    return "yaml: unmarshal errors:\n  " + "\n  ".join(doubles)


def too_large(call: Call) -> None:
    """413 for bodies over the limit (the transport has its own, larger one)."""
    if len(call.request.body) > call.app.settings.max_body:
        limit = call.app.settings.max_body
        raise RequestEntityTooLarge(f"Request entity too large: limit is {limit}")


def decode(call: Call, kind: Kind, definition: str | None = None, type_of: tuple[str, str] | None = None) -> Object:
    """The request's body as an object of `kind`.

    `definition` and `type_of` (api version, kind) are given for bodies of another type than the resource itself
    (a subresource's Eviction, Scale, Binding ...).
    """
    too_large(call)
    body = call.request.body
    media = media_of(call.request.headers.get("content-type"))
    api_version, name = type_of or (kind.api_version, kind.kind)
    duplicates: list[str] = []
    doubles: list[str] = []
    if media == PROTOBUF:
        api, kind_name, obj = protobuf.decode_unknown(body)
        obj["apiVersion"], obj["kind"] = api, kind_name
    else:
        found: Any
        if media == YAML:
            found, doubles = parse_yaml(body)
        elif not body.strip():
            text = "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
            raise BadRequest(f"the object provided is unrecognized (must be of type {name}): {text}")
        else:
            found = parse_json(body)
        if found is not None and not isinstance(found, dict):
            go_type = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; ... }'
            why = f"json: cannot unmarshal {_word(found)} into Go value of type {go_type}"
            raise BadRequest(f"couldn't get version/kind; json parse error: {why}")
        obj = found or {}
        if media == JSON:
            duplicates = duplicate_fields(body, obj)
            if duplicates:
                obj = merged_duplicates(body)
    if kind.custom and type_of is None:
        _check_custom(call, kind, obj)
    check_type(obj, api_version, name)
    unknown = clean_as(definition, obj, name, kind.version) if definition else typed.clean(call.app, kind, obj)
    report(call, kind, unknown, duplicates, name, doubles)
    return obj


def _check_custom(call: Call, kind: Kind, obj: Object) -> None:
    """Custom objects must say what they are; another kind is an invalid value rather than a wrong type."""
    given = obj.get("kind")
    if not given:
        text = call.request.body.decode(errors="replace")
        short = text if len(text) <= _QUOTED else f"{text[:_QUOTED]} ..."
        why = f"Object 'Kind' is missing in '{text}' ({short})"
        raise BadRequest(f"the object provided is unrecognized (must be of type {kind.kind}): {why}")
    if given != kind.kind and isinstance(given, str) and obj.get("apiVersion") in (None, kind.api_version):
        error = FieldError("FieldValueInvalid", "kind", f'Invalid value: "{given}": must be {kind.kind}')
        meta = obj.get("metadata")
        name = meta.get("name") if isinstance(meta, dict) else ""
        raise Invalid.of(given, kind.group, str(name or ""), [error])


def merged_duplicates(body: bytes) -> Object:
    """A JSON object whose repeated keys are read as Go's decoder does: maps merge, anything else is replaced."""

    def pairs(found: list[tuple[str, Any]]) -> Object:
        out: Object = {}
        for key, value in found:
            before = out.get(key)
            out[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
        return out

    return cast("Object", json.loads(body, object_pairs_hook=pairs))


def _word(value: object) -> str:
    return {list: "array", str: "string", bool: "bool"}.get(type(value), "number")


def check_type(obj: Object, api_version: str, kind: str) -> None:
    """kind and apiVersion must be the URL's where given; filled in where not. They come first in the object."""
    given_kind, given_version = obj.pop("kind", None), obj.pop("apiVersion", None)
    if (given_kind and not isinstance(given_kind, str)) or (given_version and not isinstance(given_version, str)):
        raise BadRequest("couldn't get version/kind; json parse error: json: cannot unmarshal into Go string")
    if (given_kind and given_kind != kind) or (given_version and given_version != api_version):
        given_version = given_version or api_version
        try:
            group, version = split_api_version(given_version)
        except ValueError as e:
            raise BadRequest(str(e)) from None
        if not given_kind or given_kind == kind:
            why = (
                f"the API version in the data ({given_version}) does not match the expected API version ({api_version})"
            )
        else:
            known = f'no kind "{given_kind}" is registered for this resource (group "{group}")'
            why = f'{given_kind} in version "{version}" cannot be handled as a {kind}: {known}'
        raise BadRequest(why)
    rest = dict(obj)
    obj.clear()
    obj["kind"], obj["apiVersion"] = kind, api_version
    obj.update(rest)


def report(
    call: Call,
    kind: Kind,
    unknown: list[str],
    duplicates: list[str],
    name: str = "",
    doubles: list[str] | None = None,
    faults: Sequence[str] = (),
) -> None:
    """Unknown and duplicate fields, as `fieldValidation` wants them treated; `doubles` are those of YAML, `faults` the
    texts of what was found in a patch."""
    validation = call.options.field_validation or "Warn"
    if not (unknown or duplicates or doubles or faults) or validation == "Ignore":
        return
    from switchboard.objects.schema import strict_texts

    texts = [*faults, *strict_texts(unknown, duplicates)]
    if validation == "Strict":
        texts = [yaml_error(doubles), *texts] if doubles else texts
        label = name or kind.kind
        raise BadRequest(
            f'{label} in version "{kind.version}" cannot be handled as a {label}: strict decoding error: '
            + ", ".join(texts)
        )
    for text in [*(doubles or ()), *texts]:
        call.warn(text)


def delete_options(call: Call) -> Object:
    """DeleteOptions from the body, or from the query where there is no body; checked."""
    body = call.request.body
    if body and body.strip():
        options = _options_in_body(call, body)
    else:
        options = _options_in_query(call)
    return options


def _options_in_body(call: Call, body: bytes) -> Object:
    too_large(call)
    media = media_of(call.request.headers.get("content-type"))
    if media == PROTOBUF:
        _, kind, options = protobuf.decode_unknown(body)
        options.pop("apiVersion", None)
    else:
        found: Any = parse_yaml(body)[0] if media == YAML else parse_json(body)
        if not isinstance(found, dict):
            raise BadRequest("couldn't get version/kind; json parse error: json: cannot unmarshal into DeleteOptions")
        options = found
        kind = options.pop("kind", None) or "DeleteOptions"
        options.pop("apiVersion", None)
    if kind != "DeleteOptions":
        raise BadRequest(f"decoded object cannot be converted to DeleteOptions: {kind}")
    clean_as(_DELETE_OPTIONS, options, "DeleteOptions", "v1")
    return options


def _options_in_query(call: Call) -> Object:
    from switchboard.api import query

    params, options = call.params, cast("Object", {})
    if not params:
        return options
    grace = query.integer(params, "gracePeriodSeconds")
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if "propagationPolicy" in params:
        options["propagationPolicy"] = params["propagationPolicy"][0]
    if "orphanDependents" in params:
        options["orphanDependents"] = query.boolean(params, "orphanDependents")
    if "dryRun" in params:
        options["dryRun"] = list(params["dryRun"])
    return options
