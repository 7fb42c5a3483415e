"""Rules for CustomResourceDefinitions (apiextensions-apiserver/pkg/apis/apiextensions/validation)."""

from __future__ import annotations

from typing import Any

from switchboard.objects import names
from switchboard.objects.validate.fields import Errors, Raw, go_struct
from switchboard.objects.validate.jsonschema import any_rules
from switchboard.objects.validate.structural import check_default_rules, check_defaults, check_node, selectable_fields
from switchboard.objects.validate.webhooks import client_config

Object = dict[str, Any]
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_LONGEST_WARNING = 256
_ROOT_ONLY = "must be object at the root"


def definition(obj: Object, errs: Errors) -> None:
    """A CustomResourceDefinition, with the status the server gave it."""
    spec = obj.get("spec") or {}
    wanted = spec.get("names") or {}
    name, full = (obj.get("metadata") or {}).get("name") or "", f"{wanted.get('plural', '')}.{spec.get('group', '')}"
    if name != full:
        errs.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    _group(spec.get("group") or "", errs)
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        if not spec.get("scope"):
            errs.required("spec.scope")
        else:
            errs.unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced"))
    if spec.get("preserveUnknownFields"):
        instead = "set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        errs.invalid("spec.preserveUnknownFields", True, f"cannot set to true, {instead}")
        if any(
            _has_default((version.get("schema") or {}).get("openAPIV3Schema")) for version in spec.get("versions") or ()
        ):
            errs.invalid("spec.preserveUnknownFields", True, "must be false in order to use defaults in the schema")
    _versions(spec, errs)
    _shared(spec.get("versions") or [], errs)
    _names(wanted, errs)
    conversion = spec.get("conversion") or {}
    if spec.get("preserveUnknownFields") and conversion.get("strategy") != "None":
        strategy = conversion.get("strategy") or ""
        errs.invalid("spec.conversion.strategy", strategy, "must be None if spec.preserveUnknownFields is true")
    if conversion.get("strategy") not in ("None", "Webhook"):
        errs.unsupported("spec.conversion.strategy", conversion.get("strategy") or "", ("None", "Webhook"))
    elif conversion["strategy"] == "Webhook":
        _webhook(conversion.get("webhook"), errs)
    stored = (obj.get("status") or {}).get("storedVersions")
    if not stored:
        errs.invalid("status.storedVersions", None, "must have at least one stored version")


def _group(group: str, errs: Errors) -> None:
    if not group:
        errs.required("spec.group")
        return
    errs.check("spec.group", group, names.dns_subdomain)
    if "." not in group:
        errs.invalid("spec.group", group, "should be a domain with at least one dot")


def _webhook(hook: Object | None, errs: Errors) -> None:
    path = "spec.conversion.webhookClientConfig"
    if hook is None or hook.get("clientConfig") is None:
        errs.required(path, "required when strategy is set to Webhook")
    else:
        client_config(hook["clientConfig"], path, errs)
    versions, where = (hook or {}).get("conversionReviewVersions") or [], "spec.conversion.conversionReviewVersions"
    if not versions:
        errs.required(where)
        return
    for i, version in enumerate(versions):
        if version in versions[:i]:
            errs.invalid(f"{where}[{i}]", version, "duplicate version")
        errs.check(f"{where}[{i}]", version, names.dns_1035_label)
    if not {"v1", "v1beta1"} & set(versions):
        errs.invalid(where, versions, "must include at least one of v1, v1beta1")


def _has_default(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return schema.get("default") is not None or any(map(_has_default, inner))


def _warning(version: Object, path: str, errs: Errors) -> None:
    """What clients of a deprecated version are told."""
    text = version.get("deprecationWarning")
    if text is None:
        return
    if not version.get("deprecated"):
        errs.invalid(path, text, "can only be set for deprecated versions")
        return
    if len(text.encode()) > _LONGEST_WARNING:
        errs.invalid(path, text, f"must be <= {_LONGEST_WARNING} characters long")
    if not text:
        errs.invalid(path, text, "must not be an empty string")
    odd = next((i for i, char in enumerate(text) if not char.isprintable()), None)
    if odd is not None:
        at = len(text[:odd].encode())
        why = f"must only contain printable UTF-8 characters; non-printable character found at index {at}"
        errs.invalid(path, text, why)


def _internal(version: Object, hoisted: bool) -> Object:
    """A version as upstream's internal type is printed; what all versions share is `hoisted` to the top, away from
    here."""
    if hoisted:
        version = {
            name: version.get(name) for name in ("name", "served", "storage", "deprecated", "deprecationWarning")
        }
    return {
        "Name": version.get("name", ""),
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": version.get("schema") or None,
        "Subresources": version.get("subresources"),
        "AdditionalPrinterColumns": version.get("additionalPrinterColumns"),
        "SelectableFields": version.get("selectableFields"),
    }


def _versions(spec: Object, errs: Errors) -> None:
    versions = spec.get("versions") or []
    seen: set[str] = set()
    # With equal schemas upstream keeps one at the top, and tells errors there; with one version that is always so.
    single = len({repr((v.get("schema") or {}).get("openAPIV3Schema")) for v in versions}) == 1
    for i, version in enumerate(versions):
        path, name = f"spec.versions[{i}]", version.get("name") or ""
        for message in names.dns_1035_label(name):
            errs.invalid(f"{path}.name", name, message)
            if not i:  # upstream keeps the first one's name at the top as well
                errs.invalid("spec.version", name, message)
        _warning(version, f"{path}.deprecationWarning", errs)
        if name in seen:
            errs.invalid("spec.versions", [name], "must contain unique version names")
        seen.add(name)
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            errs.required(f"{path}.schema.openAPIV3Schema")
            continue
        if single and i:
            continue
        where = "spec.validation.openAPIV3Schema" if single else f"{path}.schema.openAPIV3Schema"
        before = len(errs)
        _root(schema, bool((version.get("subresources") or {}).get("status") is not None), where, errs)
        if len(errs) == before:
            check_defaults(schema, where, errs)
        if len(errs) == before and any_rules(schema):
            from switchboard.objects.cel.definitions import check_rules  # only who has rules pays for the language

            check_rules(schema, where, errs)
            if len(errs) == before:
                check_default_rules(schema, where, errs)
    storage = [version for version in versions if version.get("storage")]
    if len(storage) != 1:
        text = "[" + ",".join(go_struct(_internal(version, single)) for version in versions) + "]"
        errs.invalid("spec.versions", Raw(text), "must have exactly one version marked as storage version")


def _shared(versions: list[Object], errs: Errors) -> None:
    """Fields to select by, subresources and columns, told at the top when all versions have the same, as upstream
    keeps them there."""
    checks = {"selectableFields": _selectable, "subresources": _subresources, "additionalPrinterColumns": _columns}
    for field, check in checks.items():
        single = all(version.get(field) == versions[0].get(field) for version in versions)
        for i, version in enumerate(versions[:1] if single else versions):
            if version.get(field):
                check(version, f"spec.{field}" if single else f"spec.versions[{i}].{field}", errs)


def _selectable(version: Object, path: str, errs: Errors) -> None:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema:
        selectable_fields(version["selectableFields"], schema, path, errs)


def _subresources(version: Object, path: str, errs: Errors) -> None:
    scale = version["subresources"].get("scale")
    if scale is None:
        return
    for field, parent in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        value, where = scale.get(field) or "", f"{path}.scale.{field}"
        if not value:
            errs.required(where)
        elif _simple_path(value, where, errs) and not value.startswith(f"{parent}."):
            errs.invalid(where, value, f"should be a json path under {parent}")
    value, where = scale.get("labelSelectorPath") or "", f"{path}.scale.labelSelectorPath"
    if value and _simple_path(value, where, errs) and not value.startswith((".spec.", ".status.")):
        errs.invalid(where, value, "should be a json path under either .spec or .status")


def _simple_path(value: str, path: str, errs: Errors) -> bool:
    if not value.startswith("."):
        errs.invalid(path, value, "must be a simple json path starting with .")
    return value.startswith(".")


_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def _columns(version: Object, path: str, errs: Errors) -> None:
    for i, column in enumerate(version["additionalPrinterColumns"]):
        at, kind, form = f"{path}[{i}]", column.get("type") or "", column.get("format") or ""
        if not column.get("name"):
            errs.required(f"{at}.name")
        if not kind:
            errs.required(f"{at}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
        elif kind not in _COLUMN_TYPES:
            errs.invalid(f"{at}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}")
        if form and form not in _COLUMN_FORMATS:
            errs.invalid(f"{at}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
        if not column.get("jsonPath"):
            errs.required(f"{at}.JSONPath")
        else:
            _simple_path(column["jsonPath"], f"{at}.JSONPath", errs)


def _root(schema: Object, status: bool, path: str, errs: Errors) -> None:
    kind = schema.get("type")
    if status and kind not in (None, "", "object"):
        errs.invalid(
            f"{path}.type",
            kind,
            'only "object" is allowed as the type at the root of the schema if the status subresource is enabled',
        )
    if not kind:
        errs.required(f"{path}.type", "must not be empty at the root")
    elif kind != "object":
        errs.invalid(f"{path}.type", kind, _ROOT_ONLY)
    if schema.get("nullable"):
        errs.forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    _schema(schema, path, errs, root=True)


def _schema(schema: Object, path: str, errs: Errors, *, root: bool = False) -> None:
    """Structural rules: every field has a type unless it is int-or-string or open."""
    kind = schema.get("type")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not root and not kind and not free:
        where = (
            "must not be empty for specified array items"
            if path.endswith(".items")
            else "must not be empty for specified object fields"
        )
        errs.required(f"{path}.type", where)
    elif kind and kind not in _TYPES:
        errs.unsupported(f"{path}.type", kind, _TYPES)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        errs.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("uniqueItems"):
        errs.forbidden(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    if kind == "array" and "items" not in schema:
        errs.required(f"{path}.items", "must be specified")
    _list_type(schema, path, errs)
    check_node(schema, path, errs)
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    if root and additional is not None:
        errs.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    told = (properties.get("metadata") or {}).get("properties") if root else None
    if set(told or ()) - {"name", "generateName"}:
        only = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errs.forbidden(f"{path}.properties[metadata]", only)
    if properties and additional is not None and additional is not True:
        errs.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    for name, inner in properties.items():
        if isinstance(inner, dict):
            _schema(inner, f"{path}.properties[{name}]", errs)
    if isinstance(additional, dict):
        _schema(additional, f"{path}.additionalProperties", errs)
    if isinstance(schema.get("items"), dict):
        _schema(schema["items"], f"{path}.items", errs)


def _list_type(schema: Object, path: str, errs: Errors) -> None:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys")
    if keys and kind != "map":
        where, only = f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty"
        if kind is None:
            errs.required(where, only)
        else:
            errs.invalid(where, kind, only)
    if kind is None:
        return
    if kind not in ("atomic", "map", "set"):
        errs.unsupported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "set", "map"))
    array = "must be array if x-kubernetes-list-type is specified"
    if not schema.get("type"):
        errs.required(f"{path}.type", array)
    elif schema["type"] != "array":
        errs.invalid(f"{path}.type", schema["type"], array)
    if kind != "map":
        return
    if not keys:
        errs.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    items = schema.get("items")
    if items is None:
        errs.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    elif isinstance(items, dict) and items.get("type") != "object":
        only = "must be object if parent array's x-kubernetes-list-type is map"
        errs.invalid(f"{path}.items.type", items.get("type") or "", only)
    elif isinstance(items, dict):
        _map_keys(items, keys or [], path, errs)


def _map_keys(items: Object, keys: list[str], path: str, errs: Errors) -> None:
    where, properties = f"{path}.x-kubernetes-list-map-keys", items.get("properties") or {}
    for i, key in enumerate(keys):
        found, here = properties.get(key), f"{path}.items.properties[{key}]"
        if key in keys[:i]:
            errs.invalid(where, keys, "must not contain duplicate entries")
        if found is None:
            errs.invalid(where, keys, "entries must all be names of item properties")
            continue
        if found.get("type") in ("array", "object"):
            only = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            errs.invalid(f"{here}.type", found["type"], only)
        because = "this property is in x-kubernetes-list-map-keys, so it"
        if key not in (items.get("required") or ()) and found.get("default") is None:
            errs.required(f"{here}.default", f"{because} must have a default or be a required property")
        if found.get("nullable"):
            errs.forbidden(f"{here}.nullable", f"{because} cannot be nullable")


_MIXED = "may have mixed case, but should otherwise match: "


def _names(wanted: Object, errs: Errors) -> None:
    for name in ("plural", "singular", "kind", "listKind"):
        value = wanted.get(name) or ""
        if not value and name != "singular":
            errs.required(f"spec.names.{name}")
        mixed = name in ("kind", "listKind")
        for message in names.dns_1035_label(value.lower() if mixed else value) if value else ():
            errs.invalid(f"spec.names.{name}", value, f"{_MIXED}{message}" if mixed else message)
    for name in ("shortNames", "categories"):
        for i, value in enumerate(wanted.get(name) or ()):
            for message in names.dns_1035_label(value):
                errs.invalid(f"spec.names.{name}[{i}]", value, message)
    if wanted.get("kind") and wanted.get("kind") == wanted.get("listKind"):
        errs.invalid("spec.names.listKind", wanted["listKind"], "kind and listKind may not be the same")


def definition_update(obj: Object, old: Object, errs: Errors) -> None:
    """Group and plural stay; scope and kind stay once names are established."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    established = any(
        c.get("type") == "Established" and c.get("status") == "True"
        for c in (old.get("status") or {}).get("conditions") or ()
    )
    if established:
        errs.immutable("spec.scope", spec.get("scope"), before.get("scope"))
        errs.immutable(
            "spec.names.kind", (spec.get("names") or {}).get("kind"), (before.get("names") or {}).get("kind")
        )
    errs.immutable("spec.group", spec.get("group"), before.get("group"))
    errs.immutable(
        "spec.names.plural", (spec.get("names") or {}).get("plural"), (before.get("names") or {}).get("plural")
    )
    served = {version.get("name") for version in spec.get("versions") or ()}
    for i, version in enumerate((obj.get("status") or {}).get("storedVersions") or ()):
        if version not in served:
            detail = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                f"spec.versions until "
                f"a storage migration ensures no data remains persisted in {version} and removes {version} from "
                f"status.storedVersions"
            )
            errs.invalid(f"status.storedVersions[{i}]", version, detail)
