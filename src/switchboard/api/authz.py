"""Authorisation: what is asked (`Attributes`), the list of authorizers, and the words of a refusal.

Upstream: `apiserver/pkg/authorization/authorizer/interfaces.go`; messages from
`apiserver/pkg/endpoints/handlers/responsewriters/errors.go`.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

from switchboard.api.identity import MASTERS, Identity
from switchboard.objects.errors import Forbidden


class Attributes(NamedTuple):
    """One question: may `identity` do `verb` to this resource, or (when `path` is set) to this URL path."""

    identity: Identity
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""
    label_selector: str = ""


class Decision(enum.Enum):
    """An authorizer allows, forbids for good, or has no opinion and the next is asked."""

    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


class Authorizer(Protocol):
    """Decides from what is in memory: never waits."""

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """The decision and, where there is one, its reason."""
        ...


class Masters:
    """Members of system:masters may do everything."""

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """Allow the privileged group; no opinion on others."""
        return (Decision.ALLOW if MASTERS in attributes.identity.groups else Decision.NO_OPINION), ""


class Union:
    """Authorizers asked in order until one decides; the whole is itself an Authorizer."""

    def __init__(self, authorizers: list[Authorizer]) -> None:
        self.authorizers = authorizers

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """The first decision; the reasons of those without opinion are joined."""
        reasons = []
        for authorizer in self.authorizers:
            decision, reason = authorizer.authorize(attributes)
            if decision is not Decision.NO_OPINION:
                return decision, reason
            if reason:
                reasons.append(reason)
        return Decision.NO_OPINION, "\n".join(reasons)


def refusal(a: Attributes, reason: str) -> Forbidden:
    """403 with upstream's words."""
    user = a.identity.user
    if a.path:
        text = f'forbidden: User "{user}" cannot {a.verb} path "{a.path}"'
        return Forbidden(f"{text}: {reason}" if reason else text, details={})
    resource = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    where = f'in the namespace "{a.namespace}"' if a.namespace else "at the cluster scope"
    what = f'User "{user}" cannot {a.verb} resource "{resource}" in API group "{a.group}" {where}'
    if reason:
        what += f": {reason}"
    return forbidden(a.resource, a.group, a.name, what)


def forbidden(resource: str, group: str, name: str, why: str) -> Forbidden:
    """`pods "x" is forbidden: <why>` with its details."""
    qualified = f"{resource}.{group}" if group else resource
    details = {k: v for k, v in (("name", name), ("group", group), ("kind", resource)) if v}
    subject = f'{qualified} "{name}"' if name else qualified
    return Forbidden(f"{subject} is forbidden: {why}", details=details)
