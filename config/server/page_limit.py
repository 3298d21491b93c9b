"""A bound on the pages that are worked on at once.

Django gives each request a thread of its own, so without a bound a crowd of requests
becomes a crowd of threads, which also holds up the sockets. Here a few are worked on,
more wait for their turn, and the rest are told when to come back.
"""

import asyncio
from functools import cache
from io import BytesIO

from django.core.handlers.asgi import ASGIRequest
from django.template.loader import render_to_string
from django.utils import translation

from config.outage import RETRY_AFTER
from messaging import metrics

AT_ONCE = 8  # pages; more would only wait for the connections that sockets leave
MAX_WAITING = 400  # requests
WITHIN = 5  # seconds that a request waits at most

HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"retry-after", str(RETRY_AFTER).encode()),
]


class PageLimit:
    """An ASGI application that passes on so many requests at once, and no more."""

    def __init__(self, application) -> None:
        self.application = application
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        metrics.PAGES_WAITING.set_function(lambda: self._waiting)

    async def __call__(self, scope, receive, send) -> None:
        if not await self._take_place():
            await refuse(scope, send)
            return
        try:
            await self.application(scope, receive, send)
        finally:
            self._places.release()

    async def _take_place(self):
        """Wait for a place; whether there was one."""
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(WITHIN):
                return await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1


async def refuse(scope, send) -> None:
    metrics.PAGES_REFUSED.inc()
    language = translation.get_language_from_request(ASGIRequest(scope, BytesIO()))
    await send({"type": "http.response.start", "status": 503, "headers": HEADERS})
    await send({"type": "http.response.body", "body": page(language)})


@cache
def page(language):
    with translation.override(language):
        return render_to_string("503_busy.html").encode()
