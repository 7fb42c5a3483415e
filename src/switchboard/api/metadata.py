"""The metadata that belongs to the server: uid, timestamps, generated names, generation, and what updates may not
touch.

Sources: `apiserver/pkg/registry/rest/create.go`, `update.go`, `meta.go`; names:
`apiserver/pkg/storage/names/generate.go`.
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
from typing import Any

from switchboard.objects.errors import BadRequest, StatusError

Object = dict[str, Any]

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and no look-alikes, as upstream's rand.String
_MAX_GENERATED_PREFIX = 63 - 5
_random = random.SystemRandom()


_last: tuple[int, str] = (0, "")  # the second that was last asked for, and its text


def now() -> str:
    """The time as RFC 3339 with whole seconds, as meta/v1 Time is written."""
    global _last
    second = int(time.time())
    if second != _last[0]:
        _last = second, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    return _last[1]


def new_uid() -> str:
    """A random UUID (RFC 9562 version 4) as text."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def timestamp(moment: datetime) -> str:
    """A time in meta/v1 form."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """A meta/v1 Time (or MicroTime) back to a datetime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def suffix() -> str:
    """Five random characters, as generateName appends them."""
    return "".join(_random.choices(_ALPHABET, k=5))


def generate_name(meta: Object, kept: dict[str, Any]) -> None:
    """Make `name` from `generateName` where the client left it out.

    `kept` lives as long as the request: one that is tried again, because a conversion webhook had to be asked about
    the object, finds its name there.
    """
    base = meta.get("generateName")
    if base and not meta.get("name"):
        meta["name"] = kept.setdefault("generated-name", base[:_MAX_GENERATED_PREFIX] + suffix())


def of(obj: Object) -> Object:
    """The object's metadata, made when absent."""
    meta = obj.get("metadata")
    if meta is None:
        meta = obj["metadata"] = {}
    found: Object = meta
    return found


def check_namespace(obj: Object, namespace: str, namespaced: bool) -> None:
    """The namespace of body and URL must agree; an absent one is filled in, a cluster-scoped object has none."""
    meta = of(obj)
    own = meta.get("namespace") or ""
    if namespaced:
        if own and own != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = namespace
    elif own:
        # A cluster-scoped object must not carry one; upstream refuses it in the same words.
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    else:
        meta.pop("namespace", None)


def check_name(obj: Object, name: str) -> None:
    """Name rules of PUT: present, and the same as in the URL."""
    own = of(obj).get("name")
    if not own:
        raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if own != name:
        raise BadRequest(f"the name of the object ({own}) does not match the name on the URL ({name})")


def prepare_create(obj: Object, kept: dict[str, Any]) -> None:
    """System fields of a new object. A client's uid, creationTimestamp and deletion marks are replaced or dropped."""
    meta = of(obj)
    if meta.get("resourceVersion") not in (None, ""):
        raise StatusError("resourceVersion should not be set on objects to be created", code=500, reason="")
    meta.pop("resourceVersion", None)
    meta.pop("deletionTimestamp", None)
    meta.pop("deletionGracePeriodSeconds", None)
    meta.pop("selfLink", None)
    meta["uid"] = new_uid()
    meta["creationTimestamp"] = now()
    generate_name(meta, kept)


def prepare_update(obj: Object, old: Object) -> None:
    """Put back what an update cannot change: uid when left out, creationTimestamp, deletion marks."""
    meta, before = of(obj), old["metadata"]
    meta.setdefault("uid", before.get("uid"))
    if not meta["uid"]:
        meta["uid"] = before.get("uid")
    for name in ("creationTimestamp", "deletionTimestamp"):
        if name in before:
            meta[name] = before[name]
        elif meta.get(name) is None:
            meta.pop(name, None)
    if "deletionGracePeriodSeconds" in before:
        if meta.get("deletionGracePeriodSeconds") is None:
            meta["deletionGracePeriodSeconds"] = before["deletionGracePeriodSeconds"]
    elif meta.get("deletionGracePeriodSeconds") is None:
        meta.pop("deletionGracePeriodSeconds", None)
    meta.pop("selfLink", None)


def keep_generation(obj: Object, old: Object) -> None:
    """Clients do not set the generation: start from the stored one."""
    generation = old["metadata"].get("generation")
    if generation is None:
        of(obj).pop("generation", None)
    else:
        of(obj)["generation"] = generation


def dedupe_owners(obj: Object) -> bool:
    """Drop repeated ownerReferences (same uid); true when there were any."""
    owners = of(obj).get("ownerReferences")
    if not isinstance(owners, list) or len(owners) < 2:
        return False
    seen: dict[Any, Object] = {}
    for owner in owners:
        seen.setdefault(owner.get("uid"), owner)
    if len(seen) == len(owners):
        return False
    obj["metadata"]["ownerReferences"] = list(seen.values())
    return True


def same_but_version(new: Object, old: Object) -> bool:
    """Whether an update changes nothing (managedFields times do not count: they change only with other fields)."""
    fresh, stored = dict(new["metadata"]), dict(old["metadata"])
    fresh.pop("resourceVersion", None)
    stored.pop("resourceVersion", None)
    if fresh != stored:
        return False
    return {k: v for k, v in new.items() if k != "metadata"} == {k: v for k, v in old.items() if k != "metadata"}
