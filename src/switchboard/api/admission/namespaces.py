"""NamespaceLifecycle: nothing is created in a namespace that is absent or terminating; four namespaces stay.

Source: `apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go`.
"""

from __future__ import annotations

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.authz import forbidden
from switchboard.api.keyspace import decode
from switchboard.objects.errors import NotFound
from switchboard.store.store import Store

_IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
_ALWAYS = frozenset(
    (("authorization.k8s.io", "localsubjectaccessreviews"), ("authentication.k8s.io", "selfsubjectreviews"))
)


class NamespaceLifecycle(Neutral):
    """Checks a create against the namespace object."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def mutate(self, op: Operation) -> None:
        """Refuse; changes nothing."""
        if op.verb == "DELETE":
            if op.plural == "namespaces" and not op.group and op.name in _IMMORTAL:
                raise forbidden("namespaces", "", op.name, "this namespace may not be deleted")
            return
        if not op.namespace or op.verb != "CREATE" or op.plural == "namespaces":
            return
        if (op.group, op.plural) in _ALWAYS:
            return
        record = self._store.head(f"/core/namespaces/{op.namespace}")
        if record is None:
            raise NotFound.of("namespaces", "", op.namespace)
        if b'"Terminating"' in record.value or b'"deletionTimestamp"' in record.value:
            self._refuse_if_terminating(op, decode(record.value))

    def _refuse_if_terminating(self, op: Operation, namespace: dict[str, object]) -> None:
        meta, status = namespace.get("metadata"), namespace.get("status")
        phase = status.get("phase") if isinstance(status, dict) else None
        marked = isinstance(meta, dict) and "deletionTimestamp" in meta
        if phase != "Terminating" and not marked:
            return
        name = op.name or ((op.obj or {}).get("metadata") or {}).get("name", "")
        why = f"unable to create new content in namespace {op.namespace} because it is being terminated"
        error = forbidden(op.plural, op.group, name, why)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {op.namespace} is being terminated",
            "field": "metadata.namespace",
        }
        error.details = {**(error.details or {}), "causes": [cause]}
        raise error
