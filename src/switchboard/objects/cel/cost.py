"""What a call costs: rules by size, used for what happened (`measure`) and for the worst case (`estimate`).

Sources: cel-go `checker/cost.go`, `interpreter/runtimecost.go`, `apiserver/pkg/cel/library/cost.go`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from switchboard.objects.cel.syntax import Call, Const, Fold, Ident, ListOf, MapOf, Select, binds

if TYPE_CHECKING:
    from switchboard.objects.cel.check import Checked

UNBOUNDED = (1 << 64) - 1
_TRAVERSAL, _PATTERN = 0.1, 0.25


def _ceil(size: float) -> int:
    return min(UNBOUNDED, math.ceil(size))


def rule_cost(rule: str, sizes: list[int]) -> int:
    """The cost of a call by the sizes of its arguments (target first)."""
    first = sizes[0] if sizes else 1
    second = sizes[1] if len(sizes) > 1 else 1
    if rule == "traverse":
        return _ceil(first * _TRAVERSAL)
    if rule == "twice":
        return _ceil(first * 2 * _TRAVERSAL)
    if rule == "second":  # startsWith, endsWith: the length of what is looked for
        return _ceil(second * _TRAVERSAL)
    if rule == "each":
        return first
    if rule == "in":
        return second
    if rule == "product":
        return min(UNBOUNDED, _ceil(first * _TRAVERSAL) * _ceil(second * _TRAVERSAL))
    if rule == "sets":
        return min(UNBOUNDED, first * second)
    if rule == "matches":
        return min(UNBOUNDED, _ceil((first + 1) * _TRAVERSAL) * _ceil(second * _PATTERN))
    if rule == "concat":
        return _ceil((first + second) * _TRAVERSAL)
    if rule == "compare":
        return max(1, _ceil(min(first, second) * _TRAVERSAL))
    return 350_000 if rule == "authorize" else 1


def _actual(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes, list, dict)) else 1


def measure(rule: str, values: list[Any]) -> int:
    """What a call did cost."""
    if rule == "range":
        return max(1, int(values[0]))
    return rule_cost(rule, [_actual(value) for value in values])


def estimate(checked: Checked) -> int:
    """The most that an expression can cost, given the bounds of its variables' types."""
    return _Estimator(checked).cost(checked.tree.root)


class _Estimator:
    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._sizes: dict[int, int] = {}
        self._bound: dict[str, int] = {}  # sizes of what `cel.bind` named

    def _size(self, node: Any) -> int:
        found = self._sizes.get(node.id)
        if found is not None:
            return found
        if isinstance(node, Ident) and node.name in self._bound:
            return self._bound[node.name]
        type_ = self._checked.types[node.id]
        if type_.size is not None:
            return type_.size
        return UNBOUNDED if type_.kind in ("string", "bytes", "list", "map", "dyn") else 1

    def cost(self, node: Any) -> int:
        """The worst case of a node."""
        return min(UNBOUNDED, self._cost(node))

    def _cost(self, node: Any) -> int:
        if isinstance(node, Const):
            return 0
        if isinstance(node, Select):
            return self.cost(node.operand) + (0 if node.test else 1)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListOf):
            return 10 + sum(self.cost(item) for item in node.items)
        if isinstance(node, MapOf):
            keys = 0 if node.name else sum(self.cost(key) for key, _, _ in node.entries)
            return (40 if node.name else 30) + keys + sum(self.cost(value) for _, value, _ in node.entries)
        if isinstance(node, Fold):
            return self._fold(node)
        return 1

    def _call(self, node: Call) -> int:
        name = node.function
        if node.target is not None and node.id not in self._checked.qualified:
            nodes = [node.target, *node.args]
        else:
            nodes = node.args
        costs = [self.cost(arg) for arg in nodes]
        if name in ("_&&_", "_||_", "@not_strictly_false"):
            return sum(costs)
        if name == "_?_:_":
            self._sizes[node.id] = max(self._size(nodes[1]), self._size(nodes[2]))
            return costs[0] + max(costs[1:])
        sizes = [self._size(arg) for arg in nodes]
        own = 1
        for overload in self._checked.overloads.get(node.id, ()):
            own = max(own, rule_cost(overload.cost, sizes))
            if overload.size:
                self._sizes[node.id] = _result_size(overload.size, sizes)
        return sum(costs) + own

    def _fold(self, node: Fold) -> int:
        outer = self.cost(node.over) + self.cost(node.init)
        around, first, times = self._bound, self._size(node.init), self._size(node.over)
        self._bound = {name: size for name, size in around.items() if name not in (node.var, node.var2, node.accu)}
        if binds(node):
            self._bound[node.accu] = first
        inner, result = self.cost(node.condition) + self.cost(node.step), self.cost(node.result)
        if binds(node):
            self._sizes[node.id] = self._size(node.result)
        self._bound = around
        return outer + result + times * inner


def _result_size(rule: str, sizes: list[int]) -> int:
    if rule == "sum":
        return min(UNBOUNDED, sum(sizes))
    if rule == "product":
        return min(UNBOUNDED, math.prod(sizes))
    return sizes[0]
