"""What to do next for a pod: desired spec and observed containers in, steps out. Pure.

The order is kubelet's (pkg/kubelet/kuberuntime/kuberuntime_manager.go computePodActions): a sandbox; init containers
one after the other, those with restartPolicy Always staying (sidecars, KEP-753); then all containers. What failed comes
back after its back-off, if its restart policy says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from switchboard.node.observed import Container, Observed

Object = dict[str, Any]


@dataclass(slots=True)
class Facts:
    """What the decision needs beyond spec and containers."""

    wait: Callable[[str, Container], float]  # seconds a container still has to wait after its end
    started: Mapping[str, bool]  # running containers by id: startup probe passed
    doomed: Mapping[str, str]  # running containers by id that are to be killed (failed liveness): the message
    hash: Callable[[Object], str]  # of a container's spec, as it was noted when it was made
    over: bool = False  # the pod has ended for good, whatever its containers say: evicted, past its deadline


@dataclass(slots=True)
class Plan:
    """Steps in the order they are taken: kills, a new sandbox, starts; `again` is when to look next (seconds)."""

    kill: list[tuple[Container, str]] = field(default_factory=list)
    new_sandbox: bool = False
    stop_sandbox: bool = False  # everything has ended for good
    start: list[Object] = field(default_factory=list)  # container specs; several are started one after the other
    again: float | None = None
    restart_all: bool = False  # kill and forget all containers, then begin anew (rule RestartAllContainers)
    held: list[Container] = field(default_factory=list)  # ended containers whose back-off is not over

    def wait(self, seconds: float) -> None:
        """Look again after so long, or earlier."""
        self.again = seconds if self.again is None else min(self.again, seconds)


def is_sidecar(container: Object) -> bool:
    """An init container that stays."""
    return container.get("restartPolicy") == "Always"


def restarts(policy: str, container: Object, ended: Container) -> bool:
    """Whether a container that ended so is started again: by its rules, its own policy (KEP-5307), its pod's."""
    if rule_for(container, ended) is not None:
        return True
    policy = container.get("restartPolicy") or policy
    return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)


def rule_for(container: Object, ended: Container) -> str | None:
    """The action of the first restart rule that an exit code meets."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (ended.exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return str(rule["action"])
    return None


def specs(pod: Object) -> Iterator[Object]:
    """All containers of a pod, init containers first, ephemeral ones last."""
    spec = pod["spec"]
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()
    yield from spec.get("ephemeralContainers") or ()


def decide(pod: Object, seen: Observed, facts: Facts) -> Plan:
    """The next steps for a pod that is not being deleted."""
    plan = Plan()
    spec = pod["spec"]
    policy = spec.get("restartPolicy", "Always")
    if not facts.over and any(
        (t := _in_sandbox(seen, c["name"])) is not None and t.exited and rule_for(c, t) == "RestartAllContainers"
        for c in specs(pod)
    ):
        plan.kill = [(c, "Restarting all containers of the pod") for c in seen.running()]
        plan.restart_all = True
        return plan
    if facts.over or finished(pod, seen):
        plan.kill = [(c, "") for c in seen.running()]  # sidecars outlive the containers, not the pod
        plan.stop_sandbox = seen.sandbox is not None
        return plan
    if seen.sandbox is None:
        plan.kill = [(c, "The pod's sandbox is gone, it will be recreated.") for c in seen.running()]
        plan.new_sandbox = True
        plan.start = _first(spec)
        return plan
    _doomed(pod, seen, facts, plan)
    if not _init(spec, policy, seen, facts, plan):
        return plan
    for container in spec.get("containers") or ():
        _main(container, policy, seen, facts, plan)
    for container in spec.get("ephemeralContainers") or ():
        if seen.latest(container["name"]) is None:
            plan.start.append(container)
    return plan


def _first(spec: Object) -> list[Object]:
    """What starts in a new sandbox: the first init container (and no more before it is done), or all containers."""
    inits = spec.get("initContainers") or []
    return [inits[0]] if inits else list(spec.get("containers") or ())


def _doomed(pod: Object, seen: Observed, facts: Facts, plan: Plan) -> None:
    for container in specs(pod):
        latest = seen.latest(container["name"])
        if latest is not None and latest.running and latest.id in facts.doomed:
            plan.kill.append((latest, facts.doomed[latest.id]))


def _init(spec: Object, policy: str, seen: Observed, facts: Facts, plan: Plan) -> bool:
    """Steps for init containers; True when the containers proper may start."""
    inits: list[Object] = spec.get("initContainers") or []
    begun = any(_in_sandbox(seen, c["name"]) is not None for c in spec.get("containers") or ())
    for container in inits:
        latest = _in_sandbox(seen, container["name"])
        if is_sidecar(container):
            if latest is None or latest.exited:
                _again(container, latest, facts, plan)
                if not begun:
                    return False
            elif not begun and not (latest.running and facts.started.get(latest.id, False)):
                return False
            continue
        if begun or (latest is not None and latest.exited and latest.exit_code == 0):
            continue
        if latest is None or (latest.exited and restarts(policy, container, latest)):
            _again(container, latest, facts, plan)
        return False
    return True


def _main(container: Object, policy: str, seen: Observed, facts: Facts, plan: Plan) -> None:
    latest = _in_sandbox(seen, container["name"])
    if latest is None:
        older = seen.latest(container["name"])  # of an earlier sandbox: its back-off counts
        if older is None or not older.exited or restarts(policy, container, older):
            _again(container, older, facts, plan)
    elif latest.exited:
        if restarts(policy, container, latest):
            _again(container, latest, facts, plan)
    elif latest.running and latest.hash and latest.hash != facts.hash(container):
        plan.kill.append((latest, f"Container {container['name']} definition changed, will be restarted"))


def _again(container: Object, ended: Container | None, facts: Facts, plan: Plan) -> None:
    left = facts.wait(container["name"], ended) if ended is not None else 0.0
    if left > 0 and ended is not None:
        plan.wait(left)
        plan.held.append(ended)
    else:
        plan.start.append(container)


def _in_sandbox(seen: Observed, name: str) -> Container | None:
    """The newest try of a container in the sandbox that lives now."""
    latest = seen.latest(name)
    sandbox = seen.sandbox
    return latest if latest is not None and sandbox is not None and latest.sandbox == sandbox.id else None


def finished(pod: Object, seen: Observed) -> bool:
    """Whether a pod has ended for good: every container ended and none comes back, or an init container failed."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy", "Always")
    for container in spec.get("initContainers") or ():
        latest = seen.latest(container["name"])
        if latest is None or not latest.exited or latest.exit_code == 0 or is_sidecar(container):
            continue
        if not restarts(policy, container, latest):
            return True
    tries = [(c, seen.latest(c["name"])) for c in spec.get("containers") or ()]
    return bool(tries) and all(t is not None and t.exited and not restarts(policy, c, t) for c, t in tries)
