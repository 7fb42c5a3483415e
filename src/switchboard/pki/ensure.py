"""Keeps a folder of keys and certificates complete and fresh, without importing `cryptography` when there is nothing
to do.

A stamp file beside the certificates says for which plan they were made and until when they serve; reading it and a
`stat` per file is the whole check. Certificates are made again when the plan changed (another address, say) or the
end is near; the authority and the service-account key stay, because every client trusts the one and every token was
signed with the other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from .plan import Plan

STAMP = "stamp.json"


class PkiError(Exception):
    """The folder of certificates cannot be read or written; says which file and why."""


def file_names(plan: Plan) -> Iterable[str]:
    """Every file a complete folder holds, stamp aside."""
    yield from ("sa.key", "sa.pub")
    for authority in plan.authorities:
        yield f"{authority}.crt"
        yield f"{authority}.key"
    for leaf in plan.leaves:
        yield f"{leaf.file}.crt"
        yield f"{leaf.file}.key"


def is_fresh(folder: Path, plan: Plan, now: float) -> bool:
    """True when every file exists, was made for this very plan, and serves for a while yet."""
    try:
        stamp = json.loads((folder / STAMP).read_bytes())
        present = set(os.listdir(folder))
    except (OSError, ValueError):
        return False
    if not isinstance(stamp, dict) or stamp.get("plan") != plan.fingerprint:
        return False
    return float(stamp.get("renew_after", 0)) > now and present.issuperset(file_names(plan))


def ensure(folder: Path, plan: Plan, *, now: float | None = None) -> bool:
    """Make what is missing or stale in `folder`; True when anything was made. Raises PkiError."""
    moment = time.time() if now is None else now
    if is_fresh(folder, plan, moment):
        return False
    from .make import make_all  # here, because it costs 80 ms to import and later starts must not pay for it

    try:
        make_all(folder, plan, moment)
    except (OSError, ValueError) as error:
        raise PkiError(f"could not make the cluster's certificates in {folder}: {error}") from error
    return True
