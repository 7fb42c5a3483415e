"""Rules for Jobs: generated selectors, indexes, the policies of failure and success, and what their status may say."""

from typing import Any

import pytest
from shapes import changed, made, pod_spec, problems

Object = dict[str, Any]
INDEXED = {"completionMode": "Indexed", "completions": 5, "parallelism": 2}
BIG = {"completionMode": "Indexed", "completions": 100_001, "backoffLimitPerIndex": 1}
START, END = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def job(**spec: Any) -> Object:
    return made("batch/v1", "Job", "j", spec={"template": {"spec": pod_spec(restartPolicy="Never")}, **spec})


def failure(**rule: Any) -> Object:
    return job(podFailurePolicy={"rules": [{"action": "FailJob", **rule}]})


def success(**rule: Any) -> Object:
    return job(**INDEXED, successPolicy={"rules": [rule]})


def codes(*values: int, **more: Any) -> Object:
    return {"operator": "In", "values": list(values), **more}


RULE, WON = "spec.podFailurePolicy.rules[0]", "spec.successPolicy.rules[0]"
GOOD = [
    failure(onExitCodes=codes(1, 2, 255, containerName="c")),
    failure(onExitCodes={"operator": "NotIn", "values": [0]}),
    failure(action="Ignore", onPodConditions=[{"type": "DisruptionTarget"}]),
    job(
        **INDEXED,
        backoffLimitPerIndex=1,
        podFailurePolicy={"rules": [{"action": "FailIndex", "onExitCodes": codes(1)}]},
    ),
    success(succeededIndexes="0,2-4", succeededCount=4),
    success(succeededIndexes=5000 * "0" + "1"),
    success(succeededCount=5),
    job(**INDEXED, backoffLimitPerIndex=0, maxFailedIndexes=5),
    job(**BIG, maxFailedIndexes=10_000, parallelism=10_000),
]


@pytest.mark.parametrize("obj", GOOD)
def test_what_jobs_may_say(obj: Object) -> None:
    assert problems(obj) == []


BAD = [
    (failure(), f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
    (
        failure(onExitCodes=codes(1), onPodConditions=[{"type": "A"}]),
        f"{RULE}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
    ),
    (
        failure(action="Shrug", onExitCodes=codes(1)),
        f'{RULE}.action: Unsupported value: "Shrug": supported values: "Count", "FailIndex", "FailJob", "Ignore"',
    ),
    (
        failure(action="", onExitCodes=codes(1)),
        f'{RULE}.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]',
    ),
    (
        failure(action="FailIndex", onExitCodes=codes(1)),
        f'{RULE}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
    ),
    (
        failure(onExitCodes=codes(0, 1)),
        f"{RULE}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
    ),
    (failure(onExitCodes=codes(11, 11)), f"{RULE}.onExitCodes.values[1]: Duplicate value: 11"),
    (failure(onExitCodes=codes(13, 11)), f"{RULE}.onExitCodes.values: Invalid value: [13,11]: must be ordered"),
    (
        failure(onExitCodes=codes(*range(1, 257))),
        f"{RULE}.onExitCodes.values: Too many: 256: must have at most 255 items",
    ),
    (
        failure(onExitCodes=codes(1, operator="Near")),
        f'{RULE}.onExitCodes.operator: Unsupported value: "Near": supported values: "In", "NotIn"',
    ),
    (
        failure(onExitCodes=codes(1, containerName="d")),
        f'{RULE}.onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in '
        "the pod template",
    ),
    (
        failure(onPodConditions=[{"type": "A", "status": "Maybe"}]),
        f'{RULE}.onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"',
    ),
    (
        job(podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": codes(1)}] * 21}),
        "spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items",
    ),
    (
        job(successPolicy={"rules": [{"succeededCount": 1}]}),
        'spec.successPolicy: Invalid value: {"Rules":[{"SucceededIndexes":null,"SucceededCount":1}]}: requires indexed '
        "completion mode",
    ),
    (
        job(**INDEXED, successPolicy={"rules": []}),
        "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is "
        "specified",
    ),
    (success(), f"{WON}: Required value: at least one of succeededCount or succeededIndexes must be specified"),
    (
        success(succeededCount=6),
        f"{WON}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of "
        "specified completions)",
    ),
    (
        success(succeededIndexes="1-2", succeededCount=3),
        f"{WON}.succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of "
        "indexes in the specified "
        "succeededIndexes field)",
    ),
    (
        success(succeededIndexes="0-2-4"),
        f'{WON}.succeededIndexes: Invalid value: "0-2-4": error parsing succeededIndexes: the '
        'fragment "0-2-4" violates '
        "the requirement that an index interval can have at most two parts separated by '-'",
    ),
    (
        success(succeededIndexes="1,5"),
        f'{WON}.succeededIndexes: Invalid value: "1,5": error parsing succeededIndexes: too large index: "5"',
    ),
    (
        success(succeededIndexes="2,x"),
        f'{WON}.succeededIndexes: Invalid value: "2,x": error parsing succeededIndexes: cannot '
        "convert string to integer "
        'for index: "x"',
    ),
    (
        success(succeededIndexes=5000 * "9"),
        f'{WON}.succeededIndexes: Invalid value: "{5000 * "9"}": error parsing succeededIndexes: cannot convert string '
        f'to integer for index: "{5000 * "9"}"',
    ),
    (
        success(succeededIndexes="0-2,2"),
        f'{WON}.succeededIndexes: Invalid value: "0-2,2": error parsing succeededIndexes: '
        "non-increasing order, previous: "
        "2, current: 2",
    ),
    (
        job(**INDEXED, maxFailedIndexes=1),
        "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
    ),
    (
        job(**INDEXED, backoffLimitPerIndex=1, maxFailedIndexes=6),
        "spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions",
    ),
    (
        job(**{**INDEXED, "parallelism": 100_001}),
        "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
    ),
    (
        job(**BIG),
        "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
    ),
    (
        job(**BIG, maxFailedIndexes=1, parallelism=10_001),
        "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when "
        "completions are above 100000 and "
        "used with backoff limit per index",
    ),
    (
        made("batch/v1", "Job", "a" * 62, spec={"template": {"spec": pod_spec(restartPolicy="Never")}, **INDEXED}),
        f'metadata.name: Invalid value: "{"a" * 62}": will not able to create pod with invalid DNS label: {"a" * 62}-4',
    ),
    (
        made(
            "batch/v1",
            "CronJob",
            "c",
            spec={"schedule": "@daily", "jobTemplate": {"spec": {**job()["spec"], "selector": {}}}},
        ),
        "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
    ),
]


@pytest.mark.parametrize(("obj", "error"), BAD)
def test_what_jobs_may_not_say(obj: Object, error: str) -> None:
    assert problems(obj) == [error]


def generated(uid: str, name: str = "j", **spec: Any) -> Object:
    """A Job as the server makes it of one that asked for no selector."""
    prefix = "batch.kubernetes.io/"
    own = {"controller-uid": uid, "job-name": name}
    obj = job(selector={"matchLabels": {f"{prefix}controller-uid": uid}}, **spec)
    obj["metadata"]["uid"] = "u1"
    obj["spec"]["template"]["metadata"] = {"labels": {**own, **{prefix + key: value for key, value in own.items()}}}
    return obj


def test_a_copied_job_keeps_not_its_models_selector() -> None:
    assert problems(generated("u1")) == []
    found = problems(generated("u0"))
    assert [text.partition(": ")[0] for text in found] == [
        "spec.template.metadata.labels[controller-uid]",
        "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]",
        "spec.selector",
    ]
    assert found[0].endswith(": must be 'u1'")
    assert found[2].endswith(
        '{"matchLabels":{"batch.kubernetes.io/controller-uid":"u0"}}: `selector` not auto-generated'
    )
    assert problems(generated("u0", manualSelector=True)) == []


def test_what_of_a_job_changes() -> None:
    two = {**INDEXED, "completions": 2}
    assert changed(job(**INDEXED), job(**two)) == []  # with its parallelism
    assert changed(job(**INDEXED), job(**{**INDEXED, "completions": 3})) == [
        "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"
    ]
    waiting = job(suspend=True)
    nodes, near = ({"affinity": {kind: {}}} for kind in ("nodeAffinity", "podAffinity"))
    for body, allowed in ((nodes, True), (near, False), ({"nodeSelector": {"a": "b"}}, True)):
        wanted = job(suspend=True, template={"spec": pod_spec(restartPolicy="Never", **body)})
        assert (changed(waiting, wanted) == []) == allowed


def with_status(spec: Object, *conditions: str, **status: Any) -> Object:
    true = [{"type": kind, "status": "True"} for kind in conditions]
    return {**job(**spec), "status": {**({"conditions": true} if true else {}), **status}}


PER_INDEX = {**INDEXED, "backoffLimitPerIndex": 1}
STATUSES: list[tuple[Object, Object, Object, str]] = [
    ({}, {}, {"startTime": START, "active": 1, "ready": 1}, ""),
    (
        {},
        {"startTime": START},
        {"conditions": ["SuccessCriteriaMet", "Complete"], "startTime": START, "completionTime": END},
        "",
    ),
    ({}, {"startTime": START}, {"conditions": ["FailureTarget", "Failed"], "startTime": START, "failed": 1}, ""),
    (PER_INDEX, {}, {"completedIndexes": "0-1", "failedIndexes": "2,4"}, ""),
    ({}, {}, {"active": -1}, "status.active: Invalid value: -1: must be greater than or equal to 0"),
    ({}, {}, {"active": 1, "ready": 2}, "status.ready: Invalid value: 2: cannot set more ready pods than active"),
    ({}, {"failed": 2}, {"failed": 1}, "status.failed: Invalid value: 1: cannot decrease the failed counter"),
    ({}, {"succeeded": 2}, {}, "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter"),
    ({}, {"startTime": START}, {}, "status.startTime: Required value: startTime cannot be removed for unsuspended job"),
    ({"suspend": True}, {"startTime": START}, {}, ""),
    (
        {},
        {"startTime": START},
        {"conditions": ["Complete"], "startTime": START, "completionTime": END},
        "status.conditions: Invalid value: cannot set Complete=True condition without the "
        "SuccessCriteriaMet=true condition",
    ),
    (
        {},
        {},
        {"conditions": ["Failed"], "startTime": START},
        "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
    ),
    (
        {},
        {},
        {"conditions": ["SuccessCriteriaMet", "Complete"], "startTime": START},
        "status.completionTime: Required value: completionTime is required for Complete jobs",
    ),
    (
        {},
        {},
        {"conditions": ["FailureTarget", "Failed"]},
        "status.startTime: Required value: startTime is required for finished job",
    ),
    (
        {},
        {},
        {"conditions": ["FailureTarget", "Failed"], "startTime": START, "active": 1},
        "status.active: Invalid value: 1: active>0 is invalid for finished job",
    ),
    (
        {},
        {},
        {"startTime": START, "completionTime": END},
        f'status.completionTime: Invalid value: "{END}": cannot set completionTime when there is no '
        "Complete=True condition",
    ),
    (
        {},
        {"conditions": ["FailureTarget"]},
        {},
        "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
    ),
    (
        {},
        {},
        {"conditions": ["SuccessCriteriaMet", "FailureTarget"]},
        "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    ),
    (
        {},
        {},
        {"completedIndexes": "0"},
        'status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when '
        "non-indexed completion mode",
    ),
    (
        INDEXED,
        {},
        {"failedIndexes": "0"},
        'status.failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when backoffLimitPerIndex is null',
    ),
    (
        PER_INDEX,
        {},
        {"completedIndexes": "0-3", "failedIndexes": "2,4"},
        'status.failedIndexes: Invalid value: "2,4": failedIndexes and completedIndexes overlap at index: 2',
    ),
    (
        PER_INDEX,
        {},
        {"completedIndexes": "9"},
        'status.completedIndexes: Invalid value: "9": error parsing completedIndexes: too large index: "9"',
    ),
    (
        {},
        {},
        {"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a"]}},
        'status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"',
    ),
]


@pytest.mark.parametrize(("spec", "before", "after", "error"), STATUSES)
def test_what_a_jobs_status_may_become(spec: Object, before: Object, after: Object, error: str) -> None:
    old, new = ({**each} for each in (before, after))
    stored = with_status({"completions": 1, **spec}, *old.pop("conditions", ()), **old)
    wanted = with_status({"completions": 1, **spec}, *new.pop("conditions", ()), **new)
    assert changed(stored, wanted, "status") == ([error] if error else [])
    if not error:
        assert changed(wanted, wanted, "status") == []
