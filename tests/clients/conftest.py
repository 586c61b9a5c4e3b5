from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import RawTestServer
from bare_upstream import BareUpstream

from harness import World, lead_upstream


@pytest.fixture
async def upstream(world: World) -> AsyncIterator[BareUpstream]:
    """The gateway of `world` with a bare upstream behind it instead of the simulator."""
    bare = BareUpstream()
    async with RawTestServer(bare.handle) as server:
        bare.url = str(server.make_url("")).rstrip("/")
        lead_upstream(world.gate, bare.url)
        yield bare
