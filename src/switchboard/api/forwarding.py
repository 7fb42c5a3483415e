"""portforward over WebSocket: SPDY tunnelled in messages (KEP-4006), or the older protocol of channels per port.

Old protocol: `?ports=80,443`; port i has the channels 2i (data) and 2i+1 (error); the first message of each channel is
the port as two bytes, little endian. Source: `kubelet/pkg/cri/streaming/portforward/websocket.go`.
"""

from __future__ import annotations

import asyncio
import struct

from switchboard.api.piping import pipe
from switchboard.api.remotecommand import Channels
from switchboard.transport.messages import Connection
from switchboard.transport.spdy import SpdySession, SpdyStream
from switchboard.transport.websocket import MessageConnection, WebSocket

TUNNEL = "SPDY/3.1+portforward.k8s.io"
PROTOCOLS = (TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io")


async def forward(socket: WebSocket, protocol: str, agent: Connection, ports: list[int]) -> None:
    """Run until either side goes away."""
    if protocol == TUNNEL:
        await pipe(MessageConnection(socket), agent)
        return
    session = SpdySession(agent, server=False)
    running = asyncio.ensure_future(session.run())
    channels = Channels(socket, protocol)
    tasks: list[asyncio.Future[None]] = []
    try:
        data_streams: dict[int, SpdyStream] = {}
        for i, port in enumerate(ports):
            pair = {}
            for channel, kind in ((2 * i + 1, "error"), (2 * i, "data")):
                pair[channel] = await session.open({"streamtype": kind, "port": str(port), "requestid": str(i)})
            data_streams[2 * i] = pair[2 * i]
            for channel in sorted(pair):
                await channels.send(channel, struct.pack("<H", port))
                tasks.append(asyncio.ensure_future(_outgoing(channels, channel, pair[channel])))
        # When nothing more comes out of any port, the client is told so by the end of its connection.
        outgoing = asyncio.gather(*tasks, return_exceptions=True)
        incoming = asyncio.ensure_future(_incoming(channels, data_streams))
        tasks.append(incoming)
        await asyncio.wait((outgoing, incoming), return_when=asyncio.FIRST_COMPLETED)
    except (ConnectionError, TimeoutError):
        pass  # the client sees its connection end
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await socket.close()
        running.cancel()
        agent.close()
        await asyncio.gather(running, return_exceptions=True)


async def _outgoing(channels: Channels, channel: int, stream: SpdyStream) -> None:
    while data := await stream.read():
        await channels.send(channel, data)


async def _incoming(channels: Channels, streams: dict[int, SpdyStream]) -> None:
    while (message := await channels.receive()) is not None:
        channel, data = message
        if channel in streams and data:
            await streams[channel].write(data)
