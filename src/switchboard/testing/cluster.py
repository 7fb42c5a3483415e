"""A whole cluster for tests: on a private host, with its own folders and kubeconfig, without a way out, gone when
the test is over.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from switchboard.cluster.config import images_base

from .host import Host

ROOT = Path(__file__).resolve().parents[3]


class PrivateCluster:
    """`with PrivateCluster() as cluster: cluster.kubectl("get", "nodes")`. Starts on entering unless `start` is false.

    `host` is the private host; `env` what programs need to find the cluster (KUBECONFIG among it); `folder` a place
    for files.
    """

    def __init__(self, *up_options: str, start: bool = True, host: Host | None = None, name: str = "") -> None:
        self._own_host = host is None
        self.host = host or Host()
        self.name = name or self.host.name.removesuffix("-host")
        self._options = up_options
        self._start = start
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        self.folder = Path(self._temporary.name)
        self.kubeconfig = self.folder / "home" / ".kube" / "config"
        self.env = {
            "SWITCHBOARD_CLUSTER": self.name,
            "SWITCHBOARD_STATE_DIR": str(self.folder / "lib"),
            "SWITCHBOARD_RUN_DIR": f"/run/{self.name}",  # short: a socket's path has at most 107 bytes
            "SWITCHBOARD_IMAGES_DIR": str(images_base()),
            "HOME": str(self.folder / "home"),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.folder / "cache"),
        }

    def __enter__(self) -> PrivateCluster:
        if self._own_host:
            self.host.__enter__()
        try:
            if self._start:
                self.up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.switchboard("down", "--purge", "--grace", "0", check=False)
        finally:
            if self._own_host:
                self.host.__exit__(kind, error, trace)
            self._temporary.cleanup()

    def up(self, *options: str) -> str:
        """`switchboard up --no-egress`. Returns what it said; AssertionError with it when it failed."""
        return self.switchboard("up", "--no-egress", *self._options, *options).stdout

    def switchboard(self, *words: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a verb through the launcher, as a person does."""
        return self.host.run(str(ROOT / "switchboard"), *words, check=check, env=self.env, **more)

    def kubectl(self, *words: str, check: bool = True, given: str | None = None, **more: Any) -> str:
        """Stock kubectl with the cluster's context. Returns its output; `given` goes to its input."""
        return self.host.run("kubectl", *words, check=check, env=self.env, input=given, **more).stdout

    def get(self, *words: str) -> dict[str, Any]:
        """`kubectl get ... -o json`, decoded."""
        content: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return content

    def run(self, *argv: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Any program on the private host, with the cluster's environment."""
        return self.host.run(*argv, check=check, env=self.env, **more)

    def popen(self, *argv: str, **more: Any) -> subprocess.Popen[Any]:
        """Start a program on the private host and go on."""
        return self.host.popen(*argv, env={**os.environ, **self.env}, **more)

    def status(self) -> dict[str, Any]:
        """`switchboard status -o json`, decoded."""
        content: dict[str, Any] = json.loads(self.switchboard("status", "-o", "json", check=False).stdout)
        return content

    def pid(self, process: str) -> int:
        """Pid of one of the cluster's own processes, 0 when it does not run."""
        return next((int(p["pid"]) for p in self.status()["processes"] if p["name"] == process), 0)

    def node(self, *argv: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """A program inside the node's network namespace."""
        return self.host.run("nsenter", f"--net=/run/netns/{self.name}", "--", *argv, check=check, env=self.env, **more)

    @property
    def ip(self) -> str:
        """The node's address."""
        return self.switchboard("ip").stdout.strip()
