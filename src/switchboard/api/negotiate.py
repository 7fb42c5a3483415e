"""Accept headers: which encoding (JSON, YAML, protobuf), which form (object, Table, PartialObjectMetadata).

Rules from `apiserver/pkg/endpoints/handlers/negotiation/negotiate.go`: clauses in order of preference, `as=` forms only
where the endpoint knows them. JSON is what is stored, so a client that takes it gets it, whatever else it prefers;
protobuf is for those that list neither JSON nor YAML.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from switchboard.objects.errors import NotAcceptable

OBJECT, TABLE, PARTIAL, PARTIAL_LIST = "", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_FORMS = {TABLE: ("v1", "v1beta1"), PARTIAL: ("v1", "v1beta1"), PARTIAL_LIST: ("v1", "v1beta1")}


class Accepted(NamedTuple):
    """What the answer is to be: media type, form, version of `meta.k8s.io` for the form, and whether `pretty` was
    asked."""

    media: str = JSON
    form: str = OBJECT
    version: str = "v1"
    pretty: bool = False


PLAIN = Accepted()

_MEDIA = f"{JSON}, {YAML}, {PROTOBUF}"
_UNSUPPORTED = (
    f"406: Not Acceptable\n\nAvailable representations: {_MEDIA}, "
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
)
_UNSUPPORTED_FORM = f"only the following media types are accepted: {_MEDIA}"


def refuse_protobuf() -> NotAcceptable:
    """The error for protobuf of a kind that has no message: custom kinds, and those of other servers."""
    return NotAcceptable(f"only the following media types are accepted: {JSON}, {YAML}", details={})


def accept(header: str | None, *, tables: bool = True) -> Accepted:
    """The best clause of an Accept header; NotAcceptable when none can be served. `tables` says whether there are."""
    if not header or header in ("application/json", "*/*"):
        return PLAIN
    found = _accept(header, tables)
    if found is None:
        if "as=" in header:
            raise NotAcceptable(_UNSUPPORTED_FORM)
        raise NotAcceptable(_UNSUPPORTED, details={})
    return found


@lru_cache(maxsize=512)
def _accept(header: str, tables: bool) -> Accepted | None:
    clauses = []
    for position, clause in enumerate(header.split(",")):
        media, *raw = (piece.strip() for piece in clause.split(";"))
        params = dict(piece.split("=", 1) for piece in raw if "=" in piece)
        try:
            quality = float(params.get("q", "1"))
        except ValueError:
            quality = 1.0
        clauses.append((-quality, position, media.lower(), params))
    protobuf = None
    for quality, _, media, params in sorted(clauses, key=lambda c: (c[0], c[1])):
        found = _clause(media, params) if quality < 0 and (tables or params.get("as") != TABLE) else None
        if found is not None and found.media != PROTOBUF:
            return found
        protobuf = protobuf or found
    return protobuf


def _clause(media: str, params: dict[str, str]) -> Accepted | None:
    if media in ("*/*", "application/*", JSON):
        encoding = JSON
    elif media in (YAML, "application/x-yaml", "text/yaml"):
        encoding = YAML
    elif media == PROTOBUF and params.get("as") != TABLE:  # a Table has no such message
        encoding = PROTOBUF
    else:
        return None
    pretty = params.get("pretty") in ("1", "true")
    form = params.get("as", "")
    if not form:
        return Accepted(encoding, pretty=pretty)
    version = params.get("v", "")
    if form not in _FORMS or params.get("g") != "meta.k8s.io" or version not in _FORMS[form]:
        return None
    return Accepted(encoding, form, version, pretty)
