"""What containers see: volumes and their updates, environment, hosts and resolver, identity and limits."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path

from switchboard.client.resources import CONFIGMAPS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, SECRETS, SERVICES
from switchboard.node.payload import common_user
from switchboard.testing.node import NODE_IP, Node, condition, container

SLEEP = {"command": ["sleep", "1000"]}


async def test_filled_volumes_and_their_updates(node: Node) -> None:
    meta = {"namespace": "default"}
    await node.client.create(CONFIGMAPS, {"metadata": {"name": "cm", **meta}, "data": {"a": "1", "b": "2"}})
    secret = {"user": base64.b64encode(b"me").decode()}
    await node.client.create(SECRETS, {"metadata": {"name": "sec", **meta}, "data": secret})
    down = [
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "mem", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
    ]
    volumes = [
        {"name": "cm", "configMap": {"name": "cm"}},
        {"name": "one", "configMap": {"name": "cm", "items": [{"key": "a", "path": "x/y", "mode": 0o400}]}},
        {"name": "none", "configMap": {"name": "absent", "optional": True}},
        {"name": "sec", "secret": {"secretName": "sec", "defaultMode": 0o440}},
        {"name": "down", "downwardAPI": {"items": down}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "cm", "items": [{"key": "b", "path": "b"}]}},
                    {"secret": {"name": "sec"}},
                    {"serviceAccountToken": {"path": "token", "audience": "me"}},
                    {"downwardAPI": {"items": [{"path": "ip", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
                ]
            },
        },
    ]
    mounts = [{"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in volumes]
    mounts.append({"name": "cm", "mountPath": "/single", "subPath": "a"})
    await node.apply(
        "full",
        {**SLEEP, "volumeMounts": mounts, "resources": {"limits": {"memory": "64Mi"}}},
        volumes=volumes,
        metadata={"labels": {"app": "x"}},
    )
    pod = await node.ready("full")
    uid = pod["metadata"]["uid"]
    assert (await node.sh("full", "cat /v/cm/a /v/cm/b /v/one/x/y /v/sec/user")) == "121me"
    assert await node.sh("full", "ls /v/none; ls /v/one") == "x\n"
    modes = await node.sh("full", "stat -Lc %a /v/one/x/y /v/sec/user /v/cm/a")
    assert modes.split() == ["400", "440", "644"]
    assert await node.sh("full", "cat /v/down/name; echo; cat /v/down/labels; echo; cat /v/down/mem") == (
        'full\napp="x"\n64'
    )
    assert await node.sh("full", "cat /v/all/b /v/all/user; echo; cat /v/all/ip") == f"2me\n{uid}"
    body = (await node.sh("full", "cat /v/all/token")).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert claims["sub"] == "system:serviceaccount:default:default" and claims["aud"] == ["me"]
    assert claims["kubernetes.io"]["pod"] == {"name": "full", "uid": uid}
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert await node.sh("full", f"cat {token}/namespace {token}/ca.crt") == "defaultCA"
    assert await node.sh("full", "cat /single") == "1"
    await node.client.patch(CONFIGMAPS, "cm", {"data": {"a": "changed", "b": None}}, "default")
    async with asyncio.timeout(60):
        while await node.sh("full", "cat /v/cm/a; ls /v/cm") != "changeda\n":  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await node.client.patch(PODS, "full", {"metadata": {"labels": {"app": "y"}}}, "default")
    async with asyncio.timeout(10):  # no need to wait for a turn without a cause
        while await node.sh("full", "cat /v/down/labels") != 'app="y"':  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await node.sh("full", "cat /single") == "1"  # a subPath is what it was at the start


async def test_a_volume_that_cannot_be_made_holds_the_pod_up(node: Node) -> None:
    volumes = [{"name": "cm", "configMap": {"name": "later"}}]
    await node.apply("held", {**SLEEP, "volumeMounts": [{"name": "cm", "mountPath": "/v"}]}, volumes=volumes)
    async with asyncio.timeout(10):
        while not (said := [e for e in await node.events("held") if e["reason"] == "FailedMount"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert said[0]["message"] == 'MountVolume.SetUp failed for volume "cm" : configmap "later" not found'
    pod = await node.pod("held")
    assert pod is not None and container(pod)["state"]["waiting"]["reason"] == "ContainerCreating"
    later = {"metadata": {"name": "later", "namespace": "default"}, "data": {"k": "v"}}
    await node.client.create(CONFIGMAPS, later)
    await node.ready("held")
    assert await node.sh("held", "cat /v/k") == "v"


async def test_a_pod_held_up_is_tried_again_at_growing_distances(node: Node, tmp_path: Path) -> None:
    later = {"name": "v", "hostPath": {"path": str(tmp_path / "later"), "type": "Directory"}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    await node.apply("waits", {**SLEEP, **mount}, volumes=[later])
    began = time.monotonic()
    tries = 0
    while tries < 3:
        said = [e for e in await node.events("waits") if e["reason"] == "FailedMount"]
        tries = sum(event.get("count") or 1 for event in said)
        await asyncio.sleep(0.01)
    assert time.monotonic() - began > 1.0, "0.5 s and 1 s lie between three tries"
    (tmp_path / "later").mkdir()
    await node.ready("waits")


async def test_scratch_host_and_claimed_volumes(node: Node, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("host")
    (tmp_path / "pv").mkdir()
    pv = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": str(tmp_path / "pv")},
        "claimRef": {"namespace": "default", "name": "claim"},
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "pv"}
    await node.client.create(PERSISTENTVOLUMES, {"metadata": {"name": "pv"}, "spec": pv})
    made = {"metadata": {"name": "claim", "namespace": "default"}, "spec": {**claim, "storageClassName": ""}}
    await node.client.create(PERSISTENTVOLUMECLAIMS, made)
    bound = {"status": {"phase": "Bound"}}
    await node.client.patch(PERSISTENTVOLUMECLAIMS, "claim", bound, "default", subresource="status")
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": "host", "hostPath": {"path": str(tmp_path / "there"), "type": "File"}},
        {"name": "made", "hostPath": {"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}},
        {"name": "pv", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "own", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]
    mounts = [{"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in volumes]
    mounts += [
        {"name": "disk", "mountPath": "/sub", "subPath": "deep/er"},
        {"name": "disk", "mountPath": "/expr", "subPathExpr": "$(NAME)"},
        {"name": "disk", "mountPath": "/ro", "readOnly": True},
    ]
    env = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    context = {"fsGroup": 4321, "runAsUser": 1234}
    main = {**SLEEP, "volumeMounts": mounts, "env": env}
    await node.apply("disks", main, {**main, "name": "d"}, volumes=volumes, securityContext=context)
    await node.ready("disks")
    await node.sh("disks", "echo shared > /v/disk/f; echo s > /sub/f; echo e > /expr/f; echo p > /v/pv/f", "c")
    assert await node.sh("disks", "cat /v/disk/f /v/disk/deep/er/f /v/disk/disks/f", "d") == "shared\ns\ne\n"
    assert (tmp_path / "pv" / "f").read_text() == "p\n"
    assert await node.sh("disks", "cat /v/host") == "host"
    assert (tmp_path / "made").is_dir()
    assert "tmpfs" in await node.sh("disks", "grep ' /v/mem ' /proc/mounts")
    assert await node.sh("disks", "touch /ro/x 2>/dev/null || echo no") == "no\n"
    assert (await node.sh("disks", "id -u; id -G; stat -c %g /v/disk")).split() == ["1234", "0", "4321", "4321"]
    assert await node.sh("disks", "stat -Lc '%a %u %g' /v/own/token") == "640 1234 4321\n"
    uid = (await node.ready("disks"))["metadata"]["uid"]
    await node.delete("disks")
    await node.nothing_left(uid)
    assert (tmp_path / "pv" / "f").exists() and (tmp_path / "there").exists()  # what is not the pod's stays


async def test_environment(node: Node) -> None:
    meta = {"namespace": "default"}
    await node.client.create(CONFIGMAPS, {"metadata": {"name": "cm", **meta}, "data": {"ONE": "1", "two-2": "2"}})
    await node.client.create(SECRETS, {"metadata": {"name": "sec", **meta}, "stringData": {"pass": "word"}})
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    service = await node.client.create(SERVICES, {"metadata": {"name": "my-web", **meta}, "spec": {"ports": ports}})
    env = [
        {"name": "PLAIN", "value": "p"},
        {"name": "BOTH", "value": "$(PLAIN)-$(MISSING)-$$(PLAIN)"},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "ONE"}}},
        {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "pass"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "SVC", "value": "$(MY_WEB_SERVICE_HOST)"},
    ]
    sources = [{"configMapRef": {"name": "cm"}}, {"prefix": "S_", "secretRef": {"name": "sec"}}]
    main = {"command": ["sh", "-c", "echo '$(PLAIN) $(NOPE) $$(PLAIN)'; env; echo end; exec sleep 1000"], "env": env}
    limits = {"limits": {"cpu": "1500m", "memory": "64Mi"}}
    await node.apply("env", {**main, "envFrom": sources, "resources": limits})
    pod = await node.ready("env")
    async with asyncio.timeout(10):
        while not (written := await node.log("env")).endswith("end\n"):  # noqa: ASYNC110  # ready is not yet logged
            await asyncio.sleep(0.02)
    first, *lines = written.splitlines()
    assert first == "p $(NOPE) $(PLAIN)"
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    address = service["spec"]["clusterIP"]
    wanted = {
        "PLAIN": "p",
        "BOTH": "p-$(MISSING)-$(PLAIN)",
        "KEY": "1",
        "PASS": "word",
        "IP": pod["status"]["podIP"],
        "HOST": NODE_IP,
        "NODE": "one",
        "CPU": "2",
        "SVC": address,
        "ONE": "1",
        "S_pass": "word",
        "MY_WEB_SERVICE_HOST": address,
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_PORT": f"tcp://{address}:80",
        "MY_WEB_PORT_80_TCP": f"tcp://{address}:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": address,
        "HOSTNAME": "env",
    }
    assert {key: seen.get(key) for key in wanted} == wanted
    await node.apply(
        "lost", {**SLEEP, "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]}
    )
    lost = await node.until(
        "lost", lambda p: container(p)["state"]["waiting"].get("reason") == "CreateContainerConfigError"
    )
    assert container(lost)["state"]["waiting"]["message"] == 'secret "no" not found'


async def test_names_and_resolvers(node: Node) -> None:
    aliases = [{"ip": "10.0.0.9", "hostnames": ["foo", "bar"]}]
    await node.apply("named", SLEEP, hostname="me", subdomain="sub", hostAliases=aliases)
    dns = {"nameservers": ["1.2.3.4"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]}
    await node.apply("own", SLEEP, dnsPolicy="None", dnsConfig=dns)
    await node.apply("nodes", SLEEP, dnsPolicy="Default")
    pod = await node.ready("named")
    await node.ready("own")
    await node.ready("nodes")
    assert await node.sh("named", "hostname") == "me\n"
    hosts = await node.sh("named", "cat /etc/hosts")
    assert hosts.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert f"{pod['status']['podIP']}\tme.sub.default.svc.cluster.local\tme\n" in hosts
    assert hosts.endswith("\n# Entries added by HostAliases.\n10.0.0.9\tfoo\tbar\n")
    assert await node.sh("named", "cat /etc/resolv.conf") == (
        "search default.svc.cluster.local svc.cluster.local cluster.local example.org\n"
        "nameserver 10.96.0.10\noptions ndots:5\n"
    )
    assert await node.sh("own", "cat /etc/resolv.conf") == "search a.b\nnameserver 1.2.3.4\noptions ndots:2\n"
    assert await node.sh("nodes", "cat /etc/resolv.conf") == "search example.org\nnameserver 192.0.2.53\n"


async def test_identity_limits_and_namespaces(node: Node) -> None:
    context = {
        "runAsUser": 1000,
        "runAsGroup": 2000,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    }
    resources = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    pod_context = {
        "supplementalGroups": [3000],
        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}],
    }
    await node.apply(
        "strict", {**SLEEP, "securityContext": context, "resources": resources}, securityContext=pod_context
    )
    await node.apply("free", {**SLEEP, "securityContext": {"privileged": True}}, hostNetwork=True, hostPID=True)
    await node.apply("shared", SLEEP, {**SLEEP, "name": "d"}, shareProcessNamespace=True)
    await node.apply("rooted", {**SLEEP, "securityContext": {"runAsNonRoot": True}})
    await node.ready("strict")
    assert (await node.sh("strict", "id -u; id -g; id -G")).split() == ["1000", "2000", "2000", "3000"]
    assert await node.sh("strict", "touch /x 2>/dev/null || echo no") == "no\n"
    status = dict(line.split(":", 1) for line in (await node.sh("strict", "cat /proc/self/status")).splitlines())
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapBnd"], 16) == 1 << 10
    assert (await node.sh("strict", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start")).strip() == "80"
    v1, v2 = "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"
    assert (await node.sh("strict", f"cat {v1} 2>/dev/null || cat {v2}")).strip() == str(64 << 20)
    v1, v2 = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"
    assert (await node.sh("strict", f"cat {v1} 2>/dev/null || cat {v2}")).split()[0] == "50000"
    free = await node.ready("free")
    assert free["status"]["podIP"] == NODE_IP
    assert NODE_IP in await node.sh("free", "ip addr")
    assert "containerd" in await node.sh("free", "ps")
    await node.ready("shared")
    assert (await node.sh("shared", "ps | grep -c 'sleep 100[0]'")).strip() == "2"
    rooted = await node.until(
        "rooted", lambda p: container(p)["state"]["waiting"].get("reason") == "CreateContainerConfigError"
    )
    assert "runAsNonRoot and image will run as root" in container(rooted)["state"]["waiting"]["message"]
    assert condition(rooted, "Ready") == "False"


async def test_the_kernel_ends_what_takes_too_much_memory(node: Node) -> None:
    eat = {"command": ["sh", "-c", "x=a; while true; do x=$x$x; done"], "resources": {"limits": {"memory": "16Mi"}}}
    await node.apply("greedy", eat, restartPolicy="Never")
    pod = await node.phase("greedy", "Failed")
    assert container(pod)["state"]["terminated"]["reason"] == "OOMKilled"
    assert container(pod)["state"]["terminated"]["exitCode"] == 137


def test_whose_a_token_is() -> None:
    def owner(*users: int | None, pod: int | None = None) -> int | None:
        containers = [{"securityContext": {"runAsUser": u}} if u is not None else {} for u in users]
        context = {"runAsUser": pod} if pod is not None else {}
        spec = {"initContainers": containers[:1], "containers": containers[1:], "securityContext": context}
        return common_user({"spec": spec})

    assert owner(None, None) is None
    assert owner(7, 7, 7) == 7
    assert owner(7, None) is None
    assert owner(7, 8) is None
    assert owner(None, 7, pod=7) == 7
    assert owner(0, 0) == 0
