"""A whole node (`node.app.Node`) on the event loop of a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from node import probe
from node.app import Node
from node.config import NodeConfig
from tests.patience import PATIENCE_S


@contextlib.asynccontextmanager
async def running_node(config: NodeConfig) -> AsyncIterator[Node]:
    """A node that is ready; leaving the context stops it. Fails when it ends before that, or has to."""
    node = Node(config)
    task = asyncio.create_task(node.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (await asyncio.to_thread(probe.readiness, config.rpc.host, config.rpc.port)).ready:
                assert not task.done(), f"the node ended: {task.exception() or task.result()!r}"
                await asyncio.sleep(0.02)
        yield node
    finally:
        node.stop()
        assert await task is None
