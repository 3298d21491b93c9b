"""Work that nobody waits for: held until it ends, and what it raises is logged."""

import asyncio
import logging
from collections.abc import Coroutine

logger = logging.getLogger(__name__)

running: set[asyncio.Task] = set()


def start(work: Coroutine) -> asyncio.Task:
    """Run `work` to its end; the event loop alone would not keep its task alive."""
    task = asyncio.get_running_loop().create_task(work)
    running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task) -> None:
    running.discard(task)
    if not task.cancelled() and (error := task.exception()):
        logger.warning("background work failed: %r", error, exc_info=error)
