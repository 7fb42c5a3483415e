"""What containers and the node use, as `/stats/summary` (JSON) and `/metrics*` (Prometheus text). Pure but `node()`.

Sources: pkg/kubelet/metrics/collectors/resource_metrics.go, kubelet/pkg/apis/stats/v1alpha1/types.go.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from switchboard.node.observed import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID, parse_time, rfc3339
from switchboard.node.settings import KUBELET_VERSION

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeUse:
    """CPU seconds since the boot, bytes of memory in use and in all, CPU seconds and bytes of this process, the time of
    the boot and how many processors there are.
    """

    cpu_seconds: float
    memory_used: int
    memory_total: int
    own_cpu_seconds: float
    own_memory: int
    booted: float
    processors: int


def node() -> NodeUse:
    """The machine now, from /proc."""
    with open("/proc/stat") as file:
        counts = {words[0]: words[1:] for line in file if (words := line.split())}
    ticks = [int(word) for word in counts["cpu"][:8]]
    busy = sum(ticks) - ticks[3] - ticks[4]  # without idle and iowait
    memory = {}
    with open("/proc/meminfo") as file:
        for line in file:
            key, _, rest = line.partition(":")
            memory[key] = int(rest.split()[0]) * 1024
    own = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    total = memory["MemTotal"]
    used = total - memory.get("MemAvailable", memory["MemFree"])
    hertz = os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    own_seconds = own.ru_utime + own.ru_stime
    return NodeUse(busy / hertz, used, total, own_seconds, pages * page, float(counts["btime"][0]), os.cpu_count() or 1)


def _value(holder: Object, key: str) -> int:
    return int(holder.get(key, {}).get("value", 0))


def _labels(item: Object) -> dict[str, str]:
    labels: dict[str, str] = item.get("attributes", {}).get("labels", {})
    return labels


def _use(item: Object, now: float) -> tuple[Object, Object]:
    """(cpu, memory) of a ContainerStats in the words of the summary API."""
    cpu, memory = item.get("cpu", {}), item.get("memory", {})
    time = rfc3339(now)
    return (
        {
            "time": time,
            "usageNanoCores": _value(cpu, "usage_nano_cores"),
            "usageCoreNanoSeconds": _value(cpu, "usage_core_nano_seconds"),
        },
        {
            "time": time,
            "usageBytes": _value(memory, "usage_bytes"),
            "workingSetBytes": _value(memory, "working_set_bytes"),
            "rssBytes": _value(memory, "rss_bytes"),
        },
    )


def _sum(parts: list[Object], now: float) -> Object:
    total: Object = {"time": rfc3339(now)}
    for part in parts:
        for key, value in part.items():
            if key != "time":
                total[key] = total.get(key, 0) + value
    return total


def _statuses(pod: Object) -> dict[str, Object]:
    """Container statuses of a pod by the container's name."""
    status = pod.get("status") or {}
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return {each["name"]: each for kind in kinds for each in status.get(kind) or ()}


def _started(status: Object) -> str:
    """When a container was started, "" when it does not run."""
    return str(((status.get("state") or {}).get("running") or {}).get("startedAt") or "")


def summary(name: str, containers: Iterable[Object], use: NodeUse, pods: Iterable[Object], now: float) -> Object:
    """`/stats/summary`."""
    known = {pod["metadata"]["uid"]: pod for pod in pods}
    found: dict[str, Object] = {}
    for item in containers:
        labels = _labels(item)
        uid = labels.get(POD_UID)
        if uid is None:
            continue
        of = known.get(uid, {})
        if uid not in found:
            ref = {"name": labels.get(POD_NAME), "namespace": labels.get(POD_NAMESPACE), "uid": uid}
            started = (of.get("status") or {}).get("startTime") or rfc3339(now)
            found[uid] = {"podRef": ref, "startTime": started, "containers": []}
        container = labels.get(CONTAINER_NAME, "")
        cpu, memory = _use(item, now)
        started = _started(_statuses(of).get(container, {})) or found[uid]["startTime"]
        disk = {"time": rfc3339(now), "usedBytes": _value(item.get("writable_layer", {}), "used_bytes")}
        found[uid]["containers"].append(
            {"name": container, "startTime": started, "cpu": cpu, "memory": memory, "rootfs": disk}
        )
    for pod in found.values():
        pod["cpu"] = _sum([c["cpu"] for c in pod["containers"]], now)
        pod["memory"] = _sum([c["memory"] for c in pod["containers"]], now)
    whole = {
        "nodeName": name,
        "startTime": rfc3339(use.booted),
        "cpu": {"time": rfc3339(now), "usageCoreNanoSeconds": int(use.cpu_seconds * 1e9)},
        "memory": {
            "time": rfc3339(now),
            "availableBytes": use.memory_total - use.memory_used,
            "usageBytes": use.memory_used,
            "workingSetBytes": use.memory_used,
        },
    }
    return {"node": whole, "pods": list(found.values())}


def metrics(kind: str, name: str, containers: Sequence[Object], use: NodeUse, pods: Sequence[Object]) -> str:
    """`/metrics` (of this process), `/metrics/resource`, `/metrics/cadvisor` or `/metrics/probes`."""
    if kind == "resource":
        return _text(_resource(containers, use, pods))
    if kind == "cadvisor":
        return _text(_cadvisor(containers, use, pods))
    if kind == "probes":
        return ""
    running = sum(1 for pod in pods if (pod.get("status") or {}).get("phase") == "Running")
    return _text(
        [
            ("kubelet_node_name", "gauge", {"node": name}, 1),
            ("kubelet_running_pods", "gauge", {}, running),
            ("kubelet_running_containers", "gauge", {"container_state": "running"}, len(containers)),
            ("process_cpu_seconds_total", "counter", {}, round(use.own_cpu_seconds, 3)),
            ("process_resident_memory_bytes", "gauge", {}, use.own_memory),
            ("kubernetes_build_info", "gauge", {"git_version": KUBELET_VERSION}, 1),
        ]
    )


_Sample = tuple[str, str, dict[str, str], float]


def _by_uid(pods: Sequence[Object]) -> dict[str, dict[str, Object]]:
    return {pod["metadata"]["uid"]: _statuses(pod) for pod in pods}


def _start_sample(labels: dict[str, str], status: Object) -> list[_Sample]:
    started = _started(status)
    return [("container_start_time_seconds", "gauge", labels, parse_time(started))] if started else []


def _resource(containers: Sequence[Object], use: NodeUse, pods: Sequence[Object]) -> list[_Sample]:
    known = _by_uid(pods)
    found: list[_Sample] = [
        ("node_cpu_usage_seconds_total", "counter", {}, round(use.cpu_seconds, 3)),
        ("node_memory_working_set_bytes", "gauge", {}, use.memory_used),
    ]
    sums: dict[tuple[str, str], list[float]] = {}
    for item in containers:
        labels = _labels(item)
        where = {"namespace": labels.get(POD_NAMESPACE, ""), "pod": labels.get(POD_NAME, "")}
        cpu = _value(item.get("cpu", {}), "usage_core_nano_seconds") / 1e9
        memory = _value(item.get("memory", {}), "working_set_bytes")
        each = {"container": labels.get(CONTAINER_NAME, ""), **where}
        found.append(("container_cpu_usage_seconds_total", "counter", each, cpu))
        found.append(("container_memory_working_set_bytes", "gauge", each, memory))
        status = known.get(labels.get(POD_UID, ""), {}).get(each["container"], {})
        found += _start_sample(each, status)
        total = sums.setdefault((where["namespace"], where["pod"]), [0.0, 0.0])
        total[0] += cpu
        total[1] += memory
    for (namespace, pod), (cpu, memory_sum) in sums.items():
        found.append(("pod_cpu_usage_seconds_total", "counter", {"namespace": namespace, "pod": pod}, cpu))
        found.append(("pod_memory_working_set_bytes", "gauge", {"namespace": namespace, "pod": pod}, memory_sum))
    return [*found, ("scrape_error", "gauge", {}, 0), ("resource_scrape_error", "gauge", {}, 0)]


def _cadvisor(containers: Sequence[Object], use: NodeUse, pods: Sequence[Object]) -> list[_Sample]:
    known = _by_uid(pods)
    found: list[_Sample] = [
        ("machine_cpu_cores", "gauge", {}, use.processors),
        ("machine_memory_bytes", "gauge", {}, use.memory_total),
    ]
    for item in containers:
        labels, id_ = _labels(item), item.get("attributes", {}).get("id", "")
        name = labels.get(CONTAINER_NAME, "")
        status = known.get(labels.get(POD_UID, ""), {}).get(name, {})
        # Dashboards select by `image!=""`: what stands for a whole pod or a slice of the machine has none.
        where = {
            "container": name,
            "id": id_,
            "image": status.get("imageID") or status.get("image") or "",
            "name": id_,
            "namespace": labels.get(POD_NAMESPACE, ""),
            "pod": labels.get(POD_NAME, ""),
        }
        memory, disk = item.get("memory", {}), item.get("writable_layer", {})
        cpu = _value(item.get("cpu", {}), "usage_core_nano_seconds") / 1e9
        found.append(("container_cpu_usage_seconds_total", "counter", {**where, "cpu": "total"}, cpu))
        found.append(("container_memory_working_set_bytes", "gauge", where, _value(memory, "working_set_bytes")))
        found.append(("container_memory_usage_bytes", "gauge", where, _value(memory, "usage_bytes")))
        found.append(("container_memory_rss", "gauge", where, _value(memory, "rss_bytes")))
        found.append(("container_fs_usage_bytes", "gauge", where, _value(disk, "used_bytes")))
        found += _start_sample(where, status)
    return found


def _text(samples: list[_Sample]) -> str:
    lines: list[str] = []
    for name in dict.fromkeys(sample[0] for sample in samples):  # samples of one name stand together
        same = [sample for sample in samples if sample[0] == name]
        lines.append(f"# TYPE {name} {same[0][1]}")
        for _, _, labels, value in same:
            inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
