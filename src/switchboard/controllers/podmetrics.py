"""What pods use, as metrics.k8s.io/v1beta1 says: whoever serves that API.

Source: pkg/controller/podautoscaler/metrics/client.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from switchboard.client import Client, Resource
from switchboard.controllers.replicacalc import MetricError, Sample
from switchboard.controllers.times import seconds
from switchboard.objects import quantity
from switchboard.objects.errors import StatusError

Object = dict[str, Any]

PODMETRICS: Final = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", True)
_DURATION: Final = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# What client-go says when an answer is no Status of the API.
_WORDS: Final = {
    404: "the server could not find the requested resource (get pods.metrics.k8s.io)",
    503: "the server is currently unable to handle the request (get pods.metrics.k8s.io)",
}


async def fetch(client: Client, namespace: str, selector: str) -> list[Object]:
    """The PodMetrics of the pods that a selector takes; MetricError when there are none, or no such API."""
    try:
        items: list[Object] = (await client.list(PODMETRICS, namespace, label_selector=selector)).get("items") or []
    except StatusError as error:
        message = _WORDS.get(error.code, error.message)
        raise MetricError(f"unable to fetch metrics from resource metrics API: {message}") from error
    if not items:
        raise MetricError("no metrics returned from resource metrics API")
    return items


def samples(items: Iterable[Object], resource: str, container: str = "") -> dict[str, Sample]:
    """By pod: all its containers together, left out when one lacks a value; or one container of each."""
    out: dict[str, Sample] = {}
    for item in items:
        value = _one(item, resource, container) if container else _all(item, resource)
        if value is not None:
            at, window = seconds(item["timestamp"]), duration(item.get("window") or "0s")
            out[item["metadata"]["name"]] = Sample(value, at, window)
    return out


def _all(item: Object, resource: str) -> int | None:
    found = [(c.get("usage") or {}).get(resource) for c in item.get("containers") or ()]
    return sum(quantity.of(v).milli for v in found) if found and None not in found else None


def _one(item: Object, resource: str, container: str) -> int | None:
    for one in item.get("containers") or ():
        if one.get("name") == container:
            value = (one.get("usage") or {}).get(resource)
            return None if value is None else quantity.of(value).milli
    meta = item["metadata"]
    raise MetricError(f"container {container} not present in metrics for pod {meta.get('namespace')}/{meta['name']}")


def duration(text: str) -> float:
    """A duration as Go prints it (`1m30.5s`) in seconds."""
    return sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION.findall(text))
