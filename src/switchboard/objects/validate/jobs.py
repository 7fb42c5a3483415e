"""Rules for Jobs and for the Jobs that a CronJob makes (pkg/apis/batch/validation)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from switchboard.objects import names
from switchboard.objects.validate import labels, pods
from switchboard.objects.validate.fields import IMMUTABLE, Errors, go_struct
from switchboard.objects.validate.jobindexes import WrongIndexes, count_of

Object = dict[str, Any]

_NUMBERS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_NUMBERS_PER_INDEX = ("backoffLimitPerIndex", "maxFailedIndexes")
_MANY, _FEW = 100_000, 10_000  # of indexes at once; of them where completions are more than many
_MAX_RULES, _MAX_PATTERNS, _MAX_CODES = 20, 20, 255
_MAX_INDEXES_TEXT, _MAX_MANAGED_BY = 65536, 63
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_FROZEN = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def job(obj: Object, errs: Errors) -> None:
    """batch/v1 Job."""
    spec = obj.get("spec") or {}
    if spec.get("selector") is not None and not spec.get("manualSelector"):
        _generated_selector(obj, spec, errs)
    job_spec(spec, "spec", errs)
    if spec.get("selector") is not None:
        _selector(spec, errs)
    elif spec.get("manualSelector"):
        errs.required("spec.selector")
    if spec.get("completionMode") == "Indexed" and (spec.get("completions") or 0) > 0:
        name = (obj.get("metadata") or {}).get("name") or ""
        last = f"{name}-{spec['completions'] - 1}"  # the host name of the pod with the longest one
        if names.dns_label(last):
            errs.invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {last}")


def _selector(spec: Object, errs: Errors) -> None:
    own = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    labels.selector(spec["selector"], "spec.selector", errs)
    if labels.matches(spec["selector"], own) is False:
        errs.invalid("spec.template.metadata.labels", own, "`selector` does not match template `labels`")


def _generated_selector(obj: Object, spec: Object, errs: Errors) -> None:
    """Labels and a selector that were not asked for are this Job's own, not those of one that was copied."""
    meta = obj.get("metadata") or {}
    uid, name = meta.get("uid") or "", meta.get("name") or ""
    if not uid:
        errs.required("metadata.uid")
    expected = {
        "controller-uid": uid,
        "job-name": name,
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
    }
    own = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    for key, value in expected.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key not in own:
            errs.required(path, f"must be '{value}'")
        elif own[key] != value:
            errs.invalid(path, own, f"must be '{value}'")
    if labels.matches(spec["selector"], expected) is False:
        errs.invalid("spec.selector", spec["selector"], "`selector` not auto-generated")


def template_spec(spec: Object, path: str, errs: Errors) -> None:
    """The Job that a CronJob makes: its selector is generated, always."""
    job_spec(spec, path, errs)
    if spec.get("selector") is not None:
        errs.invalid(f"{path}.selector", spec["selector"], "`selector` will be auto-generated")
    if spec.get("manualSelector"):
        errs.unsupported(f"{path}.manualSelector", True, ("nil", "false"))


def job_spec(spec: Object, path: str, errs: Errors) -> None:
    """What a Job and a CronJob's template share."""
    for name in (*_NUMBERS, *_NUMBERS_PER_INDEX):
        errs.not_negative(f"{path}.{name}", spec.get(name))
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errs.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if spec.get("managedBy") is not None:
        errs.check(f"{path}.managedBy", spec["managedBy"], names.domain_prefixed_path)
        if len(spec["managedBy"].encode()) > _MAX_MANAGED_BY:
            errs.too_long(f"{path}.managedBy", _MAX_MANAGED_BY)
    mode = spec.get("completionMode") or "NonIndexed"
    if mode == "Indexed":
        _indexed(spec, path, errs)
    elif mode != "NonIndexed":
        errs.unsupported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    else:
        for name in _NUMBERS_PER_INDEX:
            if spec.get(name) is not None:
                errs.invalid(f"{path}.{name}", spec[name], "requires indexed completion mode")
    _policies(spec, mode, path, errs)
    pods.template(spec.get("template") or {}, f"{path}.template", errs)
    _restart_policy(spec, f"{path}.template.spec.restartPolicy", errs)


def _indexed(spec: Object, path: str, errs: Errors) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    failed = spec.get("maxFailedIndexes")
    if completions is None:
        errs.required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism > _MANY:
        text = f"must be less than or equal to {_MANY} when completion mode is Indexed"
        errs.invalid(f"{path}.parallelism", parallelism, text)
    if completions is not None and failed is not None and failed > completions:
        errs.invalid(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions")
    if failed is not None and failed > _MANY:
        errs.invalid(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {_MANY}")
    if (completions or 0) <= _MANY or spec.get("backoffLimitPerIndex") is None:
        return
    text = f"when completions are above {_MANY} and used with backoff limit per index"
    if failed is None:
        errs.required(f"{path}.maxFailedIndexes", f"must be specified when completions is above {_MANY}")
    if parallelism > _FEW:
        errs.invalid(f"{path}.parallelism", parallelism, f"must be less than or equal to {_FEW} {text}")
    if (failed or 0) > _FEW:
        errs.invalid(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {_FEW} {text}")


def _policies(spec: Object, mode: str, path: str, errs: Errors) -> None:
    failure, success = spec.get("podFailurePolicy"), spec.get("successPolicy")
    if failure is not None:
        _failure_policy(spec, failure.get("rules") or [], f"{path}.podFailurePolicy.rules", errs)
    if success is not None:
        rules = success.get("rules") or []
        if mode == "Indexed":
            _success_policy(spec.get("completions") or 0, rules, f"{path}.successPolicy.rules", errs)
        else:
            inner = [
                {"SucceededIndexes": r.get("succeededIndexes"), "SucceededCount": r.get("succeededCount")}
                for r in rules
            ]
            errs.invalid(f"{path}.successPolicy", go_struct({"Rules": inner}), "requires indexed completion mode")
    replacement = spec.get("podReplacementPolicy")
    if replacement is not None:
        allowed = ("Failed",) if failure is not None else ("Failed", "TerminatingOrFailed")
        if replacement not in allowed:
            errs.unsupported(f"{path}.podReplacementPolicy", replacement, allowed)


def _restart_policy(spec: Object, path: str, errs: Errors) -> None:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy in (None, "", "Always"):
        errs.required(path, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        errs.unsupported(path, policy, ("OnFailure", "Never"))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        errs.invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified')


def _choice(path: str, value: Any, supported: tuple[str, ...], errs: Errors) -> None:
    """One of an enumeration, whose values are told when there is none."""
    if not value:
        errs.required(path, f"valid values: [{' '.join(json.dumps(each) for each in supported)}]")
    elif value not in supported:
        errs.unsupported(path, value, supported)


def _failure_policy(spec: Object, rules: list[Object], path: str, errs: Errors) -> None:
    if len(rules) > _MAX_RULES:
        errs.too_many(path, len(rules), _MAX_RULES)
    body = (spec.get("template") or {}).get("spec") or {}
    containers = {c.get("name") for name in ("containers", "initContainers") for c in body.get(name) or ()}
    for i, rule in enumerate(rules):
        here, codes, conditions = f"{path}[{i}]", rule.get("onExitCodes"), rule.get("onPodConditions") or []
        _choice(f"{here}.action", rule.get("action"), _ACTIONS, errs)
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            errs.invalid(f"{here}.action", "FailIndex", "requires the backoffLimitPerIndex to be set")
        if codes is not None:
            _exit_codes(codes, f"{here}.onExitCodes", containers, errs)
        _pod_conditions(conditions, f"{here}.onPodConditions", errs)
        if codes is not None and conditions:
            errs.wrong(here, "specifying both OnExitCodes and OnPodConditions is not supported")
        if codes is None and not conditions:
            errs.wrong(here, "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(codes: Object, path: str, containers: Iterable[Any], errs: Errors) -> None:
    operator, name, values = codes.get("operator"), codes.get("containerName"), codes.get("values") or []
    _choice(f"{path}.operator", operator, _OPERATORS, errs)
    if name is not None and name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        errs.invalid(f"{path}.containerName", name, text)
    if not values:
        errs.invalid(f"{path}.values", codes.get("values"), "at least one value is required")
    elif len(values) > _MAX_CODES:
        errs.too_many(f"{path}.values", len(values), _MAX_CODES)
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            errs.invalid(f"{path}.values[{i}]", value, "must not be 0 for the In operator")
        if value in values[:i]:
            errs.duplicate(f"{path}.values[{i}]", value)
    if values != sorted(values):
        errs.invalid(f"{path}.values", values, "must be ordered")


def _pod_conditions(patterns: list[Object], path: str, errs: Errors) -> None:
    if len(patterns) > _MAX_PATTERNS:
        errs.too_many(path, len(patterns), _MAX_PATTERNS)
    for i, pattern in enumerate(patterns):
        errs.check(f"{path}[{i}].type", pattern.get("type") or "", names.qualified_name)
        _choice(f"{path}[{i}].status", pattern.get("status"), _STATUSES, errs)


def _success_policy(completions: int, rules: list[Object], path: str, errs: Errors) -> None:
    if not rules:
        errs.required(path, "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > _MAX_RULES:
        errs.too_many(path, len(rules), _MAX_RULES)
    for i, rule in enumerate(rules):
        _success_rule(completions, rule, f"{path}[{i}]", errs)


def _success_rule(completions: int, rule: Object, path: str, errs: Errors) -> None:
    indexes, count, total = rule.get("succeededIndexes"), rule.get("succeededCount"), 0
    if indexes is None and count is None:
        errs.required(path, "at least one of succeededCount or succeededIndexes must be specified")
    if indexes is not None:
        if len(indexes.encode()) > _MAX_INDEXES_TEXT:
            errs.too_long(f"{path}.succeededIndexes", _MAX_INDEXES_TEXT)
        try:
            total = count_of(indexes, completions)
        except WrongIndexes as e:
            errs.invalid(f"{path}.succeededIndexes", indexes, f"error parsing succeededIndexes: {e}")
    if count is None:
        return
    here, most = f"{path}.succeededCount", "must be less than or equal to"
    errs.not_negative(here, count)
    if count > completions:
        errs.invalid(here, count, f"{most} {completions} (the number of specified completions)")
    if indexes is not None and count > total:
        errs.invalid(here, count, f"{most} {total} (the number of indexes in the specified succeededIndexes field)")


def job_update(obj: Object, old: Object, errs: Errors) -> None:
    """What of a Job does not change: selector, template, completion mode, completions (unless indexed)."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    completions = spec.get("completions")
    if completions != before.get("completions"):
        if spec.get("completionMode") != "Indexed":
            errs.invalid("spec.completions", completions, IMMUTABLE)
        elif completions is not None and completions != spec.get("parallelism"):
            errs.invalid("spec.completions", completions, "can only be modified in tandem with spec.parallelism")
    errs.immutable("spec.selector", spec.get("selector"), before.get("selector"))
    _template_update(spec.get("template"), old, errs)
    for name in _FROZEN:
        errs.immutable(f"spec.{name}", spec.get(name), before.get(name))


def _template_update(now: Object | None, old: Object, errs: Errors) -> None:
    before = old.get("spec") or {}
    then = before.get("template")
    if now == then:
        return
    started = (old.get("status") or {}).get("startTime")
    if before.get("suspend") and not started and _frozen_template(now) == _frozen_template(then):
        return  # scheduling directives of a job that never started may change (KEP-2926)
    errs.invalid("spec.template", go_struct(now or {}), IMMUTABLE)


def _frozen_template(body: Object | None) -> Object:
    """What stays of a template whose scheduling directives may change: of affinities, all but that to nodes."""
    inner = (body or {}).get("spec") or {}
    spec = {k: v for k, v in inner.items() if k not in ("nodeSelector", "tolerations", "affinity", "schedulingGates")}
    affinity = {k: v for k, v in (inner.get("affinity") or {}).items() if k != "nodeAffinity"}
    meta = {k: v for k, v in ((body or {}).get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {"spec": spec, "affinity": affinity, "metadata": meta}
