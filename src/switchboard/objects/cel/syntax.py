"""From text to a tree: Google's parser, its protobuf read into nodes, macros with two variables expanded."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from switchboard.objects.cel.values import UInt
from switchboard.objects.wire import read_varint

ACCUMULATOR, _SORTED = "@result", "@__sortBy_input__"  # names that no expression can have
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


class CompileError(Exception):
    """The expression is not valid; the message is cel-go's, with a line that points at the place."""


@dataclass(slots=True)
class Node:
    """What every expression has: a number and an offset in the text."""

    id: int
    offset: int


@dataclass(slots=True)
class Const(Node):
    """A literal."""

    value: Any


@dataclass(slots=True)
class Ident(Node):
    """A name."""

    name: str


@dataclass(slots=True)
class Select(Node):
    """`operand.field`, or `has(operand.field)` when `test`."""

    operand: Any
    name: str
    test: bool


@dataclass(slots=True)
class Call(Node):
    """A function, operator or method."""

    function: str
    target: Any
    args: list[Any]


@dataclass(slots=True)
class ListOf(Node):
    """A list literal; `optional` has the positions of `?x`."""

    items: list[Any]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True)
class MapOf(Node):
    """A map literal, or with `name` a message: (key or field name, value, optional)."""

    name: str
    entries: list[tuple[Any, Any, bool]]


@dataclass(slots=True)
class Fold(Node):
    """A comprehension."""

    var: str
    var2: str
    over: Any
    accu: str
    init: Any
    condition: Any
    step: Any
    result: Any


def binds(fold: Fold) -> bool:
    """Whether a comprehension only names a value (`cel.bind`): there is nothing that it goes over."""
    return isinstance(fold.over, ListOf) and not fold.over.items


@dataclass(slots=True)
class Tree:
    """A parsed expression and its text."""

    root: Any
    text: str
    next_id: int = field(default=0)

    def error(self, node: Node, why: str) -> str:
        """One compile error as cel-go prints it."""
        before = self.text[: node.offset]
        line = before.count("\n") + 1
        column = node.offset - (before.rfind("\n") + 1)
        shown = self.text.split("\n")[line - 1]
        return f"ERROR: <input>:{line}:{column + 1}: {why}\n | {shown}\n | {'.' * column}^"


@cache
def _environment() -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_optional

    return cel.NewEnv(extensions=[ext_optional.ExtOptional(), ext_bindings.ExtBindings()])


def parse(text: str) -> Tree:
    """The tree of an expression. Raises CompileError."""
    try:
        data = _environment().compile(text, disable_check=True).serialize()
    except (RuntimeError, ValueError) as e:
        raise CompileError(_cleaned(str(e))) from None
    fields = _fields(_fields(data)[2][0])
    positions: dict[int, int] = {}
    if 3 in fields:
        for entry in _fields(fields[3][0]).get(4, ()):
            pair = _fields(entry)
            positions[pair.get(1, [0])[0]] = pair.get(2, [0])[0]
    tree = Tree(None, text)
    tree.next_id = max(positions, default=0) + 1
    tree.root = _Reader(tree, positions).node(fields[2][0])
    return tree


def _cleaned(text: str) -> str:
    """The parser's report without what its binding puts around it."""
    text = text.removeprefix("INVALID_ARGUMENT: ").replace(" [INVALID_ARGUMENT]", "")
    lines = [line for line in text.split("\n") if ":4294967295:" not in line]
    return "\n".join(lines)


def _fields(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protobuf message: number -> values."""
    found: dict[int, list[Any]] = {}
    pos, end = 0, len(data)
    while pos < end:
        tag, pos = read_varint(data, pos, end)
        value: Any
        if tag & 7 == 0:
            value, pos = read_varint(data, pos, end)
        elif tag & 7 == 1:
            value, pos = data[pos : pos + 8], pos + 8
        else:
            size, pos = read_varint(data, pos, end)
            value, pos = data[pos : pos + size], pos + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def _text(fields: dict[int, list[Any]], number: int) -> str:
    return fields[number][0].decode() if number in fields else ""


class _Reader:
    """Reads cel.expr.Expr messages."""

    def __init__(self, tree: Tree, positions: dict[int, int]) -> None:
        self._tree, self._positions = tree, positions

    def _sub(self, fields: dict[int, list[Any]], number: int) -> Any:
        return self.node(fields[number][0]) if number in fields else None

    def node(self, data: bytes) -> Any:
        """One expression."""
        fields = _fields(data)
        number = fields.get(2, [0])[0]
        at = (number, self._positions.get(number, 0))
        for kind, read in ((3, _constant), (4, None), (5, None), (6, None), (7, None), (8, None), (9, None)):
            if kind in fields:
                inner = _fields(fields[kind][0])
                if read is not None:
                    return Const(*at, read(inner))
                return getattr(self, _READERS[kind])(at, inner)
        return Const(*at, None)

    def _ident(self, at: tuple[int, int], f: dict[int, list[Any]]) -> Ident:
        return Ident(*at, _text(f, 1))

    def _select(self, at: tuple[int, int], f: dict[int, list[Any]]) -> Select:
        return Select(*at, self._sub(f, 1), _text(f, 2), bool(f.get(3, [0])[0]))

    def _call(self, at: tuple[int, int], f: dict[int, list[Any]]) -> Any:
        call = Call(*at, _text(f, 2), self._sub(f, 1), [self.node(a) for a in f.get(3, ())])
        return _expanded(self._tree, call)

    def _list(self, at: tuple[int, int], f: dict[int, list[Any]]) -> ListOf:
        packed: set[int] = set()
        for chunk in f.get(2, ()):
            pos = 0
            while isinstance(chunk, bytes) and pos < len(chunk):
                value, pos = read_varint(chunk, pos, len(chunk))
                packed.add(value)
        return ListOf(*at, [self.node(item) for item in f.get(1, ())], frozenset(packed))

    def _struct(self, at: tuple[int, int], f: dict[int, list[Any]]) -> MapOf:
        entries = []
        for raw in f.get(2, ()):
            e = _fields(raw)
            key: Any = _text(e, 2) if 2 in e else self._sub(e, 3)
            entries.append((key, self._sub(e, 4), bool(e.get(5, [0])[0])))
        return MapOf(*at, _text(f, 1), entries)

    def _fold(self, at: tuple[int, int], f: dict[int, list[Any]]) -> Fold:
        parts = {n: self._sub(f, n) for n in (2, 4, 5, 6, 7)}
        return Fold(*at, _text(f, 1), _text(f, 8), parts[2], _text(f, 3), parts[4], parts[5], parts[6], parts[7])


_READERS = {4: "_ident", 5: "_select", 6: "_call", 7: "_list", 8: "_struct", 9: "_fold"}


def _constant(f: dict[int, list[Any]]) -> Any:
    if 2 in f:
        return bool(f[2][0])
    if 3 in f:
        value = f[3][0]
        return value - (1 << 64) if value >= 1 << 63 else value
    if 4 in f:
        return UInt(f[4][0])
    if 5 in f:
        return struct.unpack("<d", f[5][0])[0]
    if 6 in f:
        return f[6][0].decode()
    if 7 in f:
        return f[7][0]
    return None


_TWO = {"all": 3, "exists": 3, "existsOne": 3, "exists_one": 3}
_TRANSFORMS = ("transformList", "transformMap", "transformMapEntry")


def _expanded(tree: Tree, call: Call) -> Any:
    """Macros with two variables, and `sortBy`, which the parser leaves as calls."""
    name, args = call.function, call.args
    if call.target is not None and name == "sortBy" and len(args) == 2:
        if not isinstance(args[0], Ident):
            raise CompileError(
                tree.error(args[0], "sortBy can only be applied to a list with a simple name as variable")
            )
        return _Expander(tree, call).sorted_by()
    if call.target is None or not ((name in _TWO and len(args) == 3) or (name in _TRANSFORMS and len(args) in (3, 4))):
        return call
    if not (isinstance(args[0], Ident) and isinstance(args[1], Ident)):
        raise CompileError(tree.error(args[0], "argument must be a simple name"))
    return _Expander(tree, call).made()


class _Expander:
    def __init__(self, tree: Tree, call: Call) -> None:
        self._tree, self._call = tree, call

    def _at(self) -> tuple[int, int]:
        self._tree.next_id += 1
        return self._tree.next_id, self._call.offset

    def _c(self, value: Any) -> Const:
        return Const(*self._at(), value)

    def _f(self, function: str, *args: Any) -> Call:
        return Call(*self._at(), function, None, list(args))

    def _accu(self) -> Ident:
        return Ident(*self._at(), ACCUMULATOR)

    def made(self) -> Fold:
        """The fold that the macro stands for."""
        name, args = self._call.function, self._call.args
        init: Any
        condition: Any = self._c(True)
        result: Any = self._accu()
        if name == "all":
            init, condition = self._c(True), self._f("@not_strictly_false", self._accu())
            step: Any = self._f("_&&_", self._accu(), args[2])
        elif name == "exists":
            init = self._c(False)
            condition = self._f("@not_strictly_false", self._f("!_", self._accu()))
            step = self._f("_||_", self._accu(), args[2])
        elif name in ("existsOne", "exists_one"):
            init = self._c(0)
            step = self._f("_?_:_", args[2], self._f("_+_", self._accu(), self._c(1)), self._accu())
            result = self._f("_==_", self._accu(), self._c(1))
        else:
            init, step = self._transform(name, args)
        over = self._call.target
        return Fold(*self._at(), args[0].name, args[1].name, over, ACCUMULATOR, init, condition, step, result)

    def sorted_by(self) -> Fold:
        """`list.sortBy(x, key)`: `cel.bind(input, list, input in the order of input.map(x, key))`."""
        name, key = self._call.args
        init, step = ListOf(*self._at(), []), self._f("_+_", self._accu(), ListOf(*self._at(), [key]))
        parts = (init, self._c(True), step, self._accu())
        keys = Fold(*self._at(), name.name, "", self._sorted(), ACCUMULATOR, *parts)
        call = Call(*self._at(), "@sortByAssociatedKeys", self._sorted(), [keys])
        over, nothing = self._call.target, ListOf(*self._at(), [])
        return Fold(*self._at(), "#unused", "", nothing, _SORTED, over, self._c(False), self._sorted(), call)

    def _sorted(self) -> Ident:
        return Ident(*self._at(), _SORTED)

    def _transform(self, name: str, args: list[Any]) -> tuple[Any, Any]:
        init: Any
        if name == "transformList":
            init = ListOf(*self._at(), [])
            step = self._f("_+_", self._accu(), ListOf(*self._at(), [args[-1]]))
        elif name == "transformMap":
            init = MapOf(*self._at(), "", [])
            key = Ident(*self._at(), args[0].name)
            step = self._f("@map_insert", self._accu(), MapOf(*self._at(), "", [(key, args[-1], False)]))
        else:
            init = MapOf(*self._at(), "", [])
            step = self._f("@map_insert", self._accu(), args[-1])
        if len(args) == 4:
            step = self._f("_?_:_", args[2], step, self._accu())
        return init, step
