"""ServiceAccount admission: pods name their account, mount its token, and take its pull secrets.

Source: `plugin/pkg/admission/serviceaccount/admission.go`.
"""

from __future__ import annotations

from typing import Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.authz import forbidden
from switchboard.api.keyspace import decode
from switchboard.api.metadata import suffix
from switchboard.store.store import Store

_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_MIRROR = "kubernetes.io/config.mirror"
_EXPIRATION = 3607


class ServiceAccounts(Neutral):
    """Adds `serviceAccountName: default` and the projected token volume to new pods."""

    resources = frozenset(("pods",))

    def __init__(self, store: Store) -> None:
        self._store = store

    def mutate(self, op: Operation) -> None:
        """Complete a new pod; refuse one whose account does not exist."""
        if op.plural != "pods" or op.verb != "CREATE" or op.sub or op.group or op.obj is None:
            return
        pod = op.obj
        spec = pod.setdefault("spec", {})
        if _MIRROR in (pod["metadata"].get("annotations") or {}):
            return
        name = spec.get("serviceAccountName") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = self._account(op, name)
        if self._mounts(account, spec):
            _mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = account["imagePullSecrets"]

    def _account(self, op: Operation, name: str) -> dict[str, Any]:
        record = self._store.head(f"/core/serviceaccounts/{op.namespace}/{name}")
        if record is None:
            pod = op.name or (op.obj or {})["metadata"].get("name", "")
            why = f'error looking up service account {op.namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden("pods", "", pod, why)
        return decode(record.value)

    @staticmethod
    def _mounts(account: dict[str, Any], spec: dict[str, Any]) -> bool:
        if spec.get("automountServiceAccountToken") is not None:
            return bool(spec["automountServiceAccountToken"])
        return account.get("automountServiceAccountToken") is not False


def _mount_token(spec: dict[str, Any]) -> None:
    """The `kube-api-access-xxxxx` volume and its mounts, where a container does not mount that path already."""
    name = next((v["name"] for v in spec.get("volumes") or () if v.get("name", "").startswith("kube-api-access-")), "")
    used = False
    volume = name or f"kube-api-access-{suffix()}"
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.get("volumeMounts") or []
        if all(m.get("mountPath") != _MOUNT for m in mounts):
            container["volumeMounts"] = [*mounts, {"name": volume, "readOnly": True, "mountPath": _MOUNT}]
            used = True
    if used and not name:
        spec["volumes"] = [*(spec.get("volumes") or ()), _token_volume(volume)]


def _token_volume(name: str) -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _EXPIRATION, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    }
