"""Rules for label selector objects and node selectors (apimachinery meta/v1/validation, pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names, selectors
from switchboard.objects.validate.fields import Errors

Object = dict[str, Any]


def selector(value: Object | None, path: str, errs: Errors, *, plain_values: bool = False) -> None:
    """A LabelSelector; `plain_values`: values inside expressions are not checked (stored objects of old)."""
    if not value:
        return
    for key, wanted in (value.get("matchLabels") or {}).items():
        errs.check(f"{path}.matchLabels", key, names.qualified_name)
        errs.check(f"{path}.matchLabels", wanted, names.label_value)
    for i, expression in enumerate(value.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{i}]"
        operator, values = expression.get("operator", ""), expression.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                errs.required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                errs.forbidden(f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        else:
            errs.invalid(f"{here}.operator", operator, "not a valid selector operator")
        errs.check(f"{here}.key", expression.get("key", ""), names.qualified_name)
        if not plain_values:
            for j, each in enumerate(values):
                for message in names.label_value(each):
                    errs.invalid(f"{here}.values[{j}]", each, message)


def matches(value: Object, labels: dict[str, str] | None) -> bool | None:
    """Whether a selector matches; None when it cannot be compiled."""
    try:
        found = selectors.from_object(value)
        for requirement in found.requirements:
            if requirement.operator in ("in", "notin") and not requirement.values:
                return None
    except selectors.SelectorError:
        return None
    return found.matches(labels)


def node_selector_requirement(entry: Object, path: str, errs: Errors) -> None:
    """One matchExpressions entry of a node selector term."""
    operator, values = entry.get("operator", ""), entry.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            errs.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            errs.forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            errs.required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        errs.invalid(f"{path}.operator", operator, "not a valid selector operator")
    errs.check(f"{path}.key", entry.get("key", ""), names.qualified_name)
    for i, value in enumerate(values):
        for message in names.label_value(value):
            errs.invalid(f"{path}.values[{i}]", value, message)


def _node_field(entry: Object, path: str, errs: Errors) -> None:
    operator, values = entry.get("operator", ""), entry.get("values") or []
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            errs.required(
                f"{path}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            )
    else:
        errs.invalid(f"{path}.operator", operator, "not a valid selector operator")
    if entry.get("key") != "metadata.name":
        errs.invalid(f"{path}.key", entry.get("key", ""), "not a valid field selector key")
        return
    for i, value in enumerate(values):
        for message in names.dns_subdomain(value):
            errs.invalid(f"{path}.values[{i}]", value, message)


def node_selector_term(term: Object, path: str, errs: Errors) -> None:
    """matchExpressions and matchFields of one term."""
    for i, entry in enumerate(term.get("matchExpressions") or ()):
        node_selector_requirement(entry, f"{path}.matchExpressions[{i}]", errs)
    for i, entry in enumerate(term.get("matchFields") or ()):
        _node_field(entry, f"{path}.matchFields[{i}]", errs)


def node_selector(value: Object, path: str, errs: Errors) -> None:
    """A required node selector: at least one term."""
    terms = value.get("nodeSelectorTerms") or []
    if not terms:
        errs.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for i, term in enumerate(terms):
        node_selector_term(term, f"{path}.nodeSelectorTerms[{i}]", errs)
