"""Rules for webhook configurations, and for the conditions and rules that admission policies have too
(pkg/apis/admissionregistration/validation)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from switchboard.objects import names
from switchboard.objects.validate import labels
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")


def configuration(obj: Object, errs: Errors) -> None:
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
        match_rule(rule, f"{path}.rules[{i}]", errs)
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
    condition_names(conditions, path, errs)


def condition_names(conditions: list[Object], path: str, errs: Errors) -> None:
    """Match conditions, what their expressions say aside."""
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


def match_rule(rule: Object, path: str, errs: Errors) -> None:
    """Operations and resources that a webhook or a policy is asked about."""
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
