"""The expressions of ValidatingAdmissionPolicies are checked against the types of what they speak about.

Source: pkg/controller/validatingadmissionpolicystatus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchboard.client.resources import CUSTOMRESOURCEDEFINITIONS, VALIDATINGADMISSIONPOLICIES
from switchboard.controllers.base import Controller
from switchboard.objects.errors import NotFound
from switchboard.objects.types import table

if TYPE_CHECKING:
    from switchboard.objects.cel.types import Type

Object = dict[str, Any]
_MANAGER = "validatingadmissionpolicy-status"


class PolicyTypesController(Controller):
    """Keys are ValidatingAdmissionPolicies."""

    name = "validatingadmissionpolicy-status"
    main = VALIDATINGADMISSIONPOLICIES
    needs = (CUSTOMRESOURCEDEFINITIONS,)
    workers = 1

    async def reconcile(self, key: str) -> float | None:
        """One policy."""
        policy = self.of(VALIDATINGADMISSIONPOLICIES).get_key(key)
        if policy is None or policy["metadata"].get("deletionTimestamp"):
            return None
        generation = policy["metadata"].get("generation", 0)
        if generation <= (policy.get("status") or {}).get("observedGeneration", 0):
            return None
        from switchboard.objects.cel.kindtypes import warnings  # only who has policies pays for the language

        spec = policy.get("spec") or {}
        found = warnings(spec, self._kind, self._params(spec.get("paramKind") or {}))
        checking: Object = {"expressionWarnings": found} if found else {}
        res = VALIDATINGADMISSIONPOLICIES
        patch = {
            "apiVersion": res.api_version,
            "kind": res.kind,
            "metadata": {"name": policy["metadata"]["name"]},
            "status": {"observedGeneration": generation, "typeChecking": checking},
        }
        try:
            await self.cache.client.patch(
                res,
                policy["metadata"]["name"],
                patch,
                kind="apply",
                subresource="status",
                fieldManager=_MANAGER,
                force="true",
            )
        except NotFound:
            pass  # deleted meanwhile
        return None

    def _versions(self, group: str, version: str) -> list[tuple[Object, Object]]:
        """(names, schema) of every custom kind of a version."""
        found = []
        for crd in self.of(CUSTOMRESOURCEDEFINITIONS).items():
            spec = crd["spec"]
            if spec["group"] == group:
                schemas = [v.get("schema") or {} for v in spec["versions"] if v["name"] == version]
                found += [(spec["names"], (schema.get("openAPIV3Schema") or {})) for schema in schemas]
        return found

    def _kind(self, group: str, version: str, plural: str) -> tuple[str, Object | None] | None:
        listing = table("discovery").get(f"{group}/{version}" if group else "core") or {"resources": ()}
        for resource in listing["resources"]:
            if resource["name"] == plural:
                return resource["kind"], None
        for names, schema in self._versions(group, version):
            if names["plural"] == plural:
                return names["kind"], schema
        return None

    def _params(self, param_kind: Object) -> Type | None:
        from switchboard.objects.cel.kindtypes import built_in_type, schema_type

        group, _, version = (param_kind.get("apiVersion") or "").rpartition("/")
        kind = param_kind.get("kind") or ""
        for names, schema in self._versions(group, version):
            if names["kind"] == kind:
                return schema_type(schema, kind)
        return built_in_type(group, version, kind)
