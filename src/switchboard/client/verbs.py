"""The verbs of the API as coroutines: get, list, create, update, patch, delete, by resource.

Every failure is a `StatusError` of the class that the server raised; no answer at all is `Disconnected`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from switchboard.client import kubeconfig
from switchboard.client.copies import Find
from switchboard.client.resources import Resource
from switchboard.client.transport import Reply, Transport, error_of_reply
from switchboard.objects.errors import Conflict

Object = dict[str, Any]

_PATCH_TYPES: Final = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_CONFLICT_TRIES: Final = 5
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Client:
    """Speaks to one API through a transport; cheap, and shared by everything in a process."""

    def __init__(
        self,
        transport: Transport,
        *,
        user_agent: str = "switchboard",
        finder: Callable[[Resource], Find | None] = lambda res: None,
    ) -> None:
        """`finder`: where copies find the records of a resource, if its store is in this process."""
        self.transport = transport
        self.finder = finder
        self._headers = {"accept": "application/json", "user-agent": user_agent}

    @classmethod
    def from_kubeconfig(
        cls, path: str | Path, *, user_agent: str = "switchboard", context: str | None = None
    ) -> Client:
        """Over the network, as a kubeconfig's current (or the named) context says. Raises KubeconfigError."""
        from switchboard.client.http import HttpTransport  # late: an in-process client needs no HTTP

        return cls(HttpTransport(kubeconfig.load(path, context)), user_agent=user_agent)

    @classmethod
    def in_cluster(cls, *, user_agent: str = "switchboard") -> Client:
        """As the service account of the pod that this process runs in. Raises KubeconfigError."""
        from switchboard.client.http import HttpTransport

        return cls(HttpTransport(kubeconfig.in_cluster()), user_agent=user_agent)

    async def get(self, res: Resource, name: str, namespace: str | None = None, *, subresource: str = "") -> Object:
        """One object, or a subresource of it."""
        return await self._call("GET", res.path(namespace, name, subresource))

    async def list(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        **query: Any,
    ) -> Object:
        """A list object (`items`, `metadata.resourceVersion`); all namespaces when none is given."""
        target = list_target(res, namespace, label_selector, field_selector, **query)
        return await self._call("GET", target)

    async def create(
        self,
        res: Resource,
        obj: Object,
        namespace: str | None = None,
        *,
        name: str = "",
        subresource: str = "",
        **query: Any,
    ) -> Object:
        """POST; the namespace comes from the object unless given. `name` and `subresource`: `pods/binding` and such."""
        space = namespace or (obj.get("metadata") or {}).get("namespace")
        obj = {"apiVersion": res.api_version, "kind": res.kind, **obj}
        return await self._call("POST", _with(res.path(space, name, subresource), query), obj)

    async def update(self, res: Resource, obj: Object, *, subresource: str = "", **query: Any) -> Object:
        """PUT to where the object's own name and namespace say."""
        meta = obj["metadata"]
        obj = {"apiVersion": res.api_version, "kind": res.kind, **obj}
        target = _with(res.path(meta.get("namespace"), meta["name"], subresource), query)
        return await self._call("PUT", target, obj)

    async def patch(
        self,
        res: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        kind: str = "merge",
        subresource: str = "",
        **query: Any,
    ) -> Object:
        """PATCH; `kind` is merge, json (a list of operations), strategic, or apply (give `fieldManager`, `force`)."""
        target = _with(res.path(namespace, name, subresource), query)
        return await self._call("PATCH", target, patch, _PATCH_TYPES[kind])

    async def delete(
        self, res: Resource, name: str, namespace: str | None = None, *, options: Object | None = None
    ) -> Object:
        """DELETE with `DeleteOptions` fields (propagationPolicy, preconditions, gracePeriodSeconds); the answer is
        the object when it still has to go, else a Status."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        return await self._call("DELETE", res.path(namespace, name), body)

    async def delete_collection(
        self, res: Resource, namespace: str | None = None, *, options: Object | None = None, **query: Any
    ) -> None:
        """DELETE of a whole collection; `labelSelector=...` and so on as query. The answer, a list of all that was
        there, is not even decoded."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        await self._exchange("DELETE", _with(res.path(namespace), query), body)

    async def update_with_retry(
        self, res: Resource, name: str, namespace: str | None, change: Callable[[Object], Object | None], **more: Any
    ) -> Object:
        """Read, change, write, again when somebody else wrote in between (at most five times, then Conflict).

        `change` gets a fresh copy and returns what to write, or None when nothing is to do.
        """
        for left in reversed(range(_CONFLICT_TRIES)):
            current = await self.get(res, name, namespace)
            wanted = change(current)
            if wanted is None:
                return current
            try:
                return await self.update(res, wanted, **more)
            except Conflict:
                if not left:
                    raise
        raise AssertionError("not reached")

    async def raw(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """A request to any path (`/apis`, `/version`): the answer whatever its status."""
        return await self.transport.request(method, target, self._headers | (headers or {}), body)

    def stream_headers(self) -> dict[str, str]:
        """What a watch sends along."""
        return dict(self._headers)

    async def close(self) -> None:
        """Close the transport."""
        await self.transport.close()

    async def _call(self, method: str, target: str, body: Any = None, content_type: str = "application/json") -> Object:
        answer = await self._exchange(method, target, body, content_type)
        return _decode(answer) if answer else {}

    async def _exchange(
        self, method: str, target: str, body: Any = None, content_type: str = "application/json"
    ) -> bytes:
        headers = self._headers
        data = b""
        if body is not None:
            headers = headers | {"content-type": content_type}
            data = msgspec.json.encode(body)
        reply = await self.transport.request(method, target, headers, data)
        if reply.status >= 300:
            raise error_of_reply(reply)
        return reply.body


def list_target(
    res: Resource, namespace: str | None, label_selector: str = "", field_selector: str = "", **query: Any
) -> str:
    """Path and query of a LIST or WATCH."""
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return _with(res.path(namespace), query)


def _with(path: str, query: dict[str, Any]) -> str:
    given = {key: _text(value) for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _text(value: Any) -> str:
    return ("false", "true")[value] if isinstance(value, bool) else str(value)
