"""The FlowSchemas and PriorityLevelConfigurations that every cluster has, as literal tables.

Source: `apiserver/pkg/apis/flowcontrol/bootstrap/default.go` (1.36).
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
GROUP = "flowcontrol.apiserver.k8s.io"
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = ("exempt", "catch-all")

# name -> shares, percent that may be lent, (queues, hand size, longest queue); None refuses what is too much
_LEVELS: dict[str, tuple[int, int, tuple[int, int, int] | None]] = {
    "catch-all": (5, 0, None),
    "system": (30, 33, (64, 6, 50)),
    "node-high": (40, 25, (64, 6, 50)),
    "leader-election": (10, 0, (16, 4, 50)),
    "workload-high": (40, 50, (128, 6, 50)),
    "workload-low": (100, 90, (128, 6, 50)),
    "global-default": (20, 50, (128, 6, 50)),
}
_EVERYBODY = "Group system:unauthenticated, Group system:authenticated"
_LEADERS = "User system:kube-controller-manager, User system:kube-scheduler, ServiceAccount kube-system/*"
_LOCKS = "get create update : coordination.k8s.io : leases"
# name, level, precedence, how flows are told apart, subjects, rules: `verbs : groups : resources` of namespaced objects
# (with a `+` of cluster-wide ones too), `verbs : /urls`, or `*` for everything
_SCHEMAS: tuple[tuple[str, str, int, str, str, tuple[str, ...]], ...] = (
    ("exempt", "exempt", 1, "", "Group system:masters", ("*",)),
    ("catch-all", "catch-all", 10000, "ByUser", _EVERYBODY, ("*",)),
    ("system-nodes", "system", 500, "ByUser", "Group system:nodes", ("*",)),
    ("system-node-high", "node-high", 400, "ByUser", "Group system:nodes",
     ("* : - : nodes nodes/status +", "* : coordination.k8s.io : leases")),
    ("probes", "exempt", 2, "", _EVERYBODY, ("get : /healthz /readyz /livez",)),
    ("system-leader-election", "leader-election", 100, "ByUser", _LEADERS, (_LOCKS,)),
    ("kube-controller-manager", "workload-high", 800, "ByNamespace", "User system:kube-controller-manager", ("*",)),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", "User system:kube-scheduler", ("*",)),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", "ServiceAccount kube-system/*", ("*",)),
    ("service-accounts", "workload-low", 9000, "ByUser", "Group system:serviceaccounts", ("*",)),
    ("global-default", "global-default", 9900, "ByUser", _EVERYBODY, ("*",)),
)  # fmt: skip


def level_specs() -> dict[str, Object]:
    """name -> spec of the PriorityLevelConfigurations."""
    none = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    specs: dict[str, Object] = {"exempt": {"type": "Exempt", "exempt": none}}
    for name, (shares, lendable, queues) in _LEVELS.items():
        response: Object = {"type": "Reject"}
        if queues is not None:
            names = ("queues", "handSize", "queueLengthLimit")
            response = {"type": "Queue", "queuing": dict(zip(names, queues, strict=True))}
        limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable}
        specs[name] = {"type": "Limited", "limited": limited}
    return specs


def schema_specs() -> dict[str, Object]:
    """name -> spec of the FlowSchemas."""
    specs = {}
    for name, level, precedence, method, subjects, rules in _SCHEMAS:
        spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
        if method:
            spec["distinguisherMethod"] = {"type": method}
        spec["rules"] = [{"subjects": [_subject(text) for text in subjects.split(", ")], **_rules(rules)}]
        specs[name] = spec
    return specs


def _subject(text: str) -> Object:
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, name = name.partition("/")
        return {"kind": kind, "serviceAccount": {"namespace": namespace, "name": name}}
    return {"kind": kind, kind.lower(): {"name": name}}


def _rules(lines: tuple[str, ...]) -> Object:
    every = ["*"]
    if lines == ("*",):
        resources: Object = {
            "verbs": every,
            "apiGroups": every,
            "resources": every,
            "clusterScope": True,
            "namespaces": every,
        }
        return {"resourceRules": [resources], "nonResourceRules": [{"verbs": every, "nonResourceURLs": every}]}
    made: Object = {}
    for line in lines:
        verbs, *rest = (part.split() for part in line.split(" : "))
        if rest[0][0].startswith("/"):
            made.setdefault("nonResourceRules", []).append({"verbs": verbs, "nonResourceURLs": rest[0]})
            continue
        groups = ["" if group == "-" else group for group in rest[0]]
        rule: Object = {"verbs": verbs, "apiGroups": groups, "resources": [r for r in rest[1] if r != "+"]}
        if "+" in rest[1]:
            rule["clusterScope"] = True
        made.setdefault("resourceRules", []).append({**rule, "namespaces": every})
    return made
