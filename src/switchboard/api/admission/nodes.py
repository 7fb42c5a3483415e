"""Nodes: a new one is tainted until it is ready, and none touches what is not its own.

Sources: `plugin/pkg/admission/{nodetaint,noderestriction}`. Requests that create no stored object (tokens, evictions)
come here as well; their handlers call the chain with the body as the object.
"""

from __future__ import annotations

from typing import Any

from switchboard.api import podrefs
from switchboard.api.admission.certificates import subject_of
from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.admission.pods import refuse
from switchboard.api.authz import Attributes, Authorizer, Decision
from switchboard.api.keyspace import decode
from switchboard.api.nodeauthz import node_of
from switchboard.objects.errors import NotFound
from switchboard.store.store import Store

Object = dict[str, Any]

_MIRROR = "kubernetes.io/config.mirror"
_NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_RESTRICTED = "node-restriction.kubernetes.io"
_LEASES = "kube-node-lease"
_NODE_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
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

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        self._store = store
        self._authorizer = authorizer
        self._checks = {
            ("", "pods"): self._pod,
            ("", "nodes"): self._node,
            ("", "persistentvolumeclaims"): self._claim,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("certificates.k8s.io", "certificatesigningrequests"): self._request,
        }

    def mutate(self, op: Operation) -> None:
        """Look at requests for tokens before the audience that they do not name is filled in."""
        if op.sub == "token" and op.plural == "serviceaccounts" and not op.group and op.obj is not None:
            node = node_of(op.call.identity)
            if node and not op.call.identity.is_master:
                self._token(node, op, op.obj.get("spec") or {})

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
            if _claims_of(op.old) != _claims_of(op.obj):
                raise refuse(op, f'node "{node}" cannot update resource claim statues')
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
        sources = [s for v in pod["spec"].get("volumes") or () for s in (v.get("projected") or {}).get("sources") or ()]
        if any(source.get("clusterTrustBundle") is not None for source in sources):
            raise refuse(op, f'node "{node}" can not create pods that reference clustertrustbundles')
        if pod["spec"].get("resourceClaims"):
            raise refuse(op, f'node "{node}" can not create pods that reference resourceclaims')

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
            owners = [each["metadata"].get("ownerReferences") or [] for each in (op.obj, op.old)]
            if owners[0] != owners[1]:
                raise refuse(op, f'node "{node}" is not allowed to modify ownerReferences')
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

    def _token(self, node: str, op: Operation, spec: Object) -> None:
        reference = spec.get("boundObjectRef") or {}
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
        audiences = spec.get("audiences") or [""]
        if len(audiences) > 1:
            raise refuse(op, "node may only request 0 or 1 audiences")
        self._audience(op, pod, audiences[0])

    def _audience(self, op: Operation, pod: Object, audience: str) -> None:
        """A token is for whom a volume of the pod names, or whom the node may name by a right of its own."""
        if any(audience in self._audiences(pod, volume) for volume in pod["spec"].get("volumes") or ()):
            return
        who, verb = op.call.identity, "request-serviceaccounts-token-audience"
        asked = Attributes(who, verb, "", "v1", audience, "", op.namespace, op.name)
        if self._authorizer.authorize(asked)[0] is not Decision.ALLOW:
            why = f"{who.user} is not authorized to request tokens for this audience"
            raise refuse(op, f'audience "{audience}" not found in pod spec volume, {why}')

    def _audiences(self, pod: Object, volume: Object) -> list[str]:
        """For whom a volume has tokens: a projected one, or one of a CSI driver that asks for them."""
        sources = (volume.get("projected") or {}).get("sources") or ()
        found = [t.get("audience") or "" for source in sources if (t := source.get("serviceAccountToken")) is not None]
        driver = (volume.get("csi") or {}).get("driver") or ""
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
        if volume.get("ephemeral") is not None:
            claim = f"{pod['metadata']['name']}-{volume['name']}"
        if claim:
            named = self._spec(f"/core/persistentvolumeclaims/{pod['metadata']['namespace']}/{claim}").get("volumeName")
            driver = (self._spec(f"/core/persistentvolumes/{named}").get("csi") or {}).get("driver") or ""
        if driver:
            wanted = self._spec(f"/storage.k8s.io/csidrivers/{driver}").get("tokenRequests") or ()
            found += [each.get("audience") or "" for each in wanted]
        return found

    def _spec(self, key: str) -> Object:
        record = self._store.get(key)
        return (decode(record.value).get("spec") or {}) if record is not None else {}

    @staticmethod
    def _slice(node: str, op: Operation) -> None:
        obj = op.obj if op.verb == "CREATE" else op.old if op.verb == "DELETE" else None
        if obj is not None and (obj.get("spec") or {}).get("nodeName") != node:
            word = op.verb.lower()
            raise refuse(op, f"can only {word} ResourceSlice with the same NodeName as the requesting node")

    @staticmethod
    def _request(node: str, op: Operation) -> None:
        spec = (op.obj or {}).get("spec") or {}
        if op.verb != "CREATE" or op.sub or spec.get("signerName") not in _NODE_SIGNERS:
            return
        subject = subject_of(spec)
        if subject is None:
            raise refuse(op, "unable to parse csr: PEM block type must be CERTIFICATE REQUEST")
        if subject[0] != [f"system:node:{node}"]:
            raise refuse(op, f"can only create a node CSR with CN=system:node:{node}")

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


def _claims_of(pod: Object) -> list[tuple[str, str | None]]:
    known = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    return [(each.get("name") or "", each.get("resourceClaimName")) for each in known]


def _but_status(claim: Object) -> Object:
    meta = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    free = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in free}
    return {**claim, "metadata": meta, "status": status}
