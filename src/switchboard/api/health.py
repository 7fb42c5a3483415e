"""/healthz, /livez and /readyz: named checks, `?verbose` and `?exclude=`, one path per check.

Format as `apiserver/pkg/server/healthz/healthz.go` writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from switchboard.api import answers
from switchboard.transport.messages import Response

if TYPE_CHECKING:
    from switchboard.api.app import App

Check = Callable[["App"], bool]


def _stored(app: App) -> bool:
    return app.store.revision >= 0


_LIVE: dict[str, Check] = {"ping": lambda app: True, "log": lambda app: True, "etcd": _stored}
_READY: dict[str, Check] = _LIVE | {
    "poststarthook/rbac/bootstrap-roles": lambda app: app.ready,
    "poststarthook/scheduling/bootstrap-system-priority-classes": lambda app: app.ready,
    "poststarthook/start-service-ip-repair-controllers": lambda app: app.ready,
    "shutdown": lambda app: app.ready,
}


def names(app: App) -> list[str]:
    """The names of all checks."""
    return list(_READY)


def answer(app: App, path: str, *, verbose: bool, excluded: list[str]) -> Response:
    """The answer of a health path."""
    base, _, single = path.strip("/").partition("/")
    checks = _LIVE if base == "livez" else _READY
    if single:
        check = checks.get(single)
        if check is None:
            return answers.text("404 page not found\n", 404)
        return answers.text("ok") if check(app) else answers.text(f"internal server error: {single} failed\n", 500)
    lines, failed = [], []
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif check(app):
            lines.append(f"[+]{name} ok")
        else:
            failed.append(name)
            lines.append(f"[-]{name} failed: reason withheld")
    unknown = [
        f'warn: some health checks cannot be excluded: no matches for "{n}"' for n in excluded if n not in checks
    ]
    report = "\n".join([*lines, *unknown])
    if failed:
        return answers.text(f"{report}\n{base} check failed\n", 500)
    return answers.text(f"{report}\n{base} check passed\n" if verbose else "ok")
