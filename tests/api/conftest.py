from collections.abc import AsyncIterator

import pytest

from switchboard.testing.agent import FakeAgent
from switchboard.testing.apiserver import ApiServer


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent() as agent:
        yield agent


@pytest.fixture
async def api(agent: FakeAgent) -> AsyncIterator[ApiServer]:
    async with ApiServer(kubelet=agent) as server:
        status, _ = await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        assert status == 201
        yield server
