"""Secrets of type kubernetes.io/service-account-token are filled in with a token that lives as long as they do.

Upstream's tokens controller does it a moment later (`pkg/controller/serviceaccount/tokens_controller.go`); here the
server that has the key does it on the way in. Such a Secret goes with its service account.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from switchboard.api.admission.chain import Operation
from switchboard.api.admission.neutral import Neutral
from switchboard.api.identity import LOOPBACK
from switchboard.api.keyspace import decode, split_key
from switchboard.api.metadata import generate_name
from switchboard.api.tokens import legacy_claims
from switchboard.transport.messages import Request, Response

if TYPE_CHECKING:
    from switchboard.api.app import App
    from switchboard.store.record import Event

Object = dict[str, Any]
TYPE = "kubernetes.io/service-account-token"
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_ACCOUNTS = "/core/serviceaccounts/"


class TokenSecrets(Neutral):
    """Fills in token Secrets; deletes those of deleted accounts."""

    resources = frozenset(("secrets",))

    def __init__(self, app: App) -> None:
        self._app = app
        self._subscription = app.store.subscribe(_ACCOUNTS, app.store.revision, self._changed)

    def mutate(self, op: Operation) -> None:
        """Add token, CA and namespace where the account exists."""
        if (op.group, op.plural, op.sub) != ("", "secrets", "") or op.obj is None or op.obj.get("type") != TYPE:
            return
        if op.verb not in ("CREATE", "UPDATE"):
            return
        meta = op.obj["metadata"]
        notes = meta.get("annotations") or {}
        record = self._app.store.head(f"{_ACCOUNTS}{op.namespace}/{notes.get(_NAME, '')}")
        data = op.obj.get("data") or {}
        if record is None or data.get("token"):
            return
        uid = decode(record.value)["metadata"]["uid"]
        if notes.get(_UID) not in (None, "", uid):
            return
        generate_name(meta, op.call.request.extra)  # the token names the Secret, which therefore must have its name
        claims = legacy_claims(op.namespace, notes[_NAME], uid, meta.get("name", ""))
        filled = {
            "token": self._app.tokens.key.sign(claims),
            "ca.crt": self._app.settings.root_ca,
            "namespace": op.namespace,
        }
        op.obj["data"] = {**data, **{k: base64.b64encode(v.encode()).decode() for k, v in filled.items() if v}}
        meta["annotations"] = {**notes, _UID: uid}

    def _changed(self, events: list[Event]) -> None:
        for event in events:
            if event.deleted:
                _, _, namespace, name = split_key(event.record.key)
                self._app.background(self._delete(namespace, name))

    async def _delete(self, namespace: str, account: str) -> None:
        needle = f'"{_NAME}":"{account}"'.encode()
        for record in self._app.store.scan(f"/core/secrets/{namespace}/"):
            if needle in record.value and decode(record.value).get("type") == TYPE:
                _, _, _, name = split_key(record.key)
                path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
                result = self._app.handle_as(LOOPBACK, Request("DELETE", path, "", {}, b""))
                if not isinstance(result, Response):
                    await result
