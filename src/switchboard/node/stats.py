"""What containers and the node use, as `/stats/summary` (JSON) and `/metrics*` (Prometheus text). Pure but `node()`.

Sources: pkg/kubelet/metrics/collectors/resource_metrics.go, kubelet/pkg/apis/stats/v1alpha1/types.go.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from switchboard.node.observed import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID, rfc3339

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeUse:
    """CPU seconds since the boot, bytes of memory in use and in all, bytes of this process."""

    cpu_seconds: float
    memory_used: int
    memory_total: int
    own_cpu_seconds: float
    own_memory: int


def node() -> NodeUse:
    """The machine now, from /proc."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
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
    return NodeUse(busy / hertz, used, total, own.ru_utime + own.ru_stime, pages * page)


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


def summary(name: str, containers: Iterable[Object], use: NodeUse, now: float) -> Object:
    """`/stats/summary`."""
    pods: dict[str, Object] = {}
    for item in containers:
        labels = _labels(item)
        if POD_UID not in labels:
            continue
        ref = {"name": labels.get(POD_NAME), "namespace": labels.get(POD_NAMESPACE), "uid": labels[POD_UID]}
        pod = pods.setdefault(labels[POD_UID], {"podRef": ref, "startTime": rfc3339(now), "containers": []})
        cpu, memory = _use(item, now)
        pod["containers"].append({"name": labels.get(CONTAINER_NAME, ""), "cpu": cpu, "memory": memory})
    for pod in pods.values():
        pod["cpu"] = _sum([c["cpu"] for c in pod["containers"]], now)
        pod["memory"] = _sum([c["memory"] for c in pod["containers"]], now)
    whole = {
        "nodeName": name,
        "startTime": rfc3339(now),
        "cpu": {"time": rfc3339(now), "usageCoreNanoSeconds": int(use.cpu_seconds * 1e9)},
        "memory": {
            "time": rfc3339(now),
            "availableBytes": use.memory_total - use.memory_used,
            "usageBytes": use.memory_used,
            "workingSetBytes": use.memory_used,
        },
    }
    return {"node": whole, "pods": list(pods.values())}


def metrics(kind: str, containers: Sequence[Object], use: NodeUse, pods: Sequence[Object]) -> str:
    """`/metrics` (of this process), `/metrics/resource`, `/metrics/cadvisor` or `/metrics/probes`."""
    if kind == "resource":
        return _text(_resource(containers, use))
    if kind == "cadvisor":
        return _text(_cadvisor(containers))
    if kind == "probes":
        return ""
    running = sum(1 for pod in pods if (pod.get("status") or {}).get("phase") == "Running")
    return _text(
        [
            ("kubelet_running_pods", "gauge", {}, running),
            ("kubelet_running_containers", "gauge", {"container_state": "running"}, len(containers)),
            ("process_cpu_seconds_total", "counter", {}, round(use.own_cpu_seconds, 3)),
            ("process_resident_memory_bytes", "gauge", {}, use.own_memory),
        ]
    )


_Sample = tuple[str, str, dict[str, str], float]


def _resource(containers: Sequence[Object], use: NodeUse) -> list[_Sample]:
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
        total = sums.setdefault((where["namespace"], where["pod"]), [0.0, 0.0])
        total[0] += cpu
        total[1] += memory
    for (namespace, pod), (cpu, memory_sum) in sums.items():
        found.append(("pod_cpu_usage_seconds_total", "counter", {"namespace": namespace, "pod": pod}, cpu))
        found.append(("pod_memory_working_set_bytes", "gauge", {"namespace": namespace, "pod": pod}, memory_sum))
    return [*found, ("scrape_error", "gauge", {}, 0), ("resource_scrape_error", "gauge", {}, 0)]


def _cadvisor(containers: Sequence[Object]) -> list[_Sample]:
    found: list[_Sample] = []
    for item in containers:
        labels = _labels(item)
        where = {
            "container": labels.get(CONTAINER_NAME, ""),
            "id": item.get("attributes", {}).get("id", ""),
            "namespace": labels.get(POD_NAMESPACE, ""),
            "pod": labels.get(POD_NAME, ""),
        }
        memory = item.get("memory", {})
        cpu = _value(item.get("cpu", {}), "usage_core_nano_seconds") / 1e9
        found.append(("container_cpu_usage_seconds_total", "counter", {**where, "cpu": "total"}, cpu))
        found.append(("container_memory_working_set_bytes", "gauge", where, _value(memory, "working_set_bytes")))
        found.append(("container_memory_usage_bytes", "gauge", where, _value(memory, "usage_bytes")))
        found.append(("container_memory_rss", "gauge", where, _value(memory, "rss_bytes")))
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
