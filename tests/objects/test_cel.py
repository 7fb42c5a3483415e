"""The expression language: values, errors, types, costs."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.objects.cel.cost import estimate
from switchboard.objects.cel.environment import program
from switchboard.objects.cel.schemas import converter, declared, escape
from switchboard.objects.cel.syntax import CompileError
from switchboard.objects.cel.types import Type
from switchboard.objects.cel.values import CelError, CostExceeded

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "n": {"type": "integer"},
        "ratio": {"type": "number"},
        "list": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 10}},
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "any": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "wait": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"},
        "name-space": {"type": "string"},
        "namespace": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "hidden": {"x-kubernetes-preserve-unknown-fields": True},
        "child": {"type": "object", "x-kubernetes-embedded-resource": True},
    },
}
VALUE: dict[str, Any] = {
    "name": "abc", "n": 3, "ratio": 2, "list": ["a", "b"], "set": ["x", "y"], "map": {"k": 1}, "any": "50%",
    "when": "2024-02-03T04:05:06.5Z", "day": "2024-02-03", "wait": "1h30m", "data": "aGk=", "name-space": "d",
    "namespace": "e", "free": {"a": 1}, "hidden": [1],
    "child": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}},
}  # fmt: skip


def self_type() -> Type:
    found = declared(SCHEMA, "object", True)
    assert found is not None
    return found[0]


def value(text: str, limit: int = 10_000) -> Any:
    convert = converter(SCHEMA, True)
    assert convert is not None
    return program(text, {"self": self_type()}).evaluate({"self": convert(VALUE)}, limit)[0]


TRUE = r"""
[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b'] && [2.5, 1.5].sort()[0] == 1.5
[{'n': 2, 'k': 5}, {'n': 1, 'k': 6}].sortBy(x, x.n).map(x, x.k) == [6, 5] && [1, 3, 2].sortBy(x, -x) == [3, 2, 1]
[1, 2, 3, 4].slice(1, 3) == [2, 3] && [[1], [2, 3]].flatten() == [1, 2, 3] && [[[1]], [[2]]].flatten(2) == [1, 2]
[1, 2, 1, 3].distinct() == [1, 2, 3] && [{'a': [1]}, {'a': [1]}].distinct().size() == 1
[dyn(1), dyn(true), dyn(1.0)].distinct().size() == 2 && [[1], [2], [1]].distinct() == [[1], [2]]
[1, 2].reverse() == [2, 1] && lists.range(3) == [0, 1, 2] && [1, 2].first().value() == 1 && [1, 2].last().value() == 2
self.list.first().orValue('') == 'a' && !self.list.slice(0, 0).first().hasValue() && [].last().orValue(5) == 5
optional.unwrap([optional.of(1), optional.none()]) == [1] && [optional.of('a')].unwrapOpt() == ['a']
jsonpatch.escapeKey('k8s.io/my~label') == 'k8s.io~1my~0label'
1 + 2 * 3 == 7 && 7 / 2 == 3 && -7 / 2 == -3 && -7 % 3 == -1
1.5 < 2 && 2u > 1 && dyn(1) == 1.0 && 0.1 + 0.2 != 0.3
'ab' + 'c' == self.name && self.name.size() == 3 && size(b'hi') == 2
self.ratio / 4.0 == 0.5 && type(self.ratio) == double && type(self.n) == int
"a\n" != r"a\n" && '''x'y''' == "x'y"
self.list == ['a', 'b'] && self.list[1] == 'b' && 'a' in self.list && !('c' in self.list)
self.set == ['y', 'x'] && self.set + ['x', 'z'] == ['z', 'x', 'y']
self.map['k'] == 1 && 'k' in self.map && self.map.all(k, k == 'k') && {'a': 1}.a == 1
has(self.name) && !has(self.child.metadata.generateName) && self.child.kind == 'Pod'
self.name__dash__space == 'd' && self.__namespace__ == 'e'
type(self.any) == string && self.any.matches('^[0-9]+%$') && int(self.any.replace('%', '')) == 50
self.when.getFullYear() == 2024 && self.when.getMilliseconds() == 500 && self.when.getHours('+02:00') == 6
self.day == timestamp('2024-02-03T00:00:00Z') && self.when - self.day == duration('4h5m6.5s')
self.wait.getMinutes() == 90 && self.wait < duration('2h') && string(self.wait) == '5400s'
self.data == b'hi' && string(self.data) == 'hi'
self.list.exists(x, x == 'a') && self.list.exists_one(x, x == 'a') && self.list.map(x, x + x) == ['aa', 'bb']
self.list.filter(x, x > 'a') == ['b'] && self.list.map(x, x == 'a', x + '!') == ['a!']
self.list.all(i, x, i < 2 && x < 'c') && self.list.transformList(i, x, i) == [0, 1]
self.map.transformMap(k, v, v + 1) == {'k': 2}
(1 / 0 == 1) || true
!(false && 1 / 0 == 1)
[1, 0].exists(x, 1 / x == 1)
true ? true : 1 / 0 == 1
self.?name.orValue('z') == 'abc' && self.list[?7].orValue('z') == 'z' && !self.map[?'q'].hasValue()
[?optional.none(), 1] == [1] && optional.of(1).value() == 1
cel.bind(x, self.n, x * x == 9)
'%s has %d, %.2f %x %%'.format(['x', 3, 1.5, 255]) == 'x has 3, 1.50 ff %' && '%s'.format([[1, true]]) == '[1, true]'
[3, 1, 2].min() == 1 && [1, 2].sum() == 3 && [1, 2, 2].isSorted() && ['a', 'b', 'a'].lastIndexOf('a') == 2
'a-b-c'.split('-', 2) == ['a', 'b-c'] && ['a', 'b'].join('/') == 'a/b' && 'hello'.substring(1, 3) == 'el'
'Ab'.lowerAscii() == 'ab' && ' x '.trim() == 'x' && 'abcabc'.indexOf('c', 3) == 5
'a1b22'.findAll('[0-9]+') == ['1', '22']
quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('1.5')).asInteger() == 2
url('https://u@h:8/p?q=1').getHostname() == 'h' && url('https://h/p?q=1').getQuery()['q'] == ['1'] && !isURL('x y')
ip('::1').isLoopback() && isIP('10.0.0.1') && !isIP('10.0.0') && ip('10.0.0.1').family() == 4
cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsCIDR('11.0.0.0/16')
semver('1.10.0').isGreaterThan(semver('1.9.0')) && isSemver('1.0.0-a.1') && !isSemver('1.0')
sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])
!format.dns1123Label().validate('a-b').hasValue() && format.named('dns1123Label').value().validate('A').hasValue()
int('12') == 12 && string(1.0) == '1' && double('1.5') == 1.5 && bool('true') && uint(3) == 3u && bytes('a') == b'a'
"""


@pytest.mark.parametrize("text", TRUE.strip().split("\n"))
def test_expressions_that_hold(text: str) -> None:
    assert value(text) is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 / 0 == 1", "division by zero"),
        ("[1].slice(0, 2) == [1]", "cannot slice(0, 2), list is length 1"),
        ("[1].slice(1, 0) == []", "start index must be less than or equal to end index"),
        ("[[1]].flatten(-1) == []", "level must be non-negative"),
        ("1 % 0 == 1", "modulus by zero"),
        ("9223372036854775807 + 1 > 0", "integer overflow"),
        ("self.map['q'] == 1", "no such key: q"),
        ("self.list[2] == 'a'", "index out of bounds: 2"),
        ("self.child.metadata.generateName == ''", "no such key: generateName"),
        ("self.any > 5", "no such overload"),
        ("quantity('1Q') == quantity('1')", "quantities must match"),
        ("duration('1y') == duration('1s')", "invalid duration"),
        ("self.name.matches('(')", "error parsing regexp"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("[1, 0].all(x, 1 / x == 1)", "division by zero"),
        ("'%x'.format([1.5]) == ''", "error during formatting"),
        ("'%d'.format(['x']) == ''", "error during formatting"),
        ("'%.999f'.format([1.0]) == ''", "exceeds maximum"),
    ],
)
def test_expressions_that_fail(text: str, why: str) -> None:
    with pytest.raises(CelError, match=r".") as failed:
        value(text)
    assert why in str(failed.value)


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("self.nope == 1", 5, "undefined field 'nope'"),
        ("self.hidden == 1", 5, "undefined field 'hidden'"),
        ("self.free.a == 1", 10, "undefined field 'a'"),
        ("self.n == 'a'", 8, "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.n + 1.0 > 2.0", 8, "found no matching overload for '_+_' applied to '(int, double)'"),
        ("oldSelf == self", 1, "undeclared reference to 'oldSelf' (in container '')"),
        ("self.name.nope()", 15, "undeclared reference to 'nope' (in container '')"),
        ("[1, 'a'].size() == 2", 5, "expected type 'int' but found 'string'"),
        ("self.n.all(x, true)", 5, "expression of type 'int' cannot be range of a comprehension"),
        ("self.name.format", 10, "type 'string' does not support field selection"),
        ("1 +", 4, "Syntax error: mismatched input '<EOF>'"),
        ("true ? 1 : 'a'", 6, "found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
    ],
)
def test_expressions_that_do_not_compile(text: str, column: int, why: str) -> None:
    with pytest.raises(CompileError, match=r".") as failed:
        program(text, {"self": self_type()})
    first, shown, pointer = str(failed.value).split("\n")[:3]
    assert first.startswith(f"ERROR: <input>:1:{column}: {why}")
    assert shown == f" | {text}"
    assert pointer == " | " + "." * (column - 1) + "^"


def test_what_an_expression_costs_is_known_before_and_bounded() -> None:
    made = program("self.list.all(x, x == self.name)", {"self": self_type()})
    spent = made.evaluate({"self": {"list": ["a", "a"], "name": "a"}}, 1000)[1]
    assert 0 < spent < estimate(made.checked) < 200
    assert estimate(program("self.set.all(x, self.set.all(y, x == y))", {"self": self_type()}).checked) > 10_000_000
    with pytest.raises(CostExceeded):
        made.evaluate({"self": {"list": ["a"] * 1000, "name": "a"}}, 1000)
    with pytest.raises(CostExceeded):
        value("[1,2,3,4,5,6,7,8].all(a, [1,2,3,4,5,6,7,8].all(b, [1,2,3,4,5,6,7,8].all(c, a + b + c > 0)))", 1000)


def test_a_regular_expression_takes_linear_time() -> None:
    made = program("self.name.matches('^(a+)+$')", {"self": self_type()})
    assert made.evaluate({"self": {"name": "a" * 5000 + "b"}}, 1_000_000)[0] is False


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("plain", "plain"), ("a-b", "a__dash__b"), ("a.b/c", "a__dot__b__slash__c"), ("a__b", "a__underscores__b"),
        ("namespace", "__namespace__"), ("in", "__in__"), ("int", "int"), ("$ref", None), ("1a", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_properties(name: str, escaped: str | None) -> None:
    assert escape(name) == escaped


def test_what_a_function_makes_is_bounded() -> None:
    for text in ("self.name.replace('', self.name) == ''", "self.list.map(x, self.name).join() == ''"):
        made = program(text, {"self": self_type()})
        with pytest.raises(CelError, match="string too long"):
            made.evaluate({"self": {"name": "a" * 200_000, "list": ["x"] * 1000}}, 1_000_000)


def test_a_list_that_is_sorted_is_made_once() -> None:
    def spent(count: int) -> int:
        made = program(f"self.list{'.sortBy(x, x)' * count} == ['a', 'b']", {"self": self_type()})
        found, cost = made.evaluate({"self": {"list": ["b", "a"]}}, 10_000)
        assert found is True and cost <= estimate(made.checked) < 10_000
        return int(cost)

    assert spent(20) - spent(10) == 10 * (spent(2) - spent(1))


def test_the_size_of_what_is_bound_is_known() -> None:
    def most(text: str) -> int:
        return estimate(program(text, {"self": self_type()}).checked)

    short = "self.list.filter(x, x != '')"
    assert most(f"cel.bind(l, {short} + {short}, l.all(x, x != ''))") < 500
    for unbounded in (
        "[cel.bind(l, self.set, l)].all(l, l.all(x, x != ''))",
        "cel.bind(l, ['a'], self.set.all(l, l != ''))",
    ):
        assert most(unbounded) > 1_000_000


def test_a_long_range_costs_its_length() -> None:
    with pytest.raises(CostExceeded):
        value("lists.range(1000000000).size() == 0")
