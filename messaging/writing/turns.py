"""The order of a socket's posts, which are worked on at the same time."""

import asyncio


class Turn:
    """That of one post. It is given on when the post is in the writer's queue, which
    keeps the order from there on; a command, which the writer never sees, keeps it
    until it is done."""

    def __init__(self, before) -> None:
        self._before = before  # the Turn of the post that came before; None at first
        loop = asyncio.get_running_loop()
        self.passed_on = loop.create_future()
        self.ended = loop.create_future()

    async def come(self) -> None:
        """Wait until the post before is in the writer's queue, or has ended."""
        if self._before:
            await asyncio.shield(self._before.passed_on)

    async def after_answer(self) -> None:
        """Wait until the post before has been answered."""
        if self._before:
            await asyncio.shield(self._before.ended)

    def pass_on(self) -> None:
        """The post is in the writer's queue."""
        _set(self.passed_on)

    def end(self) -> None:
        """The post has been answered."""
        _set(self.passed_on)
        _set(self.ended)
        self._before = None  # or each would keep all that came before it


def _set(future) -> None:
    if not future.done():
        future.set_result(None)
