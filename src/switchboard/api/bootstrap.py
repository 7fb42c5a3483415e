"""What a new cluster has from its first moment, and what each start repairs: namespaces, the `kubernetes` Service and
its endpoints, the default ServiceCIDR, FlowSchemas with their levels, priority classes, and addresses that a crash left
without their Service (or the reverse). The first of these are also kept while the server runs, whoever deletes or
changes them.

Everything is written in one turn of the loop, so that it is one commit.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from switchboard.api import flowcontrol, policy, typed
from switchboard.api.keyspace import decode, encode, key_of
from switchboard.api.kinds.pools import ADDRESSES, MANAGED_BY, MANAGER, Cidr, addresses_of
from switchboard.api.metadata import new_uid, now
from switchboard.objects import flowobjects
from switchboard.objects.kinds import Kind
from switchboard.store.errors import StoreError

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Event

_log = logging.getLogger(__name__)
Object = dict[str, Any]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# prefixes of keys
_KEPT = (
    *(f"/core/namespaces/{name}" for name in NAMESPACES),
    "/core/configmaps/kube-system/extension-apiserver-authentication",
    "/core/services/default/kubernetes",
    "/core/endpoints/default/kubernetes",
    "/discovery.k8s.io/endpointslices/default/kubernetes",
    "/networking.k8s.io/servicecidrs/kubernetes",
    f"/{flowobjects.GROUP}/",
)
_KEEP_PAUSE = 0.5  # seconds: one who fights with us is answered twice a second
_CIDR_FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_PRIORITIES = (
    ("system-node-critical", 2_000_001_000, "For pods that a node cannot do without; never displaced."),
    ("system-cluster-critical", 2_000_000_000, "For pods that the cluster cannot do without."),
)


async def run(app: App) -> None:
    """Make what is missing, mend what a crash broke; returns when it is durable."""
    waits = _essentials(app)
    waits += _priorities(app)
    waits += policy.bootstrap(app)
    waits += repair_addresses(app)
    if waits:
        await asyncio.gather(*waits)


async def keep(app: App) -> None:
    """What no cluster works without comes back when somebody deletes or changes it.

    Sources: pkg/controlplane/controller/kubernetesservice, systemnamespaces, defaultservicecidr (which look every ten
    seconds to a minute; here the change itself is the reason to look).
    """
    changed = asyncio.Event()

    def on_events(_: list[Event]) -> None:
        changed.set()

    revision = app.store.revision
    subscriptions = [app.store.subscribe(prefix, revision, on_events) for prefix in _KEPT]
    try:
        while True:
            await changed.wait()
            await asyncio.sleep(_KEEP_PAUSE)
            changed.clear()
            try:
                await asyncio.gather(*_essentials(app))
            except StoreError as error:
                _log.warning("cannot put back what a cluster needs: %s", error)
                changed.set()
    finally:
        for subscription in subscriptions:
            subscription.close()


def _essentials(app: App) -> list[Awaitable[Any]]:
    waits: list[Awaitable[Any]] = []
    for name in NAMESPACES:
        waits += _namespace(app, name)
    waits += _authentication_of_extensions(app)
    waits += _cluster_info(app)
    waits += _flows(app)
    return waits + _service_cidr(app) + _kubernetes_service(app) + _endpoints(app)


def _kind(app: App, group: str, version: str, plural: str) -> Kind:
    kind = app.registry.resource(group, version, plural)
    assert kind is not None, plural
    return kind


def write(app: App, kind: Kind, obj: Object) -> list[Awaitable[Any]]:
    """Queue an object unless it is there as it should be; what differs is overwritten, metadata of the server's
    kept."""
    meta = obj["metadata"]
    key = key_of(kind, meta.get("namespace", ""), meta["name"])
    head = app.store.head(key)
    if head is not None:
        old = decode(head.value)
        wanted = {k: v for k, v in obj.items() if k not in ("metadata", "status")}
        if all(old.get(k) == v for k, v in wanted.items()):
            return []
        obj = {**old, **obj, "metadata": old["metadata"]}
    else:
        meta |= {"uid": new_uid(), "resourceVersion": "", "creationTimestamp": now()}
    typed.settle(kind, obj)

    def seal(revision: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(revision)
        return encode(obj)

    return [app.store.put(key, seal, expect=head)]


def _absent(app: App, kind: Kind, obj: Object) -> list[Awaitable[Any]]:
    meta = obj["metadata"]
    if app.store.head(key_of(kind, meta.get("namespace", ""), meta["name"])) is not None:
        return []
    return write(app, kind, obj)


def _object(kind: Kind, name: str, namespace: str = "", **body: Any) -> Object:
    meta: Object = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    return {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta, **body}


def _namespace(app: App, name: str) -> list[Awaitable[Any]]:
    kind = _kind(app, "", "v1", "namespaces")
    obj = _object(kind, name, spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"})
    obj["metadata"]["labels"] = {"kubernetes.io/metadata.name": name}
    return _absent(app, kind, obj)


def _authentication_of_extensions(app: App) -> list[Awaitable[Any]]:
    """By what the servers behind this one know it and its users.

    Source: pkg/controlplane/controller/clusterauthenticationtrust."""
    settings = app.settings
    data = {"client-ca-file": settings.root_ca} if settings.root_ca else {}
    if settings.proxy_ca:
        data |= {
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-client-ca-file": settings.proxy_ca,
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-uid-headers": '["X-Remote-Uid"]',
            "requestheader-username-headers": '["X-Remote-User"]',
        }
    if not data:
        return []
    kind = _kind(app, "", "v1", "configmaps")
    return write(app, kind, _object(kind, "extension-apiserver-authentication", "kube-system", data=data))


def _cluster_info(app: App) -> list[Awaitable[Any]]:
    """Where the API is and by what it is known, for those who join (kubeadm's `cluster-info`)."""
    settings = app.settings
    if not settings.root_ca or not settings.advertise_address:
        return []
    address = settings.advertise_address
    host = f"[{address}]" if ":" in address else address
    certificate = base64.b64encode(settings.root_ca.encode()).decode()
    lines = (
        "apiVersion: v1",
        "clusters:",
        "- cluster:",
        f"    certificate-authority-data: {certificate}",
        f"    server: https://{host}:{settings.advertise_port}",
        '  name: ""',
        "contexts: null",
        'current-context: ""',
        "kind: Config",
        "users: null",
        "",
    )
    kind = _kind(app, "", "v1", "configmaps")
    data = {"kubeconfig": "\n".join(lines)}
    return _absent(app, kind, _object(kind, "cluster-info", "kube-public", data=data))


def _flows(app: App) -> list[Awaitable[Any]]:
    """FlowSchemas and priority levels, but for those that somebody has taken over."""
    waits: list[Awaitable[Any]] = []
    for plural, specs in (
        ("prioritylevelconfigurations", flowobjects.level_specs()),
        ("flowschemas", flowobjects.schema_specs()),
    ):
        kind = _kind(app, flowobjects.GROUP, "v1", plural)
        for name, spec in specs.items():
            head = app.store.head(key_of(kind, "", name))
            if head is not None and not _updated_by_us(decode(head.value)):
                continue
            status = {"conditions": [flowcontrol.condition(spec, True)]} if plural == "flowschemas" else {}
            obj = _object(kind, name, spec=spec, status=status)
            obj["metadata"] |= {"generation": 1, "annotations": {flowobjects.AUTOUPDATE: "true"}}
            waits += write(app, kind, obj)
    return waits


def _updated_by_us(obj: Object) -> bool:
    return (obj["metadata"].get("annotations") or {}).get(flowobjects.AUTOUPDATE) == "true"


def _service_cidr(app: App) -> list[Awaitable[Any]]:
    kind = _kind(app, "networking.k8s.io", "v1", "servicecidrs")
    ready = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": now(),
        "reason": "",
        "message": "Kubernetes Service CIDR is ready",
    }
    obj = _object(kind, "kubernetes", spec={"cidrs": list(app.settings.service_cidrs)}, status={"conditions": [ready]})
    obj["metadata"]["finalizers"] = [_CIDR_FINALIZER]
    return _absent(app, kind, obj)


def _priorities(app: App) -> list[Awaitable[Any]]:
    kind = _kind(app, "scheduling.k8s.io", "v1", "priorityclasses")
    waits: list[Awaitable[Any]] = []
    for name, value, description in _PRIORITIES:
        obj = _object(kind, name, value=value, description=description, preemptionPolicy="PreemptLowerPriority")
        obj["metadata"]["generation"] = 1
        waits += _absent(app, kind, obj)
    return waits


def service_address(app: App) -> str:
    """The first address of the primary range: the cluster IP of `default/kubernetes`."""
    cidr = Cidr(app.settings.service_cidrs[0])
    return cidr.text(cidr.first)


def _kubernetes_service(app: App) -> list[Awaitable[Any]]:
    kind = _kind(app, "", "v1", "services")
    address, family = service_address(app), app.pools.families[0]
    port = {"name": "https", "protocol": "TCP", "port": 443, "targetPort": app.settings.advertise_port}
    spec = {
        "ports": [port],
        "clusterIP": address,
        "clusterIPs": [address],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": [family],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }
    obj = _object(kind, "kubernetes", "default", spec=spec, status={"loadBalancer": {}})
    obj["metadata"]["labels"] = {"component": "apiserver", "provider": "kubernetes"}
    waits = write(app, kind, obj)
    if app.store.head(ADDRESSES + address) is None:
        waits.append(app.pools.put_address(address, "default", "kubernetes"))
    return waits


def _endpoints(app: App) -> list[Awaitable[Any]]:
    address, port = app.settings.advertise_address, app.settings.advertise_port
    if not address:
        return []
    endpoints = _kind(app, "", "v1", "endpoints")
    subset = {"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
    old = _object(endpoints, "kubernetes", "default", subsets=[subset])
    old["metadata"]["labels"] = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    slices = _kind(app, "discovery.k8s.io", "v1", "endpointslices")
    slice_ = _object(
        slices,
        "kubernetes",
        "default",
        addressType=f"IPv{ipaddress.ip_address(address).version}",
        endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
        ports=[{"name": "https", "protocol": "TCP", "port": port}],
    )
    slice_["metadata"]["labels"] = {"kubernetes.io/service-name": "kubernetes"}
    slice_["metadata"]["generation"] = 1
    return [*write(app, endpoints, old), *write(app, slices, slice_)]


def repair_addresses(app: App) -> list[Awaitable[Any]]:
    """IPAddresses without their Service go; Services without their IPAddress, or with another's, get it."""
    waits: list[Awaitable[Any]] = []
    held: dict[str, tuple[str, str]] = {}
    for record in app.store.scan("/core/services/"):
        service = decode(record.value)
        meta = service["metadata"]
        for address in addresses_of(service):
            held[address] = (meta["namespace"], meta["name"])
    parents: dict[str, tuple[str, str] | None] = {}
    for record in app.store.scan(ADDRESSES):
        obj = decode(record.value)
        name = obj["metadata"]["name"]
        parents[name] = _service_of(obj)
        ours = (obj["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
        if ours and name not in held and name != service_address(app):
            app.pools.drop_address(name)
    for address, holder in held.items():
        head = app.store.head(ADDRESSES + address)
        if head is None or parents.get(address, holder) != holder:
            waits.append(app.pools.put_address(address, *holder, instead=head))
    return waits


def _service_of(obj: Object) -> tuple[str, str] | None:
    """Namespace and name of the Service that an IPAddress is of."""
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    if parent.get("resource") != "services":
        return None
    return parent.get("namespace") or "", parent.get("name") or ""
