"""Objects as rows: what `kubectl get` shows, computed by the server (`Accept: application/json;as=Table;...`).

`columns` and `row_cells` say what stands where; `table` makes the whole `meta.k8s.io/v1 Table`. Built-in kinds have
their columns in `objects/data/columns.json` and one small function each in `core`, `pods`, `workloads`, `network` and
`rest`; custom kinds have `additionalPrinterColumns` (`custom`). Source of the words: `pkg/printers/internalversion`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from switchboard.objects.kinds import Kind
from switchboard.objects.tables import core, custom, network, pods, rest, workloads
from switchboard.objects.types import table as data_table

Cells = Callable[[dict[str, Any], float], list[Any]]

_ROWS: dict[str, Cells] = {**core.ROWS, **pods.ROWS, **workloads.ROWS, **network.ROWS, **rest.ROWS}


def _key(kind: Kind) -> str:
    return f"{kind.group}/{kind.version}/{kind.plural}" if kind.group else kind.plural


_NAME, _AGE = ["Name", "string", "name", 0], ["Age", "string", "", 0]
# What is shown but not stored, and so no kind of the registry.
_UNSTORED = {"autoscaling/v1/scales": [_NAME, ["Desired", "integer", "", 0], ["Available", "integer", "", 0], _AGE]}


@cache
def _built_in_columns(key: str) -> list[dict[str, Any]]:
    known = data_table("columns").get(key) or _UNSTORED.get(key, [_NAME, _AGE])
    return [
        {
            "name": name,
            "type": type_,
            "format": format_,
            "description": _NAME_DESCRIPTION if format_ == "name" else f"{name} column",
            "priority": priority,
        }
        for name, type_, format_, priority in known
    ]


_NAME_DESCRIPTION = "Name of the object, unique among its kind in its namespace"


def columns(kind: Kind) -> list[dict[str, Any]]:
    """The `columnDefinitions` of a kind; priority > 0 shows with `-o wide`."""
    if kind.custom:
        return custom.columns(kind)
    return _built_in_columns(_key(kind))


def row_cells(kind: Kind, obj: dict[str, Any], now: float) -> list[Any]:
    """One cell per column of `columns(kind)`; `now` is in seconds since the epoch, for ages."""
    if kind.custom:
        return custom.row_cells(kind, obj, now)
    return _ROWS.get(_key(kind), core.name_and_age)(obj, now)


def partial_metadata(obj: dict[str, Any]) -> dict[str, Any]:
    """The object as `meta.k8s.io/v1 PartialObjectMetadata`: its metadata and nothing else."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata", {})}


def table(
    kind: Kind,
    objects: Iterable[dict[str, Any]],
    *,
    resource_version: str = "",
    continue_token: str = "",
    remaining: int | None = None,
    include: str = "Metadata",
    with_columns: bool = True,
    now: float | None = None,
) -> dict[str, Any]:
    """A `meta.k8s.io/v1 Table`. `include` is the includeObject parameter: Metadata, Object or None.

    `with_columns=False` leaves columnDefinitions null: every event of a watch but the first has them so."""
    moment = time.time() if now is None else now
    meta: dict[str, Any] = {"resourceVersion": resource_version} if resource_version else {}
    if continue_token:
        meta["continue"] = continue_token
    if remaining is not None:
        meta["remainingItemCount"] = remaining
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns(kind) if with_columns else None,
        "rows": [_row(kind, obj, include, moment) for obj in objects],
    }


_SCALE = Kind(
    "autoscaling", "v1", "Scale", "scales", "scale", True, ("get",), definition="io.k8s.api.autoscaling.v1.Scale"
)


def scale_table(scale: dict[str, Any], include: str) -> dict[str, Any]:
    """The Table of a Scale, which is stored nowhere."""
    version = scale["metadata"].get("resourceVersion", "")
    return table(_SCALE, [scale], resource_version=version, include=include)


def _row(kind: Kind, obj: dict[str, Any], include: str, now: float) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": row_cells(kind, obj, now)}
    if kind.plural == "pods" and not kind.group:
        conditions = pods.row_conditions(obj)
        if conditions:
            row["conditions"] = conditions
    if include == "None":
        row["object"] = None
    elif include == "Object":
        row["object"] = {"kind": kind.kind, "apiVersion": kind.api_version} | obj
    else:
        row["object"] = partial_metadata(obj)
    return row
