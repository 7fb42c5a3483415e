"""Types of expressions, with cel-go's words for what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from switchboard.objects.cel.syntax import Call, CompileError, Const, Fold, Ident, ListOf, MapOf, Select, Tree, binds
from switchboard.objects.cel.types import (
    BOOL,
    DYN,
    ERROR,
    INT,
    STRING,
    Bindings,
    Type,
    assignable,
    joined,
    list_of,
    map_of,
    optional,
    resolve,
    type_of,
)
from switchboard.objects.cel.values import name_of

_CONST = {"null_type": "null_type"}


@dataclass(slots=True, eq=False)
class Overload:
    """One signature of a function: `args` begin with the target of a method; `cost` names a rule of `cost.py`."""

    args: tuple[Type, ...]
    result: Type
    run: Callable[..., Any]
    member: bool = False
    cost: str = ""
    size: str = ""  # how the size of the result follows from the arguments'


Functions = Mapping[str, list[Overload]]
Constructors = Callable[[str], Type | None]


class Checked:
    """A tree with the type of every node and the overloads that each call may mean."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.types: dict[int, Type] = {}
        self.overloads: dict[int, list[Overload]] = {}
        self.qualified: dict[int, str] = {}  # a select or call that is really one dotted name
        self.names: set[str] = set()  # variables that are read

    @property
    def result(self) -> Type:
        """The expression's type."""
        return self.types[self.tree.root.id]


def check(
    tree: Tree, variables: Mapping[str, Type], functions: Functions, constructors: Constructors = lambda name: None
) -> Checked:
    """Give every node its type. `constructors` knows the types that can be made. Raises CompileError with every
    mistake."""
    checker = _Checker(tree, variables, functions, constructors)
    checker.visit(tree.root)
    if checker.errors:
        raise CompileError("\n".join(checker.errors))
    return checker.found


_TYPE_NAMES = {
    "bool": BOOL, "int": INT, "string": STRING, "null_type": Type("null_type"), "dyn": DYN, "uint": Type("uint"),
    "double": Type("double"), "bytes": Type("bytes"), "list": list_of(DYN), "map": map_of(DYN, DYN),
    "type": Type("type"), "google.protobuf.Timestamp": Type("google.protobuf.Timestamp"),
    "google.protobuf.Duration": Type("google.protobuf.Duration"), "optional_type": optional(DYN),
    "net.IP": Type("net.IP"), "net.CIDR": Type("net.CIDR"), "kubernetes.Quantity": Type("kubernetes.Quantity"),
    "kubernetes.URL": Type("kubernetes.URL"), "kubernetes.Semver": Type("kubernetes.Semver"),
}  # fmt: skip


class _Checker:
    def __init__(
        self, tree: Tree, variables: Mapping[str, Type], functions: Functions, constructors: Constructors
    ) -> None:
        self._tree, self._functions, self._constructors = tree, functions, constructors
        self._scopes: list[Mapping[str, Type]] = [variables]
        self.found = Checked(tree)
        self.errors: list[str] = []
        self._mixed = False  # literals in the arguments of `format` may mix types

    def _wrong(self, node: Any, why: str) -> Type:
        self.errors.append(self._tree.error(node, why))
        return ERROR

    def visit(self, node: Any) -> Type:
        """The type of a node."""
        made = _VISITS[type(node)](self, node)
        self.found.types[node.id] = made
        return made

    def _const(self, node: Const) -> Type:
        size = len(node.value) if isinstance(node.value, (str, bytes)) else None
        return Type(name_of(node.value), (), size)

    def _lookup(self, name: str) -> Type | None:
        for i in range(len(self._scopes) - 1, -1, -1):
            if name in self._scopes[i]:
                if i == 0:
                    self.found.names.add(name)
                return self._scopes[i][name]
        return None

    def _ident(self, node: Ident) -> Type:
        found = self._lookup(node.name.lstrip("."))
        if found is not None:
            return found
        if node.name in _TYPE_NAMES:
            self.found.qualified[node.id] = node.name
            return type_of(_TYPE_NAMES[node.name])
        return self._wrong(node, f"undeclared reference to '{node.name}' (in container '')")

    def _dotted(self, node: Any) -> str:
        """`a.b.c` for selects on a name that is no variable."""
        if isinstance(node, Ident):
            return "" if self._lookup(node.name) is not None else node.name
        if isinstance(node, Select) and not node.test:
            before = self._dotted(node.operand)
            return f"{before}.{node.name}" if before else ""
        return ""

    def _select(self, node: Select) -> Type:
        dotted = self._dotted(node)
        if dotted in _TYPE_NAMES:
            self.found.qualified[node.id] = dotted
            return type_of(_TYPE_NAMES[dotted])
        made = self._field(node, self.visit(node.operand), node.name)
        return BOOL if node.test and made is not ERROR else made

    def _field(self, node: Any, of: Type, name: str) -> Type:
        if of.kind == "optional_type":
            inner = self._field(node, of.params[0], name)
            return inner if inner is ERROR or inner.kind == "optional_type" else optional(inner)
        if of.kind in ("dyn", "!error!"):
            return of
        if of.kind == "map":
            return of.params[1]
        if of.fields is not None:
            found = of.fields.get(name)
            return found if found is not None else self._wrong(node, f"undefined field '{name}'")
        if self._constructors(of.kind) is not None:  # an object that an expression made: any field
            return DYN
        return self._wrong(node, f"type '{of}' does not support field selection")

    def _call(self, node: Call) -> Type:
        if node.function in ("_?._", "_[?_]"):
            return self._optional_access(node)
        if node.target is not None:
            dotted = self._dotted(node.target)
            if dotted and f"{dotted}.{node.function}" in self._functions:
                self.found.qualified[node.id] = f"{dotted}.{node.function}"
                return self._resolved(node, f"{dotted}.{node.function}", node.args, False)
            return self._resolved(node, node.function, [node.target, *node.args], True)
        return self._resolved(node, node.function, node.args, False)

    def _optional_access(self, node: Call) -> Type:
        of = self.visit(node.args[0])
        if node.function == "_?._":
            self.found.types[node.args[1].id] = STRING
            made = self._field(node, of, str(node.args[1].value))
        else:
            self.visit(node.args[1])
            inner = of.params[0] if of.kind == "optional_type" else of
            made = inner.params[-1] if inner.kind in ("list", "map") else DYN
        return made if made.kind == "optional_type" else optional(made)

    def _resolved(self, node: Call, name: str, args: list[Any], member: bool) -> Type:
        mixed, self._mixed = self._mixed, self._mixed or (member and name == "format")
        types = [self.visit(arg) for arg in args]
        self._mixed = mixed
        if any(t is ERROR for t in types):
            return ERROR
        known = self._functions.get(name)
        if known is None or (not any(o.member == member for o in known)):
            return self._wrong(node, f"undeclared reference to '{name}' (in container '')")
        fitting, result = [], None
        for overload in known:
            if overload.member != member or len(overload.args) != len(types):
                continue
            bindings: Bindings = {}
            if all(assignable(a, t, bindings) for a, t in zip(overload.args, types, strict=True)):
                fitting.append(overload)
                made = resolve(overload.result, bindings)
                result = made if result is None or str(result) == str(made) else DYN
        if result is None:
            return self._wrong(node, self._unfit(name, types, member))
        self.found.overloads[node.id] = fitting
        return result

    @staticmethod
    def _unfit(name: str, types: list[Type], member: bool) -> str:
        shown = [str(t) for t in types]
        if member:
            signature = f"{shown[0]}.({', '.join(shown[1:])})"
        else:
            signature = f"({', '.join(shown)})"
        return f"found no matching overload for '{name}' applied to '{signature}'"

    def _list(self, node: ListOf) -> Type:
        types = []
        for i, item in enumerate(node.items):
            made = self.visit(item)
            types.append(made.params[0] if i in node.optional and made.kind == "optional_type" else made)
        item = self._homogeneous(node.items, types)
        return list_of(item, len(node.items))

    def _homogeneous(self, nodes: list[Any], types: list[Type]) -> Type:
        if self._mixed:
            return joined(types)
        for node, type_ in zip(nodes[1:], types[1:], strict=True):
            if not assignable(types[0], type_, {}):
                return self._wrong(node, f"expected type '{types[0]}' but found '{type_}'")
        return joined(types)

    def _map(self, node: MapOf) -> Type:
        if node.name:
            return self._constructed(node)
        keys, values = [], []
        for key, value, maybe in node.entries:
            keys.append(self.visit(key))
            made = self.visit(value)
            values.append(made.params[0] if maybe and made.kind == "optional_type" else made)
        key_type = self._homogeneous([e[0] for e in node.entries], keys)
        value_type = self._homogeneous([e[1] for e in node.entries], values)
        return map_of(key_type, value_type, len(node.entries))

    def _constructed(self, node: MapOf) -> Type:
        made = self._constructors(node.name)
        if made is None:
            return self._wrong(node, f"undeclared reference to '{node.name}' (in container '')")
        for name, value, maybe in node.entries:
            found = self.visit(value)
            found = found.params[0] if maybe and found.kind == "optional_type" else found
            wanted = DYN if made.fields is None else made.fields.get(name)
            if wanted is None:
                self._wrong(node, f"undefined field '{name}'")
            elif not assignable(wanted, found, {}):
                self._wrong(value, f"expected type of field '{name}' is '{wanted}' but provided type is '{found}'")
        return made

    def _fold(self, node: Fold) -> Type:
        over, init = self.visit(node.over), self.visit(node.init)
        accu: dict[str, Type] = {node.accu: init}
        if over.kind == "list":
            one, two = over.params[0], over.params[0]
            if node.var2:
                one = INT
        elif over.kind == "map":
            one, two = over.params
        elif over.kind in ("dyn", "!error!"):
            one = two = DYN
        else:
            text = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            return self._wrong(node.over, text)
        inner: dict[str, Type] = {node.var: one} | ({node.var2: two} if node.var2 else {})
        self._scopes += [accu, inner]
        condition = self.visit(node.condition)
        if not assignable(BOOL, condition, {}):
            self._wrong(node.condition, f"expected type 'bool' but found '{condition}'")
        step = self.visit(node.step)
        if init.kind in ("list", "map") and all(p.kind == "dyn" for p in init.params) and step.kind == init.kind:
            accu[node.accu] = init = Type(step.kind, step.params)
        elif not assignable(init, step, {}):
            self._wrong(node.step, f"expected type '{init}' but found '{step}'")
        self._scopes.pop()
        result = self.visit(node.result)
        self._scopes.pop()
        if binds(node):
            return result
        if init.kind in ("list", "map") and over.kind in ("list", "map") and result.kind == init.kind:
            return Type(result.kind, result.params, over.size)
        return result


_VISITS: dict[type, Callable[[_Checker, Any], Type]] = {
    Const: _Checker._const,
    Ident: _Checker._ident,
    Select: _Checker._select,
    Call: _Checker._call,
    ListOf: _Checker._list,
    MapOf: _Checker._map,
    Fold: _Checker._fold,
}
