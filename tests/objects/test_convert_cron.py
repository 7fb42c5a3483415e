import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.objects import convert, cron
from switchboard.objects.cron import CronError


def test_event_there_and_back() -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod"},
        "note": "n",
        "reportingController": "c",
        "reportingInstance": "i",
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
        "eventTime": "2024-01-01T00:00:00.000000Z",
    }
    stored = convert.to_storage("Event", "events.k8s.io/v1", copy.deepcopy(event))
    assert stored["apiVersion"] == "v1"
    assert stored["involvedObject"] == {"kind": "Pod"}
    assert stored["message"] == "n"
    assert stored["reportingComponent"] == "c"
    assert convert.from_storage("Event", "events.k8s.io/v1", stored) == event


def test_autoscaler_there_and_back() -> None:
    old = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
        "status": {"currentReplicas": 1, "desiredReplicas": 2},
    }
    stored = convert.to_storage("HorizontalPodAutoscaler", "autoscaling/v1", copy.deepcopy(old))
    assert stored["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 50}
    assert convert.from_storage("HorizontalPodAutoscaler", "autoscaling/v1", stored) == old


def test_metrics_that_v1_does_not_know_are_kept_in_annotations() -> None:
    metrics = [
        {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}}
    ]
    new = {"apiVersion": "autoscaling/v2", "metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "metrics": metrics}}
    old = convert.from_storage("HorizontalPodAutoscaler", "autoscaling/v1", copy.deepcopy(new))
    assert "metrics" not in old["spec"]
    again = convert.to_storage("HorizontalPodAutoscaler", "autoscaling/v1", old)
    assert again["spec"]["metrics"] == metrics
    assert "annotations" not in again["metadata"]


def test_other_kinds_pass_through() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod"}
    assert convert.to_storage("Pod", "v1", pod) is pod
    assert convert.from_storage("Pod", "v1", pod) is pod


def test_schedules() -> None:
    every_five = cron.parse("*/5 9-17 * jan,MAR mon-fri")
    assert every_five.minutes == frozenset(range(0, 60, 5))
    assert every_five.hours == frozenset(range(9, 18))
    assert every_five.months == {1, 3}
    assert every_five.weekdays == {1, 2, 3, 4, 5}
    assert every_five.any_day
    assert not cron.parse("0 0 1 * 1").any_day
    assert cron.parse("@daily") == cron.parse("0 0 * * *")
    assert cron.parse("@every 1h30m").every == 5400
    assert cron.parse("10/20 * * * *").minutes == {10, 30, 50}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "expected exactly 5 fields, found 1: [x]"),
        ("61 * * * *", "end of range (61) above maximum (59): 61"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("", "empty spec string"),
    ],
)
def test_no_schedules(text: str, message: str) -> None:
    with pytest.raises(CronError) as caught:
        cron.parse(text)
    assert str(caught.value) == message


@given(st.text(alphabet="0123456789*/-,? @amonevryjhd", max_size=16))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        cron.parse(text)
    except CronError:
        pass
