"""The operations of what is no resource, for OpenAPI: discovery of the API, of its groups and versions; the server's
version; what verifiers of tokens ask for. Clients are generated with them, and the index of v3 names their documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from switchboard.api import oidc
from switchboard.api.openapi_paths import META, base_path, camel, content, short_group, tag
from switchboard.objects.kinds import Registry

INFO = "io.k8s.apimachinery.pkg.version.Info"
_MEDIA = ("application/json", "application/yaml")
_REQUIRED = "major minor gitVersion gitCommit gitTreeState buildDate goVersion compiler platform".split()
_OPTIONAL = ("emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor")
_INFO = {
    "description": "What the server is, and which versions of the API it can pass for.",
    "type": "object",
    "required": _REQUIRED,
    "properties": {name: {"type": "string"} for name in (*_REQUIRED, *_OPTIONAL)},
}
SCHEMAS = {INFO: _INFO}  # which no kind has
_TEXT = {"content": {"application/json": {"schema": {"type": "string"}}}}

# document of v3 -> path, tag, operation, what it is for, the answer's component ("" where it is plain text)
_ALONE = {
    "api": ("/api/", "core", "getCoreAPIVersions", "get available API versions", f"{META}.APIVersions"),
    "apis": ("/apis/", "apis", "getAPIVersions", "get available API versions", f"{META}.APIGroupList"),
    "version": ("/version/", "version", "getCodeVersion", "get the version information for this server", INFO),
    oidc.CONFIGURATION.lstrip("/"): (
        f"{oidc.CONFIGURATION}/",
        "WellKnown",
        "getServiceAccountIssuerOpenIDConfiguration",
        "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
        "",
    ),
    oidc.KEYS.lstrip("/"): (
        f"{oidc.KEYS}/",
        "openid",
        "getServiceAccountIssuerOpenIDKeyset",
        "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
        "",
    ),
}
ALONE = frozenset(_ALONE)


def alone(key: str) -> tuple[str, dict[str, Any], str]:
    """Path, path item and component of one of the documents `ALONE`."""
    path, label, operation, description, component = _ALONE[key]
    return path, _item(label, operation, description, component), component


def group(name: str) -> tuple[str, dict[str, Any], str]:
    """The same for a group: `/apis/apps/`."""
    component = f"{META}.APIGroup"
    label, operation = camel(short_group(name)), camel("get", short_group(name)) + "APIGroup"
    return f"/apis/{name}/", _item(label, operation, "get information of a group", component), component


def version(group_name: str, version_name: str) -> tuple[str, dict[str, Any], str]:
    """The same for a group-version: `/apis/apps/v1/`, which stands in the document of its kinds."""
    component = f"{META}.APIResourceList"
    operation = camel("get", short_group(group_name), version_name) + "APIResources"
    item = _item(tag(group_name, version_name), operation, "get available resources", component)
    return f"{base_path(group_name, version_name)}/", item, component


def custom(registry: Registry, name: str) -> bool:
    """Whether a group is there through CustomResourceDefinitions alone: its discovery is in no document."""
    return all(kind.custom for kind in registry.kinds(name))


def alone_paths() -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and path item of each of `ALONE`."""
    return (alone(key)[:2] for key in _ALONE)


def _item(label: str, operation: str, description: str, component: str) -> dict[str, Any]:
    media = ("application/json",) if component == INFO else _MEDIA
    answer = content(component, media) if component else _TEXT
    return {
        "get": {
            "tags": [label],
            "description": description,
            "operationId": operation,
            "parameters": [],
            "responses": {"200": {"description": "OK"} | answer, "401": {"description": "Unauthorized"}},
        }
    }
