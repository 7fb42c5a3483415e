"""Impersonation: who a caller wants to be, and the modes that may allow it.

Upstream (`apiserver/pkg/endpoints/filters/impersonation`, KEP-5284) tries the constrained modes first. Each asks for
two rights: `impersonate-on:<mode>:<verb>` on the very request, and `impersonate:<mode>` on the wanted user. The last
mode is the one of old: `impersonate`, good for every request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import unquote

from switchboard.api.authz import Attributes, Authorizer, Decision, refusal
from switchboard.api.identity import ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED, Identity
from switchboard.objects import names
from switchboard.objects.errors import BadRequest, Forbidden
from switchboard.transport.messages import Request

_EXTRA = "impersonate-extra-"
_NODE = "system:node:"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_NODE_KEYS = "authentication.kubernetes.io/associated-node-keys"
_GROUP = "authentication.k8s.io"
_MANY = 4  # from so many on, a constrained mode asks for the right to all of them first


def wanted_of(request: Request) -> Identity | None:
    """The user of the Impersonate-* headers as it is written there; None where there is none."""
    headers = request.headers
    user, uid = headers.get("impersonate-user", ""), headers.get("impersonate-uid", "")
    groups = _values(request, "impersonate-group")
    extra = {unquote(name[len(_EXTRA) :]): _values(request, name) for name in headers if name.startswith(_EXTRA)}
    if user:
        return Identity(user, groups, uid, tuple(sorted(extra.items())))
    if uid or extra or groups:
        raise BadRequest("requested impersonation without impersonating a user name")
    return None


def _values(request: Request, name: str) -> tuple[str, ...]:
    """One value for each line of a header: a comma is part of it, as group names of LDAP have them."""
    if name not in request.headers:
        return ()
    lines = request.extra.get("repeated", {}).get(name) or (request.headers[name],)
    return tuple(line.strip() for line in lines)


def impersonated(authorizer: Authorizer, wanted: Identity, attributes: Attributes) -> Identity:
    """Who the request of `attributes` is made as: what the first mode that allows it says. Raises Forbidden."""
    refused: Forbidden | None = None
    for mode in _MODES:
        if mode.applies(wanted, attributes.identity):
            try:
                return mode.grant(authorizer, wanted, attributes)
            except Forbidden as e:
                refused = refused or e
    assert refused is not None  # the last mode applies always
    raise refused


def _node(user: str) -> str:
    """The node that a user name is of; empty if none."""
    name = user[len(_NODE) :] if user.startswith(_NODE) else ""
    return name if name and not names.dns_subdomain(name) else ""


def _account(user: str) -> tuple[str, str] | None:
    """(namespace, name) of the service account that a user name is of."""
    parts = user.split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        return None
    return None if names.dns_label(parts[2]) or names.dns_subdomain(parts[3]) else (parts[2], parts[3])


def _only_name(wanted: Identity) -> bool:
    return not (wanted.groups or wanted.uid or wanted.extra)


def _own_node(wanted: Identity, caller: Identity) -> bool:
    """Whether a pod's service account wants to be the node of its pod."""
    node = _node(wanted.user)
    return bool(node and _only_name(wanted) and _account(caller.user) and dict(caller.extra).get(_NODE_NAME) == (node,))


class _Mode(NamedTuple):
    name: str
    applies: Callable[[Identity, Identity], bool]

    @property
    def constrained(self) -> bool:
        return bool(self.name)

    def grant(self, authorizer: Authorizer, wanted: Identity, attributes: Attributes) -> Identity:
        """The whole identity, once every part of it is allowed. Raises Forbidden."""
        caller = attributes.identity
        if self.name == "associated-node":  # the right is to any own node, so what names this one is left out
            keys = tuple(sorted(key for key, _ in caller.extra))
            caller = replace(caller, extra=((_NODE_KEYS, keys),))
        if self.constrained:
            verb = f"impersonate-on:{self.name}:{attributes.verb}"
            _ask(authorizer, attributes._replace(identity=caller, verb=verb))
        asked = Attributes(caller, f"impersonate:{self.name}" if self.constrained else "impersonate", _GROUP, "v1")
        groups = self._ask_name(authorizer, wanted, asked)
        if wanted.uid:
            _ask(authorizer, asked._replace(resource="uids", name=wanted.uid))
        self._ask_groups(authorizer, wanted.groups, asked)
        self._ask_extra(authorizer, wanted, asked)
        if wanted.user == ANONYMOUS.user:
            more = UNAUTHENTICATED
        else:
            more = "" if UNAUTHENTICATED in groups else AUTHENTICATED
        return replace(wanted, groups=(*groups, more) if more and more not in groups else groups)

    def _ask_name(self, authorizer: Authorizer, wanted: Identity, asked: Attributes) -> tuple[str, ...]:
        """The groups that the identity will have, once its name is allowed."""
        node, account, groups = _node(wanted.user), _account(wanted.user), wanted.groups
        group = _GROUP if self.constrained else ""
        if node and self.constrained:
            name = "*" if self.name == "associated-node" else node
            asked, groups = asked._replace(resource="nodes", name=name), ("system:nodes",)
        elif account:
            asked = asked._replace(group=group, resource="serviceaccounts", namespace=account[0], name=account[1])
            groups = groups or ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
        else:
            asked = asked._replace(group=group, resource="users", name=wanted.user)
        _ask(authorizer, asked)
        return groups

    def _ask_groups(self, authorizer: Authorizer, groups: tuple[str, ...], asked: Attributes) -> None:
        asked = asked._replace(group=_GROUP if self.constrained else "", resource="groups")
        if self.constrained and MASTERS in groups:
            why = f"impersonating the {MASTERS} group is not allowed"
            raise refusal(asked._replace(name=MASTERS), why)
        if self.constrained and len(groups) >= _MANY and _allowed(authorizer, asked._replace(name="*")):
            return
        for group in groups:
            _ask(authorizer, asked._replace(name=group))

    def _ask_extra(self, authorizer: Authorizer, wanted: Identity, asked: Attributes) -> None:
        asked = asked._replace(resource="userextras")
        if self.constrained:
            wrong = _wrong_extra(wanted)
            if wrong:
                raise refusal(asked, wrong)
            many = len(wanted.extra) >= _MANY or sum(len(values) for _, values in wanted.extra) >= _MANY
            if many and _allowed(authorizer, asked._replace(subresource="*", name="*")):
                return
        for key, values in wanted.extra:
            for value in values:
                _ask(authorizer, asked._replace(subresource=key, name=value))


def _wrong_extra(wanted: Identity) -> str:
    for key, values in wanted.extra:
        if not key:
            return "impersonating the empty string key in extra is not allowed"
        wrong = names.domain_prefixed_path(key)
        if wrong:
            text = ", ".join(f'extra.key: Invalid value: "{key}": {why}' for why in wrong)
            return f"impersonating an invalid key in extra is not allowed: {text}"
        if key != key.lower():
            return f'impersonating a non-lowercase key in extra is not allowed: "{key}"'
        if "" in values:
            return "impersonating the empty string value in extra is not allowed"
    return ""


def _allowed(authorizer: Authorizer, attributes: Attributes) -> bool:
    return authorizer.authorize(attributes)[0] is Decision.ALLOW


def _ask(authorizer: Authorizer, attributes: Attributes) -> None:
    decision, reason = authorizer.authorize(attributes)
    if decision is not Decision.ALLOW:
        raise refusal(attributes, reason)


_MODES = (
    _Mode("associated-node", _own_node),
    _Mode("arbitrary-node", lambda wanted, _: bool(_node(wanted.user)) and _only_name(wanted)),
    _Mode("serviceaccount", lambda wanted, _: bool(_account(wanted.user)) and _only_name(wanted)),
    _Mode("user-info", lambda wanted, _: not _node(wanted.user) and not _account(wanted.user)),
    _Mode("", lambda *_: True),
)
