"""Rules for admission policies and their bindings (pkg/apis/admissionregistration/validation)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from switchboard.objects import names
from switchboard.objects.validate import labels
from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.metadata import path_segment
from switchboard.objects.validate.webhooks import condition_names, match_rule

if TYPE_CHECKING:
    from switchboard.objects.cel.policies import Expressions

Object = dict[str, Any]
_MUTATED = ("*", "CONNECT", "CREATE", "UPDATE")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*\Z")
_LINES = re.compile(r"[\n\r]")
_MOST_ANNOTATIONS, _LONGEST_VALUE = 20, 5 * 1024
_NOTHING = "validations or auditAnnotations must contain at least one item"


def validating_policy(obj: Object, errs: Errors) -> None:
    """admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    _policy(spec, errs)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        errs.required("spec.validations", _NOTHING)
        errs.required("spec.auditAnnotations", _NOTHING)
    for i, each in enumerate(validations):
        _validation(each, f"spec.validations[{i}]", errs)
    if len(annotations) > _MOST_ANNOTATIONS:
        text = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        errs.invalid("spec.auditAnnotations", list(annotations), text)
    seen: set[str] = set()
    for i, each in enumerate(annotations):
        _annotation(obj["metadata"].get("name") or "", each, f"spec.auditAnnotations[{i}]", seen, errs)
    if not errs:
        from switchboard.objects.cel.policies import ValidatingPolicy  # only who has policies pays for the language

        _compiled(ValidatingPolicy(spec), errs)


def mutating_policy(obj: Object, errs: Errors) -> None:
    """admissionregistration.k8s.io/v1 MutatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    _policy(spec, errs, mutating=True)
    if not spec.get("mutations"):
        errs.required("spec.mutations", "mutations must contain at least one item")
    for i, each in enumerate(spec.get("mutations") or ()):
        _mutation(each, f"spec.mutations[{i}]", errs)
    errs.one_of("spec.reinvocationPolicy", spec.get("reinvocationPolicy"), ("IfNeeded", "Never"))
    if not errs:
        from switchboard.objects.cel.mutations import MutatingPolicy  # only who has policies pays for the language

        _compiled(MutatingPolicy(spec), errs)


def _compiled(policy: Expressions, errs: Errors) -> None:
    for path, text, error in policy.mistakes:
        errs.invalid(f"spec.{path}", text, error)


def _policy(spec: Object, errs: Errors, *, mutating: bool = False) -> None:
    """What both kinds of policies have."""
    errs.one_of("spec.failurePolicy", spec.get("failurePolicy"), ("Fail", "Ignore"))
    if spec.get("paramKind") is not None:
        _param_kind(spec["paramKind"], "spec.paramKind", errs)
    path, match = "spec.matchConstraints", spec.get("matchConstraints")
    if match is None:
        errs.required(path)
    else:
        _match(match, path, errs)
        if not match.get("resourceRules"):
            errs.required(f"{path}.resourceRules")
        if mutating:
            _mutable(match, path, errs)
    condition_names(spec.get("matchConditions") or [], "spec.matchConditions", errs)
    for i, each in enumerate(spec.get("variables") or ()):
        path, name = f"spec.variables[{i}]", each.get("name") or ""
        if not name.strip():
            errs.required(f"{path}.name", "name is not specified")
        elif not _IDENTIFIER.match(name) or name in names.CEL_RESERVED:
            errs.invalid(f"{path}.name", name, "must be a valid CEL identifier")
        if not (each.get("expression") or "").strip():
            errs.required(f"{path}.expression", "expression is not specified")


def _mutable(match: Object, path: str, errs: Errors) -> None:
    """Operations in which there is something to mutate."""
    for rule in match.get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            if operation not in _MUTATED:
                errs.unsupported(f"{path}.resourceRules.operations", operation, _MUTATED)


def _param_kind(kind: Object, path: str, errs: Errors) -> None:
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    if not version:
        errs.required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        errs.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    else:
        group, _, alone = version.rpartition("/")
        for text, check in ((group, names.dns_subdomain), (alone, names.dns_1035_label)):
            problems = list(check(text)) if text else []
            if problems:
                errs.invalid(f"{path}.apiVersion", text, ",".join(problems))
        if not alone:
            errs.invalid(f"{path}.apiVersion", version, "version must be specified")
    if not name:
        errs.required(f"{path}.kind")
    else:
        problems = list(names.dns_1035_label(name.lower()))
        if problems:
            text = f"may have mixed case, but should otherwise match: {','.join(problems)}"
            errs.invalid(f"{path}.kind", name, text)


def _match(match: Object, path: str, errs: Errors) -> None:
    errs.one_of(f"{path}.matchPolicy", match.get("matchPolicy"), ("Equivalent", "Exact"))
    for name in ("namespaceSelector", "objectSelector"):
        if match.get(name) is None:
            errs.required(f"{path}.{name}")
        else:
            labels.selector(match[name], f"{path}.{name}", errs)
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            here, seen = f"{path}.{field}[{i}]", set()
            for n, name in enumerate(rule.get("resourceNames") or ()):
                errs.check(f"{here}.resourceNames[{n}]", name, path_segment)
                if name in seen:
                    errs.duplicate(f"{here}.resourceNames[{n}]", name)
                seen.add(name)
            match_rule(rule, here, errs)


def _validation(validation: Object, path: str, errs: Errors) -> None:
    if not (validation.get("expression") or "").strip():
        errs.required(f"{path}.expression", "expression is not specified")
    for name in ("messageExpression", "message"):
        text = validation.get(name) or ""
        if text and not text.strip():
            errs.invalid(f"{path}.{name}", text, "must be non-empty if specified")
    if _LINES.search((validation.get("message") or "").strip()):
        errs.invalid(f"{path}.message", validation["message"], "must not contain line breaks")
    reasons = ("Forbidden", "Invalid", "RequestEntityTooLarge")
    if validation.get("reason") is not None and validation["reason"] not in reasons:
        errs.unsupported(f"{path}.reason", validation["reason"], reasons)


def _annotation(policy: str, annotation: Object, path: str, seen: set[str], errs: Errors) -> None:
    key, value = annotation.get("key") or "", (annotation.get("valueExpression") or "").strip()
    if policy:
        errs.check(f"{path}.key", f"{policy}/{key}", names.qualified_name)
    else:
        errs.invalid(f"{path}.key", key, "requires metadata.name be non-empty")
    if not value:
        errs.required(f"{path}.valueExpression", "valueExpression is not specified")
    elif len(value.encode()) > _LONGEST_VALUE:
        errs.required(f"{path}.valueExpression", f"must not exceed {_LONGEST_VALUE} bytes in length")
    if key in seen:
        errs.duplicate(f"{path}.key", key)
    seen.add(key)


def _mutation(mutation: Object, path: str, errs: Errors) -> None:
    type_ = mutation.get("patchType") or ""
    fields = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
    if not type_:
        errs.required(f"{path}.patchType")
    elif type_ not in fields:
        errs.unsupported(f"{path}.patchType", type_, tuple(fields))
    else:
        for other, field in fields.items():
            given = mutation.get(field)
            if other != type_:
                if given is not None:
                    text = f"must not be specified when patchType is {type_}"
                    errs.invalid(f"{path}.{field}", f"{{{field}}}", text)
            elif given is None:
                errs.required(f"{path}.{field}", f"must be specified when patchType is {type_}")
            elif not (given.get("expression") or "").strip():
                errs.required(f"{path}.{field}.expression")


def validating_binding(obj: Object, errs: Errors) -> None:
    """admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding."""
    spec = obj.get("spec") or {}
    _binding(spec, errs)
    path, actions = "spec.validationActions", spec.get("validationActions") or []
    for i, action in enumerate(actions):
        if action not in ("Deny", "Warn", "Audit"):
            errs.unsupported(f"{path}[{i}]", action, ("Audit", "Deny", "Warn"))
        if action in actions[:i]:
            errs.duplicate(f"{path}[{i}]", action)
    if "Deny" in actions and "Warn" in actions:
        errs.invalid(
            path,
            actions,
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)",
        )
    if not actions:
        errs.required(path, "at least one validation action is required")


def mutating_binding(obj: Object, errs: Errors) -> None:
    """admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding."""
    spec = obj.get("spec") or {}
    _binding(spec, errs)
    _mutable(spec.get("matchResources") or {}, "spec.matchResources", errs)


def _binding(spec: Object, errs: Errors) -> None:
    name, ref = spec.get("policyName") or "", spec.get("paramRef")
    if not name:
        errs.required("spec.policyName")
    else:
        errs.check("spec.policyName", name, names.dns_subdomain)
    if ref is not None:
        _param_ref(ref, "spec.paramRef", errs)
    if spec.get("matchResources") is not None:
        _match(spec["matchResources"], "spec.matchResources", errs)


def _param_ref(ref: Object, path: str, errs: Errors) -> None:
    name, selector = ref.get("name") or "", ref.get("selector")
    exclusive = "name and selector are mutually exclusive"
    if name:
        errs.check(f"{path}.name", name, path_segment)
        if selector is not None:
            errs.forbidden(f"{path}.name", exclusive)
    if selector is not None:
        labels.selector(selector, f"{path}.selector", errs)
        if name:
            errs.forbidden(f"{path}.selector", exclusive)
    if not name and selector is None:
        errs.required(path, "one of name or selector must be specified")
    errs.one_of(f"{path}.parameterNotFoundAction", ref.get("parameterNotFoundAction"), ("Deny", "Allow"))


def policy_status(obj: Object, old: Object, errs: Errors) -> None:
    """The status of a ValidatingAdmissionPolicy."""
    found = ((obj.get("status") or {}).get("typeChecking") or {}).get("expressionWarnings") or ()
    for i, warning in enumerate(found):
        path = f"status.typeChecking.expressionWarnings[{i}]"
        for name in ("warning", "fieldRef"):
            if not (warning.get(name) or "").strip():
                errs.required(f"{path}.{name}")
