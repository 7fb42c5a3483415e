"""Queries per second and CPU per query of the DNS server, beside NSD with the same names on the same machine.

    bench/dns_bench.py [--services 10000] [--seconds 5] [--changes 1000] [--ahead]

Everything runs on loopback: the server with a zone of its own making, `dnsperf` as the load (one thread, 200 questions
under way), and `nsd` as a yardstick when it is installed. `--changes` rewrites that many Services a second meanwhile.

Latency is that of half of the goal's load, once when every name is asked for the first time, then in turns with nsd. It
is as much the machine's as the server's: a process that waits for a processor behind another one waits for up to a tick
of the scheduler. So each round tells how much of the time the server was ready to run and had no processor; and with
`--ahead`, latency is measured with servers and load as real-time processes, ahead of whatever else the machine does.
Throughput comes last, always in the machine's ordinary turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from switchboard.dns.forward import Forwarder
from switchboard.dns.listener import Listener
from switchboard.dns.responder import Responder
from switchboard.dns.zone import Zone
from switchboard.testing.dnsclient import free_port
from switchboard.testing.zones import service

HALF = 44_000  # queries a second: half of the goal of 88,000
ROUNDS = 3  # of latency, in turns


def address(number: int) -> str:
    return f"10.{96 + number // 65000}.{number // 250 % 256}.{number % 250 + 1}"


async def serve(port: int, services: int, changes: int) -> None:
    zone = Zone("cluster.local", ["10.96.0.0/12"])
    responder = Responder(zone)
    started = time.perf_counter()
    for i in range(services):
        zone.put_service(("default", f"s-{i}"), service(f"s-{i}", ip=address(i), ports=[{"name": "http", "port": 80}]))
    print(f"zone of {services} Services made in {time.perf_counter() - started:.2f} s", flush=True)
    await Listener(responder, Forwarder([])).open(["127.0.0.1"], port)
    turn = 0
    while True:
        await asyncio.sleep(0.01)
        for _ in range(changes // 100):
            turn += 1
            name = f"s-{turn % services}"
            responder.forget(zone.put_service(("default", name), service(name, ip=address(turn))))


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> float:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def waited(pid: int) -> float:
    """Seconds that it was ready to run without a processor, so far."""
    return sum(int(Path(f"/proc/{each}/schedstat").read_text().split()[1]) for each in family(pid)) / 1e9


def family(pid: int) -> list[int]:
    """A process and all below it: some servers answer in a grandchild."""
    found = [pid]
    for each in found:
        for tasks in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, tasks.read_text().split())
    return found


def schedule(pid: int, ahead: bool) -> None:
    """Put a server ahead of other processes, or back among them."""
    for each in family(pid):
        os.sched_setscheduler(each, os.SCHED_RR if ahead else os.SCHED_OTHER, os.sched_param(1 if ahead else 0))


def load(label: str, port: int, pid: int, names: Path, seconds: int) -> None:
    """As many questions as get an answer."""
    before = sum(map(cpu, family(pid)))
    argv = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(names), "-l", str(seconds)]
    out = subprocess.run([*argv, "-c", "8", "-q", "200", "-T", "1"], capture_output=True, text=True, check=True).stdout
    spent = sum(map(cpu, family(pid))) - before

    def figure(pattern: str) -> float:
        return float(re.findall(pattern + r":?\s+([\d.]+)", out)[0])

    done = figure("Queries completed")
    print(
        f"{label}: {figure('Queries per second'):,.0f} q/s, lost {figure('Queries lost'):.0f}, "
        f"{spent / done * 1e6:.1f} us of CPU a query, mean latency {figure('Average Latency .s.') * 1e3:.2f} ms, "
        f"RSS {sum(map(rss, family(pid))):.0f} MB",
        flush=True,
    )


def half(label: str, port: int, pid: int, names: Path, seconds: int, ahead: bool) -> None:
    """The latency that 99 of 100 questions stay below, at half of the load that is the goal."""
    schedule(pid, ahead)
    argv = ["dnsperf", "-v", "-s", "127.0.0.1", "-p", str(port), "-d", str(names), "-l", str(seconds), "-c", "8"]
    before = waited(pid)
    with tempfile.TemporaryFile("w+") as out:  # a pipe's reader would be a third busy process
        subprocess.run([*(("chrt", "-r", "1") if ahead else ()), *argv, "-Q", str(HALF)], stdout=out, check=True)
        out.seek(0)
        times = sorted(float(line.split()[-1]) for line in out if line.startswith("> "))
    starved = (waited(pid) - before) / seconds
    p50, p99 = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
    rate = f"{len(times) / seconds:,.0f} q/s"
    print(f"{label}: {rate}, p50 {p50:.2f} ms, p99 {p99:.2f} ms, {starved:.0%} waited for a processor", flush=True)


def wait_for(port: int) -> None:
    for _ in range(400):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the server did not come up")


def nsd(folder: Path, services: int, port: int) -> subprocess.Popen[bytes] | None:
    """The yardstick, started; None where it is not installed."""
    if shutil.which("nsd", path="/usr/sbin:" + os.environ["PATH"]) is None:
        print("nsd is not installed (Debian package nsd): no yardstick")
        return None
    zone = [
        "$ORIGIN cluster.local.",
        "$TTL 5",
        "@ SOA ns.dns hostmaster 1 7200 1800 86400 5",
        "@ NS ns.dns",
        "ns.dns A 10.96.0.10",
    ]
    zone += [f"s-{i}.default.svc A {address(i)}" for i in range(services)]
    (folder / "zone").write_text("\n".join(zone) + "\n")
    (folder / "nsd.conf").write_text(
        f'server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: ""\n zonesdir: "{folder}"\n'
        f' pidfile: "{folder}/pid"\n database: ""\n xfrdfile: "{folder}/xfrd"\n zonelistfile: "{folder}/list"\n'
        'remote-control:\n control-enable: no\nzone:\n name: "cluster.local"\n zonefile: "zone"\n'
    )
    return subprocess.Popen(["/usr/sbin/nsd", "-d", "-c", str(folder / "nsd.conf")], stderr=subprocess.DEVNULL)


def measure(servers: list[tuple[str, int, int]], names: Path, seconds: int, ahead: bool) -> None:
    """Latency, then throughput. `servers` are label, port and process of each."""
    for label, port, pid in servers:
        wait_for(port)
        half(f"{label}, first questions", port, pid, names, seconds, ahead)
    for _ in range(ROUNDS):
        for label, port, pid in servers:
            half(f"{label} at half load", port, pid, names, seconds, ahead)
    for label, port, pid in servers:
        schedule(pid, ahead=False)
        load(label, port, pid, names, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--changes", type=int, default=0)
    parser.add_argument("--ahead", action="store_true", help="measure latency ahead of other processes (needs root)")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if shutil.which("dnsperf") is None:
        raise SystemExit("dnsperf is not installed (Debian package dnsperf)")
    if options.serve:
        import uvloop

        uvloop.run(serve(options.serve, options.services, options.changes))
        return
    with tempfile.TemporaryDirectory() as made:
        folder, port, other = Path(made), free_port(), free_port()
        names = folder / "names"
        names.write_text("".join(f"s-{i}.default.svc.cluster.local A\n" for i in range(options.services)))
        argv = [sys.executable, __file__, "--serve", str(port), "--services", str(options.services)]
        server = subprocess.Popen([*argv, "--changes", str(options.changes)])
        yardstick = nsd(folder, options.services, other)
        servers = [("switchboard dns", port, server.pid)] + ([("nsd", other, yardstick.pid)] if yardstick else [])
        try:
            measure(servers, names, options.seconds, options.ahead)
        finally:
            for each in (server, yardstick):
                if each is not None:
                    each.terminate()
                    each.wait(10)


if __name__ == "__main__":
    main()
