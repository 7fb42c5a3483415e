"""How near two names, values or label sets are: the small measures behind "did you mean these pods?". Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Words that say what an object is, not whose it is: `backend-service` and `backend-deployment` are kin by `backend`.
_GENERIC = frozenset(
    "service services svc deployment deployments deploy app application pod pods server workload set statefulset "
    "daemonset headless lb loadbalancer nodeport clusterip internal external public the my".split()
)


def tokens(name: str) -> frozenset[str]:
    """The telling words of an object's name: `backend-service` -> {backend}."""
    return frozenset(t for t in re.split(r"[-._]", name.lower()) if t and t not in _GENERIC and not t.isdigit())


def are_kin(one: str, other: str) -> bool:
    """Whether two object names share a telling word."""
    return bool(tokens(one) & tokens(other))


def says(name: str, value: str) -> bool:
    """Whether an object's name has every telling word of a label's value: `shop-web` says `web`."""
    words = tokens(value)
    return bool(words) and words <= tokens(name)


def distance(a: str, b: str, limit: int = 2) -> int:
    """Edit distance (insert, delete, replace, swap of neighbours), or `limit + 1` where it is larger."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


def looks_like(a: str, b: str) -> bool:
    """Whether one value is probably a slip of the other: case, separator, plural, one or two letters of a long word.

    Another number is meant: `web1` and `web2` stand side by side.
    """
    if a == b:
        return True
    x, y = re.sub(r"[-._]", "", a.lower()), re.sub(r"[-._]", "", b.lower())
    if x == y:
        return True
    if re.sub(r"\d", "", x) == re.sub(r"\d", "", y):
        return False
    shorter = min(len(x), len(y))
    if shorter >= 3 and (x.startswith(y) or y.startswith(x)):
        return True
    if shorter == 3 and sorted(x) == sorted(y):  # two letters changed places
        return distance(x, y) == 1
    return distance(x, y) <= (2 if shorter >= 6 else 1 if shorter >= 4 else 0)


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every pair of a Service's selector stands in the labels."""
    return all(labels.get(k) == v for k, v in selector.items())


def pairs(labels: Mapping[str, str]) -> str:
    """`app=web,version=v1`, as kubectl prints labels."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
