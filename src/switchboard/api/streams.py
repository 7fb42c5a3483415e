"""log, exec, attach and portforward of pods: checked here, then passed on to the agent of the pod's node.

SPDY clients are piped byte by byte; WebSocket clients are translated (`remotecommand.py`, `forwarding.py`).
Sources: `pkg/registry/core/pod/strategy.go` (LogLocation, streamLocation), `pkg/registry/core/pod/rest`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlencode

from switchboard.api import connecting, forwarding, query, remotecommand
from switchboard.api.authz import Attributes
from switchboard.api.call import Call
from switchboard.api.keyspace import decode, key_of
from switchboard.api.kubelets import Headers, KubeletDialer
from switchboard.api.piping import pipe
from switchboard.objects.errors import BadRequest, FieldError, InternalError, Invalid, NotFound, StatusError
from switchboard.transport.http import HttpFailure, StreamResponse
from switchboard.transport.messages import Connection, Response
from switchboard.transport.websocket import BadHandshake, WebSocket, answer_handshake, is_websocket

Object = dict[str, Any]

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_LOG_OPTIONS = ("follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream")
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}
_SPDY_HEADERS = ("x-stream-protocol-version", "upgrade")


async def handle(call: Call) -> Response:
    """The handler of all four."""
    record = call.app.store.get(key_of(call.kind, call.namespace, call.name))
    if record is None:
        raise NotFound.of("pods", "", call.name)
    pod = decode(record.value)
    if call.sub == "log":
        return await _log(call, pod)
    if is_websocket(call.request.headers) and not call.identity.is_master:
        # A GET that upgrades runs a command just as a POST does: the right to create is needed as well (1.35).
        kind = call.kind
        call.app.authorise(
            Attributes(
                call.identity, "create", kind.group, kind.version, kind.plural, call.sub, call.namespace, call.name
            )
        )
    await connecting.admit(call)
    if call.sub == "portforward":
        return await _portforward(call, pod)
    return await _command(call, pod)


def agents(call: Call) -> KubeletDialer:
    """The way to node agents."""
    if call.app.kubelet is None:
        raise InternalError("Internal error occurred: this server has no way to reach node agents")
    dialer: KubeletDialer = call.app.kubelet
    return dialer


def node_of(pod: Object) -> str:
    """The node a pod runs on."""
    name = (pod.get("spec") or {}).get("nodeName")
    if not name:
        raise BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
    return str(name)


def container_of(pod: Object, name: str) -> str:
    """The container meant: the one named, the annotated default, or the only one."""
    spec = pod.get("spec") or {}
    main = [c["name"] for c in spec.get("containers") or ()]
    init = [c["name"] for c in spec.get("initContainers") or ()]
    ephemeral = [c["name"] for c in spec.get("ephemeralContainers") or ()]
    pod_name = pod["metadata"]["name"]
    if name:
        if name not in (*main, *init, *ephemeral):
            raise BadRequest(f"container {name} is not valid for pod {pod_name}")
        return name
    default = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    if default in main:
        return str(default)
    if len(main) == 1:
        return str(main[0])
    text = f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(main)}]"
    if init:
        text += f" or one of the init containers: [{' '.join(init)}]"
    raise BadRequest(text)


# Logs


def _check_log_options(call: Call) -> None:
    errors = []
    for name in ("tailLines", "sinceSeconds", "limitBytes"):
        value = query.integer(call.params, name)
        least = 0 if name == "tailLines" else 1
        if value is not None and value < least:
            why = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            errors.append(FieldError("FieldValueInvalid", name, f"Invalid value: {value}: {why}"))
    if query.first(call.params, "sinceSeconds") and query.first(call.params, "sinceTime"):
        why = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        errors.append(FieldError("FieldValueForbidden", "sinceSeconds", f"Forbidden: {why}"))
    if errors:
        raise Invalid.of("PodLogOptions", "", call.name, errors)


async def _log(call: Call, pod: Object) -> Response:
    _check_log_options(call)
    container = container_of(pod, query.first(call.params, "container"))
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        return _text(b"")  # nothing has run yet: an empty log, as upstream answers
    options = {name: query.first(call.params, name) for name in _LOG_OPTIONS if name in call.params}
    target = f"/containerLogs/{call.namespace}/{call.name}/{container}"
    target += f"?{urlencode(options)}" if options else ""
    stack = AsyncExitStack()
    try:
        answer = await stack.enter_async_context(agents(call).stream(node, "GET", target, [], b""))
        if answer.status != 200:
            raise await refused(answer)
    except HttpFailure as e:
        await stack.aclose()
        raise InternalError(f'Get "https://{node}{target}": {e}') from None
    except BaseException:
        await stack.aclose()
        raise
    if is_websocket(call.request.headers):
        return _log_socket(call, answer, stack)
    return Response(200, [("content-type", "text/plain")], stream=_relay(answer, stack))


def _text(data: bytes) -> Response:
    return Response(200, [("content-type", "text/plain")], data)


async def _relay(answer: StreamResponse, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    try:
        async for data in answer.body:
            yield data
    except HttpFailure:
        return  # the agent went away: the log ends here
    finally:
        await stack.aclose()


def _log_socket(call: Call, answer: StreamResponse, stack: AsyncExitStack) -> Response:
    headers, protocol = handshake(call, ("", "binary.k8s.io", "base64.binary.k8s.io"))

    async def run(connection: Connection) -> None:
        import base64

        socket = WebSocket(connection, server=True, protocol=protocol)
        try:
            async for data in answer.body:
                await socket.send(base64.b64encode(data).decode() if protocol.startswith("base64") else data)
            await socket.close()
        except (HttpFailure, ConnectionError):
            socket.abort()
        finally:
            await stack.aclose()

    return Response(101, headers, upgrade=run)


async def refused(answer: StreamResponse) -> StatusError:
    """An agent's refusal (plain text) as a Status."""
    body = b""
    async for data in answer.body:
        body += data
        if len(body) > 64 * 1024:
            break
    return refusal(answer.status, body)


def refusal(code: int, body: bytes) -> StatusError:
    """A plain text refusal as a Status."""
    text = body.decode(errors="replace").strip() or f"the server responded with the status code {code}"
    return StatusError(text, code=code if code >= 400 else 500, reason=_REASONS.get(code, "InternalError"))


# exec, attach


def handshake(call: Call, protocols: tuple[str, ...]) -> tuple[Headers, str]:
    """The headers of a WebSocket upgrade, and the subprotocol chosen."""
    try:
        return answer_handshake(call.request.headers, protocols)
    except BadHandshake as e:
        raise BadRequest(str(e)) from None


def _wanted(call: Call) -> remotecommand.Wanted:
    params = call.params
    # attach shows stdout and stderr unless told otherwise, exec as well (v1.PodExecOptions defaults).
    return remotecommand.Wanted(
        stdin=query.boolean(params, "stdin"),
        stdout=query.boolean(params, "stdout") if "stdout" in params else call.sub == "attach",
        stderr=query.boolean(params, "stderr") if "stderr" in params else call.sub == "attach",
        tty=query.boolean(params, "tty"),
    )


async def _command(call: Call, pod: Object) -> Response:
    container = container_of(pod, query.first(call.params, "container"))
    wanted = _wanted(call)
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    if call.sub == "exec" and not call.params.get("command"):
        raise BadRequest("you must specify a command to execute")
    options = [("command", part) for part in call.params.get("command", [])] if call.sub == "exec" else []
    for name, on in (("input", wanted.stdin), ("output", wanted.stdout), ("error", wanted.stderr), ("tty", wanted.tty)):
        if on:
            options.append((name, "1"))
    target = f"/{call.sub}/{call.namespace}/{call.name}/{container}?{urlencode(options)}"
    node = node_of(pod)
    if not is_websocket(call.request.headers):
        return await _raw(call, node, target)
    headers, protocol = handshake(call, remotecommand.PROTOCOLS)
    protocol = protocol or "channel.k8s.io"
    agent = await _open(call, node, target, "v4.channel.k8s.io")
    if isinstance(agent, StatusError) and not protocol.startswith("v5"):
        raise agent

    async def run(connection: Connection) -> None:
        socket = WebSocket(connection, server=True, protocol=protocol)
        if isinstance(agent, StatusError):  # this protocol has it on the error channel (streamtranslator.go)
            await remotecommand.fail(socket, protocol, _internal(agent).status())
        else:
            await remotecommand.translate(socket, protocol, agent, wanted)

    return Response(101, headers, upgrade=run)


def _internal(refused: StatusError) -> InternalError:
    why = f"unable to upgrade connection: {refused.message}"
    return InternalError(f"Internal error occurred: {why}", details={"causes": [{"message": why}]})


async def _open(call: Call, node: str, target: str, protocol: str) -> Connection | StatusError:
    """A SPDY connection to the agent, or its refusal."""
    headers = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", protocol)]
    try:
        status, _, answer = await agents(call).upgrade(node, "POST", target, headers)
    except HttpFailure as e:
        raise InternalError(f"error dialing backend: {e}") from None
    return refusal(status, answer) if isinstance(answer, bytes) else answer


async def _raw(call: Call, node: str, target: str) -> Response:
    """A SPDY client: what it asks goes to the agent as it is, and the bytes both ways after that."""
    given = call.request.headers
    if "upgrade" not in given:
        raise BadRequest("Upgrade request required")
    headers = [(name, given[name]) for name in _SPDY_HEADERS if name in given]
    try:
        status, answered, answer = await agents(call).upgrade(node, call.request.method, target, headers)
    except HttpFailure as e:
        raise InternalError(f"error dialing backend: {e}") from None
    if isinstance(answer, bytes):
        return Response(status, [("Content-Type", "text/plain; charset=utf-8")], answer)  # as the agent said it
    agent = answer
    passed = [("Connection", "Upgrade"), ("Upgrade", answered.get("upgrade", "SPDY/3.1"))]
    if "x-stream-protocol-version" in answered:
        passed.append(("X-Stream-Protocol-Version", answered["x-stream-protocol-version"]))

    async def run(connection: Connection) -> None:
        await pipe(connection, agent)

    return Response(101, passed, upgrade=run)


# portforward


async def _portforward(call: Call, pod: Object) -> Response:
    node = node_of(pod)
    ports = _ports(call)
    target = f"/portForward/{call.namespace}/{call.name}"
    if not is_websocket(call.request.headers):
        return await _raw(call, node, target)
    headers, protocol = handshake(call, forwarding.PROTOCOLS)
    if protocol != forwarding.TUNNEL and not ports:
        raise BadRequest('query parameter "ports" is required')
    agent = await _open(call, node, target, "portforward.k8s.io")
    if isinstance(agent, StatusError):
        raise agent

    async def run(connection: Connection) -> None:
        socket = WebSocket(connection, server=True, protocol=protocol)
        await forwarding.forward(socket, protocol or "v4.channel.k8s.io", agent, ports)

    return Response(101, headers, upgrade=run)


def _ports(call: Call) -> list[int]:
    found = []
    for text in (piece for value in call.params.get("ports", []) for piece in value.split(",")):
        if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
            raise BadRequest(f'unable to parse "{text}" as a port')
        found.append(int(text))
    return found
