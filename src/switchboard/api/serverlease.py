"""The lease by which this API server is known (`kube-system/apiserver-...`).

Source: pkg/controlplane/apiserver/server.go. It is renewed every ten minutes of its hour: upstream does that every ten
seconds, which is a write to disk each time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from switchboard.api import bootstrap
from switchboard.api.metadata import new_uid
from switchboard.objects.scalars import format_micro
from switchboard.store.errors import StoreError

if TYPE_CHECKING:
    from switchboard.api.app import App

_log = logging.getLogger(__name__)
_SECONDS, _PAUSE = 3600, 600.0


async def keep(app: App) -> None:
    """Take the lease, and renew it for as long as the server runs."""
    host = socket.gethostname()
    digest = base64.b32encode(hashlib.sha256(host.encode()).digest()[:16]).decode()
    name = f"apiserver-{digest.rstrip('=').lower()}"
    kind = app.registry.resource("coordination.k8s.io", "v1", "leases")
    assert kind is not None
    spec: dict[str, Any] = {"holderIdentity": f"{name}_{new_uid()}", "leaseDurationSeconds": _SECONDS}
    spec["acquireTime"] = format_micro(datetime.now(UTC))
    while True:
        labels = {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": host}
        meta = {"name": name, "namespace": "kube-system", "labels": labels}
        lease = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        try:
            renewed = {**spec, "renewTime": format_micro(datetime.now(UTC))}
            await asyncio.gather(*bootstrap.write(app, kind, {**lease, "spec": renewed}))
        except StoreError as error:
            _log.warning("cannot renew the lease of this server: %s", error)
        await asyncio.sleep(_PAUSE)
