"""How many people are present in the rooms that open pages show.

A page names the rooms that it shows. So what a process reads and sends grows with its
own sockets, not with the rooms there are, and nobody hears of a room that their page
does not show.
"""

import asyncio
from collections import Counter
from itertools import islice

from messaging import history, protocol
from messaging.database import run_in_database
from messaging.live.fanout import YIELD_EVERY, write_to_all
from messaging.live.sockets import Groups, LiveSocket

READ_AT_ONCE = 1_000  # rooms; if more are shown, the others are read at the next looks

View = frozenset[str]  # the slugs of the rooms that a page shows


class PresentCounts:
    """The counts that the sockets of one process are kept up to date with."""

    def __init__(self) -> None:
        self._view: dict[LiveSocket, View] = {}  # {socket: View}
        self._viewers = Groups()  # {View: sockets}; many pages show the same rooms
        self._views: Counter[str] = Counter()  # {slug: how many views it is in}
        # {slug: count}; None where no such room is known. Read longest ago comes first.
        self._counts: dict[str, int | None] = {}

    def __len__(self) -> int:
        """How many rooms are shown."""
        return len(self._counts)

    async def show(self, socket: LiveSocket, view: View) -> None:
        """From now on the socket gets the counts of these rooms, and of no others. It
        is told at once what is known, the rest after the next look."""
        self.forget(socket)
        if view not in self._viewers:
            self._views.update(view)
            for slug in view:
                self._counts.setdefault(slug)
        self._view[socket] = view
        self._viewers.add(view, socket)
        if known := {
            slug: count for slug in view if (count := self._counts[slug]) is not None
        }:
            await socket.deliver(protocol.present_counts(known))

    def forget(self, socket: LiveSocket) -> None:
        """The socket shows nothing any more; as often as one likes."""
        view = self._view.pop(socket, None)
        if view is None:
            return
        self._viewers.drop(view, socket)
        if view in self._viewers:
            return
        self._views.subtract(view)
        for slug in view:
            if not self._views[slug]:
                del self._views[slug], self._counts[slug]

    async def look(self) -> None:
        """Read the counts that were read longest ago, and tell what has changed."""
        slugs = list(islice(self._counts, READ_AT_ONCE))
        if not slugs:
            return
        found = await run_in_database(history.present_counts, slugs)
        news = {slug: found.get(slug, 0) for slug in slugs if self._learn(slug, found)}
        for count, (view, sockets) in enumerate(list(self._viewers.items()), start=1):
            if seen := news.keys() & view:
                frame = protocol.present_counts({slug: news[slug] for slug in seen})
                await write_to_all(sockets, frame)
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _learn(self, slug: str, found: dict[str, int]) -> bool:
        """Keep a room's count as the latest; whether it is another than before."""
        if slug not in self._counts:
            return False  # nobody shows it any more
        before = self._counts.pop(slug)
        self._counts[slug] = found.get(slug)
        return before != self._counts[slug]
