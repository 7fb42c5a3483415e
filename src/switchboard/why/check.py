"""What stands between a Service's selector and the pods there are. Pure: objects in, a finding or None out.

The lesson's procedure: list the pods with their labels, look at the Service's selector, compare. A finding carries how
sure we are, because a Service may simply be older than its pods: pods on their way are never a finding, and unrelated
neighbours are too weak a sign to be spoken of at once (see `NOW` and `LATER`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from switchboard.why.kinship import are_kin, looks_like, matches, pairs, says

Object = dict[str, Any]

NOW = 4  # enough to warn while the request is answered: more than sharing a label key with some neighbour
LATER = 2  # enough for an Event once the Service has stood without pods for a while

_SLIP = 3  # a value or key that is most probably a slip of the other

# Ports that half of all images declare say little about kinship.
_COMMON_PORTS = frozenset({80, 443, 8080, 8443})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a check looks at: everything of one namespace, plus pods elsewhere. All are API objects.

    `pods` may be those alone that the Service selects, if there are any, `elsewhere` those with one of its labels;
    `services` may include the one that is checked, `elsewhere` this namespace's pods: where they are read, it selects
    none of them.
    """

    pods: Collection[Object]
    workloads: Collection[Object]  # Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, ReplicationControllers
    services: Collection[Object] = ()
    elsewhere: Collection[Object] = ()  # pods of other namespaces

    def is_served(self, pod: Object) -> bool:
        """Whether any Service selects the pod."""
        selectors = (other.get("spec", {}).get("selector") for other in self.services)
        return any(selector and matches(selector, _labels(pod)) for selector in selectors)


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a Service has no endpoints: a machine reason, a sentence, how sure (compare with NOW and LATER), which of its
    ports when not all (" for port 80"), for how many seconds it may be so before it is worth saying, and what is wrong.
    """

    reason: str
    message: str
    weight: int
    scope: str = ""
    patience: float = 0.0
    claim: str = "has no endpoints"


@dataclass(slots=True)
class _Group:
    """Pods of one workload (or one bare pod): a candidate for what the selector meant."""

    kind: str
    name: str
    labels: dict[str, str]
    pods: int = 0
    ports: set[int | str] = field(default_factory=set)
    served: bool = False

    def __str__(self) -> str:
        if self.kind == "Pod":
            return f"pod {self.name} has"
        noun = "1 pod" if self.pods == 1 else f"{self.pods} pods"
        return f"{noun} of {self.kind} {self.name} {'has' if self.pods == 1 else 'have'}"


def explain(service: Object, evidence: Evidence) -> Finding | None:
    """Why `service` selects nothing, or None: it selects something, is made by hand, or its pods are on their way."""
    if not selects_nothing(service, evidence.pods):
        return None
    selector: dict[str, str] = service["spec"]["selector"]
    awaited = [w for w in evidence.workloads if matches(selector, _template_labels(w))]
    if awaited:
        return _idle(selector, awaited)
    found = [_unpassed(selector, evidence), _elsewhere(service, selector, evidence)]
    found.append(_nearest(service, selector, evidence))
    return max((f for f in found if f), key=lambda f: f.weight, default=None)  # the first of equals


def selects_nothing(service: Object, pods: Iterable[Object]) -> bool:
    """Whether the Service has a selector that counts and none of these pods (of its namespace) matches it."""
    spec = service.get("spec", {})
    selector: dict[str, str] = spec.get("selector") or {}
    if not selector or spec.get("type") == "ExternalName":
        return False
    return not any(matches(selector, _labels(p)) for p in pods)


def _idle(selector: Mapping[str, str], awaited: Iterable[Object]) -> Finding | None:
    """All workloads that would make matching pods are scaled to nothing; otherwise their pods are on their way."""
    idle = [w for w in awaited if _wanted(w) == 0]
    if not idle or any(_wanted(w) for w in awaited):
        return None
    # A Deployment's old ReplicaSets stay at 0; the Deployment itself is the one to name.
    named = min(idle, key=lambda w: w.get("kind") != "Deployment")
    what = f"{named.get('kind', 'workload')} {named['metadata']['name']}"
    return Finding("NoPods", f"selector {pairs(selector)} matches {what}, which is scaled to 0 replicas", LATER)


def _unpassed(selector: Mapping[str, str], evidence: Evidence) -> Finding | None:
    """A workload has the labels itself and does not pass them on to its pods."""
    for workload in evidence.workloads:
        meta = workload["metadata"]
        labels = _labels(workload)
        if matches(selector, labels) and not any(r.get("controller") for r in meta.get("ownerReferences") or ()):
            kind, inner = workload.get("kind", "workload"), _template_labels(workload)
            there = pairs(inner) if inner else "no labels"
            message = (
                f"selector {pairs(selector)} matches no pod: {kind} {meta['name']} has these labels itself, while its "
                f"pod template has {there} (a Service looks at the labels of pods)"
            )
            return Finding("SelectorMatchesNoPods", message, 4 * NOW)
    return None


def _elsewhere(service: Object, selector: Mapping[str, str], evidence: Evidence) -> Finding | None:
    """The pods exist, but in another namespace: a selector never reaches across."""
    spaces: dict[str, int] = {}
    for pod in evidence.elsewhere:
        if matches(selector, _labels(pod)) and not pod["metadata"].get("deletionTimestamp"):
            space = pod["metadata"]["namespace"]
            spaces[space] = spaces.get(space, 0) + 1
    if not spaces:
        return None
    here = service["metadata"].get("namespace", "default")
    space, count = max(spaces.items(), key=lambda item: item[1])
    noun = "1 pod has" if count == 1 else f"{count} pods have"
    message = (
        f"selector {pairs(selector)} matches no pod in namespace {here}, while {noun} these labels in "
        f"namespace {space} (a Service selects pods of its own namespace only)"
    )
    # Not at once: it may be another installation of the same thing, as in test and production.
    return Finding("SelectorMatchesNoPods", message, LATER + 1)


def _nearest(service: Object, selector: Mapping[str, str], evidence: Evidence) -> Finding | None:
    scored = [(_weigh(service, selector, g), g) for g in _groups(evidence)]
    scored = [(w, g) for w, g in scored if w > 0]
    if not scored:
        return None
    weight, group = max(scored, key=lambda item: (item[0], item[1].pods, item[1].name))
    message = f"selector {pairs(selector)} matches no pod, while {group} {_difference(selector, group.labels)}"
    return Finding("SelectorMatchesNoPods", message, weight)


def _weigh(service: Object, selector: Mapping[str, str], group: _Group) -> int:
    """How likely the selector meant this group; 0 when nothing in the labels is even near."""
    near = same = 0
    for key, value in selector.items():
        if group.labels.get(key) == value:
            same += 1
        elif key in group.labels:
            near = max(near, _SLIP if looks_like(value, group.labels[key]) else 1)
        elif value in group.labels.values() or any(
            looks_like(key, k) and looks_like(value, v) for k, v in group.labels.items()
        ):
            near = max(near, _SLIP)
    if not same and not near:
        return 0
    weight = near + (3 if same else 0)
    if _are_kin(service, selector, group):
        weight += 3
    targets = {p.get("targetPort", p.get("port")) for p in service.get("spec", {}).get("ports") or ()}
    if shared := targets & group.ports:
        weight += 1 if shared <= _COMMON_PORTS else 2
    weight += 0 if group.served else 1
    return min(weight, NOW - 1) if _is_to_come(service, selector, group, near) else weight


def _are_kin(service: Object, selector: Mapping[str, str], group: _Group) -> bool:
    """Whether the Service and the group are called by one word, in their names or in the labels that differ."""
    name = service["metadata"]["name"]
    if are_kin(name, group.name):
        return True
    return any(
        says(group.name, value) or (key in group.labels and says(name, group.labels[key]))
        for key, value in selector.items()
        if group.labels.get(key) != value
    )


def _is_to_come(service: Object, selector: Mapping[str, str], group: _Group, near: int) -> bool:
    """Whether the Service may well be older than its pods, although it has a label in common with these.

    So it is when it bears the word that it asks for and the group does not (`shop-web` asks for `component=web`, the
    group is `shop-worker`), and when others want the group and it does not have the label at all (a second variant of
    what runs already). What looks like a slip is one, unless others want the group and the Service bears the word.
    """
    missing = {key: value for key, value in selector.items() if group.labels.get(key) != value}
    name = service["metadata"]["name"]
    if all(says(name, value) and not says(group.name, value) for value in missing.values()):
        return group.served or near < _SLIP
    return near < _SLIP and group.served and not any(key in group.labels for key in missing)


def _difference(selector: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """What the group has in place of the selector's pairs: `app=backend`, `no label version`."""
    said: list[str] = []
    for key, value in sorted(selector.items()):
        if labels.get(key) == value:
            continue
        if key in labels:
            said.append(f"{key}={labels[key]}")
            continue
        other = next(
            (k for k, v in sorted(labels.items()) if v == value or (looks_like(k, key) and looks_like(v, value))), None
        )
        said.append(f"{other}={labels[other]}" if other else f"no label {key}")
    return " and ".join(said)


def _groups(evidence: Evidence) -> list[_Group]:
    """Pods gathered under the workload that people know them by (a Deployment rather than its ReplicaSet)."""
    owners = {(w.get("kind", ""), w["metadata"]["name"]): w for w in evidence.workloads}
    groups: dict[tuple[str, str], _Group] = {}
    for pod in evidence.pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        kind, name = _top_owner(pod, owners)
        group = groups.get((kind, name))
        if group is None:
            group = groups[kind, name] = _Group(kind, name, dict(_labels(pod)))
        group.pods += 1
        for container in pod.get("spec", {}).get("containers", ()):
            for port in container.get("ports") or ():
                group.ports.update(p for p in (port.get("containerPort"), port.get("name")) if p)
        group.served = group.served or evidence.is_served(pod)
    return list(groups.values())


def owner_of(pod: Object, workloads: Iterable[Object]) -> tuple[str, str]:
    """Kind and name of the workload that people know a pod by, ("Pod", its name) for a bare one."""
    return _top_owner(pod, {(w.get("kind", ""), w["metadata"]["name"]): w for w in workloads})


def _top_owner(pod: Object, owners: Mapping[tuple[str, str], Object]) -> tuple[str, str]:
    kind, name, seen = "Pod", pod["metadata"]["name"], pod
    for _ in range(3):  # pod -> ReplicaSet -> Deployment, pod -> Job -> CronJob
        ref = next((r for r in seen["metadata"].get("ownerReferences") or () if r.get("controller")), None)
        if ref is None:
            break
        kind, name = ref["kind"], ref["name"]
        above = owners.get((kind, name))
        if above is None:
            break
        seen = above
    return kind, name


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _template_labels(workload: Object) -> dict[str, str]:
    template = workload.get("spec", {}).get("template") or {}
    return (template.get("metadata") or {}).get("labels") or {}


def _wanted(workload: Object) -> int:
    """How many pods a workload asks for; kinds without a number (DaemonSet, Job) ask for some."""
    replicas = workload.get("spec", {}).get("replicas", 1)
    return 1 if replicas is None else int(replicas)
