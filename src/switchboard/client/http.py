"""The transport to an API server over the network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from switchboard.client.kubeconfig import Access
from switchboard.client.transport import Disconnected, Reply, error_of_reply
from switchboard.transport.http import HttpClient, HttpFailure

_TIMEOUT: Final = 60.0  # of a plain request: an API server gives up on its own after that (--request-timeout)


class HttpTransport:
    """Requests on kept connections, watches each on its own; see `transport.Transport`."""

    def __init__(self, access: Access, http: HttpClient | None = None) -> None:
        self._access = access
        self._http = http or HttpClient(ssl=access.tls, server_name=access.server_name)

    async def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """One exchange; Disconnected when there is no answer within the time a server may take."""
        try:
            answer = await self._http.request(
                method, self._access.server + target, self._with_identity(headers), body, timeout=_TIMEOUT
            )
        except (HttpFailure, TimeoutError) as error:
            raise Disconnected(f"{method} {target}: {error or 'no answer in time'}") from error
        return Reply(answer.status, answer.headers, answer.body)

    @asynccontextmanager
    async def stream(self, method: str, target: str, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch, cut at line ends."""
        try:
            async with self._http.stream(
                method, self._access.server + target, self._with_identity(headers), timeout=_TIMEOUT
            ) as answer:
                if answer.status != 200:
                    body = b"".join([part async for part in answer.body])
                    raise error_of_reply(Reply(answer.status, answer.headers, body))
                yield _whole_lines(answer.body)
        except (HttpFailure, TimeoutError) as error:
            raise Disconnected(f"{method} {target}: {error or 'no answer in time'}") from error

    async def close(self) -> None:
        """Close the kept connections."""
        await self._http.close()

    def _with_identity(self, headers: dict[str, str]) -> dict[str, str]:
        value = self._access.authorization()
        return {**headers, "authorization": value} if value else headers


async def _whole_lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Bytes as they come -> pieces that end at a line end; the rest after the last line end is no line."""
    rest: list[bytes] = []
    async for part in parts:
        end = part.rfind(b"\n") + 1
        if not end:
            rest.append(part)
            continue
        if rest:
            rest.append(part[:end])
            yield b"".join(rest)
            rest.clear()
        else:
            yield part if end == len(part) else part[:end]
        if end < len(part):
            rest.append(part[end:])
