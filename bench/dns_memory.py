"""Memory and time of loading: `switchboard dns` against a real API with many Services, two endpoints each.

    bench/dns_memory.py [--services 10000]

Prints the time from the start of the process to its first answer, its RSS then and at rest, and how long after the
return of a create the new name answers.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any

from switchboard.testing.apiserver import ApiServer
from switchboard.testing.dnsclient import DnsClient, free_port

_MAIN = "import sys; from switchboard.cli.main import main; sys.exit(main())"
_AT_REST = 4.0  # seconds after its start a role has given back what only starting needed


def service(name: str) -> dict[str, Any]:
    spec = {"ports": [{"name": "http", "port": 80}], "selector": {"app": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def endpoints(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"s-{number}-x", "labels": {"kubernetes.io/service-name": f"s-{number}"}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"10.{128 + turn}.{number // 250}.{number % 250 + 1}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": "node",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": f"s-{number}-{turn}"},
            }
            for turn in (0, 1)
        ],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }


async def fill(api: ApiServer, count: int) -> None:
    room = asyncio.Semaphore(64)

    async def one(number: int) -> None:
        async with room:
            core, discovery = "/api/v1/namespaces/default", "/apis/discovery.k8s.io/v1/namespaces/default"
            made, _ = await api.call("POST", f"{core}/services", service(f"s-{number}"))
            sliced, _ = await api.call("POST", f"{discovery}/endpointslices", endpoints(number))
            assert made == sliced == 201

    await asyncio.gather(*(one(number) for number in range(count)))


def rss(pid: int) -> float:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


async def first_answer(dns: DnsClient, name: str) -> str:
    while True:
        try:
            found = await dns.ask(name)
            if found != "SERVFAIL":
                return found
        except OSError:
            pass
        await asyncio.sleep(0.005)


async def measure(count: int) -> None:
    async with ApiServer() as api:
        await fill(api, count)
        port = free_port()
        argv = ["dns", "--kubeconfig", str(api.kubeconfig()), "--port", str(port), "--upstream", "127.0.0.1:1"]
        started = time.monotonic()
        server = await asyncio.create_subprocess_exec(sys.executable, "-c", _MAIN, *argv)
        dns = DnsClient(port)
        try:
            await first_answer(dns, "s-0.default.svc.cluster.local")
            print(f"{count} Services: first answer after {time.monotonic() - started:.2f} s", flush=True)
            loaded = rss(server.pid)
            await asyncio.sleep(_AT_REST)
            print(f"RSS {loaded:.0f} MB when loaded, {rss(server.pid):.0f} MB at rest", flush=True)
            times = []
            for turn in range(50):
                name = f"new-{turn}.default.svc.cluster.local"
                assert await dns.ask(name) == "NXDOMAIN"
                await api.call("POST", "/api/v1/namespaces/default/services", service(f"new-{turn}"))
                begun = time.perf_counter()
                while await dns.ask(name) == "NXDOMAIN":
                    pass
                times.append(time.perf_counter() - begun)
            times.sort()
            print(f"a new name answers after {times[25] * 1e3:.2f} ms (median), {times[-1] * 1e3:.2f} ms (worst of 50)")
        finally:
            dns.close()
            server.terminate()
            await server.wait()


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=10_000)
    uvloop.run(measure(parser.parse_args().services))


if __name__ == "__main__":
    main()
