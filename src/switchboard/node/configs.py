"""A pod's spec as CRI configurations: sandbox and containers, security, resources. Pure.

Sources: pkg/kubelet/kuberuntime/kuberuntime_sandbox.go, kuberuntime_container_linux.go, security_context.go,
pkg/kubelet/qos/policy.go (OOM scores), pkg/kubelet/cm/helpers_linux.go (CPU shares and quotas).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from switchboard.node import cri
from switchboard.node import observed as o
from switchboard.node.fields import amount_of
from switchboard.node.settings import NodeSettings
from switchboard.objects import podresources

Object = dict[str, Any]

_MASKED = ["asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats"]
_MASKED_PATHS = [f"/proc/{n}" for n in [*_MASKED, "sched_debug", "scsi"]] + ["/sys/firmware"]
_READONLY_PATHS = [f"/proc/{n}" for n in ("bus", "fs", "irq", "sys", "sysrq-trigger")]


def hash_of(container: Object) -> str:
    """What a container is recognised by: only a change of its image makes a new one of a running container."""
    raw = msgspec.json.encode([container["name"], container.get("image", "")])
    return hashlib.blake2s(raw, digest_size=6).hexdigest()


def asked(container: Object) -> Object:
    """The requests and limits of a container, without what else may stand beside them."""
    return {k: v for k, v in (container.get("resources") or {}).items() if k in ("limits", "requests") and v}


def labels(pod: Object, container: str = "") -> dict[str, str]:
    """The labels by which sandboxes and containers are found again."""
    meta = pod["metadata"]
    found = {o.POD_NAME: meta["name"], o.POD_NAMESPACE: meta["namespace"], o.POD_UID: meta["uid"]}
    return found | {o.CONTAINER_NAME: container} if container else found


def hostname_of(pod: Object, domain: str) -> str:
    """The pod's hostname: overridden (KEP-4762), given, or its name; at most 63 bytes; the FQDN when asked for."""
    name, full = _names(pod, domain)
    return full if full and pod["spec"].get("setHostnameAsFQDN") else name


def dns_config(pod: Object, settings: NodeSettings, node_resolv_conf: str) -> Object:
    """What goes into the containers' resolv.conf, by dnsPolicy (pkg/kubelet/network/dns/dns.go)."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    node = _parse_resolv_conf(node_resolv_conf)
    if policy == "None":
        found: Object = {"servers": [], "searches": [], "options": []}
    elif policy == "Default" or (policy == "ClusterFirst" and spec.get("hostNetwork")) or not settings.cluster_dns:
        found = node
    else:
        space, domain = pod["metadata"]["namespace"], settings.cluster_domain
        searches = [f"{space}.svc.{domain}", f"svc.{domain}", domain, *node["searches"]]
        found = {"servers": list(settings.cluster_dns), "searches": searches, "options": ["ndots:5"]}
    extra = spec.get("dnsConfig") or {}
    found["servers"] = _unique([*found["servers"], *(extra.get("nameservers") or ())])
    found["searches"] = _unique([*found["searches"], *(extra.get("searches") or ())])
    given = {opt["name"]: opt.get("value") for opt in extra.get("options") or ()}
    kept = [opt for opt in found["options"] if opt.partition(":")[0] not in given]
    found["options"] = kept + [f"{k}:{v}" if v not in (None, "") else k for k, v in given.items()]
    return found


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _parse_resolv_conf(text: str) -> Object:
    found: Object = {"servers": [], "searches": [], "options": []}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            found["servers"].append(words[1])
        elif words[0] == "search":
            found["searches"] = words[1:]
        elif words[0] == "options":
            found["options"] += words[1:]
    return found


def sandbox_config(pod: Object, settings: NodeSettings, attempt: int, resolv_conf: str) -> Object:
    """PodSandboxConfig. Host ports are the proxy's work, so no port mappings stand here."""
    meta, spec = pod["metadata"], pod["spec"]
    context = spec.get("securityContext") or {}
    host_network = bool(spec.get("hostNetwork"))
    security: Object = {
        "namespace_options": _namespaces(spec),
        "privileged": any((c.get("securityContext") or {}).get("privileged") for c in _every(spec)),
        "seccomp": {"profile_type": cri.RUNTIME_DEFAULT},
    }
    groups = _supplemental(context)
    if groups:
        security["supplemental_groups"] = groups
    linux: Object = {"cgroup_parent": cgroup_of(pod, settings), "security_context": security}
    if wanted := sysctls(pod):
        linux["sysctls"] = wanted
    return {
        "metadata": {"name": meta["name"], "uid": meta["uid"], "namespace": meta["namespace"], "attempt": attempt},
        "hostname": "" if host_network else hostname_of(pod, settings.cluster_domain),
        "log_directory": str(settings.pod_log_dir(meta["namespace"], meta["name"], meta["uid"])),
        "dns_config": dns_config(pod, settings, resolv_conf),
        "labels": {**(meta.get("labels") or {}), **labels(pod)},
        "annotations": dict(meta.get("annotations") or {}),
        "linux": linux,
    }


_SAFE_SYSCTLS = frozenset(
    "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.tcp_syncookies net.ipv4.ping_group_range"
    " net.ipv4.ip_unprivileged_port_start net.ipv4.ip_local_reserved_ports net.ipv4.tcp_keepalive_time"
    " net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes net.ipv4.tcp_rmem"
    " net.ipv4.tcp_wmem".split()
)


def sysctls(pod: Object) -> dict[str, str]:
    """The kernel parameters a pod asks for, their names with dots."""
    found = (pod["spec"].get("securityContext") or {}).get("sysctls") or ()
    return {_dotted(s["name"]): s["value"] for s in found}


def _dotted(name: str) -> str:
    """`net/ipv4/x` as `net.ipv4.x`; what comes first of `.` and `/` separates, as for sysctl(8)."""
    first = next((c for c in name if c in "./"), ".")
    return name.translate(str.maketrans("./", "/.")) if first == "/" else name


def forbidden_sysctl(pod: Object) -> str | None:
    """The first kernel parameter that pods may not set here (pkg/kubelet/sysctl/allowlist.go)."""
    return next((name for name in sysctls(pod) if name not in _SAFE_SYSCTLS), None)


def cgroup_of(pod: Object, settings: NodeSettings) -> str:
    """The control group of a pod, by its quality of service."""
    qos = qos_class(pod)
    middle = "" if qos == "Guaranteed" else f"/{qos.lower()}"
    return f"{settings.cgroup_parent}{middle}/pod{pod['metadata']['uid']}"


def _every(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or ()), *spec["containers"], *(spec.get("ephemeralContainers") or ())]


def _namespaces(spec: Object) -> Object:
    return {
        "network": cri.NS_NODE if spec.get("hostNetwork") else cri.NS_POD,
        "pid": cri.NS_NODE
        if spec.get("hostPID")
        else cri.NS_POD
        if spec.get("shareProcessNamespace")
        else cri.NS_CONTAINER,
        "ipc": cri.NS_NODE if spec.get("hostIPC") else cri.NS_POD,
    }


def _supplemental(context: Object) -> list[int]:
    groups = list(context.get("supplementalGroups") or ())
    return groups + ([context["fsGroup"]] if context.get("fsGroup") is not None else [])


def container_config(
    pod: Object,
    container: Object,
    *,
    attempt: int,
    image: str,
    command: tuple[list[str], list[str]],
    envs: Mapping[str, str],
    mounts: list[Object],
    target: str = "",
    memory: int = 0,
) -> Object:
    """ContainerConfig; `image` is the pulled image's reference, `memory` the node's, in bytes."""
    name = container["name"]
    namespaces = _namespaces(pod["spec"])
    if target:
        namespaces |= {"pid": cri.NS_TARGET, "target_id": target}
    return {
        "metadata": {"name": name, "attempt": attempt},
        "image": {"image": image},
        "command": command[0],
        "args": command[1],
        "working_dir": container.get("workingDir", ""),
        "envs": [{"key": k, "value": v} for k, v in envs.items()],
        "mounts": mounts,
        "labels": labels(pod, name),
        "annotations": {
            o.HASH: hash_of(container),
            o.ASKED: msgspec.json.encode(asked(container), order="sorted").decode(),
            o.MESSAGE_PATH: container.get("terminationMessagePath", "/dev/termination-log"),
            o.MESSAGE_POLICY: container.get("terminationMessagePolicy", "File"),
        },
        "log_path": f"{name}/{attempt}.log",
        "stdin": bool(container.get("stdin")),
        "stdin_once": bool(container.get("stdinOnce")),
        "tty": bool(container.get("tty")),
        "linux": {
            "resources": resources(pod, container, memory),
            "security_context": _security(pod, container, namespaces),
        },
    }


def _security(pod: Object, container: Object, namespaces: Object) -> Object:
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    privileged = bool(own.get("privileged"))
    found: Object = {
        "privileged": privileged,
        "namespace_options": namespaces,
        "readonly_rootfs": bool(own.get("readOnlyRootFilesystem")),
        "no_new_privs": own.get("allowPrivilegeEscalation") is False,
        "seccomp": _seccomp(own, of_pod, privileged),
    }
    user, group = own.get("runAsUser", of_pod.get("runAsUser")), own.get("runAsGroup", of_pod.get("runAsGroup"))
    if user is not None:
        found["run_as_user"] = {"value": user}
        if group is not None:
            found["run_as_group"] = {"value": group}
    groups = _supplemental(of_pod)
    if groups:
        found["supplemental_groups"] = groups
    capabilities = own.get("capabilities") or {}
    if capabilities:
        found["capabilities"] = {
            "add_capabilities": [c.upper() for c in capabilities.get("add") or ()],
            "drop_capabilities": [c.upper() for c in capabilities.get("drop") or ()],
        }
    if not privileged and own.get("procMount", "Default") != "Unmasked":
        found["masked_paths"], found["readonly_paths"] = _MASKED_PATHS, _READONLY_PATHS
    return found


def _seccomp(own: Object, of_pod: Object, privileged: bool) -> Object:
    profile = own.get("seccompProfile") or of_pod.get("seccompProfile") or {}
    kind = profile.get("type", "Unconfined")
    if privileged or kind == "Unconfined":
        return {"profile_type": cri.UNCONFINED}
    if kind == "Localhost":
        return {"profile_type": cri.LOCALHOST, "localhost_ref": profile.get("localhostProfile", "")}
    return {"profile_type": cri.RUNTIME_DEFAULT}


def resources(pod: Object, container: Object, memory: int) -> Object:
    """LinuxContainerResources: shares from the request, quota from the limit, memory limit, OOM score."""
    given = container.get("resources") or {}
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    found: Object = {"oom_score_adj": oom_score(pod, container, memory)}
    asked = requests.get("cpu", limits.get("cpu"))
    found["cpu_shares"] = max(2, int(amount_of(asked) * 1024)) if asked is not None else 2
    if limits.get("cpu") and amount_of(limits["cpu"]) > 0:
        found["cpu_period"] = 100_000
        found["cpu_quota"] = max(1000, int(amount_of(limits["cpu"]) * 100_000))
    if limits.get("memory"):
        found["memory_limit_in_bytes"] = int(amount_of(limits["memory"]))
    if one_hierarchy():  # too little memory for one of its processes is the end of the whole container
        found["unified"] = {"memory.oom.group": "1"}
    return found


@functools.cache
def one_hierarchy() -> bool:
    """Whether this machine has control groups of version 2 alone."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/v1/helper/qos); the API's own word when it stands."""
    stated = (pod.get("status") or {}).get("qosClass")
    if stated:
        return str(stated)
    return podresources.qos_class(pod["spec"])


def oom_score(pod: Object, container: Object, memory: int) -> int:
    """oom_score_adj: -997 guaranteed, 1000 best effort, in between by the share of the node's memory asked for."""
    qos = qos_class(pod)
    if qos == "Guaranteed":
        return -997
    if qos == "BestEffort" or not memory:
        return 1000
    asked = podresources.of_container(container).get("memory", 0) + _spare_memory(pod)
    share = 1000 - (1000 * asked) // memory
    return max(3, min(share, 999))


def _spare_memory(pod: Object) -> int:
    """Each container's part of what a pod asks for as a whole beyond its containers' requests."""
    spec = pod["spec"]
    whole = podresources.amounts((spec.get("resources") or {}).get("requests")).get("memory", 0)
    every = [*spec["containers"], *(spec.get("initContainers") or ())]
    return max(0, whole - sum(podresources.of_container(c).get("memory", 0) for c in every)) // len(every)


def _names(pod: Object, domain: str) -> tuple[str, str]:
    """The pod's hostname, and its FQDN if it has one; neither hostname nor subdomain counts beside an override."""
    spec = pod["spec"]
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"]), ""
    name = str(spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")
    subdomain, space = spec.get("subdomain"), pod["metadata"]["namespace"]
    return name, f"{name}.{subdomain}.{space}.svc.{domain}" if subdomain else ""


def hosts_file(pod: Object, ips: Sequence[str], domain: str) -> str:
    """/etc/hosts of a pod, with kubelet's own words on top (kubelet_pods.go managedHostsFileContent)."""
    spec = pod["spec"]
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    name, full = _names(pod, domain)
    lines += ["\t".join(filter(None, (ip, full, name))) for ip in ips]
    return "\n".join([*lines, *_aliases(spec)]) + "\n"


def host_network_hosts_file(pod: Object, node: str) -> str:
    """/etc/hosts of a pod in the node's network: the node's own, and the pod's aliases."""
    text = "# Kubernetes-managed hosts file (host network).\n" + node
    return text + "".join(f"{line}\n" for line in _aliases(pod["spec"]))


def _aliases(spec: Object) -> list[str]:
    aliases = spec.get("hostAliases") or ()
    if not aliases:
        return []
    lines = ["\t".join([a["ip"], *(a.get("hostnames") or ())]) for a in aliases]
    return ["", "# Entries added by HostAliases.", *lines]
