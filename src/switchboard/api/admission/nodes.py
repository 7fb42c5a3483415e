"""Nodes: a new one is tainted until it is ready, and none touches what is not its own.

Sources: `plugin/pkg/admission/{nodetaint,noderestriction}`. Requests that create no stored object (tokens, evictions)
come here as well; their handlers call the chain with the body as the object.
"""

from __future__ import annotations

from typing import Any

from switchboard.api import podrefs
from switchboard.api.admission.chain import Neutral, Operation
from switchboard.api.admission.pods import refuse
from switchboard.api.keyspace import decode
from switchboard.api.nodeauthz import node_of
from switchboard.objects.errors import NotFound
from switchboard.store.store import Store

Object = dict[str, Any]

_MIRROR = "kubernetes.io/config.mirror"
_NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_RESTRICTED = "node-restriction.kubernetes.io"
_LEASES = "kube-node-lease"
# Labels of the kubernetes.io and k8s.io domains that a node may set on itself (`kubelet/pkg/apis/well_known_labels.go`)
_OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/windows-build",
    )
)
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeTaints(Neutral):
    """Nothing is scheduled to a node before it was seen to be ready."""

    resources = frozenset(("nodes",))

    def mutate(self, op: Operation) -> None:
        """Taint a new node."""
        if op.plural != "nodes" or op.group or op.sub or op.verb != "CREATE" or op.obj is None:
            return
        spec = op.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == _NOT_READY["key"] and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, dict(_NOT_READY)]


class NodeRestriction(Neutral):
    """Refuses what a node does to others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._checks = {
            ("", "pods"): self._pod,
            ("", "nodes"): self._node,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "serviceaccounts"): self._token,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
        }

    def validate(self, op: Operation) -> None:
        """Look at the final object."""
        node = node_of(op.call.identity)
        if node is None or op.call.identity.is_master:
            return
        if not node:
            raise refuse(op, "could not determine node from user")
        check = self._checks.get((op.group, op.plural))
        if check is not None:
            check(node, op)

    def _pod(self, node: str, op: Operation) -> None:
        if op.sub == "":
            self._pod_itself(node, op)
        elif op.sub == "status":
            assert op.old is not None and op.obj is not None
            if op.old["spec"].get("nodeName") != node:
                raise refuse(op, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
            if (op.old["metadata"].get("labels") or {}) != (op.obj["metadata"].get("labels") or {}):
                raise refuse(op, f'node "{node}" cannot update labels through pod status')
        elif op.sub == "eviction":
            record = self._store.get(f"/core/pods/{op.namespace}/{op.name}")
            if record is None:
                raise NotFound.of("pods", "", op.name)
            if decode(record.value)["spec"].get("nodeName") != node:
                raise refuse(op, f"node {node} can only evict pods with spec.nodeName set to itself")
        else:
            raise refuse(op, f'unexpected pod subresource "{op.sub}", only "status" and "eviction" are allowed')

    def _pod_itself(self, node: str, op: Operation) -> None:
        if op.verb == "CREATE":
            self._mirror(node, op)
        elif op.verb == "DELETE":
            assert op.old is not None
            if op.old["spec"].get("nodeName") != node:
                raise refuse(op, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        else:
            raise refuse(op, f'unexpected operation "{op.verb}", node "{node}" can only create and delete mirror pods')

    def _mirror(self, node: str, op: Operation) -> None:
        assert op.obj is not None
        pod, meta = op.obj, op.obj["metadata"]
        if _MIRROR not in (meta.get("annotations") or {}):
            raise refuse(op, f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods')
        if pod["spec"].get("nodeName") != node:
            raise refuse(op, f'node "{node}" can only create pods with spec.nodeName set to itself')
        owners = meta.get("ownerReferences") or []
        if len(owners) > 1:
            raise refuse(op, f'node "{node}" can only create pods with a single owner reference set to itself')
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refuse(op, f'node "{node}" can only create pods with an owner reference set to itself')
        if not owner.get("controller"):
            raise refuse(op, f'node "{node}" can only create pods with a controller owner reference set to itself')
        if owner.get("blockOwnerDeletion"):
            raise refuse(op, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
        record = self._store.get(f"/core/nodes/{node}")
        if record is None:
            raise NotFound.of("nodes", "", node)
        uid = decode(record.value)["metadata"]["uid"]
        if owner.get("uid") != uid:
            raise refuse(op, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")
        words = {"serviceaccounts": "a service account"}
        for plural in ("serviceaccounts", "secrets", "configmaps", "persistentvolumeclaims"):
            if any(found == plural for found, _, _ in podrefs.references(pod)):
                raise refuse(op, f'node "{node}" can not create pods that reference {words.get(plural, plural)}')

    def _node(self, node: str, op: Operation) -> None:
        name = op.name or ((op.obj or {}).get("metadata") or {}).get("name", "")
        if name != node:
            raise refuse(op, f'node "{node}" is not allowed to modify node "{name}"')
        if op.obj is None:
            return
        labels = op.obj["metadata"].get("labels") or {}
        before = ((op.old or {}).get("metadata") or {}).get("labels") or {}
        changed = {k for k in labels.keys() | before.keys() if labels.get(k) != before.get(k)}
        wrong = ", ".join(sorted(label for label in changed if _foreign(label)))
        if op.verb == "CREATE" and wrong:
            raise refuse(op, f'node "{node}" is not allowed to set the following labels: {wrong}')
        if op.verb == "UPDATE":
            assert op.old is not None
            if (op.obj["spec"].get("taints") or []) != (op.old["spec"].get("taints") or []):
                raise refuse(op, f'node "{node}" is not allowed to modify taints')
            if wrong:
                raise refuse(op, f"is not allowed to modify labels: {wrong}")

    @staticmethod
    def _claim(node: str, op: Operation) -> None:
        if op.verb != "UPDATE" or op.sub != "status":
            raise refuse(op, f'unexpected operation "{op.verb}"')
        assert op.old is not None and op.obj is not None
        if _but_status(op.old) != _but_status(op.obj):
            text = "is not allowed to update fields other than status.capacity and status.conditions"
            raise refuse(op, f'node "{node}" {text}')

    def _token(self, node: str, op: Operation) -> None:
        if op.verb != "CREATE" or op.sub != "token" or op.obj is None:
            return
        reference = (op.obj.get("spec") or {}).get("boundObjectRef") or {}
        if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not reference.get("name"):
            raise refuse(op, "node requested token not bound to a pod")
        if not reference.get("uid"):
            raise refuse(op, "node requested token with a pod binding without a uid")
        record = self._store.get(f"/core/pods/{op.namespace}/{reference['name']}")
        if record is None:
            raise NotFound.of("pods", "", reference["name"])
        pod = decode(record.value)
        if pod["metadata"]["uid"] != reference["uid"]:
            raise refuse(
                op,
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        if pod["spec"].get("nodeName") != node:
            raise refuse(op, "node requested token bound to a pod scheduled on a different node")

    @staticmethod
    def _lease(node: str, op: Operation) -> None:
        if op.namespace != _LEASES:
            raise refuse(op, f'can only access leases in the "{_LEASES}" system namespace')
        if (op.name or (op.obj or {})["metadata"].get("name")) != node:
            raise refuse(op, "can only access node lease with the same name as the requesting node")

    @staticmethod
    def _csi_node(node: str, op: Operation) -> None:
        if (op.name or (op.obj or {})["metadata"].get("name")) != node:
            raise refuse(op, "can only access CSINode with the same name as the requesting node")


def _foreign(label: str) -> bool:
    """Whether a label is not a node's to set."""
    domain, slash, _ = label.partition("/")
    if not slash:
        return False
    if domain == _RESTRICTED or domain.endswith("." + _RESTRICTED):
        return True
    known = any(domain == d or domain.endswith("." + d) for d in ("kubernetes.io", "k8s.io"))
    own = label in _OWN_LABELS or any(domain == d or domain.endswith("." + d) for d in _OWN_DOMAINS)
    return known and not own


def _but_status(claim: Object) -> Object:
    meta = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    free = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in free}
    return {**claim, "metadata": meta, "status": status}
