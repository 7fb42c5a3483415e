"""A namespace of a running cluster, for tests of Services: pods that answer, pods that ask, Services in a few words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import answerer, load
from .cluster import PrivateCluster
from .waiting import wait_for

Object = dict[str, Any]
IMAGE = "python:3-alpine"
_UDP = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(1)
for _ in range(int(sys.argv[3])):
    try:
        s.connect((sys.argv[1], int(sys.argv[2]))); s.send(b"who?"); print(s.recv(99).decode())
    except TimeoutError: print("silence")
    except OSError as error: print("error", error.errno)
"""


class Space:
    """`with Space(cluster, "name") as space`: gone, with all in it, on leaving (not waited for)."""

    def __init__(self, cluster: PrivateCluster, name: str) -> None:
        self.cluster, self.name = cluster, name

    def __enter__(self) -> Space:
        program = {"kind": "ConfigMap", "metadata": {"name": "answerer"}, "data": {"answerer.py": answerer.source()}}
        self.cluster.kubectl("create", "namespace", self.name)
        self.apply(program)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kubectl("delete", "deployments,pods", "--all", "--grace-period=1", "--wait=false", check=False)
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false", check=False)

    def kubectl(self, *words: str, **more: Any) -> str:
        """kubectl in this namespace."""
        return self.cluster.kubectl("-n", self.name, *words, **more)

    def apply(self, *objects: Object) -> None:
        """`kubectl apply` of objects (`apiVersion` v1 when none is given)."""
        items = [{"apiVersion": "v1"} | one for one in objects]
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def get(self, kind: str, name: str) -> Object:
        """One object, decoded."""
        return self.cluster.get("-n", self.name, kind, name)

    def items(self, kind: str, selector: str = "") -> list[Object]:
        """Objects of a kind."""
        found: list[Object] = self.cluster.get("-n", self.name, kind, *(("-l", selector) if selector else ()))["items"]
        return found

    def patch(self, kind: str, name: str, content: Any, how: str = "merge") -> Object:
        """`kubectl patch`; the new object."""
        words = ("patch", kind, name, f"--type={how}", "-p", json.dumps(content), "-o", "json")
        changed: Object = json.loads(self.kubectl(*words))
        return changed

    def delete(self, *words: str) -> None:
        """`kubectl delete`, at once."""
        self.kubectl("delete", *words, "--ignore-not-found", "--grace-period=0", "--force", "--wait=true")

    def refused(self, *words: str, given: Object | None = None) -> str:
        """What kubectl says when it is refused; AssertionError when it is not."""
        done = self._raw(*words, given=json.dumps({"apiVersion": "v1"} | given) if given else None)
        assert done.returncode, f"{words} was accepted"
        return done.stderr

    def _raw(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.cluster.run("kubectl", "-n", self.name, *words, check=False, input=given)

    # who asks

    def inside(self, pod: str, script: str, check: bool = True) -> str:
        """Output of a script of a pod's shell."""
        return self.kubectl("exec", pod, "--", "sh", "-c", script, check=check)

    def fetch(self, url: str, *, by: str = "client", times: int = 1, more: str = "") -> list[str]:
        """What came from an URL asked by a pod, or by `node` or `host`, on a new connection each time: `name client
        method path`, or `curl:7` and so on, curl's number of what went wrong."""
        ask = "curl -s -H 'Connection: close' --connect-timeout 2 --max-time 4 -w '\\nexit %{exitcode}\\n'"
        script = f"{ask} {more} '{url}#[1-{times}]'; true"
        where: dict[str, Callable[..., Any]] = {"node": self.cluster.node, "host": self.cluster.run}
        out = where[by]("sh", "-c", script).stdout if by in where else self.inside(by, script)
        lines = [line.strip() for line in out.splitlines() if line.strip() and line != "exit 0"]
        return [line.replace("exit ", "curl:") for line in lines]

    def names(self, url: str, **more: Any) -> set[str]:
        """Names of the pods that answered at an URL."""
        return {line.split()[0] for line in self.fetch(url, **more)}

    def datagrams(self, address: str, port: int, *, by: str = "client", times: int = 1) -> list[str]:
        """What came back for datagrams, each `name client`, or `silence` or `error 111`."""
        words = ("python3", "-c", _UDP, address, str(port), str(times))
        if by in ("node", "host"):
            return (self.cluster.node if by == "node" else self.cluster.run)(*words).stdout.splitlines()
        return self.kubectl("exec", by, "--", *words).splitlines()

    def until_names(self, url: str, wanted: set[str], seconds: float = 20, **more: Any) -> None:
        """Wait until exactly these pods answer at an URL."""
        wait_for(lambda: self.names(url, **more) == wanted, seconds, what=f"{sorted(wanted)} at {url}")

    def asked_while(self, disturb: Callable[[], None], *words: str) -> dict[str, int]:
        """How requests from the node ended, by kind, while something was done; `words` as `load` takes them."""
        path, load_words = f"--net=/run/netns/{self.cluster.name}", (sys.executable, load.__file__, *words)
        asking = self.cluster.popen(
            "nsenter", path, "--", *load_words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert asking.stdout is not None
        assert asking.stdout.readline() == "going\n"
        disturb()
        said, _ = asking.communicate("\n", timeout=60)
        tally: dict[str, int] = json.loads(said)
        return tally

    # what there is

    def pod(self, name: str, *serve: str, ports: list[Object] | None = None, **spec: Any) -> Object:
        """A pod that answers as `serve` says (see `answerer`), or sleeps. Ready once its first HTTP port answers."""
        command = ["python3", "/answerer/answerer.py", *serve] if serve else ["sleep", "3600"]
        container: Object = {"name": "c", "image": IMAGE, "command": command, "ports": ports or []}
        container["env"] = [{"name": "NAME", "value": name}]
        container["volumeMounts"] = [{"name": "answerer", "mountPath": "/answerer"}]
        probed = next((word.split(":")[1] for word in serve if word.startswith("http:")), None)
        if probed:
            container["readinessProbe"] = {"httpGet": {"port": int(probed)}, "periodSeconds": 1}
        volumes = [{"name": "answerer", "configMap": {"name": "answerer"}}]
        labels = spec.pop("labels", {"pod": name})
        whole = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
        return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": whole | spec}

    def service(self, name: str, *ports: Object | int, **spec: Any) -> Object:
        """Make a Service, as the API answers it; a number is a port that leads to 8080."""
        made = [{"port": p, "targetPort": 8080, "name": f"p{p}"} if isinstance(p, int) else p for p in ports]
        self.apply(
            {"kind": "Service", "metadata": {"name": name}, "spec": {**({"ports": made} if made else {}), **spec}}
        )
        return self.get("service", name)

    def ready(self, *pods: str) -> None:
        """Wait until pods are ready."""
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"pod/{name}" for name in pods))

    def ip(self, pod: str) -> str:
        """A pod's address."""
        return str(self.get("pod", pod)["status"]["podIP"])

    def endpoints(self, service: str) -> list[Object]:
        """Every endpoint of every slice of a Service."""
        slices = self.items("endpointslices", f"kubernetes.io/service-name={service}")
        return [one for piece in slices for one in piece.get("endpoints") or ()]
