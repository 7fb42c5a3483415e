"""The server against a real API in this process: names follow what is written; the API may go and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from switchboard.client import Client
from switchboard.client.resources import ENDPOINTS, ENDPOINTSLICES, NAMESPACES, PODS, SERVICES
from switchboard.dns import register
from switchboard.dns.server import DnsServer, DnsSettings
from switchboard.dns.upstream import Address
from switchboard.dns.zone import Pods
from switchboard.testing.apiserver import ApiServer
from switchboard.testing.dnsclient import DnsClient, free_port, until
from switchboard.testing.upstream import FakeUpstream
from switchboard.transport.http import HttpClient


@asynccontextmanager
async def running(client: Client, **settings: Any) -> AsyncIterator[tuple[DnsServer, DnsClient]]:
    port = free_port()
    server = DnsServer(client, DnsSettings(port=port, **settings))
    task = asyncio.ensure_future(server.run())
    asked = DnsClient(port)
    try:
        yield server, asked
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        asked.close()
        await server.link.close()


def client_of(api: ApiServer, folder: Path) -> Client:
    return Client.from_kubeconfig(api.kubeconfig(folder / "kubeconfig"), user_agent="test")


def service(name: str, **spec: Any) -> dict[str, Any]:
    spec = {"ports": [{"name": "http", "port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def endpoints(of: str, *addresses: str, ready: bool = True) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{of}-1", "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [a], "conditions": {"ready": ready}} for a in addresses],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }


async def test_names_follow_the_api(tmp_path: Path) -> None:
    async with ApiServer() as api:
        client = client_of(api, tmp_path)
        async with running(client) as (_, dns):
            await dns.becomes("NXDOMAIN", "web.default.svc.cluster.local")
            made = await client.create(SERVICES, service("web"), "default")
            ip = made["spec"]["clusterIP"]
            await dns.becomes(f"A {ip}", "web.default.svc.cluster.local")
            await dns.becomes(
                "SRV 80 web.default.svc.cluster.local.", "_http._tcp.web.default.svc.cluster.local", "SRV"
            )
            reverse = ".".join(reversed(ip.split("."))) + ".in-addr.arpa"
            await dns.becomes("PTR web.default.svc.cluster.local.", reverse, "PTR")
            await client.delete(SERVICES, "web", "default")
            await dns.becomes("NXDOMAIN", "web.default.svc.cluster.local")

            await dns.becomes("NXDOMAIN", "10-0-0-1.late.pod.cluster.local")
            await client.create(NAMESPACES, {"metadata": {"name": "late"}})
            await dns.becomes("A 10.0.0.1", "10-0-0-1.late.pod.cluster.local")


async def test_verified_names_of_pods(tmp_path: Path) -> None:
    """A pod's address has a name in its own namespace, from the pod's start until it is told to end."""
    async with ApiServer() as api:
        client = client_of(api, tmp_path)
        name = "10-244-9-9.default.pod.cluster.local"
        await api.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        async with running(client, pods=Pods.VERIFIED, autopath=False) as (_, dns):
            await dns.becomes("NXDOMAIN", name)
            spec = {"containers": [{"name": "c", "image": "x"}], "nodeName": "n"}
            pod = await client.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, "default")
            pod["status"] = {"phase": "Running", "podIP": "10.244.9.9", "podIPs": [{"ip": "10.244.9.9"}]}
            await client.update(PODS, pod, subresource="status")
            await dns.becomes("A 10.244.9.9", name)
            assert await dns.ask("10-244-9-9.kube-system.pod.cluster.local") == "NXDOMAIN"
            await client.delete(PODS, "p", "default", options={"gracePeriodSeconds": 30})
            await dns.becomes("NXDOMAIN", name)


async def test_headless_endpoints_and_their_readiness(tmp_path: Path) -> None:
    async with ApiServer() as api:
        client = client_of(api, tmp_path)
        async with running(client) as (_, dns):
            name = "db.default.svc.cluster.local"
            await client.create(SERVICES, service("db", clusterIP="None"), "default")
            piece = await client.create(ENDPOINTSLICES, endpoints("db", "10.244.0.5", ready=False), "default")
            await dns.becomes("NXDOMAIN", name)
            piece["endpoints"] = endpoints("db", "10.244.0.5", "10.244.0.6")["endpoints"]
            piece = await client.update(ENDPOINTSLICES, piece)
            await dns.becomes("A 10.244.0.5 | A 10.244.0.6", name)
            await dns.becomes("PTR 10-244-0-6.db.default.svc.cluster.local.", "6.0.244.10.in-addr.arpa", "PTR")
            piece["endpoints"][0]["conditions"]["ready"] = False
            await client.update(ENDPOINTSLICES, piece)
            await dns.becomes("A 10.244.0.6", name)
            await client.delete(ENDPOINTSLICES, "db-1", "default")
            await dns.becomes("NXDOMAIN", name)


async def test_external_names_as_conformance_asks(tmp_path: Path) -> None:
    async with ApiServer() as api:
        client = client_of(api, tmp_path)
        async with running(client) as (_, dns):
            wanted = service("out", type="ExternalName", externalName="foo.example.com")
            del wanted["spec"]["ports"]
            made = await client.create(SERVICES, wanted, "default")
            name = "out.default.svc.cluster.local"
            await dns.becomes("CNAME foo.example.com.", name, "CNAME")
            made["spec"]["externalName"] = "bar.example.com"
            made = await client.update(SERVICES, made)
            await dns.becomes("CNAME bar.example.com.", name, "CNAME")
            made["spec"].update(type="ClusterIP", ports=[{"port": 80, "name": "http", "protocol": "TCP"}])
            made = await client.update(SERVICES, made)
            await dns.becomes(f"A {made['spec']['clusterIP']}", name)


async def test_search_paths_follow_pods(tmp_path: Path) -> None:
    """The client is at 127.0.0.1, so a pod with that address makes us its search path."""
    async with ApiServer() as api, FakeUpstream({"www.example.com": ["192.0.2.9"]}) as outside:
        client = client_of(api, tmp_path)
        async with running(client, upstreams=[Address("127.0.0.1", outside.port)]) as (_, dns):
            name = "www.example.com.default.svc.cluster.local"
            await dns.becomes("NXDOMAIN", name)
            await api.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
            spec = {"containers": [{"name": "c", "image": "i"}]}
            pod = await client.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, "default")
            pod["status"] = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "phase": "Running"}
            pod = await client.update(PODS, pod, subresource="status")
            await dns.becomes("A 192.0.2.9 | CNAME www.example.com.", name)
            pod["status"]["phase"] = "Succeeded"
            await client.update(PODS, pod, subresource="status")
            await dns.becomes("NXDOMAIN", name)


async def test_the_api_may_go_and_come_back(tmp_path: Path) -> None:
    port, store = free_port(), tmp_path / "store.db"
    async with ApiServer(port=port, path=store) as api:
        token = api.token
        client = client_of(api, tmp_path)
        made = await client.create(SERVICES, service("web"), "default")
        ip = made["spec"]["clusterIP"]
        stack = running(client)
        server, dns = await stack.__aenter__()
        await dns.becomes(f"A {ip}", "web.default.svc.cluster.local")
        await until(_is(lambda: server.link.connected))
    try:
        await until(_is(lambda: not server.link.connected))
        assert await dns.ask("web.default.svc.cluster.local") == f"A {ip}"
        assert "switchboard_dns_api_connected 0" in _metrics(server)
        again = ApiServer(port=port, path=store)
        again.settings.tokens[token] = again.settings.tokens[again.token]
        async with again as api:
            status, _ = await api.call("POST", "/api/v1/namespaces/default/services", service("new"))
            assert status == 201
            status, made = await api.call("GET", "/api/v1/namespaces/default/services/new")
            await dns.becomes(f"A {made['spec']['clusterIP']}", "new.default.svc.cluster.local")
            await until(_is(lambda: server.link.connected))
            assert server.link.losses == 1
    finally:
        await stack.__aexit__(None, None, None)


async def test_without_an_api_cluster_names_fail_and_others_are_answered(tmp_path: Path) -> None:
    async with ApiServer() as api:
        client = client_of(api, tmp_path)  # and it is gone before anything was read
    status_port = free_port()
    async with FakeUpstream({"a.test": ["192.0.2.1"]}) as outside:
        settings = {"upstreams": [Address("127.0.0.1", outside.port)], "status_port": status_port}
        async with running(client, **settings) as (_, dns):
            await dns.becomes("A 192.0.2.1", "a.test")
            assert await dns.ask("web.default.svc.cluster.local") == "SERVFAIL"
            assert (await _get(status_port, "/ready"), await _get(status_port, "/health")) == (503, 200)


async def test_ready_means_synced(tmp_path: Path) -> None:
    async with ApiServer() as api:
        status_port = free_port()
        async with running(client_of(api, tmp_path), status_port=status_port) as (server, dns):
            await server.synced.wait()
            assert await _get(status_port, "/ready") == 200
            await dns.becomes("NXDOMAIN", "no.default.svc.cluster.local")
            await dns.ask("no.default.svc.cluster.local")
            text = _metrics(server)
            assert 'coredns_dns_requests_total{server="dns://:' in text
            assert 'rcode="NXDOMAIN"' in text and "switchboard_dns_api_connected 1" in text


async def test_metrics_are_named_as_coredns_names_them(tmp_path: Path) -> None:
    async with ApiServer() as api, FakeUpstream({"a.test": ["192.0.2.1"]}) as outside:
        address = Address("127.0.0.1", outside.port)
        async with running(client_of(api, tmp_path), upstreams=[address]) as (server, dns):
            await server.synced.wait()
            for name in ("a.test", "a.test", "no.test", "no.test", "no.test", *["kube.default.svc.cluster.local"] * 9):
                await dns.ask(name)
            figures = _samples(_metrics(server))
    cache, to = f'server="dns://:{server._settings.port}"', f'to="{address}"'
    tail = 'zones=".",view=""'
    for kind, hits in (("success", 1), ("denial", 2)):
        assert figures[f'coredns_cache_entries{{{cache},type="{kind}",{tail}}}'] == 1
        assert figures[f'coredns_cache_hits_total{{{cache},type="{kind}",{tail}}}'] == hits
    assert figures[f"coredns_cache_misses_total{{{cache},{tail}}}"] == 2
    assert figures[f"coredns_cache_requests_total{{{cache},{tail}}}"] == 5
    assert figures[f"coredns_forward_requests_total{{{to}}}"] == 2
    for code in ("NOERROR", "NXDOMAIN"):
        assert figures[f'coredns_forward_responses_total{{{to},rcode="{code}"}}'] == 1
        labels = f'proxy_name="forward",{to},rcode="{code}"'
        assert figures[f'coredns_proxy_request_duration_seconds_bucket{{{labels},le="+Inf"}}'] == 1
        assert 0 < figures[f"coredns_proxy_request_duration_seconds_sum{{{labels}}}"] < 5
    name, where = "coredns_dns_request_duration_seconds", f'{cache},zone="cluster.local.",view=""'
    buckets = [v for k, v in figures.items() if k.startswith(f"{name}_bucket")]
    assert (
        buckets == sorted(buckets) and len(buckets) == 17 and buckets[-1] == figures[f"{name}_count{{{where}}}"] == 14
    )
    assert sum(v for k, v in figures.items() if k.startswith("coredns_dns_requests_total")) == 14


async def test_it_announces_itself(tmp_path: Path) -> None:
    async with ApiServer() as api:
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "kube-system"}})
        client = client_of(api, tmp_path)
        async with running(client) as (_, dns):
            for address in ("192.168.49.2", "192.168.49.3", "192.168.49.3"):  # made, moved, left alone
                wanted = register.endpoints(address, 53, 9153, "", ready=True)
                await register.announce(client, "10.96.0.10", wanted)
                found = await client.get(ENDPOINTS, "kube-dns", "kube-system")
                assert found["subsets"][0]["addresses"] == [{"ip": address}]
            await dns.becomes("A 10.96.0.10", "kube-dns.kube-system.svc.cluster.local")
            await dns.becomes("A 10.96.0.10", "ns.dns.cluster.local")


def _is(condition: Any) -> Any:
    async def check() -> bool:
        return bool(condition())

    return check


def _metrics(server: DnsServer) -> str:
    from switchboard.dns.status import exposition

    return exposition(server._figures())


def _samples(text: str) -> dict[str, float]:
    """Samples by name and labels; each belongs to the last `# TYPE` line before it, and no metric has two of those."""
    found: dict[str, float] = {}
    types: list[str] = []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            types.append(line.split()[2])
            continue
        sample, _, value = line.rpartition(" ")
        base = sample.partition("{")[0]
        assert types[-1] in (base, base.removesuffix("_bucket"), base.removesuffix("_sum"), base.removesuffix("_count"))
        assert sample not in found
        found[sample] = float(value)
    assert len(types) == len(set(types))
    return found


async def _get(port: int, path: str) -> int:
    http = HttpClient()
    try:
        answer = await http.request("GET", f"http://127.0.0.1:{port}{path}")
        return answer.status
    finally:
        await http.close()
