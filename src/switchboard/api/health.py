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


# What `App.start` has done when it says that it is ready, by the names that upstream's hooks have. Two have had other
# names in older releases, whose suites ask for those.
_HOOKS = (
    "start-apiserver-admission-initializer",
    "start-kube-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    "crd-informer-synced",
    "bootstrap-controller",
    "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-aggregator-informers",
    "apiservice-status-available-controller",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-discovery-controller",
    "kube-apiserver-autoregistration",
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
)


def _started(app: App) -> bool:
    return app.ready


_HEALTH: dict[str, Check] = {"ping": lambda app: True, "log": lambda app: True, "etcd": _stored}
_HEALTH |= {f"poststarthook/{name}": _started for name in _HOOKS} | {"autoregister-completion": _started}
# A server is alive while it starts: only what would be mended by another start counts.
_LIVE = {name: check if check is not _started else lambda app: True for name, check in _HEALTH.items()}
_READY = _HEALTH | {"etcd-readiness": _stored, "informer-sync": _started, "shutdown": _started}
_CHECKS = {"livez": _LIVE, "healthz": _HEALTH, "readyz": _READY}


def names(app: App) -> list[str]:
    """The names of all checks."""
    return list(_READY)


def _run(app: App, base: str, name: str, check: Check) -> bool:
    """A check's result, which `/metrics/slis` tells as well."""
    passed = check(app)
    app.metrics.checks.count(name, base, passed)
    return passed


def answer(app: App, path: str, *, verbose: bool, excluded: list[str]) -> Response:
    """The answer of a health path."""
    base, _, single = path.strip("/").partition("/")
    checks = _CHECKS.get(base, _READY)
    if single:
        check = checks.get(single)
        if check is None:
            return answers.text("404 page not found\n", 404)
        passed = _run(app, base, single, check)
        return answers.text("ok") if passed else answers.text(f"internal server error: {single} failed\n", 500)
    lines, failed = [], []
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif _run(app, base, name, check):
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
