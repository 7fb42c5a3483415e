"""The node authorizer: a node reads what its pods need and writes what is its own (KEP-279, KEP-4601).

What depends on the content of a request (whose pod, whose lease) is refused by admission (`admission/nodes.py`).
Source: `plugin/pkg/auth/authorizer/node/node_authorizer.go`.
"""

from __future__ import annotations

from switchboard.api import policy, roles
from switchboard.api.authz import Attributes, Decision
from switchboard.api.identity import Identity
from switchboard.api.podrefs import PodReferences
from switchboard.api.rbac import allows
from switchboard.store.store import Store

NODES = "system:nodes"
_PREFIX = "system:node:"
_READ = ("get", "list", "watch")
_WRITE = ("get", "create", "update", "patch", "delete")
_LEASES = "kube-node-lease"
_Answer = tuple[Decision, str]
_ALLOW: _Answer = (Decision.ALLOW, "")


def node_of(identity: Identity) -> str | None:
    """The node an identity is, "" if it is one without a name; None for others (pkg/auth/nodeidentifier)."""
    if NODES not in identity.groups or not identity.user.startswith(_PREFIX):
        return None
    return identity.user.removeprefix(_PREFIX)


def _no(reason: str = "") -> _Answer:
    return Decision.NO_OPINION, reason


def selects(text: str, field: str, value: str) -> bool:
    """Whether a field selector limits a field to exactly this value."""
    return any(part.strip() in (f"{field}={value}", f"{field}=={value}") for part in text.split(","))


class NodeAuthorizer:
    """Decides for nodes; has no opinion on anybody else."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._references: PodReferences | None = None
        self._rules = [policy.rule(line) for line in roles.CLUSTER_ROLES["system:node"]]
        self._special = {
            ("", "secrets"): self._object,
            ("", "configmaps"): self._object,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("storage.k8s.io", "volumeattachments"): self._attachment,
            ("", "serviceaccounts"): self._token,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
        }

    def authorize(self, attributes: Attributes) -> _Answer:
        """ALLOW what the node needs; otherwise no opinion, with the reason."""
        node = node_of(attributes.identity)
        if node is None:
            return _no()
        if not node:
            return _no(f'unknown node for user "{attributes.identity.user}"')
        if not attributes.path:
            special = self._special.get((attributes.group, attributes.resource))
            if special is not None:
                return special(node, attributes)
        return _ALLOW if any(allows(rule, attributes) for rule in self._rules) else _no()

    def _related(self, node: str, a: Attributes) -> _Answer:
        if not a.name:
            return _no("No Object name found")
        if self._references is None:  # nobody pays for this before the first node asks
            self._references = PodReferences(self._store)
        if self._references.uses(node, a.resource, a.namespace, a.name):
            return _ALLOW
        return _no(f"no relationship found between node '{node}' and this object")

    def _object(self, node: str, a: Attributes) -> _Answer:
        if a.verb not in _READ:
            return _no("can only read resources of this type")
        if a.subresource:
            return _no("cannot read subresource")
        if not a.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, a)

    def _get(self, node: str, a: Attributes) -> _Answer:
        if a.verb != "get":
            return _no("can only get individual resources of this type")
        if a.subresource:
            return _no("cannot get subresource")
        return self._related(node, a)

    def _claim(self, node: str, a: Attributes) -> _Answer:
        if a.subresource != "status":
            return self._get(node, a)
        if a.verb not in ("update", "patch"):
            return _no("can only get/update/patch this type")
        return self._related(node, a)

    def _attachment(self, node: str, a: Attributes) -> _Answer:
        if a.verb != "get" or a.subresource:
            return _no("can only get individual resources of this type")
        record = self._store.get(f"/storage.k8s.io/volumeattachments/{a.name}")
        if record is not None and f'"nodeName":"{node}"'.encode() in record.value:
            return _ALLOW
        return _no(f"no relationship found between node '{node}' and this object")

    def _token(self, node: str, a: Attributes) -> _Answer:
        if a.verb != "create" or not a.name:
            return _no("can only create tokens for individual service accounts")
        if a.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, a)

    def _lease(self, node: str, a: Attributes) -> _Answer:
        if a.verb not in _WRITE:
            return _no("can only get, create, update, patch, or delete a node lease")
        if a.namespace != _LEASES:
            return _no(f'can only access leases in the "{_LEASES}" system namespace')
        if a.verb != "create" and a.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return _ALLOW

    def _csi_node(self, node: str, a: Attributes) -> _Answer:
        if a.verb not in _WRITE:
            return _no("can only get, create, update, patch, or delete a CSINode")
        if a.subresource:
            return _no("cannot authorize CSINode subresources")
        if a.verb != "create" and a.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return _ALLOW

    def _slice(self, node: str, a: Attributes) -> _Answer:
        if a.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        if a.verb == "create":
            return _ALLOW
        if a.verb in ("list", "watch", "deletecollection"):
            scoped = selects(a.field_selector, "spec.nodeName", node)
            return (
                _ALLOW
                if scoped
                else _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            )
        record = self._store.get(f"/resource.k8s.io/resourceslices/{a.name}")
        if record is not None and f'"nodeName":"{node}"'.encode() in record.value:
            return _ALLOW
        return _no(f"no relationship found between node '{node}' and this object")

    @staticmethod
    def _node(node: str, a: Attributes) -> _Answer:
        if a.subresource == "status":
            return _ALLOW if a.verb in ("update", "patch") else _no()
        if a.subresource or a.verb not in ("create", "update", "patch", *_READ):
            return _no()
        if a.verb in ("create", "update", "patch") or a.name == node:
            return _ALLOW
        if not a.name:
            return _no(f"node '{node}' cannot read all nodes, only its own Node object")
        return _no(f"node '{node}' cannot read '{a.name}', only its own Node object")

    def _pod(self, node: str, a: Attributes) -> _Answer:
        if a.subresource == "status":
            return _ALLOW if a.verb in ("update", "patch") else _no()
        if a.subresource == "eviction":
            return _ALLOW if a.verb == "create" else _no()
        if a.subresource:
            return _no()
        if a.verb in ("create", "delete"):
            return _ALLOW
        if a.verb in ("list", "watch"):
            if selects(a.field_selector, "spec.nodeName", node):
                return _ALLOW
            return (
                self._related(node, a) if a.name else _no("can only list/watch pods with spec.nodeName field selector")
            )
        return self._related(node, a) if a.verb == "get" else _no()
