"""A custom kind for tests: Widgets of example.com, in one version or several."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from switchboard.testing.apiserver import ApiServer
from switchboard.testing.webhook import Answer, FakeWebhook

Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red"},
                "port": {"x-kubernetes-int-or-string": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"kept": {"type": "string"}},
                },
                "replicas": {"type": "integer"},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}},
    },
}
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def version(name: str = "v1", *, storage: bool = True, **more: Any) -> Object:
    """A version of a definition, with both subresources."""
    base = {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": SCHEMA}}
    return {**base, "subresources": {"status": {}, "scale": SCALE}, **more}


def definition(*versions: Object, plural: str = "widgets", kind: str = "Widget", **spec: Any) -> Object:
    """A CustomResourceDefinition."""
    names = {"plural": plural, "kind": kind, "shortNames": [plural[:2]], "categories": ["all"]}
    base = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": list(versions or [version()])}
    return {"metadata": {"name": f"{plural}.example.com"}, "spec": {**base, **spec}}


def widget(name: str = "w", api: str = "v1", **spec: Any) -> Object:
    """A Widget in some version."""
    meta = {"name": name}
    return {"apiVersion": f"example.com/{api}", "kind": "Widget", "metadata": meta, "spec": {"size": 1, **spec}}


def path(api: str = "v1", namespace: str = "ns") -> str:
    """Where the Widgets of a namespace are."""
    return f"/apis/example.com/{api}/namespaces/{namespace}/widgets"


async def define(api: ApiServer, body: Object) -> Any:
    """Make a definition; the answer."""
    status, made = await api.call("POST", CRDS, body)
    assert status == 201, made
    return made


@asynccontextmanager
async def converted(api: ApiServer, answer: Answer, *versions: Object) -> AsyncIterator[FakeWebhook]:
    """Widgets in two versions (v1, which is stored, and v2 unless said otherwise), between which a webhook converts."""
    async with FakeWebhook(answer) as webhook:
        client = {"clientConfig": webhook.client_config, "conversionReviewVersions": ["v1"]}
        conversion = {"strategy": "Webhook", "webhook": client}
        both = versions or (version("v1"), version("v2", storage=False))
        await define(api, definition(*both, conversion=conversion))
        yield webhook
