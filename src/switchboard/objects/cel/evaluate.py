"""A checked tree becomes nested closures. Every step has its cost; an expression that costs too much is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from switchboard.objects.cel.check import Checked, Overload
from switchboard.objects.cel.cost import measure
from switchboard.objects.cel.syntax import Call, Const, Fold, Ident, ListOf, MapOf, Select
from switchboard.objects.cel.values import NONE, CelError, Constructed, CostExceeded, Optional, TypeValue, UInt, name_of


class Frame:
    """One evaluation: variables and what was spent."""

    __slots__ = ("cost", "limit", "variables")

    def __init__(self, variables: dict[str, Any], limit: int) -> None:
        self.variables, self.limit, self.cost = variables, limit, 0

    def spend(self, amount: int) -> None:
        """Count; stop what costs too much."""
        self.cost += amount
        if self.cost > self.limit:
            raise CostExceeded("operation cancelled: actual cost limit exceeded")


Run = Callable[[Frame], Any]


def compile_tree(checked: Checked) -> Run:
    """The evaluator of an expression."""
    return _Compiler(checked).make(checked.tree.root)


class Lazy:
    """A variable that is made when it is first read."""

    __slots__ = ("_failed", "_make", "_value")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make: Callable[[], Any] | None = make
        self._value: Any = None
        self._failed: CelError | None = None

    def get(self) -> Any:
        """The value. Raises CelError, every time again."""
        if self._make is not None:
            make, self._make = self._make, None
            try:
                self._value = make()
            except CelError as e:
                self._failed = e
        if self._failed is not None:
            raise self._failed
        return self._value


def no_overload(name: str = "") -> CelError:
    """What the dynamic dispatch says when nothing fits."""
    return CelError("no such overload" + (f": {name}" if name else ""))


def field_of(value: Any, name: str) -> Any:
    """`value.name`. Raises CelError."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        raise CelError(f"no such key: {name}")
    if isinstance(value, Optional):
        return _optional_field(value, name)
    raise no_overload()


def _optional_field(value: Any, name: Any) -> Optional:
    if isinstance(value, Optional):
        if not value.present:
            return NONE
        value = value.value
    if isinstance(value, dict):
        if name in value:
            found = value[name]
            return found if isinstance(found, Optional) else Optional(True, found)
        return NONE
    if isinstance(value, list):
        fits = isinstance(name, (int, float)) and not isinstance(name, bool) and 0 <= name < len(value)
        return Optional(True, value[int(name)]) if fits else NONE
    raise no_overload()


def indexed(value: Any, key: Any) -> Any:
    """`value[key]`. Raises CelError."""
    if isinstance(value, dict):
        try:
            return value[key]
        except (KeyError, TypeError):
            raise CelError(f"no such key: {key}") from None
    if isinstance(value, list):
        if isinstance(key, bool) or not isinstance(key, (int, float)) or key != int(key):
            raise CelError(f"unsupported index type '{name_of(key)}' in list")
        if not 0 <= key < len(value):
            raise CelError(f"index out of bounds: {int(key)}")
        return value[int(key)]
    if isinstance(value, Optional):
        return _optional_field(value, key)
    raise no_overload()


class _Compiler:
    def __init__(self, checked: Checked) -> None:
        self._checked = checked

    def make(self, node: Any) -> Run:
        """The closure of a node."""
        return _MAKES[type(node)](self, node)

    def _const(self, node: Const) -> Run:
        value = node.value
        return lambda frame: value

    def _ident(self, node: Ident) -> Run:
        if node.id in self._checked.qualified:
            named = TypeValue(self._checked.qualified[node.id])
            return lambda frame: named
        name = node.name.lstrip(".")

        def run(frame: Frame) -> Any:
            frame.cost += 1
            try:
                value = frame.variables[name]
            except KeyError:
                raise CelError(f"no such attribute(s): {name}") from None
            if isinstance(value, Lazy):
                return value.get()
            if isinstance(value, CelError):
                raise value
            return value

        return run

    def _select(self, node: Select) -> Run:
        if node.id in self._checked.qualified:
            named = TypeValue(self._checked.qualified[node.id])
            return lambda frame: named
        operand, name = self.make(node.operand), node.name
        if node.test:

            def test(frame: Frame) -> bool:
                value = operand(frame)
                if isinstance(value, Optional):
                    value = value.value if value.present else {}
                if not isinstance(value, dict):
                    raise no_overload()
                return name in value

            return test

        def run(frame: Frame) -> Any:
            frame.cost += 1
            value = operand(frame)
            if type(value) is dict and name in value:
                return value[name]
            return field_of(value, name)

        return run

    def _list(self, node: ListOf) -> Run:
        items, maybe = [self.make(item) for item in node.items], node.optional

        def run(frame: Frame) -> list[Any]:
            frame.spend(10)
            made = []
            for i, item in enumerate(items):
                value = item(frame)
                if i in maybe:
                    if not value.present:
                        continue
                    value = value.value
                made.append(value)
            return made

        return run

    def _map(self, node: MapOf) -> Run:
        if node.name:
            return self._message(node)
        entries = [(self.make(key), self.make(value), maybe) for key, value, maybe in node.entries]

        def run(frame: Frame) -> dict[Any, Any]:
            frame.spend(30)
            made: dict[Any, Any] = {}
            for key, value, maybe in entries:
                k, v = key(frame), value(frame)
                if maybe:
                    if not v.present:
                        continue
                    v = v.value
                if k in made:
                    raise CelError(f"Failed with repeated key: {k}")
                made[k] = v
            return made

        return run

    def _message(self, node: MapOf) -> Run:
        entries = [(key, self.make(value), maybe) for key, value, maybe in node.entries]
        name = node.name

        def run(frame: Frame) -> dict[str, Any]:
            frame.spend(40)
            made: dict[str, Any] = {}
            for key, value, maybe in entries:
                v = value(frame)
                if maybe:
                    if not v.present:
                        continue
                    v = v.value
                made[key] = v
            return Constructed(name, made)

        return run

    def _call(self, node: Call) -> Run:
        special = _SPECIAL.get(node.function)
        if special is not None and node.target is None:
            return special(self, node)
        nodes = node.args
        if node.target is not None and node.id not in self._checked.qualified:
            nodes = [node.target, *node.args]
        args = [self.make(arg) for arg in nodes]
        overloads = self._checked.overloads[node.id]
        loose = len(overloads) > 1 or any(self._loose(n) for n in nodes)
        return _dispatch(node.function, args, overloads) if loose else _direct(args, overloads[0])

    def _loose(self, node: Any) -> bool:
        """Whether a value may be of another type than its static one says."""
        type_ = self._checked.types[node.id]
        return type_.kind == "dyn" or any(p.kind == "dyn" for p in type_.params)

    def _and(self, node: Call) -> Run:
        return _logic(self.make(node.args[0]), self.make(node.args[1]), False)

    def _or(self, node: Call) -> Run:
        return _logic(self.make(node.args[0]), self.make(node.args[1]), True)

    def _conditional(self, node: Call) -> Run:
        test, yes, no = (self.make(arg) for arg in node.args)

        def run(frame: Frame) -> Any:
            found = test(frame)
            if found is True:
                return yes(frame)
            if found is False:
                return no(frame)
            raise no_overload()

        return run

    def _not_strictly_false(self, node: Call) -> Run:
        inner = self.make(node.args[0])

        def run(frame: Frame) -> bool:
            try:
                return inner(frame) is not False
            except CelError:
                return True

        return run

    def _optional_access(self, node: Call) -> Run:
        operand, key = self.make(node.args[0]), self.make(node.args[1])

        def run(frame: Frame) -> Any:
            frame.cost += 1
            return _optional_field(operand(frame), key(frame))

        return run

    def _fold(self, node: Fold) -> Run:
        over, init = self.make(node.over), self.make(node.init)
        condition, step, result = self.make(node.condition), self.make(node.step), self.make(node.result)
        var, var2, accu = node.var, node.var2, node.accu

        def run(frame: Frame) -> Any:
            outer, items = frame.variables, over(frame)
            inner = frame.variables = dict(outer)
            try:
                inner[accu] = init(frame)
                for one, two in _pairs(items, bool(var2)):
                    frame.spend(0)
                    inner[var] = one
                    if var2:
                        inner[var2] = two
                    if condition(frame) is False:
                        break
                    try:
                        inner[accu] = step(frame)
                    except CelError as e:
                        inner[accu] = e
                return result(frame)
            finally:
                frame.variables = outer

        return run


def _pairs(items: Any, both: bool) -> Any:
    if isinstance(items, dict):
        return items.items()
    if isinstance(items, list):
        return enumerate(items) if both else ((item, None) for item in items)
    raise no_overload()


def _direct(args: list[Run], overload: Overload) -> Run:
    function, rule = overload.run, overload.cost

    def run(frame: Frame) -> Any:
        values = [arg(frame) for arg in args]
        frame.spend(measure(rule, values) if rule else 1)
        return function(*values)

    return run


def _fits(wanted: str, value: Any) -> bool:
    return wanted in ("dyn",) or wanted[0] == "<" or wanted == name_of(value)


def _dispatch(name: str, args: list[Run], overloads: list[Overload]) -> Run:
    wanted = [(overload, [t.kind for t in overload.args]) for overload in overloads]

    def run(frame: Frame) -> Any:
        values = [arg(frame) for arg in args]
        for overload, kinds in wanted:
            if all(map(_fits, kinds, values)):
                frame.spend(measure(overload.cost, values) if overload.cost else 1)
                return overload.run(*values)
        raise no_overload()

    return run


def _logic(left: Run, right: Run, decides: bool) -> Run:
    """`||` (decided by true) and `&&` (by false): the side that decides wins over an error of the other."""

    def run(frame: Frame) -> bool:
        failed: CelError | None = None
        for side in (left, right):
            try:
                value = side(frame)
            except CelError as e:
                failed = failed or e
                continue
            if value is decides:
                return bool(decides)
            if not isinstance(value, bool):
                failed = failed or no_overload()
        if failed is not None:
            raise failed
        return not decides

    return run


_MAKES: dict[type, Callable[[_Compiler, Any], Run]] = {
    Const: _Compiler._const,
    Ident: _Compiler._ident,
    Select: _Compiler._select,
    Call: _Compiler._call,
    ListOf: _Compiler._list,
    MapOf: _Compiler._map,
    Fold: _Compiler._fold,
}
_SPECIAL: dict[str, Callable[[_Compiler, Call], Run]] = {
    "_&&_": _Compiler._and,
    "_||_": _Compiler._or,
    "_?_:_": _Compiler._conditional,
    "@not_strictly_false": _Compiler._not_strictly_false,
    "_?._": _Compiler._optional_access,
    "_[?_]": _Compiler._optional_access,
}


class Program:
    """A compiled expression."""

    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.text = checked.tree.text
        self.names = checked.names
        self._run = compile_tree(checked)

    def evaluate(self, variables: Mapping[str, Any], limit: int) -> tuple[Any, int]:
        """(value, what it cost). Raises CelError, CostExceeded."""
        frame = Frame(dict(variables), limit)
        try:
            value = self._run(frame)
        except CelError as e:
            e.cost = frame.cost
            raise
        except RecursionError:
            raise CelError("expression nested too deeply") from None
        except (OverflowError, MemoryError) as e:
            raise CelError(str(e)) from None
        frame.spend(0)
        return value, frame.cost


def whole(value: int) -> int:
    """An int of 64 bits. Raises CelError."""
    if isinstance(value, UInt):
        raise no_overload()
    if not -(1 << 63) <= value < 1 << 63:
        raise CelError("integer overflow")
    return value
