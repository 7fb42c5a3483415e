import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import REGISTRY

from switchboard.objects import fieldselectors, selectors
from switchboard.objects.errors import BadRequest
from switchboard.objects.selectors import SelectorError

LABELS = {"app": "web", "tier": "front", "n": "5", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("! gone", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app = web , tier != back", True),
        ("gone!=x", True),
        ("app in (a,web)", True),
        ("app notin (a,web)", False),
        ("gone notin (a)", True),
        ("gone in (a)", False),
        ("empty=", True),
        ("empty in ()", True),
        ("app in (,web)", True),
        ("n>4", True),
        ("n<5", False),
        ("app>1", False),
        ("gone<1", False),
        ("in in (in)", False),
    ],
)
def test_matching(text: str, matches: bool) -> None:
    assert selectors.parse(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a in 1", "unable to parse requirement: found '1' expected: '('"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("!a=1", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (b,=)", "unable to parse requirement: found '=', expected: ',', or identifier"),
        ("a=!", "unable to parse requirement: found '!', expected: identifier"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        selectors.parse_query(text)
    assert caught.value.message == message


def test_comparison_needs_a_number() -> None:
    with pytest.raises(SelectorError, match="the value must be an integer"):
        selectors.parse("a>b")


def test_bad_key_and_value() -> None:
    with pytest.raises(SelectorError, match="a valid label key must consist of"):
        selectors.parse("a/b/c")
    with pytest.raises(SelectorError, match=r"values\[0\]: Invalid value"):
        selectors.parse("a=-b")


_KEY = st.from_regex(r"[a-z]([a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)
_VALUE = st.from_regex(r"([a-z0-9]{1,5})?", fullmatch=True)
_REQUIREMENT = st.one_of(
    st.builds(selectors.Requirement, _KEY, st.just("exists")),
    st.builds(selectors.Requirement, _KEY, st.just("!")),
    st.builds(selectors.Requirement, _KEY, st.sampled_from(["=", "!="]), st.tuples(_VALUE)),
    st.builds(
        selectors.Requirement,
        _KEY,
        st.sampled_from(["in", "notin"]),
        st.sets(_VALUE.filter(bool), min_size=1, max_size=3).map(lambda values: tuple(sorted(values))),
    ),
)


@given(st.lists(_REQUIREMENT, max_size=4))
def test_text_round_trip(requirements: list[selectors.Requirement]) -> None:
    made = selectors.LabelSelector.of(requirements)
    assert selectors.parse(str(made)) == made


@given(st.text(alphabet="ab1!=<>(), in", max_size=14))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        selectors.parse(text).matches(LABELS)
    except SelectorError:
        pass


def test_objects() -> None:
    assert not selectors.from_object(None).matches(LABELS)
    assert selectors.from_object({}).matches(None)
    wanted = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["front", "x"]},
            {"key": "gone", "operator": "DoesNotExist"},
            {"key": "n", "operator": "Exists"},
            {"key": "tier", "operator": "NotIn", "values": ["back"]},
        ],
    }
    assert selectors.from_object(wanted).matches(LABELS)
    assert not selectors.from_object(wanted).matches({"app": "web"})
    with pytest.raises(SelectorError, match="is not a valid label selector operator"):
        selectors.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_plain_labels() -> None:
    assert selectors.from_labels({"app": "web"}).matches(LABELS)
    assert not selectors.from_labels({"app": "x"}).matches(LABELS)
    assert selectors.from_labels(None).everything


POD = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "node-1", "hostNetwork": True},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=p", True),
        ("metadata.name!=p", False),
        ("status.phase=Running,spec.nodeName=node-1", True),
        ("status.phase==Pending", False),
        ("spec.hostNetwork=true", True),
        ("status.nominatedNodeName=", True),
        ("metadata.name=p,metadata.namespace=m", False),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    kind = REGISTRY.of("v1", "Pod")
    assert kind is not None
    assert fieldselectors.parse(text, kind).matches(POD) is matches


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("ConfigMap", "data.a=1", '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("Pod", "spec.bogus=1", "field label not supported: spec.bogus"),
        ("Pod", "metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("Pod", "metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
        ("Pod", r"metadata.name=\x", r"invalid field selector: invalid escape sequence: \x"),
    ],
)
def test_field_selector_errors(kind: str, text: str, message: str) -> None:
    found = REGISTRY.of("v1", kind)
    assert found is not None
    with pytest.raises(BadRequest) as caught:
        fieldselectors.parse(text, found)
    assert caught.value.message == message


@given(st.text(alphabet=r"ab\,=!", max_size=8))
def test_field_values_survive_escaping(value: str) -> None:
    kind = REGISTRY.of("v1", "ConfigMap")
    assert kind is not None
    made = fieldselectors.parse(f"metadata.name={fieldselectors.escape(value)}", kind)
    assert made.exact("metadata.name") == value
    assert made.matches({"metadata": {"name": value}})


def test_fields_of_other_kinds() -> None:
    event = {"involvedObject": {"kind": "Pod"}, "source": {"component": "kubelet"}, "metadata": {}}
    old, new = REGISTRY.of("v1", "Event"), REGISTRY.of("events.k8s.io/v1", "Event")
    assert old is not None and new is not None
    assert fieldselectors.parse("involvedObject.kind=Pod,source=kubelet", old).matches(event)
    assert fieldselectors.parse("regarding.kind=Pod", new).matches(event)
    node = REGISTRY.of("v1", "Node")
    assert node is not None
    assert fieldselectors.parse("spec.unschedulable=false", node).matches({"metadata": {}, "spec": {}})


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=b", [("a", "b")]),
        ("a==b,c in (d),e in (f,g)", [("a", "b"), ("c", "d")]),
        ("a!=b,c notin (d),e,!f,g>1", []),
        ("", []),
    ],
)
def test_pairs_are_what_every_selected_object_has(text, pairs):
    assert selectors.parse(text).pairs == pairs
