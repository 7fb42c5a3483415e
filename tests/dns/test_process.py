"""`switchboard dns` as a process: workers that die, files read again, and the resolvers of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from switchboard.client import Client
from switchboard.client.resources import ENDPOINTSLICES, SERVICES
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.dnsclient import DnsClient, free_port, until

_MAIN = "import sys; from switchboard.cli.main import main; sys.exit(main())"
NAME = "web.default.svc.cluster.local"


@asynccontextmanager
async def process(api: ApiServer, port: int, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    argv = ["dns", "--kubeconfig", str(api.kubeconfig()), "--port", str(port), *options]
    made = await asyncio.create_subprocess_exec(sys.executable, "-c", _MAIN, *argv)
    try:
        yield made
    finally:
        if made.returncode is None:
            made.terminate()
        await asyncio.wait_for(made.wait(), 10)


async def with_service(api: ApiServer) -> str:
    client = Client.from_kubeconfig(api.kubeconfig())
    spec = {"ports": [{"name": "http", "port": 80}]}
    made = await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")
    await client.transport.close()
    return str(made["spec"]["clusterIP"])


def children(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(int(stat.parent.name))
        except OSError:
            continue
    return found


async def test_a_worker_that_is_killed_is_replaced() -> None:
    async with ApiServer() as api:
        ip, port = await with_service(api), free_port()
        async with process(api, port, "--workers", "2", "--upstream", f"127.0.0.1:{free_port()}") as made:
            dns = DnsClient(port)
            await until(lambda: _answers(dns))
            await dns.becomes(f"A {ip}", NAME)
            first = children(made.pid)
            assert len(first) == 2
            os.kill(min(first), signal.SIGKILL)

            async def replaced() -> bool:
                now = children(made.pid)
                return len(now) == 2 and now != first

            await until(replaced)
            await dns.becomes(f"A {ip}", NAME)
            for _ in range(20):  # whichever worker the kernel chooses
                assert await dns.ask(NAME) == f"A {ip}"
            dns.close()
            left = children(made.pid)
            made.terminate()
            assert await asyncio.wait_for(made.wait(), 10) == 0
            assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]


async def test_files_are_read_again_on_sighup_and_no_query_is_lost(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.1 box.example\n")
    async with ApiServer() as api:
        ip, port = await with_service(api), free_port()
        async with process(api, port, "--hosts", str(hosts), "--upstream", f"127.0.0.1:{free_port()}") as made:
            dns = DnsClient(port)
            await until(lambda: _answers(dns))
            assert await dns.ask("box.example") == "A 192.0.2.1"
            hosts.write_text("192.0.2.2 box.example\n")
            asked = [asyncio.ensure_future(dns.ask(NAME)) for _ in range(200)]
            made.send_signal(signal.SIGHUP)
            assert set(await asyncio.gather(*asked)) == {f"A {ip}"}
            await dns.becomes("A 192.0.2.2", "box.example", within=3)  # sooner than the look every five seconds
            dns.close()


async def test_dig_and_the_c_library(tmp_path: Path) -> None:
    """dig over UDP and TCP, 5,000 endpoints, and getaddrinfo with a search path in namespaces of its own."""
    async with ApiServer() as api:
        ip, port = await with_service(api), free_port()
        client = Client.from_kubeconfig(api.kubeconfig())
        await client.create(
            SERVICES, {"metadata": {"name": "many"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}, "default"
        )
        for number in range(5):
            addresses = [f"10.{244 + number}.{i // 250}.{i % 250 + 1}" for i in range(1000)]
            await client.create(
                ENDPOINTSLICES,
                {
                    "metadata": {"name": f"many-{number}", "labels": {"kubernetes.io/service-name": "many"}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": [address]} for address in addresses],
                    "ports": [{"port": 80, "protocol": "TCP", "name": ""}],
                },
                "default",
            )
        async with process(api, port, "--upstream", f"127.0.0.1:{free_port()}"):
            dns = DnsClient(port)
            await until(lambda: _answers(dns))

            async def dig(*words: str) -> str:
                argv = ["dig", "@127.0.0.1", "-p", str(port), "+tries=1", "+time=3", *words]
                return (await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True)).stdout

            assert await dig("+short", NAME) == f"{ip}\n"
            assert await dig("+short", "+tcp", NAME) == f"{ip}\n"
            assert await dig("+short", "-x", ip) == f"{NAME}.\n"
            assert "0 100 80 " in await dig("+short", f"_http._tcp.{NAME}", "SRV")
            many = "many.default.svc.cluster.local"
            assert " tc " in (cut := await dig("+ignore", many)).replace(";", " ; ") and "MSG SIZE" in cut
            # 64 KiB hold 4,000 addresses: dig comes back over TCP by itself and gets what a message can hold
            assert len((await dig("+short", many)).splitlines()) > 4000
            first = {(await dig("+short", "+ignore", many)).splitlines()[0] for _ in range(8)}
            assert len(first) > 1  # not everybody goes to the same endpoint
            await client.transport.close()
            dns.close()


def test_the_c_library_resolves_by_search_path(tmp_path: Path) -> None:
    """getaddrinfo of glibc, in namespaces of its own, asks A and AAAA at once from one port and gets both."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\n"
        "options ndots:5\n")  # fmt: skip
    server = (
        "import asyncio, sys\n"
        "from switchboard.dns.forward import Forwarder\n"
        "from switchboard.dns.listener import Listener\n"
        "from switchboard.dns.responder import Responder\n"
        "from switchboard.dns.searchpath import of_namespace\n"
        "from switchboard.testing.zones import cluster\n"
        "async def main():\n"
        "    path = of_namespace('default', 'cluster.local')\n"
        "    await Listener(Responder(cluster(), lambda ip: path), Forwarder([])).open(['0.0.0.0'], 53)\n"
        "    print('up', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    script = (
        f"ip link set lo up && mount --bind {resolv} /etc/resolv.conf\n"
        'exec 3< <("$0" -c "$1"); read -u 3 _\n'
        "for name in web two web.prod two.default db.default.svc.cluster.local web.default.svc.cluster.local.; do\n"
        '    echo "$name $(getent ahosts $name | awk \'$2 == "STREAM" {print $1}\' | sort | tr "\\n" " ")"\n'
        "done\n"
        "getent ahosts nobody || echo nobody: $?\n"
        "kill $!\n"
    )
    argv = ["unshare", "--mount", "--net", "bash", "-c", script, sys.executable, server]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "web 10.96.0.7 ",
        "two 10.96.0.9 fd00::9 ",
        "web.prod 10.96.0.8 ",
        "two.default 10.96.0.9 fd00::9 ",
        "db.default.svc.cluster.local 10.244.0.5 10.244.0.6 ",
        "web.default.svc.cluster.local. 10.96.0.7 ",
        "nobody: 2",
    ], done.stderr


async def _answers(dns: DnsClient) -> bool:
    try:
        return await dns.ask(NAME) != "SERVFAIL"
    except (OSError, TimeoutError, EOFError):
        return False
