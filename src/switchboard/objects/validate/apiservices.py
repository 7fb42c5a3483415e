"""APIServices: names, priorities, and how the server behind one is known.

Source: kube-aggregator/pkg/apis/apiregistration/validation.
"""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]


def api_service(obj: Object, errs: Errors) -> None:
    """apiregistration.k8s.io/v1 APIService."""
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name", "")
    group, version = spec.get("group") or "", spec.get("version") or ""
    if name != f"{version}.{group}":
        errs.invalid("metadata.name", name, 'must be `spec.version+"."+spec.group`')
    if group:
        errs.check("spec.group", group, names.dns_subdomain)
    if not version:
        errs.required("spec.version")
    else:
        errs.check("spec.version", version, names.dns_label)
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field) or 0
        if not 0 < value <= most:
            errs.invalid(f"spec.{field}", value, f"must be positive and less than {most}")
    service = spec.get("service")
    insecure, bundle = spec.get("insecureSkipTLSVerify"), spec.get("caBundle")
    if service is None:
        if bundle:
            errs.invalid("spec.caBundle", f"{len(bundle)} bytes", "local APIServices may not have a caBundle")
        if insecure:
            errs.invalid("spec.insecureSkipTLSVerify", insecure, "local APIServices may not have insecureSkipTLSVerify")
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            errs.required(f"spec.service.{field}")
    errs.port("spec.service.port", service.get("port", 443))
    if insecure and bundle:
        errs.invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present")
