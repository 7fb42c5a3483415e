"""Rules for webhook configurations, admission policies and their bindings
(pkg/apis/admissionregistration/validation)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from switchboard.objects import names
from switchboard.objects.validate import labels
from switchboard.objects.validate.fields import Errors
from switchboard.objects.validate.metadata import path_segment

if TYPE_CHECKING:
    from switchboard.objects.cel.policies import Expressions

Object = dict[str, Any]
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_MUTATED = ("*", "CONNECT", "CREATE", "UPDATE")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*\Z")
_LINES = re.compile(r"[\n\r]")
_RESERVED = frozenset(
    "true false null in as break const continue else for function if import let loop package namespace return var "
    "void while".split()
)
_MOST_ANNOTATIONS, _LONGEST_VALUE = 20, 5 * 1024
_NOTHING = "validations or auditAnnotations must contain at least one item"


def webhooks(obj: Object, errs: Errors) -> None:
    """Mutating- and ValidatingWebhookConfiguration."""
    seen: set[str] = set()
    for i, hook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{i}]", hook.get("name") or ""
        _qualified_domain(name, f"{path}.name", errs)
        if name in seen:
            errs.duplicate(f"{path}.name", name)
        seen.add(name)
        labels.selector(hook.get("namespaceSelector"), f"{path}.namespaceSelector", errs)
        labels.selector(hook.get("objectSelector"), f"{path}.objectSelector", errs)
        _hook(hook, path, errs)


def validating_policy(obj: Object, errs: Errors) -> None:
    """admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    _policy(spec, None, errs)
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
    _policy(spec, _MUTATED, errs)
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


def _policy(spec: Object, operations: tuple[str, ...] | None, errs: Errors) -> None:
    """What both kinds of policies have; `operations` are those that the policy can be about (None: any)."""
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
        _operations(match, operations, path, errs)
    _condition_names(spec.get("matchConditions") or [], "spec.matchConditions", errs)
    for i, each in enumerate(spec.get("variables") or ()):
        path, name = f"spec.variables[{i}]", each.get("name") or ""
        if not name.strip():
            errs.required(f"{path}.name", "name is not specified")
        elif not _IDENTIFIER.match(name) or name in _RESERVED:
            errs.invalid(f"{path}.name", name, "must be a valid CEL identifier")
        if not (each.get("expression") or "").strip():
            errs.required(f"{path}.expression", "expression is not specified")


def _operations(match: Object, operations: tuple[str, ...] | None, path: str, errs: Errors) -> None:
    for rule in match.get("resourceRules") or () if operations is not None else ():
        for operation in rule.get("operations") or ():
            if operation not in (operations or ()):
                errs.unsupported(f"{path}.resourceRules.operations", operation, operations or ())


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
            _rule(rule, here, errs)


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
    _operations(spec.get("matchResources") or {}, _MUTATED, "spec.matchResources", errs)


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


def _qualified_domain(name: str, path: str, errs: Errors) -> None:
    if not name:
        errs.required(path)
        return
    errs.check(path, name, names.dns_subdomain)
    if name.count(".") < 2:
        errs.invalid(path, name, "should be a domain with at least three segments separated by dots")


def _hook(hook: Object, path: str, errs: Errors) -> None:
    versions = hook.get("admissionReviewVersions") or []
    if not versions:
        errs.required(f"{path}.admissionReviewVersions", "must specify one of v1, v1beta1")
    elif not set(versions) & {"v1", "v1beta1"}:
        errs.invalid(f"{path}.admissionReviewVersions", versions, "must include at least one of v1, v1beta1")
    for i, rule in enumerate(hook.get("rules") or ()):
        _rule(rule, f"{path}.rules[{i}]", errs)
    for name, allowed in (("failurePolicy", ("Fail", "Ignore")), ("matchPolicy", ("Equivalent", "Exact"))):
        value = hook.get(name)
        if value is not None and value not in allowed:
            errs.unsupported(f"{path}.{name}", value, allowed)
    effects = hook.get("sideEffects")
    if effects is None:
        errs.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    elif effects not in ("None", "NoneOnDryRun"):
        errs.unsupported(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun"))
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        errs.invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    reinvocation = hook.get("reinvocationPolicy")
    if reinvocation is not None and reinvocation not in ("Never", "IfNeeded"):
        errs.unsupported(f"{path}.reinvocationPolicy", reinvocation, ("IfNeeded", "Never"))
    client_config(hook.get("clientConfig") or {}, f"{path}.clientConfig", errs)
    _conditions(hook.get("matchConditions") or [], f"{path}.matchConditions", errs)


def _conditions(conditions: list[Object], path: str, errs: Errors) -> None:
    for i, condition in enumerate(conditions):
        expression = (condition.get("expression") or "").strip()
        if expression:
            from switchboard.objects.cel.conditions import compiled, variables  # only who has some pays

            error = compiled(expression, variables())[1]
            if error:
                errs.invalid(f"{path}[{i}].expression", condition["expression"], error)
    _condition_names(conditions, path, errs)


def _condition_names(conditions: list[Object], path: str, errs: Errors) -> None:
    if len(conditions) > 64:
        errs.too_many(path, len(conditions), 64)
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        here, name = f"{path}[{i}]", condition.get("name") or ""
        if not (condition.get("expression") or "").strip():
            errs.required(f"{here}.expression")
        if not name:
            errs.required(f"{here}.name")
        else:
            errs.check(f"{here}.name", name, names.qualified_name)
            if name in seen:
                errs.duplicate(f"{here}.name", name)
        seen.add(name)


def client_config(config: Object, path: str, errs: Errors) -> None:
    """Where a webhook is reached: a URL or a Service."""
    url: str | None = config.get("url")
    service: Object | None = config.get("service")
    if (url is None) == (service is None):
        errs.required(path, "exactly one of url or service is required")
        return
    if url is not None:
        parts = urlsplit(url)
        form = "; desired format: https://host[/path]"
        if parts.scheme != "https":
            errs.invalid(f"{path}.url", parts.scheme, f"'https' is the only allowed URL scheme{form}")
        if not parts.netloc:
            errs.invalid(f"{path}.url", parts.netloc, f"host must be specified{form}")
        if parts.username:
            errs.invalid(f"{path}.url", parts.username, f"user information is not permitted in the URL{form}")
        if parts.query:
            errs.invalid(f"{path}.url", parts.query, f"query parameters are not permitted in the URL{form}")
    if service is not None:
        for name in ("name", "namespace"):
            if not service.get(name):
                errs.required(f"{path}.service.{name}", f"service {name} is required")
        where = service.get("path")
        if where is not None and not where.startswith("/"):
            errs.invalid(f"{path}.service.path", where, "must start with a '/'")
        if "port" in service and not 1 <= service["port"] <= 65535:
            errs.invalid(
                f"{path}.service.port", service["port"], "port is not valid: must be between 1 and 65535, inclusive"
            )


def _rule(rule: Object, path: str, errs: Errors) -> None:
    operations = rule.get("operations") or []
    if not operations:
        errs.required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        errs.invalid(f"{path}.operations", operations, "if '*' is present, must not specify other operations")
    for i, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            errs.unsupported(f"{path}.operations[{i}]", operation, _OPERATIONS)
    for name, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(name) or []
        if not values:
            errs.required(f"{path}.{name}")
        if len(values) > 1 and "*" in values:
            errs.invalid(f"{path}.{name}", values, f"if '*' is present, must not specify other {what}")
        if name == "apiVersions":
            for i, value in enumerate(values):
                if not value:
                    errs.required(f"{path}.{name}[{i}]")
    _resources(rule.get("resources") or [], f"{path}.resources", errs)
    scope = rule.get("scope")
    if scope is not None and scope not in ("*", "Cluster", "Namespaced"):
        errs.unsupported(f"{path}.scope", scope, ("*", "Cluster", "Namespaced"))


def _resources(resources: list[str], path: str, errs: Errors) -> None:
    """`pods`, `pods/status`, `*`, `pods/*`, `*/scale`, `*/*`: none that another one covers."""
    if not resources:
        errs.required(path)
    whole: set[str] = set()  # x of `x/*`
    everywhere: set[str] = set()  # y of `*/y`
    plain = False
    for i, text in enumerate(resources):
        if not text:
            errs.required(f"{path}[{i}]")
            continue
        resource, slash, sub = text.partition("/")
        if not slash:
            plain = text != "*"
            continue
        if resource in whole:
            errs.invalid(f"{path}[{i}]", text, f"if '{resource}/*' is present, must not specify {text}")
        if sub in everywhere:
            errs.invalid(f"{path}[{i}]", text, f"if '*/{sub}' is present, must not specify {text}")
        if sub == "*":
            whole.add(resource)
        if resource == "*":
            everywhere.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        errs.invalid(path, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and plain:
        text = "if '*' is present, must not specify other resources without subresources"
        errs.invalid(path, resources, text)
