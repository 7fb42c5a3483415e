"""`authorizer`: expressions that ask whether somebody may do something.

Source: `apiserver/pkg/cel/library/authz.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchboard.objects.cel.standard import Table, method
from switchboard.objects.cel.types import BOOL, STRING, Type, object_of, opaque

_PREFIX = "kubernetes.authorization."
PATH, GROUP, RESOURCE, DECISION = (
    opaque(_PREFIX + n) for n in ("PathCheck", "GroupCheck", "ResourceCheck", "Decision")
)
AUTHORIZER: Type = object_of(_PREFIX + "Authorizer", {"requestResource": RESOURCE})

# (question) -> (allowed, reason); the question has the names of a SubjectAccessReview's attributes, and `account`
# (namespace, name) when it is about a service account and not about who made the request
Ask = Callable[[dict[str, Any]], tuple[bool, str]]


class Authorizer(dict[str, Any]):
    """The value of `authorizer`: whom to ask, about whom."""

    cel_type = AUTHORIZER.kind

    def __init__(self, ask: Ask, request: dict[str, str], account: tuple[str, str] | None = None) -> None:
        self.question: dict[str, Any] = {"account": account} if account else {}
        self.ask = ask
        super().__init__(requestResource=Check(RESOURCE.kind, ask, {**self.question, **request}))
        self.request = request


class Check:
    """A question that is not yet complete, or the answer to one."""

    __slots__ = ("ask", "cel_type", "question")

    def __init__(self, cel_type: str, ask: Ask, question: dict[str, Any]) -> None:
        self.cel_type, self.ask, self.question = cel_type, ask, question


class Decision:
    """What was answered."""

    cel_type = DECISION.kind
    __slots__ = ("allowed", "reason")

    def __init__(self, allowed: bool, reason: str) -> None:
        self.allowed, self.reason = allowed, reason


def _more(type_: Type, field: str) -> Callable[[Any, str], Check]:
    return lambda of, value: Check(type_.kind, of.ask, {**of.question, field: value})


def _asked(check: Check, verb: str) -> Decision:
    return Decision(*check.ask({**check.question, "verb": verb}))


def add_to(table: Table) -> None:
    """Add everything here to a table of functions."""
    method(table, "path", (AUTHORIZER, STRING), PATH, _more(PATH, "path"))
    method(table, "group", (AUTHORIZER, STRING), GROUP, _more(GROUP, "group"))
    method(
        table,
        "serviceAccount",
        (AUTHORIZER, STRING, STRING),
        AUTHORIZER,
        lambda of, namespace, name: Authorizer(of.ask, of.request, (namespace, name)),
    )
    method(table, "resource", (GROUP, STRING), RESOURCE, _more(RESOURCE, "resource"))
    for name, field in (
        ("subresource", "subresource"),
        ("namespace", "namespace"),
        ("name", "name"),
        ("fieldSelector", "field_selector"),
        ("labelSelector", "label_selector"),
    ):
        method(table, name, (RESOURCE, STRING), RESOURCE, _more(RESOURCE, field))
    for kind in (PATH, RESOURCE):
        method(table, "check", (kind, STRING), DECISION, _asked, cost="authorize")
    method(table, "allowed", (DECISION,), BOOL, lambda of: of.allowed)
    method(table, "reason", (DECISION,), STRING, lambda of: of.reason)
    method(table, "errored", (DECISION,), BOOL, lambda of: False)
    method(table, "error", (DECISION,), STRING, lambda of: "")
