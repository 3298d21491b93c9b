"""The event loop that Daphne's reactor turns: uvloop's.

In a hot room at 2,000 messages a second it took a fifth off the p99 (docs/FANOUT.md).
"""

import uvloop
from twisted.internet import asyncioreactor


def install():
    """To be called before anything imports Daphne, which else brings asyncio's own."""
    asyncioreactor.install(uvloop.new_event_loop())
