"""Claims for the devices of pods that name a template (KEP-4381). Source: pkg/controller/resourceclaim.

A pod's status says which claim was made for which of its entries. Whether a claim is met is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from switchboard.client.resources import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from switchboard.controllers.base import Context, Controller
from switchboard.controllers.owners import controller_uid, reference_to
from switchboard.controllers.pods import is_finished
from switchboard.objects.errors import NotFound, StatusError

Object = dict[str, Any]

ENTRY: Final = "resource.kubernetes.io/pod-claim-name"  # annotation of a claim: the pod's name for it
_WAITING: Final = "waiting for claims"
_LONGEST: Final = 57  # bytes of a generated name before its random part


class ResourceClaimController(Controller):
    """Keys are pods that name templates of claims."""

    name = "resource-claim"
    component = "resource_claim"
    main = PODS
    needs = (RESOURCECLAIMS, RESOURCECLAIMTEMPLATES)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.of(RESOURCECLAIMS).index("controller", controller_uid)
        self.of(PODS).index(_WAITING, _waiting)
        self.of(RESOURCECLAIMTEMPLATES).on_change(self._template_changed)

    def first(self) -> Iterable[str]:
        """Pods that wait for a claim."""
        pods = self.of(PODS)
        return [key for space in pods.values(_WAITING) for key in pods.keys_by(_WAITING, space)]

    def _main_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and _unmade(new):
            super()._main_changed(old, new)

    def _template_changed(self, old: Object | None, new: Object | None) -> None:
        """Pods may have waited for it."""
        if new is not None:
            for pod in self.of(PODS).by(_WAITING, new["metadata"].get("namespace") or ""):
                self._main_changed(None, pod)

    async def reconcile(self, key: str) -> float | None:
        """One pod's claims."""
        pod = self.of(PODS).get_key(key)
        if pod is None or pod["metadata"].get("deletionTimestamp") or is_finished(pod):
            return None
        made = []
        for entry in _unmade(pod):
            claim = self._held(pod, entry["name"]) or await self._make(pod, entry)
            if claim is not None:
                made.append({"name": entry["name"], "resourceClaimName": claim["metadata"]["name"]})
        if made:
            meta = pod["metadata"]
            body = {"metadata": {"uid": meta["uid"]}, "status": {"resourceClaimStatuses": made}}
            await self.cache.patch(PODS, meta["name"], body, meta["namespace"], kind="strategic", subresource="status")
        return None

    def _held(self, pod: Object, entry: str) -> Object | None:
        """A claim that was made for this entry, though the pod does not say so yet."""
        mine = self.of(RESOURCECLAIMS).by("controller", pod["metadata"]["uid"])
        return next((c for c in mine if (c["metadata"].get("annotations") or {}).get(ENTRY) == entry), None)

    async def _make(self, pod: Object, entry: Object) -> Object | None:
        """The claim of an entry; None while its template is missing."""
        meta, wanted = pod["metadata"], entry["resourceClaimTemplateName"]
        template = self.cache.get(RESOURCECLAIMTEMPLATES, meta["namespace"], wanted)
        if template is None:
            text = f'PodResourceClaim {entry["name"]}: resource claim template "{wanted}": not found'
            self.say(pod, "Warning", "FailedResourceClaimCreation", text)
            return None
        given = template["spec"].get("metadata") or {}
        body = {
            "metadata": {
                "generateName": f"{meta['name']}-{entry['name']}"[:_LONGEST] + "-",
                "namespace": meta["namespace"],
                "annotations": {**(given.get("annotations") or {}), ENTRY: entry["name"]},
                "ownerReferences": [reference_to(pod)],
                **({"labels": dict(given["labels"])} if given.get("labels") else {}),
            },
            "spec": template["spec"].get("spec") or {},
        }
        try:
            return await self.cache.create(RESOURCECLAIMS, body)
        except NotFound:
            return None  # its namespace ends
        except StatusError as error:
            text = f"PodResourceClaim {entry['name']}: create ResourceClaim: {error.message}"
            self.say(pod, "Warning", "FailedResourceClaimCreation", text)
            raise


def _waiting(pod: Object) -> list[str]:
    """Index function: the namespace of a pod whose claims are not all made."""
    return [pod["metadata"].get("namespace") or ""] if _unmade(pod) else []


def _unmade(pod: Object) -> list[Object]:
    """Entries that name a template and have no claim yet."""
    known = {s.get("name") for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    entries = pod["spec"].get("resourceClaims") or ()
    return [e for e in entries if e.get("resourceClaimTemplateName") and e.get("name") not in known]
