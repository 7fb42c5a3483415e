"""What a connection asks for (exec, attach, portforward, proxy), as an object that admission looks at and may change.

Upstream reads the query into such an object (`PodExecOptions` ...) and hands it to webhooks and policies as the object
of a CONNECT, without an old one. Source: `apiserver/pkg/endpoints/handlers/rest.go`, ConnectResource.
"""

from __future__ import annotations

from typing import Any

from switchboard.api import query
from switchboard.api.admission.chain import Operation
from switchboard.api.call import Call

Object = dict[str, Any]

_STREAMS = {"stdin": bool, "stdout": bool, "stderr": bool, "tty": bool, "container": str}
_FIELDS: dict[str, dict[str, type]] = {
    "PodExecOptions": {**_STREAMS, "command": list},
    "PodAttachOptions": dict(_STREAMS),
    "PodPortForwardOptions": {"ports": list},
    "PodProxyOptions": {"path": str},
    "ServiceProxyOptions": {"path": str},
    "NodeProxyOptions": {"path": str},
}
_ON_UNLESS_REFUSED = {"PodAttachOptions": ("stdout", "stderr")}


async def admit(call: Call) -> None:
    """Ask admission about a connection; what it changes is put back into the call's parameters."""
    asked = options(call)
    operation = Operation(call, "CONNECT", asked, None, call.namespace, call.name)
    await call.app.admission.mutate(operation)
    if operation.changed:
        call.params = {**call.params, **_parameters(asked)}
    await call.app.admission.validate(operation)


def options(call: Call) -> Object:
    """The options object of a connection; what is off or empty is left out, as in Go's JSON."""
    assert call.subresource is not None
    kind = call.subresource.kind
    found: Object = {"kind": kind, "apiVersion": call.subresource.api_version}
    for name, type_ in _FIELDS.get(kind, {}).items():
        value = _value(call, kind, name, type_)
        if value:
            found[name] = value
    return found


def _value(call: Call, kind: str, name: str, type_: type) -> Any:
    params = call.params
    if name == "path":
        return call.target.rest
    if type_ is bool:
        return query.boolean(params, name) if name in params else name in _ON_UNLESS_REFUSED.get(kind, ())
    if name == "ports":
        return [int(port) for value in params.get(name, ()) for port in value.split(",") if port.isdecimal()]
    return list(params.get(name, ())) if type_ is list else query.first(params, name)


def _parameters(asked: Object) -> query.Params:
    """Changed options as query parameters; a path stays as it was asked for."""
    found: query.Params = {}
    for name, type_ in _FIELDS.get(asked["kind"], {}).items():
        if name == "path":
            continue
        value = asked.get(name)
        if type_ is bool:
            found[name] = ["true" if value else "false"]
        else:
            found[name] = [str(item) for item in value or ()] if type_ is list else [str(value or "")]
    return found
